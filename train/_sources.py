"""Where tasks get their data: packages that ship it, and arrays that were made once and are kept with a checksum."""

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from ..errors import MissingRequirement
from ._task import Arrays


def require(module: str, distribution: str, extra: str, purpose: str) -> ModuleType:
    """Return an imported module that an extra brings.

    Args:
        module: what to import, such as "aeon.datasets".
        distribution: the package that has it.
        extra: the extra of edgewright that installs it.
        purpose: what it is for, such as "which ships the digits".

    Raises:
        MissingRequirement: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
        found = "not installed" if absent else f"it fails to import: {type(error).__name__}: {error}"
        raise MissingRequirement(
            f"Expected the package {distribution}, {purpose}. Got: {found}. Run pip install 'edgewright[{extra}]'."
        ) from error


def cache_folder() -> Path:
    """Return the folder for data that was made once: EDGEWRIGHT_CACHE, or edgewright in the user's cache folder."""
    given = os.environ.get("EDGEWRIGHT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewright"


def made_once(name: str, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that ``make`` makes, from the cache where they lie there unharmed.

    Args:
        name: of the data and of everything that decides it, such as "sort-of-clevr-seed-0-v1".
        make: makes the arrays, by name; it may take minutes.
    """
    path = cache_folder() / f"{name}.npz"
    checksum = path.with_suffix(".sha256")
    if path.exists() and checksum.exists() and checksum.read_text(encoding="utf-8").strip() == _sha256(path):
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    made = dict(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez(file, **made)
        digest = _sha256(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    checksum.write_text(f"{digest}\n", encoding="utf-8")
    return made


def digest_of_arrays(arrays: Arrays) -> str:
    """Return the SHA-256 over names, shapes, types and values of arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
