"""Fits the prediction to latencies that a user measured on a device, into a profile of their own."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import runtimes
from .device_names import profile_of
from .devices import Profile, Target, Unsupported, speeds_of, vector
from .devices._fitted import shipped_calibrations
from .devices._fitting import Speeds, fit
from .devices._profile import Calibration
from .devices._toml import profile_toml
from .errors import InputError
from .export import read_graph
from .export._precision import precision_of
from .export._work import COUNTS, total, work_of
from .figures import How
from .files import check_parent, read_text, write_text

COLUMNS = ("file", "latency_ms", "threads", "runtime")


@dataclass(frozen=True)
class Taken:
    """A latency that was measured: of which file, in ms, on how many threads of which runtime; and where it stands."""

    file: Path
    latency_ms: float
    threads: int
    runtime: str
    where: str


@dataclass(frozen=True)
class Refitted:
    """What measurements made of one target's prediction.

    Attributes:
        name: format and precision.
        rows: how many measurements were fitted.
        before, after: the median of how far predicted and measured latencies of these rows are apart, as a share.
        held_out: the same where each row is predicted from the others; None for a single row.
    """

    name: str
    rows: int
    before: float
    after: float
    held_out: float | None


@dataclass(frozen=True)
class Calibrated:
    """A profile with the user's own calibrations, how well they fit, and which measurements were left out and why."""

    profile: Profile
    refitted: tuple[Refitted, ...]
    left_out: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        refitted = [vars(each) for each in self.refitted]
        return {"profile": self.profile.name, "refitted": refitted, "left_out": list(self.left_out)}


def calibrate(
    device: str,
    measurements: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    name: str | None = None,
    force: bool = False,
) -> Calibrated:
    """Fit a device's prediction to measured latencies: its format's and precision's speeds move as far as rows tell.

    One row sets the level; ten tell kinds of work apart. Files are read, not run.

    Args:
        device: the name or file of the profile to start from, or the name of a registered device.
        measurements: .csv files with the columns file, latency_ms and, where known, threads and runtime; or .json files
            that ``edgewright measure --json`` printed on the device. Files are found from the folder of the table.
        out: the .toml file to write; nothing is written when None.
        name: of the new profile; by default the stem of ``out``, else the old one's.
        force: write over an existing file.

    Raises:
        InputError: no such profile or table; a bad row, or one that was emulated; a file that the device does not run;
            ``out`` exists.
    """
    base = profile_of(device)
    path = None if out is None else Path(out)
    if path is not None:
        check_parent(path)
        if path.exists() and not force:
            raise InputError(f"Expected no file at {path}, or force. Got: one that is there.")
    left_out: list[str] = []
    rows = [row for table in measurements for row in _rows(Path(table), left_out)]
    called = name or (path.stem if path else base.name)
    made = calibrated(base, rows, called, left_out)
    if path is not None:
        write_text(path, profile_toml(made.profile, (f"Made of {base.name} by edgewright devices calibrate.",)))
    return made


def calibrated(base: Profile, rows: Sequence[Taken], name: str, left_out: Sequence[str] = ()) -> Calibrated:
    """Return a profile fitted to measurements.

    Args:
        base: the profile to start from.
        rows: the measurements.
        name: of the new profile.
        left_out: which others were left out, and why, as sentences.

    Raises:
        InputError: there is none; one is of a file that the device does not run.
    """
    if not rows:
        raise InputError(f"Expected at least one measurement. Got: none. {' '.join(left_out)}".strip())
    groups: dict[tuple[str, str, int, str], list[tuple[np.ndarray, float]]] = defaultdict(list)
    targets: dict[tuple[str, str], Target] = {}
    for row in rows:
        graph = read_graph(row.file)
        target = base.target(graph.format, precision_of(graph))
        if isinstance(target, Unsupported) or target.unit == "edgetpu":
            reason = target.reason if isinstance(target, Unsupported) else "An Edge TPU's operations overlap."
            raise InputError(f"{row.where}: expected a file that can be calibrated. Got: {row.file}. {reason}")
        targets[target.format, target.precision] = target
        key = (target.format, target.precision, row.threads or target.threads, row.runtime or target.runtime)
        groups[key].append((vector(total(work_of(graph))), row.latency_ms))
    made, refitted = [], []
    for (format, precision, threads, runtime), taken in groups.items():
        calibration, fitted = _refit(base, targets[format, precision], threads, runtime, taken)
        made.append(calibration)
        refitted.append(fitted)
    own = {(each.format, each.precision) for each in made}
    # Under another name the speeds that come with edgewright would not be found.
    before = (*base.calibrations, *(shipped_calibrations(base.name) if name != base.name else ()))
    kept = [each for each in before if (each.format, each.precision) not in own]
    profile = base.model_copy(update={"name": name, "calibrations": (*made, *kept)})
    return Calibrated(profile, tuple(refitted), tuple(left_out))


