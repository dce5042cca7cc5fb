"""Devices that the user has registered: a name, how to get there, the profile; one JSON file each."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import InputError, MissingRequirement, nearest
from ..files import write_json

VARIABLE = "EDGEWRIGHT_CONFIG"
_SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Registered:
    """A device that the user has registered.

    Attributes:
        name: small letters, digits, and . _ - within.
        url: how to get there, such as ``ssh://pi@10.0.0.7``.
        profile: a shipped profile's name, or the path of a .toml file; either with @ and a power mode.
        key: a private key's file, or None.
        host_keys: the pinned public key of each server on the way, in OpenSSH's text form.
        python: what starts the Python there.
        original: the profile before ``profile`` was calibrated by what was measured on the device; None where it was
            not.
    """

    name: str
    url: str
    profile: str
    key: str | None = None
    host_keys: Mapping[str, str] = field(default_factory=dict)
    python: str = "python3"
    original: str | None = None


def config_folder() -> Path:
    """Return the folder of the user's settings: $EDGEWRIGHT_CONFIG, or edgewright where the platform keeps them."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "edgewright"


def check_name(name: str) -> None:
    """Raise unless a device can have this name.

    Raises:
        InputError: it cannot, or a device has it already.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"Expected a name of small letters, digits, and . _ - within, such as desk-pi. Got: {name!r}.")
    if _file(name).exists():
        raise InputError(
            f"Expected a name that no device has. Got: {name!r}, which has one: edgewright devices remove {name}"
        )


def names() -> tuple[str, ...]:
    """Return the names of all registered devices, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.json") if _NAME.fullmatch(path.stem)))


def get(name: str) -> Registered:
    """Return a registered device.

    Raises:
        InputError: there is none of that name, or its file cannot be read.
    """
    if name not in names():
        raise _unknown(name, " Register one: edgewright devices add NAME ssh://USER@HOST --profile PROFILE")
    path = _file(name)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema") != _SCHEMA:
            raise ValueError(f"another schema than {_SCHEMA}")
        # A file that was copied by hand is another device's.
        return _checked(Registered(**{**document, "name": name}))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"Expected a device that edgewright wrote in {path}. Got: {type(error).__name__}: {error}. Mend it, or: "
            f"edgewright devices remove {name}, and add it again."
        ) from error


def save(device: Registered) -> Path:
    """Write a device's file, whole or not at all, and return its path.

    Raises:
        MissingRequirement: it cannot be written.
    """
    path = _file(device.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"schema": _SCHEMA, **asdict(device)})
    except OSError as error:
        raise MissingRequirement(f"Expected a folder that can be written. Got: {path.parent}: {error}.") from error
    return path


def remove(name: str) -> None:
    """Forget a device, its pinned host keys, and what was measured on it.

    Raises:
        InputError: there is none of that name.
        MissingRequirement: its file cannot be removed.
    """
    if name not in names():
        raise _unknown(name)
    try:
        _file(name).unlink(missing_ok=True)
        calibrated_file(name).unlink(missing_ok=True)
        shutil.rmtree(measured_folder(name), ignore_errors=True)
    except OSError as error:
        raise MissingRequirement(f"Expected the right to remove {_file(name)}. Got: {error.strerror}.") from error


def measured_folder(name: str) -> Path:
    """Return where measurements of a device are kept."""
    return _folder() / f"{name}.measured"


def calibrated_file(name: str) -> Path:
    """Return where a device's profile lies once it was calibrated by what was measured on it."""
    return _folder() / f"{name}.toml"


def _unknown(name: str, advice: str = "") -> InputError:
    """Return the error of a name that no registered device has; it tells those that are registered."""
    if not names():
        return InputError(f"Expected a registered device. Got: {name!r}, and none is registered.{advice}")
    known = ", ".join(names())
    return InputError(f"Expected a registered device: {known}. Got: {name!r}.{nearest(name, names())}{advice}")


def _checked(device: Registered) -> Registered:
    texts = [device.name, device.url, device.profile, device.python]
    texts += [text for text in (device.key, device.original) if text is not None]
    texts += [text for pair in device.host_keys.items() for text in pair]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("something else than texts")
    if device.host_keys:
        from ._ssh import fingerprint

        for key in device.host_keys.values():
            fingerprint(key)  # raises where it is none
    return device


def _folder() -> Path:
    return config_folder() / "devices"


def _file(name: str) -> Path:
    return _folder() / f"{name}.json"
