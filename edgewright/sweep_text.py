"""A sweep of a registered device as text for people."""

from typing import TYPE_CHECKING

from .device_names import profile_of
from .figures import How
from .kept import Recorded, settings_text
from .predicted_there import OffBy
from .recalibrating import recalibrated_text
from .sweeping import Sweep
from .telemetry_text import telemetry_text

if TYPE_CHECKING:
    from rich.console import RenderableType


def sweep_text(made: Sweep) -> "RenderableType":
    """Return a table of what was measured, what the device told of itself, and how far predictions were off."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("artifact", "runtime", "settings"):
        table.add_column(heading)
    for heading in ("p50 ms", "90 % interval", "p90", "load ms", "peak MB", "agrees"):
        table.add_column(heading, justify="right")
    for heading in ("how", "verdict"):
        table.add_column(heading)
    for row in made.rows:
        table.add_row(row.artifact, f"{row.runtime} {row.runtime_version}", settings_text(row.settings), *_cells(row))
    measured = [row.measurement for row in made.rows if row.measurement]
    lines = [telemetry_text(made.device, profile_of(made.device), measured)] if measured else []
    if made.emulated:
        lines.append(f"{made.device} is emulated: what it computes counts, and none of these times is a latency.")
    lines += _notes(made)
    if made.fastest and not made.emulated:
        lines.append(f"fastest: {made.fastest[0].name}")
    lines += [recalibrated_text(made.calibrated)] if made.calibrated else []
    lines += [f"not calibrated: {made.not_calibrated}"] if made.not_calibrated else []
    parts: list[RenderableType] = [Text(_head(made)), table, Text("\n" + "\n".join(lines))]
    return Group(*parts)


def _head(made: Sweep) -> str:
    measured = next((row for row in made.rows if row.measurement), None)
    if measured is None or measured.measurement is None:
        return f"{made.device}, {made.title}: nothing ran\n"
    host = measured.measurement.conditions
    each = f"{measured.processes} fresh process{'es' if measured.processes > 1 else ''}"
    return (
        f"{made.device}, {made.title}: {host.get('cpu')}, {host.get('cores')} cores, kernel {host.get('kernel')}, "
        f"Python {host.get('python')}; batch 1, {each} each, in turn; {measured.inputs}\n"
    )


def _cells(row: Recorded) -> tuple[str, ...]:
    measured = row.measurement
    if measured is None:
        return ("-", "-", "-", "-", "-", "-", "", f"not run: {row.reason[:120]}")
    latency = measured.latency()
    memory = measured.peak_memory_bytes
    interval = "-" if latency is None or latency.low is None else f"{latency.low:.3g} to {latency.high:.3g}"
    verdict = "computes something else" if row.wrong else "inconclusive" if measured.inconclusive() else "steady"
    return (
        _number(latency.value if latency else None),
        interval,
        _number(measured.p90_ms),
        _number(measured.load_ms),
        "-" if memory is None else f"{memory / 1e6:.0f}",
        "-" if row.agreement_percent is None else f"{row.agreement_percent:.4g} %",
        str(measured.how),
        "" if measured.how is How.EMULATED and not row.wrong else verdict,
    )


def _notes(made: Sweep) -> list[str]:
    notes = []
    for row in made.rows:
        notes += [f"{row.name}: {row.wrong}"] if row.wrong else []
        if row.measurement and not made.emulated:
            notes += [f"{row.name}: inconclusive: {reason}" for reason in row.measurement.inconclusive()]
            notes += [f"{row.name}: {warning}" for warning in row.measurement.warnings()]
    notes += [f"not tried: {sentence}" for sentence in made.left_out]
    if made.taken_before:
        taken = sorted(row.taken_at for row in made.rows if row.name in made.taken_before)
        notes.append(f"{len(taken)} of {len(made.rows)} rows were kept, from {taken[0]} on; --again takes them again")
    return notes + [_off(each) for each in made.off_by]


def _off(each: OffBy) -> str:
    predicted, measured = each.predicted, each.measured
    interval = "" if predicted.low is None else f" ({predicted.low:.3g} to {predicted.high:.3g})"
    times = each.share + 1
    apart = f"{abs(each.share):.0%} too {'much' if each.share > 0 else 'little'}"
    if times >= 2 or times <= 0.5:
        apart = f"{times:.3g} times what was measured"
    where = "" if predicted.low is None else f", {'within' if each.within else 'outside'} its interval"
    noisy = "; the measured one is inconclusive" if each.doubts else ""
    return (
        f"{each.artifact} in {each.settings}: measured {measured.value:.3g} ms, predicted {predicted.value:.3g} ms"
        f"{interval}: {apart}{where}{noisy}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
