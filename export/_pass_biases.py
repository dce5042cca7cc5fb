"""Pass that writes a bias of the second axis as the sum that it is.

Keras adds a tensor with one long dimension, such as a number for each time step ``[steps, 1]``, by a BiasAdd whose
channels come first. TFLite's converter takes that for pictures alone: of three dimensions it fails.
"""

from collections.abc import Sequence
from typing import Any

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def replacing(work: Work) -> Replace:
    """Replace each such bias by a sum with ``[channels, 1, ...]``."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "BiasAdd" or operation.get_attr("data_format") != b"NCHW":
            return None
        rank = operation.inputs[0].shape.rank
        if rank is None:
            return None
        total, bias = operation.inputs
        whole = bias.op.inputs[0] if bias.op.type == "Squeeze" else bias
        return [tf.raw_ops.AddV2(x=value(total), y=tf.reshape(value(whole), [-1, *[1] * (rank - 2)]))]

    return replace


PASSES = (
    Pass(
        "sums-of-first-channels",
        "TFLite's converter fails of a BiasAdd of three dimensions whose channels come first.",
        frozenset({"Squeeze"}),  # what Keras makes a bias with
        replacing,
        formats=frozenset({"tflite"}),
        counted=frozenset({"BiasAdd"}),
    ),
)
