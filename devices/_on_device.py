"""A device behind a link as a place to run artifacts: the same runner, its files copied there and back."""

import copy
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..children import Child
from ..errors import DeviceError
from ..export._beside import files_beside
from ..figures import How
from ..files import sha256
from ..runtimes import Runtime
from ..runtimes._place import Argument, Named, Place
from ._lease import ENDED, SCRATCH, UNDER_LEASE, Lease
from ._links import Answer, Link
from ._python import Python

# On top of a command's own limit, for the link and for what timeout waits before it kills.
_SLACK_S = 30.0
_TIMED_OUT = 124
_CONDITIONS = """
model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
[ -n "$model" ] || model=$(tr -d '\\000' < /proc/device-tree/model 2>/dev/null)
printf '%s\\n' "$model"; nproc --all; nproc
cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null
"""
_MAKE = 'mkdir -p -- "$1" && cd "$1" && pwd'


@dataclass
class OnDevice(Place):
    """A device whose lease is held.

    Files are copied there once, by their content; those in ``there`` are there already.

    Args:
        link: an open link.
        lease: of the device.
        python: what runs there.
        name: the device's.
        emulated: whether the device is emulated.
        there: by file of this host its absolute path on the device.

    Raises:
        DeviceError: no folder can be made there.
    """

    link: Link
    lease: Lease
    python: Python
    name: str
    emulated: bool = False
    there: Mapping[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make a folder for the files of runs, which goes with the lease."""
        scratch = f"{self.lease.folder}/{SCRATCH}/{self.lease.token}"
        made = self.link.run(["sh", "-c", _MAKE, "sh", scratch])
        if not made.ok:
            raise DeviceError(f"Expected room for files in {scratch} on {self.link.title}. Got: {made.reason()}.")
        self._folder = made.stdout.decode().rstrip("\n")
        self._sent: dict[tuple[str, ...], str] = {}
        self.how = How.EMULATED if self.emulated else How.MEASURED_ON_DEVICE
        # Under emulation too: what is taken then says that it is emulated, and never passes for a latency.
        self.timed = True

    @property
    def title(self) -> str:
        """What a report calls it."""
        return f"device {self.name}"

    def in_python(self, python: Python) -> "OnDevice":
        """Return the same place with another of the device's Pythons: what was copied there serves both."""
        other = copy.copy(self)
        other.python = python
        return other

    def conditions(self) -> dict[str, Any]:
        """Return those of the device; see ``Place.conditions``."""
        lines = self.link.run(["sh", "-c", _CONDITIONS]).stdout.decode("utf-8", "replace").split("\n")
        cpu, cores, allowed, governor = (*lines, "", "", "", "")[:4]
        return {
            "device": self.name,
            "cpu": cpu.strip("\0 ") or self.python.machine,
            "cores": int(cores) if cores.isdigit() else None,
            "cores_allowed": int(allowed) if allowed.isdigit() else None,
            "governor": governor or None,
        }

    def version(self, runtime: Runtime) -> str | None:
        """Return the version of a runtime in the device's Python."""
        return self.python.version_of(runtime)

    def run(
        self,
        arguments: Sequence[Argument],
        folder: Path,
        counts: Path | None = None,
        *,
        time_limit_s: float,
        memory_limit_bytes: int,
    ) -> Child:
        """Run the device's Python under the lease; its memory is the device's own limit. See ``Place.run``.

        Raises:
            DeviceError: somebody else ended the lease; the link broke.
        """
        given = (each for each in arguments if isinstance(each, Path))
        written = [each for each in given if each not in self.there and not each.exists()]
        names = {each: f"{place}-{each.name}" for place, each in enumerate(written)}
        command = [names[each] if each in written else self._argument(each) for each in arguments]
        limit = [f"{time_limit_s:g}", *self.python.arguments()]
        answer = self.link.run(
            ["sh", "-c", UNDER_LEASE, "sh", self._folder, *limit, *command], time_limit_s=time_limit_s + _SLACK_S
        )
        if answer.status == ENDED:
            raise DeviceError(
                f"Expected to hold the lease on {self.link.title} still. Got: one that somebody else ended."
            )
        child = _child(answer, time_limit_s)
        if child.ok:
            for path in written:
                path.write_bytes(self.link.read(f"{self._folder}/{names[path]}"))
        return child

    def _argument(self, argument: Argument) -> str:
        if isinstance(argument, Named):
            return f"{argument.name}={self._placed(argument.path)}"
        return self._placed(argument) if isinstance(argument, Path) else argument

    def _placed(self, path: Path) -> str:
        """Return where a file is on the device, after copying it there with what lies beside it."""
        if path in self.there:
            return self.there[path]
        beside = files_beside(path)
        digests = tuple(sha256(each) for each in (path, *beside))
        if digests not in self._sent:
            folder = PurePosixPath(self._folder) / digests[0][:16]
            for each in (path, *beside):
                self.link.send(each, str(folder / os.path.relpath(each, path.parent)))
            self._sent[digests] = str(folder / path.name)
        return self._sent[digests]


def _child(answer: Answer, time_limit_s: float) -> Child:
    # A shell in between tells of a signal as 128 and its number.
    number = answer.status - 128 if answer.status > 128 else -answer.status
    ending = "ok" if answer.ok else f"exit {answer.status}"
    if answer.status == _TIMED_OUT:
        ending = f"time limit of {time_limit_s:g} s"
    elif number > 0 and not answer.ok and (answer.status < 0 or answer.status > 128):
        known = number in set(signal.Signals)
        ending = f"killed by {signal.Signals(number).name if known else f'signal {number}'}"
    return Child(
        ending=ending,
        stdout=answer.stdout.decode("utf-8", "replace"),
        stderr=answer.stderr.decode("utf-8", "replace")[-65536:],
        wall_s=0.0,
        peak_memory_bytes=0,
    )
