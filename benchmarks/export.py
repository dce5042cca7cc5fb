"""Export: every model in every format and precision, what came out, and what it costs beside the bare converters.

    python benchmarks/export.py                                  # the six architectures, all precisions; an hour
    python benchmarks/export.py --model liquid --model resnet50 --precision float32
    python benchmarks/export.py --every                          # every shipped model, not the first of each
    python benchmarks/export.py --section ways --model liquid    # both kinds of int8, timed in turn
    python benchmarks/export.py --section overhead --model convolutional
    python benchmarks/export.py --kept                           # computes nothing: prints what was computed

Int8 is written in two ways: with each format's own quantizer ("int8, converter"), and as one graph with ranges written
into it ("int8, one graph"). Every artifact is run on the task's test samples in every runtime that is here. One that
loses more than a point, a percent of an error, or half a dB is not handed over. A row tells whether it was and why not,
its operations in integers and in float, its size, the metric in each runtime, how far it agrees with the Keras model,
and what the conversion took. The ways section times both kinds of int8 in turn, on the cells' files. The overhead
section converts the same frozen graph with the bare converters, each in a process of its own, and prints how much
longer ``edgewright.export`` took, with the runs that prove the artifacts and without.
"""

import argparse
from pathlib import Path

from _compression_subjects import known, subject_of
from _export_cells import RECIPES, Cell, cell_of, overhead_of, ways_of

from edgewright.cli import _import_tensorflow
from edgewright.errors import EdgewrightError
from edgewright.train import get, names

APPLICATIONS = ("mobilenet_v2", "mobilenet_v3", "efficientnet_b0", "resnet50", "lstm")
_HEADS = ("format", "precision", "kB", "integer", "float", "metric", "lost", "agreement", "ms", "s", "MB", "")


def main() -> None:
    """Compute what is missing and print the tables."""
    arguments = _arguments()
    if not arguments.kept:
        _import_tensorflow()
    for name in arguments.model or _subjects(arguments.every):
        try:
            subject = subject_of(name, Path("build/compression"))
        except (EdgewrightError, FileNotFoundError, ImportError) as error:
            print(f"\n{name}: left out: {error}")
            continue
        print(f"\n{name}: {subject.experiment.title}", flush=True)
        if "overhead" in arguments.section:
            for line in overhead_of(subject, arguments.out, arguments.kept):
                print(line, flush=True)
        if "cells" in arguments.section:
            rows = [list(_HEADS)]
            for precision in arguments.precision or RECIPES:
                cells = cell_of(subject, precision, arguments.out, arguments.samples, arguments.kept)
                rows += [_row(cell) for cell in cells]
            _print(rows)
        if "ways" in arguments.section:
            for line in ways_of(subject, arguments.out, arguments.kept):
                print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"one of {', '.join((*known(), *APPLICATIONS))}, or A/B")
    parser.add_argument("--every", action="store_true", help="every shipped model and keras.applications")
    parser.add_argument("--precision", action="append", choices=tuple(RECIPES))
    parser.add_argument("--section", action="append", choices=("cells", "ways", "overhead"))
    parser.add_argument("--samples", type=int, default=500, help="test samples to judge on, spread evenly")
    parser.add_argument("--out", type=Path, default=Path("build/export"))
    parser.add_argument("--kept", action="store_true", help="compute nothing: print what lies in --out")
    arguments = parser.parse_args()
    arguments.section = arguments.section or ["cells"]
    return arguments


def _subjects(every: bool) -> tuple[str, ...]:
    if not every:
        return names()
    shipped = [f"{name}/{experiment.name}" for name in names() for experiment in get(name).experiments]
    return (*shipped, *APPLICATIONS)


def _row(cell: Cell) -> list[str]:
    if cell.reason:
        return [cell.format, cell.precision, *["-"] * (len(_HEADS) - 3), cell.reason]
    return [
        cell.format,
        cell.precision,
        f"{cell.size_bytes / 1000:.1f}",
        str(cell.integer_operations),
        str(cell.float_operations),
        "; ".join(f"{name} {value:.4g}" for name, value in cell.metrics.items()),
        "-" if cell.lost is None else f"{cell.lost:+.3g}",
        f"{cell.agreement_percent:.4g} %",
        "; ".join(f"{name} {value:.4g}" for name, value in cell.latencies_ms.items()),
        f"{cell.wall_s:.1f}",
        f"{cell.peak_bytes / 1e6:.0f}",
        cell.note,
    ]


def _print(rows: list[list[str]]) -> None:
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS) - 1)]
    for row in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]).rstrip())


if __name__ == "__main__":
    main()
