"""A profile in another of its device's power modes: what the mode caps, and rates scaled by it."""

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import InputError, nearest
from ..export._work import COUNTS
from ._expected import expected_speeds
from ._fitted import document, shipped_calibrations
from ._probed_values import scaled
from ._profile import Calibration, Cpu, Memory, PowerMode, Profile, Unsupported
from ._speeds import kind_of, slower_than_copied

# How much wider a scaled interval is, by unit. Of networks in lower modes (benchmarks/prediction.py, "power modes"),
# ResNet-50 on an AGX Xavier's cores took 1.05 to 1.54 times as long as scaled; on GPUs, two networks on a TX2 took 0.96
# to 1.02 times, YOLOv8n on an Orin Nano 0.79 to 0.84 times: not all that holds a small network up is capped.
_WIDER = {"cpu": (1.0, 1.6), "gpu": (0.75, 1.1)}
_NINETY = 1.645  # standard deviations to either side that hold 90 % of a normal distribution


def mode_key(name: str) -> str:
    """Return a mode's name as it is compared: letters and digits, without the MODE_ of /etc/nvpmodel.conf.

    >>> mode_key("MODE_30W"), mode_key("30 W"), mode_key("MAXN_SUPER")
    ('30w', '30w', 'maxnsuper')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("mode")


def find_mode(modes: Iterable[PowerMode], name: str) -> PowerMode | None:
    """Return the mode of that name, or None."""
    return next((mode for mode in modes if mode_key(mode.name) == mode_key(name)), None)


def in_mode(profile: Profile, name: str) -> Profile:
    """Return a profile in a power mode; see ``Profile.in_mode``."""
    mode = find_mode(profile.power_modes, name)
    if mode is None:
        raise InputError(_unknown(profile, name))
    power = profile.power
    if power is not None and power.mode is not None and mode_key(power.mode.value) == mode_key(name):
        return profile
    was = power.mode.value if power is not None and power.mode is not None else "another mode"
    cpu = profile.cpu.model_copy(update={"count": mode.cpu_count, "clock_ghz": mode.cpu_clock_ghz})
    memory = profile.memory.model_copy(update={"bandwidth_gbytes_per_s": mode.bandwidth_gbytes_per_s})
    known: dict[str, Any] = profile.model_dump()
    known |= {
        "name": f"{profile.name}@{''.join(mode.name.split())}",
        "title": f"{profile.title} in its mode {mode.name}",
        "cpu": cpu.model_dump(),
        "memory": memory.model_dump(),
        "calibrations": [each.model_dump() for each in _calibrations(profile, mode, cpu, memory, was)],
    }
    source = mode.cpu_clock_ghz.model_dump(exclude={"value"})
    told = {"mode": mode.name, "scaled_from": was}
    known["power"] |= {key: {"value": value, **source} for key, value in told.items()}
    known["power"] |= {"idle_w": None, "load_w": None}
    for entry in known["accelerators"]:
        if entry["unit"] == "gpu":
            entry["clock_ghz"] = mode.gpu_clock_ghz.model_dump()
    for target, own in zip(known["targets"], profile.targets, strict=True):
        for roofline in filter(None, (target, target["fallback"])):
            slower = slower_than_copied(profile, own) if roofline is target else 1.0
            _scale(roofline, kind_of(target["precision"]), profile, mode, cpu, memory, slower)
    return Profile.model_validate(known)


def _unknown(profile: Profile, name: str) -> str:
    """Return what to say where a device has no such mode."""
    if not profile.power_modes:
        return (
            f"Expected {profile.name} without @: the clocks of no other power mode are known of it. "
            f"Got: {f'{profile.name}@{name}'!r}."
        )
    modes = ", ".join(mode.name for mode in profile.power_modes)
    hint = nearest(mode_key(name), [mode_key(mode.name) for mode in profile.power_modes])
    return f"Expected a power mode of {profile.title}: {modes}. Got: {name!r}.{hint}"


def _scale(
    roofline: dict[str, Any], kind: str, profile: Profile, mode: PowerMode, cpu: Cpu, memory: Memory, slower: float
) -> None:
    """Scale a roofline in place: on a processor as the datasheet of a reference network's work, on a GPU by its clock.

    A GPU's multiplications are also done by the processors that the mode leaves on, where it says how many. ``slower``
    is how many times slower the profile's processor is than the one that the rates are of.
    """
    threads, share = roofline["threads"], 1.0
    accelerator = profile.accelerator(roofline["unit"])
    if roofline["unit"] == "cpu":
        reference = np.array([document()["reference"][kind][name] for name in COUNTS])
        roofline["threads"] = min(threads, cpu.count.value)
        before = expected_speeds(profile.cpu, profile.memory, kind, threads).ms @ reference
        ratio = float(before / (expected_speeds(cpu, memory, kind, roofline["threads"]).ms @ reference))
    elif accelerator is not None and roofline["unit"] == "gpu":
        ratio = mode.gpu_clock_ghz.value / accelerator.clock_ghz.value
        share = _processors_left_on(profile, mode)
    else:
        return
    wider = _wider(roofline["unit"], 1 / (ratio * share), _memory_slower(profile, memory))
    scaled(roofline, ratio / slower, wider, profile.title, f"what the mode {mode.name} caps", share)


def _processors_left_on(profile: Profile, mode: PowerMode) -> float:
    """Return the GPU's processors (TPCs) that are on, over those of the profile's own mode."""
    own = find_mode(profile.power_modes, profile.power.mode.value) if profile.power and profile.power.mode else None
    if own is None or own.gpu_tpcs is None or mode.gpu_tpcs is None:
        return 1.0
    return mode.gpu_tpcs.value / own.gpu_tpcs.value


def _memory_slower(profile: Profile, memory: Memory) -> float:
    return profile.memory.bandwidth_gbytes_per_s.value / memory.bandwidth_gbytes_per_s.value


def _wider(unit: str, slower: float, memory_slower: float) -> tuple[float, float]:
    """Return the factors on an interval's ends: what waits for the memory does not follow the clock.

    A network that the memory alone holds up would take ``memory_slower`` times as long: the end goes half way there.
    """
    if abs(slower - 1) < 0.02 and abs(memory_slower - 1) < 0.02:
        return 1.0, 1.0
    low, high = _WIDER[unit]
    half_way = math.sqrt(memory_slower / slower)
    return min(low, half_way), max(high, half_way)


def _calibrations(profile: Profile, mode: PowerMode, cpu: Cpu, memory: Memory, was: str) -> list[Calibration]:
    """Return what was fitted on processors, each kind of work as much slower as the datasheet tells; of a GPU nothing.

    Of a GPU the scaled rates stand for what was fitted: no datasheet tells how its kinds of work follow the clock.
    """
    made = []
    for each in (*profile.calibrations, *shipped_calibrations(profile)):
        target = profile.target(each.format, each.precision)
        if isinstance(target, Unsupported) or target.unit != "cpu":
            continue
        kind, threads = kind_of(each.precision), min(each.threads, cpu.count.value)
        before = expected_speeds(profile.cpu, profile.memory, kind, each.threads).ms
        slower = expected_speeds(cpu, memory, kind, threads).ms / before
        low, high = _wider("cpu", float(np.exp(np.mean(np.log(slower)))), _memory_slower(profile, memory))
        changes = {
            "threads": threads,
            "measured_with": f"{each.measured_with} in the mode {was}, scaled to {mode.name}",
            "spread": math.hypot(each.spread, math.log(max(high, 1 / low)) / _NINETY),
            "ms": {name: each.ms[name] * float(slower[place]) for place, name in enumerate(COUNTS)},
        }
        made.append(each.model_copy(update=changes))
    return made
