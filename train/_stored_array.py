"""An array that lies in a file, of which only what is asked for is read: memory does not grow with it."""

import os
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from ..errors import InputError

# An array that is looked through is read in pieces of this size.
PIECE_BYTES = 8 << 20
# A smaller array is read whole: then it is an ordinary one.
SMALL_BYTES = 64 << 20


class _Opened:
    """A file that is open as long as an array is read from it."""

    def __init__(self, number: int) -> None:
        self.number = os.dup(number)

    # Bound here: when Python ends, an array may outlive the module.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.number)


class StoredArray:
    """Samples in a file, ``[samples, ...]``, one behind the other.

    Indexing its first dimension with a number, a slice or an array of indices reads those samples and returns an
    ordinary array. ``numpy.asarray`` reads all of it. The file is read and not mapped: pages of a map count as a
    process's memory, and Linux maps megabytes around each sample.

    Args:
        file: open for reading; it may be closed or removed afterwards.
        stored: the type of the numbers in it.
        shape: of all samples.
        offset: bytes in front of them.
    """

    def __init__(self, file: IO[bytes], stored: Any, shape: tuple[int, ...], offset: int = 0) -> None:
        self._opened, self._offset = _Opened(file.fileno()), offset
        self._stored, self._sample = np.dtype(stored), shape[1:]
        self._places = np.arange(shape[0])
        self.dtype = self._stored

    def __len__(self) -> int:
        return len(self._places)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples, and the shape of one."""
        return (len(self), *self._sample)

    @property
    def ndim(self) -> int:
        """How many dimensions it has, samples included."""
        return 1 + len(self._sample)

    @property
    def nbytes(self) -> int:
        """How many bytes it would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, places: Any) -> np.ndarray:
        chosen = self._places[places]
        found = self._read(chosen.reshape(-1)).reshape((*chosen.shape, *self._sample))
        return found.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def astype(self, dtype: Any) -> "StoredArray":
        """Return the same samples, to be read as another type; nothing is read yet."""
        return self._like(self._places, np.dtype(dtype))

    def part(self, places: np.ndarray) -> "StoredArray":
        """Return the samples at these indices; nothing is read yet."""
        return self._like(self._places[places], self.dtype)

    def _like(self, places: np.ndarray, dtype: np.dtype) -> "StoredArray":
        made = object.__new__(StoredArray)
        made.__dict__.update(self.__dict__, _places=places, dtype=dtype)
        return made

    def _read(self, chosen: np.ndarray) -> np.ndarray:
        """Return the samples at these places of the file; neighbours are read at once."""
        found = np.empty((len(chosen), *self._sample), self._stored)
        size = found[:1].nbytes
        view = found.reshape(-1).view(np.uint8).data
        ends = [*(np.flatnonzero(np.diff(chosen) != 1) + 1), len(chosen)] if len(chosen) else []
        begin = 0
        for end in ends:
            self._fill(view[begin * size : end * size], self._offset + int(chosen[begin]) * size)
            begin = end
        return found

    def _fill(self, view: memoryview, place: int) -> None:
        while view:
            count = os.preadv(self._opened.number, [view], place)
            if not count:
                raise InputError(f"Expected a file of samples that stays as it is. Got: it ends at byte {place} now.")
            view, place = view[count:], place + count


def stored(array: np.ndarray | StoredArray) -> np.ndarray | StoredArray:
    """Return an array that the user mapped from a file as a ``StoredArray``, any other as it is."""
    if not isinstance(array, np.memmap) or not array.size or not array.ndim or not array.flags.c_contiguous:
        return array
    if array.mode == "c" or not isinstance(array.filename, str | os.PathLike) or not os.path.exists(array.filename):
        return array  # changed in memory alone, or of a file that is gone
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    address, start = (each.__array_interface__["data"][0] for each in (array, whole))
    with open(array.filename, "rb") as file:
        return StoredArray(file, array.dtype, array.shape, whole.offset + address - start)


def settled(array: np.ndarray | StoredArray) -> np.ndarray | StoredArray:
    """Return an array in memory unless it lies in a file and is not small."""
    return array[:] if isinstance(array, StoredArray) and array.nbytes <= SMALL_BYTES else array


def pieces(array: np.ndarray | StoredArray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield an array's samples a few megabytes at a time, each piece with the place of its first sample."""
    if not array.ndim:
        yield 0, np.asarray(array)
    elif len(array):
        step = max(1, PIECE_BYTES * len(array) // max(array.nbytes, 1))
        for start in range(0, len(array), step):
            yield start, array[start : start + step]
