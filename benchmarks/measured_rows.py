"""Condenses published latencies to what the prediction is fitted on: each row's setting and time, each model's work.

    python benchmarks/measured_rows.py latencies.csv nb201_raspi4.csv     # writes benchmarks/measured/

What a model does is read out of its file below build/prediction/models (see measured_graphs.py) at float32, or is what
was read before where the file is not there; at int8 the same operations move a quarter of the bytes. A row is left out
where its model is not rebuilt, and where its slowest run took more than 1.4 times its fastest. Rows that the tables
lack stand in benchmarks/measured/added.csv.
"""

import argparse
import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from _measured_detectors import sorting_of
from _measured_names import canonical

from edgewright.export import Graph, read_graph
from edgewright.export._work import COUNTS, total, work_of
from edgewright.files import write_json

HERE = Path(__file__).parent / "measured"
# Bytes of a number at float16 and int8, of four; and what changes with them otherwise than they do.
_WIDTHS, _SPLIT = (0.5, 0.25), ("inputs", "outputs", "moved", "streamed")
FIELDS = ("device", "runtime", "version", "setting", "threads", "precision", "model", "latency_ms", "source")
_STEADY = 1.4
# The table of NAS-Bench-201's cells states neither runtime nor version; they are a series of their own.
_CELLS = {"device": "Raspberry Pi 4B", "runtime": "not stated", "version": "", "setting": "NAS-Bench-201"}


def main() -> None:
    """Read both tables and the models' files, and write rows.csv and work.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latencies", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--models", type=Path, default=Path("build/prediction/models"))
    arguments = parser.parse_args()
    files = {path.stem: path for path in sorted(arguments.models.glob("*.tflite"))}
    kept = json.loads((HERE / "work.json").read_text(encoding="utf-8")) if (HERE / "work.json").is_file() else {}
    built = files.keys() | kept.keys()
    rows = [_as_run(row) for row in _rows(arguments.latencies) if row["model"] in built]
    rows += [row for row in _cells(arguments.cells) if row["model"] in built]
    with open(HERE / "added.csv", newline="", encoding="utf-8") as file:
        rows += list(csv.DictReader(file))
    names = sorted({row["model"] for row in rows})
    work = {name: _work(name, read_graph(files[name])) if name in files else kept[name] for name in names}
    HERE.mkdir(exist_ok=True)
    write_json(HERE / "work.json", work)
    with open(HERE / "rows.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows of {len(names)} models; counts: {', '.join(COUNTS)}")


def _work(name: str, graph: Graph) -> dict[str, Any]:
    """Return a model's work at float32, and what of it is no plain share of that where numbers are narrower."""
    counts = total(work_of(graph))
    counts["sorting"] = sorting_of(name, graph)
    found: dict[str, Any] = {key: count for key, count in counts.items() if count}
    if "streamed" in found:
        narrow = {f"{width:g}": total(work_of(_narrower(graph, width))) for width in _WIDTHS}
        found["narrow"] = {width: {key: each[key] for key in _SPLIT} for width, each in narrow.items()}
    return found


def _narrower(graph: Graph, width: float) -> Graph:
    return replace(graph, values=tuple(replace(value, bytes=(value.bytes or 0) * width) for value in graph.values))


def _as_run(row: dict[str, str]) -> dict[str, str]:
    """Return a row with the threads and kernels that it was measured with, where the table's are a guess or a name.

    cTuning's runs of an AGX Orin state no threads. Its program for TFLite sets them after tensors are allocated
    (github:ctuning/ck-mlperf, program/image-classification-tflite-loadgen), when XNNPACK has taken its part, which it
    computes on one thread: all of a float32 model, at 6 to 7 multiply-accumulates a cycle of one core, and of int8
    models the EfficientNets. The others, whose numbers are unsigned, take 0.95 times what ruy takes with 12 threads.
    The program for Arm NN sets none, and Arm NN takes all cores, as does ONNX Runtime: four could not do as many
    products as those rows. TFLite with Arm NN's delegate runs Arm NN's kernels.
    """
    if "Arm NN delegate" in row["setting"]:
        return row | {"runtime": "Arm NN Neon"}
    if row["device"] != "Jetson AGX Orin" or row["threads"] != "all cores (4)":
        return row
    if "xnnpack" not in row["version"]:
        return row | {"threads": "12"}
    if row["precision"] == "fp32" or row["model"].startswith("efficientnet"):
        return row | {"threads": "1"}
    return row | {"threads": "12", "version": row["version"].replace("xnnpack", "ruy")}


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        found = []
        for row in csv.DictReader(file):
            spread = re.search(r"min ([\d.]+) max ([\d.]+)", row["note"])
            if (spread and float(spread[2]) > _STEADY * float(spread[1])) or canonical(row) is None:
                continue
            found.append(
                {
                    "device": row["device"],
                    "runtime": row["runtime"],
                    "version": row["runtime_version"],
                    "setting": _setting(row),
                    "threads": row["threads"],
                    "precision": row["precision"].split()[0],
                    "model": canonical(row) or "",
                    "latency_ms": f"{float(row['p50_ms'] or row['latency_ms']):.6g}",
                    "source": _short(row["source"]),
                }
            )
    return found


def _setting(row: dict[str, str]) -> str:
    """Return what else tells one series of measurements from another: the system, its clock, the accelerator."""
    return f"{row['device_config'].split(' README')[0][:90]}; {row['accelerator']}"


def _short(source: str) -> str:
    """Return a source without the path below its results' folder, which the model's name stands for."""
    return re.sub(r"(results/[^/]+)/.*", r"\1", source)


def _cells(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {
                **_CELLS,
                "threads": "",
                "precision": "fp32",
                "model": f"nb201-{row['arch_index']}",
                "latency_ms": f"{float(row['latency_ms']):.6g}",
                "source": "latencies of NAS-Bench-201 on a Raspberry Pi 4",
            }
            for row in csv.DictReader(file)
            if row["input"].startswith("1x32x32x3")
        ]


if __name__ == "__main__":
    main()
