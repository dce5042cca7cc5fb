"""The layers that measured networks are built of, as they stand in a deployed file: with normalisation folded in.

A converter folds batch normalisation into the convolution before it, so the builders leave it out where it follows one:
a convolution has a bias and its activation, and the file's operations are the same. Padding is "same" throughout:
frameworks that pad on both sides compute as much, on tensors of the same sizes.
"""

import math

import keras
from keras import layers

Tensor = keras.KerasTensor


def conv(
    x: Tensor,
    filters: int,
    kernel: int | tuple[int, int] = 1,
    strides: int = 1,
    activation: str | None = "relu",
    padding: str = "same",
    groups: int = 1,
) -> Tensor:
    """Return a convolution of ``x`` ``[batch, height, width, channels]`` with bias and activation."""
    return layers.Conv2D(filters, kernel, strides, padding, activation=activation, groups=groups)(x)


def depthwise(x: Tensor, kernel: int = 3, strides: int = 1, activation: str | None = "relu6") -> Tensor:
    """Return a convolution of each channel of ``x`` by itself, with bias and activation."""
    return layers.DepthwiseConv2D(kernel, strides, "same", activation=activation)(x)


def max_pool(x: Tensor, size: int = 3, strides: int = 2, padding: str = "same") -> Tensor:
    """Return the largest of each window."""
    return layers.MaxPooling2D(size, strides, padding)(x)


def average_pool(x: Tensor) -> Tensor:
    """Return the mean of each channel ``[batch, 1, 1, channels]``, as pooling with a window of the whole picture."""
    return layers.AveragePooling2D((int(x.shape[1]), int(x.shape[2])))(x)


def classify(x: Tensor, classes: int = 1000, softmax: bool = True) -> Tensor:
    """Return probabilities, or logits, of the channels' means: one dense layer ``[batch, classes]``."""
    x = layers.Flatten()(average_pool(x))
    return layers.Dense(classes, activation="softmax" if softmax else None)(x)


def divisible(channels: float, divisor: int = 8) -> int:
    """Return the multiple of ``divisor`` nearest to ``channels``, and at most a tenth below it.

    As in the MobileNets' and EfficientNet's code.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def scaled(repeats: int, depth: float) -> int:
    """Return how often a block repeats in a network made deeper (EfficientNet, arXiv:1905.11946)."""
    return math.ceil(repeats * depth)
