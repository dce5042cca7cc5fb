"""Fits the rooflines of the device profiles to published latencies and prints them as TOML.

    python benchmarks/fit_rooflines.py latencies.csv

A row of the table is one published measurement; the columns used are device, device_config, runtime, threads, model,
precision, latency_ms, p50_ms, macs_m, params_m, quality and note. The model is

    latency = operations * per_operation + macs / rate

On the Edge TPU, whose time for an operation is hidden in its pipeline, it is

    latency = 0.17 ms + macs / rate + 2.7 ms * MiB of parameters beyond its cache

with the constants of the cached and streamed dense stacks in github:Jorgitou98/EdgeTPU-QuantRL-Evaluation. Both are
fitted to relative errors, least absolute deviations. Its interval is the 5 % and 95 % quantile of measured / predicted
where each family of models was predicted from the others.
"""

import argparse
import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Row = dict[str, str]

# The Jetson Orin Nano Super's TensorRT rows, which the table lacks: ms for YOLO11 n, s, m, l, x at 640 x 640, from
# github:ultralytics/ultralytics@01007503ffb2:docs/en/guides/nvidia-jetson.md. GMACs are half the GFLOPs of its models.
_YOLO11_GMACS = {"n": 3.25, "s": 10.75, "m": 34.0, "l": 43.45, "x": 97.45}
_YOLO11_TENSORRT_MS = {
    "fp32": (7.60, 13.29, 28.21, 35.59, 67.32),
    "fp16": (4.91, 7.30, 13.99, 17.57, 32.94),
    "int8": (3.91, 5.25, 9.58, 12.37, 20.72),
}
# TensorRT in half precision on a Jetson Nano, which the table lacks too: ms at 224 x 224, from
# github:NVIDIA-AI-IOT/torch2trt@353a703d744a:docs/benchmarks/jetson_nano.md. The table has the MACs: its rows of the
# same models in PyTorch.
_NANO_TENSORRT_MS = {
    "alexnet": 14.7, "squeezenet1_0": 7.6, "squeezenet1_1": 4.34, "resnet18": 11.4, "resnet34": 20.2,
    "resnet50": 29.8, "resnet101": 51.1, "resnet152": 72.3, "densenet121": 24.8, "densenet169": 31.2,
    "densenet201": 40.8, "densenet161": 65.8, "vgg11": 55.1, "vgg13": 68.7, "vgg16": 85.1, "vgg11_bn": 54.8,
    "vgg13_bn": 68.5, "vgg16_bn": 84.3,
}  # fmt: skip
# Operations in one inference, counted in the architectures; where a family is not listed, a typical network's.
_OPERATIONS = {
    "mobilenet-v1": 31,
    "mobilenet-v2": 66,
    "yolo11": 320,
    "resnet": 75,
    "googlenet": 85,
    "squeezenet": 40,
    "densenet": 430,
}
_TYPICAL_OPERATIONS = 60


@dataclass(frozen=True)
class Fit:
    """A roofline with what it was fitted on and how far off it is."""

    rate_gmacs: float
    per_operation_ms: float
    rows: int
    families: tuple[str, ...]
    held_out_error: float
    low: float
    high: float


def family(model: str) -> str:
    """Return the family of a model by its published name."""
    name = model.lower().replace("_", "-")
    if match := re.match(r"mobilenet-?(v\d)?", name):
        return f"mobilenet-{match[1] or 'v1'}"
    match = re.match(r"yolo11|[a-z]+", name)
    return match[0] if match else name


def latency_ms(row: Row) -> float:
    """Return the row's median where it states one, else its mean: single slow runs move the mean."""
    return float(row["p50_ms"] or row["latency_ms"])


def steady(row: Row) -> bool:
    """Tell whether a row may be fitted: its MACs are known, and its maximum is at most 1.4 times its minimum."""
    spread = re.search(r"min ([\d.]+) max ([\d.]+)", row["note"])
    return bool(row["macs_m"]) and (spread is None or float(spread[2]) <= 1.4 * float(spread[1]))


