"""What a molecule looks like to a network: distances, directions, radial functions and the cutoff, over all pairs."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

EPSILON = 1e-12


@keras.saving.register_keras_serializable("edgewright")
class PairGeometry(keras.layers.Layer):
    """Distances and directions between atoms, and which pairs count.

    ``(positions [batch, N, 3], mask [batch, N, 1])`` to distances ``[batch, N, N, 1]``, directions
    ``(r_i - r_j) / d_ij`` ``[batch, N, N, 3]`` and pairs ``[batch, N, N, 1]``, which is 1 for two different real atoms
    and 0 otherwise.
    """

    def call(self, inputs: Any) -> Any:
        """Return distances, directions and pairs."""
        positions, mask = inputs
        differences = ops.expand_dims(positions, 2) - ops.expand_dims(positions, 1)
        # Without epsilon the root's derivative at an atom's distance to itself is infinite, and training becomes NaN.
        distances = ops.sqrt(ops.sum(differences * differences, axis=-1, keepdims=True) + EPSILON)
        others = 1.0 - np.eye(positions.shape[1], dtype=np.float32)[None, :, :, None]
        pairs = ops.expand_dims(mask, 2) * ops.expand_dims(mask, 1) * others
        return distances, differences / distances, pairs


@keras.saving.register_keras_serializable("edgewright")
class RadialBasis(keras.layers.Layer):
    """Distances as Gaussians, ``e_k(d) = exp(-(d - mu_k)^2 / (2 w^2))``, and optionally their slope ``e_k'(d)``.

    The centers ``mu_k`` go evenly from 0 to the cutoff, the width ``w`` is their spacing (Schuett et al., 2017, arXiv
    1706.08566). ``[batch, N, N, 1]`` to ``[batch, N, N, count]``, or to a pair of such.
    """

    def __init__(self, count: int, cutoff: float, slope: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.cutoff, self.slope = count, cutoff, slope

    def call(self, distances: Any) -> Any:
        """Return the basis, and its slope where it was asked for."""
        width = self.cutoff / (self.count - 1)
        apart = distances - np.linspace(0, self.cutoff, self.count, dtype=np.float32)
        basis = ops.exp(apart * apart * (-0.5 / width**2))
        return (basis, basis * apart * (-1 / width**2)) if self.slope else basis

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "count": self.count, "cutoff": self.cutoff, "slope": self.slope}


@keras.saving.register_keras_serializable("edgewright")
class CosineCutoff(keras.layers.Layer):
    """A smooth end of every interaction: ``f_c(d) = (cos(pi d / r_c) + 1) / 2`` below ``r_c``, 0 beyond.

    Behler, "Atom-centered symmetry functions", 2011 (doi 10.1063/1.3553717). ``(distances, pairs)``, each
    ``[batch, N, N, 1]``, to ``f_c`` of the pairs that count, and optionally its slope.
    """

    def __init__(self, cutoff: float, slope: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cutoff, self.slope = cutoff, slope

    def call(self, inputs: Any) -> Any:
        """Return the cutoff, and its slope where it was asked for."""
        distances, pairs = inputs
        # Beyond the cutoff the angle is held at pi, where value and slope are 0.
        angle = ops.minimum(distances * (math.pi / self.cutoff), math.pi)
        value = 0.5 * (ops.cos(angle) + 1.0) * pairs
        return (value, ops.sin(angle) * pairs * (-0.5 * math.pi / self.cutoff)) if self.slope else value

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "cutoff": self.cutoff, "slope": self.slope}


@keras.saving.register_keras_serializable("edgewright")
class MaskedSum(keras.layers.Layer):
    """The sum over real atoms: ``(x [batch, N, F], mask [batch, N, 1])`` to ``scale * sum_i mask_i x_i``."""

    def __init__(self, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """Return the sum ``[batch, F]``."""
        x, mask = inputs
        total = ops.sum(x * mask, axis=1)
        return total if self.scale == 1.0 else total * self.scale

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "scale": self.scale}
