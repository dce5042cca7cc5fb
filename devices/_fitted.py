"""What was fitted to measurements of devices and is shipped: ``profiles/speeds.json``, read without NumPy."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from ._profile import Calibration, Profile, Sourced, Target, Unsupported, get, names

# What a target states of how fast it is; the runtime and its threads are heeded where a calibration is used.
_RATES = ("unit", "effective_gmacs_per_s", "overhead_ms", "per_operation_ms")


@cache
def document() -> Mapping[str, Any]:
    """Return what was fitted: what is expected of any processor, and the speeds of devices; see ``speeds.json``."""
    text = (resources.files(f"{__package__}.profiles") / "speeds.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def shipped_calibrations(profile: Profile) -> tuple[Calibration, ...]:
    """Return what was fitted to published measurements of a shipped device; nothing for any other.

    A profile is of that device where it has its name and states the same of what was fitted: see ``differs_in``.
    """
    return tuple(
        each for each in _calibrations_of(profile.name) if not differs_in(profile, each.format, each.precision)
    )


def differs_in(profile: Profile, format: str, precision: str) -> tuple[str, ...]:
    """Return the keys of what a profile states otherwise than the shipped one of its name, as far as speed goes.

    Those are of the processor, the memory's bandwidth and the target's rates. Empty where no shipped one has its name.
    """
    if profile.name not in names():
        return ()
    shipped = shipped_profile(profile.name)
    found = [f"cpu.{key}" for key in type(profile.cpu).model_fields if _unlike(profile.cpu, shipped.cpu, key)]
    if _unlike(profile.memory, shipped.memory, "bandwidth_gbytes_per_s"):
        found.append("memory.bandwidth_gbytes_per_s")
    mine, theirs = (each.target(format, precision) for each in (profile, shipped))
    if isinstance(mine, Unsupported) or isinstance(theirs, Unsupported):
        return (*found, *(["set of targets"] if type(mine) is not type(theirs) else ()))
    return (*found, *(key for key in _RATES if _unlike(mine, theirs, key)))


def rates_of(profile: Profile, target: Target) -> tuple[Profile, Target] | None:
    """Return the shipped profile with the same core that states a target's rates, and its target; None for none.

    It is the one of the same name if there is one, else one with the same processor, else the first.
    """
    found = []
    for name in (profile.name,) if profile.name in names() else names():
        shipped = shipped_profile(name)
        theirs = shipped.target(target.format, target.precision)
        same_core = not _unlike(profile.cpu, shipped.cpu, "core")
        if same_core and isinstance(theirs, Target) and not any(_unlike(target, theirs, key) for key in _RATES):
            found.append((shipped, theirs))
    return min(found, key=lambda each: _unlike_cpu(profile, each[0]), default=None)


@cache
def shipped_profile(name: str) -> Profile:
    """Return a shipped device's profile."""
    return get(name)


@cache
def _calibrations_of(device: str) -> tuple[Calibration, ...]:
    return tuple(Calibration(**entry["calibration"]) for entry in document()["speeds"] if entry["device"] == device)


def _unlike_cpu(profile: Profile, other: Profile) -> bool:
    return any(_unlike(profile.cpu, other.cpu, key) for key in type(profile.cpu).model_fields)


def _unlike(one: object, other: object, key: str) -> bool:
    """Tell whether two tables differ in a value, wherever it comes from."""
    mine, theirs = (getattr(each, key) for each in (one, other))
    if isinstance(mine, Sourced) and isinstance(theirs, Sourced):
        return bool(mine.value != theirs.value)
    return bool(mine != theirs)
