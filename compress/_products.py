"""A layer as a product of its inputs with one matrix, and the two layers that its factors make."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Config = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """A layer that multiplies vectors of its input by a matrix, and what replaces it at some rank.

    Attributes:
        layer: the layer.
        matrix: ``[inputs, outputs]``, its kernel.
        full: its multiplications for one place of its output.
        per_rank: those of the two layers at rank 1.
        first, second: map a rank to the configuration of the layer that reduces to it, and of the one that expands it.
        first_kernel, second_kernel: map factors ``[inputs, rank]`` and ``[rank, outputs]`` to kernels.
        bias_per_output: whether it has a bias with one element for each of ``outputs``.
    """

    layer: Any
    matrix: np.ndarray
    full: int
    per_rank: int
    first: Callable[[int], Config]
    second: Callable[[int], Config]
    first_kernel: Callable[[np.ndarray], np.ndarray]
    second_kernel: Callable[[np.ndarray], np.ndarray]
    bias_per_output: bool

    def cost(self, rank: int) -> int:
        """Return the multiplications of the two layers at a rank, for one place of the output."""
        return rank * self.per_rank


def product_of(layer: Any, spatial: bool) -> "Product | str":
    """Return a layer as a product; the reason where it is none.

    Args:
        layer: a layer that has been built.
        spatial: whether convolutions over two dimensions are factored into one along each.
    """
    import keras

    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return "has a kernel that Keras adapts (LoRA) or has quantized"
    if type(layer) is keras.layers.Dense:
        return _dense(layer)
    if type(layer) is keras.layers.EinsumDense:
        return _einsum(layer)
    if type(layer) in (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D):
        if layer.groups > 1:
            return "is a convolution in groups, a product for each group"
        size = layer.kernel_size
        return _spatial(layer) if spatial and len(size) == 2 and min(size) > 1 else _convolution(layer)
    return f"belongs to a layer of type {type(layer).__name__}, which is not one product with a matrix"


def _dense(layer: Any) -> Product:
    matrix = np.asarray(layer.kernel, np.float64)
    inputs, outputs = matrix.shape
    return Product(
        layer,
        matrix,
        inputs * outputs,
        inputs + outputs,
        lambda rank: {**_first(layer), "units": rank},
        lambda rank: _second(layer),
        lambda left: left,
        lambda right: right,
        layer.use_bias,
    )


def _convolution(layer: Any) -> Product:
    """To ``rank`` channels by the same window, then from there by a window of one."""
    kernel = np.asarray(layer.kernel, np.float64)
    *window, channels, outputs = kernel.shape
    inputs = math.prod(window) * channels
    one = [1] * len(window)
    return Product(
        layer,
        kernel.reshape(inputs, outputs),
        inputs * outputs,
        inputs + outputs,
        lambda rank: {**_first(layer), "filters": rank},
        lambda rank: {
            **_second(layer),
            "kernel_size": one,
            "strides": one,
            "dilation_rate": one,
            "padding": "valid",
        },
        lambda left: left.reshape(*window, channels, -1),
        lambda right: right.reshape(*one, -1, outputs),
        layer.use_bias,
    )


def _spatial(layer: Any) -> Product:
    """Down the columns to ``rank`` channels, then along the rows."""
    kernel = np.asarray(layer.kernel, np.float64)
    height, width, channels, outputs = kernel.shape
    (down, along), (dilated_down, dilated_along) = layer.strides, layer.dilation_rate
    return Product(
        layer,
        kernel.transpose(0, 2, 1, 3).reshape(height * channels, width * outputs),
        kernel.size,
        height * channels * along + width * outputs,  # the first layer's columns are those of the input
        lambda rank: {
            **_first(layer),
            "filters": rank,
            "kernel_size": [height, 1],
            "strides": [down, 1],
            "dilation_rate": [dilated_down, 1],
        },
        lambda rank: {
            **_second(layer),
            "kernel_size": [1, width],
            "strides": [1, along],
            "dilation_rate": [1, dilated_along],
        },
        lambda left: left.reshape(height, 1, channels, -1),
        lambda right: right.reshape(-1, width, outputs).transpose(1, 0, 2)[np.newaxis],
        False,
    )


def _einsum(layer: Any) -> "Product | str":
    """An einsum whose kernel's letters are each either summed over or new in the output."""
    equation = layer.equation.replace(" ", "")
    operands, output = equation.split("->")
    given, letters = operands.split(",")
    summed = [letter for letter in letters if letter not in output]
    kept = [letter for letter in letters if letter in output]
    rest = [letter for letter in given.replace("...", "") if letter not in summed]
    if (
        any(letter in given for letter in kept)
        or any(letter not in given for letter in summed)
        or not (summed and kept)
    ):
        return f"is an einsum {equation}, which is not one product with a matrix"
    if any(letter not in output for letter in rest):
        return f"is an einsum {equation}, which sums over more than its kernel's axes"
    kernel = np.asarray(layer.kernel, np.float64)
    order = [letters.index(letter) for letter in summed + kept]
    sizes = [kernel.shape[place] for place in order]
    inputs, outputs = math.prod(sizes[: len(summed)]), math.prod(sizes[len(summed) :])
    dots = "..." if "..." in given else ""
    new = next(letter for letter in "rstuvwxyzabcdefghijklmnopq" if letter not in equation)
    between = dots + "".join(rest) + new
    # Of a batch and the further axes, only the last one is new; ellipses and the batch are not counted.
    unknown: list[int | None] = [None] * (len(rest) - (not dots))
    return Product(
        layer,
        kernel.transpose(order).reshape(inputs, outputs),
        inputs * outputs,
        inputs + outputs,
        lambda rank: {
            **_first(layer, bias="bias_axes"),
            "equation": f"{given},{''.join(summed)}{new}->{between}",
            "output_shape": [*unknown, rank],
        },
        lambda rank: {**_second(layer), "equation": f"{between},{new}{''.join(kept)}->{output}"},
        lambda left: left.reshape(*sizes[: len(summed)], -1),
        lambda right: right.reshape(-1, *sizes[len(summed) :]),
        False,
    )


def _first(layer: Any, bias: str = "use_bias") -> Config:
    none = {"use_bias": False, "bias_axes": None}[bias]
    return {**_second(layer), "activation": None, "activity_regularizer": None, bias: none}


def _second(layer: Any) -> Config:
    """Return the layer's configuration without what depends on the kernel's shape."""
    none = {"kernel_regularizer": None, "kernel_constraint": None, "kernel_initializer": "zeros"}
    return {**layer.get_config(), **none}
