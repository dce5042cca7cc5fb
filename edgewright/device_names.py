"""What --device names: a shipped profile, a .toml file, or a device that the user has registered."""

from pathlib import Path

from . import devices
from .devices import Profile, _registered
from .devices._speeds import shipped_calibrations
from .errors import InputError, nearest


def profile_of(name: str) -> Profile:
    """Return the profile of a shipped device, of a .toml file, or of a registered device under the name given to it.

    Raises:
        InputError: there is none of that name (the nearest is told), or its profile is bad.
    """
    mine = _registered.names()
    if name in mine:
        return named(devices.get(_registered.get(name).profile), name)
    if name in devices.names() or Path(name).suffix == ".toml":
        return devices.get(name)
    known = (*devices.names(), *mine)
    raise InputError(
        f"Expected a device: one of {', '.join(known)}, or a .toml file. Got: {name!r}.{nearest(name, known)}"
    )


def named(profile: Profile, name: str) -> Profile:
    """Return a profile under another name, with the speeds that edgewright finds by the name that it had."""
    calibrations = profile.calibrations
    if name != profile.name:
        calibrations = (*calibrations, *shipped_calibrations(profile.name))
    return profile.model_copy(update={"name": name, "calibrations": calibrations})