def fit(rows: list[Row]) -> Fit:
    """Fit all rows, and judge the fit on each family (of one family: each model) left out in turn."""
    families = [family(row["model"]) for row in rows]
    groups = families if len(set(families)) > 1 else [row["model"] for row in rows]
    operations = np.array([_operations(row) for row in rows], float)
    gmacs = np.array([float(row["macs_m"]) / 1000 for row in rows])
    latency = np.array([latency_ms(row) for row in rows])
    design = np.stack([operations, gmacs], axis=1)
    ratios = np.empty(len(rows))
    for group in sorted(set(groups)):
        out = np.array([name == group for name in groups])
        coefficients = _least_deviations(design[~out], latency[~out])
        ratios[out] = latency[out] / (design[out] @ coefficients)
    per_operation, ms_per_gmac = _least_deviations(design, latency)
    low, high = np.quantile(ratios, [0.05, 0.95])
    error = float(np.mean(np.abs(1 / ratios - 1)))
    return Fit(1000 / ms_per_gmac, per_operation, len(rows), tuple(sorted(set(families))), error, low, high)


def _operations(row: Row) -> int:
    return _OPERATIONS.get(family(row["model"]), _TYPICAL_OPERATIONS)


def _least_deviations(design: np.ndarray, latency: np.ndarray) -> np.ndarray:
    """Return positive coefficients of least absolute relative deviation, by reweighted least squares."""
    scaled, goal = design / latency[:, None], np.ones(len(latency))
    weight = np.ones(len(latency))
    coefficients = np.zeros(design.shape[1])
    for _ in range(50):
        coefficients = np.linalg.lstsq(scaled * weight[:, None], goal * weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(scaled @ coefficients - goal), 1e-3))
    if min(coefficients) < 0:  # neither launching an operation nor a MAC takes negative time: the rate alone
        coefficients = np.array([0.0, 1 / np.median(scaled[:, 1] / goal)])
    return coefficients


def selections() -> dict[str, Callable[[Row], bool]]:
    """Return which rows each roofline is fitted on."""

    def pick(device: str, runtime: str, precision: str, **more: str) -> Callable[[Row], bool]:
        return lambda row: (
            row["device"] == device
            and row["runtime"] == runtime
            and row["precision"].split()[0] == precision
            and all(value in row[key] for key, value in more.items())
        )

    pi, orin, a53 = "Raspberry Pi 4B", "Jetson AGX Orin", "Raspberry Pi 3B+"
    zero, nano, xavier = "Raspberry Pi Zero 2 W", "Jetson Nano", "Jetson AGX Xavier"
    agx, pi_5 = "Jetson AGX Orin 64GB", "Raspberry Pi 5"
    return {
        "Raspberry Pi 4B, TFLite float32, 1.8 GHz": pick(pi, "TFLite", "fp32", device_config="1800 MHz"),
        "Raspberry Pi 4B, TFLite int8, 1.8 GHz": pick(pi, "TFLite", "int8", device_config="1800 MHz"),
        "Jetson AGX Orin, TFLite float32, 12 threads": pick(orin, "TFLite", "fp32", runtime_version="v2.11.0"),
        "Jetson AGX Orin, TFLite int8, 12 threads": pick(orin, "TFLite", "int8", runtime_version="v2.11.0"),
        "Jetson Orin Nano Super, OpenVINO float32": pick("Jetson Orin Nano 8GB Super", "OpenVINO", "fp32"),
        "Jetson Orin Nano Super, ONNX Runtime float32": pick("Jetson Orin Nano 8GB Super", "ONNX", "fp32"),
        "Raspberry Pi 3B+, ncnn float32, 4 threads": pick(a53, "ncnn", "fp32/fp16", threads="4"),
        "Raspberry Pi 3B+, ncnn int8, 4 threads": pick(a53, "ncnn", "int8", threads="4"),
        "Raspberry Pi Zero 2 W, ncnn float32, 4 threads": pick(zero, "ncnn", "fp32/fp16", threads="4"),
        "Raspberry Pi Zero 2 W, ncnn int8, 4 threads": pick(zero, "ncnn", "int8", threads="4"),
        "Raspberry Pi 5, ONNX Runtime float32": pick(pi_5, "ONNX", "fp32"),
        "Raspberry Pi 5, OpenVINO float32": pick(pi_5, "OpenVINO", "fp32"),
        "Raspberry Pi 5, TFLite float32, 1 thread": pick(pi_5, "TF Lite", "fp32"),
        "Jetson AGX Orin, TensorRT float32": pick(agx, "TensorRT (FP32)", "fp32"),
        "Jetson AGX Orin, TensorRT float16": pick(agx, "TensorRT (FP16)", "fp16"),
        "Jetson AGX Orin, TensorRT int8": pick(agx, "TensorRT (INT8)", "int8"),
        "Jetson AGX Orin, OpenVINO float32": pick(agx, "OpenVINO", "fp32"),
        "Jetson Nano, ncnn float32 on the cores, 4 threads": pick(
            nano, "ncnn", "fp32/fp16", threads="4", accelerator="CPU"
        ),
        "Jetson Nano, ncnn int8 on the cores, 4 threads": pick(nano, "ncnn", "int8", threads="4", accelerator="CPU"),
        "Jetson AGX Xavier, TensorRT float16": pick(xavier, "TensorRT via torch2trt", "fp16"),
        "Jetson AGX Xavier, TensorRT int8": pick(xavier, "TensorRT", "int8", device_config="AGX_Xavier_TRT NVIDIA"),
        "Jetson AGX Xavier, TFLite float32, 8 threads": pick(xavier, "TFLite", "fp32", runtime_version="v2.11.0"),
        "Jetson AGX Xavier, TFLite int8, 8 threads": pick(xavier, "TFLite", "int8", runtime_version="v2.11.0"),
    }


