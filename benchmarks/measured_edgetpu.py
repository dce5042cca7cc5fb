"""Condenses published latencies on an Edge TPU to what its prediction is fitted on: each row's host and time.

    python benchmarks/measured_edgetpu.py edgetpu_synthetic_conv_fc.csv     # writes benchmarks/measured/edgetpu*

Stacks of layers are read from the table; the networks' times stand here, and what they do is read out of their files
below build/prediction/models (see measured_graphs.py). Left out is what is not one Edge TPU with one picture at a time,
and:

- detectors with their last operation, which sorts boxes on the host (10 to 200 of them: 1.7 to 6.8 ms on a Pi 4);
  EfficientDet, of which the compilers of the time left parts on the host, and none tells which;
- Inception-ResNet v2 (57 and 69 ms): its 55.8 million parameters cannot cross USB 3 in that time;
- SqueezeNet, DeepLab and U-Net: which variant is not told.
"""

import argparse
import csv
import re
from collections import defaultdict
from pathlib import Path
from statistics import median

from _edgetpu_rows import CACHE_MIB, FIELDS, HERE, STACKS_HOST

from edgewright.devices._edgetpu_work import MIB, edge_tpu_work
from edgewright.export import read_graph
from edgewright.files import write_json

_TABLE = "https://coral.ai/docs/edgetpu/benchmarks, table 1 (C++, model only)"
_ZOO = "https://coral.ai/models/all (USB 3)"
_REFERENCE = "github:google-coral/edgetpu@285cacf0a879:benchmarks/reference/basic_engine_reference_*.csv"
_QUTIBENCH = "github:RCL-lab/QutibenchWeb@66c3aaa3ab85:_notebooks/data/cleaned_csv/experimental_data.csv, compute only"
_SOFTSERVE = "github:softserveinc-rnd/blog@01f254c2f111:coral/README.md, table 2"
_PC, _BOARD, _PI_4, _PI_3 = "usb3-pc", "pcie", "usb3-pi-4", "usb2-pi-3"
# By source and model: ms by host and the chip's clock in MHz.
_TWO = ((_PC, 500), (_BOARD, 500))
_FIVE = (*_TWO, (_PI_4, 500), (_PI_3, 500), (_PI_3, 500))
_CLOCKS = ((_PC, 500), (_PC, 250))
_OLD = ((_BOARD, 500), (_PI_3, 500))
_NETWORKS = (
    (_TABLE, _TWO, "densenet121", (20, 25)),
    (_TABLE, _TWO, "inception-v1", (3.4, 4.1)),
    (_TABLE, _TWO, "inception-v4", (85, 102)),
    (_TABLE, _TWO, "mobilenet-v1-1.0-224", (2.4, 2.4)),
    (_TABLE, _TWO, "mobilenet-v2-1.0-224", (2.6, 2.6)),
    (_TABLE, _TWO, "resnet50-v1-299", (49, 56)),
    (_TABLE, _TWO, "resnet50-v2", (50, 59)),
    (_TABLE, _TWO, "resnet152-v2", (128, 151)),
    (_TABLE, _TWO, "vgg16", (296, 343)),
    (_TABLE, _TWO, "vgg19", (308, 357)),
    (_TABLE, _TWO, "efficientnet-edgetpu-s", (5.1, 5.5)),
    (_TABLE, _TWO, "efficientnet-edgetpu-m", (8.7, 10.6)),
    (_ZOO, _TWO[:1], "efficientnet-edgetpu-l", (21.3,)),
    (_ZOO, _TWO[:1], "efficientnet-edgetpu-m", (7.3,)),
    (_ZOO, _TWO[:1], "inception-v3", (42.8,)),
    (_ZOO, _TWO[:1], "mobilenet-v1-0.25-128", (0.9,)),
    (_REFERENCE, _FIVE, "inception-v1", (3.06, 4.0, 6.2126, 19.21, 18.94)),
    (_REFERENCE, _FIVE, "inception-v4", (84.25, 100.33, 141.197, 1060.16, 1054.94)),
    (_REFERENCE, _FIVE, "mobilenet-v1-1.0-224", (2.17, 2.22, 4.2039, 9.22, 9.0)),
    (_REFERENCE, _FIVE, "mobilenet-v2-1.0-224", (2.29, 2.56, 4.5481, 10.77, 10.61)),
    (_QUTIBENCH, _CLOCKS, "efficientnet-edgetpu-s", (4.9963, 8.9984)),
    (_QUTIBENCH, _CLOCKS, "efficientnet-edgetpu-m", (8.9998, 13.9585)),
    (_QUTIBENCH, _CLOCKS, "efficientnet-edgetpu-l", (25.9996, 36.0003)),
    (_QUTIBENCH, _CLOCKS, "inception-v1", (3.6485, 5.7213)),
    (_QUTIBENCH, _CLOCKS, "mobilenet-v1-1.0-224", (2.5705, 4.0825)),
    (_QUTIBENCH, _CLOCKS, "resnet50-v1.5", (40.5133, 42.0267)),
    (_SOFTSERVE, _OLD, "inception-v3", (52, 590)),
    (_SOFTSERVE, _OLD, "inception-v4", (102, 1184)),
    # Its table states whole milliseconds: of shorter times, those of USB 2 alone.
    (_SOFTSERVE, _OLD[1:], "inception-v1", (21,)),
    (_SOFTSERVE, _OLD[1:], "mobilenet-v1-1.0-224", (10,)),
    (_SOFTSERVE, _OLD[1:], "mobilenet-v2-1.0-224", (12,)),
)
_STACKS = "github:Jorgitou98/EdgeTPU-QuantRL-Evaluation@ecd386c3aa61: CONV_MACs/results, FC_MACs/results"
# Files of a processor, of several Edge TPUs or of batches.
_OTHER_FILES = re.compile(r"/cpu-|seg[2-9]|batch(1\d|[2-9])|B1-max|threads")
# One file states seconds: none takes a twentieth of a millisecond.
_LEAST_MS = 0.05


