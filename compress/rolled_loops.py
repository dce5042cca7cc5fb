"""Rolled loops: recurrent layers that are written out step by step become loops, which compute the same.

An unrolled layer of 29 steps stands in a file 29 times, whatever its size. In ONNX a loop is one operation, such as
LSTM; in TFLite and OpenVINO its steps are in the file once. In int8 with fixed scales exports write loops out again.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._scope import Scope
from ._technique import SHAPES, Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras


class RolledLoops(Parameters):
    """Parameters of rolled loops.

    Attributes:
        scope: regular expression; a layer is rolled when it is found in its name.
    """

    scope: Scope = ".*"


def apply(work: Work, parameters: Parameters) -> Result:
    """Put a layer of the same configuration and weights, but rolled, in the place of each that is unrolled.

    Raises:
        InputError: Keras cannot copy the model.
    """
    from ._layer_replacing import layers_in_graph, with_rows

    assert isinstance(parameters, RolledLoops)
    rolled: dict[int, tuple[keras.Layer, keras.Layer]] = {}
    for layer in layers_in_graph(work.model):
        if re.search(parameters.scope, layer.name) and any(_unrolled(layer.get_config())):
            rolled[id(layer)] = (layer, type(layer).from_config(_with_loops(layer.get_config())))
    if not rolled:
        return Result(work.model, notes=("No layer is unrolled, so that there is nothing to roll.",))
    model = with_rows(work.model, {key: (new,) for key, (_, new) in rolled.items()}, "to roll its loops")
    for old, new in rolled.values():
        new.set_weights(old.get_weights())
    names = ", ".join(old.name for old, _ in rolled.values())
    return Result(model, notes=(f"Rolled into loops: {names}.",))


def _unrolled(config: Any) -> Iterator[bool]:
    """Yield True for each unrolled loop in a layer's configuration, those of wrapped layers included."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from (True,) if key == "unroll" and value is True else _unrolled(value)


def _with_loops(config: Any) -> Any:
    """Return a configuration with every loop in it rolled."""
    if not isinstance(config, Mapping):
        return config
    return {key: False if key == "unroll" and value is True else _with_loops(value) for key, value in config.items()}


TECHNIQUE = Technique(
    name="rolled_loops",
    title="rolled loops: unrolled recurrent layers become loops",
    parameters=RolledLoops,
    apply=apply,
    stage=SHAPES,
)
