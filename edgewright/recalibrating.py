"""A registered device's profile, calibrated by what was measured on the device and kept, and used from then on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import devices, runtimes
from .calibrating import Calibrated, Taken, calibrated, calibrated_text
from .device_names import named
from .devices import Profile, Unsupported, _registered
from .devices._toml import profile_toml
from .errors import InputError, MissingRequirement
from .export import read_graph
from .export._work import work_of
from .figures import How
from .files import write_text
from .kept import Recorded, kept_of
from .predicted_there import comparable
from .subjects import identity


@dataclass(frozen=True)
class Recalibrated:
    """A registered device's own profile.

    Attributes:
        made: the profile, and how well it fits.
        path: its file, which the device is registered with now.
        original: what it was made of: a shipped profile's name, or a .toml file; it is as it was.
    """

    made: Calibrated
    path: Path
    original: str

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**self.made.plain(), "path": str(self.path), "original": self.original}


def recalibrate(device: str) -> Recalibrated:
    """Fit a registered device's prediction to what was measured on it, and register the device with that profile.

    It starts from the profile that the device was added with, however often it is done.

    Args:
        device: a registered device's name.

    Raises:
        InputError: there is no such device; nothing that was measured on it can be fitted to, or it is emulated.
        MissingRequirement: the profile cannot be written.
    """
    registered = _registered.get(device)
    original = registered.original or registered.profile
    base = named(devices.get(original), device)
    rows = kept_of(device)
    if any(row.measurement and row.measurement.how is How.EMULATED for row in rows):
        raise no_latency(device)
    taken, left_out = _taken(rows, base)
    if not rows:
        left_out = [f"Measure first: edgewright profile BUNDLE {device}"]
    made = calibrated(base, taken, device, left_out)
    path = _registered.calibrated_file(device)
    note = f"Made of {original} by what was measured on {device}: edgewright devices calibrate {device}"
    try:
        write_text(path, profile_toml(made.profile, (note,)))
    except OSError as error:
        raise MissingRequirement(f"Expected a file that can be written. Got: {path}: {error.strerror}.") from error
    _registered.save(replace(registered, profile=str(path), original=original))
    return Recalibrated(made, path, original)


def no_latency(device: str) -> InputError:
    """Return the error of calibrating an emulated device."""
    return InputError(
        f"Expected latencies to calibrate by. Got: times of {device}, which is emulated: they are no latencies."
    )


def recalibrated_text(done: Recalibrated) -> str:
    """Return what came of it, for people."""
    name = done.made.profile.name
    return f"{calibrated_text(done.made, done.path)}\n  {name} is predicted by it from now on; made of {done.original}"


def _taken(rows: Sequence[Recorded], base: Profile) -> tuple[list[Taken], list[str]]:
    """Return the rows to fit to, and which artifacts are left out, and why."""
    taken: list[Taken] = []
    left_out: list[str] = []
    for digest in dict.fromkeys(row.sha256 for row in rows):
        mine = [row for row in rows if row.sha256 == digest]
        first = mine[0]
        target = base.target(*first.artifact.split(" ", 1))
        if isinstance(target, Unsupported) or target.unit == "edgetpu":
            why = target.reason if isinstance(target, Unsupported) else "an Edge TPU's operations overlap"
        elif first.file is None:
            why = "it has several graphs or host code around them, and is not one file"
        elif not Path(first.file).is_file() or identity(Path(first.file)) != digest:
            why = f"{first.file} is not there any more, or is another file"
        elif not work_of(read_graph(Path(first.file))):
            why = "it does no work"
        else:
            sound = [row for row in comparable(mine, target) if row.measurement and not row.measurement.inconclusive()]
            sound = [row for row in sound if row.settings.threads <= base.cpu.count.value]
            taken += [each for row in sound for each in [_one(row, Path(first.file))] if each]
            why = "" if sound else "no figure of it is steady, right, and of the runtime and unit that are predicted"
        if why:
            left_out.append(f"{first.model} {first.artifact} is left out: {why.rstrip('.')}.")
    return taken, left_out


def _one(row: Recorded, file: Path) -> Taken | None:
    latency = row.measurement.latency() if row.measurement else None
    if latency is None:
        return None
    runtime = f"{runtimes.get(row.runtime).title} {row.runtime_version}"
    return Taken(file, latency.value, row.settings.threads, runtime, row.name)
