"""The networks that latencies on an Edge TPU were published of and that no other file has: Inceptions, ResNets v2."""

import keras
from _measured_layers import Tensor, average_pool, conv, depthwise, divisible, max_pool, picture_of, scaled
from keras import layers

_CLASSES = 1001

# arXiv:1409.4842, table 1, as TF-slim has it, with 3x3 where the paper has 5x5: 1x1; before 3x3 and 3x3, twice; after
# pooling. None is a pooling.
_INCEPTION_V1 = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
# EfficientNet-EdgeTPU (tensorflow/tpu, models/official/efficientnet/edgetpu): kernel, expansion, filters, repeats,
# stride, and whether one convolution expands and filters. Then width, depth and resolution of S, M and L.
_EDGETPU_STAGES = (
    (3, 4, 24, 1, 1, True), (3, 8, 32, 2, 2, True), (3, 8, 48, 4, 2, True), (5, 8, 96, 5, 2, False),
    (5, 8, 144, 4, 1, False), (5, 8, 192, 2, 2, False),
)  # fmt: skip
_EDGETPU_SIZES = {"s": (1.0, 1.0, 224), "m": (1.0, 1.1, 240), "l": (1.2, 1.4, 300)}
# Normalisation folded in, as keras.applications' would be on conversion.
_APPLICATIONS = {
    "inception-v3": "InceptionV3",
    "inception-resnet-v2": "InceptionResNetV2",
    "resnet50-v2": "ResNet50V2",
    "resnet152-v2": "ResNet152V2",
}


def inception_v1() -> keras.Model:
    """Return Inception v1 of TF-slim (arXiv:1409.4842) for pictures ``[1, 224, 224, 3]``."""
    picture = picture_of(224)
    x = max_pool(conv(conv(max_pool(conv(picture, 64, 7, 2)), 64), 192, 3))
    for sizes in _INCEPTION_V1:
        if sizes is None:
            x = max_pool(x)
            continue
        one, before, three, before_other, other, pooled = sizes
        branches = [conv(x, one), conv(conv(x, before), three, 3), conv(conv(x, before_other), other, 3)]
        x = layers.Concatenate()([*branches, conv(max_pool(x, 3, 1), pooled)])
    return keras.Model(picture, _classify(x))


def inception_v4() -> keras.Model:
    """Return Inception v4 (arXiv:1602.07261, figures 3 to 9) for pictures ``[1, 299, 299, 3]``."""
    picture = picture_of(299)
    x = conv(picture, 32, 3, 2, padding="valid")
    x = conv(conv(x, 32, 3, padding="valid"), 64, 3)
    x = _join(max_pool(x, padding="valid"), conv(x, 96, 3, 2, padding="valid"))
    x = _join(
        conv(conv(x, 64), 96, 3, padding="valid"),
        conv(conv(conv(conv(x, 64), 64, (1, 7)), 64, (7, 1)), 96, 3, padding="valid"),
    )
    x = _join(conv(x, 192, 3, 2, padding="valid"), max_pool(x, padding="valid"))
    for _ in range(4):
        x = _join(conv(_around(x), 96), conv(x, 96), conv(conv(x, 64), 96, 3), conv(conv(conv(x, 64), 96, 3), 96, 3))
    x = _join(
        max_pool(x, padding="valid"),
        conv(x, 384, 3, 2, padding="valid"),
        conv(conv(conv(x, 192), 224, 3), 256, 3, 2, padding="valid"),
    )
    for _ in range(7):
        long = conv(conv(conv(x, 192), 192, (1, 7)), 224, (7, 1))
        x = _join(
            conv(_around(x), 128),
            conv(x, 384),
            conv(conv(conv(x, 192), 224, (1, 7)), 256, (7, 1)),
            conv(conv(long, 224, (1, 7)), 256, (7, 1)),
        )
    x = _join(
        max_pool(x, padding="valid"),
        conv(conv(x, 192), 192, 3, 2, padding="valid"),
        conv(conv(conv(conv(x, 256), 256, (1, 7)), 320, (7, 1)), 320, 3, 2, padding="valid"),
    )
    for _ in range(3):
        middle = conv(x, 384)
        long = conv(conv(conv(x, 384), 448, (1, 3)), 512, (3, 1))
        x = _join(
            conv(_around(x), 256),
            conv(x, 256),
            _join(conv(middle, 256, (1, 3)), conv(middle, 256, (3, 1))),
            _join(conv(long, 256, (3, 1)), conv(long, 256, (1, 3))),
        )
    return keras.Model(picture, _classify(x))


def efficientnet_edgetpu(which: str) -> keras.Model:
    """Return EfficientNet-EdgeTPU ``which`` "s", "m" or "l": ReLU, no squeeze-and-excite."""
    width, depth, size = _EDGETPU_SIZES[which]
    picture = picture_of(size)
    x = conv(picture, divisible(32 * width), 3, 2)
    for stage, (kernel, expansion, filters, repeats, strides, fused) in enumerate(_EDGETPU_STAGES):
        for index in range(scaled(repeats, depth)):
            step, channels, out = strides if index == 0 else 1, int(x.shape[-1]), divisible(filters * width)
            # The first block expands as if it were given as many channels as it gives.
            wide = (channels if stage else out) * expansion
            if fused:
                y = conv(x, wide, kernel, step)
            else:
                y = depthwise(conv(x, wide), kernel, step, "relu")
            y = conv(y, out, activation=None)
            x = layers.Add()([x, y]) if step == 1 and channels == out and stage else y
    return keras.Model(picture, _classify(conv(x, divisible(1280 * width))))


def application(name: str) -> keras.Model:
    """Return a network of keras.applications for pictures ``[1, 299, 299, 3]``, by its name in ``NAMES``."""
    picture = picture_of(299)
    made = getattr(keras.applications, _APPLICATIONS[name])(weights=None, input_tensor=picture)
    return keras.Model(picture, made.outputs[0])


def _join(*branches: Tensor) -> Tensor:
    return layers.Concatenate()(list(branches))


def _around(x: Tensor) -> Tensor:
    """Return the mean of the 3x3 numbers around each."""
    return layers.AveragePooling2D(3, 1, "same")(x)


def _classify(x: Tensor) -> Tensor:
    logits = conv(average_pool(x), _CLASSES, activation=None)
    return layers.Softmax()(layers.Flatten()(logits))
