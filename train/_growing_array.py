"""An array that grows in a file without a name, which the system frees when nothing reads it any more."""

import contextlib
import shutil
import tempfile
from types import TracebackType
from typing import IO, Any

import numpy as np

from ..errors import MissingRequirement
from ._stored_array import StoredArray, pieces

# What a disk keeps: other programs need room too.
_RESERVE_BYTES = 64 << 20


class GrowingArray:
    """An array to append samples to.

    Its file lies in the folder for temporary files, which the variable TMPDIR names, and is gone when the last array
    that reads from it is gone or the process ends, however it ends.

    Args:
        dtype: of the numbers.
        shape: of one sample.
    """

    def __init__(self, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self.count = 0
        self._file = tempfile.TemporaryFile(prefix="edgewright-", buffering=1 << 20)  # noqa: SIM115  __exit__ closes it

    def __enter__(self) -> "GrowingArray":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # what could not be written is not wanted any more
            self._file.close()

    def append(self, samples: np.ndarray) -> None:
        """Write samples, ``[any, *shape]``, behind the others.

        Raises:
            MissingRequirement: the disk has no room for them.
        """
        samples = np.ascontiguousarray(samples, self.dtype)
        check_room(samples.nbytes, f"after {self.count:,} samples")
        try:
            self._file.write(samples.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise _no_room(str(error.strerror), f"after {self.count:,} samples") from error
        self.count += len(samples)

    def finish(self, shape: tuple[int, ...] | None = None, in_columns: bool = False) -> np.ndarray | StoredArray:
        """Return the array.

        Args:
            shape: where not ``[samples, *shape]``.
            in_columns: whether it was written in Fortran's order.

        Raises:
            MissingRequirement: the disk has no room.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(str(error.strerror), f"after {self.count:,} samples") from error
        return array_in(self._file, self.dtype, (self.count, *self.shape) if shape is None else shape, 0, in_columns)


def array_in(
    file: IO[bytes], dtype: Any, shape: tuple[int, ...], offset: int, in_columns: bool
) -> np.ndarray | StoredArray:
    """Return the array that begins at ``offset`` of an open file; one in Fortran's order is written anew in rows."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    if not shape:
        return np.asarray(StoredArray(file, dtype, (1,), offset)[0])
    if not in_columns or len(shape) == 1:
        return StoredArray(file, dtype, shape, offset)
    mapped = np.memmap(file, dtype, "r", offset, shape, order="F")
    with GrowingArray(dtype, shape[1:]) as rows:
        for _, piece in pieces(mapped):
            rows.append(piece)
        return rows.finish()


def check_room(wanted_bytes: int, when: str) -> None:
    """Raise unless so many bytes can be written to the folder for temporary files.

    Args:
        wanted_bytes: how many.
        when: such as "after 5 samples", for the message.

    Raises:
        MissingRequirement: there is less room, or only what a disk should keep.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < wanted_bytes + _RESERVE_BYTES:
        raise _no_room(f"{free / 1e6:,.0f} MB free, {wanted_bytes / 1e6:,.0f} MB wanted", when)


def _no_room(what: str, when: str) -> MissingRequirement:
    return MissingRequirement(
        f"Expected room for the samples in {tempfile.gettempdir()}. Got: {what}, {when}. Free some, name another "
        "folder in TMPDIR, or give fewer samples; a generator that never ends needs itertools.islice."
    )
