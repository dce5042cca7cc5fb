"""Outputs and temporary folders that a process holds while it lives; what a killed one left is cleared."""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .errors import InputError, MissingRequirement

# Folders that begin so are held: another name than what a version before this wrote there without a lock.
_TEMPORARY = "edgewright."
_MINE = threading.local()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold an output, so that no other process writes it meanwhile.

    The system takes the lock back from a process that is killed. In the thread that holds it, it may be held again.

    Raises:
        InputError: another process, or another thread, holds it.
        MissingRequirement: nothing can be written beside it.
    """
    path = path.absolute()
    held = _MINE.__dict__.setdefault("paths", set())
    if path in held:
        yield
        return
    parents = [folder for folder in path.parents if not folder.exists()]
    file = path.parent / f".{path.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked_file(file)
    except BlockingIOError as error:
        raise InputError(
            f"Expected an output that nobody else writes. Got: {path}, which another edgewright{_holder(file)} writes "
            "now; nothing was written. Wait until it has ended, or name another with --out."
        ) from error
    except OSError as error:
        raise MissingRequirement(
            f"Expected room and the right to write {path}. Got: {error.strerror or error}; nothing was written."
        ) from error
    held.add(path)
    try:
        yield
    finally:
        held.remove(path)
        file.unlink(missing_ok=True)
        os.close(lock)
        for folder in parents:  # that nothing was written in
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Yield an empty folder among the system's temporary ones, and remove it when the block ends.

    The first one of a process clears those of processes that were killed.
    """
    parent = Path(tempfile.gettempdir())
    _clear_temporary(parent)
    with held_folder(parent, f"{_TEMPORARY}{purpose}-") as folder:
        yield folder


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield an empty folder that is held until the block ends, and remove what is there by then."""
    folder, lock = _new_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def left_folders(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield the folders of ``held_folder`` whose process is gone; each is held until the next, and removed then."""
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not folder.name.startswith(prefix):
            continue
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, a link, or gone by now
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid() and _flock(lock):
                yield folder
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


@cache
def _clear_temporary(parent: Path) -> None:
    for _ in left_folders(parent, _TEMPORARY):
        pass


def _new_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Make a folder and hold it; who clears may have taken it for one that was left, before it was held."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        lock = None
        with contextlib.suppress(OSError, AttributeError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            _flock(lock, wait=True)
        if folder.exists():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _locked_file(file: Path) -> int:
    """Return the open file, locked.

    Raises:
        BlockingIOError: somebody else has locked it.
    """
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        if _flock(lock) is False:
            os.close(lock)
            raise BlockingIOError
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), file.stat()):
                os.truncate(lock, 0)
                os.write(lock, str(os.getpid()).encode())
                return lock
        os.close(lock)  # who held it has removed it since


def _holder(file: Path) -> str:
    try:
        return f" (process {int(file.read_text(encoding='utf-8'))})"
    except (OSError, ValueError):  # it ended just now
        return ""


def _flock(descriptor: int, wait: bool = False) -> bool | None:
    """Tell whether this process now holds an open file or folder; None where the system has no such locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, some network file systems
        return None
    return True
