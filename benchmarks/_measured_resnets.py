"""The residual networks that latencies were published of."""

import keras
from _measured_layers import Tensor, classify, conv, max_pool
from keras import layers

# arXiv:1512.03385, table 1: blocks in each stage.
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int, strides_in_3x3: bool = True, size: int = 224) -> keras.Model:
    """Return ResNet-18, 34, 50, 101 or 152 (arXiv:1512.03385) for pictures ``[1, size, size, 3]``.

    Args:
        depth: in layers.
        strides_in_3x3: whether a bottleneck steps in its 3x3 convolution ("v1.5", as in PyTorch and MLPerf) or in the
            1x1 convolution before it, as in the paper.
        size: in pixels.
    """
    picture = keras.Input((size, size, 3), batch_size=1, name="picture")
    x = max_pool(conv(picture, 64, 7, 2))
    for stage, blocks in enumerate(_BLOCKS[depth]):
        for index in range(blocks):
            strides = 2 if stage and not index else 1
            filters = 64 * 2**stage
            x = _basic(x, filters, strides) if depth < 50 else _bottleneck(x, filters, strides, strides_in_3x3)
    return keras.Model(picture, classify(x))


def _basic(x: Tensor, filters: int, strides: int) -> Tensor:
    y = conv(conv(x, filters, 3, strides), filters, 3, activation=None)
    return _joined(x, y, strides)


def _bottleneck(x: Tensor, filters: int, strides: int, strides_in_3x3: bool) -> Tensor:
    y = conv(x, filters, 1, 1 if strides_in_3x3 else strides)
    y = conv(y, filters, 3, strides if strides_in_3x3 else 1)
    return _joined(x, conv(y, 4 * filters, activation=None), strides)


def _joined(x: Tensor, y: Tensor, strides: int) -> Tensor:
    if strides != 1 or x.shape[-1] != y.shape[-1]:
        x = conv(x, int(y.shape[-1]), 1, strides, activation=None)
    return layers.ReLU()(layers.Add()([x, y]))
