"""What a molecular graph network has to beat: constants, and linear models of counts, charges and distances.

Each is fitted on the network's own training set and measured on its test set.
"""

import functools
from collections.abc import Mapping

import numpy as np

from . import _graph_ethanol as ethanol
from . import _graph_freesolv as freesolv
from . import _graph_qm9 as qm9
from ._graph_pairs import fit_pairs, pair_forces
from ._task import Dataset, mean_absolute_error

# Of the mean diagonal.
_RIDGE = 1e-6
# Eigenvalues of more molecules change a linear model no more, and take a minute.
_EIGENVALUES_OF = 20_000


def linear_predictions(features: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return what ridge regression with an intercept, fitted to ``features`` and ``labels``, predicts for ``test``.

    Args:
        features: ``[samples, features]``.
        labels: ``[samples]``.
        test: ``[tests, features]``.
    """
    mean, level = features.mean(0), labels.mean()
    centred = features - mean
    gram = centred.T @ centred
    ridge = _RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), centred.T @ (labels - level))
    return level + (test - mean) @ weights


@functools.cache
def gap_baselines() -> Mapping[str, float]:
    """Return mean absolute errors on QM9's gap in eV: the mean, counts of elements, and the Coulomb matrix."""
    arrays = qm9.molecules()
    train, _, test = qm9.split(len(arrays["gap"]))
    labels, expected = arrays["gap"][train].astype(np.float64), arrays["gap"][test]
    counts = composition(arrays["numbers"])
    some = train[:_EIGENVALUES_OF]
    eigenvalues = [
        coulomb_eigenvalues(arrays["numbers"][places], arrays["positions"][places]) for places in (some, test)
    ]
    predicted = {
        "the mean": np.full(len(test), labels.mean()),
        "ridge on composition": linear_predictions(counts[train], labels, counts[test]),
        "ridge on Coulomb eigenvalues": linear_predictions(eigenvalues[0], labels[: len(some)], eigenvalues[1]),
    }
    return {f"{name} (eV)": mean_absolute_error(values, expected) for name, values in predicted.items()}


def composition(numbers: np.ndarray) -> np.ndarray:
    """Return how many atoms of each element of QM9 there are: ``[samples, atoms]`` to ``[samples, 5]``."""
    return np.stack([(numbers == element).sum(-1) for element in (1, *qm9.ELEMENTS)], -1).astype(np.float64)


def coulomb_eigenvalues(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the Coulomb matrix' eigenvalues, largest absolute value first (Rupp et al., 2012, arXiv 1109.2618).

    The matrix is ``z_i z_j / |r_i - r_j|`` in atomic units beside a diagonal of ``z_i^2.4 / 2``.

    Args:
        numbers: ``[samples, atoms]``, 0 for padding.
        positions: ``[samples, atoms, 3]`` in angstrom.
    """
    charges = numbers.astype(np.float64)
    places = positions / ethanol.BOHR_IN_ANGSTROM
    distances = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    itself = np.eye(numbers.shape[1], dtype=bool)
    products = charges[:, :, None] * charges[:, None]
    pairs = np.where(products > 0, products / np.where(distances > 0, distances, 1), 0)
    values = np.linalg.eigvalsh(np.where(itself, 0.5 * charges[:, :, None] ** 2.4, pairs))
    return np.take_along_axis(values, np.argsort(-np.abs(values), -1), -1)


def force_baselines(count: int, cutoff: float) -> Mapping[str, float]:
    """Return mean absolute errors on ethanol's forces in eV / angstrom: no force at all, and a potential of pairs.

    Args:
        count, cutoff: of the radial functions that the potential of pairs is made of.
    """
    task = ethanol.ethanol_forces()
    assert isinstance(task.train.labels, Mapping) and isinstance(task.test.labels, Mapping)
    coefficients, _ = fit_pairs(task.train.inputs, task.train.labels, count, cutoff)
    expected = task.test.labels["forces"]
    predicted = {
        "no force": np.zeros_like(expected),
        "pair potential": pair_forces(task.test.inputs, coefficients, cutoff),
    }
    return {f"{name} (eV/A)": mean_absolute_error(values, expected) for name, values in predicted.items()}


def solvation_baselines(fold: int = 0) -> Mapping[str, float]:
    """Return root mean squared errors on a fold of FreeSolv in kcal/mol: the mean, and counts of atoms and bonds."""
    task = freesolv.freesolv(fold)
    assert isinstance(task.train.labels, np.ndarray) and isinstance(task.test.labels, np.ndarray)
    labels, expected = task.train.labels[:, 0].astype(np.float64), task.test.labels[:, 0]
    predicted = {
        "the mean": np.full(len(expected), labels.mean()),
        "ridge on counts": linear_predictions(graph_counts(task.train), labels, graph_counts(task.test)),
    }
    return {
        f"{name} (kcal/mol)": freesolv.root_mean_squared_error(values, expected) for name, values in predicted.items()
    }


def graph_counts(data: Dataset) -> np.ndarray:
    """Return how often each feature of an atom and each kind of bond occurs in a molecule, ``[samples, counts]``."""
    atoms, bonds = data.inputs["atoms"].sum(1), data.inputs["bonds"].sum((1, 2)) / 2
    return np.concatenate([atoms, bonds], -1).astype(np.float64)
