"""What edgewright finds on a device before it does anything there: Pythons, runtimes, deployed models, free space."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeviceError, MissingRequirement
from ._links import Link
from ._on_device import Python

SCRIPT = Path(__file__).with_name("_there.py")
# What the runner needs.
OLDEST = (3, 7)
_SCHEMA = 1


@dataclass(frozen=True)
class Found:
    """What there is on a device.

    Attributes:
        pythons: its own Python first, then the same with each runtime that was carried there.
        models: by model what "current" and "previous" say of themselves: their deployed.json.
        free_bytes: where edgewright's files lie.
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


def look(link: Link, command: str, folder: str) -> Found:
    """Return what there is on a device.

    Args:
        link: an open link.
        command: the device's Python.
        folder: where edgewright's files lie there.

    Raises:
        MissingRequirement: there is no such Python, or one that is too old for the runner.
        DeviceError: it answers something else; the link broke.
    """
    wanted = ".".join(map(str, OLDEST))
    answer = link.run([command, "-", folder], stdin=SCRIPT)
    if answer.status in (126, 127):
        raise MissingRequirement(
            f"Expected Python {wanted} or later on {link.title}, called {command}. Got: {answer.reason()}. Another one "
            "is named with: edgewright devices add ... --python PATH."
        )
    try:
        facts = json.loads(answer.stdout.decode("utf-8"))
        if facts["schema"] != _SCHEMA:
            raise ValueError(f"schema {facts['schema']}")
        found = _found(facts, command)
    except (ValueError, KeyError, TypeError) as error:
        why = answer.reason() if not answer.ok else f"{type(error).__name__}: {error}"
        raise DeviceError(f"Expected {command} on {link.title} to tell what it has. Got: {why}.") from error
    version = found.pythons[0].version
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise MissingRequirement(
            f"Expected Python {wanted} or later on {link.title}. Got: {command}, which is {version}. Another one is "
            "named with: edgewright devices add ... --python PATH."
        )
    return found


def _found(facts: Mapping[str, Any], command: str) -> Found:
    about = {"version": facts["python"], "machine": facts["machine"], "libc": facts["libc"]}
    own = Python(command, "", distributions=facts["distributions"], **about)
    carried = [
        Python(command, path, distributions={**facts["distributions"], **there}, **about)
        for path, there in facts["runtimes"].items()
    ]
    return Found((own, *carried), facts["models"], int(facts["free_bytes"]), bool(facts["emulated"]))
