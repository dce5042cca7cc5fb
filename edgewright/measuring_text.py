"""Measurements and comparisons as text for people."""

from typing import TYPE_CHECKING

from .figures import Figure, How
from .measuring import Compared, Measurements
from .runtimes import Measurement

if TYPE_CHECKING:
    from rich.console import RenderableType


def measurements_text(made: Measurements) -> "RenderableType":
    """Return a table of what was measured, the conditions, and what to know of the figures."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("artifact and runtime", "p50 ms", "90 % interval", "p90", "p99", "varies", "throughput"):
        table.add_column(heading, justify="left" if heading.startswith("artifact") else "right")
    for heading in ("load cold ms", "warm", "first", "peak MB"):
        table.add_column(heading, justify="right")
    notes = []
    for row in made.rows:
        measured = row.measurement
        if measured is None:
            table.add_row(row.subject.name, "-", "failed")
            notes.append(f"{row.subject.name}: failed: {row.reason}")
            continue
        table.add_row(row.subject.name, *_cells(measured))
        notes += [f"{row.subject.name}: inconclusive: {reason}" for reason in measured.inconclusive()]
        notes += [f"{row.subject.name}: {warning}" for warning in measured.warnings()]
        at_speed = measured.difference_at_speed()
        if at_speed:
            notes.append(f"{row.subject.name}: timed answers differ by {at_speed:.2g} of the largest value")
    parts: list[RenderableType] = [Text(f"{_conditions(made)}\n"), table]
    if notes:
        parts.append(Text("\n" + "\n".join(notes)))
    if made.max_latency_ms is not None:
        verdict = {0: "met", 1: "not met", 5: "not certain"}.get(made.exit_code, "not measured")
        parts.append(Text(f"\nat most {made.max_latency_ms:g} ms: {verdict}"))
    return Group(*parts)


def _conditions(made: Measurements) -> str:
    measured = next((row.measurement for row in made.rows if row.measurement), None)
    sources = ", ".join(dict.fromkeys(row.subject.source for row in made.rows))
    if measured is None:
        return f"{sources}; nothing ran"
    host = measured.conditions
    governor = f", governor {host['governor']}" if host.get("governor") else ""
    where = "here" if measured.how is How.MEASURED_HERE else f"on the device {host.get('device')}"
    began = f"Emulated, so that no time is a latency, {where}" if measured.how is How.EMULATED else f"Measured {where}"
    batch = "the file's own batch" if any(row.subject.whole for row in made.rows) else "batch 1"
    return (
        f"{began}: {host.get('cpu')}, {host.get('cores')} cores{governor}, kernel {host.get('kernel')}, "
        f"Python {host.get('python')}; {batch}, {measured.threads} thread{'s' if measured.threads > 1 else ''}, "
        f"{len(measured.processes)} fresh processes each, in turn; {sources}"
    )


def _cells(measured: Measurement) -> list[str]:
    latency = measured.latency()
    cold = measured.load_cold_ms
    memory = measured.peak_memory_bytes
    return [
        _number(latency.value if latency else None),
        _interval(latency),
        _number(measured.p90_ms),
        _number(measured.p99_ms),
        f"{100 * measured.coefficient_of_variation:.0f} %",
        throughput(measured),
        _number(cold),
        _number(measured.load_ms),
        _number(measured.first_ms),
        "-" if memory is None else f"{memory / 1e6:.0f}",
    ]


def compared_text(made: Compared) -> str:
    """Return what a comparison found, in lines."""
    lines = ["Measured here, in turn, each time in a fresh process"]
    for subject, measured in zip(made.subjects, (made.comparison.before, made.comparison.after), strict=True):
        latency = measured.latency()
        lines.append(
            f"  {subject.name}: p50 {_number(latency.value if latency else None)} ms ({_interval(latency)}), "
            f"{measured.runtime} {measured.runtime_version}, {subject.source}"
        )
        lines += [f"    {warning}" for warning in measured.warnings()]
    ratio = made.comparison.ratio
    lines.append(
        f"  the second takes {ratio.value:.4g} times as long as the first ({_interval(ratio)}; {ratio.basis}): "
        f"{made.comparison.found}"
    )
    if made.guard is not None and made.max_regression is not None:
        held = {reason for each in (made.comparison.before, made.comparison.after) for reason in each.inconclusive()}
        lines.append(f"  at most {100 * made.max_regression:g} % slower: {made.guard}")
        if made.guard == "inconclusive":
            lines += [f"    {reason}" for reason in sorted(held)]
    return "\n".join(lines)


def throughput(measured: Measurement) -> str:
    """Return units per second, such as "1,234 tokens/s"."""
    rate = measured.rate()
    if rate is None:
        return "-"
    number = f"{rate.value:,.0f}" if rate.value >= 1000 else f"{rate.value:.3g}"
    return f"{number} {plural(measured.unit)}/s"


def plural(unit: str) -> str:
    """Return a unit as more than one: "token" as "tokens", "view of 100 x 100 rays" as "views of 100 x 100 rays".

    >>> plural("view of 100 x 100 rays")
    'views of 100 x 100 rays'
    """
    first, *rest = unit.split(" ")
    return " ".join([f"{first}s", *rest])


def _interval(figure: Figure | None) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return "-"
    return f"{figure.low:.3g} to {figure.high:.3g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
