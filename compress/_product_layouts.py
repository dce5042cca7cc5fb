"""How an operation multiplies a kernel: as matrices ``[groups, inputs, outputs]``, and what rows they multiply.

A matrix product and an einsum have one matrix, or one for each place of a batch of kernels; a convolution multiplies
the patches of its input; a depthwise one has a matrix for each channel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layout:
    """A kernel as matrices.

    Attributes:
        places: ``[groups, inputs, outputs]``, for each element of the matrices its place in the flattened kernel.
        rows: maps the operation to what is multiplied, ``[rows, groups, inputs]``.
        alone: whether outputs of each group have scales of their own in files; those of a batch of kernels share them.
        window: how many inputs of a channel lie before those of the next in files, but beside each other here.
    """

    places: np.ndarray
    rows: Callable[[Any], Any]
    alone: bool = False
    window: int = 1


def layout_of(operation: Any, place: int, kernel: np.ndarray) -> "Layout | str":
    """Return how an operation multiplies the kernel that is its input number ``place``; the reason where it does not.

    Args:
        operation: TensorFlow's.
        place: 0 or 1.
        kernel: the place in the flattened kernel of each element of that input.
    """
    if operation.type == "Einsum" and len(operation.inputs) == 2:
        return _einsum(operation, place, kernel, operation.get_attr("equation").decode())
    if operation.type == "MatMul":
        equation = ",".join(
            ("ba" if operation.get_attr("transpose_a") else "ab", "cb" if operation.get_attr("transpose_b") else "bc")
        )
        return _einsum(operation, place, kernel, f"{equation}->ac")
    if operation.type == "BatchMatMulV2":
        return _batched(operation, place, kernel)
    if operation.type in ("Conv2D", "DepthwiseConv2dNative") and place == 1:
        return _convolution(operation, kernel)
    return f"is read by {operation.type}, which is no product of a known kind"


def _batched(operation: Any, place: int, kernel: np.ndarray) -> "Layout | str":
    letters = "defghijklmnopqrstuvwxyz"
    ranks = [tensor.shape.rank for tensor in operation.inputs]
    batch = letters[: max(ranks) - 2]
    ends = [
        ("ba" if operation.get_attr("adj_x") else "ab"),
        ("cb" if operation.get_attr("adj_y") else "bc"),
    ]
    given = [batch[len(batch) - (rank - 2) :] + end for rank, end in zip(ranks, ends, strict=True)]
    # An axis of size 1 is repeated along the other operand's.
    alone = [axis for axis in range(kernel.ndim - 2) if kernel.shape[axis] == 1]
    given[place] = "".join(letter for axis, letter in enumerate(given[place]) if axis not in alone)
    return _einsum(operation, place, kernel.squeeze(tuple(alone)), f"{','.join(given)}->{batch}ac")


def _einsum(operation: Any, place: int, kernel: np.ndarray, equation: str) -> "Layout | str":
    import tensorflow as tf

    operands, output = equation.split("->")
    given = operands.split(",")
    letters, other = given[place], given[1 - place]
    rank = operation.inputs[1 - place].shape.rank
    if "..." in letters or rank is None:
        return f"is in an einsum {equation}, whose axes are not all named"
    more = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: rank - len(other.replace("...", ""))] if "..." in other else ""
    other, output = other.replace("...", more), output.replace("...", more)
    batch = [letter for letter in letters if letter in other and letter in output]
    summed = [letter for letter in letters if letter in other and letter not in output]
    kept = [letter for letter in letters if letter not in other]
    rows = [letter for letter in other if letter not in letters]
    if not summed or any(letter not in output for letter in kept + rows) or len(set(letters)) < len(letters):
        return f"is in an einsum {equation}, which is not one product with a matrix"
    sizes = dict(zip(letters, kernel.shape, strict=True))
    groups, inputs, outputs = (math.prod(sizes[letter] for letter in part) for part in (batch, summed, kept))
    places = kernel.transpose([letters.index(letter) for letter in batch + summed + kept])
    order = [other.index(letter) for letter in rows + batch + summed]

    def multiplied(operation: Any) -> Any:
        return tf.reshape(tf.transpose(operation.inputs[1 - place], order), (-1, groups, inputs))

    return Layout(places.reshape(groups, inputs, outputs), multiplied)


def _convolution(operation: Any, kernel: np.ndarray) -> "Layout | str":
    import tensorflow as tf

    padding, order = operation.get_attr("padding").decode(), operation.get_attr("data_format").decode()
    strides, rates = list(operation.get_attr("strides")), list(operation.get_attr("dilations"))
    if padding not in ("SAME", "VALID") or order != "NHWC":
        return f"is in a convolution with padding {padding} and axes {order}"
    height, width, channels, outputs = kernel.shape
    window = height * width

    def patches(operation: Any) -> Any:
        return tf.image.extract_patches(operation.inputs[0], [1, height, width, 1], strides, rates, padding)

    if operation.type == "DepthwiseConv2dNative":
        places = kernel.reshape(window, channels, outputs).transpose(1, 0, 2)

        def of_each_channel(operation: Any) -> Any:
            return tf.transpose(tf.reshape(patches(operation), (-1, window, channels)), (0, 2, 1))

        return Layout(places, of_each_channel, alone=True)
    total = operation.inputs[0].shape[-1]
    if not total or total % channels or outputs % (total // channels):
        return f"is in a convolution over {total} channels"
    groups = total // channels
    places = kernel.reshape(window, channels, groups, outputs // groups).transpose(2, 0, 1, 3)

    def of_each_group(operation: Any) -> Any:
        parts = tf.transpose(tf.reshape(patches(operation), (-1, window, groups, channels)), (0, 2, 1, 3))
        return tf.reshape(parts, (-1, groups, window * channels))

    return Layout(places.reshape(groups, window * channels, -1), of_each_group, True, window)
