"""Data that a user brings: named arrays in an .npz, checked against the model's inputs."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ._task import Dataset

if TYPE_CHECKING:
    import keras

LABELS = "labels"


@dataclass(frozen=True)
class ModelInput:
    """What a model takes at one input.

    Attributes:
        shape: with the batch first; None where a dimension is free.
        dtype: such as "float32".
    """

    shape: tuple[int | None, ...]
    dtype: str


def model_inputs(model: "keras.Model") -> dict[str, ModelInput]:
    """Return a model's inputs by name.

    Raises:
        InputError: the model was never built, so that its inputs are not known.
    """
    if not getattr(model, "inputs", None):
        raise InputError(
            f"Expected a model whose inputs are known. Got: {model.name}, which has none; build it from keras.Input."
        )
    return {tensor.name: ModelInput(tuple(tensor.shape), str(tensor.dtype)) for tensor in model.inputs}


def load_data(path: Path, inputs: Mapping[str, ModelInput]) -> Dataset:
    """Read an .npz with an array ``[samples, ...]`` for each input by its name, and optionally ``labels``.

    A model with a single input also takes it as ``x``, and the labels as ``y``.

    Raises:
        InputError: no .npz is there, or what it holds does not fit the inputs; see ``check_data``.
    """
    if not path.exists():
        raise InputError(f"Expected data in an .npz file. Got: nothing at {path}.")
    try:
        with np.load(path, allow_pickle=False) as loaded:
            if not hasattr(loaded, "files"):
                raise InputError(f"Expected an .npz of named arrays at {path}. Got: a single array (.npy).")
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"Expected an .npz of arrays at {path}. Got: {error}.") from error
    return check_data(arrays, inputs, where=str(path))


def check_data(
    data: Dataset | Mapping[str, np.ndarray], inputs: Mapping[str, ModelInput], where: str = "the data"
) -> Dataset:
    """Return the data as the model takes it, each array cast to its input's type.

    Raises:
        InputError: missing or further names, shapes that do not fit (both are printed), counts that differ, no samples,
            NaN or infinity, arrays that hold no numbers.
    """
    if isinstance(data, Dataset):
        arrays, labels = dict(data.inputs), data.labels
    else:
        arrays = {name: np.asarray(array) for name, array in data.items()}
        labels = arrays.pop(LABELS, None)
        if len(inputs) == 1:
            (only,) = inputs
            labels = arrays.pop("y", None) if labels is None else labels
            if only not in arrays and "x" in arrays:
                arrays[only] = arrays.pop("x")
    if set(arrays) != set(inputs):
        raise InputError(
            f"Expected an array for each input in {where}: {', '.join(sorted(inputs))} (and optionally {LABELS}). "
            f"Got: {', '.join(sorted(arrays)) or 'none'}."
        )
    checked = {name: _checked(name, arrays[name], inputs[name], where) for name in inputs}
    _check_counts({**checked, **({} if labels is None else {LABELS: labels})}, where)
    if labels is not None:
        _check_numbers(LABELS, labels, where)
    return Dataset(checked, labels)


def _checked(name: str, array: np.ndarray, expected: ModelInput, where: str) -> np.ndarray:
    _check_numbers(name, array, where)
    fits = array.ndim == len(expected.shape) and all(
        wanted is None or wanted == size for wanted, size in zip(expected.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"Expected {name} as {_shape(expected.shape)} in {where}. Got: {_shape((None, *array.shape[1:]))}"
            f"{'' if array.ndim else ', a single number'}."
        )
    return array.astype(expected.dtype, copy=False)


def _check_numbers(name: str, array: np.ndarray, where: str) -> None:
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise InputError(f"Expected numbers in {name} of {where}. Got: an array of {array.dtype}.")
    if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        first = tuple(int(place) for place in np.argwhere(bad)[0])
        raise InputError(
            f"Expected finite numbers in {name} of {where}. Got: {np.count_nonzero(bad)} NaN or infinite, the first at "
            f"{first}."
        )


def _check_counts(arrays: Mapping[str, np.ndarray], where: str) -> None:
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"Expected as many samples in each array of {where}. Got: {listed}.")
    if 0 in counts.values():
        raise InputError(f"Expected at least one sample in {where}. Got: an empty data set.")


def _shape(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join(["samples", *("any" if size is None else str(size) for size in shape[1:])]) + "]"
