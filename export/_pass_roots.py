"""Pass that bounds what a reciprocal root is taken of instead of the root, as keras.ops.normalize bounds it.

A vector of zeros has the norm zero: TensorFlow's 1/sqrt(0) is infinity, which a minimum makes a large number of, and
the products with it are zeros. XNNPACK's is NaN, and the vector with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work

# Squares of smaller bounds vanish in float32.
_LARGEST = 1e18


def replacing(work: Work) -> Replace:
    """Write the minimum of 1/sqrt(x) and a constant c as 1/sqrt of the maximum of x and 1/c**2."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "Minimum":
            return None
        for root, bound in (operation.inputs, reversed(operation.inputs)):
            limits = work.graph.constant(bound) if root.op.type == "Rsqrt" else None
            if limits is not None and limits.dtype == np.float32 and limits.min() > 0 and limits.max() < _LARGEST:
                smallest = tf.constant(1 / limits.astype(np.float64) ** 2, tf.float32)
                return [tf.math.rsqrt(tf.maximum(value(root.op.inputs[0]), smallest))]
        return None

    return replace


PASSES = (
    Pass(
        "bounded-roots",
        "XNNPACK's reciprocal root of zero is NaN, and so is a vector of zeros that is normalized.",
        frozenset({"Rsqrt"}),
        replacing,
        formats=frozenset({"tflite"}),
        counted=frozenset({"Minimum"}),
    ),
)
