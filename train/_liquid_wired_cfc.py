"""The CfC cell with an NCP wiring: three small CfC layers, inter to command to motor, with masks on their kernels."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ._liquid_cfc import CfCCell
from ._liquid_inputs import sensors_of, values_and_time
from ._liquid_wiring import NCP


@keras.saving.register_keras_serializable("edgewright")
class WiredCfCCell(keras.layers.Layer):
    """CfC neurons wired as a neural circuit policy (Lechner et al. 2020; Hasani et al. 2022, arXiv 2106.13898).

    Within a step the sensors feed the inter neurons, their new state feeds the command neurons, and those feed the
    motor neurons, whose state is the output. Each layer is a CfC cell without a backbone whose four kernels are zero
    where the wiring has no synapse; within a layer every neuron hears the layer's state of the step before, as in the
    authors' package ncps, or only what the wiring says and itself when ``fully_recurrent`` is False.

    Inputs x ``[batch, sensors]``, dt ``[batch, 1]``; states ``[batch, inter]``, ``[batch, command]``,
    ``[batch, motor]``; output ``[batch, motor]``.
    """

    state_names = ("inter", "command", "motor")

    def __init__(
        self,
        wiring: NCP | Mapping[str, int],
        mode: str = "default",
        fully_recurrent: bool = True,
        **kwargs: Any,
    ) -> None:
        """Describe a cell; see ``NCP`` and ``CfCCell``."""
        super().__init__(**kwargs)
        self.wiring = wiring if isinstance(wiring, NCP) else NCP(**wiring)
        self.mode, self.fully_recurrent = mode, fully_recurrent

    @property
    def state_size(self) -> list[int]:
        """Values of each state."""
        return [self.wiring.inter, self.wiring.command, self.wiring.motor]

    @property
    def output_size(self) -> int:
        """Values of the output."""
        return self.wiring.motor

    def build(self, input_shape: Any) -> None:
        """Draw the wiring and make the weights."""
        connections = self.wiring.connections(sensors_of(input_shape))
        self._cells = []
        for name, size, feeding, among in zip(
            self.state_names,
            self.state_size,
            (connections.sensory_inter, connections.inter_command, connections.command_motor),
            (np.zeros(1), connections.command_command, np.zeros(1)),
            strict=True,
        ):
            recurrent = np.ones((size, size)) if self.fully_recurrent else np.abs(among) + np.eye(size)
            cell = CfCCell(size, (), self.mode, np.concatenate([feeding, recurrent]), name=name)
            cell.build((None, len(feeding) + 1))
            self._cells.append(cell)
        self.built = True

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """Return the motor neurons' state and the states after a step."""
        signal, dt = values_and_time(inputs)
        after = []
        for cell, state in zip(self._cells, states, strict=True):
            signal, _ = cell((signal, dt), [state])
            after.append(signal)
        return signal, after

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Return zeros."""
        return [ops.zeros((batch_size, size), self.compute_dtype) for size in self.state_size]

    def get_config(self) -> dict[str, Any]:
        """Return what ``__init__`` takes."""
        return {
            **super().get_config(),
            "wiring": dataclasses.asdict(self.wiring),
            "mode": self.mode,
            "fully_recurrent": self.fully_recurrent,
        }
