"""Passes that write with the Edge TPU's operations, and with those of TFLite's integers, what these lack.

The table is devices/profiles/edgetpu_ops.json. Of a graph that begins with an operation that is not in it, nothing runs
there: an embedding's one-hot encoding still runs on the CPU, and its product with the table on the Edge TPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work

# Rows of a table: beyond, the product costs more than the transfer that it saves.
_LONGEST_TABLE = 1024


def embeddings(work: Work) -> Replace:
    """Write the rows of a constant table that indices name as a product of their one-hot encoding with the table."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in ("GatherV2", "ResourceGather") or operation.get_attr("batch_dims"):
            return None
        table, indices = operation.inputs[:2]
        rows = work.graph.constant(table)
        axis = work.graph.constant(operation.inputs[2])
        if rows is None or rows.ndim != 2 or axis != 0 or len(rows) > _LONGEST_TABLE or rows.dtype.kind != "f":
            return None
        chosen = tf.one_hot(tf.reshape(value(indices), (-1,)), len(rows))
        return [tf.reshape(tf.matmul(chosen, value(table)), operation.outputs[0].shape)]

    return replace


def single_queries(work: Work) -> Replace:
    """Write a batched product in which one side has one row, or one column, as a product and a sum."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in ("BatchMatMul", "BatchMatMulV2"):
            return None
        left, right = operation.inputs
        if not left.shape.is_fully_defined() or not right.shape.is_fully_defined():
            return None
        rows, columns = operation.outputs[0].shape[-2:]
        if rows != 1 and columns != 1:
            return None
        a = _transposed(value(left)) if operation.get_attr("adj_x") else value(left)
        b = _transposed(value(right)) if operation.get_attr("adj_y") else value(right)
        if columns == 1:
            return [tf.reduce_sum(a * _transposed(b), -1, keepdims=True)]
        return [tf.reduce_sum(_transposed(a) * b, -2, keepdims=True)]

    return replace


def negations(work: Work) -> Replace:
    """Write -x as a product with -1."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "Neg" or operation.outputs[0].dtype.name != "float32" or _is_in_gelu(operation):
            return None
        return [value(operation.inputs[0]) * -1.0]

    return replace


def squared_differences(work: Work) -> Replace:
    """Write (x - y)^2 as a difference times itself."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "SquaredDifference":
            return None
        difference = value(operation.inputs[0]) - value(operation.inputs[1])
        return [difference * difference]

    return replace


def constant_choices(work: Work) -> Replace:
    """Write where(c, x, y) with a constant c as x c + y (1 - c)."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in ("Select", "SelectV2") or operation.outputs[0].dtype.name != "float32":
            return None
        chosen = work.graph.constant(operation.inputs[0])
        if chosen is None:
            return None
        ones = chosen.astype(np.float32)
        _, x, y = (value(tensor) for tensor in operation.inputs)
        return [x * tf.constant(ones) + y * tf.constant(1 - ones)]

    return replace


def _is_in_gelu(operation: Any) -> bool:
    """Tell whether it is in the argument of an error function: TFLite's converter fuses the exact GELU as it is."""
    after = operation.outputs[0].consumers()
    return any(last.type in ("Erf", "Erfc") for each in after for last in (each, *each.outputs[0].consumers()))


def _transposed(x: Any) -> Any:
    """Swap the last two axes; where one of them is 1 that moves nothing, and is a change of shape."""
    import tensorflow as tf

    *batch, rows, columns = x.shape.as_list()
    if 1 in (rows, columns):
        return tf.reshape(x, [*batch, columns, rows])
    return tf.linalg.matrix_transpose(x)


_HERE = frozenset({EDGE_TPU})

PASSES = (
    Pass(
        "one-hot-embeddings",
        "The Edge TPU does not look up rows of a table (GATHER).",
        frozenset({"GatherV2"}),
        embeddings,
        units=_HERE,
    ),
    Pass(
        "single-query-products",
        "The Edge TPU has no BATCH_MATMUL.",
        frozenset({"BatchMatMul", "BatchMatMulV2"}),
        single_queries,
        units=_HERE,
    ),
    Pass(
        "multiplied-negations",
        "The Edge TPU has no NEG.",
        frozenset({"Neg"}),
        negations,
        units=_HERE,
    ),
    Pass(
        "multiplied-negations",
        "TFLite has no NEG for integers: it stays in float between two conversions.",
        frozenset({"Neg"}),
        negations,
        formats=frozenset({"tflite"}),
        precisions=frozenset({"int8", "int16x8"}),
    ),
    Pass(
        "multiplied-choices",
        "The Edge TPU has no SELECT_V2.",
        frozenset({"Select", "SelectV2"}),
        constant_choices,
        units=_HERE,
    ),
    Pass(
        "multiplied-choices",
        "TFLite has no SELECT_V2 of 16-bit integers: it stays in float between two conversions.",
        frozenset({"Select", "SelectV2"}),
        constant_choices,
        formats=frozenset({"tflite"}),
        precisions=frozenset({"int16x8"}),
    ),
    Pass(
        "multiplied-differences",
        "Edge TPU runtimes before 14 have no SQUARED_DIFFERENCE.",
        frozenset({"SquaredDifference"}),
        squared_differences,
        units=_HERE,
    ),
    Pass(
        "multiplied-differences",
        "TFLite's converter writes a SQUARED_DIFFERENCE of 16-bit integers, which no runtime has.",
        frozenset({"SquaredDifference"}),
        squared_differences,
        formats=frozenset({"tflite"}),
        precisions=frozenset({"int16x8"}),
    ),
)
