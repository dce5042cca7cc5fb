"""Stages: finished pieces of long work, kept by the hash of what they were made from, so that a killed run goes on."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import MANIFEST, new_folder, new_manifest, sha256, write_json


class Stages:
    """A folder of finished stages.

    Args:
        folder: where they are kept; it is made when the first is finished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(self, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        """Return the folder of a stage, made now unless it was finished before.

        Args:
            name: what the stage does, for people.
            key: plain data that the stage's result depends on, all of it.
            make: fills an empty folder; what it leaves there is the result. An exception leaves nothing behind.
        """
        place = self._place(name, key)
        if self._intact(place):
            return place
        shutil.rmtree(place, ignore_errors=True)
        with new_folder(place) as folder:
            make(folder)
            files = {file.relative_to(folder).as_posix(): sha256(file) for file in folder.rglob("*") if file.is_file()}
            write_json(folder / MANIFEST, {**new_manifest("stage", 1), "files": files})
        return place

    def find(self, name: str, key: Any) -> Path | None:
        """Return the folder of a stage that was finished, or None."""
        place = self._place(name, key)
        return place if self._intact(place) else None

    def finished(self, name: str) -> tuple[Path, ...]:
        """Return the folders of all finished stages of a name, whatever their key."""
        return tuple(place for place in sorted(self.folder.glob(f"{name}-*")) if self._intact(place))

    def forget(self, name: str, key: Any) -> None:
        """Remove a stage, so that it is made again."""
        shutil.rmtree(self._place(name, key), ignore_errors=True)

    def _place(self, name: str, key: Any) -> Path:
        return self.folder / f"{name}-{digest(key)[:16]}"

    def _intact(self, place: Path) -> bool:
        """A stage with a missing or changed file is no stage: it is made again."""
        try:
            files = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
            return all(sha256(place / name) == was for name, was in files.items())
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False


def digest(key: Any) -> str:
    """Return the SHA-256 of plain data.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
