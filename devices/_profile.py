"""A profile: what a device is, what runs on it and how fast, as a TOML file in which every value names its source."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import pydantic

from ..errors import InputError, expected, nearest, shortened
from ..export import names as formats
from ..export._work import COUNTS
from ..files import read_text
from ._nearest import resolve_nearest

T = TypeVar("T")
_PROFILES = f"{__package__}.profiles"
# What a profile calls a runtime, and the runtime's name in runtimes/.
ADAPTERS = {"LiteRT": "litert", "TFLite": "tflite_runtime", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}


@dataclass(frozen=True)
class Unsupported:
    """Why a device does not run a format at a precision, as a sentence."""

    reason: str


def _between(low: float, high: float, whole: bool = False) -> pydantic.BeforeValidator:
    """Return a validator whose message names both limits."""

    def check(value: Any) -> Any:
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            raise ValueError(f"expected a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    return pydantic.BeforeValidator(check)


_Text = Annotated[str, pydantic.Field(min_length=1)]
_Count = Annotated[int, _between(1, 1024, whole=True)]
_GHz = Annotated[float, _between(0.01, 10)]
_Bytes = Annotated[int, _between(2**20, 2**40, whole=True)]
_GBytesPerS = Annotated[float, _between(0.1, 10_000)]
_Watts = Annotated[float, _between(0.01, 1000)]
_Milliseconds = Annotated[float, _between(0, 10_000)]
Unit = Literal["cpu", "gpu", "edgetpu"]


class _Table(pydantic.BaseModel):
    """A table of a profile: frozen, and a key it does not know is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Sourced(_Table, Generic[T]):
    """A value and where it comes from.

    Attributes:
        value: in the unit that the key holding it names.
        how: "read" in the source, "derived" from what is read there, "fitted" to measurements there, "chosen" by hand
            for want of any, as wide intervals are, or "recalled", and so to be looked up.
        source: a key of the profile's ``sources``, replaced by its text on loading.
    """

    value: T
    how: Literal["read", "derived", "fitted", "chosen", "recalled"]
    source: _Text


class Cpu(_Table):
    """The processor; ``dotprod`` and ``fp16_arith`` tell whether its instruction set has them."""

    core: Sourced[_Text]
    count: Sourced[_Count]
    clock_ghz: Sourced[_GHz]
    isa: Sourced[_Text]
    dotprod: Sourced[bool]
    fp16_arith: Sourced[bool]


class Memory(_Table):
    """Main memory; the bandwidth is what a program gets where that was measured, else the datasheet's."""

    size_bytes: Sourced[_Bytes]
    bandwidth_gbytes_per_s: Sourced[_GBytesPerS]


class System(_Table):
    """The operating system and its Python."""

    name: Sourced[_Text]
    python: Sourced[_Text]


class Power(_Table):
    """The power modes that a device has, the one that its clocks and rates are of, and what the whole board draws.

    Attributes:
        mode, modes: None where there is one.
        scaled_from: the mode that the rates were scaled from, where they are not of ``mode``.
        idle_w, load_w: in W, without peripherals: with nothing to do, and with all cores (or the GPU) busy; None where
            no source was found.
    """

    mode: Sourced[_Text] | None = None
    modes: Sourced[tuple[_Text, ...]] | None = None
    scaled_from: Sourced[_Text] | None = None
    idle_w: Sourced[_Watts] | None = None
    load_w: Sourced[_Watts] | None = None


class PowerMode(_Table):
    """A power mode that the device can be set to, and what it caps.

    Attributes:
        name: as ``power.modes`` has it.
        cpu_count: cores that are on.
        gpu_tpcs: of the GPU's processors (TPCs), those that are on; None where no source tells.
        bandwidth_gbytes_per_s: of the memory at the mode's clock.
    """

    name: _Text
    cpu_count: Sourced[_Count]
    cpu_clock_ghz: Sourced[_GHz]
    gpu_clock_ghz: Sourced[_GHz]
    gpu_tpcs: Sourced[_Count] | None = None
    bandwidth_gbytes_per_s: Sourced[_GBytesPerS]


class Accelerator(_Table):
    """A GPU or Edge TPU.

    Attributes:
        cache_mib: what an Edge TPU holds of parameters; what lies beyond is sent over its link at every inference.
        link: what connects an Edge TPU to its host; its speeds are in ``profiles/edgetpu_speeds.json``.
    """

    unit: Literal["gpu", "edgetpu"]
    name: Sourced[_Text]
    clock_ghz: Sourced[_GHz]
    cache_mib: Sourced[Annotated[float, _between(0.1, 1024)]] | None = None
    link: Sourced[Literal["pcie", "usb3-pc", "usb3-pi-4", "usb2-pi-3"]] | None = None


