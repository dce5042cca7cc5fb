"""Arrays by name in files: an .npz, or a folder of .npy. They stay in files."""

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import InputError
from ._archive import check_archive
from ._growing_array import GrowingArray, array_in, check_room
from ._stored_array import StoredArray

# An .npz is unpacked in pieces of this size.
_PIECE_BYTES = 4 << 20


def read_npz(path: Path) -> dict[str, np.ndarray | StoredArray]:
    """Return the arrays of an ``.npz``, unpacked piece by piece into files without names.

    Raises:
        InputError: a damaged file, one that declares too much, or one with Python objects.
        MissingRequirement: no room to unpack it.
    """
    check_archive(path, "an .npz of samples")
    arrays: dict[str, np.ndarray | StoredArray] = {}
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_room(sum(member.file_size for member in members), f"before {path} was unpacked")
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    arrays[name] = _unpacked(file, member, name, path)
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"Expected an intact .npz. Got: {path}, damaged at {name!r} ({error}).") from error
    return arrays


def read_folder(path: Path, names: Sequence[str]) -> dict[str, np.ndarray | StoredArray]:
    """Return the arrays of a folder's ``.npy`` files by their names; they stay in the files.

    Args:
        path: the folder.
        names: what the files should be called, for the message.

    Raises:
        InputError: no such file in the folder, a damaged one, or one with Python objects.
    """
    files = sorted(path.glob("*.npy"))
    if not files:
        wanted = ", ".join(f"{name}.npy" for name in names)
        raise InputError(f"Expected {wanted}, and labels.npy or none, in the folder {path}. Got: no .npy file.")
    return {file.stem: _left_in(file) for file in files}


def _unpacked(file: IO[bytes], member: zipfile.ZipInfo, name: str, path: Path) -> np.ndarray | StoredArray:
    if not member.filename.endswith(".npy"):
        raise InputError(f"Expected arrays in {path}. Got: member {name!r}, which is none.")
    shape, in_columns, dtype = _header(file, member.file_size, name, path)
    with GrowingArray(dtype) as unpacked:
        step = max(1, _PIECE_BYTES // max(dtype.itemsize, 1)) * dtype.itemsize
        while piece := file.read(step):
            unpacked.append(np.frombuffer(piece, dtype))
        return unpacked.finish(shape, in_columns)


def _left_in(path: Path) -> np.ndarray | StoredArray:
    try:
        with open(path, "rb") as file:
            shape, in_columns, dtype = _header(file, path.stat().st_size, path.stem, path)
            return array_in(file, dtype, shape, file.tell(), in_columns)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"Expected an intact .npy. Got: {path}, damaged or unreadable ({error}).") from error


def _header(file: IO[bytes], size: int, name: str, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether it is in Fortran's order, and type, and leave ``file`` where the numbers begin.

    Args:
        file: an ``.npy``.
        size: of it in bytes.
        name, path: the array's and where it is, for messages.

    Raises:
        InputError: Python objects.
        ValueError: something else than an intact ``.npy`` of numbers.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:  # 3.0 is for fields with names beyond ASCII
        raise ValueError(f".npy version {version}, with named fields")
    shape, in_columns, dtype = read(file)
    if dtype.hasobject:
        raise InputError(
            f"Expected arrays of numbers. Got: array {name!r} of Python objects in {path}. They are not read, "
            "because reading them runs code."
        )
    expected, found = math.prod(shape) * dtype.itemsize, size - file.tell()
    if expected != found:
        raise ValueError(f"{found} bytes instead of {expected}")
    return shape, in_columns, dtype
