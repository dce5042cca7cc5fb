"""A user's data: arrays by the names of the model's inputs, checked before anything is computed with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..errors import InputError, nearest
from ._array_files import read_folder, read_npz
from ._stored_array import StoredArray, pieces, settled, stored
from ._task import Arrays, Dataset

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
    """Read samples from an ``.npz``, or a folder of ``.npy``: an array for each input by its name, ``labels`` or none.

    For a model with one input its array may be called ``x``, and the labels ``y``. Inputs that are not small stay in
    the folder's files, or in files that the ``.npz`` is unpacked to; see ``Dataset``.

    Args:
        path: the file or the folder.
        inputs: what the model takes; see ``model_inputs``.

    Raises:
        InputError: neither, a damaged file, or samples that do not fit; see ``check_data``.
        MissingRequirement: no room to unpack an ``.npz``.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"Expected an .npz of samples. Got: {path}, which does not exist.")
    if path.is_dir():
        return check_data(read_folder(path, list(inputs)), inputs, str(path))
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
    return check_data(read_npz(path), inputs, str(path))


def check_data(data: Dataset | Mapping[str, Any], inputs: Mapping[str, Input], where: str = "data") -> Dataset:
    """Return samples in the model's types, or say what does not fit.

    Integers and other floats become the input's float type; nothing is rescaled. An input of integers takes no floats.
    Arrays that lie in files stay there, labels excepted.

    Args:
        data: arrays by name, labels among them, or a Dataset.
        inputs: what the model takes; see ``model_inputs``.
        where: what to call the data in a message.

    Raises:
        InputError: missing or surplus names, shapes that do not fit, different numbers of samples, none at all, NaN or
            infinite values, arrays of objects or text.
    """
    given, labels = (data.inputs, data.labels) if isinstance(data, Dataset) else without_labels(data, inputs)
    check_names(given, inputs, where)
    arrays = {name: _checked(given[name], name, inputs[name], where) for name in inputs}
    counts = {name: len(array) for name, array in arrays.items()}
    if isinstance(labels, Mapping):
        labels = {name: _checked_labels(array, f"{LABELS} of {name}", where) for name, array in labels.items()}
        counts |= {f"{LABELS} of {name}": len(array) if array.ndim else 0 for name, array in labels.items()}
    elif labels is not None:
        labels = _checked_labels(labels, LABELS, where)
        counts[LABELS] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) > 1:
        raise InputError(f"Expected the same number of samples in each array. Got: {counts} in {where}.")
    if 0 in counts.values():
        raise InputError(f"Expected at least one sample. Got: an empty data set, {counts} in {where}.")
    return Dataset(cast(Arrays, arrays), labels)


def without_labels(given: Mapping[str, Any], inputs: Mapping[str, Input]) -> tuple[dict[str, Any], Any]:
    """Return arrays by the names of the inputs, and the labels or None; a single input may be called x, labels y."""
    arrays = dict(given)
    if len(inputs) == 1:
        (only,) = inputs
        aliases = {_INPUT_ALIAS: only} | ({} if LABELS in inputs else {_LABELS_ALIAS: LABELS})
        for alias, name in aliases.items():
            if alias in arrays and name not in arrays and alias not in inputs:
                arrays[name] = arrays.pop(alias)
    return arrays, None if LABELS in inputs else arrays.pop(LABELS, None)


def check_names(given: Mapping[str, Any], inputs: Mapping[str, Input], where: str) -> None:
    """Raise InputError unless there is one array for each input."""
    missing = [name for name in inputs if name not in given]
    surplus = [name for name in given if name not in inputs]
    if missing or surplus:
        hint = nearest(surplus[0], [*inputs, LABELS]) if surplus else ""
        raise InputError(
            f"Expected one array for each input of the model: {', '.join(inputs)}; and {LABELS!r} or none. "
            f"Got: {', '.join(given) or 'none'} in {where} (missing: {', '.join(missing) or 'none'}; "
            f"surplus: {', '.join(surplus) or 'none'}).{hint}"
        )


