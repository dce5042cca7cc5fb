"""Measuring: what an artifact takes in each runtime, here or on a device, and whether another one is faster."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import EdgewrightError, GateFailed, InputError, check_limit
from .figures import How
from .progress import Event, OnProgress, part
from .runtimes import (
    FEWEST_PAIRS,
    MOST_PAIRS,
    Comparison,
    Guard,
    Measured,
    Measurement,
    Run,
    Settings,
    Timing,
    measure_in_turn,
)
from .runtimes import compare as compare_measurements
from .runtimes._measuring import PROCESSES, SHORT
from .subjects import Subject, file_of, identity, subjects_of

if TYPE_CHECKING:
    from .api import DataLike

_EXIT = {Guard.PASS: 0, Guard.FAIL: 1, Guard.INCONCLUSIVE: 5}


@dataclass(frozen=True)
class Row:
    """What came of one artifact in one runtime.

    Attributes:
        subject: what was measured.
        reason: why there is no measurement; empty where there is one.
        measurement: the latencies; None where it did not run.
        settings: how the runtime was to run it.
        error: what kind of error it is that there is no measurement.
    """

    subject: Subject
    reason: str
    measurement: Measurement | None
    settings: Settings = Settings()
    error: type[EdgewrightError] = GateFailed


@dataclass(frozen=True)
class Measurements:
    """Artifacts measured on this host, or on a device.

    Attributes:
        rows: one for each artifact and runtime.
        max_latency_ms: what the median may be; None for any.
    """

    rows: tuple[Row, ...]
    max_latency_ms: float | None = None

    @property
    def exit_code(self) -> int:
        """0; 1 when something did not run or is too slow; 5 when a figure decides nothing.

        Where something asked of a runtime does not exist it is 2, and 3 where this machine or the device lacks it.
        """
        codes = [self._code(row) for row in self.rows]
        return next((code for code in (2, 3, 1, 5) if code in codes), 0)

    def _code(self, row: Row) -> int:
        latency = row.measurement.latency() if row.measurement else None
        if row.measurement is None:
            return row.error.exit_code
        if latency is None or row.measurement.inconclusive():
            return 5
        if self.max_latency_ms is None:
            return 0
        if latency.how is How.EMULATED:
            return 5  # no time that passes there is a latency
        assert latency.low is not None and latency.high is not None
        if latency.low > self.max_latency_ms:
            return 1
        return 0 if latency.high <= self.max_latency_ms else 5

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain data, raw samples included."""
        return {
            "exit_code": self.exit_code,
            "max_latency_ms": self.max_latency_ms,
            "rows": [_plain_row(row) for row in self.rows],
        }


