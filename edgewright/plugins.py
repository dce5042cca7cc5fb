"""The plug-in rule: in a folder, every public module is one plug-in that exports one conventional name."""

import importlib
import pkgutil
import sys
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points
from typing import Generic, TypeVar

from .errors import InputError, nearest

T = TypeVar("T")


@lru_cache(maxsize=32)
def _points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Return a group's entry points of all distributions on a path: to read them takes tens of milliseconds."""
    return entry_points(group=group)


class Plugins(Generic[T]):
    """The plug-ins of one folder, found by name and imported only when asked for.

    A module ``compress/magnitude_pruning.py`` that defines ``TECHNIQUE`` is the plug-in
    ``magnitude_pruning``. Modules whose name starts with an underscore are the folder's machinery.
    Other distributions add theirs with an entry point in the group ``<package>``, for example
    ``edgewright.compress``, whose value is the module.

    Args:
        package: the folder's import name, such as ``edgewright.compress``.
        path: the folder's ``__path__``.
        attribute: the conventional name, such as ``TECHNIQUE``.
        noun: what one plug-in is called in messages, such as ``technique``.
    """

    def __init__(self, package: str, path: list[str], attribute: str, noun: str) -> None:
        self.package = package
        self.path = path
        self.attribute = attribute
        self.noun = noun

    def names(self) -> tuple[str, ...]:
        """Return the names of all plug-ins, sorted; nothing is imported."""
        own = {
            module.name
            for module in pkgutil.iter_modules(self.path)
            if not module.name.startswith("_") and not module.ispkg
        }
        return tuple(sorted(own | self._others().names))

    def get(self, name: str) -> T:
        """Import the plug-in ``name`` and return it.

        Raises:
            InputError: there is no such plug-in; the message names the nearest.
        """
        if name not in self.names():
            raise InputError(
                f"Expected a known {self.noun}: {', '.join(self.names())}. Got: {name!r}.{nearest(name, self.names())}"
            )
        points = self._others()
        module = points[name].load() if name in points.names else importlib.import_module(f"{self.package}.{name}")
        plugin: T = getattr(module, self.attribute)
        return plugin

    def _others(self) -> EntryPoints:
        return _points(self.package, tuple(map(str, sys.path)))
