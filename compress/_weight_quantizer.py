"""Fake quantization of kernels: symmetric integers with a scale for each output channel, as converters store them."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ._kernels import axes_of
from ._transform import Transform, straight_through

if TYPE_CHECKING:
    import keras

# Where the largest magnitude of a channel is below this, the channel is zero.
_LEAST = 1e-9


class WeightQuantizer(Transform):
    """A kernel rounded to ``scale * integer``, the scale being the largest magnitude of the channel over the largest
    integer.

    The range is symmetric and narrow, -127 to 127 of 8 bits, so that zero and the largest weight are exact, and
    quantizing again by the same rule, as converters do, changes nothing (Krishnamoorthi, "Quantizing deep
    convolutional networks for efficient inference", 2018, arXiv 1806.08342, section 2.2).

    Args:
        technique: the technique that asks for it.
        variable: the kernel.
        axes: the axes that are summed over; the others are output channels.
        bits: of an integer.
    """

    def __init__(self, technique: str, variable: "keras.Variable", axes: tuple[int, ...], bits: int = 8) -> None:
        super().__init__(technique, variable.path)
        self.axes = axes
        self.largest = 2 ** (bits - 1) - 1

    def __call__(self, value: Any) -> Any:
        """Return the rounded kernel; gradients pass as if nothing had been rounded."""
        import keras

        held = keras.ops.stop_gradient(value)
        scale = (
            keras.ops.maximum(keras.ops.max(keras.ops.abs(held), axis=self.axes, keepdims=True), _LEAST) / self.largest
        )
        return straight_through(value, keras.ops.round(held / scale) * scale)


def kernels(model: "keras.Model", scope: str = "") -> tuple[list["keras.Variable"], dict[str, str]]:
    """Return the variables that are quantized, and by path why the others are not.

    A kernel is what is multiplied with activations: variables of at least two dimensions whose name ends with "kernel"
    or "embeddings". Vectors, such as biases, stay in 32 bits: they are added in the accumulators.
    """
    chosen, skipped = [], {}
    for variable in model.trainable_variables:
        if not re.search(r"(kernel|embeddings)$", variable.path) or len(variable.shape) < 2:
            skipped[variable.path] = "is no kernel: it is added, or multiplied element by element"
        elif scope and not re.search(scope, variable.path):
            skipped[variable.path] = f"out of the scope {scope!r}"
        else:
            chosen.append(variable)
    return chosen, skipped


def summed_axes(model: "keras.Model") -> dict[str, tuple[int, ...]]:
    """Return for each trainable variable of two or more dimensions the axes over which its channels' scales are found.

    They are all axes but those of the outputs (see ``axes_of``), and in embeddings, whose rows share one scale, all.
    """
    import keras

    shapes = {variable.path: len(variable.shape) for variable in model.trainable_variables}
    axes = {
        path: tuple(axis for axis in range(shapes[path]) if axis not in each.outputs)
        for path, each in axes_of(model).items()
    }
    tables = [layer.embeddings.path for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]
    return axes | {path: (0, 1) for path in tables}


def quantized(values: np.ndarray, axes: tuple[int, ...], bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return integers of the shape of ``values`` and their scale, of size 1 along ``axes``.

    >>> integers, scale = quantized(np.array([[1.0, -2.0], [0.5, 4.0]]), (0,))
    >>> integers
    array([[127, -64],
           [ 64, 127]], dtype=int8)
    >>> scale.round(4)
    array([[0.0079, 0.0315]])
    """
    largest = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(values).max(axis=axes, keepdims=True), _LEAST) / largest
    return np.round(values / scale).astype(np.int8), scale
