"""What --device names: a shipped profile, a .toml file, or a device that the user has registered."""

from pathlib import Path

from . import devices
from .devices import Profile, _registered
from .devices._fitted import shipped_calibrations
from .errors import InputError, nearest


def profile_of(name: str) -> Profile:
    """Return the profile of a shipped device, of a .toml file, or of a registered device under the name given to it.

    Any of them with @ and the name of a power mode: the profile in that mode.

    Raises:
        InputError: there is no such name or mode (the nearest is told), or the profile is bad.
    """
    mine = _registered.names()
    if name in mine:
        return named(devices.get(_registered.get(name).profile), name)
    device, at, mode = name.rpartition("@")
    if at and device in mine:
        return profile_of(device).in_mode(mode)
    base = device if at else name
    if base in devices.names() or Path(base).suffix == ".toml":
        return devices.get(name)
    known = (*devices.names(), *mine)
    raise InputError(
        f"Expected a device: one of {', '.join(known)}, or a .toml file. Got: {name!r}.{nearest(name, known)}"
    )


def registered_profile(name: str) -> Profile:
    """Return the profile of a registered device, under the name given to it.

    Raises:
        InputError: no device of that name is registered, or its profile is bad.
    """
    _registered.get(name)  # raises where there is none
    return profile_of(name)


def named(profile: Profile, name: str) -> Profile:
    """Return a profile under another name, with the speeds that edgewright finds by the name that it had."""
    calibrations = profile.calibrations
    if name != profile.name:
        calibrations = (*calibrations, *shipped_calibrations(profile))
    return profile.model_copy(update={"name": name, "calibrations": calibrations})
