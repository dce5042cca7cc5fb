"""Transports: which kind of link a device's URL means. SSH and this host are ours; other distributions add theirs."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from ..errors import InputError, nearest
from ._links import Here, Link
from ._registered import Registered

# A distribution's own transport: an entry point in this group, by its scheme, whose value is the module with TRANSPORT.
GROUP = "edgewright.links"


class Transport(ABC):
    """One kind of link, found by the scheme of a device's URL.

    Attributes:
        name: the scheme.
        title: what it is, in words.
        python: what starts the Python there, where the user names none.
    """

    name: str
    title: str
    python: str = "python3"

    def prepare(self) -> None:
        """Import what a link needs, where that is much.

        Raises:
            MissingRequirement: it is not installed.
        """
        return

    @abstractmethod
    def introduce(self, url: str, key: Path | None, accept: bool, name: str) -> dict[str, str]:
        """Reach the device for the first time and return the keys to pin, by server; {} where there are none.

        Args:
            url: the device's.
            key: a private key's file, or None.
            accept: take keys that are not known.
            name: the device's, for messages.

        Raises:
            InputError: the URL cannot be used.
            DeviceError: the device does not answer, or a key is not accepted.
        """

    @abstractmethod
    def open(self, device: Registered) -> Link:
        """Return an open link to a registered device.

        Raises:
            DeviceError: the device does not answer, or is not the one that was registered.
        """


class _OverSsh(Transport):
    name, title = "ssh", "SSH, with keys or an agent, and pinned host keys"

    def prepare(self) -> None:
        from ._ssh import import_asyncssh

        import_asyncssh()

    def introduce(self, url: str, key: Path | None, accept: bool, name: str) -> dict[str, str]:
        from ._host_keys import introduce

        return introduce(url, key, accept, name)

    def open(self, device: Registered) -> Link:
        from ._ssh import Ssh

        pinned = {server: [key] for server, key in device.host_keys.items()}
        return Ssh(device.url, pinned, key=Path(device.key) if device.key else None, name=device.name)


class _ThisHost(Transport):
    name, title, python = "here", "this host", sys.executable

    def introduce(self, url: str, key: Path | None, accept: bool, name: str) -> dict[str, str]:
        if url != "here://":
            raise InputError(f"Expected here:// for this host. Got: {url}.")
        return {}

    def open(self, device: Registered) -> Link:
        return Here()


_OWN: dict[str, Callable[[], Transport]] = {"here": _ThisHost, "ssh": _OverSsh}


def names() -> tuple[str, ...]:
    """Return the schemes of all transports, sorted."""
    return tuple(sorted({*_OWN, *(point.name for point in entry_points(group=GROUP))}))


def get(url: str) -> Transport:
    """Return the transport of a device's URL.

    Raises:
        InputError: it has no scheme, or there is none of that name.
    """
    scheme, mark, _ = url.partition("://")
    if mark and scheme in _OWN:
        return _OWN[scheme]()
    if not mark or scheme not in names():
        known = ", ".join(f"{name}://" for name in names())
        raise InputError(f"Expected a URL that begins with {known}. Got: {url!r}.{nearest(scheme, names())}")
    found: Transport = entry_points(group=GROUP)[scheme].load().TRANSPORT
    return found