def main() -> None:
    """Read the table and the networks' files, and write edgetpu.csv and edgetpu_work.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stacks", type=Path)
    parser.add_argument("--models", type=Path, default=Path("build/prediction/models"))
    arguments = parser.parse_args()
    rows = [*_network_rows(), *_stack_rows(arguments.stacks)]
    with open(HERE / "edgetpu.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    names = sorted({model for _, _, model, _ in _NETWORKS})
    write_json(HERE / "edgetpu_work.json", {name: _work(arguments.models / f"{name}.tflite") for name in names})
    print(f"{len(rows)} rows, {len(names)} networks")


def _network_rows() -> list[dict[str, str]]:
    return [
        {"host": host, "clock_mhz": str(clock), "model": model, "latency_ms": f"{ms:g}", "runs": "1", "source": source}
        for source, settings, model, latencies in _NETWORKS
        for (host, clock), ms in zip(settings, latencies, strict=True)
    ]


def _work(path: Path) -> dict[str, float]:
    """Return the counts of a network and its size."""
    graph = read_graph(path)
    parameters = sum(value.bytes or 0 for value in graph.values if value.constant and value.dtype == "float32") // 4
    work = edge_tpu_work(graph, range(len(graph.nodes)), CACHE_MIB * MIB)
    return {**work.counts, "macs": graph.macs, "parameters": parameters, "cached_bytes": work.cached_bytes}


def _stack_rows(path: Path) -> list[dict[str, str]]:
    """Return one row for each stack: the median of its times, and what the compiler's log says of its parameters."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = "" if _OTHER_FILES.search(row["file"]) else _stack_name(row)
            if name and row["inference"] and float(row["inference"]) > _LEAST_MS:
                found[name].append(row)
    rows = []
    for name, members in found.items():
        off = [float(row["offchip_mib"].strip("[]")) for row in members if row["offchip_mib"]]
        rows.append(
            {
                "host": STACKS_HOST,
                "clock_mhz": "500",
                "model": name,
                "latency_ms": f"{median(float(row['inference']) for row in members):.5g}",
                "runs": str(len(members)),
                "streamed_mib": f"{median(off):g}" if off else "",
                "source": _STACKS,
            }
        )
    return rows


def _stack_name(row: dict[str, str]) -> str:
    """Return the name of a stack, by the multiply-accumulates that its row states; empty where none has as many."""
    width, macs = int(row["width"]), float(row["macs"] or 0)
    file = row["file"].rsplit("/", 1)[-1]
    if row["kind"] == "conv":
        if "F100-maxF620-stepF20-seg1" in file:  # its cached bytes are one layer's; its column counts five
            return f"conv-1x{width}"
        for count in (1, 2, 5):
            # The biases counted as one more input channel, or not at all.
            stated = (3 * width + width * width * (count - 1), 4 * width + (width + 1) * width * (count - 1))
            if any(abs(macs - 64 * 64 * 9 * each) < 1 for each in stated):
                return f"conv-{count}x{width}"
        return ""
    if found := re.search(r"L(10|30)\.csv", file):
        return f"dense-6912-1x{width}-{int(found[1]) - 1}x10"
    inputs = 64 if "I64" in file else 6912
    for count in range(1, 6):
        name = f"dense-{inputs}-{count}x{width}"
        # One series counts one layer more than it has.
        stated = [width * (inputs + 10 + each * width) for each in ((count, count - 1) if count == 5 else (count - 1,))]
        if any(abs(macs - each) < 1 for each in stated):
            return name
    return ""


if __name__ == "__main__":
    main()
