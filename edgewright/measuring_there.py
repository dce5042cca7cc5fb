"""Measuring on a registered device: what ``measure`` does, in fresh processes there, while nobody else uses it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import runtimes
from .choosing import check_machine
from .device_names import registered_profile
from .devices._found import Found, with_runtime
from .devices._lease import Lease
from .devices._links import Link
from .devices._on_device import OnDevice
from .errors import check_limit
from .measuring import Measurements, Row
from .progress import Event, OnProgress, part
from .reaching import reached
from .runtimes import Measured, Run, Settings, measure_in_turn
from .runtimes._measuring import PROCESSES
from .subjects import subjects_of

if TYPE_CHECKING:
    from .api import DataLike


def measure_there(
    path: str | Path,
    device: str,
    artifact: str | None = None,
    runtime: str | None = None,
    data: "DataLike" = None,
    *,
    settings: Settings | None = None,
    processes: int = PROCESSES,
    max_latency_ms: float | None = None,
    wait_s: float = 0,
    on_progress: OnProgress | None = None,
) -> Measurements:
    """Measure a file, or each artifact of a bundle, on a registered device in each of the runtimes that it has.

    All of them are measured in turn, each time in a fresh process there, under the device's lease: nothing is deployed
    or measured there meanwhile.

    Args:
        path: a bundle's folder, or a .tflite, .onnx or OpenVINO .xml file.
        device: a registered device's name.
        artifact, runtime, data: see ``subjects_of``.
        settings: how the runtimes run them; one thread when None.
        processes: fresh processes each.
        max_latency_ms: what the median may be.
        wait_s: how long to wait where somebody else uses the device, in seconds.
        on_progress: told what is being done.

    Raises:
        InputError: see ``subjects_of``; no such device, or it is another machine than registered; no process at all; a
            limit that is not positive and finite.
        MissingRequirement: the device lacks Python or a runtime.
        DeviceBusy: somebody else uses the device.
        DeviceError: it cannot be reached, or the line was cut.
    """
    check_limit("max_latency_ms", max_latency_ms)
    report = part(on_progress, 0, 1)
    profile = registered_profile(device)
    report(Event("connect", (device,)))
    with reached(device, f"measure {Path(path).name}", wait_s) as on:
        link, held, found = on.link, on.held, on.found
        check_machine(profile, found, device)
        subjects = subjects_of(
            path,
            artifact,
            runtime,
            data,
            has=lambda each: with_runtime(found.pythons, each) is not None,
            where=f"on {device}",
        )
        places = Places(link, held, found, device)
        measured = [
            Measured(each.artifact, each.runtime, each.inputs, settings or Settings(), places.of(each.runtime))
            for each in subjects
        ]
        report(Event("measure", (str(path), "on", device)))
        runs: Sequence[Run] = ()
        for turn, done in enumerate(measure_in_turn(measured, processes=processes), 1):
            runs = done
            report(Event("measured", (str(path), "on", device, f"in {turn} processes each"), turn / processes))
    rows = (
        Row(subject, run.reason, run.measurement if run.ok else None, settings or Settings(), run.error)
        for subject, run in zip(subjects, runs, strict=True)
    )
    return Measurements(tuple(rows), max_latency_ms)


class Places:
    """A device whose lease is held, as the place of each runtime: the Python there that has it.

    Args:
        link: an open link.
        held: the lease.
        found: what there is.
        device: its name.

    Raises:
        DeviceError: no folder can be made there.
    """

    def __init__(self, link: Link, held: Lease, found: Found, device: str) -> None:
        self._found = found
        self._any = OnDevice(link, held, found.pythons[0], device, found.emulated)

    def of(self, runtime: str) -> OnDevice:
        """Return the place of a runtime by its name; of one that is not there, the device's own Python's."""
        python = with_runtime(self._found.pythons, runtimes.get(runtime))
        return self._any if python is None else self._any.in_python(python)
