"""Rebuilds the networks that latencies were published of, as float32 TFLite files, and tells which rows have a graph.

    python benchmarks/measured_graphs.py                                # writes build/prediction/models/NAME.tflite
    python benchmarks/measured_graphs.py --only 'mobilenet-v2.*'
    python benchmarks/measured_graphs.py --cells nb201_raspi4.csv       # 400 networks of NAS-Bench-201
    python benchmarks/measured_graphs.py --table latencies.csv          # prints, and writes nothing

The file of a model that is there already is kept. Files carry random weights: it is their operations that count.
"""

import argparse
import csv
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

FOLDER = Path("build/prediction/models")


def main() -> None:
    """Write the files that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=".*", help="regular expression of whole names")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--cells", type=Path, help="a CSV file with arch_index and arch_str of NAS-Bench-201")
    parser.add_argument("--table", type=Path, metavar="LATENCIES", help="a CSV file of published latencies")
    arguments = parser.parse_args()
    if arguments.table:
        from _measured_table import table

        print(table(arguments.table, arguments.folder))
        return
    from edgewright.cli import _import_tensorflow

    _import_tensorflow()
    for name, build in _builders(arguments.cells).items():
        if re.fullmatch(arguments.only, name):
            write(arguments.folder / f"{name}.tflite", build)


def _builders(cells: Path | None) -> "dict[str, Callable[[], keras.Model]]":
    from _measured_cells import nb201, sample
    from _measured_models import NAMES, build

    if cells is None:
        return {name: partial(build, name) for name in NAMES}
    with cells.open(encoding="utf-8", newline="") as file:
        drawn = sample((int(row["arch_index"]), row["arch_str"]) for row in csv.DictReader(file))
    return {name: partial(nb201, text) for name, text in drawn.items()}


def write(path: Path, build: "Callable[[], keras.Model]") -> None:
    """Write a model as a TFLite file, unless that is there."""
    if path.exists():
        return
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = build()
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    traced = tf.function(partial(model, training=False)).get_concrete_function(signature)
    frozen = convert_variables_to_constants_v2(traced)
    content = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_bytes(content)
    os.replace(beside, path)
    keras.backend.clear_session()
    print(f"{path.stem}: {len(content)} bytes", flush=True)


if __name__ == "__main__":
    main()
