"""Whether a device is an emulated one: a time that is taken there is no latency."""

import json

from ..errors import DeviceError
from ._links import Link
from ._probe import EMULATED as MARK  # written by runtimes/_emulated_sshd.py into each device that it emulates

_READ = '[ ! -e "$1" ] || cat < "$1"'


def emulated_core(link: Link) -> str | None:
    """Return the core that a device is emulated as, such as "pi4"; None where it is a real device.

    Raises:
        DeviceError: the device's mark cannot be read, or is damaged; the link broke.
    """
    answer = link.run(["sh", "-c", _READ, "sh", MARK])
    if answer.ok and not answer.stdout:
        return None
    try:
        if not answer.ok:
            raise ValueError(answer.reason())
        core = json.loads(answer.stdout)["core"]
        if not isinstance(core, str):
            raise TypeError(f"the core {core!r}")
        return core
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"Expected {MARK} of {link.title} to name the core that it is emulated as. Got: {error}."
        ) from error
