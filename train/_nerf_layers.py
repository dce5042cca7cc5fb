"""Layers of a neural radiance field: samples on a ray, their encoding, and volume rendering."""

from typing import Any

import keras
import numpy as np
from keras import ops

Shape = tuple[int | None, ...]


class InFloat32(keras.layers.Layer):
    """A layer that computes in float32 whatever the global policy: float16 holds no places along a ray."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})


@keras.saving.register_keras_serializable("edgewright")
class RaySegment(InFloat32):
    """Where rays enter and leave the box that holds the scene, by the slab method (Kay and Kajiya, 1986).

    ``[batch, 3]`` origins and ``[batch, 3]`` directions to ``[batch, 2]`` distances; both are 0 for a ray that misses,
    so that it gathers no weight and shows the background.

    Args:
        lowest, highest: the box's corners.
    """

    def __init__(self, lowest: Any, highest: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lowest, self.highest = tuple(map(float, lowest)), tuple(map(float, highest))

    def call(self, origin: Any, direction: Any) -> Any:
        """Return near and far, ``[batch, 2]``."""
        slope = ops.where(ops.abs(direction) < 1e-8, 1e-8, direction)
        first = (ops.convert_to_tensor(self.lowest, direction.dtype) - origin) / slope
        second = (ops.convert_to_tensor(self.highest, direction.dtype) - origin) / slope
        near = ops.maximum(ops.max(ops.minimum(first, second), axis=-1), 0.0)
        far = ops.min(ops.maximum(first, second), axis=-1)
        both = ops.stack([near, far], axis=-1)
        return ops.where((far > near)[:, None], both, ops.zeros_like(both))

    def compute_output_shape(self, origin_shape: Shape, direction_shape: Shape) -> Shape:
        """``[batch, 2]``."""
        return (origin_shape[0], 2)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "lowest": self.lowest, "highest": self.highest}


class _Draws(InFloat32):
    """A layer that cuts [0, 1] into ``count`` strata and draws a place in each; their centres when not training.

    Args:
        count: of strata.
        seed: of the draws.
    """

    def __init__(self, count: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.seed = count, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def places(self, like: Any, training: bool) -> Any:
        """Return ``[batch, count]`` ascending places in [0, 1], one in each stratum; ``like`` is ``[batch, ...]``."""
        strata = ops.convert_to_tensor(np.arange(self.count, dtype=np.float32))
        if training:
            within = keras.random.uniform((ops.shape(like)[0], self.count), seed=self.seed_generator)
            return (strata + within) / self.count
        return (strata + 0.5) / self.count + ops.zeros_like(like[:, :1])

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "count": self.count, "seed": self.seed}


@keras.saving.register_keras_serializable("edgewright")
class StratifiedDistances(_Draws):
    """One distance in each of ``count`` equal parts of a ray (Mildenhall et al., 2020, equation 2).

    ``[batch, 2]`` segments to ``[batch, count]`` ascending distances; drawn at random in training, else the centres.
    """

    def call(self, segment: Any, training: bool = False) -> Any:
        """Return the distances."""
        near, far = segment[:, :1], segment[:, 1:]
        return near + (far - near) * self.places(segment, training)

    def compute_output_shape(self, segment_shape: Shape) -> Shape:
        """``[batch, count]``."""
        return (segment_shape[0], self.count)


@keras.saving.register_keras_serializable("edgewright")
class ImportanceDistances(_Draws):
    """``count`` distances where the coarse weights are (Mildenhall et al., 2020, section 5.2).

    Each coarse sample's weight spreads evenly from the midpoint before it to the midpoint after it. The inverse of that
    piecewise linear distribution is a sum over pieces, ``t(u) = near + sum_j width_j clip((u - cdf_j) / pdf_j, 0, 1)``,
    so that it needs no search. A hundredth of the weight is spread over all pieces: an empty ray is sampled evenly.

    ``[batch, 2]`` segments, ``[batch, n]`` distances and ``[batch, n]`` weights to ``[batch, n + count]`` ascending
    distances, through which no gradient flows.
    """

    def call(self, segment: Any, distances: Any, weights: Any, training: bool = False) -> Any:
        """Return the distances."""
        middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
        edges = ops.concatenate([segment[:, :1], middles, segment[:, 1:]], axis=-1)
        widths = edges[:, 1:] - edges[:, :-1]
        pieces = weights.shape[-1]
        shares = ops.stop_gradient(weights) + 0.01 / pieces
        shares = shares / ops.sum(shares, axis=-1, keepdims=True)
        before = ops.matmul(shares, ops.convert_to_tensor(earlier(pieces)))
        places = self.places(segment, training)
        parts = (places[:, :, None] - before[:, None, :]) / shares[:, None, :]
        drawn = edges[:, :1] + ops.sum(widths[:, None, :] * ops.clip(parts, 0.0, 1.0), axis=-1)
        return ops.stop_gradient(drawn)

    def compute_output_shape(self, segment_shape: Shape, distances_shape: Shape, weights_shape: Shape) -> Shape:
        """``[batch, n + count]``."""
        return (segment_shape[0], self.count)


def earlier(count: int) -> np.ndarray:
    """Return strictly upper triangular ones, ``[count, count]``: a product with it sums what stands before each place.

    >>> np.array([[1.0, 2.0, 3.0]]) @ earlier(3)
    array([[0., 1., 3.]])
    """
    return np.triu(np.ones((count, count), np.float32), 1)


@keras.saving.register_keras_serializable("edgewright")
class PointsOnRay(InFloat32):
    """``o + t d``: ``[batch, 3]``, ``[batch, 3]`` and ``[batch, n]`` distances to ``[batch, n, 3]``."""

    def call(self, origin: Any, direction: Any, distances: Any) -> Any:
        """Return the points."""
        return origin[:, None, :] + distances[:, :, None] * direction[:, None, :]

    def compute_output_shape(self, origin_shape: Shape, direction_shape: Shape, distances_shape: Shape) -> Shape:
        """``[batch, n, 3]``."""
        return (*distances_shape, 3)


@keras.saving.register_keras_serializable("edgewright")
class PositionalEncoding(InFloat32):
    """``gamma(p) = [p, sin 2^k pi p, cos 2^k pi p]``, ``k = 0 ... levels - 1`` (Mildenhall et al., 2020, equation 4).

    ``[..., d]`` to ``[..., d (1 + 2 levels)]``: the coordinates, then all sines by level, then all cosines by level.

    Args:
        levels: L, the number of frequencies.
    """

    def __init__(self, levels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = levels

    def call(self, points: Any) -> Any:
        """Return the encoding."""
        turns = ops.concatenate([np.float32(2.0**level * np.pi) * points for level in range(self.levels)], axis=-1)
        return ops.concatenate([points, ops.sin(turns), ops.cos(turns)], axis=-1)

    def compute_output_shape(self, points_shape: Shape) -> Shape:
        """``[..., d (1 + 2 levels)]``."""
        return (*points_shape[:-1], (points_shape[-1] or 0) * (1 + 2 * self.levels))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "levels": self.levels}


@keras.saving.register_keras_serializable("edgewright")
class AlongRay(InFloat32):
    """A ray's features at each of its samples: ``[batch, d]`` and ``[batch, n, ...]`` to ``[batch, n, d]``."""

    def call(self, features: Any, samples: Any) -> Any:
        """Return the repeated features."""
        return ops.repeat(features[:, None, :], samples.shape[1], axis=1)

    def compute_output_shape(self, features_shape: Shape, samples_shape: Shape) -> Shape:
        """``[batch, n, d]``."""
        return (features_shape[0], samples_shape[1], features_shape[1])


