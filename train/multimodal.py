"""Cross-attention between modalities: questions about pictures, and a camera with a LIDAR."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._multimodal_clevr import BITS, QUESTIONS, SIDE, sort_of_clevr
from ._multimodal_drone import CAMERA, CONDITIONS, LIDAR, RAYS, drone
from ._multimodal_drone import SIDE as CAMERA_SIDE
from ._task import Architecture, Dataset, Deployment, Experiment, Schedule, Task
from ._training import outputs_of

if TYPE_CHECKING:
    import keras

HOST = Path(__file__).with_name("_multimodal_host.py")
DRONE_HOST = Path(__file__).with_name("_multimodal_drone_host.py")
DEPLOYED = slice(100)  # pictures, of 20 questions each, that a deployed model is judged by
DEPLOYED_SCENES = slice(999)  # samples, three of each scene
CALIBRATING = 500  # training samples that go with a deployment, evenly from the training set


def build(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the cross-attention model; see ``_multimodal_vqa.cross_attention``."""
    import keras

    from ._multimodal_vqa import Shape, cross_attention

    keras.utils.set_random_seed(seed)
    return cross_attention(Shape() if size == "edge" else Shape((128, 256), 256, 8, 4))


def deploy(model: "keras.Model") -> Deployment:
    """Return two graphs, one run for a picture and one for each question, on the first test pictures."""
    from ._multimodal_vqa import look_and_ask

    look, ask = look_and_ask(model)
    return Deployment(
        graphs={"look": look, "ask": ask},
        task=_as_floats(sort_of_clevr(), DEPLOYED),
        host=HOST,
        settings={"shapes": {"image": [SIDE, SIDE, 3], "questions": [QUESTIONS, BITS]}},
        unit="question",
        units=QUESTIONS,
    )


def by_kind(model: "keras.Model") -> Mapping[str, float]:
    """Return the accuracy on questions about one object, and on those about how objects relate."""
    test = sort_of_clevr().test
    answers = next(iter(outputs_of(model, test).values()))
    right = answers.argmax(axis=-1) == test.labels
    alone, together = np.split(right, 2, axis=1)
    return {"non-relational (%)": 100 * float(alone.mean()), "relational (%)": 100 * float(together.mean())}


def build_baseline(name: str) -> "Callable[[str, int], keras.Model]":
    """Return what builds one of the models of ``_multimodal_baselines``."""

    def build(size: str = "edge", seed: int = 0) -> "keras.Model":
        import keras

        from . import _multimodal_baselines as baselines

        keras.utils.set_random_seed(seed)
        return getattr(baselines, name)()

    return build


def build_drone(camera: float, lidar: float) -> "Callable[[str, int], keras.Model]":
    """Return what builds the drone's model with the sensors that it may use, 1 or 0 each."""

    def build(size: str = "edge", seed: int = 0) -> "keras.Model":
        import keras

        from ._multimodal_fusion import SHAPE, Shape, fusion

        keras.utils.set_random_seed(seed)
        return fusion((camera, lidar), SHAPE if size == "edge" else Shape((32, 64, 64), 128, 8, 4))

    return build


def deploy_baseline(model: "keras.Model") -> Deployment:
    """Return a model that answers all questions of a picture at once, which needs no code around it."""
    return Deployment({"model": model}, _as_floats(sort_of_clevr()))


def deploy_drone(model: "keras.Model") -> Deployment:
    """Return the graph of a device, and the code that takes samples in which a sensor is missing."""
    shapes = {"camera": [CAMERA_SIDE, CAMERA_SIDE, 3], "lidar": [RAYS]}
    return Deployment({"model": model}, _as_floats(drone(), DEPLOYED_SCENES), DRONE_HOST, {"shapes": shapes})


def by_condition(model: "keras.Model") -> Mapping[str, float]:
    """Return, in each of CONDITIONS, the accuracy and the clearance lost; the accuracy with each sensor missing."""
    from ._multimodal_headings import clearance_lost, safest

    test = drone().test
    headings, clearances = next(iter(outputs_of(model, test).values())), np.asarray(test.labels)
    right, lost = safest(headings, clearances), clearance_lost(headings, clearances)
    each = {name: slice(place, None, len(CONDITIONS)) for place, name in enumerate(CONDITIONS)}
    found = {f"{name} (%)": 100 * float(right[places].mean()) for name, places in each.items()}
    found.update({f"{name}, clearance lost (m)": float(lost[places].mean()) for name, places in each.items()})
    for place, name in ((CAMERA, "camera"), (LIDAR, "LIDAR")):
        found[f"{name} missing (%)"] = 100 * float(right[test.inputs["present"][:, place] == 0].mean())
    return found


def _as_floats(task: Task, judging: slice = slice(None)) -> Task:
    """Return the task as float32, as a device takes it: some test samples, and training ones for calibration."""

    def floats(data: Dataset) -> Dataset:
        return Dataset({name: array.astype(np.float32) for name, array in data.inputs.items()}, data.labels)

    some = slice(None, None, len(task.train) // CALIBRATING)
    return dataclasses.replace(task, train=floats(task.train.at(some)), test=floats(task.test.at(judging)))


SORT_OF_CLEVR = Experiment(
    "sort-of-clevr",
    "Cross-attention, 3 hops",
    build,
    sort_of_clevr,
    {
        "edge": Schedule(epochs=24, batch_size=32, learning_rate=1.5e-3, warmup=0.05, clip_norm=1.0),
        "full": Schedule(epochs=100, batch_size=64, learning_rate=5e-4, warmup=0.05, clip_norm=1.0, weight_decay=1e-4),
    },
    deploy=deploy,
    measures=by_kind,
    bar=95.0,
)
BASELINES = tuple(
    Experiment(
        name,
        title,
        build_baseline(function),
        sort_of_clevr,
        {"edge": Schedule(epochs=epochs, batch_size=batch_size, learning_rate=1e-3, warmup=0.05, clip_norm=1.0)},
        deploy=deploy_baseline,
        measures=by_kind,
    )
    for name, title, function, epochs, batch_size in (
        ("cnn-mlp", "CNN and MLP", "cnn_and_mlp", 24, 32),
        ("film", "FiLM, 2 blocks", "film", 6, 16),
        ("relation-network", "Relation Network", "relation_network", 20, 16),
    )
)
DRONE = tuple(
    Experiment(
        name,
        title,
        build_drone(*uses),
        drone,
        {
            "edge": Schedule(
                epochs=20, batch_size=32, learning_rate=1.5e-3, warmup=0.05, clip_norm=1.0, samples_per_epoch=8000
            ),
            "full": Schedule(epochs=100, batch_size=64, learning_rate=5e-4, warmup=0.05, clip_norm=1.0),
        },
        deploy=deploy_drone,
        measures=by_condition,
    )
    for name, title, uses in (
        ("drone-fused", "Camera and LIDAR", (1.0, 1.0)),
        ("drone-camera", "Camera only", (1.0, 0.0)),
        ("drone-lidar", "LIDAR only", (0.0, 1.0)),
    )
)
ARCHITECTURE = Architecture("multimodal", "Cross-attention", (SORT_OF_CLEVR, *BASELINES, *DRONE))
