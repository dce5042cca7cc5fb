"""Passes that keep scales apart where TFLite's operations have one for all that they take and return.

MAXIMUM, MINIMUM, SELECT_V2, CONCATENATION and PACK have, and the converter rounds what they take to it. What others
read too is rounded so for all of them where it has no range of its own: relu(x) + min(x, 0) has nothing above zero
then. Or a maximum or a choice gets the scale of one input although the other exceeds it, as a mask exceeds scores.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value, copied
from ._pass import Pass, Work
from ._pass_ranges import QUANTIZER, between, has_ranges, rounded_as

_EXTREMES = frozenset({"Maximum", "Minimum"})
_CHOICES = frozenset({"Select", "SelectV2"})
_JOINS = _CHOICES | {"ConcatV2", "Pack"}
# Beyond, a sum with a constant rounds off what it is added to.
_LARGE = 1e4
# They hand on what they are given, on its scale, from their first input.
_MOVES = frozenset({"Reshape", "Squeeze", "ExpandDims", "Transpose", "StridedSlice", "Slice", "MaxPool"})


def _of_moved(work: Work) -> Replace:
    """Round what is moved, is joined and is read by others too once more, as it is rounded before it is moved."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type not in _MOVES or not has_ranges(work.graph):
            return None
        readers = operation.outputs[0].consumers()
        if len(readers) < 2 or not any(reader.type in _JOINS for reader in readers):
            return None
        quantizer = operation.inputs[0].op
        while quantizer.type in _MOVES:
            quantizer = quantizer.inputs[0].op
        if quantizer.type != QUANTIZER:
            return None
        (moved,) = copied(operation, [value(tensor) for tensor in operation.inputs])
        return [rounded_as(quantizer, moved, value)]

    return replace


def _of_extremes(work: Work) -> Replace:
    """Write max(x, y) as x + relu(y - x) and min(x, y) as x - relu(x - y), whose integers have scales of their own."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in _EXTREMES or operation.outputs[0].dtype.name != "float32":
            return None
        x, y = operation.inputs if work.graph.constant(operation.inputs[0]) is None else reversed(operation.inputs)
        limit = work.graph.constant(y)
        if limit is not None and (not _is_shared(x) or np.abs(limit).max() > _LARGE):
            return None
        x, y = value(x), value(y)
        if operation.type == "Minimum":
            return [x - between(tf.nn.relu(x if limit is not None and not limit.any() else x - y))]
        if limit is not None:
            return [tf.nn.relu(x - y) + y if limit.any() else tf.nn.relu(x)]
        return [x + between(tf.nn.relu(y - x))]

    return replace


def _of_choices(work: Work) -> Replace:
    """Give what is chosen from two tensors a range of its own."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type not in _CHOICES or operation.outputs[0].dtype.name != "float32":
            return None
        if not has_ranges(work.graph) or any(each.type == QUANTIZER for each in operation.outputs[0].consumers()):
            return None
        return [between(*copied(operation, [value(tensor) for tensor in operation.inputs]))]

    return replace


def _is_shared(tensor: Any) -> bool:
    """Tell whether a tensor, or what it was before it was moved, is read by others too."""
    while len(tensor.consumers()) == 1:
        if tensor.op.type not in _MOVES | {QUANTIZER}:
            return False
        tensor = tensor.op.inputs[0]
    return True


_TFLITE, _INT8 = frozenset({"tflite"}), frozenset({"int8"})

PASSES = (
    Pass(
        "ranges-of-moved-tensors",
        "TFLite's converter rounds what a choice or a concatenation takes to its scale for all readers.",
        _MOVES,
        _of_moved,
        formats=_TFLITE,
        precisions=_INT8,
    ),
    Pass(
        "ranges-of-choices",
        "TFLite's converter gives a choice the scale of one of the two, and cuts off what the other has beyond.",
        _CHOICES,
        _of_choices,
        formats=_TFLITE,
        precisions=_INT8,
    ),
    Pass(
        "added-differences",
        "TFLite's converter rounds what a maximum takes to its scale for all readers, or to a scale that is too small.",
        _EXTREMES,
        _of_extremes,
        formats=_TFLITE,
        precisions=_INT8,
    ),
)
