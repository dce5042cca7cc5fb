"""How far the shipped rates of the Jetsons' GPUs are off on published rows of TensorRT, beside a baseline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from _fitted import Series, all_series, counts_of
from _measured_modes import with_modes
from fit_rooflines import _YOLO11_GMACS, _YOLO11_TENSORRT_MS, _least_deviations

from edgewright import devices
from edgewright.devices import Profile, speeds_of
from edgewright.export._work import COUNTS, MULTIPLYING

_PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
# Cores, clocks and GB/s; GPU: 3 processors (TPCs) of the Xavier NX, 4 of the AGX Xavier, which was measured.
_NX, _AGX = (6, 1.4208, 1.10925, 59.7), (8, 2.2656, 1.377, 136.5)


@dataclass(frozen=True)
class Judged:
    """Ratios of predicted to measured: by the shipped rates, and refitted and by the baseline without the model."""

    title: str
    shipped: np.ndarray
    held: np.ndarray
    left_out: np.ndarray
    baseline: np.ndarray

    def line(self) -> str:
        """Return it as text."""
        shipped, left_out, baseline = (np.abs(each - 1) for each in (self.shipped, self.left_out, self.baseline))
        return (
            f"{self.title:40}{len(shipped):3} rows, shipped rates {shipped.mean():6.1%} mean error, within 20 % "
            f"{np.mean(shipped <= 0.2):4.0%}, interval holds {self.held.mean():4.0%}; a model left out "
            f"{left_out.mean():6.1%}, baseline {baseline.mean():6.1%}"
        )

    def plain(self) -> dict[str, list[float]]:
        """Return it as figures."""
        return {
            name: [float(value) for value in getattr(self, name)]
            for name in ("shipped", "held", "left_out", "baseline")
        }


def gpus(baseline: Callable[[Series], np.ndarray]) -> Iterator[Judged]:
    """Judge each series; ``baseline`` fits MACs, parameters and one.

    The shipped rates were fitted to these very rows, so that they are judged by what they cannot fit. The same two
    rates, fitted without each model, tell of a model that was not measured.
    """
    for series, profile in _series():
        yield _judged(series, profile, baseline)


def _series() -> Iterator[tuple[Series, Profile]]:
    agx_orin, nano = devices.get("jetson-agx-orin"), devices.get("jetson-orin-nano-super")
    xavier = with_modes({"NX": _NX, "AGX": _AGX}, {"NX": 3, "AGX": 4}).in_mode("AGX")
    for precision, measured in _YOLO11_TENSORRT_MS.items():
        models = tuple(f"yolo11{size}" for size in _YOLO11_GMACS)
        counts = np.array([counts_of(model, precision) for model in models])
        of = ("Jetson Orin Nano Super", "TensorRT", "", "GPU", 1, precision, models, counts, np.array(measured), ())
        yield Series(*of), nano
    for series in all_series():
        if series.device == "Jetson AGX Orin 64GB" and series.runtime.startswith("TensorRT"):
            yield series, agx_orin
        if series.device == "Jetson AGX Xavier" and series.runtime == "TensorRT via torch2trt":
            yield series, xavier


def _judged(series: Series, profile: Profile, baseline: Callable[[Series], np.ndarray]) -> Judged:
    target = profile.target("onnx", _PRECISIONS[series.precision])
    figures = np.array([speeds_of(profile, target).latency(counts) for counts in series.counts])
    known, launches = series.latency_ms, COUNTS.index("launches")
    design = np.stack([series.counts[:, launches], series.counts[:, : len(MULTIPLYING)].sum(1) / 1e9], axis=1)
    plain = np.stack([design[:, 1] * 1e9, series.counts[:, COUNTS.index("weights")], np.ones(len(known))], axis=1)
    left_out, others = np.empty(len(known)), np.empty(len(known))
    for model in set(series.models):
        out = np.array([each == model for each in series.models])
        rest = series.only(lambda each, model=model: each != model)
        left_out[out] = design[out] @ _least_deviations(design[~out], known[~out])
        others[out] = plain[out] @ baseline(rest)
    held = (figures[:, 1] <= known) & (known <= figures[:, 2])
    return Judged(
        f"{series.device}, TensorRT {series.precision}", figures[:, 0] / known, held, left_out / known, others / known
    )
