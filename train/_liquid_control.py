"""The liquid networks' control task: a double pendulum on a cart, simulated by MuJoCo, seen at irregular times.

A linear quadratic regulator, which knows all positions and velocities, pushes the cart so that both pendulums stay
upright. The network sees positions alone, 5 to 40 ms apart, and imitates the regulator: whoever wants a velocity has to
divide by the time that has passed. Each sample's force holds until the next.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._sources import made_once, require
from ._task import Arrays, Dataset, Metric, Task

if TYPE_CHECKING:
    import keras

TICK = 0.005  # seconds
LONGEST_GAP = 8  # ticks
USUAL_GAP = 4  # ticks: the unit of dt, and what the regulator is designed for
STRONGEST = 30.0  # newton
FALLEN = 0.8  # radian
SAMPLES = 64
RECORDINGS = {"train": 1024, "test": 256}
DISTURBANCE = 2.0  # newton: the deviation of the force that is added to each action
STATE_COSTS, FORCE_COST = (1.0, 10.0, 10.0, 0.1, 0.1, 0.1), 0.01

PENDULUM = f"""
<mujoco model="double pendulum on a cart">
  <option timestep="{TICK}" integrator="implicitfast"/>
  <default><geom contype="0" conaffinity="0"/><joint damping="0.002"/></default>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" damping="0.1"/>
      <geom type="box" size="0.1 0.05 0.05" mass="1"/>
      <body name="lower">
        <joint name="lower" type="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.6" size="0.02" mass="0.1"/>
        <body name="upper" pos="0 0 0.6">
          <joint name="upper" type="hinge" axis="0 1 0"/>
          <geom type="capsule" fromto="0 0 0 0 0 0.6" size="0.02" mass="0.1"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slide" ctrllimited="true" ctrlrange="-{STRONGEST} {STRONGEST}"/></actuator>
</mujoco>
"""


def mean_squared_error(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of (output - label)^2."""
    return float(np.mean((outputs.astype(np.float64) - labels.reshape(outputs.shape)) ** 2))


MEAN_SQUARED_ERROR = Metric("mean squared error", "", "lower", mean_squared_error)


class Pendulum:
    """One simulated pendulum, at rest near upright, disturbed as a seed says."""

    def __init__(self, seed: Any) -> None:
        """Start an episode.

        Raises:
            MissingRequirement: MuJoCo is not installed.
        """
        self._mujoco: Any = require("mujoco", "mujoco", "control", "which simulates the pendulum")
        self._model = self._mujoco.MjModel.from_xml_string(PENDULUM)
        self._data = self._mujoco.MjData(self._model)
        self._draw = np.random.default_rng(seed)
        self._data.qpos[:] = self._draw.uniform(-1, 1, 3) * [0.5, 0.12, 0.12]
        self.gap = 0

    @property
    def positions(self) -> np.ndarray:
        """The cart's in metres, the lower pendulum's angle and the upper one's against it in radian; ``[3]``."""
        return np.array(self._data.qpos)

    @property
    def state(self) -> np.ndarray:
        """Positions and velocities, ``[6]``."""
        return np.concatenate([self._data.qpos, self._data.qvel])

    @property
    def fallen(self) -> bool:
        """Whether a pendulum leans too far."""
        angles = np.cumsum(self._data.qpos[1:])
        return bool(np.abs(angles).max() > FALLEN)

    def next_gap(self) -> int:
        """Draw the time until the next sample, in ticks."""
        self.gap = int(self._draw.integers(1, LONGEST_GAP + 1))
        return self.gap

    def push(self, force: float) -> None:
        """Hold a force, and a disturbance, for the gap that was drawn."""
        self._data.ctrl[0] = np.clip(force, -STRONGEST, STRONGEST) + self._draw.normal() * DISTURBANCE
        self._mujoco.mj_step(self._model, self._data, self.gap)

    def linearised(self) -> tuple[np.ndarray, np.ndarray]:
        """Return A ``[6, 6]`` and B ``[6, 1]`` of state' = A state + B force, a tick later, upright and at rest."""
        a, b = np.zeros((6, 6)), np.zeros((6, 1))
        data = self._mujoco.MjData(self._model)
        self._mujoco.mj_forward(self._model, data)
        self._mujoco.mjd_transitionFD(self._model, data, 1e-6, True, a, b, None, None)
        return a, b


def regulator(
    a: np.ndarray, b: np.ndarray, ticks: int, weights: tuple[float, ...] = STATE_COSTS, force: float = FORCE_COST
) -> np.ndarray:
    """Return K ``[1, n]``, so that force = -K state, held for so many ticks each time, costs least.

    The cost is the sum of state' diag(weights) state + force^2 times its own; the discrete Riccati equation is iterated
    until it rests.

    Args:
        a: ``[n, n]``.
        b: ``[n, 1]``, as ``Pendulum.linearised`` gives them.
        ticks: between actions.
        weights: of the n state variables.
        force: weight of the force.
    """
    whole, pushed = np.eye(len(a)), np.zeros_like(b)
    for _ in range(ticks):
        whole, pushed = a @ whole, a @ pushed + b
    q, r = np.diag(weights), force * np.eye(1)
    cost, gain = q, np.zeros((1, len(a)))
    for _ in range(5000):
        gain = np.linalg.solve(r + pushed.T @ cost @ pushed, pushed.T @ cost @ whole)
        after = q + whole.T @ cost @ (whole - pushed @ gain)
        if np.abs(after - cost).max() < 1e-9 * np.abs(cost).max():
            break
        cost = after
    return gain


