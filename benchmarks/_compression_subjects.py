"""What the benchmarks compress and export: the shipped models, and some of Keras' own that are trained on the spot.

A subject is a trained model with its experiment. The nets of keras.applications, such as MobileNetV2 (Sandler et al.,
"MobileNetV2: inverted residuals and linear bottlenecks", 2018, arXiv 1801.04381), see the digits at 64 x 64 pixels in
three channels, the LSTM (Hochreiter and Schmidhuber, 1997) hears the Japanese vowels. No weights are fetched: there is
no network.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.files import sha256
from edgewright.train import ACCURACY, Dataset, Experiment, Schedule, Task, get, names
from edgewright.train._checkpoints import load, shipped
from edgewright.train._digits import digits
from edgewright.train._liquid_tasks import japanese_vowels

_SIDE = 64


@dataclass(frozen=True)
class Budget:
    """How long a technique may train on, the same for TF-MOT and for edgewright.

    Attributes:
        epochs, batch_size, learning_rate: of the fine-tuning (Adam, cosine decay to zero).
        ramp: the share of the steps after which the final sparsity is reached.
        qat_epochs, qat_learning_rate: of quantization-aware training.
    """

    epochs: int
    learning_rate: float
    batch_size: int = 64
    ramp: float = 0.6
    qat_epochs: int = 4
    qat_learning_rate: float = 3e-4


@dataclass(frozen=True)
class Subject:
    """A trained model that every peer compresses.

    Attributes:
        name: of an architecture, "ARCHITECTURE/EXPERIMENT", "mobilenet_v2" or "lstm".
        experiment: task, deployment form and metric.
        checkpoint: the trained model's file.
        budget: of techniques that train.
        twin: whether a tf_keras twin can be made of it, which is what TF-MOT takes.
        scope: which variables TF-MOT prunes: a regular expression for edgewright to prune the same ones.
    """

    name: str
    experiment: Experiment
    checkpoint: Path
    budget: Budget
    twin: bool = False
    scope: str = "kernel$"

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of the trained model."""
        return sha256(self.checkpoint)

    def model(self) -> Any:
        """Return the trained model, loaded anew."""
        return load(self.checkpoint)


def mobilenet_v2(size: str = "edge", seed: int = 0) -> Any:
    """Return MobileNetV2 at width 0.35: ``image`` ``[batch, 64, 64, 3]`` to ``probabilities`` ``[batch, 10]``."""
    return _application("MobileNetV2", "mobilenet_v2", seed, alpha=0.35)


def mobilenet_v3(size: str = "edge", seed: int = 0) -> Any:
    """Return the small MobileNetV3, of the same signature."""
    return _application("MobileNetV3Small", "mobilenet_v3", seed, include_preprocessing=False)


def efficientnet_b0(size: str = "edge", seed: int = 0) -> Any:
    """Return EfficientNetB0, of the same signature."""
    return _application("EfficientNetB0", "efficientnet_b0", seed)


def resnet50(size: str = "edge", seed: int = 0) -> Any:
    """Return ResNet50, of the same signature."""
    return _application("ResNet50", "resnet50", seed)


def _application(kind: str, name: str, seed: int, **settings: Any) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((_SIDE, _SIDE, 3), name="image")
    build = getattr(keras.applications, kind)
    features = build(input_tensor=image, include_top=False, weights=None, pooling="avg", **settings)
    for layer in features.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # 0.999 needs more steps than a few minutes have
    outputs = keras.layers.Dense(10, activation="softmax", name="probabilities")(features.output)
    return keras.Model(image, outputs, name=name)


@functools.cache
def large_digits() -> Task:
    """Return the digits at 64 x 64 pixels, bilinear, in three equal channels from -1 to 1."""
    task = digits()

    def enlarged(data: Dataset) -> Dataset:
        images = data.inputs["image"][..., 0]
        places = (np.arange(_SIDE) + 0.5) * images.shape[1] / _SIDE - 0.5
        below = np.clip(np.floor(places).astype(int), 0, images.shape[1] - 2)
        share = np.clip(places - below, 0, 1).astype(np.float32)
        rows = images[:, below] * (1 - share[:, None]) + images[:, below + 1] * share[:, None]
        large = rows[:, :, below] * (1 - share) + rows[:, :, below + 1] * share
        return Dataset({"image": np.repeat(2 * large[..., None] - 1, 3, axis=-1)}, data.labels)

    return dataclasses.replace(task, name="large digits", train=enlarged(task.train), test=enlarged(task.test))


