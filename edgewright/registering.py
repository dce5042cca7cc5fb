"""Registered devices: added once, by the keys that they show, and from then on reached by their name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import devices
from .devices import _registered, _transports
from .devices._links import Link
from .devices._registered import Registered
from .errors import InputError


@dataclass(frozen=True)
class Added:
    """A device that was registered.

    Attributes:
        device: what was written.
        path: its file.
        fingerprints: ``SHA256:...`` of each host key that was pinned, by server.
    """

    device: Registered
    path: Path
    fingerprints: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"device": asdict(self.device), "path": str(self.path), "fingerprints": self.fingerprints}


def add(
    name: str, url: str, profile: str, *, key: Path | None = None, accept_key: bool = False, python: str | None = None
) -> Added:
    """Reach a device, pin the host keys on the way, and register it; nothing is written unless all of that went well.

    Args:
        name: what to call it: small letters, digits, and . _ - within.
        url: such as ``ssh://pi@10.0.0.7:22``; ``?via=user@host:port`` names one to jump over; ``here://`` is this host.
        profile: what the device is: a shipped profile's name, or a .toml file; either with @ and a power mode.
        key: a private key's file; your agent's keys and those in ~/.ssh by default.
        accept_key: pin host keys that do not stand in ~/.ssh/known_hosts.
        python: what starts the Python there, such as the path of a virtual environment's; by default python3,
            and of this host the one that runs.

    Raises:
        InputError: the name is taken, or no name; there is no such transport or profile; the URL or key is none.
        DeviceError: the device does not answer, shows a host key that is not accepted, or does not let us in.
        MissingRequirement: asyncssh is missing, or the file cannot be written.
    """
    _registered.check_name(name)
    if name in devices.names():
        raise InputError(f"Expected a name that no device profile has. Got: {name!r}.")
    transport = _transports.get(url)
    devices.get(profile)  # raises where there is none
    shipped = profile.partition("@")[0] in devices.names()  # in a power mode, perhaps
    written = profile if shipped else str(Path(profile).absolute())
    key = key.expanduser().absolute() if key else None
    pinned = transport.introduce(url, key, accept_key, name)
    device = Registered(name, url, written, str(key) if key else None, pinned, python or transport.python)
    return Added(device, _registered.save(device), _fingerprints(device))


def registered() -> tuple[tuple[Registered, ...], dict[str, str]]:
    """Return all registered devices, and by name why the file of another cannot be read."""
    found, damaged = [], {}
    for name in _registered.names():
        try:
            found.append(_registered.get(name))
        except InputError as error:
            damaged[name] = str(error)
    return tuple(found), damaged


def remove(name: str) -> None:
    """Forget a device and the host keys that were pinned for it; nothing is done on the device.

    Raises:
        InputError: there is none of that name.
    """
    _registered.remove(name)


def open_link(name: str) -> Link:
    """Return an open link to a registered device, as a context.

    Raises:
        InputError: there is none of that name.
        DeviceError: it does not answer, shows another host key than the pinned one, or does not let us in.
        MissingRequirement: asyncssh is missing.
    """
    device = _registered.get(name)
    return _transports.get(device.url).open(device)


def added_text(added: Added) -> str:
    """Return for people what was registered."""
    device = added.device
    lines = [f"{device.name}: {device.url}, {device.profile}; written to {added.path}"]
    lines += [f"  pinned the host key of {server}: {print_}" for server, print_ in added.fingerprints.items()]
    return "\n".join([*lines, f"Read what it is: edgewright devices probe {device.name} --out {device.name}.toml"])


def registered_text(found: tuple[Registered, ...], damaged: Mapping[str, str]) -> str:
    """Return registered devices for people, a line each, and why others cannot be read."""
    lines = []
    for device in found:
        via = f", key {device.key}" if device.key else ""
        was = f", calibrated from {device.original}" if device.original else ""
        lines.append(f"{device.name:24} {device.url}, {device.profile}{was}{via}")
        lines += [f"    host key of {server}: {print_}" for server, print_ in _fingerprints(device).items()]
    lines += [f"{name:24} cannot be read. {reason}" for name, reason in damaged.items()]
    return "\n".join(lines) or "none; register one: edgewright devices add NAME ssh://USER@HOST --profile PROFILE"


def _fingerprints(device: Registered) -> dict[str, str]:
    from .devices._ssh import fingerprint

    return {server: fingerprint(key) for server, key in device.host_keys.items()}
