"""Many searches at once, as the host code runs one, and the undirected search that they are compared with."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ._synthesis_grammar import FORBIDDEN, Automaton
from ._synthesis_list_host import END, FUNCTIONS, TOKENS, Host, run_statement, statements
from ._training import output_names


def search(graphs: Mapping[str, keras.Model], settings: Mapping[str, Any], slots: np.ndarray) -> list[dict[str, Any]]:
    """Return what the host code of the list programs answers to each sample ``[samples, examples, 30, 2]``.

    Args:
        graphs: the deployment graphs.
        settings: of the host code.
        slots: the examples.
    """
    host = Host({}, settings)
    return together(graphs, [host.search({"slots": each}) for each in slots])


def together(
    graphs: Mapping[str, keras.Model], searches: Sequence[Generator[Any, Any, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return what each search returns; what they ask of a graph is computed as one batch.

    Args:
        graphs: by name.
        searches: generators that yield (graph, inputs) and are sent the outputs; of the encoder first, then of steps.
    """
    requests = {place: next(each) for place, each in enumerate(searches)}
    answers: list[dict[str, Any]] = [{} for _ in searches]
    while requests:
        places = list(requests)
        name = requests[places[0]][0]
        made = _called(graphs[name], [requests[place][1] for place in places])
        for row, place in enumerate(places):
            try:
                requests[place] = searches[place].send({key: array[row : row + 1] for key, array in made.items()})
            except StopIteration as end:
                answers[place] = end.value
                del requests[place]
    return answers


def _called(graph: keras.Model, feeds: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the graph's outputs for the samples together; filled up to a power of two, so that few shapes come."""
    filled = feeds + feeds[:1] * ((1 << (len(feeds) - 1).bit_length()) - len(feeds))
    inputs = {name: np.concatenate([feed[name] for feed in filled]) for name in filled[0]}
    outputs = keras.tree.flatten(graph.predict_on_batch(inputs))
    return dict(zip(output_names(graph), outputs, strict=True))


def undirected(grammar: Automaton, settings: Mapping[str, Any], slots: np.ndarray, seed: int = 0) -> int:
    """Return how many statements a depth-first search runs until one does what the examples show; 0 for never.

    Args:
        grammar: of the programs.
        settings: of the host code.
        slots: the examples of one sample.
        seed: of the order in which tokens are tried.
    """
    host = Host({}, settings)
    examples, start = host.read(slots)
    order = np.random.default_rng(seed).permutation(len(TOKENS))
    nodes = 0

    def solved(tokens: list[int], state: int, known: list[dict[str, Any]]) -> bool:
        nonlocal nodes
        allowed = [int(token) for token in order if grammar.table[state, token] != FORBIDDEN]
        if tokens and (allowed == [END] or all(token < len(FUNCTIONS) for token in allowed)):
            nodes += 1
            made = [run_statement(statements([TOKENS[token] for token in tokens])[-1], one) for one in known]
            if any(value is None for value in made):
                return False
            if all(value == wanted for value, (_, wanted) in zip(made, examples, strict=True)):
                return True
            known = [{**one, "x2": value} for one, value in zip(known, made, strict=True)]
        for token in allowed:
            if nodes >= settings["nodes"]:
                return False
            if token != END and solved([*tokens, token], int(grammar.table[state, token]), known):
                return True
        return False

    return nodes if solved([], start, [dict(given) for given, _ in examples]) else 0
