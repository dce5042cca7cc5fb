"""The emulated Raspberry Pi on this host's disk: where it is, which versions it has, and its building."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import MissingRequirement
from ..files import MANIFEST, is_ours, new_folder, new_manifest, write_json
from ._emulated import CORE_TYPES, CORES, PLUGIN, ROOT, WHEELS, Emulated
from ._emulator_parts import (
    PACKAGES,
    PLUGIN_SOURCE,
    SAME_PYTHON,
    SUITE,
    TARGET,
    compile_plugin,
    extract_root,
    missing_tools,
    plugin_interface,
    try_out,
)
from ._runner import LOADERS
from ._wheels import install_wheels, versions_in

VARIABLE = "EDGEWRIGHT_EMULATOR"
_KIND, _SCHEMA = "emulator", 1
OnStep = Callable[[str, float], None]


@dataclass(frozen=True)
class Emulator:
    """One finished emulator.

    Attributes:
        folder: where it is.
        wheels: the versions of the aarch64 wheels by distribution.
        no_counts: why it does not count instructions; empty where it does.
        differs: what differs from the runtimes installed here, as sentences; empty where nothing does.
    """

    folder: Path
    wheels: dict[str, str]
    no_counts: str
    differs: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, with its size on the disk."""
        return {
            "folder": str(self.folder),
            "size_bytes": sum(path.lstat().st_size for path in self.folder.rglob("*") if not path.is_dir()),
            "wheels": self.wheels,
            "no_counts": self.no_counts,
            "differs": list(self.differs),
        }


def emulator_folder(folder: Path | None = None) -> Path:
    """Return the folder that emulators are kept in: ``folder``, or $EDGEWRIGHT_EMULATOR, or the user's cache."""
    if folder is not None:
        return folder.absolute()
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "edgewright" / "emulator"


def find_emulator(folder: Path | None = None) -> Emulator | None:
    """Return the emulator with the runtimes of this host; where there is none, the last that was built; or None.

    Args:
        folder: where emulators are kept; see ``emulator_folder``.
    """
    folder = emulator_folder(folder)
    wanted = folder / _key()
    if is_ours(wanted):
        return _emulator(wanted)
    others = [path for path in folder.glob("pi-*") if is_ours(path)]
    return _emulator(max(others, key=lambda path: path.stat().st_mtime)) if others else None


def build_emulator(folder: Path | None = None, *, mirror: str | None = None, on_step: OnStep | None = None) -> Emulator:
    """Build the emulator with the runtimes that are installed here, unless there is one.

    Debian's Python for arm64 is unpacked, without root and without running any of its scripts; the aarch64 wheels of
    the runtimes are put beside it; the plugin that counts instructions is compiled. It appears whole or not at all:
    what a killed build left is removed by the next.

    Args:
        folder: where emulators are kept; see ``emulator_folder``.
        mirror: of Debian, a URL; by default the one that this host's apt uses.
        on_step: called with what begins, and how much was done before it, 0 to 1.

    Raises:
        MissingRequirement: a tool is missing; no room, or no right to write; the emulated Python does not run here.
        DeviceError: what is needed could not be fetched.
    """
    report = on_step or (lambda step, share: None)
    if missing := missing_tools():
        raise MissingRequirement(missing)
    final = emulator_folder(folder) / _key()
    build_once(final, report, lambda made: _fill(made, mirror, report))
    return _emulator(final)


def build_once(final: Path, report: OnStep, fill: Callable[[Path], None]) -> None:
    """Build a folder unless it is there, one at a time; what killed builds of its kind left is removed first.

    Args:
        final: the folder, whose name begins with its kind and a dash.
        report: told of the wait for another build.
        fill: puts what belongs into a folder that then becomes the final one.
    """
    with _alone(final.parent, report):
        if not is_ours(final):
            for left in final.parent.glob(f".{final.name.partition('-')[0]}-*"):
                shutil.rmtree(left, ignore_errors=True)
            with new_folder(final) as made:
                fill(made)


def _fill(folder: Path, mirror: str | None, report: OnStep) -> None:
    report("root file system", 0.0)
    extract_root(folder / ROOT, mirror)
    report("runtimes", 0.3)
    wheels = _wanted()
    # Of NumPy the newest up to this host's that the emulated Python has.
    exact = [f"{name}{'<=' if name == 'numpy' else '=='}{version}" for name, version in wheels.items()]
    install_wheels(folder / WHEELS, exact, TARGET, compile=SAME_PYTHON)
    report("instruction counter", 0.9)
    compile_plugin(folder / PLUGIN)
    for core in CORE_TYPES.values():
        # QEMU looks below this folder for each file that the program opens, and then on the host.
        prefix = folder / CORES / core.cpu
        (prefix / "proc").mkdir(parents=True)
        (prefix / "proc" / "cpuinfo").write_text(core.cpuinfo(), encoding="utf-8")
        for name in ("lib", "usr"):
            (prefix / name).symlink_to(Path("../..") / ROOT / name)
    manifest = {**new_manifest(_KIND, _SCHEMA), "suite": SUITE, "wheels": versions_in(folder / WHEELS), "no_counts": ""}
    write_json(folder / MANIFEST, manifest)
    report("trial", 0.95)
    manifest["no_counts"] = try_out([Emulated(core, folder) for core in CORE_TYPES])
    write_json(folder / MANIFEST, manifest)


def _emulator(folder: Path) -> Emulator:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    differs = tuple(
        f"{name} is {manifest['wheels'].get(name, 'missing')} in the emulator and {version} here"
        for name, version in _wanted().items()
        if manifest["wheels"].get(name) != version
    )
    return Emulator(folder, manifest["wheels"], manifest["no_counts"], differs)


def _wanted() -> dict[str, str]:
    """Return the distributions whose numbers are compared, runtimes and NumPy, with their versions here."""
    from . import get

    runtimes = [get(name) for name in LOADERS]
    versions = {runtime.distribution: runtime.version() for runtime in runtimes if not runtime.referee}
    found = {name: version for name, version in versions.items() if version is not None}
    return {**dict(sorted(found.items())), "numpy": metadata.version("numpy")}


def _key() -> str:
    """Return the name of the emulator that this host's versions make."""
    parts = {
        "schema": _SCHEMA,
        "suite": SUITE,
        "packages": PACKAGES,
        "wheels": _wanted(),
        "cores": [core.cpuinfo() for core in CORE_TYPES.values()],
        "plugin": PLUGIN_SOURCE.read_text(encoding="utf-8"),
        "interface": plugin_interface(),
    }
    return f"pi-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"


@contextmanager
def _alone(folder: Path, report: OnStep) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back from a process that is killed.

    Raises:
        MissingRequirement: nothing can be written there.
    """
    import fcntl  # Linux has it, and nothing else builds an emulator

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise MissingRequirement(
            f"Expected a folder that can be written, for the emulator. Got: {folder}: {error.strerror}. "
            f"Name another with --folder or in ${VARIABLE}."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("wait for another build", 0.0)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
