"""Neural radiance fields: a scene learnt from pictures, and the light field that renders it with one call per ray."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from ._nerf_quality import PSNR, object_psnr, ssim
from ._nerf_scene import HELD_OUT_VIEWS, HIGHEST, LOWEST, SIDE, more_views, rays_and_colours, views
from ._task import Architecture, Dataset, Deployment, Experiment, Schedule, Task

if TYPE_CHECKING:
    import keras


FURTHER_VIEWS = 200


@functools.cache
def scene() -> Task:
    """Return the task: rays ``origin``, ``direction`` ``[samples, 3]`` of 30 views train, the 50,000 of 5 others test.

    Training leaves out the rays that miss the scene's box: they show the background, whatever the weights are.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    made = views()
    poses, pictures = made["poses"], made["pictures"]
    return Task(
        name="mitsuba-scene",
        train=rays(poses[:-HELD_OUT_VIEWS], pictures[:-HELD_OUT_VIEWS], only_hits=True),
        test=rays(poses[-HELD_OUT_VIEWS:], pictures[-HELD_OUT_VIEWS:]),
        loss={"colour": "mean_squared_error", "coarse_colour": "mean_squared_error"},
        metric=PSNR,
    )


def rays(poses: np.ndarray, pictures: np.ndarray, only_hits: bool = False) -> Dataset:
    """Return the rays of pictures with their colours."""
    origin, direction, colour = rays_and_colours(poses, pictures)
    data = Dataset({"origin": origin, "direction": direction}, {"colour": colour, "coarse_colour": colour})
    return data.at(np.flatnonzero(hits(origin, direction))) if only_hits else data


def hits(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return ``[rays]`` whether each ray meets the scene's box."""
    slope = np.where(np.abs(direction) < 1e-8, np.float32(1e-8), direction)
    first, second = (np.array(LOWEST, np.float32) - origin) / slope, (np.array(HIGHEST, np.float32) - origin) / slope
    near = np.maximum(np.minimum(first, second).max(axis=-1), 0)
    return np.maximum(first, second).min(axis=-1) > near


def build(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the field's rendering model; see ``_nerf_field.rendering_model``."""
    import keras

    from ._nerf_field import Shape, rendering_model

    keras.utils.set_random_seed(seed)
    if size == "edge":
        return rendering_model(Shape((2, 64), (4, 96), 24, 16), seed)
    return rendering_model(Shape((4, 128), (8, 256), 64, 128), seed)


def deploy(model: "keras.Model") -> Deployment:
    """Return the field's deployment: two networks over encoded samples; the host samples, encodes and composites."""
    from ._nerf_deployments import field_deployment

    return field_deployment(model, scene())


@functools.cache
def light_field_scene() -> Task:
    """Return the same held-out rays, with those of the training views and of 200 further rendered views to train on.

    A light field has no geometry to carry from view to view, so that it needs many: radiance fields are distilled into
    one by pictures that they render (Wang et al., 2022, "R2L"); here the path tracer itself renders them.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    task, more = scene(), more_views(FURTHER_VIEWS)
    further = rays(more["poses"], more["pictures"], only_hits=True)

    def joined(key: str) -> np.ndarray:
        return np.concatenate([task.train.inputs[key], further.inputs[key]])

    colours = np.concatenate([_colour(task.train), _colour(further)])
    return Task(
        name="mitsuba-light-field",
        train=Dataset({"origin": joined("origin"), "direction": joined("direction")}, colours),
        test=Dataset(task.test.inputs, _colour(task.test)),
        loss="mean_squared_error",
        metric=PSNR,
    )


def _colour(data: Dataset) -> np.ndarray:
    assert isinstance(data.labels, dict)
    colours: np.ndarray = data.labels["colour"]
    return colours


def build_light_field(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the light field's model; see ``_nerf_light_field.light_field_model``."""
    import keras

    from ._nerf_light_field import light_field_model

    keras.utils.set_random_seed(seed)
    if size == "edge":
        return light_field_model(points=12, levels=3, depth=6, units=192)
    return light_field_model(points=16, levels=6, depth=24, units=256)


def deploy_light_field(model: "keras.Model") -> Deployment:
    """Return the light field's deployment: one network over encoded rays."""
    from ._nerf_deployments import light_field_deployment

    return light_field_deployment(model, light_field_scene())


def similarity(model: "keras.Model") -> dict[str, float]:
    """Return the objects' PSNR, and SSIM and the PSNR of the worst view over the held-out views."""
    from ._training import outputs_of

    test = scene().test
    outputs = outputs_of(model, test, batch_size=1000)["colour"].reshape(-1, SIDE, SIDE, 3)
    truth = _colour(test).reshape(outputs.shape)
    pairs = list(zip(outputs, truth, strict=True))
    return {
        "PSNR of the objects (dB)": object_psnr(outputs, truth),
        "SSIM": float(np.mean([ssim(picture, true) for picture, true in pairs])),
        "PSNR of the worst view (dB)": min(PSNR.of(picture, true) for picture, true in pairs),
    }


MITSUBA_SCENE = Experiment(
    "mitsuba-scene",
    "NeRF, coarse 2 x 64 and fine 4 x 96",
    build,
    scene,
    {
        "edge": Schedule(epochs=60, batch_size=256, learning_rate=4e-3, warmup=0.05, samples_per_epoch=16384),
        "full": Schedule(epochs=800, batch_size=4096, learning_rate=1e-3, warmup=0.02),
    },
    deploy=deploy,
    measures=similarity,
    bar=25.0,
)
LIGHT_FIELD = Experiment(
    "light-field",
    "Light field, one evaluation per ray",
    build_light_field,
    light_field_scene,
    {
        "edge": Schedule(epochs=20, batch_size=256, learning_rate=2e-3, warmup=0.05, samples_per_epoch=65536),
        "full": Schedule(epochs=200, batch_size=4096, learning_rate=1e-3, warmup=0.02),
    },
    deploy=deploy_light_field,
    measures=similarity,
)
ARCHITECTURE = Architecture("nerf", "Neural radiance field", (MITSUBA_SCENE, LIGHT_FIELD))
