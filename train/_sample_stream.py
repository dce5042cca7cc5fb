"""Samples that come one by one or in batches, from a tf.data.Dataset or a generator, read once into files."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from ..errors import InputError
from ._data_file import (
    LABELS,
    Input,
    check_finite,
    check_names,
    fits,
    in_type,
    number_type,
    numbers,
    without_labels,
)
from ._growing_array import GrowingArray
from ._stored_array import StoredArray, settled
from ._task import Arrays, Dataset

# A stream with more samples is taken for one that never ends.
MAX_SAMPLES = 1_000_000
_HOW = {False: "one sample at a time", True: "in batches"}


def read_stream(
    stream: Iterable[Any], inputs: Mapping[str, Input], what: str, max_samples: int = MAX_SAMPLES
) -> Dataset:
    """Read a stream once, to its end, into files, from which samples are then taken in any order.

    Memory does not grow with the inputs; labels are held in memory. What the stream gives are samples or batches, as
    the number of dimensions shows: arrays by input name (and "labels"), a tuple (inputs, labels), or one array for a
    model with one input. They are checked as they come. The files have no names, and the system removes them when the
    process ends, however it ends.

    Args:
        stream: the samples.
        inputs: what the model takes; see ``model_inputs``.
        what: what to call the stream in a message, such as "the generator".
        max_samples: a stream with more is refused: it may never end.

    Raises:
        InputError: samples that do not fit, named by their number (counted from 0): a missing input, a shape, a type,
            NaN or infinite values, labels that some samples have and others have not; a stream that is empty, fails or
            does not end.
        MissingRequirement: no room on the disk.
    """
    count = 0
    columns: dict[str, _Column] = {}
    labels: _Column | None = None
    batched = False
    with contextlib.ExitStack() as files:
        for item in _to_the_end(stream, what):
            block, given_labels, in_batches = _block(item, inputs, count, what)
            size = len(next(iter(block.values())))
            if count and in_batches != batched:
                raise InputError(
                    f"Expected {_HOW[batched]}, as before. Got: {_HOW[in_batches]} from sample {count} of {what} on."
                )
            if count and (given_labels is None) != (labels is None):
                raise InputError(
                    f"Expected labels for every sample or for none. Got: {'none' if labels else 'labels'} from sample "
                    f"{count} of {what} on, {'labels' if labels else 'none'} before."
                )
            if count + size > max_samples:
                raise InputError(
                    f"Expected at most {max_samples:,} samples. Got: more from {what}, which may never end. Take "
                    "fewer, with itertools.islice or, of a tf.data.Dataset, .take(n)."
                )
            for name, samples in block.items():
                columns.setdefault(name, _Column(name, what, files)).append(samples)
            if given_labels is not None:
                labels = labels or _Column(LABELS, what, files)
                labels.append(given_labels)
            batched, count = in_batches, count + size
        if not count:
            raise InputError(
                f"Expected at least one sample. Got: none from {what}. A generator gives its samples once: pass a "
                "function that returns a new one."
            )
        arrays = {name: columns[name].array(number_type(expected, name)) for name, expected in inputs.items()}
        held = np.asarray(labels.array()) if labels else None
        return Dataset(cast(Arrays, arrays), held, f"user data from {what}, {_HOW[batched]}")


def _to_the_end(stream: Iterable[Any], what: str) -> Iterator[Any]:
    """Yield what a stream gives; what it raises becomes an error that says after how much."""
    iterator = iter(stream)
    for given in itertools.count():
        try:
            item = next(iterator)
        except StopIteration:
            return
        except Exception as error:  # the user's code, or TensorFlow's
            raise InputError(
                f"Expected samples to the end of {what}. Got after {given} of them: {type(error).__name__}: {error}"
            ) from error
        yield item


def named(item: Any, inputs: Mapping[str, Input], where: str) -> tuple[dict[str, Any], Any]:
    """Return arrays by the names of the inputs, and the labels or None."""
    labels = None
    if isinstance(item, tuple):
        if len(item) not in (1, 2):
            raise InputError(
                f"Expected a tuple (inputs, labels). Got: a tuple of {len(item)} in {where}."
                + (" Weights of samples are not taken." if len(item) == 3 else "")
            )
        item, labels = (*item, None)[:2]
    if isinstance(item, Mapping):
        arrays, inside = without_labels(item, inputs)
        if labels is not None and inside is not None:
            raise InputError(f"Expected labels once. Got: {LABELS!r} among the inputs and beside them in {where}.")
        return arrays, inside if labels is None else labels
    if len(inputs) == 1:
        return {next(iter(inputs)): item}, labels
    if isinstance(item, list | tuple) and len(item) == len(inputs):
        return dict(zip(inputs, item, strict=True)), labels
    raise InputError(
        f"Expected arrays by the names of the inputs, {', '.join(inputs)}, or a list of {len(inputs)} in their order. "
        f"Got: {type(item).__name__}{f' of {len(item)}' if isinstance(item, list | tuple) else ''} in {where}."
    )


def _block(
    item: Any, inputs: Mapping[str, Input], count: int, what: str
) -> tuple[dict[str, np.ndarray], np.ndarray | None, bool]:
    """Return an item as samples ``[any, ...]`` by input name, its labels likewise, and whether it is a batch.

    Arrays are in the input's type or, where they came so, in a smaller one that converts to it exactly.
    """
    where = f"sample {count} of {what}"
    given, labels = named(item, inputs, where)
    check_names(given, inputs, where)
    arrays = {name: np.asarray(numbers(given[name], name, where)) for name in inputs}
    in_batches = _in_batches(arrays, inputs, where)
    if isinstance(labels, Mapping):
        raise InputError(f"Expected labels in one array. Got: arrays for {', '.join(labels)} in {where}.")
    targets = None if labels is None else np.asarray(numbers(labels, LABELS, where))
    if not in_batches:
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
        targets = None if targets is None else targets[np.newaxis]
    counts = {name: len(array) for name, array in arrays.items()}
    if targets is not None:
        counts[LABELS] = len(targets) if targets.ndim else 0
        check_finite(targets, LABELS, where, count)
    if len(set(counts.values())) > 1:
        raise InputError(f"Expected the same number of samples in each array of a batch. Got: {counts} in {where}.")
    block = {}
    for name, array in arrays.items():
        check_finite(array, name, where, count)
        converted = np.asarray(in_type(array, name, inputs[name], where))
        block[name] = array if array.dtype.itemsize < converted.dtype.itemsize else converted
    return block, targets, in_batches


def _in_batches(arrays: Mapping[str, np.ndarray], inputs: Mapping[str, Input], where: str) -> bool:
    """Tell whether arrays of the inputs' shapes have a batch dimension before them."""
    found = set()
    for name, array in arrays.items():
        if fits(array.shape, inputs[name]):
            found.add(False)
        elif array.ndim and fits(array.shape[1:], inputs[name]):
            found.add(True)
        else:
            shape = ", ".join("any" if size is None else str(size) for size in inputs[name].shape)
            raise InputError(
                f"Expected array {name!r} of shape [{shape}], or in batches of any number of these. "
                f"Got: {list(array.shape)} in {where}."
            )
    if len(found) > 1:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        raise InputError(f"Expected a batch of each input or one sample of each. Got: {shapes} in {where}.")
    return found.pop()


