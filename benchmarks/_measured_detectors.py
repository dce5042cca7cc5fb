"""Single-shot detectors of the TensorFlow detection zoo and the EfficientDet-lites, up to what sorts the boxes out.

The measured files end in TFLite's own custom operation for that, which runs on the processor and for which no Keras
layer stands: it is left out, and ``sorting_of`` counts its work. Sources: github:tensorflow/models,
research/object_detection (feature map generators, box predictors and samples/configs); arXiv:1911.09070 and
github:google/automl, efficientdet (the lites).
"""

import keras
from _measured_layers import Tensor, conv, depthwise, max_pool, picture_of, resized
from _measured_mobilenets import (
    efficientnet_lite_features,
    mobilenet_v1_features,
    mobilenet_v2_features,
    mobilenet_v3_features,
)
from keras import layers

from edgewright.export import Graph
from edgewright.export._work import sorting

# COCO's 90 classes; SSD has one more for the background. ncnn's was trained on the 20 of Pascal VOC.
_CLASSES = 90
# Filters of the four layers that follow a backbone, and boxes at each place of each of the six tensors.
_EXTRAS = (512, 256, 256, 128)
_ANCHORS = (3, 6, 6, 6, 6, 6)
# github:google/automl, efficientdet/hparams_config.py: backbone's width and depth, size, filters, cells, repeats.
EFFICIENTDETS = {
    "lite0": (1.0, 1.0, 320, 64, 3, 3),
    "lite1": (1.0, 1.1, 384, 88, 4, 3),
    "lite2": (1.1, 1.2, 448, 112, 5, 3),
    "lite3": (1.2, 1.4, 512, 160, 6, 4),
    "lite3x": (1.2, 1.4, 640, 200, 6, 4),
    "lite4": (1.4, 1.8, 640, 224, 7, 4),
}
# How many boxes are kept: the defaults of automl's hparams_config.py, and of object_detection's tool for TFLite.
_DETECTIONS = {"efficientdet": 100, "ssd": 10, "ssdlite": 10}
# arXiv:1911.09070, figure 2d: the nodes that each new node of a cell adds; 0 to 4 are the levels from fine to coarse.
_BIFPN = ((3, 4), (2, 5), (1, 6), (0, 7), (1, 7, 8), (2, 6, 9), (3, 5, 10), (4, 11))
# MobileNet-EdgeTPU (github:tensorflow/models, mobilenet_v3.py): whether a convolution of that kernel widens and no
# depthwise one follows, kernel, expansion, filters, stride, whether the input is added.
_EDGETPU = (
    (True, 3, 1, 16, 1, True), (True, 3, 8, 32, 2, True), *((True, 3, 4, 32, 1, True),) * 3,
    (True, 3, 8, 48, 2, True), *((True, 3, 4, 48, 1, True),) * 3,
    (False, 3, 8, 96, 2, True), *((False, 3, 4, 96, 1, True),) * 3, (False, 3, 8, 96, 1, False),
    *((False, 3, 4, 96, 1, True),) * 3,
    (False, 5, 8, 160, 2, True), *((False, 5, 4, 160, 1, True),) * 3, (False, 3, 8, 192, 1, True),
)  # fmt: skip


def ssd_mobilenet_v1(classes: int = _CLASSES) -> keras.Model:
    """Return SSD with MobileNet v1 for pictures ``[1, 300, 300, 3]``: its boxes and its classes' scores."""
    picture = picture_of(300)
    given = mobilenet_v1_features(picture, 1.0)
    return _ssd(picture, [given[11], given[13]], separable=False, kernel=1, classes=classes)


def ssd_mobilenet_v2() -> keras.Model:
    """Return SSD with MobileNet v2 for pictures ``[1, 300, 300, 3]``."""
    picture = picture_of(300)
    x, at_16 = mobilenet_v2_features(picture, 1.0)
    return _ssd(picture, [at_16, conv(x, 1280, activation="relu6")], separable=True, kernel=3)


def ssd_mobilenet_v2_quantized() -> keras.Model:
    """Return the SSD with MobileNet v2 that was trained for int8, which is another: boxes by 1x1 convolutions.

    github:tensorflow/models, ssd_mobilenet_v2_quantized_300x300_coco.config: kernel_size 1 and no separable extra
    layers, where ssd_mobilenet_v2_coco.config has 3 and separable ones.
    """
    picture = picture_of(300)
    x, at_16 = mobilenet_v2_features(picture, 1.0)
    return _ssd(picture, [at_16, conv(x, 1280, activation="relu6")], separable=False, kernel=1)


def ssdlite_mobilenet_v2() -> keras.Model:
    """Return SSDLite with MobileNet v2 (arXiv:1801.04381, section 6.2) for pictures ``[1, 300, 300, 3]``."""
    picture = picture_of(300)
    x, at_16 = mobilenet_v2_features(picture, 1.0)
    return _ssd(picture, [at_16, conv(x, 1280, activation="relu6")], separable=True, kernel=None)


def ssdlite_mobilenet_v3(which: str) -> keras.Model:
    """Return SSDLite with MobileNet v3, its last stage halved, for pictures ``[1, 320, 320, 3]``."""
    picture = picture_of(320)
    x, at_16 = mobilenet_v3_features(picture, which, 1.0, halved=True)
    last = conv(x, 480 if which == "large" else 288, activation="hard_silu")
    return _ssd(picture, [at_16, last], separable=True, kernel=None)


