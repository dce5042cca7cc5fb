"""The networks that latencies were published of, rebuilt with random weights, by name.

    build("mobilenet-v2-0.35-160")              # a Keras model at batch 1
    canonical({"model": "mobilenet-v2-0.35-160-quantized"})

What is deployed is rebuilt: normalisation stands folded into the convolution before it.
"""

from collections.abc import Callable
from functools import partial

import keras
from _measured_classics import alexnet, googlenet, squeezenet, vgg
from _measured_detectors import (
    EFFICIENTDETS,
    efficientdet,
    ssd_mobilenet_v1,
    ssd_mobilenet_v2,
    ssd_mobilenet_v2_quantized,
    ssdlite_mobilenet_edgetpu,
    ssdlite_mobilenet_v2,
    ssdlite_mobilenet_v3,
    yolov4_tiny,
)
from _measured_edgetpu import application, efficientnet_edgetpu, inception_v1, inception_v4
from _measured_mobilenets import efficientnet_lite, mobilenet_v1, mobilenet_v2, mobilenet_v3
from _measured_names import canonical
from _measured_resnets import densenet, regnet_y, resnet
from _measured_searched import efficientnet_b0, mnasnet, ncnn_mobilenet_v2, ncnn_mobilenet_v3, proxylessnas
from _measured_shufflenets import shufflenet_v1, shufflenet_v2
from _measured_yolo11 import YOLO11S, yolo11

from edgewright.errors import InputError

__all__ = ["NAMES", "build", "canonical"]


def _mobilenets() -> dict[str, Callable[[], keras.Model]]:
    builders: dict[str, Callable[[], keras.Model]] = {}
    for alpha in (0.25, 0.5, 0.75, 1.0):
        for size in (128, 160, 192, 224):
            builders[f"mobilenet-v1-{alpha}-{size}"] = partial(mobilenet_v1, alpha, size)
    for alpha in (0.35, 0.5, 0.75, 1.0):
        for size in (96, 128, 160, 192, 224):
            builders[f"mobilenet-v2-{alpha}-{size}"] = partial(mobilenet_v2, alpha, size)
    for alpha in (1.3, 1.4):
        builders[f"mobilenet-v2-{alpha}-224"] = partial(mobilenet_v2, alpha, 224)
    for which in ("large", "small"):
        builders[f"mobilenet-v3-{which}-minimalistic-1.0-224"] = partial(mobilenet_v3, which, 1.0, 224, True)
        for alpha in (0.75, 1.0):
            builders[f"mobilenet-v3-{which}-{alpha}-224"] = partial(mobilenet_v3, which, alpha, 224)
    for level in range(5):
        builders[f"efficientnet-lite{level}"] = partial(efficientnet_lite, level)
    return builders


_BUILDERS: dict[str, Callable[[], keras.Model]] = _mobilenets() | {
    "resnet50-v1.5": partial(resnet, 50),
    "resnet50-v1": partial(resnet, 50, False),
    **{f"resnet{depth}": partial(resnet, depth) for depth in (18, 34, 101, 152)},
    "resnet50-v1-299": partial(resnet, 50, False, 299),
    "resnet18-projected": partial(resnet, 18, projected=True),
    "densenet121": partial(densenet, (6, 12, 24, 16), 32),
    "densenet169": partial(densenet, (6, 12, 32, 32), 32),
    "densenet201": partial(densenet, (6, 12, 48, 32), 32),
    "densenet161": partial(densenet, (6, 12, 36, 24), 48),
    "regnety-400m": partial(regnet_y, (48, 104, 208, 440), (1, 3, 6, 6), 8),
    "alexnet-caffe": partial(alexnet, True),
    "alexnet": partial(alexnet, False),
    "googlenet-caffe": googlenet,
    "squeezenet1.0": partial(squeezenet, "1.0", 224),
    "squeezenet1.1": partial(squeezenet, "1.1", 224),
    "squeezenet1.1-caffe": partial(squeezenet, "1.1", 227, 1),
    **{f"mnasnet-{alpha}": partial(mnasnet, alpha) for alpha in (0.5, 0.75, 1.0, 1.3)},
    "proxylessnas": proxylessnas,
    "mobilenet-v2-ncnn": ncnn_mobilenet_v2,
    "mobilenet-v3-ncnn": ncnn_mobilenet_v3,
    "efficientnet-b0": efficientnet_b0,
    "shufflenet-v1": shufflenet_v1,
    **{f"shufflenet-v2-{alpha}": partial(shufflenet_v2, alpha) for alpha in (0.5, 1.0, 1.5, 2.0)},
    "ssd-mobilenet-v1": ssd_mobilenet_v1,
    "ssd-mobilenet-v1-voc": partial(ssd_mobilenet_v1, 20),
    "ssd-mobilenet-v2": ssd_mobilenet_v2,
    "ssd-mobilenet-v2-quantized": ssd_mobilenet_v2_quantized,
    "ssdlite-mobilenet-v2": ssdlite_mobilenet_v2,
    "ssdlite-mobilenet-v3-large": partial(ssdlite_mobilenet_v3, "large"),
    "ssdlite-mobilenet-v3-small": partial(ssdlite_mobilenet_v3, "small"),
    "ssdlite-mobilenet-edgetpu": ssdlite_mobilenet_edgetpu,
    **{f"efficientdet-{which}": partial(efficientdet, which) for which in EFFICIENTDETS},
    "inception-v1": inception_v1,
    "inception-v4": inception_v4,
    **{name: partial(application, name) for name in ("inception-v3", "inception-resnet-v2")},
    **{name: partial(application, name) for name in ("resnet50-v2", "resnet152-v2")},
    **{f"efficientnet-edgetpu-{which}": partial(efficientnet_edgetpu, which) for which in "sml"},
    "yolov4-tiny": yolov4_tiny,
    **{f"yolo11{which}": partial(yolo11, which) for which in YOLO11S},
    **{f"vgg{depth}": partial(vgg, depth) for depth in (11, 13, 16, 19)},
}
NAMES = tuple(_BUILDERS)


def build(name: str) -> keras.Model:
    """Return the model of that name, its weights drawn from seed 0.

    Raises:
        InputError: no model of that name.
    """
    if name not in _BUILDERS:
        raise InputError(f"Expected a model of {', '.join(NAMES)}. Got: {name}.")
    keras.utils.set_random_seed(0)
    return _BUILDERS[name]()
