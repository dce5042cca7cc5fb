"""Wheels of distributions for another Python and machine, fetched by this host's pip; nothing of them is run."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

from ..children import Child, python, run_child, run_together
from ..errors import DeviceError, MissingRequirement
from ..held import temporary_folder

_TIME_LIMIT_S, _ASK_LIMIT_S = 900.0, 60.0
# How often pip is asked again with what its own Python does not need and the other one does.
_MOST_ROUNDS = 4
# The names that manylinux tags had before they were called by glibc's version (PEP 600).
_OLD_TAGS = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
# The Pythons whose wheels are looked for, to say which there are.
_MINORS, _AT_ONCE = range(7, 15), 4
# What pip says when it begins with a distribution, with what it needs before it fetches it, and with its wheel.
_COLLECTING = re.compile(r"^\s*Collecting ([\w.-]+)")
_METADATA = re.compile(r"\.whl\.metadata\b")
_WHEEL = re.compile(r"^\s*(?:Downloading|Using cached) (?:\S*/)?([^-/\s]+)-([^-\s]+)-\S+\.whl(?: (\([^)]*\)))?\s*$")
# What pip, and apt, say where the network is the trouble.
_NETWORK = re.compile(
    r"could not resolve|temporary failure|name or service not known|failed to fetch|unable to connect|"
    r"connection (refused|timed out|failed|broken|reset)|could not connect|network is unreachable|newconnectionerror|"
    r"connecttimeout|proxyerror|max retries|read timed out|cannot connect",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class WheelTarget:
    """The CPython on Linux that wheels are for.

    Attributes:
        machine: as ``uname -m`` has it, or as its programs are: armv7l of a 32-bit system on a 64-bit kernel.
        glibc: its version, such as (2, 36).
        python: its version, such as (3, 11).
    """

    machine: str
    glibc: tuple[int, int]
    python: tuple[int, int]

    def __str__(self) -> str:
        """Return it for a message."""
        return "CPython {}.{} on {} with glibc {}.{}".format(*self.python, self.machine, *self.glibc)

    @property
    def name(self) -> str:
        """The Python and the machine, for a file's name: cp311-aarch64."""
        return "cp{}{}-{}".format(*self.python, self.machine)

    def options(self) -> list[str]:
        """Return pip's options for it."""
        major, minor = self.python
        # pip adds no older ones to these by itself, so all are named, the newest first: its order of preference.
        platforms = list(self._platforms())
        abis = [f"cp{major}{minor}", *([f"cp{major}{minor}m"] if self.python < (3, 8) else []), "abi3", "none"]
        options = ["--python-version", f"{major}.{minor}", "--implementation", "cp", "--only-binary=:all:"]
        options += [text for abi in abis for text in ("--abi", abi)]
        return options + [text for platform in platforms for text in ("--platform", platform)]

    def _platforms(self) -> Iterator[str]:
        major, newest = self.glibc
        for minor in range(newest, 4, -1):
            yield f"manylinux_{major}_{minor}_{self.machine}"
            if minor in _OLD_TAGS:
                yield f"{_OLD_TAGS[minor]}_{self.machine}"
        yield f"linux_{self.machine}"  # of an index for one system, such as piwheels for the 32-bit Raspberry Pi OS

    def environment(self) -> dict[str, str]:
        """Return what the conditions in a distribution's requirements ask for (PEP 508)."""
        version = "{}.{}".format(*self.python)
        return {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "platform_python_implementation": "CPython",
            "platform_machine": self.machine,
            "platform_system": "Linux",
            "sys_platform": "linux",
            "os_name": "posix",
            "extra": "",
        }


class _Wheels:
    """Which wheel pip is at, by what it prints.

    How many there are it knows before the first one where the index tells what each needs without it (PEP 658).
    """

    def __init__(self, on_wheel: Callable[[str], None]) -> None:
        self._on_wheel = on_wheel
        self._collected: set[str] = set()
        self._known, self._count = False, 0

    def line(self, text: str) -> None:
        """Take a line of pip's."""
        if found := _COLLECTING.match(text):
            self._collected.add(found[1])
        elif _METADATA.search(text):
            self._known = True
        elif found := _WHEEL.match(text):
            self._count += 1
            total = f" of {max(self._count, len(self._collected))}" if self._known else ""
            size = f" {found[3]}" if found[3] else ""
            self._on_wheel(f"wheel {self._count}{total}: {found[1]} {found[2]}{size}")


