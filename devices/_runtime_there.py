"""Putting a runtime onto a device that lacks it, and removing those that nothing uses."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..errors import DeviceError
from ..runtimes import Runtime
from ._carried import ABOUT, Carried, wheels_for
from ._found import asked
from ._links import Link
from ._python import Python, plain_name

# Told what begins, in words, and how much of the whole is done, 0 to 1.
OnStep = Callable[[str, float], None]
UNPACKING = Path(__file__).with_name("_unpacking.py")
# A small board unpacks from a slow card, and compiles at the first import.
_INSTALL_S = 3600.0
_REFUSED = 1
# Of the whole, what is done when all is fetched, and when all has arrived there.
_FETCHED, _ARRIVED = 0.5, 0.9
_MB = 1_000_000
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


def runtimes_folder(home: str) -> str:
    """Return the folder of a device that runtimes are put into."""
    return str(PurePosixPath(home) / "edgewright" / "runtimes")


def install(link: Link, carried: Carried, home: str, *, python: str = "python3", on_step: OnStep | None = None) -> str:
    """Put a runtime onto a device, whole or not at all, and see that it imports there; return its folder.

    The device needs that Python alone: no pip, no internet, and room for the packages but not for the archive, which is
    unpacked as it arrives. What an earlier try left there is removed. One that is there already is not sent again.

    Args:
        link: to the device.
        carried: the runtime, for that Python.
        home: the user's home folder there.
        python: the command of its Python.
        on_step: told how much of it has been sent, as far as the link can tell, and when the device unpacks the rest.

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
    with link.telling(carried.archive_bytes, on_step and _sending(carried, on_step)):
        answer = link.run(command, stdin=carried.archive, time_limit_s=_INSTALL_S)
    if not answer.ok:
        left = "; nothing of it was left there" if answer.status == _REFUSED else ""
        got = answer.reason().removeprefix(f"exit {_REFUSED}: ").rstrip(".")
        raise DeviceError(f"Expected {link.title} to take {carried.key}. Got: {got}{left}.")
    return final


def _sending(carried: Carried, on_step: OnStep) -> Callable[[int, float], None]:
    """Return what tells of so many bytes of the archive sent."""
    whole = carried.archive_bytes

    def told(sent: int, share: float) -> None:
        text = f"carry {carried.runtime}, {sent / _MB:.1f} of {whole / _MB:.1f} MB"
        on_step("unpack and import it there" if share == 1 else text, _FETCHED + (_ARRIVED - _FETCHED) * share)

    return told


def provide(
    link: Link,
    own: Python,
    runtime: Runtime,
    version: str | None = None,
    cache: Path | None = None,
    on_step: OnStep | None = None,
) -> Python:
    """Fetch a runtime and its NumPy here for a device's Python, put them there, and return the Python that has them.

    Args:
        link: to the device.
        own: its Python.
        runtime: which.
        version: of its distribution; by default what ``wheels_for`` takes.
        cache: where runtimes to carry are kept; see ``carried_folder``.
        on_step: told which wheel is being fetched, and what ``install`` tells.

    Raises:
        DeviceError: see ``install``; the package index cannot be reached.
        MissingRequirement: there is no such wheel for it; no room here.
    """
    asked_for = (runtime, version, own.machine, own.libc, own.version, own.implementation, cache)
    carried = wheels_for(*asked_for, on_wheel=on_step and (lambda wheel: on_step(f"fetch {wheel}", 0.0)))
    folder = install(link, carried, own.home, python=own.command, on_step=on_step)
    versions = {plain_name(name): version for name, version in carried.distributions.items()}
    return replace(own, path=folder, distributions={name: versions[name] for name in asked() if name in versions})


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
