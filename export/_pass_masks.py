"""Pass that bounds the constants which masks add before a softmax, such as -1e9 and minus infinity.

Eight bits for the range from -1e9 to 3 leave one value for all that is not masked, and half precision makes infinity
of it, whose product with zero is no number. A masked place needs no more than to weigh nothing beside the others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value
from ._pass import INTEGER, Pass, Work

# What no score is but a mask may be.
_LARGE = 1e4
# exp(-16) is 1e-7.
_WEIGHS_NOTHING = 16.0
# How a mask comes to a softmax.
_LEADS = frozenset(
    ("AddV2", "Add", "Sub", "BiasAdd", "Mul", "SelectV2", "Select", "Maximum", "Minimum", "Reshape", "Identity")
    + ("ExpandDims", "Squeeze", "Transpose", "BroadcastTo", "Tile", "FakeQuantWithMinMaxVars", "Cast", "Neg")
)


def replacing(work: Work) -> Replace:
    """Clip large constants that lead to a softmax: by how far its scores spread, or by 1e4 in half precision."""
    bounds: dict[str, float] = {}
    for operation in work.graph.operations:
        if operation.type in ("Softmax", "LogSoftmax"):
            large = _large_constants(operation.inputs[0])
            bound = _bound(work, operation.inputs[0]) if large and work.target.precision in INTEGER else _LARGE
            for name in large:
                bounds[name] = max(bounds.get(name, 0.0), bound)

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.name not in bounds:
            return None
        bound = bounds[operation.name]
        return [tf.constant(np.clip(_value_of(operation), -bound, bound), tf.float32)]

    return replace


def _large_constants(tensor: Any) -> set[str]:
    """Return the names of the constants that hold large numbers and lead to a tensor."""
    waiting, seen, found = [tensor.op], set(), set()
    while waiting:
        operation = waiting.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.type == "Const" and operation.outputs[0].dtype.name == "float32":
            if (np.abs(_value_of(operation)) > _LARGE).any():
                found.add(operation.name)
        elif operation.type in _LEADS:
            waiting += [source.op for source in operation.inputs]
    return found


def _value_of(operation: Any) -> np.ndarray:
    from tensorflow.python.framework import tensor_util

    return np.asarray(tensor_util.MakeNdarray(operation.get_attr("value")))


def _bound(work: Work, scores: Any) -> float:
    """Return the bound with which a masked place weighs nothing: its own score may be the highest, another's lowest."""
    low, high = 0.0, 0.0
    for (array,) in work.graph.values_over([scores], work.samples):
        seen = array[np.abs(array) < _LARGE / 2]
        if seen.size:
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    return high - low + _WEIGHS_NOTHING


PASSES = (
    Pass(
        "bounded-masks",
        "Masks of -1e9 leave a quantized softmax without any resolution, and half precision without numbers.",
        frozenset({"Softmax", "LogSoftmax"}),
        replacing,
        precisions=INTEGER | {"float16"},
        counted=frozenset({"Const"}),
    ),
)
