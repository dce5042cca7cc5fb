"""The MobileNets and EfficientNet-lites that latencies were published of, as their TFLite files have them.

TF-slim's files end in a pooling over the whole picture and a 1x1 convolution to 1,001 classes; keras.applications
would bring padding operations and a scaled input that the measured files lack.
"""

import keras
from _measured_layers import (
    Tensor,
    average_pool,
    classify,
    conv,
    depthwise,
    divisible,
    picture_of,
    scaled,
    squeeze_excite,
)
from keras import layers

_CLASSES = 1001

# arXiv:1704.04861, table 1: filters and stride of each separable convolution.
_V1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip
# arXiv:1801.04381, table 2: expansion, filters, repeats, stride.
_V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# arXiv:1905.02244, tables 1 and 2: kernel, expansion, filters, squeeze-and-excite, hard-swish, stride.
_V3_LARGE = (
    (3, 1, 16, False, False, 1), (3, 4, 24, False, False, 2), (3, 3, 24, False, False, 1),
    (5, 3, 40, True, False, 2), (5, 3, 40, True, False, 1), (5, 3, 40, True, False, 1),
    (3, 6, 80, False, True, 2), (3, 2.5, 80, False, True, 1), (3, 2.3, 80, False, True, 1),
    (3, 2.3, 80, False, True, 1), (3, 6, 112, True, True, 1), (3, 6, 112, True, True, 1),
    (5, 6, 160, True, True, 2), (5, 6, 160, True, True, 1), (5, 6, 160, True, True, 1),
)  # fmt: skip
_V3_SMALL = (
    (3, 1, 16, True, False, 2), (3, 72 / 16, 24, False, False, 2), (3, 88 / 24, 24, False, False, 1),
    (5, 4, 40, True, True, 2), (5, 6, 40, True, True, 1), (5, 6, 40, True, True, 1),
    (5, 3, 48, True, True, 1), (5, 3, 48, True, True, 1), (5, 6, 96, True, True, 2),
    (5, 6, 96, True, True, 1), (5, 6, 96, True, True, 1),
)  # fmt: skip
# EfficientNet-lite (tensorflow/tpu, models/official/efficientnet/lite): width, depth, resolution; and the stages of
# arXiv:1905.11946, table 1: kernel, expansion, filters, repeats, stride.
_LITE = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))
EFFICIENTNET_STAGES = (
    (3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1), (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v1_features(x: Tensor, alpha: float) -> list[Tensor]:
    """Return what each of the 14 layers gives; a separable convolution gives its last."""
    given = [conv(x, int(32 * alpha), 3, 2, "relu6")]
    for filters, strides in _V1_BLOCKS:
        x = depthwise(given[-1], 3, strides)
        given.append(conv(x, int(filters * alpha), activation="relu6"))
    return given


def mobilenet_v1(alpha: float, size: int) -> keras.Model:
    """Return MobileNet v1 (arXiv:1704.04861) for pictures ``[1, size, size, 3]``."""
    picture = picture_of(size)
    return keras.Model(picture, _classify(mobilenet_v1_features(picture, alpha)[-1]))


def inverted_residual(
    x: Tensor, filters: int, expansion: float, strides: int, kernel: int = 3, activation: str = "relu6"
) -> tuple[Tensor, Tensor]:
    """Return an inverted residual block's result, and its expanded tensor, which detectors read."""
    channels = int(x.shape[-1])
    wide = x if expansion == 1 else conv(x, int(channels * expansion), activation=activation)
    result = conv(depthwise(wide, kernel, strides, activation), filters, activation=None)
    if strides == 1 and channels == filters:
        result = layers.Add()([x, result])
    return result, wide


def mobilenet_v2_features(
    x: Tensor, alpha: float, activation: str = "relu6", expand_first: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the last block's result at stride 32, and the expanded tensor at stride 16, which detectors read.

    ``expand_first`` gives the first block a convolution to as many channels as there are, as Caffe's has it.
    """
    x = conv(x, divisible(32 * alpha), 3, 2, activation)
    if expand_first:
        x = conv(x, int(x.shape[-1]), activation=activation)
    at_16 = x
    for expansion, filters, repeats, strides in _V2_STAGES:
        for index in range(repeats):
            step = strides if index == 0 else 1
            x, wide = inverted_residual(x, divisible(filters * alpha), expansion, step, activation=activation)
            if step == 2:
                at_16 = wide
    return x, at_16


def mobilenet_v2(alpha: float, size: int) -> keras.Model:
    """Return MobileNet v2 (arXiv:1801.04381) for pictures ``[1, size, size, 3]``."""
    picture = picture_of(size)
    x, _ = mobilenet_v2_features(picture, alpha)
    return keras.Model(picture, _classify(conv(x, max(1280, divisible(1280 * alpha)), activation="relu6")))


def mobilenet_v3_features(
    x: Tensor, which: str, alpha: float, minimalistic: bool = False, halved: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the last block's result at stride 32, and the expanded tensor at stride 16, which detectors read.

    ``halved`` gives the last stage half as many filters (section 6.3).
    """
    x = conv(x, 16, 3, 2, "relu" if minimalistic else "hard_silu")
    at_16 = x
    for index, block in enumerate(_V3_LARGE if which == "large" else _V3_SMALL):
        kernel, expansion, filters, squeezed, swished, strides = block
        activation = "hard_silu" if swished and not minimalistic else "relu"
        if halved and filters == (160 if which == "large" else 96):
            filters //= 2
        channels, filters = int(x.shape[-1]), divisible(filters * alpha)
        y = conv(x, divisible(channels * expansion), activation=activation) if index else x
        if strides == 2:
            at_16 = y
        y = depthwise(y, 3 if minimalistic else kernel, strides, activation)
        if squeezed and not minimalistic:
            y = squeeze_excite(y, divisible(channels * expansion / 4))
        y = conv(y, filters, activation=None)
        x = layers.Add()([x, y]) if strides == 1 and channels == filters else y
    return x, at_16


def mobilenet_v3(which: str, alpha: float, size: int, minimalistic: bool = False) -> keras.Model:
    """Return MobileNet v3 ``which`` "large" or "small" (arXiv:1905.02244) for pictures ``[1, size, size, 3]``."""
    picture = picture_of(size)
    x, _ = mobilenet_v3_features(picture, which, alpha, minimalistic)
    swish = "relu" if minimalistic else "hard_silu"
    x = conv(x, divisible(6 * int(x.shape[-1])), activation=swish)
    x = conv(average_pool(x), 1280 if which == "large" else 1024, activation=swish)
    return keras.Model(picture, _classify(x))


def efficientnet_lite_features(x: Tensor, width: float, depth: float) -> list[Tensor]:
    """Return what each stage gives. The first and the last stage are not made deeper, the stem not wider."""
    x = conv(x, 32, 3, 2, "relu6")
    given = []
    for stage, (kernel, expansion, filters, repeats, strides) in enumerate(EFFICIENTNET_STAGES):
        times = repeats if stage in (0, len(EFFICIENTNET_STAGES) - 1) else scaled(repeats, depth)
        for index in range(times):
            x, _ = inverted_residual(x, divisible(filters * width), expansion, strides if index == 0 else 1, kernel)
        given.append(x)
    return given


def efficientnet_lite(level: int) -> keras.Model:
    """Return EfficientNet-lite ``level``, 0 to 4: no squeeze-and-excite, ReLU6."""
    width, depth, size = _LITE[level]
    picture = picture_of(size)
    x = conv(efficientnet_lite_features(picture, width, depth)[-1], 1280, activation="relu6")
    return keras.Model(picture, classify(x))


def _classify(x: Tensor) -> Tensor:
    logits = conv(average_pool(x), _CLASSES, activation=None)
    return layers.Softmax()(layers.Flatten()(logits))
