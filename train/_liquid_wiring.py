"""The NCP wiring: which neuron may listen to which, drawn from a seed.

Four layers, sensory to inter to command to motor, and recurrent synapses among the command neurons. Lechner et al.,
"Neural circuit policies enabling auditable autonomy", Nature Machine Intelligence 2, 2020 (Methods, design of NCPs).
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Connections:
    """Synapses between layers, ``[from, to]``: 1 excites, -1 inhibits, 0 is none.

    Attributes:
        sensory_inter, inter_command, command_command, command_motor: by the layers that they connect.
    """

    sensory_inter: np.ndarray
    inter_command: np.ndarray
    command_command: np.ndarray
    command_motor: np.ndarray

    def sensory(self) -> np.ndarray:
        """Return the synapses of the sensors, ``[sensors, neurons]``, neurons in the order inter, command, motor."""
        others = self.inter_command.shape[1] + self.command_motor.shape[1]
        return np.concatenate([self.sensory_inter, np.zeros((len(self.sensory_inter), others))], axis=1)

    def recurrent(self) -> np.ndarray:
        """Return the synapses among the neurons, ``[neurons, neurons]``, in the order of ``sensory``."""
        inter, command = self.inter_command.shape
        motor = self.command_motor.shape[1]
        whole = np.zeros((inter + command + motor,) * 2)
        whole[:inter, inter : inter + command] = self.inter_command
        whole[inter : inter + command, inter : inter + command] = self.command_command
        whole[inter : inter + command, inter + command :] = self.command_motor
        return whole


@dataclass(frozen=True)
class NCP:
    """How many neurons a layer has, and how many synapses each.

    Attributes:
        inter, command, motor: neurons in the layer.
        sensory_fan_out: inter neurons that a sensor feeds.
        inter_fan_out: command neurons that an inter neuron feeds.
        recurrent_synapses: draws of a synapse among the command neurons; one drawn twice counts once.
        motor_fan_in: command neurons that feed a motor neuron.
        seed: of the draw.
    """

    inter: int
    command: int
    motor: int
    sensory_fan_out: int
    inter_fan_out: int
    recurrent_synapses: int
    motor_fan_in: int
    seed: int = 0

    def __post_init__(self) -> None:
        for what, count, limit, where in (
            ("sensory fan-out", self.sensory_fan_out, self.inter, "inter"),
            ("inter fan-out", self.inter_fan_out, self.command, "command"),
            ("motor fan-in", self.motor_fan_in, self.command, "command"),
        ):
            if not 1 <= count <= limit:
                raise InputError(f"Expected a {what} from 1 to the {limit} {where} neurons. Got: {count}.")

    @property
    def neurons(self) -> int:
        """How many there are, sensors apart."""
        return self.inter + self.command + self.motor

    def connections(self, sensors: int) -> Connections:
        """Draw the synapses for so many sensors."""
        draw = np.random.default_rng(self.seed)
        return Connections(
            _fan_out(draw, sensors, self.inter, self.sensory_fan_out),
            _fan_out(draw, self.inter, self.command, self.inter_fan_out),
            _among(draw, self.command, self.recurrent_synapses),
            _fan_out(draw, self.motor, self.command, self.motor_fan_in).T,
        )


def _fan_out(draw: np.random.Generator, sources: int, targets: int, count: int) -> np.ndarray:
    """Connect each source to ``count`` targets; a target left out gets as many sources as others have on average."""
    synapses = np.zeros((sources, targets))
    for source in range(sources):
        synapses[source, draw.choice(targets, count, replace=False)] = draw.choice([-1, 1], count)
    mean_fan_in = int(np.clip(sources * count // targets, 1, sources))
    for target in np.flatnonzero(~synapses.any(axis=0)):
        synapses[draw.choice(sources, mean_fan_in, replace=False), target] = draw.choice([-1, 1], mean_fan_in)
    return synapses


def _among(draw: np.random.Generator, neurons: int, count: int) -> np.ndarray:
    synapses = np.zeros((neurons, neurons))
    for source, target in draw.integers(0, neurons, (count, 2)):
        synapses[source, target] = draw.choice([-1, 1])
    return synapses
