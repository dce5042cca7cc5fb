"""What a device told of itself while it was measured, for people: heat, clocks, power, and what held it back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .devices import Profile
from .runtimes import Measurement


def telemetry_text(device: str, profile: Profile, measurements: Sequence[Measurement]) -> str:
    """Return a line of what was read before and after each process, as ranges."""
    read = [reading for each in measurements for process in each.processes for reading in process.telemetry.values()]
    held = dict.fromkeys(reason for each in measurements for process in each.processes for reason in process.held_back)
    parts = [*_heat(read), *_clocks(read), *_power(read)]
    counted = any(value is not None for reading in read for value in reading.get("throttled", {}).values())
    parts.append("; ".join(held) or ("not throttled" if counted else "it does not tell whether it was throttled"))
    tpu = profile.accelerator("edgetpu")
    if tpu and tpu.link and tpu.link.value != "pcie":
        parts.append("an Edge TPU on USB tells no temperature")
    return f"{device}: {'; '.join(parts)}"


def _heat(read: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    found = [
        *(reading.get("temperature_c", {}) for reading in read),
        *(reading.get("tegrastats", {}).get("temperature_c", {}) for reading in read),
    ]
    by_name = _by_name(found)
    # A Jetson tells the same zones twice; a power chip's is a constant.
    hottest = sorted(by_name.items(), key=lambda item: -max(item[1]))[:3]
    for name, values in hottest:
        yield f"{name.split(' ')[-1]} {_range(values, 1, '.1f')} °C"
    if not hottest:
        yield "it tells no temperature"


def _clocks(read: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    values = [value for reading in read for value in reading.get("clock_khz", {}).values() if value]
    governors = sorted({name for reading in read for name in reading.get("governor", ())})
    governor = f", governor {', '.join(governors)}" if governors else ""
    yield f"clock {_range(values, 1e3, '.0f')} MHz{governor}" if values else "it tells no clock"


def _power(read: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    found = [
        *(reading.get("power_mw", {}) for reading in read),
        *(reading.get("tegrastats", {}).get("power_mw", {}) for reading in read),
    ]
    for name, values in list(_by_name(found).items())[:3]:
        yield f"{name} {_range(values, 1e3, '.2f')} W"


def _by_name(found: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    by_name: dict[str, list[float]] = {}
    for each in found:
        for name, value in each.items():
            by_name.setdefault(name, []).append(float(value))
    return by_name


def _range(values: Sequence[float], unit: float, form: str) -> str:
    low, high = (f"{value / unit:{form}}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
