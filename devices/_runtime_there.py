"""Runtimes on a device: which Python and which runtimes it has, and putting one there that it lacks."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import runtimes
from ..errors import DeviceError
from ..runtimes import Runtime
from ._carried import ABOUT, Carried
from ._links import Link

FACTS, UNPACKING = (Path(__file__).with_name(f"_{name}.py") for name in ("python_facts", "unpacking"))
_SCHEMA = 1
# Builds of a runtime that have a name of their own, and the same modules.
_BUILDS = {"onnxruntime": ("onnxruntime-gpu",)}
# A small board unpacks from a slow card, and compiles at the first import.
_ASK_S, _INSTALL_S = 60.0, 3600.0
_NOT_FOUND, _REFUSED = 127, 1
# Renamed first: what is removed halfway is no runtime.
_REMOVE = """
folder="$1"; shift
for each in "$folder"/*/; do
  name=$(basename -- "$each")
  [ -f "$each/$ABOUT" ] || continue
  for kept in "$@"; do [ "$name" = "$kept" ] && continue 2; done
  mv -- "$folder/$name" "$folder/.part-$$-$name" && rm -rf -- "$folder/.part-$$-$name" && echo "$name" || exit 1
done
"""


@dataclass(frozen=True)
class PythonThere:
    """A Python of a device with the packages that it finds: its own, or those in one folder.

    Attributes:
        executable: its path.
        version: such as "3.11.2".
        implementation: "cpython" for the usual one.
        machine: what its extensions are built for, such as aarch64; armv7l of a 32-bit system on a 64-bit kernel.
        libc: "glibc 2.36", "musl", or empty where it is neither.
        home: the user's home folder.
        folder: for PYTHONPATH; empty for what the Python finds by itself.
        distributions: NumPy's version and the runtimes', by the distribution's name.
    """

    executable: str
    version: str
    implementation: str
    machine: str
    libc: str
    home: str
    folder: str
    distributions: dict[str, str]

    @property
    def too_old(self) -> bool:
        """Whether the runner does not run on it, which needs Python 3.7."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2]) < (3, 7)

    @property
    def numpy(self) -> str | None:
        """NumPy's version, or None."""
        return self.distributions.get("numpy")

    def version_of(self, runtime: Runtime) -> str | None:
        """Return a runtime's version, or None where it is not installed."""
        name = _plain(runtime.distribution)
        found = (self.distributions.get(each) for each in (name, *_BUILDS.get(name, ())))
        return next((version for version in found if version), None)


def pythons(link: Link, python: str = "python3") -> tuple[PythonThere, ...]:
    """Return the Python of a device: once with its own packages, then once with each runtime that was put there.

    Nothing is imported but the standard library. One that is too old is among them (``PythonThere.too_old``).

    Args:
        link: to the device.
        python: the command of its Python.

    Returns:
        Them all; none where there is no such command.

    Raises:
        DeviceError: the link broke, or its Python does not run.
    """
    adapters = [runtimes.get(name) for name in runtimes.names()]
    names = sorted({_plain(adapter.distribution) for adapter in adapters if not adapter.referee})
    asked = ["numpy", *names, *(build for name in names for build in _BUILDS.get(name, ()))]
    answer = link.run([python, "-", *asked], stdin=FACTS, time_limit_s=_ASK_S)
    if answer.status == _NOT_FOUND:
        return ()
    told = answer.stdout.decode("utf-8", "replace")
    try:
        document = json.loads(told)
        if not answer.ok or document.pop("schema") != _SCHEMA:
            raise ValueError
        return tuple(PythonThere(**document, **place) for place in document.pop("places"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        got = told.strip()[:120] if answer.ok else answer.reason()
        raise DeviceError(f"Expected {python} on {link.title} to say what it is. Got: {got!r}.") from error


def with_runtime(found: Sequence[PythonThere], runtime: Runtime) -> PythonThere | None:
    """Return the first that has a runtime and NumPy, and is not too old; None where there is none."""
    ready = (each for each in found if each.version_of(runtime) and each.numpy and not each.too_old)
    return next(ready, None)


def runtimes_folder(home: str) -> str:
    """Return the folder of a device that runtimes are put into."""
    return str(PurePosixPath(home) / "edgewright" / "runtimes")


def install(link: Link, carried: Carried, home: str, *, python: str = "python3") -> str:
    """Put a runtime onto a device, whole or not at all, and see that it imports there; return its folder.

    The device needs that Python alone: no pip, no internet, and room for the packages but not for the archive, which is
    unpacked as it arrives. What an earlier try left there is removed. One that is there already is not sent again.

    Args:
        link: to the device.
        carried: the runtime, for that Python.
        home: the user's home folder there.
        python: the command of its Python.

    Returns:
        The folder, as PYTHONPATH takes it.

    Raises:
        DeviceError: the link broke; too little room there, or no right to write; the runtime does not import there.
    """
    folder = runtimes_folder(home)
    final = f"{folder}/{carried.key}"
    if link.run(["test", "-f", f"{final}/{ABOUT}"]).ok:
        return final
    # Neither the folder that one logs in to nor the user's settings change what it imports.
    command = [python, "-I", "-c", UNPACKING.read_text(encoding="utf-8"), folder]
    command += [carried.key, carried.digest, str(carried.room_bytes), carried.module]
    answer = link.run(command, stdin=carried.archive, time_limit_s=_INSTALL_S)
    if not answer.ok:
        left = "; nothing of it was left there" if answer.status == _REFUSED else ""
        got = answer.reason().removeprefix(f"exit {_REFUSED}: ").rstrip(".")
        raise DeviceError(f"Expected {link.title} to take {carried.key}. Got: {got}{left}.")
    return final


def remove_unused(link: Link, home: str, keep: Collection[str]) -> tuple[str, ...]:
    """Remove the runtimes that were put onto a device, but for those of some keys; return the keys of the removed.

    Raises:
        DeviceError: the link broke, or one cannot be removed.
    """
    script = _REMOVE.replace("$ABOUT", ABOUT)
    answer = link.run(["sh", "-c", script, "sh", runtimes_folder(home), *keep], time_limit_s=_INSTALL_S)
    if not answer.ok:
        raise DeviceError(f"Expected {link.title} to remove runtimes. Got: {answer.reason()}.")
    return tuple(answer.stdout.decode("utf-8", "replace").split())


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
