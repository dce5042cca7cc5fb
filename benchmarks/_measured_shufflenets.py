"""The ShuffleNets that latencies were published of."""

import keras
from _measured_layers import Tensor, classify, conv, depthwise, max_pool, picture_of, shuffle
from keras import layers

# arXiv:1807.11164, table 5: filters of the stages and of the last convolution.
_V2 = {0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024), 2.0: (244, 488, 976, 2048)}
_REPEATS = (4, 8, 4)
# arXiv:1707.01083, table 1, three groups.
_V1_FILTERS, _GROUPS = (240, 480, 960), 3


def shufflenet_v1() -> keras.Model:
    """Return ShuffleNet (arXiv:1707.01083) 1x with three groups for pictures ``[1, 224, 224, 3]``."""
    picture = picture_of(224)
    x = max_pool(conv(picture, 24, 3, 2))
    for filters, repeats in zip(_V1_FILTERS, _REPEATS, strict=True):
        for index in range(repeats):
            x = _v1_unit(x, filters, 1 if index else 2)
    return keras.Model(picture, classify(x))


def _v1_unit(x: Tensor, filters: int, strides: int) -> Tensor:
    first = x.shape[-1] == 24
    added = filters - int(x.shape[-1]) if strides == 2 else filters
    # The first unit of all has so few channels that they are not grouped.
    y = conv(x, added // 4, groups=1 if first else _GROUPS)
    y = depthwise(y if first else shuffle(y, _GROUPS), 3, strides, None)
    y = conv(y, added, activation=None, groups=_GROUPS)
    if strides == 1:
        return layers.ReLU()(layers.Add()([x, y]))
    return layers.ReLU()(layers.Concatenate()([layers.AveragePooling2D(3, 2, "same")(x), y]))


def shufflenet_v2(alpha: float) -> keras.Model:
    """Return ShuffleNet v2 (arXiv:1807.11164) for pictures ``[1, 224, 224, 3]``."""
    picture = picture_of(224)
    x = max_pool(conv(picture, 24, 3, 2))
    *stages, last = _V2[alpha]
    for filters, repeats in zip(stages, _REPEATS, strict=True):
        for index in range(repeats):
            x = _v2_unit(x, filters // 2, 1 if index else 2)
    return keras.Model(picture, classify(conv(x, last)))


def _v2_unit(x: Tensor, half: int, strides: int) -> Tensor:
    if strides == 2:
        beside = conv(depthwise(x, 3, 2, None), half)
    else:
        beside, x = x[..., :half], x[..., half:]
    y = conv(depthwise(conv(x, half), 3, strides, None), half)
    return shuffle(layers.Concatenate()([beside, y]), 2)