def lstm(size: str = "edge", seed: int = 0) -> Any:
    """Return an LSTM of 64 units over ``x`` ``[batch, 29, 12]``, unrolled, to ``probabilities`` ``[batch, 9]``.

    It is unrolled because TFLite's calibration dies on a rolled one.
    """
    import keras

    keras.utils.set_random_seed(seed)
    x = keras.Input((29, 12), name="x")
    states = keras.layers.LSTM(64, return_sequences=True, unroll=True, name="lstm")(x)
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(states)
    mean = keras.layers.Dropout(0.3, seed=seed, name="dropout")(mean)
    outputs = keras.layers.Dense(9, activation="softmax", name="probabilities")(mean)
    return keras.Model(x, outputs, name="lstm")


@functools.cache
def vowels() -> Task:
    """Return the Japanese vowels as padded recordings alone: no gaps, no mask."""
    task = japanese_vowels()
    only = (Dataset({"x": data.inputs["x"]}, data.labels) for data in (task.train, task.test))
    return Task("japanese vowels", *only, "sparse_categorical_crossentropy", ACCURACY)


_OWN = {
    "mobilenet_v2": Experiment(
        "mobilenet_v2",
        "MobileNetV2, width 0.35",
        mobilenet_v2,
        large_digits,
        {"edge": Schedule(epochs=12, batch_size=32, learning_rate=4e-3, warmup=0.05)},
    ),
    "lstm": Experiment(
        "lstm",
        "LSTM, 64 units",
        lstm,
        vowels,
        {"edge": Schedule(epochs=60, batch_size=32, learning_rate=3e-3, warmup=0.05, clip_norm=1.0)},
    ),
}
for _build, _title in (
    (mobilenet_v3, "MobileNetV3 small"),
    (efficientnet_b0, "EfficientNetB0"),
    (resnet50, "ResNet50"),
):
    _schedule = Schedule(epochs=3, batch_size=32, learning_rate=2e-3, warmup=0.1)
    _OWN[_build.__name__] = Experiment(_build.__name__, _title, _build, large_digits, {"edge": _schedule})
_BUDGETS = {
    "sparse": Budget(20, 2e-3, qat_epochs=6, qat_learning_rate=5e-4),
    "convolutional": Budget(20, 2e-3, qat_epochs=6, qat_learning_rate=5e-4),
    "mobilenet_v2": Budget(6, 2e-3, batch_size=32, qat_epochs=2),
    "lstm": Budget(40, 3e-3, batch_size=32, qat_epochs=10),
}
# TF-MOT leaves depthwise kernels alone.
_SCOPES = {"mobilenet_v2": "^(?!.*depthwise).*kernel$"}


def known() -> tuple[str, ...]:
    """Return the names of the subjects, those that TF-MOT takes first."""
    return (*_BUDGETS, *(name for name in names() if name not in _BUDGETS))


def subject_of(name: str, out: Path) -> Subject:
    """Return a subject; one that is not shipped is trained now, below ``out``, unless it was.

    Raises:
        InputError: there is none of that name.
        FileNotFoundError: its architecture ships no trained model of it.
    """
    budget = _BUDGETS.get(name, Budget(6, 1e-3))
    twin, scope = name in _BUDGETS, _SCOPES.get(name, "kernel$")
    if name in _OWN:
        return Subject(name, _OWN[name], _trained(_OWN[name], out / name), budget, twin, scope)
    architecture, _, experiment = name.partition("/")
    chosen = get(architecture).experiment(experiment) if experiment else get(architecture).default
    checkpoint = shipped(architecture, chosen.name)
    if checkpoint is None:
        raise FileNotFoundError(f"Expected a shipped model of {architecture} {chosen.name}. Got: none.")
    return Subject(name, chosen, checkpoint, budget, twin, scope)


def _trained(experiment: Experiment, folder: Path) -> Path:
    from edgewright.train._training import train

    path = folder / "trained.keras"
    if not path.exists():
        model = train(experiment, folder=folder / "training")
        bare = experiment.build("edge", 0)
        bare.set_weights(model.get_weights())
        bare.save(path)
    return path
