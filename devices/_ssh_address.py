"""Where an SSH server is: ssh://user@host:port, and the host that one jumps over to get there."""

import getpass
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from ..errors import InputError

_FORM = "ssh://[user@]host[:port][?via=[user@]host[:port]]"
# What host and user names are made of; a leading hyphen would be an option elsewhere.
_NAME = re.compile(r"[A-Za-z0-9_:%.][A-Za-z0-9_:%.\-]*")


@dataclass(frozen=True)
class Address:
    """Where an SSH server is.

    Attributes:
        user: whom to log in as.
        host: a name, or an address.
        port: 22 by default.
    """

    user: str
    host: str
    port: int

    @property
    def known_as(self) -> str:
        """Return the name that OpenSSH's known_hosts files have it under."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        """Return ``user@host`` with the port, where it is another than 22."""
        return f"{self.user}@{self.known_as}"


def parse_ssh_url(url: str) -> tuple[Address, ...]:
    """Return the servers on the way, the device's own last.

    >>> [str(each) for each in parse_ssh_url("ssh://pi@10.0.0.7?via=me@gate:2222")]
    ['me@[gate]:2222', 'pi@10.0.0.7']

    Raises:
        InputError: it is no such URL, or holds a password or a path.
    """
    parts = _split(url, url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme != "ssh" or parts.path not in ("", "/") or parts.fragment or set(query) - {"via"}:
        raise _wrong(url)
    jumps = query.get("via", [])
    if len(jumps) > 1:
        raise InputError(f"Expected one host to jump over, as in {_FORM}. Got: {len(jumps)} in {url}.")
    return tuple(_address(_split(text, url), url) for text in (*(f"ssh://{jump}" for jump in jumps), url))


def _split(text: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError as error:
        raise _wrong(url) from error
    return parts


def _address(parts: SplitResult, url: str) -> Address:
    if parts.password is not None:
        raise InputError(
            "Expected no password in the URL: edgewright logs in with keys, or with your agent. Got: one, for "
            f"{parts.hostname}."
        )
    user = parts.username or getpass.getuser()
    if not parts.hostname or not all(map(_NAME.fullmatch, (user, parts.hostname))) or parts.port == 0:
        raise _wrong(url)
    return Address(user, parts.hostname, parts.port or 22)


def _wrong(url: str) -> InputError:
    return InputError(f"Expected {_FORM}. Got: {url}.")
