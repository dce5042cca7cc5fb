"""What an emulator is built of: Debian's files for arm64, and the plugin that counts."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..children import Child, python, run_child
from ..errors import DeviceError, MissingRequirement
from ..held import temporary_folder
from ._emulated import QEMU, Emulated
from ._instructions import read_instructions
from ._wheels import WheelTarget, network_failed, readable, told

# Raspberry Pi OS bookworm, 64 bit, is this Debian.
SUITE = "bookworm"
PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libc6", "libstdc++6", "libgomp1")
# Bookworm's Python and glibc.
TARGET = WheelTarget("aarch64", (2, 36), (3, 11))
PLUGIN_SOURCE = Path(__file__).with_name("_instructions.c")
# By command, the Debian package that brings it.
TOOLS = {"mmdebstrap": "mmdebstrap", QEMU: "qemu-user", "gcc": "gcc"}
# What goes into a program's prefix; the rest of Debian's files is left out.
_KEPT = ("lib", "usr")
_UNUSED = tuple(f"share/{name}" for name in ("doc", "info", "locale", "man", "perl", "perl5", "zoneinfo"))
SAME_PYTHON = sys.version_info[:2] == TARGET.python
TIME_LIMIT_S, TRIAL_LIMIT_S = 900.0, 120.0
_RUNNER = Path(__file__).absolute().with_name("_runner.py")
_TRIAL = "import ctypes; mark = ctypes.CDLL(None).syscall; [mark(0x7E57, number) for number in (0, 1, 0, 1)]"


def missing_tools(tools: Mapping[str, str] = TOOLS, *, pip: bool = True) -> str:
    """Return what is missing to build an emulator, as an error says it; empty where nothing is.

    Args:
        tools: by command, the Debian package that brings it.
        pip: whether wheels are fetched.
    """
    if sys.platform != "linux":
        return f"Expected Linux, for QEMU's user mode. Got: {platform.system()}."
    missing = [name for name in tools if shutil.which(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(tools[name] for name in missing))
        return (
            f"Expected the programs {', '.join(tools)} on the PATH. Got: no {' and no '.join(missing)}. "
            f"Install what is missing on Debian or Ubuntu: apt-get install {packages}"
        )
    if pip and importlib.util.find_spec("pip") is None:
        return f"Expected pip in this Python, to fetch aarch64 wheels. Got: none in {sys.prefix}."
    return ""


def extract_root(root: Path, mirror: str | None) -> None:
    """Unpack Debian's Python for arm64 into ``root``; see ``unpack_debian``."""
    unpack_debian(root, PACKAGES, mirror)
    for path in root.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if SAME_PYTHON:
        # What the emulated Python would compile, slowly, in its first runs, whose counts then differed by 0.1 %.
        run_child(python("-m", "compileall", "-q", root / "usr" / "lib" / "python3.11"), time_limit_s=TIME_LIMIT_S)


def unpack_debian(root: Path, packages: Sequence[str], mirror: str | None, *options: str) -> None:
    """Unpack Debian's packages for arm64 into ``root``; no program of it is run, and no right of root's is needed.

    Args:
        root: is made.
        packages: what they need is unpacked too; documentation and translations are left out.
        mirror: of Debian, a URL; by default the one that this host's apt uses.
        options: more of mmdebstrap's.

    Raises:
        MissingRequirement: apt knows no mirror of Debian, or unpacking fails.
        DeviceError: the mirror cannot be reached.
    """
    # Nothing is installed, so of mmdebstrap's ways the plainest is enough: no namespace, chroot or fakeroot.
    command = ["mmdebstrap", "--mode=chrootless", "--variant=extract", "--architectures=arm64", *options]
    command += [f"--include={','.join(packages)}", SUITE, str(root), *_sources(mirror)]
    child = run_child(readable(command), time_limit_s=TIME_LIMIT_S)
    if not child.ok:
        raise _failure(child, f"mmdebstrap to unpack Debian {SUITE} for arm64", "the mirror that apt uses")
    for name in _UNUSED:
        shutil.rmtree(root / "usr" / name, ignore_errors=True)


def _sources(mirror: str | None) -> list[str]:
    """Return apt's lines for the suite, at the mirror given or those of this host's apt."""
    if mirror:
        return [f"deb {mirror} {SUITE} main"]
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return _debian_lines(done.stdout)


def _debian_lines(targets: str) -> list[str]:
    """Return apt's lines for the suite from what this host's apt fetches, of whatever release of Debian.

    >>> _debian_lines("Packages main trixie http://mirror/debian/" + chr(10) + "Packages main trixie-pgdg http://else/")
    ['deb http://mirror/debian/ bookworm main']

    Raises:
        MissingRequirement: none of it is Debian.
    """
    lines: dict[str, str] = {}
    for target in targets.splitlines():
        created_by, component, release, *uri = target.split()
        path = uri[0].rstrip("/").rsplit("/", 1)[-1] if uri else ""
        if created_by != "Packages" or component != "main":
            continue
        if path == "debian" and "-" not in release:
            lines.setdefault("main", f"deb {uri[0]} {SUITE} main")
        elif path == "debian-security" and release.endswith("-security"):
            lines.setdefault("security", f"deb {uri[0]} {SUITE}-security main")
    if "main" not in lines:
        raise MissingRequirement(
            "Expected a mirror of Debian among the sources of this host's apt. Got: none. Name one with --mirror URL."
        )
    return list(lines.values())


def _failure(child: Child, what: str, where: str) -> MissingRequirement | DeviceError:
    if network_failed(child):
        return DeviceError(f"Expected {what}. Got: no answer from {where}: {told(child)}")
    return MissingRequirement(f"Expected {what}. Got: {told(child)}")


def plugin_interface() -> int:
    """Return the version of the plugin interface that the installed QEMU has, or 0 where there is none."""
    if shutil.which(QEMU) is None:
        return 0
    told = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", told)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return 1 if version < (9, 0) else 2 if version < (9, 1) else 3


def compile_plugin(path: Path) -> None:
    """Compile the plugin that counts instructions, for the installed QEMU.

    Raises:
        MissingRequirement: gcc fails.
    """
    command = ["gcc", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", f"-DINTERFACE={plugin_interface()}"]
    child = run_child([*command, "-o", path, PLUGIN_SOURCE], time_limit_s=120)
    if not child.ok:
        raise MissingRequirement(f"Expected gcc to compile {PLUGIN_SOURCE.name}. Got: {child.reason()}")


def try_out(places: Sequence[Emulated]) -> str:
    """Run the emulated Python once as each core; return why instructions are not counted, empty where they are.

    Raises:
        MissingRequirement: it does not run.
    """
    no_counts = ""
    with temporary_folder("trial") as folder:
        for place in places:
            child = run_child(place.command([_RUNNER, "--help"], folder), time_limit_s=TRIAL_LIMIT_S)
            if not child.ok:
                raise MissingRequirement(
                    f"Expected {QEMU} to run Debian's Python for arm64 as {place.type.cpu}. Got: {child.reason()}"
                )
            counts = folder / f"{place.core}.json"
            child = run_child(place.command(["-c", _TRIAL], folder, counts), time_limit_s=TRIAL_LIMIT_S)
            try:
                read_instructions(counts, [1], place.title, "", "")
            except (OSError, ValueError) as error:
                reason = str(error) if child.ok else child.reason()
                no_counts = f"this {QEMU} takes no plugin that counts (Debian 12's does): {reason}"
    return no_counts
