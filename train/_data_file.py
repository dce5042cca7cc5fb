"""A user's data: arrays by the names of the model's inputs, checked before anything is computed with them."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError, nearest
from ._archive import check_archive
from ._task import Dataset

if TYPE_CHECKING:
    import keras

LABELS = "labels"
# Other names that are taken for a model with one input.
_INPUT_ALIAS, _LABELS_ALIAS = "x", "y"
_EXAMPLE = "numpy.savez(path, **{{{names}: array}}, labels=labels)"


class Input(NamedTuple):
    """What a model takes by one of its names.

    Attributes:
        shape: of one sample; None where any size goes.
        dtype: such as "float32".
    """

    shape: tuple[int | None, ...]
    dtype: str


def model_inputs(model: "keras.Model") -> dict[str, Input]:
    """Return what a functional or Sequential model takes, by the names of its inputs, in its order.

    Raises:
        InputError: the inputs are not known: the model was not built.
    """
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise InputError(
            f"Expected a functional or Sequential model with known inputs. Got: {model.name!r} of class "
            f"{type(model).__name__}, which was not built with keras.Input."
        )
    return {tensor.name: Input(tuple(tensor.shape[1:]), str(tensor.dtype)) for tensor in tensors}


def load_data(path: Path, inputs: Mapping[str, Input]) -> Dataset:
    """Read samples from an ``.npz``: one array for each input by its name, and ``labels`` or none.

    For a model with one input its array may be called ``x``, and the labels ``y``.

    Args:
        path: the file.
        inputs: what the model takes; see ``model_inputs``.

    Raises:
        InputError: no ``.npz``, a damaged one, or samples that do not fit; see ``check_data``.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"Expected an .npz of samples. Got: {path}, which does not exist.")
    if path.is_dir():
        raise InputError(f"Expected an .npz of samples. Got: {path}, a folder.")
    with open(path, "rb") as file:
        head = file.read(6)
    if head[:2] != b"PK":
        what = {b"\x93NUMPY": "a single array (.npy)", b"": "an empty file"}.get(
            head, f"a file that starts with {head!r}"
        )
        names = ", ".join(repr(name) for name in inputs)
        raise InputError(
            f"Expected an .npz of samples. Got: {path}, {what}. Write one with {_EXAMPLE.format(names=names)}."
        )
    check_archive(path, "an .npz of samples")
    return check_data(_arrays(path), inputs, str(path))


def check_data(data: Dataset | Mapping[str, np.ndarray], inputs: Mapping[str, Input], where: str = "data") -> Dataset:
    """Return samples in the model's types, or say what does not fit.

    Integers and other floats become the input's float type; nothing is rescaled. An input of integers takes no floats.

    Args:
        data: arrays by name, labels among them, or a Dataset.
        inputs: what the model takes; see ``model_inputs``.
        where: what to call the data in a message.

    Raises:
        InputError: missing or surplus names, shapes that do not fit, different numbers of samples, none at all, NaN or
            infinite values, arrays of objects or text.
    """
    if isinstance(data, Dataset):
        given, labels = dict(data.inputs), data.labels
    else:
        given = dict(data)
        if len(inputs) == 1:
            (only,) = inputs
            _take_alias(given, _INPUT_ALIAS, only)
            if LABELS not in inputs:
                _take_alias(given, _LABELS_ALIAS, LABELS, unless=inputs)
        labels = given.pop(LABELS, None) if LABELS not in inputs else None
    _check_names(given, inputs, where)
    arrays = {name: _checked(given[name], name, inputs[name], where) for name in inputs}
    counts = {name: len(array) for name, array in arrays.items()}
    if isinstance(labels, Mapping):
        labels = {name: _numbers(array, f"{LABELS} of {name}", where) for name, array in labels.items()}
        counts |= {f"{LABELS} of {name}": len(array) if array.ndim else 0 for name, array in labels.items()}
    elif labels is not None:
        labels = _numbers(labels, LABELS, where)
        counts[LABELS] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) > 1:
        raise InputError(f"Expected the same number of samples in each array. Got: {counts} in {where}.")
    if 0 in counts.values():
        raise InputError(f"Expected at least one sample. Got: an empty data set, {counts} in {where}.")
    return Dataset(arrays, labels)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    name = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                array = file[name]
                if not isinstance(array, np.ndarray):
                    raise InputError(f"Expected arrays in {path}. Got: member {name!r}, which is none.")
                arrays[name] = array
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"Expected arrays of numbers. Got: array {name!r} of Python objects in {path}. They are not read, "
                "because reading them runs code."
            ) from error
        raise InputError(f"Expected an intact .npz. Got: {path}, damaged at {name!r} ({error}).") from error
    return arrays


