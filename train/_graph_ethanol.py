"""The ethanol task: energies and forces of one molecule in thermal motion, by GFN2-xTB.

Frames of Langevin dynamics at 500 K, like those of MD17 (Chmiela et al., 2017, doi 10.1126/sciadv.1603015), which no
package ships; energies and forces are computed here with the package tblite (Bannwarth, Ehlert and Grimme, "GFN2-xTB",
2019, doi 10.1021/acs.jctc.8b01176). Four trajectories of their own seeds: frames of three train, the fourth's test, so
that no test frame is a neighbour in time of a training frame.
"""

import functools
from typing import Any

import numpy as np

from ._graph_host import ACCELERATION
from ._sources import made_once, require
from ._task import Arrays, Dataset, Metric, Task, mean_absolute_error

HARTREE_IN_EV = 27.211386245988
BOHR_IN_ANGSTROM = 0.529177210903
BOLTZMANN_EV = 8.617333262e-5

NUMBERS = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1], np.int32)
MASSES = np.array([12.011, 12.011, 15.999, 1.008, 1.008, 1.008, 1.008, 1.008, 1.008])
ELEMENTS = (1, 6, 8)
ATOMS = 9
# Carbon, carbon, oxygen, then the hydrogens of CH3, CH2 and OH, in angstrom: roughly ethanol, relaxed before use.
START = np.array(
    [
        [-1.19, -0.26, 0.00], [0.09, 0.55, 0.00], [1.21, -0.32, 0.00], [-1.23, -0.89, 0.89], [-1.23, -0.89, -0.89],
        [-2.05, 0.41, 0.00], [0.12, 1.19, 0.89], [0.12, 1.19, -0.89], [2.02, 0.21, 0.00],
    ]
)  # fmt: skip
TRAJECTORIES, FRAMES, STRIDE, STEP_FS = 4, 750, 20, 0.5
TEMPERATURE, FRICTION_PER_FS = 500.0, 0.02
# One energy comes with 27 forces, which say more of the same surface. At equal weights the energy's gradient, whose
# sign changes from batch to batch, keeps the forces from being learnt: chosen on ``validation``.
ENERGY_WEIGHT = 0.1


def weighed_energy_error(labels: Any, outputs: Any) -> Any:
    """Return the loss of the energy: its absolute error at ENERGY_WEIGHT."""
    from keras import ops

    return ENERGY_WEIGHT * ops.mean(ops.abs(outputs - labels), axis=-1)


LOSSES = {"energy": weighed_energy_error, "forces": "mean_absolute_error"}
FORCE_ERROR = Metric("force mean absolute error", "eV/A", "lower", mean_absolute_error, output="forces")


@functools.cache
def ethanol_forces() -> Task:
    """Return the task for training.

    Its inputs are ``atoms`` ``[samples, 9, 3]`` (one-hot element), ``positions`` ``[samples, 9, 3]`` in angstrom and
    ``mask`` ``[samples, 9, 1]``; its labels are ``energy`` ``[samples, 1]`` in eV above the relaxed molecule and
    ``forces`` ``[samples, 9, 3]`` in eV / angstrom.
    """
    train, test = _halves(frames())
    return Task("ethanol-forces", _dataset(train), _dataset(test), LOSSES, FORCE_ERROR)


def validation() -> Task:
    """Return the task for choosing settings: two of the training trajectories train, the third judges."""
    training, _ = _halves(frames())
    last = (TRAJECTORIES - 2) * FRAMES
    train, judge = (
        {name: array[places] for name, array in training.items()} for places in (slice(last), slice(last, None))
    )
    return Task("ethanol-forces-validation", _dataset(train), _dataset(judge), LOSSES, FORCE_ERROR)


def molecules_in_motion(samples: int = 500) -> Task:
    """Return the task as a device meets it: ``numbers`` ``[samples, 9]`` and ``positions`` in angstrom."""

    def some(arrays: Arrays) -> Dataset:
        chosen = np.linspace(0, len(arrays["energy"]) - 1, samples).astype(int)
        positions = arrays["positions"][chosen]
        inputs = {"numbers": np.tile(NUMBERS, (len(chosen), 1)), "positions": positions}
        return Dataset(inputs, {"forces": arrays["forces"][chosen], "energy": arrays["energy"][chosen]})

    train, test = _halves(frames())
    return Task("ethanol-forces", some(train), some(test), LOSSES, FORCE_ERROR)


