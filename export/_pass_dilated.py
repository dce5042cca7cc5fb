"""Passes for dilated convolutions, which TensorFlow writes in ways that few converters see through."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work
from ._pass_ranges import QUANTIZER, rounded_as

_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv3D"})
_CHANNELS_LAST = frozenset({b"NHWC", b"NDHWC"})


def whole(work: Work) -> Replace:
    """Write a convolution of parts of a tensor (SpaceToBatchND) as one that is dilated."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "BatchToSpaceND":
            return None
        quantizer = _before(operation.inputs[0], "Squeeze")
        rounded = quantizer.type == QUANTIZER
        convolution = _before(quantizer.inputs[0], "Squeeze") if rounded else quantizer
        if convolution.type not in _CONVOLUTIONS or not _is_plain(convolution):
            return None
        parts = _before(convolution.inputs[0], "ExpandDims")
        if parts.type != "SpaceToBatchND":
            return None
        tensors = (*parts.inputs[1:], *operation.inputs[1:], convolution.inputs[1])
        constants = [work.graph.constant(tensor) for tensor in tensors]
        if any(each is None for each in constants):
            return None
        block, pads, again, crops, kernel = map(np.asarray, constants)
        if not np.array_equal(block, again) or crops[:, 0].any() or (pads < crops).any():
            return None
        made = _dilated(convolution, value(parts.inputs[0]), kernel, block, pads - crops)
        return [rounded_as(quantizer, made, value) if rounded else made]

    return replace


def _before(tensor: Any, skipped: str) -> Any:
    """Return the operation that computes a tensor, or what one of a type makes it of."""
    operation = tensor.op
    while operation.type in ("Identity", skipped):
        operation = operation.inputs[0].op
    return operation


def _is_plain(convolution: Any) -> bool:
    return (
        convolution.get_attr("data_format") in _CHANNELS_LAST
        and convolution.get_attr("padding") == b"VALID"
        and set(convolution.get_attr("strides")) | set(convolution.get_attr("dilations")) == {1}
    )


def _dilated(convolution: Any, x: Any, kernel: np.ndarray, block: np.ndarray, pads: np.ndarray) -> Any:
    """Return the convolution of x, padded, with a dilation for each axis behind the batch.

    Args:
        convolution: the operation that had parts of x.
        x: ``[batch, ..., channels]``; of a sequence that became a picture one axis is lacking behind the batch.
        kernel: its weights.
        block: dilations of the first axes.
        pads: of the same axes, ``[axes, 2]``.
    """
    import tensorflow as tf

    rank = convolution.inputs[0].shape.rank
    lacking = rank - x.shape.rank
    steps = np.ones(rank, int)
    steps[1 + lacking : 1 + lacking + len(block)] = block
    around = np.zeros((rank, 2), int)
    around[1 + lacking : 1 + lacking + len(block)] = pads
    reach = np.zeros(rank, int)
    reach[1:-1] = (np.array(kernel.shape[: rank - 2]) - 1) * steps[1:-1]
    # How TensorFlow pads so that the size stays.
    same = np.array_equal(around, np.stack([reach // 2, reach - reach // 2], 1))
    for _ in range(lacking):
        x = tf.expand_dims(x, 1)
    if not same and around.any():
        x = tf.pad(x, around)
    made = getattr(tf.raw_ops, convolution.type)(
        input=x,
        filter=tf.constant(kernel),
        strides=[1] * rank,
        padding="SAME" if same else "VALID",
        dilations=steps.tolist(),
    )
    return tf.squeeze(made, list(range(1, 1 + lacking))) if lacking else made


def spread(work: Work) -> Replace:
    """Write the dilation of a transposed convolution into its kernel, as zeros between the weights.

    Padding goes by the size that both have.
    """

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "Conv2DBackpropInput" or operation.get_attr("data_format") != b"NHWC":
            return None
        by, kernel = operation.get_attr("dilations")[1:3], work.graph.constant(operation.inputs[1])
        if tuple(by) == (1, 1) or kernel is None:
            return None
        sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape, by, strict=False)]
        with_zeros = np.zeros((*sizes, *kernel.shape[2:]), kernel.dtype)
        with_zeros[:: by[0], :: by[1]] = kernel
        made = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=value(operation.inputs[0]),
            filter=tf.constant(with_zeros),
            out_backprop=value(operation.inputs[2]),
            strides=operation.get_attr("strides"),
            padding=operation.get_attr("padding").decode(),
        )
        return [made]

    return replace


PASSES = (
    Pass(
        "whole-dilations",
        "OpenVINO computes dilated convolutions of sequences in parts, takes none in groups; TFLite none of volumes.",
        frozenset({"BatchToSpaceND"}),
        whole,
    ),
    Pass(
        "kernels-with-zeros",
        "TFLite has no transposed convolution that is dilated.",
        frozenset({"Conv2DBackpropInput"}),
        spread,
        formats=frozenset({"tflite"}),
    ),
)
