"""Pass that writes a product of two computed matrices, such as attention's, as products of numbers and their sums.

The Edge TPU has no BATCH_MATMUL, and its dense layers take constants alone. It takes no tensor with more than three
sizes above one either, so several products of a batch, such as attention's heads, are written one by one.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work
from ._pass_ranges import between

_FLAGS = {
    "MatMul": ("transpose_a", "transpose_b"),
    "BatchMatMul": ("adj_x", "adj_y"),
    "BatchMatMulV2": ("adj_x", "adj_y"),
}
# Beyond, the products in between take more memory than the Edge TPU has (8 MB), or more operations than are of use.
_MOST_NUMBERS, _MOST_MATRICES = 2**20, 32


def replacing(work: Work) -> Replace:
    """Replace each product."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in _FLAGS or not (sizes := _sizes(work, operation)):
            return None
        matrices, rows, depth, columns = sizes
        left, right = value(operation.inputs[0]), value(operation.inputs[1])
        flip_left, flip_right = _flips(operation)
        if 1 in (rows, columns):
            return [_of_a_vector(left, right, flip_left, flip_right)]
        lefts = _parts(left, matrices, *((depth, rows) if flip_left else (rows, depth)))
        rights = _parts(right, matrices, *((columns, depth) if flip_right else (depth, columns)))
        made = []
        for a, b in zip(lefts, rights, strict=True):
            a = tf.linalg.matrix_transpose(a) if flip_left else a
            if flip_right:
                numbers = tf.reshape(a, (1, rows, 1, depth)) * tf.reshape(b, (1, 1, columns, depth))
                total = tf.reduce_sum(between(numbers), 3)
            else:
                numbers = tf.reshape(a, (1, rows, depth, 1)) * tf.reshape(b, (1, 1, depth, columns))
                total = tf.reduce_sum(between(numbers), 2)
            made.append(tf.reshape(total, (1, 1, rows, columns)))
        joined = tf.concat(made, axis=1) if matrices > 1 else made[0]
        return [tf.reshape(joined, operation.outputs[0].shape)]

    return replace


def _flips(product: Any) -> tuple[bool, bool]:
    """Return whether the left and the right matrix are transposed before they are multiplied."""
    left, right = _FLAGS[product.type]
    return product.get_attr(left), product.get_attr(right)


def _sizes(work: Work, product: Any) -> tuple[int, int, int, int] | None:
    """Return matrices, rows, summed numbers and columns; None where the product is left as it is."""
    left, right = product.inputs
    if work.graph.constant(right) is not None or product.outputs[0].dtype.name != "float32":
        return None  # a dense layer, or none of numbers that are quantized
    if not left.shape.is_fully_defined() or not right.shape.is_fully_defined():
        return None
    *batch, rows, columns = product.outputs[0].shape.as_list()
    depth = int(left.shape[-2 if _flips(product)[0] else -1])
    if 1 in (rows, columns):
        return math.prod(batch), rows, depth, columns
    same = left.shape[:-2].as_list() == right.shape[:-2].as_list() == batch
    if not same or math.prod(batch) > _MOST_MATRICES or rows * depth * columns > _MOST_NUMBERS:
        return None
    return math.prod(batch), rows, depth, columns


def _of_a_vector(left: Any, right: Any, flip_left: bool, flip_right: bool) -> Any:
    """Return the product in which one side has one row, or one column, of all matrices at once."""
    import tensorflow as tf

    a = _transposed(left) if flip_left else left
    b = _transposed(right) if flip_right else right
    if b.shape[-1] == 1:
        return tf.reduce_sum(between(a * _transposed(b)), -1, keepdims=True)
    return tf.reduce_sum(between(_transposed(a) * b), -2, keepdims=True)


def _parts(tensor: Any, matrices: int, rows: int, columns: int) -> list[Any]:
    """Return the matrices of a batch, each ``[1, 1, rows, columns]``."""
    import tensorflow as tf

    tensor = tf.reshape(tensor, (1, matrices, rows, columns))
    return tf.split(tensor, matrices, axis=1) if matrices > 1 else [tensor]


def _transposed(x: Any) -> Any:
    """Swap the last two axes; where one of them is 1 that moves nothing, and is a change of shape."""
    import tensorflow as tf

    *batch, rows, columns = x.shape.as_list()
    if 1 in (rows, columns):
        return tf.reshape(x, [*batch, columns, rows])
    return tf.linalg.matrix_transpose(x)


PASSES = (
    Pass(
        "summed-products",
        "The Edge TPU has no BATCH_MATMUL.",
        frozenset(_FLAGS),
        replacing,
        units=frozenset({EDGE_TPU}),
    ),
)
