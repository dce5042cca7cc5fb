"""Random numbers that a model draws as it is run: the same at each call are constants, all others are refused."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError

# Draws of a seed that is an input, so the same numbers for the same seed.
SEEDED = frozenset(
    {
        "StatelessMultinomial",
        "StatelessParameterizedTruncatedNormal",
        "StatelessRandomBinomial",
        "StatelessRandomGammaV2",
        "StatelessRandomGammaV3",
        "StatelessRandomNormal",
        "StatelessRandomNormalV2",
        "StatelessRandomPoisson",
        "StatelessRandomUniform",
        "StatelessRandomUniformFullInt",
        "StatelessRandomUniformFullIntV2",
        "StatelessRandomUniformInt",
        "StatelessRandomUniformIntV2",
        "StatelessRandomUniformV2",
        "StatelessShuffle",
        "StatelessTruncatedNormal",
        "StatelessTruncatedNormalV2",
    }
)
# Draws of a seed that the operation keeps for itself, so other numbers at each call.
_UNSEEDED = re.compile(r"(Parameterized)?(Random|Truncated|Multinomial).*|StatefulRandom.*")


def check_draws(graph: Any, of_two: Callable[[], Any], model: str) -> None:
    """Raise InputError for a graph that draws other random numbers at each call, for each input or batch.

    Args:
        graph: the model's at batch 1, without variables.
        of_two: returns the same at batch 2.
        model: its name.

    Raises:
        InputError: a layer draws such numbers.
    """
    definition = graph.as_graph_def()
    for node in (*definition.node, *(node for each in definition.library.function for node in each.node_def)):
        if _UNSEEDED.fullmatch(node.op):
            raise _refused(node.name, model, "other ones at each call")
    for function in definition.library.function:
        for node in function.node_def:
            if node.op in SEEDED:
                raise _refused(node.name, model, "some in a loop or a branch")
    draws = list(_draws(graph))
    for operation in draws:
        if depends_on_inputs(operation):
            raise _refused(operation.name, model, "numbers that depend on its input")
    if draws:
        for one, two in zip(draws, _draws(of_two()), strict=True):
            if one.outputs[0].shape != two.outputs[0].shape:
                raise _refused(one.name, model, "others for each sample of a batch")


def _draws(graph: Any) -> Iterator[Any]:
    return (operation for operation in graph.get_operations() if operation.type in SEEDED)


def depends_on_inputs(operation: Any) -> bool:
    """Tell whether what an operation of a frozen graph computes may be another for another input."""
    waiting, seen = [operation], set()
    while waiting:
        each = waiting.pop()
        if each.type == "Placeholder":
            return True
        if each.name not in seen:
            seen.add(each.name)
            waiting += [tensor.op for tensor in each.inputs]
    return False


def _refused(operation: str, model: str, which: str) -> InputError:
    layer = "/".join(operation.split("/")[1:-2]) or model  # between the model's name and the draw's own scope
    return InputError(
        f"Expected a model that draws no random numbers as it is run, or the same ones at each call. Got: {layer!r}, "
        f"which draws {which}: no exported file repeats them. Make them an input of the model, or draw once of a fixed "
        "seed and without the batch's size."
    )
