"""Where an artifact is run: on this host, or elsewhere."""

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..children import Child, python, run_child
from ..figures import How
from ._runtime import Runtime

RUNNER = Path(__file__).absolute().with_name("_runner.py")


@dataclass(frozen=True)
class Named:
    """A file and the name that the runner is told with it, as NAME=FILE."""

    name: str
    path: Path

    def __str__(self) -> str:
        """Return the runner's argument."""
        return f"{self.name}={self.path}"


Argument: TypeAlias = str | Path | Named


# TensorFlow's C++ part says much on stderr, where the reason of a failure is looked for.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}


class Place(ABC):
    """Where the runner runs, started from this host.

    Attributes:
        how: how a figure that was taken there was obtained.
        timed: whether the time that an inference takes there is a latency.
    """

    how: How
    timed: bool

    @abstractmethod
    def conditions(self) -> dict[str, Any]:
        """Return what latencies there depend on and what does not move, as far as the system tells."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What a report calls it."""

    @property
    def no_counts(self) -> str:
        """Why instructions are not counted there; empty where they are."""
        return f"instructions are counted under emulation alone, not on {self.title}"

    @abstractmethod
    def version(self, runtime: Runtime) -> str | None:
        """Return the version of a runtime there, or None where it is not installed."""

    @abstractmethod
    def run(
        self,
        arguments: Sequence[Argument],
        folder: Path,
        counts: Path | None = None,
        *,
        time_limit_s: float,
        memory_limit_bytes: int,
    ) -> Child:
        """Run the Python there with ``arguments`` to its end or to its limits.

        Args:
            arguments, folder, counts: see ``Local.command``. Files that exist are read, the others are written.
            time_limit_s, memory_limit_bytes: of the process there.

        Raises:
            DeviceError: a device or the way to it failed.
        """


class Local(Place):
    """A place whose processes are children of this one."""

    def conditions(self) -> dict[str, Any]:
        """Return those of this host; see ``Place.conditions``."""
        cpu = next(
            (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
            platform.processor() or platform.machine(),
        )
        governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
        return {
            "cpu": cpu,
            "cores": os.cpu_count(),
            "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "governor": next(iter(_lines(governor)), None),
        }

    def run(
        self,
        arguments: Sequence[Argument],
        folder: Path,
        counts: Path | None = None,
        *,
        time_limit_s: float,
        memory_limit_bytes: int,
    ) -> Child:
        """Run it as a child process; see ``Place.run``."""
        return run_child(
            self.command(arguments, folder, counts),
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            environment=QUIET,
        )

    @abstractmethod
    def command(self, arguments: Sequence[Argument], folder: Path, counts: Path | None = None) -> list[str | Path]:
        """Return the command on this host that runs the Python there with ``arguments``.

        Args:
            arguments: of Python; files are named by absolute paths here.
            folder: an empty folder of this host for the files of this run.
            counts: where the counts of instructions are written at each mark (``read_instructions``); None for no
                counting.
        """


class Here(Local):
    """This host, in the Python that runs."""

    how = How.MEASURED_HERE
    timed = True

    @property
    def title(self) -> str:
        """What a report calls it."""
        return "this host"

    def version(self, runtime: Runtime) -> str | None:
        """Return the version installed here."""
        return runtime.version()

    def command(self, arguments: Sequence[Argument], folder: Path, counts: Path | None = None) -> list[str | Path]:
        """Return the command of this interpreter."""
        return python(*map(str, arguments))


HERE = Here()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
