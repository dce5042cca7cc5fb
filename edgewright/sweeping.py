"""A sweep: a bundle's artifacts measured on a registered device, in each runtime and way to run them that it has."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .agreement import GARBAGE_PERCENT, agreement, answers_fit
from .checks import AT_SPEED
from .choosing import candidates, check_machine
from .device_names import registered_profile
from .devices._found import with_runtime
from .errors import GateFailed, InputError, MissingRequirement
from .export import Bundle, Deployable, load_bundle
from .figures import How
from .kept import Recorded, keep, kept_before
from .measuring_there import Places
from .predicted_there import OffBy, off_by
from .progress import Event, OnProgress, part
from .reaching import reached
from .recalibrating import Recalibrated, no_latency, recalibrate
from .runtimes import Measured, Run, Runtime, Settings, measure_in_turn
from .runtimes._measuring import PROCESSES
from .subjects import file_of, identity
from .ways_to_run import not_on_edgetpu, threads_of, ways

# Rows that are measured in turn: a sweep that is killed has them to take again.
_TOGETHER = 4
_TIME_LIMIT_S = 120.0


@dataclass(frozen=True)
class Sweep:
    """What came of a sweep.

    Attributes:
        device, title: the registered device's name, and what it is.
        rows: one for each artifact, runtime and settings.
        taken_before: the names of those rows that a former sweep had taken.
        left_out: what was not tried, and why, as sentences.
        off_by: by how much predictions were off, of each artifact that has one.
        calibrated: the device's own profile, where it was calibrated by the rows; None where it was not.
        not_calibrated: why it was not, where that was asked for.
    """

    device: str
    title: str
    rows: tuple[Recorded, ...]
    taken_before: tuple[str, ...]
    left_out: tuple[str, ...]
    off_by: tuple[OffBy, ...]
    calibrated: Recalibrated | None = None
    not_calibrated: str = ""

    @property
    def emulated(self) -> bool:
        """Whether the device is emulated, so that none of its times is a latency."""
        return any(row.measurement.how is How.EMULATED for row in self.rows if row.measurement)

    @property
    def fastest(self) -> tuple[Recorded, ...]:
        """Of each artifact the row with the lowest median, of those that compute what the model computes."""
        right = [row for row in self.rows if row.measurement and not row.wrong]
        best: dict[str, Recorded] = {}
        for row in sorted(right, key=lambda row: _median(row)):
            best.setdefault(row.artifact, row)
        return tuple(best.values())

    @property
    def exit_code(self) -> int:
        """0; 1 where nothing ran right, or the profile was not calibrated by it as asked.

        5 where noise or throttling leaves the fastest row of an artifact undecided.
        """
        if not self.fastest:
            return 1
        doubtful = any(row.measurement.inconclusive() for row in self.fastest if row.measurement)
        if doubtful and not self.emulated:
            return 5
        return 1 if self.not_calibrated else 0

    def plain(self) -> dict[str, Any]:
        """Return it as plain data; rows have the form of those of ``edgewright measure --json``."""
        return {
            "exit_code": self.exit_code,
            "device": self.device,
            "emulated": self.emulated,
            "rows": [row.plain() for row in self.rows],
            "taken_before": list(self.taken_before),
            "left_out": list(self.left_out),
            "fastest": [row.name for row in self.fastest],
            "predictions": [each.plain() for each in self.off_by],
            "calibrated": self.calibrated and self.calibrated.plain(),
            "not_calibrated": self.not_calibrated,
        }


def sweep(
    bundle: Bundle | str | Path,
    device: str,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    threads: Sequence[int] = (),
    processes: int = PROCESSES,
    again: bool = False,
    calibrate: bool = False,
    wait_s: float = 0,
    on_progress: OnProgress | None = None,
) -> Sweep:
    """Measure all of a bundle that a registered device can run, there, in each runtime and each way to run it.

    Swept are the threads; of TFLite whether XNNPACK is used; the Edge TPU, where the device has one and the file is
    compiled for it; TensorRT and CUDA, where it has a GPU. What it lacks is a row with its reason. What was measured is
    kept beside the registered device, and a sweep that was killed goes on from there.

    Args:
        bundle: the bundle or its folder.
        device: a registered device's name.
        artifact, runtime: only these, where they are named.
        threads: how many; one, half and all of the device's cores by default.
        processes: fresh processes for each row.
        again: take rows again that were kept.
        calibrate: then fit the device's prediction to all that was measured on it; see ``recalibrate``.
        wait_s: how long to wait where somebody else uses the device, in seconds.
        on_progress: told what is being done.

    Raises:
        InputError: no such bundle, device, artifact or runtime; a changed file; the device is another machine than
            registered, has fewer cores than threads, or is emulated and to be calibrated.
        GateFailed: the bundle has nothing for the device.
        MissingRequirement: the device lacks Python or each runtime for it; what is kept cannot be written.
        DeviceBusy: somebody else uses the device.
        DeviceError: it cannot be reached, or the line was cut; what is finished is kept.
    """
    report = part(on_progress, 0, 1)
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle))
    profile = registered_profile(device)
    report(Event("connect", (device,)))
    with reached(device, f"profile {bundle.manifest['model']}", wait_s) as on:
        link, held, found = on.link, on.held, on.found
        check_machine(profile, found, device)
        if calibrate and found.emulated:
            raise no_latency(device)
        pairs, left_out = candidates(bundle, profile, artifact, runtime)
        if not pairs:
            raise GateFailed(
                f"Expected an artifact of {bundle.path} for {profile.title}. Got: none. {'; '.join(left_out)}"
            )
        there = [(each, one) for each, one in pairs if with_runtime(found.pythons, one)]
        lacking = [f"{each.name}: {one.title} is not installed on {device}" for each, one in pairs]
        lacking = [text for text, pair in zip(lacking, pairs, strict=True) if pair not in there]
        if not there:
            raise MissingRequirement(f"Expected a runtime on {device}. Got: none. {'; '.join(lacking)}.")
        places = Places(link, held, found, device)
        cores = int(places.of(there[0][1].name).conditions()["cores_allowed"] or profile.cpu.count.value)
        counts = threads_of(threads, cores, device)
        golden = bundle.golden()
        planned = [
            _Planned(each, bundle, golden, device, one, places.of(one.name).version(one), settings, processes)
            for each, one in there
            for settings in ways(each, one, profile, counts)
        ]
        rows, before = _measured(planned, places, again, report)
    # Each runtime of an artifact is a pair.
    deployables = list({each.name: each for each, _ in there}.values())
    left_out += [*lacking, *filter(None, (not_on_edgetpu(each, profile) for each in deployables))]
    made = Sweep(device, profile.title, rows, before, tuple(left_out), off_by(deployables, profile, rows))
    if not calibrate:
        return made
    try:
        return replace(made, calibrated=recalibrate(device))
    except InputError as error:  # the rows are there all the same
        return replace(made, not_calibrated=str(error))


class _Planned:
    """One row that is to be measured."""

    def __init__(
        self,
        deployable: Deployable,
        bundle: Bundle,
        golden: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
        device: str,
        runtime: Runtime,
        version: str | None,
        settings: Settings,
        processes: int,
    ) -> None:
        self.deployable = deployable
        self.inputs, self.expected = golden
        file = file_of(deployable)
        self.row = Recorded(
            device=device,
            model=str(bundle.manifest["model"]),
            artifact=deployable.name,
            sha256=identity(deployable),
            file=None if file is None else str(file.absolute()),
            inputs=f"{len(next(iter(self.inputs.values())))} golden inputs",
            runtime=runtime.name,
            runtime_version=version,
            settings=settings,
            processes=processes,
        )

    def of(self, run: Run) -> Recorded:
        """Return the row with what came of its run."""
        if not run.ok:
            return replace(self.row, reason=run.reason)
        agreement, wrong = _judged(run, self.expected)
        taken_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return replace(
            self.row, wrong=wrong, agreement_percent=agreement, measurement=run.measurement, taken_at=taken_at
        )


def _measured(
    planned: Sequence[_Planned], places: Places, again: bool, report: OnProgress
) -> tuple[tuple[Recorded, ...], tuple[str, ...]]:
    """Return a row for each that is planned, and the names of those that had been taken before."""
    known = {number: None if again else kept_before(each.row) for number, each in enumerate(planned)}
    before = tuple(row.name for row in known.values() if row)
    rows = {number: row for number, row in known.items() if row}
    for batch in _batches(planned, [number for number in known if number not in rows]):
        several = [
            Measured(
                planned[number].deployable,
                planned[number].row.runtime,
                planned[number].inputs,
                planned[number].row.settings,
                places.of(planned[number].row.runtime),
            )
            for number in batch
        ]
        processes = planned[batch[0]].row.processes
        runs: tuple[Run, ...] = ()
        names = dict.fromkeys(f"{planned[number].row.artifact} in {planned[number].row.runtime}" for number in batch)
        what = (", ".join(names), "on", planned[0].row.device)
        report(Event("measure", what, len(rows) / len(planned)))
        for turn, done in enumerate(measure_in_turn(several, processes=processes, time_limit_s=_TIME_LIMIT_S), 1):
            runs = done
            share = (len(rows) + len(batch) * turn / processes) / len(planned)
            report(Event("measured", (*what, f"in {turn} of {processes} processes"), share))
        for number, run in zip(batch, runs, strict=True):
            rows[number] = planned[number].of(run)
            if rows[number].measurement:
                keep(rows[number])
    return tuple(rows[number] for number in range(len(planned))), before


def _batches(planned: Sequence[_Planned], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Yield what is measured in turn: as many threads each, and not too many at once."""

    def threads(number: int) -> int:
        return planned[number].row.settings.threads

    for _, group in groupby(sorted(numbers, key=threads), threads):
        same = list(group)
        yield from (same[first : first + _TOGETHER] for first in range(0, len(same), _TOGETHER))


def _judged(run: Run, expected: Mapping[str, np.ndarray]) -> tuple[float | None, str]:
    """Return how far answers agree with the golden outputs, and why they are wrong where they are."""
    wrong = answers_fit(run.outputs, expected, len(next(iter(expected.values()))))
    if wrong:
        return None, wrong
    agrees = agreement(expected, run.outputs)
    at_speed = run.measurement.difference_at_speed() if run.measurement else None
    if agrees < GARBAGE_PERCENT:
        wrong = f"computes something else: it agrees with the golden outputs to {agrees:.4g} % only"
    elif at_speed is not None and at_speed > AT_SPEED:
        wrong = f"computes something else when it is timed: answers differ by {at_speed:.2g} of the largest value"
    return agrees, wrong


def _median(row: Recorded) -> float:
    latency = row.measurement.latency() if row.measurement else None
    return latency.value if latency else float("inf")
