"""Pass that writes a pooling of volumes as two of pictures, one for height and width and one for depth.

The largest of the largest is the largest of all, and so it is with means: how many numbers a mean at the edge is of is
a product of how many there are along each axis.
"""

from collections.abc import Sequence
from typing import Any

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work
from ._pass_ranges import between

_TYPES = {"MaxPool3D": "max_pool2d", "AvgPool3D": "avg_pool2d"}


def replacing(work: Work) -> Replace:
    """Replace each such pooling."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type not in _TYPES or operation.get_attr("data_format") != b"NDHWC":
            return None
        given, made = operation.inputs[0].shape, operation.outputs[0].shape
        if not (given.is_fully_defined() and made.is_fully_defined()):
            return None
        return [_in_two(operation, value(operation.inputs[0]), given.as_list(), made.as_list())]

    return replace


def _in_two(operation: Any, x: Any, given: list[int], made: list[int]) -> Any:
    import tensorflow as tf

    pool = getattr(tf.nn, _TYPES[operation.type])
    padding = operation.get_attr("padding").decode()
    size, stride = (operation.get_attr(name)[1:4] for name in ("ksize", "strides"))
    batch, depth, *picture, channels = given
    pictures = pool(tf.reshape(x, (batch * depth, *picture, channels)), size[1:], stride[1:], padding)
    if operation.type == "AvgPool3D":
        pictures = between(pictures)
    rows = tf.reshape(pictures, (batch, depth, made[2] * made[3], channels))
    return tf.reshape(pool(rows, (size[0], 1), (stride[0], 1), padding), made)


PASSES = (
    Pass(
        "pools-of-pictures",
        "TFLite pools pictures alone.",
        frozenset(_TYPES),
        replacing,
        formats=frozenset({"tflite"}),
    ),
)
