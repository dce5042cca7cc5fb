"""Molecular dynamics of ethanol at constant energy: where a run starts, and how well its energy is kept."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _graph_ethanol as ethanol
from ._graph_host import ACCELERATION
from ._task import Dataset, Task

if TYPE_CHECKING:
    import keras

STEP_FS = 0.5
_FS_PER_PS = 1000.0


def thermal_start(model: "keras.Model", temperature: float, seed: int) -> Task:
    """Return the task of one run: ``numbers`` ``[1, 9]``, ``positions`` and ``velocities`` ``[1, 9, 3]``.

    Args:
        model: the potential, in whose minimum the atoms are at first.
        temperature: in kelvin. The velocities are drawn at twice that: half of it goes into the potential.
        seed: of the velocities. The molecule as a whole neither moves nor turns.
    """
    positions, _ = ethanol.relax(energy_and_forces_of(model), ethanol.START)
    velocities = internal(thermal_velocities(2 * temperature, seed), positions)
    inputs = {"numbers": ethanol.NUMBERS, "positions": positions, "velocities": velocities}
    start = Dataset({name: array[None] for name, array in inputs.items()})
    return Task("ethanol-dynamics", start, start, loss=None, metric=None)


def energy_and_forces_of(model: "keras.Model") -> Any:
    """Return a function from positions ``[9, 3]`` to the model's energy in eV and forces ``[9, 3]``."""

    def run(positions: np.ndarray) -> tuple[float, np.ndarray]:
        made = model.predict_on_batch(dict(ethanol.samples_at(positions[None]).inputs))
        return float(made["energy"][0, 0]), made["forces"][0].astype(np.float64)

    return run


def thermal_velocities(temperature: float, seed: int) -> np.ndarray:
    """Return velocities of Maxwell and Boltzmann's distribution ``[9, 3]`` in angstrom / fs."""
    deviations = np.sqrt(ethanol.BOLTZMANN_EV * temperature * ACCELERATION / ethanol.MASSES[:, None])
    return deviations * np.random.default_rng(seed).standard_normal((ethanol.ATOMS, 3))


def internal(velocities: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return velocities without what moves or turns the molecule as a whole."""
    masses = ethanol.MASSES[:, None]
    velocities = velocities - (masses * velocities).sum(0) / masses.sum()
    apart = positions - (masses * positions).sum(0) / masses.sum()
    momentum = (masses * np.cross(apart, velocities)).sum(0)
    inertia = np.einsum("i,ijk->jk", ethanol.MASSES, (apart**2).sum(1)[:, None, None] * np.eye(3))
    inertia -= np.einsum("i,ij,ik->jk", ethanol.MASSES, apart, apart)
    return velocities - np.cross(np.linalg.solve(inertia, momentum), apart)


@dataclass(frozen=True)
class Conservation:
    """How well a run kept its total energy.

    Attributes:
        drift_mev_per_ps: the slope of the line of least squares through the total energy.
        fluctuation_mev: the deviation about that line.
        temperature: the mean, in kelvin, of the internal motions.
        steps: before the energy was no number any more.
    """

    drift_mev_per_ps: float
    fluctuation_mev: float
    temperature: float
    steps: int


def conservation(potential: np.ndarray, kinetic: np.ndarray, step_fs: float) -> Conservation:
    """Return how well the energy was kept; ``potential`` and ``kinetic`` ``[steps + 1]`` are in eV."""
    total = potential + kinetic
    steps = int(np.isfinite(total).cumprod().sum())
    times = np.arange(steps) * step_fs / _FS_PER_PS
    slope, level = np.polyfit(times, total[:steps], 1)
    about = total[:steps] - (slope * times + level)
    freedom = 3 * ethanol.ATOMS - 6
    temperature = 2 * kinetic[:steps].mean() / (freedom * ethanol.BOLTZMANN_EV)
    return Conservation(1000 * float(slope), 1000 * float(about.std()), float(temperature), steps - 1)
