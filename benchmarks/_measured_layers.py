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


def caffe_pool(x: Tensor) -> Tensor:
    """Return the largest of each 3x3 window, two apart, the last window reaching over the edge, as Caffe has it."""
    return max_pool(x, padding="valid" if int(x.shape[1]) % 2 else "same")


@keras.saving.register_keras_serializable("edgewright_benchmarks")
class LocalResponse(layers.Layer):
    """Normalises each number by those of the five channels around it (AlexNet, section 3.3)."""

    def call(self, x: Tensor) -> Tensor:
        """Return ``x`` ``[batch, height, width, channels]`` normalised."""
        import tensorflow as tf

        return tf.nn.local_response_normalization(x, depth_radius=2, alpha=1e-4 / 5, beta=0.75)


def resized(x: Tensor, size: int) -> Tensor:
    """Return ``x`` ``[batch, size, size, channels]``, numbers repeated."""
    return keras.ops.image.resize(x, (size, size), "nearest")


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Return ``x`` with its channels dealt out from ``groups`` groups (ShuffleNet, arXiv:1707.01083)."""
    height, width, channels = (int(size) for size in x.shape[1:])
    x = layers.Reshape((height, width, groups, channels // groups))(x)
    return layers.Reshape((height, width, channels))(layers.Permute((1, 2, 4, 3))(x))


def squeeze_excite(x: Tensor, reduced: int, inner: str = "relu", outer: str = "hard_sigmoid") -> Tensor:
    """Return ``x`` with each channel weighed by what all of them are on average (arXiv:1709.01507)."""
    weights = conv(average_pool(x), reduced, activation=inner)
    return layers.Multiply()([x, conv(weights, int(x.shape[-1]), activation=outer)])


def picture_of(size: int) -> Tensor:
    """Return an input of one picture ``[1, size, size, 3]``."""
    return keras.Input((size, size, 3), batch_size=1, name="picture")
