"""The radiance field: a network from encoded position and direction to density and colour, and its rendering model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import InputError
from ._nerf_layers import (
    AlongRay,
    Composite,
    ImportanceDistances,
    PointsOnRay,
    PositionalEncoding,
    RaySegment,
    RenderingWeights,
    StratifiedDistances,
)
from ._nerf_scene import HIGHEST, LOWEST, SKY

# The density's bounds per unit of length: 2 units of the lower are 0.5 % opaque, a step of 1/20 in the upper 99.999 %.
THINNEST, DENSEST = 0.0025, 240.0
POSITION_LEVELS, DIRECTION_LEVELS = 10, 4
_SKIP_AFTER = 4
_FULL_LEVELS = 5


@dataclass(frozen=True)
class Shape:
    """How large a field is and how densely it is sampled.

    Attributes:
        coarse, fine: (layers, units) of the two networks' trunks.
        coarse_samples: of each ray, evenly; seen by the coarse network.
        fine_samples: of each ray, where the coarse weights are; seen by the fine network.
        position_levels: frequencies of the positions' encoding.
    """

    coarse: tuple[int, int]
    fine: tuple[int, int]
    coarse_samples: int
    fine_samples: int
    position_levels: int = POSITION_LEVELS


@keras.saving.register_keras_serializable("edgewright")
class SmoothFirst(keras.initializers.Initializer):
    """Glorot's uniform start, halved with each level of the encoding above ``full_levels``: a smooth field at first.

    At 100 x 100 pixels the upper levels turn faster than a pixel; with equal weights they begin as noise.

    Args:
        levels: of the encoding, whose rows are the coordinates, all sines by level, all cosines by level.
        full_levels: how many of them start with full weights.
        seed: of the draw.
    """

    def __init__(self, levels: int, full_levels: int, seed: int) -> None:
        self.levels, self.full_levels, self.seed = levels, full_levels, seed

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """Return the kernel."""
        if shape[0] % (1 + 2 * self.levels):
            raise InputError(f"Expected rows for an encoding of {self.levels} levels. Got: a kernel {list(shape)}.")
        turning = np.repeat(0.5 ** np.maximum(np.arange(self.levels) - self.full_levels + 1, 0.0), 3)
        scale = np.concatenate([np.ones(3), turning, turning]).astype("float32")[:, None]
        return keras.initializers.GlorotUniform(self.seed)(shape, dtype) * scale

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"levels": self.levels, "full_levels": self.full_levels, "seed": self.seed}


def layers_of(
    kind: str, depth: int, units: int, seed: int = 0, levels: int = POSITION_LEVELS
) -> dict[str, keras.layers.Layer]:
    """Return the layers of one network by name, each name beginning with ``kind``."""
    dense = keras.layers.Dense
    layers = [dense(units, activation="relu", name=f"{kind}_trunk_{number}") for number in range(1, depth + 1)]
    layers[0].kernel_initializer = SmoothFirst(levels, _FULL_LEVELS, seed)
    if depth > _SKIP_AFTER:
        layers.append(keras.layers.Concatenate(name=f"{kind}_skip"))
    layers += [
        dense(1, activation="sigmoid", name=f"{kind}_density"),
        keras.layers.Concatenate(name=f"{kind}_with_direction"),
        dense(units // 2, activation="relu", name=f"{kind}_head"),
        dense(3, activation="sigmoid", name=f"{kind}_sample_colour"),
    ]
    return {layer.name: layer for layer in layers}


def radiance(kind: str, layers: Mapping[str, Any], position: Any, direction: Any) -> tuple[Any, Any]:
    """Return the density's level ``[batch, n, 1]``, from the position alone, and the colour ``[batch, n, 3]``.

    Args:
        kind: the prefix of the layers' names.
        layers: by name; see ``layers_of``.
        position, direction: encoded, ``[batch, n, 63]`` and ``[batch, n, 27]``.
    """
    x, number = position, 1
    while f"{kind}_trunk_{number}" in layers:
        x = layers[f"{kind}_trunk_{number}"](x)
        if number == _SKIP_AFTER and f"{kind}_skip" in layers:
            x = layers[f"{kind}_skip"]([position, x])
        number += 1
    level = layers[f"{kind}_density"](x)
    x = layers[f"{kind}_with_direction"]([x, direction])
    return level, layers[f"{kind}_sample_colour"](layers[f"{kind}_head"](x))


def rendering_model(shape: Shape, seed: int) -> keras.Model:
    """Return the model of a ray: ``origin`` and ``direction`` to ``colour`` and ``coarse_colour``, each ``[batch, 3]``.

    Directions are unit vectors. A ray that misses the box has the background's colour.
    """
    origin, direction = keras.Input((3,), name="origin"), keras.Input((3,), name="direction")
    segment = RaySegment(LOWEST, HIGHEST, name="segment")(origin, direction)
    ahead = PositionalEncoding(DIRECTION_LEVELS, name="encoded_direction")(direction)

    def rendered(kind: str, size: tuple[int, int], distances: Any, output: str) -> tuple[Any, Any]:
        points = PointsOnRay(name=f"{kind}_points")(origin, direction, distances)
        position = PositionalEncoding(shape.position_levels, name=f"{kind}_encoded_position")(points)
        everywhere = AlongRay(name=f"{kind}_direction")(ahead, distances)
        level, colours = radiance(kind, layers_of(kind, *size, seed, shape.position_levels), position, everywhere)
        weights = RenderingWeights(THINNEST, DENSEST, name=f"{kind}_weights")(level, distances, segment)
        return weights, Composite(SKY, name=output)(weights, colours)

    evenly = StratifiedDistances(shape.coarse_samples, seed=2 * seed, name="coarse_distances")(segment)
    weights, coarse_colour = rendered("coarse", shape.coarse, evenly, "coarse_colour")
    chosen = ImportanceDistances(shape.fine_samples, seed=2 * seed + 1, name="fine_distances")(segment, evenly, weights)
    _, colour = rendered("fine", shape.fine, chosen, "colour")
    inputs = {"origin": origin, "direction": direction}
    return keras.Model(inputs, {"colour": colour, "coarse_colour": coarse_colour}, name="nerf")
