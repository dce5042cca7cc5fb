"""Pass that writes a softmax over several rows as one a row: the Edge TPU's takes a one-dimensional tensor alone."""

import math
from collections.abc import Sequence
from typing import Any

from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work

# Beyond, a softmax is more operations than the graph around it; what the compiler makes of so many is not known.
_MOST_ROWS = 64


def replacing(work: Work) -> Replace:
    """Split the rows, normalize each, and join them."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "Softmax" or not operation.inputs[0].shape.is_fully_defined():
            return None
        *sizes, last = operation.inputs[0].shape.as_list()
        rows = math.prod(sizes)
        if not 1 < rows <= _MOST_ROWS:
            return None
        parts = tf.split(tf.reshape(value(operation.inputs[0]), (1, rows, last)), rows, axis=1)
        joined = tf.concat([tf.nn.softmax(part) for part in parts], axis=1)
        return [tf.reshape(joined, (*sizes, last))]

    return replace


PASSES = (
    Pass(
        "softmax-by-rows",
        "The Edge TPU has SOFTMAX for one row alone.",
        frozenset({"Softmax"}),
        replacing,
        units=frozenset({EDGE_TPU}),
    ),
)
