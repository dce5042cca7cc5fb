"""The QM9 gap task: the HOMO-LUMO gap of 130,831 organic molecules of up to nine heavy atoms.

Ramakrishnan, Dral, Rupp and von Lilienfeld, "Quantum chemistry structures and properties of 134 kilo molecules", 2014
(doi 10.1038/sdata.2014.22), without the 3,054 that failed its consistency check, as the package qm9pack ships them.
110,000 molecules train, 10,000 are held back for validation and the rest tests, at random with a fixed seed (Schuett
et al., 2017, arXiv 1706.08566, split by these sizes).

A model sees the heavy atoms alone. A hydrogen is counted at the nearest of them, which keeps the padded dense form
at 9 x 9 pairs where all atoms would take 29 x 29.
"""

import csv
import functools
import importlib.util
import json
from pathlib import Path

import numpy as np

from ..errors import MissingRequirement
from ._sources import made_once
from ._task import Arrays, Dataset, Metric, Task, mean_absolute_error

HARTREE_IN_EV = 27.211386245988
ELEMENTS = (6, 7, 8, 9)
HYDROGENS = 4
MAX_ATOMS = 29
MAX_HEAVY = 9
TRAINING, VALIDATION = 110_000, 10_000
GAP_ERROR = Metric("mean absolute error", "eV", "lower", mean_absolute_error)

_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
_PARTS = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")


@functools.cache
def qm9_gap() -> Task:
    """Return the task for training.

    Its inputs are ``atoms`` ``[samples, 9, 9]`` (one-hot element, one-hot number of hydrogens), ``positions``
    ``[samples, 9, 3]`` in angstrom and ``mask`` ``[samples, 9, 1]``; its labels ``[samples, 1]`` are in eV.
    """
    arrays = molecules()
    train, _, test = split(len(arrays["gap"]))
    return Task(
        name="qm9-gap",
        train=_heavy(arrays, train),
        test=_heavy(arrays, test),
        loss="mean_absolute_error",
        metric=GAP_ERROR,
    )


@functools.cache
def validation() -> Dataset:
    """Return the 10,000 molecules that neither train nor test, for choosing settings."""
    arrays = molecules()
    return _heavy(arrays, split(len(arrays["gap"]))[1])


def whole_molecules(samples: int = 500) -> Task:
    """Return the task as a device meets it, hydrogens included: ``numbers`` ``[samples, 29]`` and ``positions``."""
    arrays = molecules()
    train, _, test = split(len(arrays["gap"]))

    def some(places: np.ndarray) -> Dataset:
        places = places[:samples]
        inputs = {"numbers": arrays["numbers"][places].astype(np.int32), "positions": arrays["positions"][places]}
        return Dataset(inputs, arrays["gap"][places, None])

    return Task("qm9-gap", some(train), some(test), "mean_absolute_error", GAP_ERROR)


def split(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of the molecules that train, validate and test."""
    order = np.random.default_rng(0).permutation(samples)
    return order[:TRAINING], order[TRAINING : TRAINING + VALIDATION], order[TRAINING + VALIDATION :]


@functools.cache
def molecules() -> Arrays:
    """Return all molecules: ``numbers``, ``positions`` (angstrom), ``gap`` (eV), in the data set's order."""
    return made_once("qm9-gap-v1", _read)


def heavy_atoms(numbers: np.ndarray, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Return the model's inputs for whole molecules: heavy atoms, each with the hydrogens that are nearest to it.

    Args:
        numbers: ``[samples, atoms]`` atomic numbers, at most nine of them above 1, 0 for padding.
        positions: ``[samples, atoms, 3]``.
    """
    order = np.argsort(numbers <= 1, axis=-1, kind="stable")[:, :MAX_HEAVY]
    kinds = np.take_along_axis(numbers, order, 1)
    places = np.take_along_axis(positions, order[:, :, None], 1)
    heavy = kinds > 1
    distances = np.linalg.norm(positions[:, :, None] - places[:, None], axis=-1)
    nearest = np.where(heavy[:, None], distances, np.inf).argmin(-1)
    at = (nearest[:, :, None] == np.arange(MAX_HEAVY)) & (numbers == 1)[:, :, None]
    hydrogens = at.sum(1)
    atoms = np.concatenate(
        [kinds[:, :, None] == np.array(ELEMENTS), hydrogens[:, :, None] == np.arange(HYDROGENS + 1)], axis=-1
    )
    mask = heavy[:, :, None]
    return {
        "atoms": (atoms & mask).astype(np.float32),
        "positions": np.where(mask, places, 0).astype(np.float32),
        "mask": mask.astype(np.float32),
    }


def installed() -> bool:
    """Tell whether the package that ships the molecules is installed."""
    return _folder() is not None


def _folder() -> Path | None:
    found = importlib.util.find_spec("qm9pack")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "data"


def _heavy(arrays: Arrays, places: np.ndarray) -> Dataset:
    parts = [
        heavy_atoms(arrays["numbers"][some], arrays["positions"][some]) for some in np.array_split(places, 8)
    ]  # in parts: the distances to every hydrogen take memory
    return Dataset(
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, arrays["gap"][places, None]
    )


def _read() -> Arrays:
    """Read the package's tables. Its own reader is not used: it wants all columns, pandas and setuptools."""
    folder = _folder()
    if folder is None:
        raise MissingRequirement(
            "Expected the package qm9pack, which ships QM9. Got: not installed. Run pip install 'edgewright[graph]'."
        )
    numbers, positions, gaps = [], [], []
    for part in _PARTS:
        with open(folder / part, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                kinds = [_NUMBERS[element] for element in json.loads(row["Elements"].replace("'", '"'))]
                numbers.append(kinds + [0] * (MAX_ATOMS - len(kinds)))
                places = [float(number) for number in row["XYZ_Ang"].replace("[", "").replace("]", "").split(",")]
                positions.append(places + [0.0] * (3 * MAX_ATOMS - len(places)))
                gaps.append(float(row["HOMO_LUMO_gap_au"]) * HARTREE_IN_EV)
    return {
        "numbers": np.array(numbers, np.int8),
        "positions": np.array(positions, np.float32).reshape(-1, MAX_ATOMS, 3),
        "gap": np.array(gaps, np.float32),
    }
