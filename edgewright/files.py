"""Files that appear whole or not at all, and their digests."""

import errno
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError, MissingRequirement
from .held import held_folder, left_folders

MANIFEST = "manifest.json"
_MARK = "edgewright"
# What a disk that is full, or not to be written, or a limit of the system says.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gzip_bytes(path: Path) -> int:
    """Return the size of a file in bytes after gzip at level 9, which is what a download costs."""
    return len(gzip.compress(path.read_bytes(), compresslevel=9, mtime=0))


def check_parent(path: Path) -> None:
    """Raise unless a file can be written at ``path``.

    Raises:
        MissingRequirement: there is no such folder, or it cannot be written.
    """
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        found = "a folder of that name" if path.is_dir() else "one that cannot" if path.parent.is_dir() else "none"
        raise MissingRequirement(f"Expected a folder that the file {path} can be written in. Got: {found}.")


def check_room(folder: Path, reason: str = "") -> None:
    """Raise where what failed in ``folder`` failed for want of room: a full disk is no fault of an artifact.

    Args:
        folder: where a child process wrote; what it left half written still lies there.
        reason: what it ended with.

    Raises:
        MissingRequirement: there is no room for a MiB more, or the reason says so.
    """
    found = os.strerror(errno.ENOSPC) if os.strerror(errno.ENOSPC) in reason else ""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**20))
    except OSError as error:
        found = error.strerror or str(error)
    if found:
        raise MissingRequirement(f"Expected room to write {folder}. Got: {found}.")


def read_text(path: Path, what: str) -> str:
    """Return the text of a file in UTF-8, with a byte order mark or without; ``what`` names it in errors.

    Raises:
        InputError: it cannot be read, or holds something else than text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"Expected {what} at {path}. Got: something else than text in UTF-8.") from error
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise InputError(f"Expected {what} at {path}. Got: {found}.") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and rename it into place.

    A pipe or a device such as /dev/null is written into: renamed over, it would be gone.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8, as ``write_bytes`` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` as JSON beside ``path`` and rename it into place."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def check_output_folder(path: Path, kind: str = "") -> None:
    """Raise unless a folder of ours can be written at ``path``.

    It can where nothing stands, where an empty folder stands, and where a folder stands that edgewright wrote
    (its manifest.json says so). With a ``kind`` that folder has to be of the same kind: a bundle is not written over a
    trained model.

    Raises:
        InputError: something else stands there.
        MissingRequirement: the parent cannot be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"Expected a folder to write, or a free name. Got: {path}, which is a file or a link.")
    if path.is_dir() and any(path.iterdir()) and not is_ours(path):
        raise InputError(
            f"Expected an empty folder, or one that edgewright wrote. Got: {path}, which holds other files; "
            "nothing was written. Name another folder with --out."
        )
    found = kind_of(path)
    if kind and found not in ("", kind):
        raise InputError(
            f"Expected an empty folder, or a {kind} that edgewright wrote. Got: {path}, which is a {found}; "
            "nothing was written. Name another folder with --out."
        )
    parent = path.absolute().parent
    existing = next(folder for folder in (parent, *parent.parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"Expected a folder at {existing}, to write {path} below it. Got: a file.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise MissingRequirement(
            f"Expected a folder that can be written. Got: {existing}: {error.strerror}; nothing was written."
        ) from error


def is_ours(folder: Path) -> bool:
    """Tell whether edgewright wrote this folder, by its manifest."""
    return bool(kind_of(folder))


def kind_of(folder: Path) -> str:
    """Return what edgewright wrote there, such as "bundle", by its manifest; an empty text where it is not ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    ours = isinstance(manifest, dict) and manifest.get("made_by") == _MARK
    return str(manifest.get("kind") or "folder") if ours else ""


def new_manifest(kind: str, schema: int) -> dict[str, Any]:
    """Return the head of a manifest that marks a folder as ours."""
    return {"made_by": _MARK, "kind": kind, "schema": schema}


@contextmanager
def new_folder(path: Path, kind: str = "") -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place when the block ends without an error.

    A folder of ours that stood there, of this ``kind`` where one is given, is replaced; after an error it still stands.

    Raises:
        InputError, MissingRequirement: see ``check_output_folder``; also a disk that fills up while writing.
    """
    check_output_folder(path, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_left(path)
    try:
        with held_folder(path.parent, f".{path.name}.partial-") as temporary:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            _take_place(temporary, path)
    except OSError as error:
        raise MissingRequirement(
            f"Expected room and the right to write {path}. Got: {error.strerror or error}; nothing was written."
        ) from error


def _take_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    with held_folder(path.parent, f".{path.name}.old-") as old:
        os.rename(path, old / path.name)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(old / path.name, path)
            raise


def _clear_left(path: Path) -> None:
    """Remove what processes that were killed left half written beside ``path``; put back what one had moved away."""
    for old in left_folders(path.parent, f".{path.name}.old-"):
        if (old / path.name).exists() and not path.exists():
            os.rename(old / path.name, path)
    for _ in left_folders(path.parent, f".{path.name}.partial-"):
        pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