@functools.cache
def frames() -> Arrays:
    """Return all frames: ``positions``, ``forces``, ``energy``, trajectory after trajectory."""
    return made_once("ethanol-gfn2-xtb-500-kelvin-v1", _make)


def _halves(arrays: Arrays) -> tuple[Arrays, Arrays]:
    training = (TRAJECTORIES - 1) * FRAMES
    return {name: array[:training] for name, array in arrays.items()}, {
        name: array[training:] for name, array in arrays.items()
    }


def samples_at(positions: np.ndarray) -> Dataset:
    """Return a model's inputs for ethanol with its atoms at ``positions`` ``[samples, 9, 3]`` in angstrom."""
    samples = len(positions)
    atoms = (NUMBERS[:, None] == np.array(ELEMENTS)).astype(np.float32)
    return Dataset(
        {
            "atoms": np.tile(atoms, (samples, 1, 1)),
            "positions": positions.astype(np.float32),
            "mask": np.ones((samples, ATOMS, 1), np.float32),
        }
    )


def _dataset(arrays: Arrays) -> Dataset:
    labels = {"energy": arrays["energy"], "forces": arrays["forces"]}
    return Dataset(samples_at(arrays["positions"]).inputs, labels)


def _make() -> Arrays:
    quantum_chemistry = require("tblite.interface", "tblite", "graph", "which computes GFN2-xTB")
    calculator = quantum_chemistry.Calculator("GFN2-xTB", NUMBERS, START / BOHR_IN_ANGSTROM)
    calculator.set("verbosity", 0)

    def energy_and_forces(positions: np.ndarray) -> tuple[float, np.ndarray]:
        calculator.update(positions / BOHR_IN_ANGSTROM)
        result = calculator.singlepoint()
        forces = -result.get("gradient") * (HARTREE_IN_EV / BOHR_IN_ANGSTROM)
        return float(result.get("energy")) * HARTREE_IN_EV, forces

    relaxed, lowest = relax(energy_and_forces, START)
    made: dict[str, list[Any]] = {"positions": [], "forces": [], "energy": []}
    for seed in range(TRAJECTORIES):
        for positions, energy, forces in langevin(energy_and_forces, relaxed, seed):
            made["positions"].append(positions - positions.mean(0))
            made["forces"].append(forces)
            made["energy"].append([energy - lowest])
    return {name: np.array(values, np.float32) for name, values in made.items()}


def relax(energy_and_forces: Any, positions: np.ndarray, steps: int = 300) -> tuple[np.ndarray, float]:
    """Return the positions and the energy at the end of a damped descent along the forces."""
    energy, forces = energy_and_forces(positions)
    rate = 0.01
    for _ in range(steps):
        further = positions + np.clip(rate * forces, -0.05, 0.05)
        next_energy, next_forces = energy_and_forces(further)
        if next_energy < energy:
            positions, energy, forces, rate = further, next_energy, next_forces, rate * 1.1
        else:
            rate *= 0.5
    return positions, energy


def langevin(energy_and_forces: Any, positions: np.ndarray, seed: int) -> Any:
    """Yield FRAMES times (positions, energy, forces) of Langevin dynamics, after as long a run as one tenth to warm up.

    The BAOAB splitting (Leimkuhler and Matthews, 2013, doi 10.1093/amrx/abs010): kick, drift, friction and noise,
    drift, kick.
    """
    random = np.random.default_rng(seed)
    inverse = ACCELERATION / MASSES[:, None]
    thermal = np.sqrt(BOLTZMANN_EV * TEMPERATURE * inverse)
    keep = np.exp(-FRICTION_PER_FS * STEP_FS)
    velocities = thermal * random.standard_normal(positions.shape)
    energy, forces = energy_and_forces(positions)
    for frame in range(-FRAMES // 10, FRAMES):
        for _ in range(STRIDE):
            velocities = velocities + 0.5 * STEP_FS * inverse * forces
            positions = positions + 0.5 * STEP_FS * velocities
            velocities = keep * velocities + np.sqrt(1 - keep**2) * thermal * random.standard_normal(positions.shape)
            positions = positions + 0.5 * STEP_FS * velocities
            energy, forces = energy_and_forces(positions)
            velocities = velocities + 0.5 * STEP_FS * inverse * forces
        if frame >= 0:
            yield positions, energy, forces
