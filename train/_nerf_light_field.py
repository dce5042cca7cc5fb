"""The light field: a ray's colour from one evaluation of a small network, without a sample of any density."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ._nerf_layers import InFloat32, PointsOnRay, RaySegment, Shape, SkyWhereMissed
from ._nerf_scene import HIGHEST, LOWEST, SKY


@keras.saving.register_keras_serializable("edgewright")
class EvenDistances(InFloat32):
    """``count`` distances from where a ray enters the box to where it leaves it: ``[batch, 2]`` to ``[batch, count]``.

    Args:
        count: of distances, both ends among them.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def call(self, segment: Any) -> Any:
        """Return the distances."""
        parts = ops.convert_to_tensor(np.linspace(0, 1, self.count).astype(np.float32))
        return segment[:, :1] + (segment[:, 1:] - segment[:, :1]) * parts

    def compute_output_shape(self, segment_shape: Shape) -> Shape:
        """``[batch, count]``."""
        return (segment_shape[0], self.count)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable("edgewright")
class RayEncoding(InFloat32):
    """A ray as the positional encodings of points on it, side by side (Wang et al., 2022, "R2L", section 3.2).

    ``[batch, n, 3]`` to ``[batch, n 3 (1 + 2 levels)]``. Sine and cosine of an angle give those of twice the angle.

    Args:
        levels: the number of frequencies.
    """

    def __init__(self, levels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = levels

    def call(self, points: Any) -> Any:
        """Return the encoding."""
        first = float(np.pi) * points
        sines, cosines = [ops.sin(first)], [ops.cos(first)]
        for _ in range(1, self.levels):
            sine, cosine = sines[-1], cosines[-1]
            sines.append(2.0 * sine * cosine)
            cosines.append(1.0 - 2.0 * sine * sine)
        features = ops.concatenate([points, *sines, *cosines], axis=-1)
        return ops.reshape(features, (-1, features.shape[1] * features.shape[2]))

    def compute_output_shape(self, points_shape: Shape) -> Shape:
        """``[batch, n 3 (1 + 2 levels)]``."""
        return (points_shape[0], (points_shape[1] or 0) * 3 * (1 + 2 * self.levels))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "levels": self.levels}


def light_field_model(points: int, levels: int, depth: int, units: int) -> keras.Model:
    """Return the model of a ray: ``origin`` and ``direction`` ``[batch, 3]`` to ``colour`` ``[batch, 3]``.

    Args:
        points: on each ray.
        levels: frequencies of their encoding.
        depth, units: of the network; every second layer is added to what came in before it (He et al., 2016).
    """
    origin, direction = keras.Input((3,), name="origin"), keras.Input((3,), name="direction")
    segment = RaySegment(LOWEST, HIGHEST, name="segment")(origin, direction)
    distances = EvenDistances(points, name="distances")(segment)
    ray = RayEncoding(levels, name="ray")(PointsOnRay(name="points")(origin, direction, distances))
    colour = colour_of(light_field_layers(depth, units), ray)
    shown = SkyWhereMissed(SKY, name="colour")(colour, segment)
    return keras.Model({"origin": origin, "direction": direction}, shown, name="light_field")


def light_field_layers(depth: int, units: int) -> dict[str, Any]:
    """Return the network's layers by name."""
    dense = keras.layers.Dense
    layers: list[Any] = [dense(units, activation="relu", name="layer_1")]
    for number in range(2, depth, 2):
        layers += [
            dense(units, activation="relu", name=f"layer_{number}"),
            dense(units, name=f"layer_{number + 1}"),
            keras.layers.Add(name=f"sum_{number + 1}"),
            keras.layers.ReLU(name=f"activation_{number + 1}"),
        ]
    layers.append(dense(3, activation="sigmoid", name="ray_colour"))
    return {layer.name: layer for layer in layers}


def colour_of(layers: Any, ray: Any) -> Any:
    """Return the colours ``[..., 3]`` of encoded rays ``[..., features]``; ``layers`` by name."""
    x = layers["layer_1"](ray)
    for number in sorted(int(name.removeprefix("sum_")) for name in layers if name.startswith("sum_")):
        inner = layers[f"layer_{number}"](layers[f"layer_{number - 1}"](x))
        x = layers[f"activation_{number}"](layers[f"sum_{number}"]([x, inner]))
    return layers["ray_colour"](x)
