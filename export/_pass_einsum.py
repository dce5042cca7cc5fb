"""Pass that writes an Einsum of two tensors as one product of matrices, which other passes then write for the Edge TPU.

Its labels are sorted as in every lowering of Einsum: in both operands and in the result, one product for each; in both
and not in the result, what is summed; in one operand alone, its rows or columns.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def replacing(work: Work) -> Replace:
    """Replace each Einsum whose labels are of these three kinds, at fixed sizes."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "Einsum" or not (labels := _labels(operation)):
            return None
        first, second, result = labels
        a, b = value(operation.inputs[0]), value(operation.inputs[1])
        shapes = [tensor.shape.as_list() for tensor in operation.inputs]
        sizes = dict(zip(first + second, shapes[0] + shapes[1], strict=True))
        if _comes_first(second, first, result):
            first, second, a, b = second, first, b, a
        each = [label for label in result if label in first and label in second]
        rows = [label for label in result if label in first and label not in second]
        columns = [label for label in result if label in second and label not in first]
        summed = [label for label in first if label in second and label not in result]

        def count(names: Sequence[str]) -> int:
            return math.prod(sizes[name] for name in names)

        # What is summed may come last in both, which saves moving it.
        flipped = second[-1] in summed
        right = [*each, *columns, *summed] if flipped else [*each, *summed, *columns]
        left_shape = [count(rows), count(summed)]
        right_shape = [count(columns), count(summed)] if flipped else [count(summed), count(columns)]
        if count(each) > 1:
            left_shape, right_shape = [1, count(each), *left_shape], [1, count(each), *right_shape]
        left_matrix = tf.reshape(_in_order(a, first, [*each, *rows, *summed]), left_shape)
        right_matrix = tf.reshape(_in_order(b, second, right), right_shape)
        product = tf.matmul(left_matrix, right_matrix, transpose_b=flipped)
        made = [*each, *rows, *columns]
        product = tf.reshape(product, [sizes[name] for name in made])
        return [_in_order(product, made, list(result))]

    return replace


def _labels(operation: Any) -> tuple[str, str, str] | None:
    """Return the labels of both operands and of the result; None where they are not of the three kinds."""
    equation = operation.get_attr("equation").decode().replace(" ", "")
    if len(operation.inputs) != 2 or "." in equation or "->" not in equation:
        return None
    operands, result = equation.split("->")
    first, second = operands.split(",")
    alone = (set(first) ^ set(second)) - set(result)
    repeated = any(len(set(names)) < len(names) for names in (first, second, result))
    known = all(tensor.shape.is_fully_defined() and tensor.dtype.name == "float32" for tensor in operation.inputs)
    return None if alone or repeated or not known or not first or not second else (first, second, result)


def _comes_first(one: str, other: str, result: str) -> bool:
    """Tell whether, of the labels in one operand alone, those of ``one`` come first in the result."""
    alone = [label for label in result if (label in one) != (label in other)]
    return bool(alone) and alone[0] in one


def _in_order(tensor: Any, names: Sequence[str], wanted: Sequence[str]) -> Any:
    """Return a tensor with its axes in another order."""
    import tensorflow as tf

    order = [list(names).index(name) for name in wanted]
    if order == sorted(order):
        return tensor
    # Axes of 1 move nothing: where the others keep their order it is a change of shape.
    long = [axis for axis in order if tensor.shape[axis] != 1]
    if long == sorted(long):
        return tf.reshape(tensor, [tensor.shape[axis] for axis in order])
    return tf.transpose(tensor, order)


PASSES = (
    Pass(
        "einsum-products",
        "Of an Einsum TFLite makes BATCH_MATMUL, which the Edge TPU lacks, or a dense layer over rows.",
        frozenset({"Einsum"}),
        replacing,
        units=frozenset({EDGE_TPU}),
    ),
)
