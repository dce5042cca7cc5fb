"""What pairs of atoms alone explain: a potential of distances, linear in its coefficients, fitted by least squares.

A network is then trained on what is left of energies and forces (delta learning: Ramakrishnan et al., 2015, doi
10.1021/acs.jctc.5b00099). The stretch of bonds, which pulls hardest, lies in the pairs: on a device it is computed in
float around a network that answers in int8.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ._graph_geometry import EPSILON
from ._task import Arrays, Dataset

# Of the mean diagonal: distances that no frame has leave their coefficients at zero.
_RIDGE = 1e-6


@keras.saving.register_keras_serializable("edgewright")
class PairPotential(keras.layers.Layer):
    """A sum over pairs, ``E = E_0 + 1/2 sum_ij sum_k c_k(z_i, z_j) e_k(d_ij) f_c(d_ij)``, and its slope by distance.

    ``(atoms [batch, N, T], e [batch, N, N, K], e', f_c [batch, N, N, 1], f_c')`` to the energy ``[batch, 1]`` and its
    slopes ``[batch, N, N]``, each order of a pair with its own. Coefficients and E_0 are fitted, not trained.
    """

    def build(self, shapes: Any) -> None:
        """Make the coefficients ``[T, T, K]`` and the offset E_0, all zero."""
        kinds, count = shapes[0][-1], shapes[1][-1]
        self.coefficients = self.add_weight(
            shape=(kinds, kinds, count), initializer="zeros", trainable=False, name="coefficients"
        )
        self.offset = self.add_weight(shape=(1,), initializer="zeros", trainable=False, name="offset")

    def call(self, inputs: Any) -> Any:
        """Return the energy and its slopes over the distances."""
        atoms, radial, radial_slope, cutoff, cutoff_slope = inputs
        of_first = ops.einsum("bis,stk->bitk", atoms, self.coefficients)
        of_pairs = 0.5 * ops.einsum("bitk,bjt->bijk", of_first, atoms)
        energy = ops.sum(of_pairs * radial * cutoff, axis=(1, 2, 3))
        tension = ops.sum(of_pairs * (radial_slope * cutoff + radial * cutoff_slope), axis=-1)
        return ops.expand_dims(energy, -1) + self.offset, tension


class FitPairs(keras.callbacks.Callback):
    """Fits a model's pair potential to its training data before the first step.

    Args:
        data: maps nothing to samples with ``atoms``, ``positions`` and the labels ``energy`` and ``forces``.
    """

    def __init__(self, data: Callable[[], Dataset]) -> None:
        super().__init__()
        self._data = data

    def on_train_begin(self, logs: Any = None) -> None:
        """Set coefficients and offset; the same ones whenever the training is gone on with."""
        basis: Any = self.model.get_layer("radial")
        data = self._data()
        assert isinstance(data.labels, dict)
        pairs: Any = self.model.get_layer("pair_potential")
        coefficients, offset = fit_pairs(data.inputs, data.labels, basis.count, basis.cutoff)
        pairs.coefficients.assign(coefficients)
        pairs.offset.assign([offset])


def fit_pairs(inputs: Arrays, labels: Arrays, count: int, cutoff: float) -> tuple[np.ndarray, float]:
    """Return the coefficients ``[T, T, count]`` whose forces are nearest in squares, and the mean energy left over.

    Args:
        inputs: ``atoms`` ``[samples, N, T]`` (one-hot) and ``positions`` ``[samples, N, 3]`` in angstrom, no padding.
        labels: ``energy`` ``[samples, 1]`` in eV and ``forces`` ``[samples, N, 3]`` in eV / angstrom.
        count, cutoff: of the radial basis.
    """
    pairs = _kinds_of_pairs(inputs)
    size = len(pairs) * count
    gram, projection = np.zeros((size, size)), np.zeros(size)
    energies = []
    for places in _parts(inputs):
        energy, forces = _of_each_coefficient(inputs, places, count, cutoff)
        forces = forces.reshape(-1, size)
        gram += forces.T @ forces
        projection += forces.T @ labels["forces"][places].reshape(-1)
        energies.append(energy)
    ridge = _RIDGE * np.trace(gram) / size
    solved = np.linalg.solve(gram + ridge * np.eye(size), projection)
    offset = float(np.mean(labels["energy"][:, 0] - np.concatenate(energies) @ solved))
    kinds = inputs["atoms"].shape[-1]
    coefficients = np.zeros((kinds, kinds, count), np.float32)
    for (first, second), of_pair in zip(pairs, solved.reshape(-1, count), strict=True):
        coefficients[first, second] = coefficients[second, first] = of_pair
    return coefficients, offset


def pair_forces(inputs: Arrays, coefficients: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the forces of a potential of pairs, ``[samples, N, 3]``; the arguments are those of ``fit_pairs``."""
    flat = np.concatenate([coefficients[pair] for pair in _kinds_of_pairs(inputs)]).astype(np.float64)
    count = coefficients.shape[-1]
    return np.concatenate([_of_each_coefficient(inputs, places, count, cutoff)[1] @ flat for places in _parts(inputs)])


def _kinds_of_pairs(inputs: Arrays) -> list[tuple[int, int]]:
    kinds = inputs["atoms"].shape[-1]
    return [(first, second) for first in range(kinds) for second in range(first, kinds)]


def _parts(inputs: Arrays) -> list[np.ndarray]:
    """Return the samples' places in parts: the forces of every coefficient take memory."""
    samples = len(inputs["atoms"])
    return np.array_split(np.arange(samples), math.ceil(samples / 100))


def _of_each_coefficient(
    inputs: Arrays, places: np.ndarray, count: int, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return energies ``[samples, pairs * count]`` and forces ``[samples, N, 3, pairs * count]``, coefficients at 1."""
    atoms, positions = inputs["atoms"][places], inputs["positions"][places].astype(np.float64)
    apart = positions[:, :, None] - positions[:, None]
    distances = np.sqrt((apart * apart).sum(-1, keepdims=True) + EPSILON)
    others = 1.0 - np.eye(positions.shape[1])[None, :, :, None]
    width = cutoff / (count - 1)
    shifted = distances - np.linspace(0, cutoff, count)
    basis = np.exp(-0.5 * (shifted / width) ** 2)
    angle = np.minimum(distances * (np.pi / cutoff), np.pi)
    ends, ends_slope = 0.5 * (np.cos(angle) + 1) * others, -0.5 * np.pi / cutoff * np.sin(angle) * others
    values, slopes = basis * ends, basis * ends_slope - basis * shifted / width**2 * ends
    both = atoms[:, :, None, :, None] * atoms[:, None, :, None, :]
    chosen = np.stack(
        [np.maximum(both[..., one, other], both[..., other, one]) for one, other in _kinds_of_pairs(inputs)], axis=1
    )
    energies = 0.5 * np.einsum("bpij,bijk->bpk", chosen, values, optimize=True)
    forces = -np.einsum("bpij,bijk,bijc->bicpk", chosen, slopes, apart / distances, optimize=True)
    return energies.reshape(len(atoms), -1), forces.reshape(*positions.shape, -1)
