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
from _fitted import Factors, Series, all_series, counts_of, datasheet, family, fitted, on_processor, pooled, unlike

from edgewright.devices._fitting import Speeds, fit
from edgewright.export._work import COUNTS
from edgewright.files import write_json

FILE = Path(__file__).parents[1] / "devices/profiles/speeds.json"
# The network that a roofline and speeds are made to agree on, where a device has no rows.
REFERENCE = "mobilenet-v2-1.0-224"


@dataclass(frozen=True)
class Wanted:
    """Which series a profile's target is fitted on, and, where it is of few models, after which one."""

    profile: str
    format: str
    precision: str
    device: str
    runtime: str
    row_precision: str
    version: str = ""
    setting: str = ""
    threads: int | None = None
    after: "Wanted | None" = None

    def takes(self, series: Series) -> bool:
        """Tell whether it is that series."""
        return (
            (series.device, series.runtime, series.precision) == (self.device, self.runtime, self.row_precision)
            and self.version in series.version
            and self.setting in series.setting
            and self.threads in (None, series.threads)
        )


_PI_4, _PI_3, _PI_5 = "Raspberry Pi 4B", "Raspberry Pi 3B+", "Raspberry Pi 5"
_GENERAL = (
    *("Raspberry Pi 3B", "Raspberry Pi 3B+", "Raspberry Pi 4B", "Raspberry Pi 5"),
    *("Jetson AGX Xavier", "Jetson AGX Orin"),
)
_ORIN, _AGX, _SUPER = "Jetson AGX Orin", "Jetson AGX Orin 64GB", "Jetson Orin Nano 8GB Super"
_MANY_FLOAT = Wanted("raspberry-pi-4b", "tflite", "float32", _PI_4, "TFLite", "fp32", "v2.7.1", "1800 MHz")
_MANY_INT8 = Wanted("raspberry-pi-4b", "tflite", "int8", _PI_4, "TFLite", "int8", "v2.7.1", "1800 MHz")
# How much faster a later version may be, on the whole and at each kind of work, as a logarithm's standard deviation.
_LATER, _LATER_EACH = 0.4, 0.2
# As far a network is off whose family no row is of, where all rows are of one: see prediction.py.
_OTHER_FAMILY = 0.15
WANTED = (
    Wanted("raspberry-pi-4b", "tflite", "float32", _PI_4, "TFLite", "fp32", "2.18.0", threads=4, after=_MANY_FLOAT),
    Wanted("raspberry-pi-4b", "tflite", "int8", _PI_4, "TFLite", "int8", "2.18.0", threads=4, after=_MANY_INT8),
    Wanted("raspberry-pi-5", "tflite", "float32", _PI_5, "TFLite", "fp32", "2.18.0", threads=4),
    Wanted("raspberry-pi-5", "tflite", "int8", _PI_5, "TFLite", "int8", "2.18.0", threads=4),
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
        # Profiles' rates, which set the level, are of the versions whose kernels these are.
        "expected": {kind: _named(factors["others", kind]) for kind in ("float32", "int8")},
        "reference": {"model": REFERENCE} | {kind: _named(counts_of(REFERENCE, kind)) for kind in ("float32", "int8")},
        "speeds": [],
    }
    for wanted in WANTED:
        chosen, speeds = speeds_for(wanted, series, factors)
        entry = _entry(wanted, chosen, speeds, unlike(chosen[0], factors) or _OTHER_FAMILY)
        document["speeds"].append(entry)
        named = f"{wanted.profile} {wanted.format} {wanted.precision}"
        print(f"{named}: {speeds.rows} rows, spread {_spread(entry):.1%}")
    if not arguments.print:
        write_json(FILE, document)


def speeds_for(wanted: Wanted, series: Iterable[Series], factors: Factors) -> tuple[list[Series], Speeds]:
    """Return what a target is fitted on, the latest version's rows at the end, and what comes of it."""
    chosen = [_taken(each, series) for each in (wanted.after, wanted) if each]
    speeds = fitted(chosen[0], factors)
    for later in chosen[1:]:
        speeds = fit(_later(speeds), later.counts, later.latency_ms)
    return chosen, speeds


def _taken(wanted: Wanted, series: Iterable[Series]) -> Series:
    chosen = [each for each in series if wanted.takes(each)]
    if len(chosen) != 1:
        raise SystemExit(f"Expected one series for {wanted}. Got: {[each.title for each in chosen]}.")
    return chosen[0]


def _later(speeds: Speeds) -> Speeds:
    """Return what is expected of a later version of a runtime."""
    wider = _LATER**2 + _LATER_EACH**2 * np.eye(len(COUNTS))
    return Speeds(speeds.ms, speeds.covariance + wider, speeds.spread, 0)


def _spread(entry: dict[str, Any]) -> float:
    return float(entry["calibration"]["spread"])


def general(series: Iterable[Series]) -> list[Series]:
    """Return the series that tell what to expect of any processor: TFLite's, of the most boards and models.

    So are NAS-Bench-201's, whose table does not state the runtime: they have the convolutions that the others lack.
    """
    return [each for each in series if each.runtime in ("TFLite", "not stated") and each.device in _GENERAL]


def _entry(wanted: Wanted, chosen: list[Series], speeds: Speeds, unlike_others: float) -> dict[str, Any]:
    series = chosen[-1]
    models = {model for each in chosen for model in each.models}
    return {
        "device": wanted.profile,
        "calibration": {
            "format": wanted.format,
            "precision": wanted.precision,
            "threads": series.threads,
            "measured_with": _measured_with(series),
            "whose": "published",
            "rows": sum(len(each.models) for each in chosen),
            "spread": round(max(speeds.spread, unlike_others), 4),
            "ms": _named(speeds.ms),
            "covariance": [[float(f"{value:.4g}") for value in row] for row in speeds.covariance],
        },
        "over_datasheet": _named(speeds.ms / datasheet(series)),
        "models": sorted(models),
        "families": sorted({family(model) for model in models}),
        "sources": sorted({source for each in chosen for source in each.sources}),
    }


def _measured_with(series: Series) -> str:
    if series.version.startswith("ultralytics"):
        return f"{series.runtime.replace('ONNX', 'ONNX Runtime')} of unstated version"
    return series.version if series.runtime in series.version else f"{series.runtime} {series.version}"


def _named(values: np.ndarray) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in zip(COUNTS, values, strict=True)}


if __name__ == "__main__":
    main()
