"""The mixed-memory cell: an LSTM cell that remembers, feeding a CfC cell that knows about time."""

from typing import Any

import keras
from keras import ops

from ._liquid_cfc import CfCCell
from ._liquid_inputs import sensors_of, values_and_time


@keras.saving.register_keras_serializable("edgewright")
class MixedMemoryCell(keras.layers.Layer):
    """The mmRNN (Lechner and Hasani 2020, arXiv 2006.04418; with CfC: Hasani et al. 2022, arXiv 2106.13898).

        [a, i, f, o] = [x, h] W + b,  c' = sigmoid(f + 1) c + sigmoid(i) tanh(a)
        h' = CfC(sigmoid(o) tanh(c'), dt, h)

    The memory c knows nothing of time, which keeps its gradients alive; h does.

    Inputs x ``[batch, sensors]``, dt ``[batch, 1]``; states c and h and output h ``[batch, units]``.
    """

    state_names = ("c", "h")

    def __init__(self, units: int, backbone: tuple[int, ...] = (64,), mode: str = "default", **kwargs: Any) -> None:
        """Describe a cell; see ``CfCCell``."""
        super().__init__(**kwargs)
        self.units, self.backbone, self.mode = units, tuple(backbone), mode
        self._gates = [keras.layers.Dense(units, name=name) for name in ("a", "i", "f", "o")]
        self._cfc = CfCCell(units, self.backbone, mode, name="cfc")

    @property
    def state_size(self) -> list[int]:
        """Values of each state."""
        return [self.units, self.units]

    @property
    def output_size(self) -> int:
        """Values of the output."""
        return self.units

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        for gate in self._gates:
            gate.build((None, sensors_of(input_shape) + self.units))
        self._cfc.build((None, self.units + 1))
        self.built = True

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """Return the output and the states after a step."""
        x, dt = values_and_time(inputs)
        c, h = states
        xh = ops.concatenate([x, h], axis=-1)
        a, i, f, o = (gate(xh) for gate in self._gates)
        c = ops.sigmoid(f + 1.0) * c + ops.sigmoid(i) * ops.tanh(a)
        h, _ = self._cfc((ops.sigmoid(o) * ops.tanh(c), dt), [h])
        return h, [c, h]

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Return zeros."""
        return [ops.zeros((batch_size, self.units), self.compute_dtype) for _ in self.state_size]

    def get_config(self) -> dict[str, Any]:
        """Return what ``__init__`` takes."""
        return {
            **super().get_config(),
            "units": self.units,
            "backbone": list(self.backbone),
            "mode": self.mode,
        }