def _refit(
    base: Profile, target: Target, threads: int, runtime: str, taken: list[tuple[np.ndarray, float]]
) -> tuple[Calibration, Refitted]:
    start = _start(base, target, threads)
    counts, known = np.array([each for each, _ in taken]), np.array([latency for _, latency in taken])
    speeds = fit(start, counts, known)
    others = [
        abs(fit(start, np.delete(counts, place, 0), np.delete(known, place)).latency(counts[place])[0] / latency - 1)
        for place, latency in enumerate(known)
    ]
    calibration = Calibration(
        format=target.format,
        precision=target.precision,
        threads=threads,
        measured_with=runtime,
        whose="own",
        rows=len(taken),
        spread=speeds.spread,
        ms={name: float(value) for name, value in zip(COUNTS, speeds.ms, strict=True)},
        covariance=tuple(tuple(float(value) for value in row) for row in speeds.covariance),
    )
    return calibration, Refitted(
        f"{target.format} {target.precision}, {threads} thread{'s' if threads > 1 else ''}, {runtime}",
        len(taken),
        _apart(start, counts, known),
        _apart(speeds, counts, known),
        float(np.median(others)) if len(taken) > 1 else None,
    )


def _start(base: Profile, target: Target, threads: int) -> Speeds:
    """Return the speeds before the measurements, as uncertain on the whole as the device's prediction was."""
    known = speeds_of(base, target, threads)
    shared = max(known.low_spread, known.high_spread)
    return Speeds(
        known.speeds.ms, known.speeds.covariance + shared**2 + 1e-6 * np.eye(len(COUNTS)), known.speeds.spread, 0
    )


def _apart(speeds: Speeds, counts: np.ndarray, known: np.ndarray) -> float:
    predicted = np.array([speeds.latency(each)[0] for each in counts])
    return float(np.median(np.abs(predicted / known - 1)))


def _rows(table: Path, left_out: list[str]) -> list[Taken]:
    text = read_text(table, "a table of measurements")
    if table.suffix == ".json":
        return _of_document(table, text, left_out)
    lines = list(csv.DictReader(text.splitlines()))
    missing = [name for name in COLUMNS[:2] if not lines or lines[0].get(name) is None]
    if missing:
        raise InputError(f"{table}: expected the columns {', '.join(COLUMNS)}. Got: none of the name {missing[0]}.")
    return [
        _row(
            table,
            f"{table}, line {place}",
            line.get("file"),
            line.get("latency_ms"),
            line.get("threads"),
            line.get("runtime"),
        )
        for place, line in enumerate(lines, start=2)
    ]


def _of_document(table: Path, text: str, left_out: list[str]) -> list[Taken]:
    try:
        document = json.loads(text)
        rows = document["result"]["rows"] if "result" in document else document["rows"]
        measured = [row for row in rows if row["measurement"]]
        for row in measured:
            if row["measurement"].get("how") == How.EMULATED:
                raise InputError(
                    f"{table}, {row['name']}: expected a latency that was measured. Got: an emulated time, which is no "
                    "latency of any device."
                )
            if why := _unfit(row):
                left_out.append(f"{row['name']} is left out: {why}.")
        measured = [row for row in measured if not _unfit(row)]
        return [
            _row(
                table,
                f"{table}, {row['name']}",
                row["file"],
                row["latency_ms"]["value"],
                row["measurement"]["threads"],
                f"{_title(row['measurement']['runtime'])} {row['measurement']['runtime_version']}",
            )
            for row in measured
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Expected what edgewright measure --json prints in {table}. Got: {type(error).__name__}: {error}."
        ) from error


def _unfit(row: Mapping[str, Any]) -> str:
    """Return why a row says nothing of the device's usual speed for one file, or nothing."""
    ways = row.get("settings", {})
    if row["file"] is None:
        return "it is of several graphs, or with host code around them, and not of one file"
    if row.get("wrong"):
        return "its answers are not the model's"
    if not ways.get("xnnpack", True) or ways.get("delegates"):
        return "it was not run as the profile means it to run"
    return ""


def _title(runtime: str) -> str:
    """Return what profiles call a runtime, where it is one of edgewright's names."""
    return runtimes.get(runtime).title if runtime in runtimes.names() else runtime


def _row(table: Path, where: str, file: Any, latency: Any, threads: Any, runtime: Any) -> Taken:
    try:
        value, count = float(latency), int(threads or 0)
    except (TypeError, ValueError):
        value, count = math.nan, 0
    if not file or not 0 < value < math.inf or count < 0:
        got = f"{file!r}, {latency!r}, {threads!r}"
        raise InputError(f"{where}: expected a file, a latency in ms above 0 and whole threads. Got: {got}.")
    return Taken(table.parent / str(file), value, count, str(runtime or ""), where)


def calibrated_text(made: Calibrated, out: Path | None) -> str:
    """Return what came of it, for people."""
    lines = [f"{made.profile.title}: {'not written' if out is None else f'wrote {out}'}"]
    for each in made.refitted:
        others = "" if each.held_out is None else f", {each.held_out:.1%} where each is predicted from the others"
        rows = f"{each.rows} measurement{'s' if each.rows > 1 else ''}"
        lines.append(f"  {each.name}: {rows}; predictions were off by {each.before:.1%} in the median,")
        lines.append(f"    and are off by {each.after:.1%} now{others}")
    return "\n".join([*lines, *(f"  {sentence}" for sentence in made.left_out)])
