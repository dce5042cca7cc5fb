"""Which formats have which precisions, and which runtimes run them: one table, with the reason for each gap."""

from dataclasses import dataclass

from . import runtimes
from .export import get as exporter
from .export import names as format_names


@dataclass(frozen=True)
class Cell:
    """A format at a precision, in one of the runtimes that take the format.

    Attributes:
        format, precision, runtime: their names.
        reason: why there is none, as a sentence: the format lacks it, or the runtime does; empty where it runs.
        installed: whether the runtime is here.
    """

    format: str
    precision: str
    runtime: str
    reason: str
    installed: bool


def cells() -> tuple[Cell, ...]:
    """Return every format, precision and runtime that computes it for a user; referees are left out."""
    exporters = [exporter(name) for name in format_names()]
    precisions = dict.fromkeys(precision for each in exporters for precision in each.precisions)
    return tuple(
        Cell(
            each.name,
            precision,
            runtime.name,
            each.refusal(precision) or runtime.lacks.get(precision, ""),
            runtime.version() is not None,
        )
        for each in exporters
        for runtime in map(runtimes.get, runtimes.for_format(each.name))
        if not runtime.referee
        for precision in precisions
    )


def cells_text(found: tuple[Cell, ...]) -> str:
    """Return the table as text: a line for each precision, a column for each runtime, and the reasons below."""
    columns = list(dict.fromkeys((cell.format, cell.runtime) for cell in found))
    precisions = list(dict.fromkeys(cell.precision for cell in found))
    reasons = list(dict.fromkeys(cell.reason for cell in found if cell.reason))
    there = {(cell.precision, cell.format, cell.runtime): cell for cell in found}
    rows = [["", *(format for format, _ in columns)], ["", *(runtime for _, runtime in columns)]]
    for precision in precisions:
        marks = [there[precision, *column].reason for column in columns]
        rows.append([precision, *(f"no ({reasons.index(reason) + 1})" if reason else "yes" for reason in marks)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    absent = sorted({cell.runtime for cell in found if not cell.installed})
    lines += ["", *(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))]
    return "\n".join([*lines, *([f"Not installed here: {', '.join(absent)}."] if absent else [])])
