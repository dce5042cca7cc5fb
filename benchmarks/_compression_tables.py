"""The compression benchmark's tables: a row for each peer, operating point and runtime, and who is best where."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "edgewright"
BUSY = 0.2  # of the time of all cores: above it a latency is marked
# Points of a share in percent; of any other metric, dB included, percent of the original model's.
MOST_LOST = 1.0
# What the benchmark sets out to reach at no more than that lost: times smaller, times faster.
SMALLER, FASTER = 10.0, 3.0


@dataclass(frozen=True)
class Row:
    """One peer at one operating point in one runtime, over its seeds.

    Attributes:
        peer, point, format, runtime: what it is; the runtime is empty where nothing came out.
        metric, lost: of each seed; ``lost`` in points, in dB, or in percent of a metric that is neither.
        counted: ``lost`` as MOST_LOST counts it.
        size_bytes, gzip_bytes: mean over the seeds.
        smaller, gzip_smaller: how often that goes into the float export's raw bytes.
        ratios: latency over the float export's, of each pair of processes taken in turn, of every seed.
        graph_ratios: the same of the graphs alone, where there is host code around them.
        busy: whether the host did other things while it was timed.
        failed: what failed and how, of the first seed that did; a seed that failed has no metric.
    """

    peer: str
    point: str
    format: str
    runtime: str = ""
    metric: tuple[float, ...] = ()
    lost: tuple[float, ...] = ()
    counted: tuple[float, ...] = ()
    size_bytes: float = 0.0
    gzip_bytes: float = 0.0
    smaller: float = 0.0
    gzip_smaller: float = 0.0
    ratios: tuple[float, ...] = ()
    graph_ratios: tuple[float, ...] = ()
    busy: bool = False
    failed: str = ""

    @property
    def name(self) -> str:
        """Who and at what point."""
        return f"{self.peer} {self.point} ({self.format})"

    @property
    def right(self) -> bool:
        """Whether every seed worked and no more is lost, on average, than MOST_LOST."""
        return bool(self.counted) and not self.failed and statistics.mean(self.counted) <= MOST_LOST

    @property
    def ratio(self) -> float | None:
        """The median latency ratio; None where nothing was timed."""
        return statistics.median(self.ratios) if self.ratios else None


def rows_of(results: Iterable[Mapping[str, Any]], unit: str = "%") -> list[Row]:
    """Return the rows of one subject's results, in their order, peers before edgewright; ``unit`` is the metric's."""
    results = list(results)
    floats = {each["format"]: each["size_bytes"] for each in results if _is_float(each) and not each["failed"]}
    groups: dict[tuple[str, ...], list[Any]] = {}
    for each in results:
        point = each["point"]
        if each["peer"] == OURS and each["precision"] and each["precision"] not in point:
            point = f"{point}, {each['precision']}"
        if not each["runs"]:
            groups.setdefault((each["peer"], point, each["format"], ""), []).append((each, None))
        for run in each["runs"]:
            groups.setdefault((each["peer"], point, each["format"], run["runtime"]), []).append((each, run))
    rows = [_row(*key, found, floats.get(key[2], 0), unit) for key, found in groups.items()]
    return sorted(rows, key=lambda row: row.peer == OURS)


def _is_float(result: Mapping[str, Any]) -> bool:
    return result["peer"] == "float export"


def _counted(run: Mapping[str, Any], unit: str) -> float:
    lost: float = run["lost"]
    return 100 * lost / (run["metric"] + lost) if unit == "dB" else lost


def _row(peer: str, point: str, format: str, runtime: str, found: list[Any], float_bytes: float, unit: str) -> Row:
    failures = [(run or result)["failed"] or result["failed"] for result, run in found]
    made = [(result, run) for (result, run), failed in zip(found, failures, strict=True) if not failed and run]
    failed = next((reason for reason in failures if reason), "")
    if len(found) > 1 and failed:
        failed = f"{sum(map(bool, failures))} of {len(found)} seeds: {failed}"
    if not made:
        return Row(peer, point, format, runtime, failed=failed or "nothing to run it in")
    size = statistics.mean(result["size_bytes"] for result, _ in made)
    packed = statistics.mean(result["gzip_bytes"] for result, _ in made)
    return Row(
        peer,
        point,
        format,
        runtime,
        tuple(run["metric"] for _, run in made),
        tuple(run["lost"] for _, run in made),
        tuple(_counted(run, unit) for _, run in made),
        size,
        packed,
        float_bytes / size,
        float_bytes / packed,
        _ratios(made, "ms", "float_ms"),
        _ratios(made, "graphs_ms", "graphs_float_ms"),
        any(run.get("busy", 0.0) > BUSY for _, run in made),
        failed or next((f"not timed: {run['untimed']}" for _, run in made if "untimed" in run), ""),
    )


def _ratios(made: list[Any], own: str, of_float: str) -> tuple[float, ...]:
    pairs = [pair for _, run in made for pair in zip(run.get(own, ()), run.get(of_float, ()), strict=False)]
    return tuple(ms / float_ms for ms, float_ms in pairs)


def table(rows: Sequence[Row], unit: str) -> str:
    """Return the rows as text; ``unit`` is the metric's."""
    heads = ["peer", "operating point", "runtime", "metric", "lost", "kB", "gzip", "smaller", "gzip", "latency"]
    lines = [[*heads, "graphs alone", "what failed"]]
    for row in rows:
        lines.append(
            [
                *(row.peer, row.point, row.runtime or row.format),
                *(f"{spread(row.metric)} {unit}" if row.metric else "-", spread(row.lost, "+.2f")),
                *((f"{row.size_bytes / 1e3:.1f}", f"{row.gzip_bytes / 1e3:.1f}") if row.metric else ("-", "-")),
                *((f"{row.smaller:.1f}x", f"{row.gzip_smaller:.1f}x") if row.metric else ("-", "-")),
                *(_latency(row), ranged(row.graph_ratios), " ".join(row.failed.split())[:150]),
            ]
        )
    return aligned(lines)


