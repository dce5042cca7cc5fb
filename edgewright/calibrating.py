"""Fits the prediction to latencies that a user measured on a device, into a profile of their own."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .device_names import profile_of
from .devices import Profile, Target, Unsupported, speeds_of, vector
from .devices._fitting import Speeds, fit
from .devices._profile import Calibration
from .devices._toml import profile_toml
from .errors import InputError
from .export import read_graph
from .export._precision import precision_of
from .export._work import COUNTS, total, work_of
from .files import check_parent, write_text

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
    """A profile with the user's own calibrations, and how well they fit."""

    profile: Profile
    refitted: tuple[Refitted, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"profile": self.profile.name, "refitted": [vars(each) for each in self.refitted]}


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
        InputError: no such profile or table; a bad row; a file that the device does not run; ``out`` exists.
    """
    base = profile_of(device)
    path = None if out is None else Path(out)
    if path is not None:
        check_parent(path)
        if path.exists() and not force:
            raise InputError(f"Expected no file at {path}, or force. Got: one that is there.")
    rows = [row for table in measurements for row in _rows(Path(table))]
    if not rows:
        raise InputError("Expected at least one measurement. Got: none.")
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
    kept = [each for each in base.calibrations if (each.format, each.precision) not in own]
    called = name or (path.stem if path else base.name)
    profile = base.model_copy(update={"name": called, "calibrations": (*made, *kept)})
    if path is not None:
        write_text(path, profile_toml(profile, (f"Made of {base.name} by edgewright devices calibrate.",)))
    return Calibrated(profile, tuple(refitted))


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
        f"{target.format} {target.precision}, {threads} threads, {runtime}",
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


def _rows(table: Path) -> list[Taken]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Expected a table of measurements at {table}. Got: {error}.") from error
    if table.suffix == ".json":
        return _of_document(table, text)
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


def _of_document(table: Path, text: str) -> list[Taken]:
    try:
        document = json.loads(text)
        rows = document["result"]["rows"] if "result" in document else document["rows"]
        measured = [row for row in rows if row["measurement"]]
        return [
            _row(
                table,
                f"{table}, {row['name']}",
                row["file"],
                row["latency_ms"]["value"],
                row["measurement"]["threads"],
                f"{row['measurement']['runtime']} {row['measurement']['runtime_version']}",
            )
            for row in measured
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Expected what edgewright measure --json prints in {table}. Got: {type(error).__name__}: {error}."
        ) from error


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
        lines.append(
            f"  {each.name}: {each.rows} measurements; predictions were off by {each.before:.1%} in the median,"
        )
        lines.append(f"    and are off by {each.after:.1%} now{others}")
    return "\n".join(lines)
