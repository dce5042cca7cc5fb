"""The residual and the densely connected networks that latencies were published of."""

import keras
from _measured_layers import Tensor, classify, conv, max_pool, picture_of, squeeze_excite
from keras import layers

# arXiv:1512.03385, table 1: blocks in each stage.
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int, strides_in_3x3: bool = True, size: int = 224, projected: bool = False) -> keras.Model:
    """Return ResNet-18, 34, 50, 101 or 152 (arXiv:1512.03385) for pictures ``[1, size, size, 3]``.

    Args:
        depth: in layers.
        strides_in_3x3: whether a bottleneck steps in its 3x3 convolution ("v1.5", as in PyTorch and MLPerf) or in the
            1x1 convolution before it, as in the paper.
        size: in pixels.
        projected: whether the very first block has a convolution beside it, as in Caffe's ResNet-18.
    """
    picture = picture_of(size)
    x = max_pool(conv(picture, 64, 7, 2))
    for stage, blocks in enumerate(_BLOCKS[depth]):
        for index in range(blocks):
            strides = 2 if stage and not index else 1
            filters = 64 * 2**stage
            if depth >= 50:
                x = _bottleneck(x, filters, strides, strides_in_3x3)
            else:
                x = _basic(x, filters, strides, projected and not stage and not index)
    return keras.Model(picture, classify(x))


def densenet(blocks: tuple[int, ...], growth: int, size: int = 224) -> keras.Model:
    """Return a DenseNet (arXiv:1608.06993, table 1): the layers of each block, and the channels that each adds."""
    picture = picture_of(size)
    x = max_pool(conv(picture, 2 * growth, 7, 2))
    for block, count in enumerate(blocks):
        if block:
            x = layers.AveragePooling2D(2)(conv(_normalised(x), int(x.shape[-1]) // 2, activation=None))
        for _ in range(count):
            y = conv(conv(_normalised(x), 4 * growth), growth, 3, activation=None)
            x = layers.Concatenate()([x, y])
    return keras.Model(picture, classify(_normalised(x)))


def _normalised(x: Tensor) -> Tensor:
    """Return ``x`` scaled, shifted and without its negative numbers: no convolution before it can take that in."""
    return layers.ReLU()(layers.BatchNormalization()(x))


def regnet_y(widths: tuple[int, ...], depths: tuple[int, ...], channels_a_group: int, size: int = 224) -> keras.Model:
    """Return a RegNetY (arXiv:2003.13678, section 5): bottlenecks of grouped convolutions with squeeze-and-excite."""
    picture = picture_of(size)
    x = conv(picture, 32, 3, 2)
    for width, depth in zip(widths, depths, strict=True):
        for index in range(depth):
            strides = 1 if index else 2
            y = conv(x, width)
            y = conv(y, width, 3, strides, groups=width // channels_a_group)
            y = squeeze_excite(y, int(x.shape[-1]) // 4, outer="sigmoid")
            x = _joined(x, conv(y, width, activation=None), strides)
    return keras.Model(picture, classify(x))


def _basic(x: Tensor, filters: int, strides: int, projected: bool) -> Tensor:
    y = conv(conv(x, filters, 3, strides), filters, 3, activation=None)
    return _joined(x, y, strides, projected)


def _bottleneck(x: Tensor, filters: int, strides: int, strides_in_3x3: bool) -> Tensor:
    y = conv(x, filters, 1, 1 if strides_in_3x3 else strides)
    y = conv(y, filters, 3, strides if strides_in_3x3 else 1)
    return _joined(x, conv(y, 4 * filters, activation=None), strides)


def _joined(x: Tensor, y: Tensor, strides: int, projected: bool = False) -> Tensor:
    if projected or strides != 1 or x.shape[-1] != y.shape[-1]:
        x = conv(x, int(y.shape[-1]), 1, strides, activation=None)
    return layers.ReLU()(layers.Add()([x, y]))
