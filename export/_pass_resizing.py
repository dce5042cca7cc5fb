"""Passes for pictures of another size: as products with matrices where converters lack them, and as chosen pixels.

Each pixel of a resized picture is a weighted sum along the height of weighted sums along the width. The weights are
what TensorFlow itself makes of pictures of a single pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work
from ._pass_ranges import between

_SUMS = frozenset({"ResizeBicubic", "ScaleAndTranslate"})
_POSITIONS = ("align_corners", "half_pixel_centers")


def matrices(work: Work) -> Replace:
    """Write each resizing by weighted sums as two products."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in _SUMS or not operation.inputs[0].shape.is_fully_defined():
            return None
        how = [work.graph.constant(tensor) for tensor in operation.inputs[1:]]
        if any(each is None for each in how):
            return None
        batch, height, width, channels = operation.inputs[0].shape.as_list()
        x = tf.cast(value(operation.inputs[0]), tf.float32)
        down, across = (_weights(operation, how, axis, size) for axis, size in enumerate((height, width)))
        tall = _product(tf.transpose(x, (0, 2, 3, 1)), down)  # [batch, width, channels, new height]
        wide = _product(tf.transpose(between(tall), (0, 3, 2, 1)), across)  # [batch, new height, channels, new width]
        return [tf.transpose(wide, (0, 1, 3, 2))]

    return replace


def _weights(operation: Any, how: list[Any], axis: int, size: int) -> np.ndarray:
    """Return what each place along an axis of a picture gives to each of the resized one, ``[size, new size]``."""
    import tensorflow as tf

    names = _POSITIONS if operation.type == "ResizeBicubic" else ("antialias",)
    attributes = {name: operation.get_attr(name) for name in names}
    with tf.init_scope():
        columns = tf.reshape(tf.eye(size), (1, size, 1, size))
        new = [how[0][axis], 1]
        if operation.type == "ResizeBicubic":
            made = tf.raw_ops.ResizeBicubic(images=columns, size=new, **attributes)
        else:
            made = tf.raw_ops.ScaleAndTranslate(
                images=columns,
                size=new,
                scale=[how[1][axis], 1.0],
                translation=[how[2][axis], 0.0],
                kernel_type=operation.get_attr("kernel_type").decode(),
                **attributes,
            )
    return np.ascontiguousarray(made.numpy()[0, :, 0].T)


def _product(x: Any, weights: np.ndarray) -> Any:
    import tensorflow as tf

    shape = x.shape.as_list()
    rows = tf.matmul(tf.reshape(x, (-1, shape[-1])), tf.constant(weights))
    return tf.reshape(rows, (*shape[:-1], weights.shape[1]))


def pixels(work: Work) -> Replace:
    """Write each choice of the nearest pixels as that of the places which TensorFlow chooses.

    Where a picture is enlarged by a whole number every runtime chooses these.
    """

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "ResizeNearestNeighbor" or not operation.inputs[0].shape.is_fully_defined():
            return None
        sizes, news = operation.inputs[0].shape[1:3], work.graph.constant(operation.inputs[1])
        if news is None or not any(new % size for size, new in zip(sizes, news, strict=True)):
            return None
        result = value(operation.inputs[0])
        for axis, (size, new) in enumerate(zip(sizes, map(int, news), strict=True), 1):
            result = tf.gather(result, _chosen(operation, size, new), axis=axis)
        return [result]

    return replace


def _chosen(operation: Any, size: int, new: int) -> np.ndarray:
    import tensorflow as tf

    attributes = {name: operation.get_attr(name) for name in _POSITIONS}
    with tf.init_scope():
        places = tf.reshape(tf.range(float(size)), (1, size, 1, 1))
        made = tf.raw_ops.ResizeNearestNeighbor(images=places, size=[new, 1], **attributes)
    return made.numpy().reshape(-1).astype(np.int32)


PASSES = (
    Pass(
        "resizing-matrices",
        "TFLite and OpenVINO have no bicubic resizing, ONNX Runtime none of integers, and no format another filter.",
        _SUMS,
        matrices,
    ),
    Pass(
        "nearest-pixels",
        "ONNX Runtime and OpenVINO compute places otherwise than TensorFlow: some are rounded to a neighbour.",
        frozenset({"ResizeNearestNeighbor"}),
        pixels,
        formats=frozenset({"onnx", "openvino"}),
    ),
)
