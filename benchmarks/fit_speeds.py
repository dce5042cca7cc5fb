"""Fits how fast devices do each kind of work, and writes devices/profiles/speeds.json.

    python benchmarks/fit_speeds.py            # writes the file
    python benchmarks/fit_speeds.py --print    # writes nothing

Read are benchmarks/measured/rows.csv and work.json (see measured_rows.py). prediction.py measures how good the
predictions are that come of it.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _one_thread  # noqa: F401 - before NumPy
import numpy as np
from _fitted import Series, all_series, counts_of, datasheet, family, fitted, on_processor, pooled, unlike

from edgewright.devices._fitting import Speeds
from edgewright.export._work import COUNTS
from edgewright.files import write_json

FILE = Path(__file__).parents[1] / "devices/profiles/speeds.json"
# The network that a roofline and speeds are made to agree on, where a device has no rows.
REFERENCE = "mobilenet-v2-1.0-224"


@dataclass(frozen=True)
class Wanted:
    """Which series a profile's target is fitted on."""

    profile: str
    format: str
    precision: str
    device: str
    runtime: str
    row_precision: str
    version: str = ""
    setting: str = ""
    threads: int | None = None

    def takes(self, series: Series) -> bool:
        """Tell whether it is that series."""
        return (
            (series.device, series.runtime, series.precision) == (self.device, self.runtime, self.row_precision)
            and self.version in series.version
            and self.setting in series.setting
            and self.threads in (None, series.threads)
        )


_PI_4, _PI_3, _PI_5 = "Raspberry Pi 4B", "Raspberry Pi 3B+", "Raspberry Pi 5"
_GENERAL = ("Raspberry Pi 3B", "Raspberry Pi 3B+", "Raspberry Pi 4B", "Jetson AGX Xavier", "Jetson AGX Orin")
_ORIN, _AGX, _SUPER = "Jetson AGX Orin", "Jetson AGX Orin 64GB", "Jetson Orin Nano 8GB Super"
WANTED = (
    Wanted("raspberry-pi-4b", "tflite", "float32", _PI_4, "TFLite", "fp32", "v2.7.1", "1800 MHz"),
    Wanted("raspberry-pi-4b", "tflite", "int8", _PI_4, "TFLite", "int8", "v2.7.1", "1800 MHz"),
    Wanted("raspberry-pi-3b-plus", "tflite", "float32", _PI_3, "TFLite", "fp32", setting="64bit; XNNPACK", threads=4),
    Wanted("raspberry-pi-3b-plus", "tflite", "int8", _PI_3, "TFLite", "int8", setting="64bit; TFLite b", threads=4),
    Wanted("raspberry-pi-5", "onnx", "float32", _PI_5, "ONNX", "fp32", "8.3.39"),
    Wanted("raspberry-pi-5", "openvino", "float32", _PI_5, "OpenVINO", "fp32", "8.3.39"),
    Wanted("jetson-agx-orin", "tflite", "float32", _ORIN, "TFLite", "fp32", "v2.11.0"),
    Wanted("jetson-agx-orin", "tflite", "int8", _ORIN, "TFLite", "int8", "v2.11.0"),
    Wanted("jetson-agx-orin", "openvino", "float32", _AGX, "OpenVINO", "fp32"),
    Wanted("jetson-orin-nano-super", "openvino", "float32", _SUPER, "OpenVINO", "fp32"),
)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    series = [each for each in all_series() if on_processor(each)]
    factors = pooled(general(series))
    document = {
        "about": "Fitted by benchmarks/fit_speeds.py to published latencies: ms for a unit of each kind of work",
        "fitted_on": datetime.now(UTC).date().isoformat(),
        "expected": {kind: _named(values) for kind, values in factors.items()},
        "reference": {"model": REFERENCE} | {kind: _named(counts_of(REFERENCE, kind)) for kind in ("float32", "int8")},
        "speeds": [],
    }
    for wanted in WANTED:
        chosen = [each for each in series if wanted.takes(each)]
        if len(chosen) != 1:
            raise SystemExit(f"Expected one series for {wanted}. Got: {[each.title for each in chosen]}.")
        speeds = fitted(chosen[0], factors)
        entry = _entry(wanted, chosen[0], speeds, unlike(chosen[0], factors))
        document["speeds"].append(entry)
        named = f"{wanted.profile} {wanted.format} {wanted.precision}"
        print(f"{named}: {speeds.rows} rows, spread {_spread(entry):.1%}")
    if not arguments.print:
        write_json(FILE, document)


def _spread(entry: dict[str, Any]) -> float:
    return float(entry["calibration"]["spread"])


def general(series: Iterable[Series]) -> list[Series]:
    """Return the series that tell what to expect of any processor: TFLite's, of the most boards and models.

    So are NAS-Bench-201's, whose table does not state the runtime: they have the convolutions that the others lack.
    """
    return [each for each in series if each.runtime in ("TFLite", "not stated") and each.device in _GENERAL]


def _entry(wanted: Wanted, series: Series, speeds: Speeds, unlike_others: float) -> dict[str, Any]:
    return {
        "device": wanted.profile,
        "calibration": {
            "format": wanted.format,
            "precision": wanted.precision,
            "threads": series.threads,
            "measured_with": _measured_with(series),
            "whose": "published",
            "rows": speeds.rows,
            "spread": round(max(speeds.spread, unlike_others), 4),
            "ms": _named(speeds.ms),
            "covariance": [[float(f"{value:.4g}") for value in row] for row in speeds.covariance],
        },
        "over_datasheet": _named(speeds.ms / datasheet(series)),
        "models": sorted(set(series.models)),
        "families": sorted({family(model) for model in series.models}),
        "sources": list(series.sources),
    }


def _measured_with(series: Series) -> str:
    if series.version.startswith("ultralytics"):
        return f"{series.runtime.replace('ONNX', 'ONNX Runtime')} of unstated version"
    return series.version if series.runtime in series.version else f"{series.runtime} {series.version}"


def _named(values: np.ndarray) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in zip(COUNTS, values, strict=True)}


if __name__ == "__main__":
    main()
