"""Passes for cumulative products and sums, which converters lack: as a few products of shifted copies, as one matrix.

The usual exp(cumsum(log x)) is right for positive numbers only. The products of the first n elements come of log2 n
steps, each of which multiplies what there is by itself shifted by 1, 2, 4, ... (Hillis and Steele, "Data parallel
algorithms", 1986). A sum is a product with a triangular matrix, which integers add up without rounding in between.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import INTEGER, Inapplicable, Pass, Work

# Of a triangular matrix.
_LONGEST_SUM = 2048


def products(work: Work) -> Replace:
    """Write Cumprod as products of shifted copies."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "Cumprod":
            return None
        axis = _axis(work, operation)
        return [_product(value(operation.inputs[0]), axis, *_order(operation))]

    return replace


def sums(work: Work) -> Replace:
    """Write Cumsum as a product with a triangular matrix."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "Cumsum" or operation.outputs[0].dtype.name != "float32":
            return None
        axis = _axis(work, operation)
        length = operation.outputs[0].shape[axis]
        if length > _LONGEST_SUM:
            raise Inapplicable(f"A cumulative sum of {length} elements is longer than {_LONGEST_SUM}.")
        return [_sum(value(operation.inputs[0]), axis, *_order(operation))]

    return replace


def _axis(work: Work, operation: Any) -> int:
    axis = work.graph.constant(operation.inputs[1])
    rank = operation.outputs[0].shape.rank
    if axis is None or rank is None:
        raise Inapplicable("The axis of a cumulative product or sum is not constant.")
    return int(axis) % rank


def _order(operation: Any) -> tuple[bool, bool]:
    return operation.get_attr("exclusive"), operation.get_attr("reverse")


def _product(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    length = x.shape[axis]
    if exclusive:
        x = _shifted(x, axis, 1, reverse)
    step = 1
    while step < length:
        x = x * _shifted(x, axis, step, reverse)
        step *= 2
    return x


def _shifted(x: Any, axis: int, by: int, backwards: bool) -> Any:
    """Return x moved along an axis, with ones where nothing came from."""
    import tensorflow as tf

    shape = x.shape.as_list()
    kept = [*shape[:axis], shape[axis] - by, *shape[axis + 1 :]]
    start = [0] * len(shape)
    start[axis] = by if backwards else 0
    rest = tf.slice(x, start, kept)
    ones = tf.constant(1, x.dtype, [*shape[:axis], by, *shape[axis + 1 :]])
    return tf.concat([rest, ones] if backwards else [ones, rest], axis)


def _sum(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    import tensorflow as tf

    rank, length = x.shape.rank, x.shape[axis]
    # Which element (row) goes into which sum (column).
    takes = np.triu(np.ones((length, length), np.float32), 1 if exclusive else 0)
    if reverse:
        takes = takes[::-1, ::-1]
    last = [place for place in range(rank) if place != axis] + [axis]
    moved = x if axis == rank - 1 else tf.transpose(x, last)
    rows = tf.reshape(moved, (-1, length))
    total = tf.reshape(tf.matmul(rows, tf.constant(np.ascontiguousarray(takes))), moved.shape)
    return total if axis == rank - 1 else tf.transpose(total, np.argsort(last))


PASSES = (
    Pass("shifted-products", "No converter takes a cumulative product.", frozenset({"Cumprod"}), products),
    Pass(
        "triangular-sums",
        "A cumulative sum has no integer kernels in TFLite.",
        frozenset({"Cumsum"}),
        sums,
        precisions=INTEGER,
    ),
    Pass(
        "triangular-sums",
        "The Edge TPU has no cumulative sum.",
        frozenset({"Cumsum"}),
        sums,
        units=frozenset({EDGE_TPU}),
    ),
)
