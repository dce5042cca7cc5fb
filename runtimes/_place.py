"""Where an artifact is run: on this host, or elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from ..children import python
from ..figures import How
from ._runtime import Runtime


class Place(ABC):
    """Where the runner runs, started from this host.

    Attributes:
        how: how a figure that was taken there was obtained.
        timed: whether the time that an inference takes there is a latency.
    """

    how: How
    timed: bool

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
    def command(self, arguments: Sequence[str | Path], folder: Path, counts: Path | None = None) -> list[str | Path]:
        """Return the command on this host that runs the Python there with ``arguments``.

        Args:
            arguments: of Python; files are named by absolute paths here.
            folder: an empty folder of this host for the files of this run.
            counts: where the counts of instructions are written at each mark (``read_instructions``); None for no
                counting.
        """


class Here(Place):
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

    def command(self, arguments: Sequence[str | Path], folder: Path, counts: Path | None = None) -> list[str | Path]:
        """Return the command of this interpreter."""
        return python(*arguments)


HERE = Here()