def _recorded(seed: Any, gain: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions ``[samples, 3]``, the ticks since the sample before and the regulator's forces ``[samples]``."""
    pendulum = Pendulum(seed)
    positions, gaps, forces = [], [], []
    gap = USUAL_GAP
    for _ in range(samples):
        force = float(np.clip(-(gain @ pendulum.state)[0], -STRONGEST, STRONGEST))
        positions.append(pendulum.positions)
        gaps.append(gap)
        forces.append(force)
        gap = pendulum.next_gap()
        pendulum.push(force)
    return np.array(positions), np.array(gaps), np.array(forces)


def _made() -> Arrays:
    gain = regulator(*Pendulum(0).linearised(), USUAL_GAP)
    made = {}
    for place, (split, count) in enumerate(RECORDINGS.items()):
        parts = zip(*(_recorded((place, episode), gain, SAMPLES) for episode in range(count)), strict=True)
        made.update(dict(zip((f"{split}_{part}" for part in ("x", "dt", "force")), map(np.stack, parts), strict=True)))
    return made


@functools.cache
def recordings() -> Arrays:
    """Return ``train_`` and ``test_`` x ``[recordings, 64, 3]``, dt in ticks and force in newton ``[recordings, 64]``.

    Raises:
        MissingRequirement: they are not in the cache, and MuJoCo is not installed.
    """
    return made_once("liquid-control-double-pendulum-v1", _made)


@functools.cache
def scales() -> tuple[np.ndarray, float]:
    """Return the deviations of the positions ``[3]`` and of the force over the training recordings."""
    made = recordings()
    return made["train_x"].std(axis=(0, 1)), float(made["train_force"].std())


@functools.cache
def control() -> Task:
    """Return the task: imitate the regulator's force at each sample.

    ``x`` ``[recordings, 64, 3]`` are positions and the labels ``[recordings, 64, 1]`` forces, both by their deviation
    over the training set; ``dt`` is the time since the sample before, 1 for 20 ms; ``mask`` is 1.

    Raises:
        MissingRequirement: MuJoCo is not installed.
    """
    made, (deviation, strength) = recordings(), scales()

    def split(name: str) -> Dataset:
        dt = (made[f"{name}_dt"][..., None] / USUAL_GAP).astype(np.float32)
        x = (made[f"{name}_x"] / deviation).astype(np.float32)
        forces = (made[f"{name}_force"][..., None] / strength).astype(np.float32)
        return Dataset({"x": x, "dt": dt, "mask": np.ones_like(dt)}, forces)

    return Task("double pendulum", split("train"), split("test"), "mean_squared_error", MEAN_SQUARED_ERROR)


Controller = Callable[[np.ndarray, np.ndarray], np.ndarray]


def upright(controller: Controller, episodes: int = 32, samples: int = 400) -> float:
    """Return the share of episodes, in percent, that a controller keeps the pendulums from falling; about 9 s each.

    Args:
        controller: maps x ``[episodes, 3]`` and dt ``[episodes, 1]``, as in ``control``, to forces ``[episodes]`` in
            the labels' unit; called once for each sample, in order.
        episodes: how many, none of them among the recordings.
        samples: in each.
    """
    deviation, strength = scales()
    pendulums = [Pendulum((len(RECORDINGS), episode)) for episode in range(episodes)]
    gaps = np.full((episodes, 1), USUAL_GAP)
    fallen = np.zeros(episodes, bool)
    for _ in range(samples):
        positions = np.stack([pendulum.positions for pendulum in pendulums])
        positions[fallen] = 0
        forces = controller((positions / deviation).astype(np.float32), (gaps / USUAL_GAP).astype(np.float32))
        for place in np.flatnonzero(~fallen):
            gaps[place] = pendulums[place].next_gap()
            pendulums[place].push(float(forces[place]) * strength)
            fallen[place] = pendulums[place].fallen
    return float(100 * np.mean(~fallen))


def driving(step: "keras.Model") -> Controller:
    """Return a controller that remembers: a network's single step, from ``_liquid_network.step``."""
    memory: dict[str, Any] = {}

    def act(x: np.ndarray, dt: np.ndarray) -> np.ndarray:
        if not memory:
            states = (tensor for tensor in step.inputs if tensor.name not in ("x", "dt"))
            memory.update({tensor.name: np.zeros((len(x), tensor.shape[-1]), "float32") for tensor in states})
        outputs = dict(zip(step.output_names, step({"x": x, "dt": dt, **memory}), strict=True))
        memory.update({name: np.asarray(outputs[f"next_{name}"]) for name in memory})
        return np.asarray(next(iter(outputs.values())))[:, 0]

    return act
