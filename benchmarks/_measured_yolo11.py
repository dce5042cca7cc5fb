"""YOLO11 as Ultralytics exports it: github:ultralytics/ultralytics, cfg/models/11/yolo11.yaml and nn/modules."""

import keras
from _measured_layers import Tensor, conv, depthwise, max_pool, picture_of, resized
from keras import layers, ops

_CLASSES, _BINS = 80, 16
# Depth, width and most channels of each size; the three larger ones have the heavier block everywhere.
YOLO11S = {
    "n": (0.5, 0.25, 1024),
    "s": (0.5, 0.5, 1024),
    "m": (0.5, 1.0, 512),
    "l": (1.0, 1.0, 512),
    "x": (1.0, 1.5, 512),
}
_SILU = "silu"


def yolo11(which: str, size: int = 640) -> keras.Model:
    """Return YOLO11 "n", "s", "m", "l" or "x" for pictures ``[1, size, size, 3]``: ``[1, 4 + 80, places]``."""
    depth, width, most = YOLO11S[which]
    repeats = max(round(2 * depth), 1)
    heavy = which in "mlx"

    def filters(count: int) -> int:
        return int(min(count, most) * width)

    picture = picture_of(size)
    x = conv(conv(picture, filters(64), 3, 2, _SILU), filters(128), 3, 2, _SILU)
    x = _c3k2(x, filters(256), repeats, heavy, 0.25)
    at_8 = _c3k2(conv(x, filters(256), 3, 2, _SILU), filters(512), repeats, heavy, 0.25)
    at_16 = _c3k2(conv(at_8, filters(512), 3, 2, _SILU), filters(512), repeats, True)
    x = _c3k2(conv(at_16, filters(1024), 3, 2, _SILU), filters(1024), repeats, True)
    at_32 = _attended(_pooled(x, filters(1024)), repeats)
    middle = _c3k2(_joined(_doubled(at_32), at_16), filters(512), repeats, heavy)
    fine = _c3k2(_joined(_doubled(middle), at_8), filters(256), repeats, heavy)
    middle = _c3k2(_joined(conv(fine, filters(256), 3, 2, _SILU), middle), filters(512), repeats, heavy)
    coarse = _c3k2(_joined(conv(middle, filters(512), 3, 2, _SILU), at_32), filters(1024), repeats, True)
    return keras.Model(picture, _detected([fine, middle, coarse], size))


def _c3k2(x: Tensor, filters: int, repeats: int, heavy: bool, narrowed: float = 0.5) -> Tensor:
    inner = int(filters * narrowed)
    x = conv(x, 2 * inner, activation=_SILU)
    parts = [x[..., :inner], x[..., inner:]]
    for _ in range(repeats):
        parts.append(_c3k(parts[-1], inner) if heavy else _bottleneck(parts[-1], inner, 0.5))
    return conv(layers.Concatenate()(parts), filters, activation=_SILU)


def _c3k(x: Tensor, filters: int) -> Tensor:
    inner = filters // 2
    y = conv(x, inner, activation=_SILU)
    for _ in range(2):
        y = _bottleneck(y, inner, 1.0)
    return conv(_joined(y, conv(x, inner, activation=_SILU)), filters, activation=_SILU)


def _bottleneck(x: Tensor, filters: int, narrowed: float) -> Tensor:
    y = conv(x, int(filters * narrowed), 3, activation=_SILU)
    return layers.Add()([x, conv(y, filters, 3, activation=_SILU)])


def _pooled(x: Tensor, filters: int) -> Tensor:
    """Return ``x`` beside its largest over windows of 5, 9 and 13."""
    parts = [conv(x, int(x.shape[-1]) // 2, activation=_SILU)]
    for _ in range(3):
        parts.append(max_pool(parts[-1], 5, 1))
    return conv(layers.Concatenate()(parts), filters, activation=_SILU)


def _attended(x: Tensor, repeats: int) -> Tensor:
    """Return ``x`` with half of its channels through blocks of attention and a dense network at each place."""
    channels = int(x.shape[-1])
    half = channels // 2
    x = conv(x, channels, activation=_SILU)
    beside, y = x[..., :half], x[..., half:]
    for _ in range(repeats):
        y = layers.Add()([y, _attention(y, heads=half // 64)])
        y = layers.Add()([y, conv(conv(y, 2 * half, activation=_SILU), half, activation=None)])
    return conv(_joined(beside, y), channels, activation=_SILU)


def _attention(x: Tensor, heads: int) -> Tensor:
    height, width, channels = (int(size) for size in x.shape[1:])
    value, key = channels // heads, channels // heads // 2
    places = height * width
    split = layers.Reshape((places, heads, 2 * key + value))(conv(x, channels + 2 * key * heads, activation=None))
    split = layers.Permute((2, 1, 3))(split)
    queries, keys, values = split[..., :key], split[..., key : 2 * key], split[..., 2 * key :]
    weights = ops.softmax(ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2))) * key**-0.5)
    y = layers.Reshape((height, width, channels))(layers.Permute((2, 1, 3))(ops.matmul(weights, values)))
    positions = layers.Reshape((height, width, channels))(layers.Permute((2, 1, 3))(values))
    y = layers.Add()([y, depthwise(positions, activation=None)])
    return conv(y, channels, activation=None)


def _doubled(x: Tensor) -> Tensor:
    return resized(x, 2 * int(x.shape[1]))


def _joined(x: Tensor, y: Tensor) -> Tensor:
    return layers.Concatenate()([x, y])


def _detected(levels: list[Tensor], size: int) -> Tensor:
    """Return, for each place, the box as centre and size in pixels and each class's score."""
    first = int(levels[0].shape[-1])
    boxes, scores = max(16, first // 4, 4 * _BINS), max(first, min(_CLASSES, 100))
    distances, classes, centres, strides = [], [], [], []
    for x in levels:
        y = conv(conv(x, boxes, 3, activation=_SILU), boxes, 3, activation=_SILU)
        side = int(x.shape[1])
        distances.append(layers.Reshape((side**2, 4, _BINS))(conv(y, 4 * _BINS, activation=None)))
        y = conv(depthwise(x, activation=_SILU), scores, activation=_SILU)
        y = conv(depthwise(y, activation=_SILU), scores, activation=_SILU)
        classes.append(layers.Reshape((side**2, _CLASSES))(conv(y, _CLASSES, activation=None)))
        for place in range(side**2):
            centres.append((place % side + 0.5, place // side + 0.5))
            strides.append((size / side,))
    # The expected bin of each of the four sides: a product with 0 to 15 of what softmax gives.
    bins = ops.reshape(ops.arange(_BINS, dtype="float32"), (_BINS, 1))
    sides = ops.matmul(ops.softmax(layers.Concatenate(axis=1)(distances)), bins)[..., 0]
    near, far = sides[..., :2], sides[..., 2:]
    centre = ops.convert_to_tensor(centres, "float32") + (far - near) / 2
    box = ops.concatenate([centre, near + far], axis=-1) * ops.convert_to_tensor(strides, "float32")
    answers = ops.concatenate([box, ops.sigmoid(layers.Concatenate(axis=1)(classes))], axis=-1)
    return layers.Permute((2, 1))(answers)
