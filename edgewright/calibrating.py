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
from .devices._profile import ADAPTERS, Calibration
from .devices._speeds import NINETY
from .devices._toml import profile_toml
from .errors import InputError, nearest
from .export import Graph, read_graph
from .export._precision import precision_of
from .export._work import COUNTS, total, uncounted, work_of
from .figures import How
from .files import check_parent, read_text, write_text

COLUMNS = ("file", "latency_ms", "threads", "runtime")
# Predictions are seldom off by more than this before a calibration; another unit of time is 1,000.
_FAR_OFF = 10
_MOST_SPREAD = 10.0  # the limit of a profile's ``spread``
_LEAST_MS, _MOST_MS = 1e-6, 1e6  # a nanosecond, and a quarter of an hour


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
        warnings: what speaks against the measurements, as sentences.
    """

    name: str
    rows: int
    before: float
    after: float
    held_out: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Counted:
    """A measurement whose file's work is counted, and its runtime's version; shape of ``counts``: [len(COUNTS)]."""

    taken: Taken
    counts: np.ndarray
    version: str


# By format, precision, threads and runtime.
_Groups = Mapping[tuple[str, str, int, str], list[_Counted]]


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

    One row sets the level; ten tell kinds of work apart. Files are read, not run. Rows of another runtime than the
    device's profile runs the file in are left out where there are rows of that one, those of its versions are fitted
    together; left out are also files that cannot be counted in full.

    Args:
        device: the name or file of the profile to start from, or the name of a registered device.
        measurements: .csv files with the columns file, latency_ms and, where known, threads and runtime; or .json files
            that ``edgewright measure --json`` printed on the device. Files are found from the folder of the table.
        out: the .toml file to write; nothing is written when None.
        name: of the new profile; by default the stem of ``out``, else the old one's.
        force: write over an existing file.

    Raises:
        InputError: no such profile or table; a bad row, or one that was emulated; a file that the device does not run,
            or that does no work; a runtime that does not run it; more threads than cores; ``out`` exists.
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
        InputError: there is none; one is of a file that the device does not run, of a runtime that does not run the
            file, or on more threads than the device has cores.
    """
    left = list(left_out)
    counted: dict[tuple[str, str, int, str], list[_Counted]] = defaultdict(list)
    targets: dict[tuple[str, str], Target] = {}
    for row in rows:
        if not row.file.is_file():
            raise InputError(f"{row.where}: expected a file that was measured. Got: {row.file}, where none is.")
        graph = read_graph(row.file)
        target = base.target(graph.format, precision_of(graph))
        if isinstance(target, Unsupported) or target.unit == "edgetpu":
            reason = target.reason if isinstance(target, Unsupported) else "An Edge TPU's operations overlap."
            raise InputError(f"{row.where}: expected a file that can be calibrated. Got: {row.file}. {reason}")
        if row.threads > base.cpu.count.value:
            raise InputError(
                f"{row.where}: expected 1 to {base.cpu.count.value} threads on {base.title}. Got: {row.threads}."
            )
        runtime, version = _runtime(base, target, row)
        works = work_of(graph)
        if not works:
            raise InputError(f"{row.where}: expected a file that does some work. Got: {row.file}, which does none.")
        if why := not_counted(graph):
            left.append(f"{row.where}: {row.file} is left out: {why}.")
            continue
        targets[target.format, target.precision] = target
        key = (target.format, target.precision, row.threads or target.threads, runtime)
        counted[key].append(_Counted(row, vector(total(works)), version))
    groups = _of_one_runtime(counted, targets, left)
    if not groups:
        raise InputError(f"Expected at least one measurement. Got: none. {' '.join(left)}".strip())
    made, refitted = [], []
    for (format, precision, threads, runtime), taken in groups.items():
        calibration, fitted = _refit(base, targets[format, precision], threads, runtime, taken)
        made.append(calibration)
        refitted.append(fitted)
    own = {(each.format, each.precision) for each in made}
    # Under another name the speeds that come with edgewright would not be found.
    before = (*base.calibrations, *(shipped_calibrations(base) if name != base.name else ()))
    kept = [each for each in before if (each.format, each.precision) not in own]
    profile = base.model_copy(update={"name": name, "calibrations": (*made, *kept)})
    return Calibrated(profile, tuple(refitted), tuple(left))


def not_counted(graph: Graph) -> str:
    """Return why a file's latency says little of the speed of what is counted of it, or nothing."""
    kinds = uncounted(graph)
    if kinds:
        return f"its time is of operations too that are not counted: {', '.join(kinds)}"
    if any(node.times is None for node in graph.nodes):
        return "how often its loop turns is decided as it runs"
    return ""


def _runtime(base: Profile, target: Target, row: Taken) -> tuple[str, str]:
    """Return a row's runtime as profiles call it, and its version where it is told; the target's own for none."""
    profiles = {name: title for title, name in ADAPTERS.items()}
    known = {each.name: each.name for each in base.runtimes if each.format == target.format}
    for each in map(runtimes.get, runtimes.for_format(target.format)):
        title = profiles.get(each.name, each.title)
        if not each.referee:
            known |= dict.fromkeys((each.name, each.title, title), title)
    known[target.runtime] = target.runtime
    asked = row.runtime.strip() or target.runtime
    for name in sorted(known, key=len, reverse=True):
        first, rest = asked[: len(name)], asked[len(name) :]
        if first.casefold() == name.casefold() and (not rest or rest.startswith(" ")):
            # On a GPU ONNX Runtime is what loads a file for TensorRT.
            through = target.unit == "gpu" and target.runtime.startswith(f"{known[name]} ")
            return target.runtime if through else known[name], rest.strip()
    titles = sorted(set(known.values()))
    raise InputError(
        f"{row.where}: expected a runtime of {target.format} files: {', '.join(titles)}, with or without its version. "
        f"Got: {row.runtime!r}.{nearest(row.runtime, titles)}"
    )


