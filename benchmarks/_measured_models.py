"""The networks that latencies were published of, rebuilt with random weights, by name.

    build("mobilenet-v2-0.35-160")              # a Keras model at batch 1
    canonical({"model": "mobilenet-v2-0.35-160-quantized"})

What is deployed is rebuilt: normalisation stands folded into the convolution before it.
"""

from collections.abc import Callable
from functools import partial

import keras
from _measured_mobilenets import efficientnet_lite, mobilenet_v1, mobilenet_v2, mobilenet_v3
from _measured_names import canonical
from _measured_resnets import resnet

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
