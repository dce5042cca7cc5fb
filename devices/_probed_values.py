"""How what a probe read becomes a value of a profile: names of cores, instruction sets, runtimes, scaled rates."""

import re
from typing import Any

from ._profile import Cpu

Facts = dict[str, Any]

# By implementer and part in /proc/cpuinfo, which are MIDR_EL1's in the Technical Reference Manual of each core.
_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}
# What the distributions that run a format are called in a profile, those that are taken first, first.
_DISTRIBUTIONS = {
    "tflite": (("ai-edge-litert", "LiteRT"), ("tflite-runtime", "TFLite"), ("tensorflow", "TFLite")),
    "onnx": (("onnxruntime", "ONNX Runtime"), ("onnxruntime-gpu", "ONNX Runtime")),
    "openvino": (("openvino", "OpenVINO"),),
}
_TENSORRT = "TensorRT"
# Limits of an interval's factors in a profile.
_LOWEST, _HIGHEST = 0.01, 100.0


def core_name(cpu: Facts) -> str:
    """Return what a core is called; one that is not known by its numbers."""
    if not cpu["arm"]:
        return str(cpu["model_name"] or "x86-64")
    known = _CORES.get((cpu["implementer"], cpu["part"]))
    return known or f"Arm core, implementer {cpu['implementer']}, part {cpu['part']}"


def instruction_set(cpu: Facts) -> str:
    """Return the architecture that the flags tell of: Armv8.2-A has asimdrdm, atomics and dcpop, and so on."""
    flags = set(cpu["flags"])
    if not cpu["arm"]:
        return " with ".join(filter(None, ("x86-64", ", ".join(cpu["flags"]))))
    if "asimd" not in flags:
        return "ARMv7-A"
    if "sve2" in flags:
        return "ARMv9.0-A"
    if {"fphp", "asimdhp", "atomics"} <= flags:
        return "ARMv8.2-A"
    return "ARMv8.1-A" if "atomics" in flags else "ARMv8.0-A"


def runtime_version(entry: Facts, facts: Facts) -> tuple[str, Facts, str] | None:
    """Return the name, the fact and the version of the installed runtime of an entry's format; None without one."""
    tensorrt = facts["system"].get("tensorrt")
    if _TENSORRT in entry["name"]:
        # What such a file needs is TensorRT's version; ONNX Runtime only hands it on.
        short = ".".join(tensorrt["value"].split(".")[:2]) if tensorrt else ""
        return (entry["name"], tensorrt, f"{_TENSORRT} {short}") if tensorrt else None
    for distribution, name in _DISTRIBUTIONS.get(entry["format"], ()):
        found = facts["runtimes"].get(distribution)
        if found and re.fullmatch(r"\d+(\.\d+)*", found["value"]):
            return name, found, found["value"]
    return None


def clock_ratio(base: Cpu, new: Facts, cores: bool) -> float:
    """Return by what rates are multiplied for the clock that was read and, where asked for, the number of cores."""
    clocks = new["clock_ghz"]["value"] / base.clock_ghz.value
    return float(clocks * (new["count"]["value"] / base.count.value if cores else 1.0))


def scaled(
    roofline: Facts,
    ratio: float,
    wider: tuple[float, float],
    title: str,
    by_what: str = "the clocks and cores read",
    share: float = 1.0,
) -> None:
    """Scale a roofline's rates by ``ratio`` and widen its interval; what is the same within 2 % is left as it is.

    Args:
        by_what: tells in the source where the ratio comes from.
        share: of the unit's processors that are on: the rate alone is multiplied by it.
    """
    same = abs(ratio - 1) < 0.02 and share == 1.0
    if same and wider == (1.0, 1.0):
        return
    how = f"{title}, x {ratio * share:.4g} by {by_what}: "
    for key, by in (
        ("effective_gmacs_per_s", ratio * share),
        ("overhead_ms", 1 / ratio),
        ("per_operation_ms", 1 / ratio),
    ):
        value = roofline[key]
        roofline[key] = {
            "value": float(f"{value['value'] * by:.4g}"),
            "how": "derived",
            "source": how + value["source"],
        }
    interval = roofline["interval"]
    low, high = interval["value"]["low"] * wider[0], interval["value"]["high"] * wider[1]
    roofline["interval"] = {
        "value": {"low": float(f"{max(low, _LOWEST):.3g}"), "high": float(f"{min(high, _HIGHEST):.3g}")},
        "how": "derived",
        "source": how + interval["source"],
    }
