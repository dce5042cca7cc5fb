"""Greedy decoding of many commands at once, as the host code decodes one."""

from collections.abc import Mapping

import keras
import numpy as np

from ._synthesis_grammar import FORBIDDEN, Automaton
from ._synthesis_layers import MASKED
from ._synthesis_sequences import PADDING, one_hot
from ._training import output_names


def decode(
    encoder: keras.Model, step: keras.Model, command: np.ndarray, grammar: Automaton, end: int, batch_size: int = 1024
) -> np.ndarray:
    """Return programs ``[samples, slots]``, -1 for padding.

    Args:
        encoder, step: the deployment graphs.
        command: one-hot ``[samples, tokens, kinds]``.
        grammar: what may follow.
        end: the token that ends a program.
        batch_size: commands at once.
    """
    parts = [
        _decode(encoder, step, command[start : start + batch_size], grammar, end)
        for start in range(0, len(command), batch_size)
    ]
    return np.concatenate(parts)


def _decode(encoder: keras.Model, step: keras.Model, command: np.ndarray, grammar: Automaton, end: int) -> np.ndarray:
    count = len(command)
    shapes = {tensor.name: tensor.shape[1:] for tensor in step.inputs}
    slots, kinds = shapes["position"][-1] - 1, shapes["token"][-1]
    fed = {name: np.zeros((count, *shape), np.float32) for name, shape in shapes.items()}
    fed |= _outputs(encoder, {encoder.inputs[0].name: command})
    fed["mask"][..., :-1] = MASKED
    programs = np.full((count, slots), PADDING, np.int32)
    state, last = np.full(count, grammar.starts[""]), np.full(count, end)
    going = np.ones(count, bool)
    for place in range(slots + 1):
        fed["token"] = one_hot(last[:, None], kinds)
        fed["position"] = np.broadcast_to(one_hot(np.array([[place]]), slots + 1), (count, 1, slots + 1))
        made = _outputs(step, fed)
        allowed = grammar.table[state] != FORBIDDEN
        allowed[~going] = True
        last = np.where(allowed, made["logits"][:, 0], -np.inf).argmax(axis=-1)
        state = np.where(going, grammar.table[state, last], state)
        going = going & (last != end)
        if not going.any():
            break
        programs[going, place] = last[going]
        fed["mask"][..., place] = 0
        for name in [name for name in made if name != "logits"]:
            kind, _, layer = name.partition("_")
            fed[f"{kind}s_{layer}"][:, place] = made[name][:, 0]
    return programs


def _outputs(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = keras.tree.flatten(model(inputs, training=False))
    return {name: keras.ops.convert_to_numpy(array) for name, array in zip(output_names(model), made, strict=True)}
