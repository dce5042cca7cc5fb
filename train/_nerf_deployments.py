"""What of a radiance field and of a light field goes to a device: the networks alone, over encoded samples or rays."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from ._nerf_field import radiance
from ._nerf_light_field import colour_of
from ._nerf_scene import HIGHEST, LOWEST, SIDE, SKY
from ._task import Arrays, Dataset, Deployment, Task

SAMPLES_PER_CALL = 512
RAYS_PER_CALL = 256
RAYS_PER_ANSWER = 64
_VIEW = f"view of {SIDE} x {SIDE} rays"
_TEST_RAYS, _TRAINING_RAYS = 1280, 8192


def field_deployment(model: keras.Model, task: Task) -> Deployment:
    """Return the two networks of a rendering model, each over ``SAMPLES_PER_CALL`` encoded samples.

    Their output ``density`` is the density's level in [0, 1], a logarithm; see ``_nerf_layers.RenderingWeights``.
    """
    layers = _layers(model)
    weights, position = layers["fine_weights"], layers["fine_encoded_position"]
    return Deployment(
        graphs={kind: _network(kind, layers) for kind in ("coarse", "fine")},
        task=_in_sets(task, RAYS_PER_ANSWER),
        host=Path(__file__).with_name("_nerf_host.py"),
        settings={
            "lowest": list(LOWEST),
            "highest": list(HIGHEST),
            "background": SKY,
            "coarse_samples": layers["coarse_distances"].count,
            "fine_samples": layers["fine_distances"].count,
            "position_levels": position.levels,
            "direction_levels": layers["encoded_direction"].levels,
            "thinnest": weights.lowest,
            "densest": weights.highest,
            "samples_per_call": SAMPLES_PER_CALL,
        },
        unit=_VIEW,
        units=RAYS_PER_ANSWER / SIDE**2,
    )


def _network(kind: str, layers: Any) -> keras.Model:
    levels = layers["fine_encoded_position"].levels, layers["encoded_direction"].levels
    position = keras.Input((SAMPLES_PER_CALL, 3 * (1 + 2 * levels[0])), name="position")
    direction = keras.Input((SAMPLES_PER_CALL, 3 * (1 + 2 * levels[1])), name="direction")
    level, colour = radiance(kind, layers, position, direction)
    outputs = [keras.layers.Identity(name="density")(level), keras.layers.Identity(name="colour")(colour)]
    return keras.Model([position, direction], outputs, name=kind)


def light_field_deployment(model: keras.Model, task: Task) -> Deployment:
    """Return the network of a light field over ``RAYS_PER_CALL`` encoded rays."""
    layers = _layers(model)
    points, levels = layers["distances"].count, layers["ray"].levels
    ray = keras.Input((RAYS_PER_CALL, points * 3 * (1 + 2 * levels)), name="ray")
    colour = keras.layers.Identity(name="colour")(colour_of(layers, ray))
    return Deployment(
        graphs={"light_field": keras.Model(ray, colour, name="light_field_network")},
        task=_in_sets(task, RAYS_PER_CALL),
        host=Path(__file__).with_name("_nerf_light_field_host.py"),
        settings={
            "lowest": list(LOWEST),
            "highest": list(HIGHEST),
            "background": SKY,
            "points": points,
            "levels": levels,
            "rays_per_call": RAYS_PER_CALL,
        },
        unit=_VIEW,
        units=RAYS_PER_CALL / SIDE**2,
    )


def _layers(model: keras.Model) -> dict[str, Any]:
    return {layer.name: layer for layer in model.layers}


def _in_sets(task: Task, size: int) -> Task:
    """Return the task with sets of ``size`` rays as samples: an even draw of the rays, few enough for any runtime."""

    def sets(data: Dataset, rays: int) -> Dataset:
        drawn = data.at(np.random.default_rng(0).permutation(len(data))[:rays])
        labels = drawn.labels["colour"] if isinstance(drawn.labels, dict) else drawn.labels
        assert isinstance(labels, np.ndarray)
        inputs: Arrays = {name: array.reshape(-1, size, 3) for name, array in drawn.inputs.items()}
        return Dataset(inputs, labels.reshape(-1, size, 3))

    train, test = sets(task.train, _TRAINING_RAYS), sets(task.test, _TEST_RAYS)
    return Task(task.name, train, test, "mean_squared_error", task.metric)