class _Column:
    """One array of a stream, on its way into a file."""

    def __init__(self, name: str, what: str, files: contextlib.ExitStack) -> None:
        self._name, self._what, self._files = name, what, files
        self._file: GrowingArray | None = None

    def append(self, samples: np.ndarray) -> None:
        """Write samples, ``[any, ...]``, of the shape and the type of those before them."""
        if self._file is None:
            self._file = self._files.enter_context(GrowingArray(samples.dtype, samples.shape[1:]))
        file = self._file
        where = f"sample {file.count} of {self._what}"
        if samples.shape[1:] != file.shape:
            raise InputError(
                f"Expected array {self._name!r} of one shape throughout, {list(file.shape)} for a sample. "
                f"Got: {list(samples.shape[1:])} in {where}. Pad the samples to one length."
            )
        if samples.dtype != file.dtype and not np.array_equal(samples.astype(file.dtype), samples):
            raise InputError(
                f"Expected array {self._name!r} of one type throughout, {file.dtype}. Got: {samples.dtype} in {where}."
            )
        file.append(samples)

    def array(self, dtype: Any = None) -> np.ndarray | StoredArray:
        """Return all of it, in another type where one is given."""
        assert self._file is not None
        return settled(self._file.finish().astype(dtype or self._file.dtype))