def _of_one_runtime(
    groups: _Groups, targets: Mapping[tuple[str, str], Target], left_out: list[str]
) -> dict[tuple[str, str, int, str], list[_Counted]]:
    """Return for each target the groups of the runtime that its profile names, or of the one with the most rows.

    The others' rows are told in ``left_out``.
    """
    kept = {}
    for (format, precision, threads, runtime), taken in groups.items():
        target = targets[format, precision]
        rows: dict[str, int] = defaultdict(int)
        for key, each in groups.items():
            if key[:2] == (format, precision):
                rows[key[3]] += len(each)
        chosen = target.runtime if target.runtime in rows else max(rows, key=lambda name: rows[name])
        if runtime == chosen:
            kept[format, precision, threads, runtime] = taken
            continue
        left_out += [
            f"{each.taken.where}: {each.taken.file} is left out: it was run in {runtime}, and {format} {precision} is "
            f"predicted by what was run in {chosen}."
            for each in taken
        ]
    return kept


def _refit(
    base: Profile, target: Target, threads: int, runtime: str, taken: list[_Counted]
) -> tuple[Calibration, Refitted]:
    start = _start(base, target, threads)
    versions = " and ".join(sorted({each.version for each in taken if each.version}))
    measured_with = f"{runtime} {versions}".strip()
    counts, known = np.array([each.counts for each in taken]), np.array([each.taken.latency_ms for each in taken])
    speeds = fit(start, counts, known)
    others = (
        [
            fit(start, np.delete(counts, place, 0), np.delete(known, place)).latency(counts[place])
            for place in range(len(known))
        ]
        if len(taken) > 1
        else []
    )
    calibration = Calibration(
        format=target.format,
        precision=target.precision,
        threads=threads,
        measured_with=measured_with,
        whose="own",
        rows=len(taken),
        spread=min(speeds.spread, _MOST_SPREAD),
        ms={name: float(value) for name, value in zip(COUNTS, speeds.ms, strict=True)},
        covariance=tuple(tuple(float(value) for value in row) for row in speeds.covariance),
    )
    warnings = [*_far_off(start, taken), *_contradicting(taken, others)]
    if runtime != target.runtime:
        warnings.append(
            f"Measured in {runtime}, while the profile runs {target.format} {target.precision} in {target.runtime}."
        )
    return calibration, Refitted(
        f"{target.format} {target.precision}, {threads} thread{'s' if threads > 1 else ''}, {measured_with}",
        len(taken),
        _apart(start, counts, known),
        _apart(speeds, counts, known),
        float(np.median([abs(value / own - 1) for (value, _), own in zip(others, known, strict=True)]))
        if others
        else None,
        tuple(warnings),
    )


def _far_off(start: Speeds, taken: Sequence[_Counted]) -> list[str]:
    """Return a sentence for each row that is many times what was predicted before any row, or a small part of it."""
    said = []
    for each in taken:
        value, latency = start.latency(each.counts)[0], each.taken.latency_ms
        factor = max(latency / value, value / latency)
        if factor > _FAR_OFF:
            said.append(
                f"{each.taken.where}: {latency:.4g} ms measured and {value:.4g} ms predicted before are {factor:,.0f} "
                "times apart: look whether it is in ms, and of this file on this device."
            )
    return said


def _contradicting(taken: Sequence[_Counted], others: Sequence[tuple[float, float]]) -> list[str]:
    """Return a sentence for each row outside the 90 % interval that the others predict, if more than one in ten are.

    Args:
        taken: the rows.
        others: for each the latency that the other rows predict, and the standard deviation of its logarithm.
    """
    said = []
    for each, (value, deviation) in zip(taken, others, strict=False):
        latency, wide = each.taken.latency_ms, math.exp(NINETY * deviation)
        if not value / wide <= latency <= value * wide:
            said.append(
                f"{each.taken.where}: {latency:.4g} ms is outside what the other measurements predict, {value:.4g} ms "
                f"({value / wide:.4g} to {value * wide:.4g})."
            )
    return said if len(said) > len(taken) / 10 else []


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
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [name for name in COLUMNS[:2] if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{table}: expected the columns {', '.join(COLUMNS)}. Got: none of the name {missing[0]}.")
    lines = list(reader)
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
    if not file or not _LEAST_MS <= value <= _MOST_MS or count < 0:
        raise InputError(
            f"{where}: expected a file, a latency in ms above 0, at most {_MOST_MS:,.0f}, and whole threads. "
            f"Got: {file!r}, {latency!r}, {threads!r}."
        )
    return Taken(table.parent / str(file), value, count, str(runtime or ""), where)


def calibrated_text(made: Calibrated, out: Path | None) -> str:
    """Return what came of it, for people."""
    lines = [f"{made.profile.title}: {'not written' if out is None else f'wrote {out}'}"]
    for each in made.refitted:
        others = "" if each.held_out is None else f", {each.held_out:.1%} where each is predicted from the others"
        rows = f"{each.rows} measurement{'s' if each.rows > 1 else ''}"
        lines.append(f"  {each.name}: {rows}; predictions were off by {each.before:.1%} in the median,")
        lines.append(f"    and are off by {each.after:.1%} now{others}")
        lines += [f"    Warning: {sentence}" for sentence in each.warnings]
    return "\n".join([*lines, *(f"  {sentence}" for sentence in made.left_out)])
