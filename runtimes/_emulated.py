"""An emulated Raspberry Pi as a place to run artifacts: the aarch64 wheels of the runtimes under QEMU's user mode."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingRequirement, nearest
from ..figures import How
from ..files import MANIFEST
from ._place import Argument, Local
from ._runtime import Runtime

QEMU = "qemu-aarch64"
PLUGIN = "instructions.so"
ROOT, WHEELS, CORES, PYTHON = "root", "wheels", "cores", "usr/bin/python3.11"


@dataclass(frozen=True)
class Core:
    """A core that can be emulated.

    Attributes:
        name: for the command line.
        title: what a report calls it.
        cpu: as QEMU and the profiles of devices name it.
        features, part, variant, revision: what Linux tells of it in /proc/cpuinfo, which runtimes choose kernels by.
    """

    name: str
    title: str
    cpu: str
    features: str
    part: int
    variant: int
    revision: int

    def cpuinfo(self) -> str:
        """Return /proc/cpuinfo of four such cores."""
        facts = {
            "BogoMIPS": "108.00",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": f"{self.variant:#x}",
            "CPU part": f"{self.part:#x}",
            "CPU revision": str(self.revision),
        }
        cores = [{"processor": str(number), **facts} for number in range(4)]
        return "\n".join("".join(f"{name}\t: {value}\n" for name, value in core.items()) for core in cores)


_PI4 = "fp asimd evtstrm crc32 cpuid"
_PI5 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CORE_TYPES = {
    "pi4": Core("pi4", "Raspberry Pi 4", "cortex-a72", _PI4, 0xD08, 0, 3),
    "pi5": Core("pi5", "Raspberry Pi 5", "cortex-a76", _PI5, 0xD0B, 4, 1),
}


@dataclass(frozen=True)
class Emulated(Local):
    """An emulated Raspberry Pi, whose files are in a folder that ``build_emulator`` made.

    It runs the program alone: without root, chroot or anything that is registered with the kernel. Files of this host
    are seen there by their own paths, unless the emulator has one of that path.

    Attributes:
        core: "pi4" or "pi5".
        folder: the emulator's.
    """

    core: str
    folder: Path

    how = How.EMULATED
    timed = False

    def __post_init__(self) -> None:
        """Check the core's name.

        Raises:
            InputError: there is no such core.
        """
        if self.core not in CORE_TYPES:
            known = ", ".join(CORE_TYPES)
            raise InputError(f"Expected a core: {known}. Got: {self.core!r}.{nearest(self.core, CORE_TYPES)}")

    @property
    def type(self) -> Core:
        """The core's facts."""
        return CORE_TYPES[self.core]

    @property
    def title(self) -> str:
        """What a report calls it."""
        return f"emulated {self.type.title}"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the emulator is made of."""
        return json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))

    @property
    def no_counts(self) -> str:
        """Why this QEMU does not count; empty where it does."""
        return self.manifest["no_counts"]

    def version(self, runtime: Runtime) -> str | None:
        """Return the version of a runtime's aarch64 wheel."""
        return self.manifest["wheels"].get(runtime.distribution)

    def command(self, arguments: Sequence[Argument], folder: Path, counts: Path | None = None) -> list[str | Path]:
        """Return the command that runs the emulated Python; see ``Local``.

        Raises:
            MissingRequirement: QEMU is not installed.
        """
        qemu = shutil.which(QEMU)
        if qemu is None:
            raise MissingRequirement(f"Expected {QEMU} on the PATH. Got: none. Install it: apt-get install qemu-user")
        # A count depends a little on where things lie in memory, and so on the environment and the names of files: the
        # first is the same each time, and files of the run are named in the folder. And what this host sets for its
        # own programs, of another architecture, is not for the emulated one.
        settings = {"PYTHONPATH": self.folder / WHEELS, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        command: list[str | Path] = ["env", "-i", "-C", folder, *(f"{name}={settings[name]}" for name in settings)]
        command += [*_fixed_addresses(), qemu, "-L", self.folder / CORES / self.type.cpu, "-cpu", self.type.cpu]
        if counts is not None:
            plugin, into = (str(path).replace(",", ",,") for path in (self.folder / PLUGIN, counts))
            command += ["-plugin", f"{plugin},out={into}"]
        # -S: this host's own packages are not looked for.
        command += [self.folder / ROOT / PYTHON, "-S", "-s"]
        return command + [
            argument.name if isinstance(argument, Path) and argument.parent == folder else str(argument)
            for argument in arguments
        ]


@cache
def _fixed_addresses() -> tuple[str, ...]:
    """Return the command that turns off the random placing of memory; nothing where it is not allowed."""
    setarch = shutil.which("setarch")
    if setarch is None:
        return ()
    tried = subprocess.run([setarch, "-R", "true"], capture_output=True, check=False)
    return (setarch, "-R") if tried.returncode == 0 else ()
