"""The LTC cell: neurons whose time constants depend on their inputs, stepped by the fused semi-implicit solver."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import InputError
from ._liquid_inputs import sensors_of, values_and_time
from ._liquid_wiring import NCP

UNFOLDS = 6
_SMALLEST_CAPACITY = 1e-6


@keras.saving.register_keras_serializable("edgewright")
class LTCCell(keras.layers.Layer):
    """The liquid time-constant cell (Hasani et al., "Liquid time-constant networks", 2021, arXiv 2006.04439, alg. 1).

    In each of 6 unfolds, with d = dt / 6, over all presynaptic neurons and sensors i:

        S_ij = w_ij sigmoid(sigma_ij (v_i - mu_ij))
        v_j <- (c_m v_j + d (g_l v_l + sum_i S_ij E_ij)) / (c_m + d (g_l + sum_i S_ij))

    which is the published step, numerator and denominator times d: dt = 0 divides by nothing and leaves v as it is.
    1 / y is computed as rsqrt(y)^2: TFLite has rsqrt in int8, but no division.
    w, g_l and c_m are held at or above zero. Sensors pass an affine map first. With a wiring, w is zero where it has
    no synapse, E starts with its polarity, and the output is the motor neurons' v.

    Inputs x ``[batch, sensors]``, dt ``[batch, 1]``; state v ``[batch, units]``; output ``[batch, units]`` or, wired,
    ``[batch, motor]``.
    """

    state_names = ("v",)

    def __init__(
        self, units: int | None = None, wiring: NCP | Mapping[str, int] | None = None, seed: int = 0, **kwargs: Any
    ) -> None:
        """Describe a cell.

        Args:
            units: neurons, all connected; None with a wiring.
            wiring: the neurons and their synapses.
            seed: of the polarities without a wiring.
            kwargs: of the layer.
        """
        super().__init__(**kwargs)
        if (units is None) == (wiring is None):
            raise InputError(f"Expected either units or a wiring of an LTC cell. Got: {units}, {wiring}.")
        self.wiring = NCP(**wiring) if isinstance(wiring, Mapping) else wiring
        self.units = self.wiring.neurons if self.wiring else units
        self.seed = seed

    @property
    def state_size(self) -> int:
        """Values of the state."""
        return int(self.units or 0)

    @property
    def output_size(self) -> int:
        """Values of the output."""
        return self.wiring.motor if self.wiring else self.state_size

    def _polarities(self, sensors: int) -> tuple[np.ndarray, np.ndarray]:
        if self.wiring:
            connections = self.wiring.connections(sensors)
            return connections.sensory(), connections.recurrent()
        draw = np.random.default_rng(self.seed)
        shapes = (sensors, self.state_size), (self.state_size, self.state_size)
        sensory, recurrent = (draw.choice([-1.0, 1.0], shape) for shape in shapes)
        return sensory, recurrent

    def build(self, input_shape: Any) -> None:
        """Make the weights, in the ranges of the authors' package ncps."""
        sensors, units = sensors_of(input_shape), self.state_size

        def weight(name: str, shape: tuple[int, ...], low: float, high: float, positive: bool = False) -> Any:
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=keras.initializers.RandomUniform(low, high),
                constraint=keras.constraints.NonNeg() if positive else None,
            )

        self.g_l = weight("g_l", (units,), 0.001, 1.0, positive=True)
        self.v_l = weight("v_l", (units,), -0.2, 0.2)
        self.c_m = weight("c_m", (units,), 0.4, 0.6, positive=True)
        self.x_scale = self.add_weight(name="x_scale", shape=(sensors,), initializer="ones")
        self.x_shift = self.add_weight(name="x_shift", shape=(sensors,), initializer="zeros")
        self._synapses = []
        for name, sources, polarity in zip(("sensory_", ""), (sensors, units), self._polarities(sensors), strict=True):
            w = weight(f"{name}kernel", (sources, units), 0.001, 1.0, positive=True)
            sigma = weight(f"{name}sigma", (sources, units), 3.0, 8.0)
            mu = weight(f"{name}mu", (sources, units), 0.3, 0.8)
            e = self.add_weight(name=f"{name}e", shape=(sources, units), initializer=_Given(polarity))
            mask = None if polarity.all() else np.abs(polarity).astype(np.float32)
            self._synapses.append(((w, sigma, mu, e), mask))
        self.built = True

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """Return the output and the state after a step."""
        x, dt = values_and_time(inputs)
        v = states[0]
        d = dt * (1.0 / UNFOLDS)
        from_sensors, from_neurons = self._synapses
        sensory_current, sensory_conductance = _currents(x * self.x_scale + self.x_shift, *from_sensors)
        current_in = sensory_current + self.g_l * self.v_l
        conductance_in = sensory_conductance + self.g_l
        c_m = self.c_m + _SMALLEST_CAPACITY
        for _ in range(UNFOLDS):
            current, conductance = _currents(v, *from_neurons)
            root = ops.rsqrt(c_m + d * (conductance_in + conductance))
            v = (c_m * v + d * (current_in + current)) * (root * root)
        return (v[..., -self.output_size :] if self.wiring else v), [v]

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Return zeros ``[batch, units]``."""
        return [ops.zeros((batch_size, self.state_size), self.compute_dtype)]

    def get_config(self) -> dict[str, Any]:
        """Return what ``__init__`` takes."""
        return {
            **super().get_config(),
            "units": None if self.wiring else self.units,
            "wiring": dataclasses.asdict(self.wiring) if self.wiring else None,
            "seed": self.seed,
        }


def _currents(potentials: Any, parameters: Any, mask: Any) -> tuple[Any, Any]:
    """Return sum_i S_ij E_ij and sum_i S_ij, ``[batch, units]`` each, for potentials ``[batch, sources]``."""
    w, sigma, mu, e = parameters
    opened = ops.sigmoid(ops.expand_dims(potentials, -1) * sigma - mu * sigma)
    w = w if mask is None else w * ops.convert_to_tensor(mask, w.dtype)
    return ops.sum(opened * (w * e), axis=1), ops.sum(opened * w, axis=1)


class _Given(keras.initializers.Initializer):
    """An array as an initializer."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.convert_to_tensor(self._array.astype(np.float32), dtype)