class Runtime(_Table):
    """The runtime that loads a format on the device; its version is part of the device."""

    format: _Text
    name: _Text
    version: Sourced[_Text]


class Interval(_Table):
    """The factors on a predicted latency that bound nine measured ones out of ten."""

    low: Annotated[float, _between(0.01, 1)]
    high: Annotated[float, _between(1, 100)]


class Roofline(_Table):
    """What a unit does in a second, and what each inference and each operation costs on top.

    Attributes:
        unit: where it runs.
        threads: of the runtime; 1 on an accelerator.
        effective_gmacs_per_s: multiply-accumulates that real networks reach, in thousand millions a second.
        overhead_ms: of one inference.
        per_operation_ms: of one operation in the file.
        interval: 90 % interval; ``fitted_rows`` is the number of published measurements behind it, 0 for a guess.
    """

    unit: Unit
    threads: _Count
    effective_gmacs_per_s: Sourced[Annotated[float, _between(0.001, 1_000_000)]]
    overhead_ms: Sourced[_Milliseconds]
    per_operation_ms: Sourced[_Milliseconds]
    interval: Sourced[Interval]
    fitted_rows: Annotated[int, _between(0, 1_000_000, whole=True)]


class Target(Roofline):
    """How a device runs one format at one precision.

    Attributes:
        runtime: name of the runtime on the device.
        widens_weights: whether the runtime widens the file's weights to float32, so that an inference reads four bytes
            for each.
        fallback: on an accelerator, where operations run that it cannot take.
    """

    format: _Text
    precision: _Text
    runtime: _Text
    widens_weights: bool = False
    fallback: Roofline | None = None


class Refusal(_Table):
    """A format and precision that the device does not run, and why; without a precision, all that have no target."""

    format: _Text
    precision: _Text | None = None
    reason: _Text


class Budget(_Table):
    """What an artifact may cost on a device; None leaves it free.

    Attributes:
        latency_ms: of one inference.
        memory_bytes: of the runtime with the artifact at its peak; when None, all that the device has.
        size_bytes: of the artifact's files.
        max_drop: what the metric may lose against the Keras model: points of a percentage for a share such as
            accuracy, the metric's own unit for any other.
    """

    latency_ms: Annotated[float, _between(0.001, 1_000_000)] | None = None
    memory_bytes: Annotated[int, _between(1, 2**40, whole=True)] | None = None
    size_bytes: Annotated[int, _between(1, 2**40, whole=True)] | None = None
    max_drop: Annotated[float, _between(0, 1_000_000)] | None = None


class Calibration(_Table):
    """Speeds fitted to measurements of a device; see ``devices/_fitting.py``.

    Attributes:
        format, precision, threads: of the files and the runtime that were measured.
        measured_with: the runtime, with its version.
        whose: "published", or "own" where a user measured.
        rows: how many measurements were fitted.
        spread: standard deviation of the logarithm of measured / predicted.
        ms: by kind of work, of ``export/_work.py``, what a unit of it takes.
        covariance: of the logarithms of ``ms``, in the order of ``COUNTS``.
    """

    format: _Text
    precision: _Text
    threads: _Count
    measured_with: _Text
    whose: Literal["published", "own"]
    rows: Annotated[int, _between(1, 1_000_000, whole=True)]
    spread: Annotated[float, _between(0.001, 10)]
    ms: dict[str, Annotated[float, _between(0, 1_000_000)]]
    covariance: tuple[tuple[float, ...], ...]

    @pydantic.model_validator(mode="after")
    def _complete(self) -> "Calibration":
        if set(self.ms) != set(COUNTS):
            again = "; one of another version of edgewright is made again by `edgewright devices calibrate`"
            raise ValueError(f"expected ms of {', '.join(COUNTS)}{again}")
        if len(self.covariance) != len(COUNTS) or any(len(row) != len(COUNTS) for row in self.covariance):
            raise ValueError(f"expected covariance as {len(COUNTS)} rows of {len(COUNTS)}")
        return self


