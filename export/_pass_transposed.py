"""Passes for what OpenVINO's converter gets wrong as it moves the transposition behind a convolution further on.

A log-softmax keeps its axis of -1 as that is moved past it, and sums over the columns instead of the channels then. A
tiling of pictures and volumes keeps its multiples, and repeats other axes. Both in float too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compress._points import PRODUCTS, RESHAPES
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def _written_out(work: Work) -> Replace:
    """Write log(softmax(x)) as d - log(sum(exp(d))) with d = x - max(x), each along the last axis."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "LogSoftmax" or operation.inputs[0].shape.rank == 2:
            return None
        logits = value(operation.inputs[0])
        below = logits - tf.reduce_max(logits, -1, keepdims=True)
        return [below - tf.math.log(tf.reduce_sum(tf.exp(below), -1, keepdims=True))]

    return replace


def _gathered(work: Work) -> Replace:
    """Write a tiling as gathering the places of each axis several times."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "Tile" or not _is_behind_product(operation):
            return None
        shape, multiples = operation.inputs[0].shape, work.graph.constant(operation.inputs[1])
        if shape.rank is None or shape.rank < 4 or multiples is None or None in shape[1:]:
            return None
        result = value(operation.inputs[0])
        for axis, times in enumerate(map(int, multiples)):
            if times != 1:
                places = np.tile(np.arange(shape[axis], dtype=np.int32), times)
                result = tf.gather(result, places, axis=axis)
        return [result]

    return replace


def _is_behind_product(operation: Any) -> bool:
    """Tell whether a product comes before an operation, and no reshape in between, as there is in an upsampling."""
    while operation.type not in PRODUCTS:
        before = [tensor.op for tensor in operation.inputs if tensor.op.type != "Const"]
        if not before or operation.type in RESHAPES - {"Identity"}:
            return False
        operation = before[0]
    return True


_HERE = frozenset({"openvino"})

PASSES = (
    Pass(
        "written-out-log-softmax",
        "OpenVINO's converter sums over the wrong axis behind a convolution.",
        frozenset({"LogSoftmax"}),
        _written_out,
        formats=_HERE,
    ),
    Pass(
        "gathered-tiles",
        "OpenVINO's converter repeats the wrong axes behind a convolution of pictures.",
        frozenset({"Tile"}),
        _gathered,
        formats=_HERE,
    ),
)