def ssdlite_mobilenet_edgetpu() -> keras.Model:
    """Return SSDLite with MobileNet-EdgeTPU for pictures ``[1, 320, 320, 3]``."""
    picture = picture_of(320)
    x = conv(picture, 32, 3, 2)
    wide = at_16 = x
    for fused, kernel, expansion, filters, strides, added in _EDGETPU:
        channels = int(x.shape[-1])
        if int(x.shape[1]) == 20 and strides == 2:
            at_16 = wide
        if fused:
            # Where nothing is widened there is no such convolution.
            wide = x if expansion == 1 else conv(x, channels * expansion, kernel, strides)
            y = conv(wide, filters, activation=None)
        else:
            wide = conv(x, channels * expansion)
            y = conv(depthwise(wide, kernel, strides, "relu"), filters, activation=None)
        x = layers.Add()([x, y]) if added and strides == 1 and channels == filters else y
    return _ssd(picture, [at_16, x], separable=True, kernel=None)


def efficientdet(which: str) -> keras.Model:
    """Return EfficientDet "lite0" to "lite4" or "lite3x": boxes and scores of each level."""
    width, depth, size, filters, cells, repeats = EFFICIENTDETS[which]
    picture = picture_of(size)
    stages = efficientnet_lite_features(picture, width, depth)
    levels = [stages[2], stages[4], stages[6]]
    levels.append(max_pool(conv(levels[-1], filters, activation=None)))
    levels.append(max_pool(levels[-1]))
    for _ in range(cells):
        levels = _bifpn(levels, filters)
    predicted = []
    for numbers in (_CLASSES, 4):
        parts = []
        for x in levels:
            for _ in range(repeats):
                x = conv(depthwise(x, activation=None), filters, activation="relu6")
            y = conv(depthwise(x, activation=None), 9 * numbers, activation=None)
            parts.append(layers.Reshape((int(y.shape[1]) ** 2 * 9, numbers))(y))
        predicted.append(layers.Concatenate(axis=1)(parts))
    scores, boxes = predicted
    return keras.Model(picture, [boxes, layers.Activation("sigmoid")(scores)])


def sorting_of(name: str, graph: Graph) -> float:
    """Return what the operation that sorts a detector's boxes takes after its graph, 0 for no detector."""
    detections = _DETECTIONS.get(name.split("-")[0])
    if detections is None:
        return 0.0
    shapes = [graph.values[place].shape or () for place in graph.outputs]
    boxes = next(shape[1] for shape in shapes if shape[-1] == 4)
    return sorting(boxes, sum(boxes * shape[-1] for shape in shapes if shape[-1] != 4), detections)


def _bifpn(levels: list[Tensor], filters: int) -> list[Tensor]:
    nodes = list(levels)
    sizes = [int(level.shape[1]) for level in levels]
    for level, origins in zip((3, 2, 1, 0, 1, 2, 3, 4), _BIFPN, strict=True):
        given = [_resampled(nodes[origin], sizes[level], filters) for origin in origins]
        x = layers.Add()(given[:2])
        for other in given[2:]:
            x = layers.Add()([x, other])
        nodes.append(conv(depthwise(layers.ReLU(6)(x), activation=None), filters, activation=None))
    return nodes[8:]


def _resampled(x: Tensor, size: int, filters: int) -> Tensor:
    """Return ``x`` ``[batch, size, size, filters]``: by a 1x1 convolution, and by pooling or repeating numbers."""
    if int(x.shape[-1]) != filters:
        x = conv(x, filters, activation=None)
    if int(x.shape[1]) > size:
        return max_pool(x)
    return x if int(x.shape[1]) == size else resized(x, size)


def _ssd(
    picture: Tensor, features: list[Tensor], separable: bool, kernel: int | None, classes: int = _CLASSES
) -> keras.Model:
    """Return a detector whose boxes are predicted by convolutions of ``kernel``, or separable ones of 3 where None."""
    features = list(features)
    for filters in _EXTRAS:
        x = conv(features[-1], filters // 2, activation="relu6")
        x = conv(depthwise(x, 3, 2), filters, activation="relu6") if separable else conv(x, filters, 3, 2, "relu6")
        features.append(x)
    predicted = []
    for numbers in (4, classes + 1):
        parts = []
        for x, anchors in zip(features, _ANCHORS, strict=True):
            y = depthwise(x) if kernel is None else x
            y = conv(y, anchors * numbers, kernel or 1, activation=None)
            parts.append(layers.Reshape((int(y.shape[1]) ** 2 * anchors, numbers))(y))
        predicted.append(layers.Concatenate(axis=1)(parts))
    boxes, scores = predicted
    return keras.Model(picture, [boxes, layers.Activation("sigmoid")(scores)])


def yolov4_tiny(size: int = 416) -> keras.Model:
    """Return YOLOv4-tiny (arXiv:2011.08036) for COCO and pictures ``[1, size, size, 3]``: its two raw tensors."""
    numbers = 3 * (5 + 80)
    picture = picture_of(size)
    x = conv(conv(picture, 32, 3, 2, "leaky_relu"), 64, 3, 2, "leaky_relu")
    at_16 = x
    for filters in (64, 128, 256):
        whole = conv(x, filters, 3, activation="leaky_relu")
        first = conv(whole[..., filters // 2 :], filters // 2, 3, activation="leaky_relu")
        second = conv(first, filters // 2, 3, activation="leaky_relu")
        at_16 = conv(layers.Concatenate()([second, first]), filters, activation="leaky_relu")
        x = max_pool(layers.Concatenate()([whole, at_16]), 2)
    x = conv(conv(x, 512, 3, activation="leaky_relu"), 256, activation="leaky_relu")
    coarse = conv(conv(x, 512, 3, activation="leaky_relu"), numbers, activation=None)
    x = resized(conv(x, 128, activation="leaky_relu"), int(at_16.shape[1]))
    fine = conv(layers.Concatenate()([x, at_16]), 256, 3, activation="leaky_relu")
    return keras.Model(picture, [coarse, conv(fine, numbers, activation=None)])