def numbers(array: Any, name: str, where: str) -> np.ndarray | StoredArray:
    """Return an array of numbers, or raise InputError."""
    try:
        array = stored(array if isinstance(array, np.ndarray | StoredArray) else np.asarray(array))
    except ValueError as error:
        raise InputError(f"Expected an array of numbers. Got: {name!r} in {where}: {error}.") from error
    if array.dtype.kind not in "biuf":
        kinds = {"O": "Python objects", "U": "text", "S": "text", "c": "complex numbers"}
        kind = kinds.get(array.dtype.kind, str(array.dtype))
        raise InputError(f"Expected an array of numbers. Got: array {name!r} of {kind} in {where}.")
    return array


def check_finite(array: np.ndarray | StoredArray, name: str, where: str, first: int = 0) -> None:
    """Raise InputError where a number is NaN or infinite; ``first`` is the number of the array's first sample."""
    if array.dtype.kind != "f":
        return
    count = 0
    place: list[int] = []
    for start, piece in pieces(array):
        wrong = ~np.isfinite(piece)
        if wrong.any():
            if not count and piece.ndim:
                place = np.argwhere(wrong)[0].tolist()
                place[0] += first + start
            count += int(np.count_nonzero(wrong))
    if count:
        raise InputError(
            f"Expected finite numbers. Got: {count} values that are NaN or infinite in array {name!r} of {where}, the "
            f"first at {tuple(place)}."
        )


def outside_type(dtype: str) -> str:
    """Return the type that an input or output has outside the model: not every runtime reads 16-bit floats."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def number_type(expected: Input, name: str) -> np.dtype:
    """Return the type that an input's samples are kept in, or raise InputError."""
    try:
        return np.dtype(outside_type(expected.dtype))
    except TypeError as error:
        raise InputError(
            f"Expected a model with inputs of numbers. Got: input {name!r} of {expected.dtype}."
        ) from error


def in_type(array: np.ndarray | StoredArray, name: str, expected: Input, where: str) -> np.ndarray | StoredArray:
    """Return an array in the input's type, or raise InputError where that changes more than rounding does."""
    target = number_type(expected, name)
    if array.dtype == target:
        return array
    if target.kind != "f" and array.dtype.kind == "f":
        raise InputError(f"Expected array {name!r} of {target}, as the model takes. Got: {array.dtype} in {where}.")
    if np.can_cast(array.dtype, target, "safe"):
        return array.astype(target)
    with np.errstate(over="ignore"):
        converted = array.astype(target)
        if target.kind == "f":
            check_finite(converted, name, f"{where} as {target}")
        elif not all(np.array_equal(piece, piece.astype(target)) for _, piece in pieces(array)):
            low, high = min(piece.min() for _, piece in pieces(array)), max(piece.max() for _, piece in pieces(array))
            raise InputError(
                f"Expected array {name!r} of values that {target} holds. Got: values from {low} to {high} in {where}."
            )
    return converted


def _checked(array: Any, name: str, expected: Input, where: str) -> np.ndarray | StoredArray:
    array = numbers(array, name, where)
    check_finite(array, name, where)
    if array.ndim == 0 or not fits(array.shape[1:], expected):
        wanted = ", ".join(["samples", *("any" if size is None else str(size) for size in expected.shape)])
        raise InputError(f"Expected array {name!r} of shape [{wanted}]. Got: {list(array.shape)} in {where}.")
    return settled(in_type(array, name, expected, where))


def fits(shape: Sequence[int], expected: Input) -> bool:
    """Tell whether a sample of this shape is what the input takes."""
    return len(shape) == len(expected.shape) and all(
        want is None or want == got for want, got in zip(expected.shape, shape, strict=True)
    )


def _checked_labels(array: Any, name: str, where: str) -> np.ndarray:
    array = np.asarray(numbers(array, name, where))
    check_finite(array, name, where)
    return array
