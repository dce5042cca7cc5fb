"""A Python of a device, with the runtimes that it finds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..runtimes import Runtime
from ..runtimes._place import QUIET

# What the runner needs.
OLDEST = (3, 7)
# Builds of a runtime that have a name of their own, and the same modules.
BUILDS = {"onnxruntime": ("onnxruntime-gpu",)}


@dataclass(frozen=True)
class Python:
    """A Python of a device with the packages that it finds: its own, or those in one folder.

    Attributes:
        command: what starts it there.
        path: the folder that its runtimes are imported from, for PYTHONPATH; empty for what it finds by itself.
        version: such as "3.11.2".
        machine: what its extensions are built for, such as aarch64; armv7l of a 32-bit system on a 64-bit kernel.
        libc: "glibc 2.36", "musl", or empty where it is neither.
        distributions: NumPy's version and the runtimes', by the distribution's name.
        implementation: "cpython" for the usual one.
        home: the user's home folder there.
    """

    command: str
    path: str
    version: str
    machine: str
    libc: str
    distributions: Mapping[str, str]
    implementation: str = "cpython"
    home: str = ""

    @property
    def too_old(self) -> bool:
        """Whether the runner does not run on it, which needs Python 3.7."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2]) < OLDEST

    @property
    def numpy(self) -> str | None:
        """NumPy's version, or None."""
        return self.distributions.get("numpy")

    def version_of(self, runtime: Runtime) -> str | None:
        """Return a runtime's version, or None where it is not installed."""
        name = plain_name(runtime.distribution)
        found = (self.distributions.get(each) for each in (name, *BUILDS.get(name, ())))
        return next((version for version in found if version), None)

    def arguments(self) -> list[str]:
        """Return the command, with the variables that it needs."""
        variables = {**QUIET, **({"PYTHONPATH": self.path} if self.path else {})}
        return ["env", *(f"{name}={value}" for name, value in variables.items()), self.command]


def plain_name(distribution: str) -> str:
    """Return a distribution's name as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
