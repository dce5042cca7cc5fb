"""AlexNet, VGG, GoogLeNet and SqueezeNet, as latencies were published of them."""

import keras
from _measured_layers import LocalResponse, Tensor, caffe_pool, classify, conv, max_pool, picture_of
from keras import layers

# arXiv:1409.1556, table 1: filters of the convolutions between poolings.
_VGG = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
# arXiv:1409.4842, table 1: 1x1; before 3x3 and 3x3; before 5x5 and 5x5; after pooling. None is a pooling.
_INCEPTIONS = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
# arXiv:1602.07360, table 1, and its release 1.1: filters of the squeeze; each expansion has four times as many.
_FIRES = {
    "1.0": (16, 16, 32, None, 32, 48, 48, 64, None, 64),
    "1.1": (16, 16, None, 32, 32, None, 48, 48, 64, 64),
}


def alexnet(original: bool) -> keras.Model:
    """Return AlexNet for pictures ``[1, 227, 227, 3]``.

    Args:
        original: with grouped convolutions and local response normalisation, as Caffe has it; else the one of
            arXiv:1404.5997, as PyTorch has it, whose 224 pixels padded by 2 give the same 55 x 55 at the first layer.
    """
    picture = picture_of(227)
    filters = (96, 256, 384, 384, 256) if original else (64, 192, 384, 256, 256)
    groups = (2, 1, 2, 2) if original else (1, 1, 1, 1)
    x = conv(picture, filters[0], 11, 4, padding="valid")
    x = _pooled(x, original)
    x = _pooled(conv(x, filters[1], 5, groups=groups[0]), original)
    for index in (2, 3, 4):
        x = conv(x, filters[index], 3, groups=groups[index - 1])
    return keras.Model(picture, _dense(max_pool(x, padding="valid")))


def _pooled(x: Tensor, original: bool) -> Tensor:
    return max_pool(LocalResponse()(x) if original else x, padding="valid")


def vgg(depth: int) -> keras.Model:
    """Return VGG-11, 13, 16 or 19 for pictures ``[1, 224, 224, 3]``."""
    picture = x = picture_of(224)
    for stage in _VGG[depth]:
        for filters in stage:
            x = conv(x, filters, 3)
        x = max_pool(x, 2)
    return keras.Model(picture, _dense(x))


def _dense(x: Tensor) -> Tensor:
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(4096, "relu")(x)
    return layers.Dense(1000, "softmax")(x)


def googlenet() -> keras.Model:
    """Return GoogLeNet without its side classifiers, as Caffe has it, for pictures ``[1, 224, 224, 3]``."""
    picture = picture_of(224)
    x = LocalResponse()(caffe_pool(conv(picture, 64, 7, 2)))
    x = caffe_pool(LocalResponse()(conv(conv(x, 64), 192, 3)))
    for sizes in _INCEPTIONS:
        x = caffe_pool(x) if sizes is None else _inception(x, *sizes)
    return keras.Model(picture, classify(x))


def _inception(x: Tensor, one: int, before3: int, three: int, before5: int, five: int, pooled: int) -> Tensor:
    branches = [conv(x, one), conv(conv(x, before3), three, 3), conv(conv(x, before5), five, 5)]
    return layers.Concatenate()([*branches, conv(max_pool(x, 3, 1), pooled)])


def squeezenet_features(x: Tensor, version: str) -> list[Tensor]:
    """Return what each layer after the first pooling gives."""
    x = conv(x, 96, 7, 2, padding="valid") if version == "1.0" else conv(x, 64, 3, 2, padding="valid")
    given = [caffe_pool(x)]
    for squeeze in _FIRES[version]:
        x = given[-1]
        if squeeze is None:
            given.append(caffe_pool(x))
            continue
        x = conv(x, squeeze)
        given.append(layers.Concatenate()([conv(x, 4 * squeeze), conv(x, 4 * squeeze, 3)]))
    return given


def squeezenet(version: str, size: int, last_padding: int = 0) -> keras.Model:
    """Return SqueezeNet "1.0" or "1.1", whose last convolution is padded in some releases."""
    picture = picture_of(size)
    x = squeezenet_features(picture, version)[-1]
    if last_padding:
        x = layers.ZeroPadding2D(last_padding)(x)
    x = layers.AveragePooling2D(int(x.shape[1]))(conv(x, 1000))
    return keras.Model(picture, layers.Softmax()(layers.Flatten()(x)))