def summary(rows: Sequence[Row]) -> str:
    """Return who is best at no more than MOST_LOST lost: smallest, smallest packed, fastest in each runtime."""
    right = [row for row in rows if row.right and row.peer != "float export"]
    kinds: list[tuple[str, Callable[[Row], float | None], Callable[[Row], str], Sequence[Row]]] = [
        ("smallest", lambda row: row.size_bytes, lambda row: _weight(row.size_bytes, row.smaller), right),
        ("smallest gzip", lambda row: row.gzip_bytes, lambda row: _weight(row.gzip_bytes, row.gzip_smaller), right),
    ]
    for runtime in dict.fromkeys(row.runtime for row in right):
        timed = [row for row in right if row.runtime == runtime and row.ratios]
        kinds.append((f"fastest in {runtime}", lambda row: row.ratio, lambda row: f"ratio {_latency(row)}", timed))
    lines = [["", "best peer", "", OURS, "", f"{OURS} / peer"]]
    for title, value, text, among in kinds:
        peer, ours = (_best(among, value, mine) for mine in (False, True))
        cells = [title]
        for row in (peer, ours):
            cells += [row.name, text(row)] if row else ["none", ""]
        cells.append(_against(ours, peer, value) if ours and peer else "-")
        lines.append(cells)
    reached = [row for row in right if row.peer == OURS]
    if not reached:
        return f"{aligned(lines)}\n{OURS}: nothing at that"
    told = [
        f"{OURS}: {max((row.smaller for row in reached), default=0):.1f} times smaller, "
        f"{max((row.gzip_smaller for row in reached), default=0):.1f} with gzip (asked: {SMALLER:g})"
    ]
    for runtime in dict.fromkeys(row.runtime for row in reached if row.ratios):
        fastest = min(row.ratio or 1.0 for row in reached if row.runtime == runtime and row.ratios)
        told.append(f"{1 / fastest:.1f} times faster in {runtime} (asked: {FASTER:g})")
        alone = [statistics.median(row.graph_ratios) for row in reached if row.runtime == runtime and row.graph_ratios]
        told[-1] += f", its graphs alone {1 / min(alone):.1f} times" if alone else ""
    return f"{aligned(lines)}\n{'; '.join(told)}"


def _latency(row: Row) -> str:
    return f"{ranged(row.ratios)}{' ~' if row.busy and row.ratios else ''}"


def _weight(size_bytes: float, smaller: float) -> str:
    return f"{size_bytes / 1e3:.1f} kB, {smaller:.1f}x"


def _best(rows: Sequence[Row], value: Callable[[Row], float | None], mine: bool) -> Row | None:
    among = [row for row in rows if (row.peer == OURS) == mine and value(row) is not None]
    return min(among, key=lambda row: value(row) or 0.0, default=None)


def _against(ours: Row, peer: Row, value: Callable[[Row], float | None]) -> str:
    quotient = (value(ours) or 0.0) / (value(peer) or 1.0)
    if value(ours) != ours.ratio:
        return f"{quotient:.2f}"
    low, high = min(ours.ratios) / max(peer.ratios), max(ours.ratios) / min(peer.ratios)
    return f"{quotient:.2f} ({low:.2f} to {high:.2f})"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return mean and sample standard deviation as text.

    >>> spread([1.0, 3.0]), spread([2.0]), spread([])
    ('2.00 ± 1.41', '2.00', '-')
    """
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{deviation}"


def ranged(values: Sequence[float]) -> str:
    """Return the median with the least and the largest as text.

    >>> ranged([0.5, 0.4, 0.7]), ranged([])
    ('0.50 (0.40 to 0.70)', '-')
    """
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return cells as columns two spaces apart."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