@dataclass(frozen=True)
class Compared:
    """Two artifacts compared on this host.

    Attributes:
        subjects: the two.
        comparison: how the second's latency relates to the first's.
        max_regression: how much slower the second may be, such as 0.05; None for any.
    """

    subjects: tuple[Subject, Subject]
    comparison: Comparison
    max_regression: float | None = None

    @property
    def guard(self) -> Guard | None:
        """What the limit makes of it; None without one."""
        return None if self.max_regression is None else self.comparison.guard(self.max_regression)

    @property
    def exit_code(self) -> int:
        """0; with a limit, 1 when the second is slower than that and 5 when that is not certain."""
        return 0 if self.guard is None else _EXIT[self.guard]

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain data, raw samples included."""
        return {
            "before": self.subjects[0].name,
            "after": self.subjects[1].name,
            "found": str(self.comparison.found),
            "guard": None if self.guard is None else str(self.guard),
            "max_regression": self.max_regression,
            **asdict(self.comparison),
        }


def measure(
    path: str | Path,
    artifact: str | None = None,
    runtime: str | None = None,
    data: "DataLike" = None,
    *,
    settings: Settings | None = None,
    processes: int = PROCESSES,
    max_latency_ms: float | None = None,
    on_progress: OnProgress | None = None,
) -> Measurements:
    """Measure a bundle's artifacts, or a file, in the runtimes of this host.

    All are timed in turn, each time in a fresh process, so that what slows the host down for a while slows all alike.

    Args:
        path: a bundle's folder, or a .tflite, .onnx or OpenVINO .xml file.
        artifact, runtime, data: see ``subjects_of``.
        settings: how the runtimes run them; one thread when None.
        processes: fresh processes each.
        max_latency_ms: what the median may be.
        on_progress: told what is being done.

    Raises:
        InputError: see ``subjects_of``; no process at all; a limit that is not positive and finite.
    """
    check_limit("max_latency_ms", max_latency_ms)
    report = part(on_progress, 0, 1)
    subjects = subjects_of(path, artifact, runtime, data)
    report(Event("measure", (str(path),)))
    runs: tuple[Run, ...] = ()
    turns = measure_in_turn([_measured(subject, settings) for subject in subjects], processes=processes)
    for turn, done in enumerate(turns, 1):
        runs = done
        report(Event("measured", (str(path), f"in {turn} processes each"), turn / processes))
    rows = (
        Row(subject, run.reason, run.measurement if run.ok else None, settings or Settings(), run.error)
        for subject, run in zip(subjects, runs, strict=True)
    )
    return Measurements(tuple(rows), max_latency_ms)


def compare(
    before: str | Path,
    after: str | Path,
    artifacts: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    data: "DataLike" = None,
    *,
    settings: Settings | None = None,
    pairs: int = 10,
    max_regression: float | None = None,
    timing: Timing = SHORT,
    on_progress: OnProgress | None = None,
) -> Compared:
    """Compare how long two artifacts take on this host, in fresh processes in turn.

    With a limit there are as many pairs of processes as it takes to be certain, from 7 to 30; without, ``pairs``.

    Args:
        before, after: a bundle's folder or a file each.
        artifacts, runtimes: for both, or one for each; see ``subjects_of``. The first that there is by default.
        data: what both are fed; see ``subjects_of``.
        settings: how the runtimes run them; one thread when None.
        pairs: of processes, at least 7.
        max_regression: how much slower the second may be: 0.05 is 5 %.
        timing: how long each process is timed.
        on_progress: told what is being done.

    Raises:
        InputError: see ``subjects_of``; fewer than 7 pairs; a limit that is negative or not finite.
        MissingRequirement: this machine lacks what was asked of a runtime.
        GateFailed: one of them does not run.
    """
    if pairs < FEWEST_PAIRS:
        raise InputError(
            f"Expected at least {FEWEST_PAIRS} pairs of processes, to be certain of anything. Got: {pairs}."
        )
    check_limit("max_regression", max_regression, zero=True)
    report = part(on_progress, 0, 1)
    (first,) = subjects_of(before, _of(artifacts, 0), _of(runtimes, 0), data, every=False)
    (second,) = subjects_of(after, _of(artifacts, 1), _of(runtimes, 1), data, every=False)
    most = pairs if max_regression is None else max(pairs, MOST_PAIRS)
    report(Event("measure", (first.name, "and", second.name)))
    comparison = None
    turns = measure_in_turn(
        [_measured(subject, settings) for subject in (first, second)],
        processes=most,
        timing=timing,
        enough=None if max_regression is None else _certain(max_regression),
    )
    for turn, (one, two) in enumerate(turns, 1):
        for subject, run in ((first, one), (second, two)):
            if run.measurement is None:
                raise run.error(f"Expected {subject.name} to run. Got: {run.reason}.")
        report(Event("measured", (f"{turn} pairs",), turn / most))
        assert one.measurement is not None and two.measurement is not None
        if turn >= FEWEST_PAIRS:
            comparison = compare_measurements(one.measurement, two.measurement)
    assert comparison is not None
    return Compared((first, second), comparison, max_regression)


def _certain(max_regression: float) -> Callable[[tuple[Run, ...]], bool]:
    def enough(runs: tuple[Run, ...]) -> bool:
        one, two = (run.measurement for run in runs)
        assert one is not None and two is not None
        if len(one.processes) < FEWEST_PAIRS:
            return False
        return compare_measurements(one, two).guard(max_regression) != Guard.INCONCLUSIVE

    return enough


def _measured(subject: Subject, settings: Settings | None) -> Measured:
    return Measured(subject.artifact, subject.runtime, subject.inputs, settings or Settings())


def _of(names: Sequence[str], place: int) -> str | None:
    return names[min(place, len(names) - 1)] if names else None


def _plain_row(row: Row) -> dict[str, Any]:
    artifact = row.subject.artifact
    file = file_of(artifact)
    return {
        "name": row.subject.name,
        "artifact": artifact.name,
        "sha256": identity(artifact),
        "file": None if file is None else str(file.absolute()),
        "inputs": row.subject.source,
        "settings": asdict(row.settings),
        "reason": row.reason,
        **plain_figures(row.measurement),
    }


def plain_figures(measured: Measurement | None) -> dict[str, Any]:
    """Return what a measurement says as plain data, raw samples included; Nones where there is none."""
    latency, rate = (measured.latency(), measured.rate()) if measured else (None, None)
    return {
        "latency_ms": latency and asdict(latency),
        "throughput_per_s": rate and {"unit": measured.unit if measured else "", **asdict(rate)},
        "p90_ms": measured and measured.p90_ms,
        "p99_ms": measured and measured.p99_ms,
        "load_ms": measured and measured.load_ms,
        "load_cold_ms": measured and measured.load_cold_ms,
        "first_ms": measured and measured.first_ms,
        "peak_memory_bytes": measured and measured.peak_memory_bytes,
        "inconclusive": measured.inconclusive() if measured else (),
        "warnings": measured.warnings() if measured else (),
        "measurement": measured and asdict(measured),
    }
