"""The CfC cell: a liquid network's state in closed form, without a solver."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import InputError
from ._liquid_inputs import sensors_of, values_and_time

MODES = ("default", "no_gate", "pure")


def scaled_tanh(x: Any) -> Any:
    """Return 1.7159 tanh(0.666 x) (LeCun et al., "Efficient BackProp", 1998)."""
    return 1.7159 * ops.tanh(0.666 * x)


@keras.saving.register_keras_serializable("edgewright")
class CfCCell(keras.layers.Layer):
    """The closed-form continuous-time cell (Hasani et al. 2022, Nature Machine Intelligence 4, arXiv 2106.13898).

    With z the backbone's answer to [x, h] (dense layers with a scaled tanh; [x, h] itself without a backbone):

        default   s = sigmoid(t_b(z) - t_a(z) dt),  h' = f(z) (1 - s) + g(z) s
        no_gate   s as above,                       h' = f(z) + g(z) s
        pure      h' = A - A exp(-dt (|w_tau| + |f(z)|)) f(z)

    f and g end in 1.7159 tanh(0.666 .), in the mode "pure" f is linear; t_a and t_b are linear. The default is computed
    as f + s (g - f), one product less.

    Inputs x ``[batch, sensors]`` and dt ``[batch, 1]`` (see ``values_and_time``), state and output ``[batch, units]``.
    """

    state_names = ("h",)

    def __init__(
        self,
        units: int,
        backbone: tuple[int, ...] = (64,),
        mode: str = "default",
        connections: np.ndarray | None = None,
        **kwargs: Any,
    ) -> None:
        """Describe a cell.

        Args:
            units: neurons.
            backbone: units of its layers; none for a cell without.
            mode: one of ``MODES``.
            connections: ``[sensors + units, units]``, where a kernel may differ from zero; needs an empty backbone.
            kwargs: of the layer.
        """
        super().__init__(**kwargs)
        if mode not in MODES:
            raise InputError(f"Expected a mode of the CfC cell: {', '.join(MODES)}. Got: {mode!r}.")
        if connections is not None and backbone:
            raise InputError(f"Expected no backbone in a wired CfC cell: it would mix all. Got: {tuple(backbone)}.")
        self.units, self.backbone, self.mode = units, tuple(backbone), mode
        self._connections = connections
        self._backbone = [keras.layers.Dense(size, name=f"backbone_{place}") for place, size in enumerate(backbone)]
        heads = ("f",) if mode == "pure" else ("f", "g", "t_a", "t_b")
        self._heads = [WiredDense(units, connections, name=head) for head in heads]

    @property
    def state_size(self) -> int:
        """Values of the state."""
        return self.units

    @property
    def output_size(self) -> int:
        """Values of the output."""
        return self.units

    def build(self, input_shape: Any) -> None:
        """Make the weights for ``[batch, sensors + 1]`` or a pair of shapes."""
        width = sensors_of(input_shape) + self.units
        for layer in self._backbone:
            layer.build((None, width))
            width = layer.units
        for head in self._heads:
            head.build((None, width))
        if self.mode == "pure":
            self.w_tau = self.add_weight(name="w_tau", shape=(self.units,), initializer="zeros")
            self.a = self.add_weight(name="a", shape=(self.units,), initializer="ones")
        self.built = True

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """Return the output and the states after a step."""
        x, dt = values_and_time(inputs)
        z = ops.concatenate([x, states[0]], axis=-1)
        for layer in self._backbone:
            z = scaled_tanh(layer(z))
        if self.mode == "pure":
            f = self._heads[0](z)
            decay = ops.exp(dt * (ops.absolute(self.w_tau) + ops.absolute(f)) * -1.0)
            h = self.a - self.a * (decay * f)
        else:
            f, g, t_a, t_b = (head(z) for head in self._heads)
            f, g = scaled_tanh(f), scaled_tanh(g)
            s = ops.sigmoid(t_b - t_a * dt)
            h = f + s * (g if self.mode == "no_gate" else g - f)
        return h, [h]

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Return zeros ``[batch, units]``."""
        return [ops.zeros((batch_size, self.units), self.compute_dtype)]

    def get_config(self) -> dict[str, Any]:
        """Return what ``__init__`` takes."""
        return {
            **super().get_config(),
            "units": self.units,
            "backbone": list(self.backbone),
            "mode": self.mode,
            "connections": None if self._connections is None else np.asarray(self._connections).tolist(),
        }


@keras.saving.register_keras_serializable("edgewright")
class WiredDense(keras.layers.Layer):
    """y = x (kernel * connections) + bias: a dense layer in which only given connections count.

    Glorot's uniform initialiser with the fan-in that the connections leave. ``[batch, n]`` to ``[batch, units]``.
    """

    def __init__(self, units: int, connections: Any = None, **kwargs: Any) -> None:
        """Describe a layer; ``connections`` is ``[n, units]``, all when None."""
        super().__init__(**kwargs)
        self.units = units
        self.connections = None if connections is None else (np.asarray(connections) != 0).astype(np.float32)

    def build(self, input_shape: Any) -> None:
        """Make the weights for ``[batch, n]``."""
        shape = (input_shape[-1], self.units)
        if self.connections is not None and self.connections.shape != shape:
            raise InputError(f"Expected connections of {shape} in layer {self.name!r}. Got: {self.connections.shape}.")
        share = 1.0 if self.connections is None else float(self.connections.mean())
        limit = math.sqrt(6 / max(share * sum(shape), 1.0))
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=keras.initializers.RandomUniform(-limit, limit)
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return y."""
        kernel = self.kernel
        if self.connections is not None:
            kernel = kernel * ops.convert_to_tensor(self.connections, self.compute_dtype)
        return ops.matmul(inputs, kernel) + self.bias

    def get_config(self) -> dict[str, Any]:
        """Return what ``__init__`` takes."""
        connections = None if self.connections is None else self.connections.tolist()
        return {**super().get_config(), "units": self.units, "connections": connections}
