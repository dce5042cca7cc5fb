"""Networks found by search, and the MobileNets v2 and v3 of ncnn's benchmark, which differ from the papers'.

ncnn's are read from github:Tencent/ncnn:benchmark.
"""

import keras
from _measured_layers import Tensor, classify, conv, depthwise, divisible, picture_of, squeeze_excite
from _measured_mobilenets import EFFICIENTNET_STAGES, inverted_residual, mobilenet_v2_features
from keras import layers

# arXiv:1807.11626, figure 7: kernel, expansion, filters, repeats, stride.
_MNASNET = (
    (3, 3, 24, 3, 2), (5, 3, 40, 3, 2), (5, 6, 80, 3, 2), (3, 6, 96, 2, 1), (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)
)  # fmt: skip
# arXiv:1812.00332, figure 4, in ncnn's form: kernel, expanded channels, filters, stride.
_PROXYLESS = (
    (5, 48, 32, 2), (3, 96, 32, 1),
    (7, 96, 40, 2), (3, 120, 40, 1), (5, 120, 40, 1), (5, 120, 40, 1),
    (7, 240, 80, 2), (5, 240, 80, 1), (5, 240, 80, 1), (5, 240, 80, 1),
    (5, 480, 96, 1), (5, 288, 96, 1), (5, 288, 96, 1), (5, 288, 96, 1),
    (7, 576, 192, 2), (7, 1152, 192, 1), (7, 576, 192, 1), (7, 576, 192, 1),
    (7, 1152, 320, 1),
)  # fmt: skip
# ncnn's MobileNet v3: kernel, expanded channels, filters, squeeze-and-excite, hard-swish, stride.
_NCNN_V3 = (
    (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 1), (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1),
)  # fmt: skip


def mnasnet(alpha: float) -> keras.Model:
    """Return MnasNet-B1, without squeeze-and-excite, as PyTorch has it."""
    picture = picture_of(224)
    x = conv(picture, divisible(32 * alpha), 3, 2)
    x = conv(depthwise(x, activation="relu"), divisible(16 * alpha), activation=None)
    for kernel, expansion, filters, repeats, strides in _MNASNET:
        for index in range(repeats):
            step = 1 if index else strides
            x, _ = inverted_residual(x, divisible(filters * alpha), expansion, step, kernel, "relu")
    return keras.Model(picture, classify(conv(x, 1280)))


def proxylessnas() -> keras.Model:
    """Return ncnn's ProxylessNAS network."""
    picture = picture_of(224)
    x = conv(depthwise(conv(picture, 32, 3, 2), activation="relu"), 32, activation=None)
    for kernel, wide, filters, strides in _PROXYLESS:
        x, _ = inverted_residual(x, filters, wide / int(x.shape[-1]), strides, kernel, "relu")
    return keras.Model(picture, classify(conv(x, 1280)))


def ncnn_mobilenet_v2() -> keras.Model:
    """Return MobileNet v2 with a convolution before its first depthwise one, and ReLU in place of ReLU6."""
    picture = picture_of(224)
    x, _ = mobilenet_v2_features(picture, 1.0, "relu", expand_first=True)
    return keras.Model(picture, classify(conv(x, 1280)))


def ncnn_mobilenet_v3() -> keras.Model:
    """Return MobileNet v3 large as ncnn's benchmark has it: a wider 13th block, activations after squeezing."""
    picture = picture_of(224)
    x = conv(picture, 16, 3, 2, "hard_silu")
    x = layers.Add()([x, conv(depthwise(x, activation="relu"), 16, activation=None)])
    for kernel, wide, filters, squeezed, swished, strides in _NCNN_V3:
        x = _squeezed_block(x, kernel, wide, filters, squeezed, "hard_silu" if swished else "relu", strides)
    x = conv(x, 960, activation="hard_silu")
    x = layers.Flatten()(layers.Activation("hard_silu")(layers.AveragePooling2D(int(x.shape[1]))(x)))
    return keras.Model(picture, layers.Dense(1000, "softmax")(layers.Dense(1280, "hard_silu")(x)))


def _squeezed_block(
    x: Tensor, kernel: int, wide: int, filters: int, squeezed: bool, activation: str, strides: int
) -> Tensor:
    y = depthwise(conv(x, wide, activation=activation), kernel, strides, None if squeezed else activation)
    if squeezed:
        y = layers.Activation(activation)(squeeze_excite(y, wide // 4))
    y = conv(y, filters, activation=None)
    return layers.Add()([x, y]) if strides == 1 and int(x.shape[-1]) == filters else y


def efficientnet_b0() -> keras.Model:
    """Return EfficientNet-B0 (arXiv:1905.11946, table 1), for pictures ``[1, 224, 224, 3]``."""
    picture = picture_of(224)
    x = conv(picture, 32, 3, 2, "silu")
    for kernel, expansion, filters, repeats, strides in EFFICIENTNET_STAGES:
        for index in range(repeats):
            step, channels = 1 if index else strides, int(x.shape[-1])
            y = x if expansion == 1 else conv(x, channels * expansion, activation="silu")
            y = depthwise(y, kernel, step, "silu")
            y = conv(squeeze_excite(y, channels // 4, "silu", "sigmoid"), filters, activation=None)
            x = layers.Add()([x, y]) if step == 1 and channels == filters else y
    return keras.Model(picture, classify(conv(x, 1280, activation="silu")))