def _take_alias(given: dict[str, np.ndarray], alias: str, name: str, unless: Mapping[str, Input] | None = None) -> None:
    if alias in given and name not in given and alias not in (unless or ()):
        given[name] = given.pop(alias)


def _check_names(given: Mapping[str, np.ndarray], inputs: Mapping[str, Input], where: str) -> None:
    missing = [name for name in inputs if name not in given]
    surplus = [name for name in given if name not in inputs]
    if missing or surplus:
        hint = nearest(surplus[0], [*inputs, LABELS]) if surplus else ""
        raise InputError(
            f"Expected one array for each input of the model: {', '.join(inputs)}; and {LABELS!r} or none. "
            f"Got: {', '.join(given) or 'none'} in {where} (missing: {', '.join(missing) or 'none'}; "
            f"surplus: {', '.join(surplus) or 'none'}).{hint}"
        )


def _checked(array: np.ndarray, name: str, expected: Input, where: str) -> np.ndarray:
    array = _numbers(array, name, where)
    fits = array.ndim == 1 + len(expected.shape) and all(
        want is None or want == got for want, got in zip(expected.shape, array.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join(["samples", *("any" if size is None else str(size) for size in expected.shape)])
        raise InputError(f"Expected array {name!r} of shape [{wanted}]. Got: {list(array.shape)} in {where}.")
    return _in_type(array, name, expected.dtype, where)


def _numbers(array: np.ndarray, name: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise InputError(f"Expected an array of numbers. Got: {name!r} in {where}: {error}.") from error
    if array.dtype.kind not in "biuf":
        kinds = {"O": "Python objects", "U": "text", "S": "text", "c": "complex numbers"}
        kind = kinds.get(array.dtype.kind, str(array.dtype))
        raise InputError(f"Expected an array of numbers. Got: array {name!r} of {kind} in {where}.")
    _check_finite(array, name, where)
    return array


def _check_finite(array: np.ndarray, name: str, where: str) -> None:
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = tuple(int(place) for place in np.argwhere(wrong)[0])
        raise InputError(
            f"Expected finite numbers. Got: {np.count_nonzero(wrong)} values that are NaN or infinite in array "
            f"{name!r} of {where}, the first at {first}."
        )


def _in_type(array: np.ndarray, name: str, dtype: str, where: str) -> np.ndarray:
    if str(array.dtype) == dtype:
        return array
    if dtype == "bfloat16":
        dtype = "float32"
    try:
        target = np.dtype(dtype)
    except TypeError as error:
        raise InputError(f"Expected a model with inputs of numbers. Got: input {name!r} of {dtype}.") from error
    if target.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(target)
        _check_finite(cast, name, f"{where} as {dtype}")
        return cast
    if array.dtype.kind == "f":
        raise InputError(f"Expected array {name!r} of {dtype}, as the model takes. Got: {array.dtype} in {where}.")
    cast = array.astype(target)
    if not np.array_equal(cast, array):
        raise InputError(
            f"Expected array {name!r} of values that {dtype} holds. Got: values from {array.min()} to {array.max()} in "
            f"{where}."
        )
    return cast
