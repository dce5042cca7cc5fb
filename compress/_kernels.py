"""The axes of a kernel: which of them are inputs, outputs and places.

A weight connects one input with one output at one place: of a convolution's window, or of a batch of kernels. Patterns
of zeros run along the inputs of one output at one place, which is how runtimes read a kernel: TFLite keeps a dense
kernel as [outputs, inputs] and a convolution's as [outputs, window, inputs].
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

# Why a vector, such as a bias, is not pruned.
NO_VECTOR = "has one dimension: zeros there save nothing"


@dataclass(frozen=True)
class Axes:
    """The axes of a kernel by what they count; the last of each group runs fastest."""

    places: tuple[int, ...]
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]

    def matrices(self, kernel: np.ndarray) -> np.ndarray:
        """Return a kernel as ``[places, outputs, inputs]``."""
        shape = [math.prod(kernel.shape[axis] for axis in group) for group in (self.places, self.outputs, self.inputs)]
        return kernel.transpose(*self.places, *self.outputs, *self.inputs).reshape(shape)

    def kernel(self, matrices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return what ``matrices`` made ``[places, outputs, inputs]`` of, in the kernel's shape."""
        order = (*self.places, *self.outputs, *self.inputs)
        return matrices.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))

    def counts(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many outputs and inputs a kernel has at one place."""
        return math.prod(shape[axis] for axis in self.outputs), math.prod(shape[axis] for axis in self.inputs)


def axes_of(model: "keras.Model") -> dict[str, Axes]:
    """Return the axes of every trainable variable of two or more dimensions, by its path.

    An einsum's follow from its equation: an axis that the output has is an output, one that it lacks is an input, and
    one that inputs, kernel and output share is a place. A transposed convolution has its outputs before its inputs. A
    depthwise kernel has one input for each output. In all others, custom layers included, the last axis is the outputs,
    the one before it the inputs, and further ones are places.
    """
    found = {
        variable.path: _last_two(len(variable.shape))
        for variable in model.trainable_variables
        if len(variable.shape) >= 2
    }
    for layer in model._flatten_layers(include_self=False, recursive=True):
        found.update({path: axes for path, axes in _of_layer(layer).items() if path in found})
    return found


def _last_two(dimensions: int) -> Axes:
    return Axes(tuple(range(dimensions - 2)), (dimensions - 1,), (dimensions - 2,))


def _of_layer(layer: "keras.layers.Layer") -> dict[str, Axes]:
    """Return the axes of a layer's kernel where they are others than the last two."""
    import keras

    layers = keras.layers
    transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    if isinstance(layer, layers.EinsumDense) and layer.built:
        return {layer.kernel.path: _of_einsum(layer.equation)}
    if isinstance(layer, transposed) and layer.built:
        last = len(layer.kernel.shape) - 1
        return {layer.kernel.path: Axes(tuple(range(last - 1)), (last - 1,), (last,))}
    depthwise = getattr(layer, "depthwise_kernel", None)  # of a separable convolution
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D) and layer.built:
        depthwise = layer.kernel
    if depthwise is not None:
        last = len(depthwise.shape) - 1
        return {depthwise.path: Axes(tuple(range(last - 1)), (last - 1, last), ())}
    return {}


def _of_einsum(equation: str) -> Axes:
    inputs, kernel, output = re.split(",|->", equation.replace("...", "").replace(" ", ""))
    places = tuple(axis for axis, letter in enumerate(kernel) if letter in output and letter in inputs)
    outputs = tuple(axis for axis, letter in enumerate(kernel) if letter in output and letter not in inputs)
    return Axes(places, outputs, tuple(axis for axis, letter in enumerate(kernel) if letter not in output))