class Profile(_Table):
    """A device; without ``power.modes`` it has one power mode; its ``calibrations`` go before the shipped ones."""

    name: _Text
    title: _Text
    sources: dict[str, _Text]
    cpu: Cpu
    memory: Memory
    system: System
    power: Power | None = None
    power_modes: tuple[PowerMode, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    runtimes: tuple[Runtime, ...]
    targets: tuple[Target, ...]
    unsupported: tuple[Refusal, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    budget: Budget

    def target(self, format: str, precision: str) -> Target | Unsupported:
        """Return how the device runs ``format`` at ``precision``, or why it does not."""
        for target in self.targets:
            if (target.format, target.precision) == (format, precision):
                return target
        for asked in (precision, None):
            for refusal in self.unsupported:
                if (refusal.format, refusal.precision) == (format, asked):
                    return Unsupported(refusal.reason)
        known = ", ".join(f"{target.format} {target.precision}" for target in self.targets)
        return Unsupported(f"The profile of {self.title} says nothing about {format} {precision}; it runs {known}.")

    def accelerator(self, unit: str) -> Accelerator | None:
        """Return the accelerator that is ``unit``, or None."""
        return next((accelerator for accelerator in self.accelerators if accelerator.unit == unit), None)

    def in_mode(self, name: str) -> "Profile":
        """Return the profile of the device in one of its ``power_modes``; in its own mode that is the profile itself.

        Cores, clocks and bandwidth are the mode's. Rates and what was fitted on the processor are scaled by them, no
        runtime has more threads than cores are on, and intervals are wider. What the board draws in the mode is not
        known.

        Args:
            name: of the mode; only its letters and digits count: "25w" is "25 W", and MODE_25W of nvpmodel too.

        Raises:
            InputError: the device has no such mode; those that it has, and the nearest, are named.
        """
        from ._power_modes import in_mode  # stands on this module

        return in_mode(self, name)


def names() -> tuple[str, ...]:
    """Return the names of the devices that come with edgewright."""
    files = resources.files(_PROFILES).iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def get(name: str) -> Profile:
    """Return the profile of a shipped device by its name, or of any device by the path of its ``.toml`` file.

    Either with @ and the name of a power mode, such as jetson-orin-nano@7W: the profile in that mode.

    Raises:
        InputError: no such device or mode (the nearest is named), or a bad profile.
    """
    if name in names():
        text = (resources.files(_PROFILES) / f"{name}.toml").read_text(encoding="utf-8")
        return parse_profile(text, where=f"{name}.toml")
    if Path(name).suffix == ".toml":
        return load_profile(Path(name))
    device, at, mode = name.rpartition("@")
    if at and (device in names() or Path(device).suffix == ".toml"):
        return get(device).in_mode(mode)
    raise InputError(
        f"Expected a device: one of {', '.join(names())}, or a .toml file. "
        f"Got: {name!r}.{nearest(device or name, names())}"
    )


def load_profile(path: Path) -> Profile:
    """Return the profile in a TOML file.

    Raises:
        InputError: no such file; not TOML; a key is missing or unknown; a value is outside its limits.
    """
    return parse_profile(read_text(path, "a device profile in TOML"), where=str(path))


def parse_profile(text: str, where: str = "profile") -> Profile:
    """Return the profile that a TOML text describes; ``where`` names it in errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"Expected TOML in {where}. Got: {error}.") from error
    _resolve_sources(document, where)
    resolve_nearest(document, where)
    try:
        profile = Profile.model_validate(document)
    except pydantic.ValidationError as error:
        raise InputError(_first_error(error, where)) from error
    _check_consistent(profile, where)
    return profile


def checked_limits(**asked: float | None) -> dict[str, float]:
    """Return the fields of ``Budget`` that are asked for, without those left as None.

    Raises:
        InputError: a limit that is none, such as a negative one.
    """
    limits = {name: limit for name, limit in asked.items() if limit is not None}
    try:
        Budget.model_validate(limits)
    except pydantic.ValidationError as error:
        raise InputError(_first_error(error, "limits")) from error
    return limits


def _resolve_sources(document: dict[str, Any], where: str) -> None:
    """Replace every key of ``sources`` that a value names by the source's text."""
    sources = document.get("sources", {})
    if not isinstance(sources, dict):
        raise InputError(f"Expected sources as a table in {where}. Got: {sources!r}.")
    for key, table in _tables(document, ""):
        if "value" in table and isinstance(table.get("source"), str):
            if table["source"] not in sources:
                raise InputError(
                    f"{where}: {key}.source: expected a key of [sources]: {', '.join(sources)}. "
                    f"Got: {table['source']!r}.{nearest(table['source'], sources)}"
                )
            table["source"] = sources[table["source"]]


def _tables(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each table below ``value`` with its dotted key."""
    if isinstance(value, dict):
        yield key, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield from _tables(child, f"{key}.{name}" if key else str(name))


def _first_error(error: pydantic.ValidationError, where: str) -> str:
    first = error.errors()[0]
    *parents, name = (str(part) for part in first["loc"])
    key = ".".join((*parents, name))
    if first["type"] == "missing":
        unknown = [
            str(each["loc"][-1])
            for each in error.errors()
            if each["type"] == "extra_forbidden" and each["loc"][:-1] == first["loc"][:-1]
        ]
        instead = f", but {', '.join(unknown)}, not known there" if unknown else ""
        return f"{where}: expected the key {key}. Got: no such key in {'.'.join(parents) or 'the profile'}{instead}."
    if first["type"] == "extra_forbidden":
        return f"{where}: expected a known key. Got: {key}.{nearest(name, _known_keys(Profile))}"
    return f"{where}: {key}: expected {expected(first)}. Got: {shortened(first['input'])}."


def _known_keys(root: type[_Table]) -> set[str]:
    """Return the keys of all tables of a profile."""
    keys = set(root.model_fields) | {"nearest", "precisions", "like"}
    tables = (Cpu, Memory, System, Power, PowerMode, Accelerator, Runtime, Target, Interval, Refusal, Budget)
    for table in (*tables, Calibration, Sourced):
        keys |= set(table.model_fields)
    return keys


def _check_consistent(profile: Profile, where: str) -> None:
    """Raise where a format and precision stand twice, or a target names what the device does not have."""
    seen: set[tuple[str, str | None]] = set()
    entries: tuple[Target | Refusal, ...] = (*profile.targets, *profile.unsupported)
    for entry in entries:
        if (entry.format, entry.precision) in seen:
            which = f"{entry.format} {entry.precision or 'without a precision'}"
            raise InputError(f"{where}: expected {which} once. Got: two entries.")
        seen.add((entry.format, entry.precision))
    power = profile.power
    if power and (power.mode is None) != (power.modes is None):
        raise InputError(f"{where}: expected power.mode and power.modes together. Got: one of them.")
    stated = set(power.modes.value) if power and power.modes else set()
    for mode in profile.power_modes:
        if mode.name not in stated:
            raise InputError(
                f"{where}: expected each [[power_modes]] once, with a name of power.modes: "
                f"{', '.join(power.modes.value) if power and power.modes else 'none'}. Got: {mode.name!r}."
            )
        stated.remove(mode.name)
    if power and power.idle_w and power.load_w and power.idle_w.value >= power.load_w.value:
        raise InputError(
            f"{where}: expected power.idle_w below power.load_w. "
            f"Got: {power.idle_w.value:g} and {power.load_w.value:g}."
        )
    for place, runtime in enumerate(profile.runtimes):
        _check_format(runtime.format, f"{where}: runtimes.{place}.format")
    for place, refusal in enumerate(profile.unsupported):
        _check_format(refusal.format, f"{where}: unsupported.{place}.format")
    runtimes = [runtime.name for runtime in profile.runtimes]
    for place, target in enumerate(profile.targets):
        _check_format(target.format, f"{where}: targets.{place}.format")
        _check_threads(profile, target, f"{where}: {target.format} {target.precision}")
        if target.runtime not in runtimes:
            raise InputError(
                f"{where}: {target.format} {target.precision}: expected runtime to be one of {', '.join(runtimes)}. "
                f"Got: {target.runtime!r}.{nearest(target.runtime, runtimes)}"
            )
        if target.unit != "cpu" and profile.accelerator(target.unit) is None:
            raise InputError(
                f"{where}: {target.format} {target.precision}: expected an [[accelerators]] entry "
                f"with unit = {target.unit!r}. Got: none."
            )


def _check_format(format: str, where: str) -> None:
    """Raise where a format is none that edgewright, or a plug-in of it, writes."""
    known = formats()
    if format not in known:
        raise InputError(f"{where}: expected one of {', '.join(known)}. Got: {format!r}.{nearest(format, known)}")


def _check_threads(profile: Profile, target: Target, where: str) -> None:
    """Raise where a target, or what it falls back to, has more threads than the device has cores."""
    count = profile.cpu.count.value
    for key, roofline in (("threads", target), ("fallback.threads", target.fallback)):
        if roofline is not None and roofline.threads > count:
            raise InputError(f"{where}: expected {key} from 1 to {count}, as cpu.count. Got: {roofline.threads}.")