def install_wheels(
    folder: Path,
    requirements: Sequence[str],
    target: WheelTarget,
    *,
    compile: bool = False,
    on_wheel: Callable[[str], None] | None = None,
) -> None:
    """Put the wheels of distributions, and of what they need, into ``folder``.

    pip judges the conditions in requirements by the Python that it runs in (pip's issue 11664). So what is there is
    gone through again by the target's, and pip is asked once more with what that one lacks.

    Args:
        folder: is made, or emptied.
        requirements: as pip takes them, such as ``numpy<2``.
        target: which Python they are for.
        compile: whether pip compiles them, for the Python that runs here.
        on_wheel: told which wheel is being fetched, such as "wheel 2 of 7: numpy 2.4.6 (16.0 MB)", from another thread.

    Raises:
        MissingRequirement: there is no such wheel, or no room.
        DeviceError: they cannot be fetched.
    """
    asked = list(requirements)
    for _ in range(_MOST_ROUNDS):
        shutil.rmtree(folder, ignore_errors=True)
        command = python("-m", "pip", "install", "--disable-pip-version-check", "--target", folder)
        command += ["--progress-bar", "off"] if on_wheel else ["--quiet"]
        command += [*target.options(), *([] if compile else ["--no-compile"]), *asked]
        on_line = _Wheels(on_wheel).line if on_wheel else None
        # What it prints of its steps comes with its errors, which are read while it runs.
        command = ["sh", "-c", 'exec "$@" >&2', "sh", *readable(command)]
        child = run_child(command, time_limit_s=_TIME_LIMIT_S, on_line=on_line)
        if not child.ok:
            raise _refusal(child, requirements, target)
        lacking = [text for text in unmet(folder, target) if text not in asked]
        if not lacking:
            return
        asked += lacking
    raise MissingRequirement(f"Expected wheels of {', '.join(asked)} that go together, for {target}. Got: none.")


def readable(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command whose files all may read, whatever this user's umask is: another user of a device reads them."""
    return ["sh", "-c", 'umask 022 && exec "$@"', "sh", *command]


def unmet(folder: Path, target: WheelTarget) -> list[str]:
    """Return what the distributions in ``folder`` need on the target and is not there, as pip takes it."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    there = {canonicalize_name(name): version for name, version in versions_in(folder).items()}
    found = []
    for distribution in metadata.distributions(path=[str(folder)]):
        for each in map(Requirement, distribution.requires or ()):
            if each.marker and not each.marker.evaluate(target.environment()):
                continue
            version = there.get(canonicalize_name(each.name))
            if version is None or not each.specifier.contains(version, prereleases=True):
                found.append(f"{each.name}{each.specifier}")
    return sorted(set(found))


def versions_in(folder: Path) -> dict[str, str]:
    """Return the versions of the distributions in a folder, by name, sorted."""
    found = {each.name: each.version for each in metadata.distributions(path=[str(folder)])}
    return dict(sorted(found.items()))


def network_failed(child: Child) -> bool:
    """Return whether apt or pip failed for the network."""
    return bool(_NETWORK.search(child.stderr))


def told(child: Child) -> str:
    """Return why apt or pip failed, in its own words."""
    lines = [line.strip() for line in child.stderr.splitlines() if re.match(r"\s*(E:|ERROR:|W: Failed)", line)]
    return " ".join(lines[:2])[:600] or child.reason()


def _refusal(child: Child, requirements: Sequence[str], target: WheelTarget) -> MissingRequirement | DeviceError:
    expected = f"Expected pip to fetch the wheels of {', '.join(requirements)} for {target}."
    lacking = re.search(r"No matching distribution found for (([\w.-]+).*)", child.stderr)
    if network_failed(child):
        return _no_answer(expected, child)
    if not lacking:
        return MissingRequirement(f"{expected} Got: {told(child)}")
    asked, name = lacking[1].strip(), lacking[2]
    if there := _listed(child):
        return MissingRequirement(f"{expected} Got: no {asked}, only {_most(there)}.")
    others = [(3, minor) for minor in _MINORS if (3, minor) != target.python]
    asking = [partial(_ask, name, replace(target, python=each)) for each in others]
    answers = run_together(asking, _AT_ONCE)
    if silent := [answer for answer in answers if network_failed(answer)]:
        return _no_answer(expected, silent[0])
    pythons = ["{}.{}".format(*each) for each, answer in zip(others, answers, strict=True) if _listed(answer)]
    if pythons:
        got = f"no wheel of {name} for that Python; there are for {', '.join(pythons)}"
    else:
        glibc = ".".join(map(str, target.glibc))
        got = f"no wheel of {name} for {target.machine} with glibc {glibc}, for any Python"
    return MissingRequirement(f"{expected} Got: {got}.")


def _no_answer(expected: str, child: Child) -> DeviceError:
    return DeviceError(f"{expected} Got: no answer from the package index: {told(child)}")


def _ask(name: str, target: WheelTarget) -> Child:
    """Ask pip for a version that is none, so that it lists those that there are wheels of."""
    # Its command for that counts sources too. That an index does not answer it tells when it tries again, if once.
    with temporary_folder("wheels") as folder:
        command = python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", "--no-deps")
        command += ["--target", folder, *target.options(), f"{name}<0"]
        return run_child(command, time_limit_s=_ASK_LIMIT_S)


def _listed(child: Child) -> list[str]:
    """Return the versions that pip said there are, the newest first."""
    found = re.search(r"\(from versions: ([^)]+)\)", child.stderr)
    return [] if found is None or found[1] == "none" else found[1].split(", ")[::-1]


def _most(versions: Sequence[str], most: int = 8) -> str:
    return ", ".join(versions[:most]) + (f" and {len(versions) - most} older ones" if len(versions) > most else "")
