"""Pass that writes a dense layer over several rows as a convolution of one pixel, which the Edge TPU takes.

Its FullyConnected computes one row ("output tensor is one-dimensional", profiles/edgetpu_ops.json). A kernel of 1 x 1
pixels multiplies each pixel's channels by the same matrix, whatever the image's sides: the rows are its pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compress._points import only_consumer
from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work

_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})
_SUMS = frozenset({"AddV2", "Add", "BiasAdd"})
_ACTIVATIONS = frozenset({"Relu", "Relu6"})
_KEEP_ROWS = frozenset({"Reshape", "Identity"})


def replacing(work: Work) -> Replace:
    """Replace a product by a constant matrix with the bias and the activation after it, which the convolution takes."""
    ends = {}
    for operation in work.graph.operations:
        if operation.type in _PRODUCTS and (matrix := _matrix(work, operation)) is not None:
            chain = _chain(work, operation, matrix.shape[1])
            ends[chain[-1].name] = chain

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.name not in ends:
            return None
        product, *rest = ends[operation.name]
        matrix = _matrix(work, product)
        assert matrix is not None
        source, shape = _image(product.inputs[0])
        kernel = tf.constant(matrix.reshape((1, 1, *matrix.shape)))
        result = tf.nn.conv2d(tf.reshape(value(source), shape), kernel, 1, "VALID")
        for each in rest:
            if each.type in _ACTIVATIONS:
                result = tf.nn.relu(result) if each.type == "Relu" else tf.nn.relu6(result)
            else:
                result = tf.nn.bias_add(result, tf.constant(_bias(work, each, matrix.shape[1])))
        return [tf.reshape(result, operation.outputs[0].shape)]

    return replace


def _matrix(work: Work, product: Any) -> np.ndarray | None:
    """Return the constant matrix that a product multiplies several rows by; None where it does none such."""
    left, right = product.inputs
    flags = ("transpose_a", "transpose_b") if product.type == "MatMul" else ("adj_x", "adj_y")
    if product.get_attr(flags[0]) or not left.shape.is_fully_defined() or left.dtype.name != "float32":
        return None
    rows = int(np.prod(left.shape[:-1]))
    matrix = work.graph.constant(right)
    if rows < 2 or matrix is None or work.graph.constant(left) is not None or matrix[..., 0, 0].size != 1:
        return None
    matrix = matrix.reshape(matrix.shape[-2:])
    return matrix.T if product.get_attr(flags[1]) else matrix


def _chain(work: Work, product: Any, channels: int) -> list[Any]:
    """Return a product and the sum with a bias and the activation after it, as far as nothing else reads between."""
    chain = [product]
    after = only_consumer(product.outputs[0])
    if after is not None and after.type in _SUMS and _bias(work, after, channels) is not None:
        chain.append(after)
        after = only_consumer(after.outputs[0])
    return [*chain, after] if after is not None and after.type in _ACTIVATIONS else chain


def _bias(work: Work, total: Any, channels: int) -> np.ndarray | None:
    """Return the constant of a sum, one number a channel; None where it adds something else.

    The channels may be spread over several axes, such as attention's heads.
    """
    shape = total.outputs[0].shape
    for place in (1, 0):
        bias = work.graph.constant(total.inputs[place])
        if (
            bias is None
            or bias.size != channels
            or total.inputs[1 - place].shape.num_elements() != shape.num_elements()
        ):
            continue
        axes = [*bias.shape]
        while axes and axes[0] == 1:
            axes.pop(0)
        if shape.as_list()[len(shape) - len(axes) :] == axes:
            return np.asarray(bias.reshape(-1))
    return None


def _image(tensor: Any) -> tuple[Any, list[int]]:
    """Return a tensor of the same rows, and the image ``[1, rows, columns, channels]`` that they are the pixels of.

    It is the tensor before changes of shape alone where that is an image: then nothing has to be moved.
    """
    channels = int(tensor.shape[-1])
    source = tensor
    while source.op.type in _KEEP_ROWS and source.op.inputs[0].shape.is_fully_defined():
        before = source.op.inputs[0]
        if not before.shape.rank or before.shape[-1] != channels:
            break
        source = before
    *batch, rows, columns = [1, 1, 1, *source.shape[:-1].as_list()][-4:]
    if all(size == 1 for size in batch) and source.shape.rank <= 5:
        return source, [1, rows, columns, channels]
    return source, [1, 1, int(np.prod(source.shape[:-1])), channels]


PASSES = (
    Pass(
        "convolved-rows",
        "The Edge TPU has FULLY_CONNECTED for one row alone; it has CONV_2D for any image.",
        _PRODUCTS,
        replacing,
        units=frozenset({EDGE_TPU}),
        counted=_PRODUCTS | _SUMS | _ACTIVATIONS,
    ),
)