def tensorrt_rows(precision: str) -> list[Row]:
    """Return the Jetson Orin Nano Super's TensorRT rows in the table's columns."""
    return [
        {"model": f"YOLO11{size}", "macs_m": str(gmacs * 1000), "latency_ms": str(ms), "p50_ms": "", "note": "",
         "accelerator": "GPU", "params_m": ""}
        for (size, gmacs), ms in zip(_YOLO11_GMACS.items(), _YOLO11_TENSORRT_MS[precision], strict=True)
    ]  # fmt: skip


def nano_tensorrt_rows(rows: list[Row]) -> list[Row]:
    """Return the Jetson Nano's rows of TensorRT in half precision; ``rows`` is the whole table."""
    return [
        {**row, "latency_ms": str(_NANO_TENSORRT_MS[row["model"]]), "p50_ms": ""}
        for row in rows
        if row["source"].endswith("docs/benchmarks/jetson_nano.md") and row["model"] in _NANO_TENSORRT_MS
    ]


def as_toml(title: str, found: Fit) -> str:
    """Return a fit as the lines that a profile's target holds."""
    return "\n".join(
        [
            f"# {title}: {found.rows} rows of {', '.join(found.families)}",
            f"# mean error of a family left out: {found.held_out_error:.1%}",
            f"effective_gmacs_per_s = {found.rate_gmacs:.4g}",
            f"per_operation_ms = {found.per_operation_ms:.3g}",
            f"interval = {{ low = {found.low:.2f}, high = {found.high:.2f} }}",
            "",
        ]
    )


def main() -> None:
    """Read the table, fit each selection, print TOML."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("latencies", type=Path, help="the table of published latencies, CSV")
    with open(parser.parse_args().latencies, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if steady(row)]
    for title, wanted in selections().items():
        chosen = [row for row in rows if wanted(row)]
        print(as_toml(title, fit(chosen)) if len(chosen) > 1 else f"# {title}: {len(chosen)} rows, not fitted\n")
    for precision in _YOLO11_TENSORRT_MS:
        print(as_toml(f"Jetson Orin Nano Super, TensorRT {precision}", fit(tensorrt_rows(precision))))
    print(as_toml("Jetson Nano, TensorRT float16", fit(nano_tensorrt_rows(rows))))


if __name__ == "__main__":
    main()