@keras.saving.register_keras_serializable("edgewright")
class RenderingWeights(InFloat32):
    """What each sample adds to a ray's colour: ``w_i = T_i (1 - exp(-sigma_i delta_i))`` (same paper, equation 3).

    ``T_i = exp(-sum_{j<i} sigma_j delta_j)`` is the light that reaches sample i; the sum is a product with a constant
    strictly upper triangular matrix. The network gives the density's ``level`` u in [0, 1], and
    ``sigma = lowest (highest / lowest)^u``: eight bits of a logarithm are enough for it, eight bits of sigma are not.
    The last delta ends where the ray leaves the box (the paper's 1e10 would turn any density that is left opaque).

    ``[batch, n, 1]`` levels, ``[batch, n]`` distances and ``[batch, 2]`` segments to ``[batch, n]``, at most 1 in sum.

    Args:
        lowest, highest: the density's bounds, per unit of length.
    """

    def __init__(self, lowest: float, highest: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lowest, self.highest = lowest, highest

    def call(self, level: Any, distances: Any, segment: Any) -> Any:
        """Return the weights."""
        density = self.lowest * ops.exp(float(np.log(self.highest / self.lowest)) * level[:, :, 0])
        steps = ops.concatenate([distances[:, 1:], segment[:, 1:]], axis=-1) - distances
        depth = density * steps
        reaching = ops.exp(-ops.matmul(depth, ops.convert_to_tensor(earlier(depth.shape[-1]))))
        return reaching * -ops.expm1(-depth)

    def compute_output_shape(self, level_shape: Shape, distances_shape: Shape, segment_shape: Shape) -> Shape:
        """``[batch, n]``."""
        return distances_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "lowest": self.lowest, "highest": self.highest}


@keras.saving.register_keras_serializable("edgewright")
class Composite(InFloat32):
    """The ray's colour, ``sum_i w_i c_i + (1 - sum_i w_i) background``.

    ``[batch, n]`` weights and ``[batch, n, 3]`` colours to ``[batch, 3]``.

    Args:
        background: grey value of what lies behind the scene.
    """

    def __init__(self, background: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.background = background

    def call(self, weights: Any, colours: Any) -> Any:
        """Return the colour."""
        return self.background + ops.sum(weights[:, :, None] * (colours - self.background), axis=1)

    def compute_output_shape(self, weights_shape: Shape, colours_shape: Shape) -> Shape:
        """``[batch, 3]``."""
        return (weights_shape[0], 3)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "background": self.background}


@keras.saving.register_keras_serializable("edgewright")
class SkyWhereMissed(InFloat32):
    """The background for rays that miss: ``[batch, 3]`` colours and ``[batch, 2]`` segments to ``[batch, 3]``.

    Args:
        background: grey value of what lies behind the scene.
    """

    def __init__(self, background: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.background = background

    def call(self, colour: Any, segment: Any) -> Any:
        """Return the colours."""
        return ops.where(segment[:, 1:] > segment[:, :1], colour, self.background)

    def compute_output_shape(self, colour_shape: Shape, segment_shape: Shape) -> Shape:
        """``[batch, 3]``."""
        return colour_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "background": self.background}
