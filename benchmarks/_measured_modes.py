"""Networks measured in two power modes of one Jetson, and how well the second follows from the first.

The latency in a lower mode is predicted as the one in the highest times what ``Profile.in_mode`` scales it by. Beside
it stands "as long as in the highest mode". Of boards without a profile that of the Jetson Xavier NX stands in, with
their cores and clocks: a ratio is judged, to which its rates matter little.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _fitted import all_series, counts_of

from edgewright import devices
from edgewright.devices import Profile, speeds_of

Mode = tuple[int, float, float, float]
# Cores, their clock, the GPU's in GHz and the memory's GB/s by what a row's setting holds, the highest mode first.
# github:LineageOS/android_device_nvidia_galen@51d9adcb2676: NVIDIA's nvpmodel_t194.conf; of the memory's 2133 MHz mode
# 2 leaves 1331, the next three 1600.
_AGX_XAVIER: dict[str, Mode] = {
    "power.0": (8, 2.2656, 1.377, 136.5),
    "power.2": (4, 1.2, 0.67, 85.2),
    "power.3": (8, 1.2, 0.9, 102.4),
    "power.4": (6, 1.45, 0.9, 102.4),
    "power.5": (4, 1.78, 0.9, 102.4),
}
# jetsonhacks.com, NVPModel, NVIDIA Jetson TX2 Development Kit: GPU; its memory's clocks are not told there.
_TX2: dict[str, Mode] = {
    "maxn": (4, 2.0, 1.3, 59.7),
    "maxp": (4, 1.4, 1.12, 59.7),
    "maxq": (4, 1.2, 0.85, 59.7),
}
# YOLOv8n in TensorRT, ms in MAXN_SUPER and in 15 W, from github:hokwangchoi/jetson-orin-nano-benchmarks@4048af1e3e18:
# vision-benchmarks/assets/results. Both are of the GPU alone, with jetson_clocks.
_YOLO8N_MS = {"float32": (8.36, 11.04), "float16": (4.43, 6.13), "int8": (3.49, 4.9)}
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


@dataclass(frozen=True)
class InMode:
    """A latency in a lower mode: predicted from the highest, measured, and the factors that the interval widened by."""

    title: str
    unit: str
    high_ms: float
    low_ms: float
    predicted_ms: float
    wider: tuple[float, float]

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_ms / self.low_ms - 1

    @property
    def same_error(self) -> float:
        """The error of taking it to be as long as in the highest mode."""
        return self.high_ms / self.low_ms - 1

    @property
    def held(self) -> bool:
        """Whether measured over predicted lies within what the interval is widened by."""
        return self.wider[0] <= self.low_ms / self.predicted_ms <= self.wider[1]


def in_modes() -> list[InMode]:
    """Return every pair of the tables, with the lower mode predicted."""
    return [*_of_orin_nano(), *_of_table("Jetson AGX Xavier", _AGX_XAVIER), *_of_table("Jetson TX2", _TX2)]


def lines(found: list[InMode]) -> Iterator[str]:
    """Return the pairs as text, and a summary by unit."""
    for each in found:
        yield (
            f"{each.title:64}{each.low_ms / each.high_ms:5.2f} times as long, predicted "
            f"{each.predicted_ms / each.high_ms:.2f}: error {each.error:+6.1%}, as in the highest mode "
            f"{each.same_error:+6.1%}"
        )
    by_unit: dict[str, list[InMode]] = defaultdict(list)
    for each in found:
        by_unit[each.unit].append(each)
    for unit, some in by_unit.items():
        error, same = (np.mean(np.abs(values)) for values in zip(*((x.error, x.same_error) for x in some), strict=True))
        yield (
            f"{unit + ', all':64}{len(some)} rows, mean error {error:.1%}, the widened part of the interval holds "
            f"{np.mean([each.held for each in some]):.0%}; baseline (the same latency) {same:.1%}"
        )


def with_modes(modes: dict[str, Mode], tpcs: dict[str, int] | None = None) -> Profile:
    """Return a profile of the Xavier NX's rates with these modes, in the first of them, as many threads as cores."""
    known = devices.get("jetson-xavier-nx").model_dump()
    first = next(iter(modes))
    known["power_modes"] = [
        {
            "name": name,
            "cpu_count": _sourced(count),
            "cpu_clock_ghz": _sourced(cpu),
            "gpu_clock_ghz": _sourced(gpu),
            "gpu_tpcs": _sourced(tpcs[name]) if tpcs else None,
            "bandwidth_gbytes_per_s": _sourced(bandwidth),
        }
        for name, (count, cpu, gpu, bandwidth) in modes.items()
    ]
    own = known["power_modes"][0]
    known["power"] |= {"mode": _sourced(first), "modes": _sourced(tuple(modes))}
    known["cpu"] |= {"count": own["cpu_count"], "clock_ghz": own["cpu_clock_ghz"]}
    known["memory"]["bandwidth_gbytes_per_s"] = own["bandwidth_gbytes_per_s"]
    known["accelerators"][0]["clock_ghz"] = own["gpu_clock_ghz"]
    for target in known["targets"]:
        target["threads"] = modes[first][0] if target["unit"] == "cpu" else 1
    return Profile.model_validate(known)


def _sourced(value: object) -> dict[str, object]:
    return {"value": value, "how": "read", "source": "the tables above"}


def _of_orin_nano() -> Iterator[InMode]:
    profile = devices.get("jetson-orin-nano-super")
    for precision, measured in _YOLO8N_MS.items():
        title = f"Jetson Orin Nano, TensorRT {precision}, YOLOv8n, 15 W"
        # Its graph is not among the measured ones; on a GPU all of whose processors stay on, any has the same ratio.
        yield _judged(title, profile, "15 W", ("onnx", precision), "yolo11n", measured)


def _of_table(device: str, modes: dict[str, Mode]) -> Iterator[InMode]:
    profile = with_modes(modes)
    high, *lower = modes
    measured: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    for series in all_series():
        mode = next((name for name in modes if name in series.setting), None)
        if series.device != device or mode is None:
            continue
        for model, latency in zip(series.models, series.latency_ms, strict=True):
            measured[series.runtime, series.version, series.precision, model][mode] = float(latency)
    for (runtime, _, precision, model), by_mode in measured.items():
        for mode in lower:
            if high in by_mode and mode in by_mode:
                title = f"{device}, {runtime} {precision}, {model}, {mode}"
                target = ("onnx" if runtime == "TensorRT" else "tflite", _PRECISIONS[precision])
                yield _judged(title, profile, mode, target, model, (by_mode[high], by_mode[mode]))


def _judged(
    title: str, profile: Profile, mode: str, which: tuple[str, str], model: str, measured: tuple[float, float]
) -> InMode:
    """Judge one pair; ``measured`` is in the profile's own mode and in ``mode``."""
    there, counts = profile.in_mode(mode), counts_of(model, "fp32")
    above, below = profile.target(*which), there.target(*which)
    ratio = speeds_of(there, below).latency(counts)[0] / speeds_of(profile, above).latency(counts)[0]
    was, now = above.interval.value, below.interval.value
    wider = (now.low / was.low, now.high / was.high)
    return InMode(title, above.unit, *measured, measured[0] * ratio, wider)
