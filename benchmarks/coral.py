"""Coral: every model compressed and exported for the Edge TPU, what of it is predicted to run there, and what it costs.

    python benchmarks/coral.py                            # the first experiment of each architecture, and MobileNetV2
    python benchmarks/coral.py --every                    # every shipped model
    python benchmarks/coral.py --calibrated               # no pruning, no training: where it runs, not how good it is
    python benchmarks/coral.py --model nerf --model graph/painn-qm9-gap --recipe my.toml
    python benchmarks/coral.py --kept                     # computes nothing: prints what was computed

Each model goes through the recipe ``for-coral-dev-board`` and is exported to TFLite. Where the files' operations run
is predicted by the Edge TPU's published table and its limits; only ``edgetpu_compiler`` decides.
MobileNetV2 is there where ``benchmarks/compression.py`` trained it.
"""

import argparse
from pathlib import Path

from _compression_subjects import known, subject_of
from _coral_cells import Cell, cell_of

from edgewright.cli import _import_tensorflow
from edgewright.compress import Recipe, load_recipe, parse_recipe
from edgewright.devices._placement import mebibytes
from edgewright.errors import EdgewrightError
from edgewright.train import get, names

_CALIBRATED = """
name = "calibrated"
unit = "edgetpu"

[[steps]]
technique = "static_int8"
calibration = "min_max"
"""
_TRAINED = Path("build/compression")
_HEADS = ("model", "files", "operations", "mapped", "MACs", "parts", "parameters", "whole", "split", "Keras")
_HEADS += ("compressed", "LiteRT", "metric")


def main() -> None:
    """Compute what is missing and print the table, then what runs on the CPU."""
    arguments = _arguments()
    if not arguments.kept:
        _import_tensorflow()
    rows, notes = [list(_HEADS)], []
    for name in arguments.model or _subjects(arguments.every):
        try:
            subject = subject_of(name, _TRAINED)
        except (EdgewrightError, FileNotFoundError, ImportError) as error:
            notes.append(f"{name}: left out: {error}")
            continue
        cell = cell_of(subject, _recipe(arguments), arguments.out, arguments.samples, arguments.kept)
        rows.append(_row(name, cell))
        print("  ".join(rows[-1]), flush=True)
        notes += [f"{name}: {note}" for note in (*cell.on_cpu, *(cell.split_notes if not cell.whole else ()))]
    print()
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print("\n".join(["", *notes]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"one of {', '.join(known())}, or ARCHITECTURE/EXPERIMENT")
    parser.add_argument("--every", action="store_true", help="every shipped model, not the first of each architecture")
    parser.add_argument("--recipe", default="for-coral-dev-board", help="a shipped recipe's name, or a TOML file")
    parser.add_argument("--calibrated", action="store_true", help="int8 by calibration alone: no pruning, no training")
    parser.add_argument("--samples", type=int, default=500, help="test samples to judge on, spread evenly")
    parser.add_argument("--out", type=Path, default=Path("build/coral"))
    parser.add_argument("--kept", action="store_true", help="compute nothing: print what lies in --out")
    return parser.parse_args()


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return parse_recipe(_CALIBRATED, "calibrated") if arguments.calibrated else load_recipe(arguments.recipe)


def _subjects(every: bool) -> list[str]:
    chosen = list(names())
    if every:
        chosen = [f"{name}/{experiment.name}" for name in names() for experiment in get(name).experiments]
    return chosen + ["mobilenet_v2"] * (_TRAINED / "mobilenet_v2" / "trained.keras").exists()


def _row(name: str, cell: Cell) -> list[str]:
    if cell.reason:
        return [name, *["-"] * (len(_HEADS) - 2), cell.reason]
    return [
        name,
        str(cell.graphs),
        str(cell.operations),
        str(cell.mapped),
        f"{cell.macs_share:.1%}",
        str(cell.parts),
        f"{mebibytes(cell.parameter_bytes)} of {mebibytes(cell.cache_bytes)}",
        "yes" if cell.whole else "no",
        f"{cell.macs_share_split:.1%}",
        *("-" if value is None else f"{value:.4g}" for value in (cell.keras, cell.compressed, cell.litert)),
        cell.metric,
    ]


if __name__ == "__main__":
    main()
