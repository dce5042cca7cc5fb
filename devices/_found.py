"""What edgewright finds on a device before it does anything there: Pythons, runtimes, deployed models, free space."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .. import runtimes
from ..errors import DeviceError, MissingRequirement
from ..runtimes import Runtime
from ._links import Link
from ._python import BUILDS, OLDEST, Python, plain_name

SCRIPT = Path(__file__).with_name("_there.py")
_SCHEMA = 1
_ASK_S = 60.0
_NOT_FOUND = 127


@dataclass(frozen=True)
class Found:
    """What there is on a device.

    Attributes:
        pythons: its Python with its own packages first, then the same with each runtime that was carried there.
        models: by model what "current" and "previous" say of themselves: their deployed.json.
        free_bytes: in the user's home.
        emulated: whether the device says that it is emulated.
    """

    pythons: tuple[Python, ...]
    models: Mapping[str, Mapping[str, Mapping[str, Any]]]
    free_bytes: int
    emulated: bool

    @property
    def machine(self) -> str:
        """Such as "aarch64"."""
        return self.pythons[0].machine


def look(link: Link, command: str) -> Found:
    """Return what there is on a device.

    Args:
        link: an open link.
        command: the device's Python.

    Raises:
        MissingRequirement: there is no such Python, or one that is too old for the runner.
        DeviceError: it answers something else; the link broke.
    """
    wanted, hint = ".".join(map(str, OLDEST)), "Another one is named with: edgewright devices add ... --python PATH."
    found = ask(link, command)
    if found is None:
        raise MissingRequirement(
            f"Expected Python {wanted} or later on {link.title}. Got: no command {command} there. {hint}"
        )
    if found.pythons[0].too_old:
        version = found.pythons[0].version
        raise MissingRequirement(
            f"Expected Python {wanted} or later on {link.title}. Got: {command}, which is {version}. {hint}"
        )
    return found


def ask(link: Link, command: str) -> Found | None:
    """Return what there is on a device, however old its Python; None where it has no such command.

    Nothing is imported there but the standard library.

    Raises:
        DeviceError: the link broke, or its Python does not run.
    """
    answer = link.run([command, "-", *asked()], stdin=SCRIPT, time_limit_s=_ASK_S)
    if answer.status == _NOT_FOUND:
        return None
    told = answer.stdout.decode("utf-8", "replace")
    try:
        if not answer.ok:
            raise ValueError
        return _found(json.loads(told), command)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        got = told.strip()[:120] if answer.ok else answer.reason()
        raise DeviceError(f"Expected {command} on {link.title} to say what it is. Got: {got!r}.") from error


@cache
def asked() -> tuple[str, ...]:
    """Return the distributions that a device is asked for: NumPy and the runtimes'."""
    adapters = [runtimes.get(name) for name in runtimes.names()]
    names = sorted({plain_name(adapter.distribution) for adapter in adapters if not adapter.referee})
    return ("numpy", *names, *(build for name in names for build in BUILDS.get(name, ())))


def with_runtime(pythons: Sequence[Python], runtime: Runtime) -> Python | None:
    """Return the first that has a runtime and NumPy, and is not too old; None where there is none."""
    ready = (each for each in pythons if each.version_of(runtime) and each.numpy and not each.too_old)
    return next(ready, None)


def _found(facts: Mapping[str, Any], command: str) -> Found:
    if facts["schema"] != _SCHEMA:
        raise ValueError
    about = {name: facts[name] for name in ("version", "machine", "libc", "implementation", "home")}
    pythons = tuple(
        Python(command=command, path=place["folder"], distributions=place["distributions"], **about)
        for place in facts["places"]
    )
    return Found(pythons, facts["models"], int(facts["free_bytes"]), bool(facts["emulated"]))
