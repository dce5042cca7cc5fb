"""The speeds that a device's latencies are predicted with: fitted to its own measurements, or set by its profile."""

import math
from dataclasses import dataclass

import numpy as np

from ..export._work import COUNTS, MULTIPLYING
from ._expected import expected_speeds, least_ms, thread_factors
from ._fitted import differs_in, document, rates_of, shipped_calibrations
from ._fitting import OWN, Speeds, prior
from ._profile import Calibration, Profile, Roofline, Target

# How far a runtime's versions are apart, as the standard deviation of a logarithm: of models on one board,
# 52 to 99 % are within 10 %.
_VERSIONS = 0.1
# Rows of TFLite's own matrix library, where the device's LiteRT uses XNNPACK: as much faster as that may be, a third.
_RUY, _XNNPACK = "(ruy)", 0.25
# What is expected of two processors is the same where it is no further apart than this.
_SAME = 0.02
_MOVING, _IRREDUCIBLE = ("inputs", "outputs", "weights", "moved", "streamed"), ("pointwise", "depthwise", "matrix")
NINETY = 1.645  # standard deviations to either side that hold 90 % of a normal distribution


@dataclass(frozen=True)
class DeviceSpeeds:
    """Speeds for one format and precision on a device.

    Attributes:
        speeds: with ``threads`` threads.
        low_spread, high_spread: what comes on top of the speeds' own uncertainty to either side, as standard deviations
            of a logarithm: another runtime version, or the width of the profile's interval.
        basis: what they rest on, in a few words.
        least_ms: what a unit of each kind of work takes at least, shape [len(COUNTS)]; 0 where nothing tells.
        fixed_ms: of one inference, whatever it computes.
    """

    speeds: Speeds
    low_spread: float
    high_spread: float
    basis: str
    least_ms: np.ndarray
    fixed_ms: float = 0.0

    def latency(self, counts: np.ndarray) -> tuple[float, float, float]:
        """Return the latency of work in ms, and its 90 % interval; ``counts`` has the shape [len(COUNTS)]."""
        _, spread = self.speeds.latency(counts)
        least = float(self.least_ms @ counts)
        value = float(self.ms_of(counts) @ counts) + self.fixed_ms
        low, high = math.hypot(spread, self.low_spread), math.hypot(spread, self.high_spread)
        return value, max(least, value * math.exp(-NINETY * low)), value * math.exp(NINETY * high)

    def ms_of(self, counts: np.ndarray) -> np.ndarray:
        """Return what a unit of each kind of work takes in a file that does so much of each: the speeds, or the least.

        A GPU computes while it reads: the longer of the two is what a file takes.
        """
        return self.speeds.ms if self.speeds.ms @ counts >= self.least_ms @ counts else self.least_ms


def speeds_of(profile: Profile, target: Target, threads: int | None = None) -> DeviceSpeeds:
    """Return the speeds of a device for one of its targets on a processor or GPU.

    Where measurements of the device were fitted, those speeds. Elsewhere what the datasheet lets expect of each kind of
    work, all of it made slower or faster until a reference network takes what the profile's rates give. These are as
    stated, whatever the clock is; where they are those of a shipped profile with another clock, bandwidth or number of
    cores or threads, they are scaled by what the datasheets let expect of the two.

    Args:
        threads: of the runtime; the target's own where None. On a processor no more than its cores.
    """
    asked = target.threads if threads is None else threads
    if target.unit == "cpu":
        asked = min(asked, profile.cpu.count.value)
    known = [
        each
        for each in (*profile.calibrations, *shipped_calibrations(profile))
        if (each.format, each.precision) == (target.format, target.precision)
    ]
    if known:
        nearest = max(known, key=lambda each: _nearness(each, profile, target, asked))
        return _calibrated(nearest, profile, target, asked)
    return _set_by_profile(profile, target, asked)


def _same_runtime(measured_with: str, runtime: str) -> bool:
    """Tell whether a runtime, with its version or without, is the one that a target names."""
    return measured_with == runtime or measured_with.startswith(f"{runtime} ")


def _nearness(calibration: Calibration, profile: Profile, target: Target, threads: int) -> tuple[float, ...]:
    """Return what is larger the nearer a calibration is to what is predicted.

    A user's own go before published ones; then count the runtime, the number of threads, the runtime's version and how
    many rows there are. The first of two that are equally near is taken.
    """
    version = next((each.version.value for each in profile.runtimes if each.name == target.runtime), "")
    return (
        calibration.whose == "own",
        _same_runtime(calibration.measured_with, target.runtime),
        -abs(math.log(threads / calibration.threads)),
        calibration.measured_with.startswith(f"{target.runtime} {version}"),
        calibration.rows if calibration.whose == "own" else 0,
    )


def _calibrated(calibration: Calibration, profile: Profile, target: Target, threads: int) -> DeviceSpeeds:
    factors, doubt = _other_threads(target, threads, calibration.threads)
    speeds = Speeds(
        factors * np.array([calibration.ms[name] for name in COUNTS]),
        np.array(calibration.covariance),
        calibration.spread,
        calibration.rows,
    )
    version = 0.0 if _same_runtime(calibration.measured_with, target.runtime) else _VERSIONS
    faster = _XNNPACK if _RUY in calibration.measured_with and target.runtime == "LiteRT" else 0.0
    several = "s" if calibration.rows > 1 else ""
    rows = f"{calibration.rows} {calibration.whose} measurement{several} with {calibration.measured_with}"
    return DeviceSpeeds(
        speeds,
        math.hypot(version, doubt, faster),
        math.hypot(version, doubt),
        f"per operation, {_where(target, threads)}, fitted on {rows}",
        _least_ms(profile, target, threads),
    )


def _set_by_profile(profile: Profile, target: Target, threads: int) -> DeviceSpeeds:
    kind = kind_of(target.precision)
    rates = _rates(target)
    reference = _reference(kind)
    # What is known of processors' kernels does not hold for a GPU's: there the profile's rates are all there is.
    shape = rates if target.unit == "gpu" else expected_speeds(profile.cpu, profile.memory, kind, target.threads).ms
    stated = min(target.threads, profile.cpu.count.value) if target.unit == "cpu" else target.threads
    factors, doubt = _other_threads(target, threads, stated)
    slower = slower_than_copied(profile, target)
    scaled = "" if slower == 1 else _copied_from(profile, target)
    level = slower * float(rates @ reference)
    doubt = math.hypot(doubt, abs(math.log(slower)) / 2)
    interval = target.interval.value
    return DeviceSpeeds(
        prior(level / float(shape @ reference) * factors * shape, shared=0.0, own=OWN),
        math.hypot(math.log(1 / interval.low) / NINETY, doubt),
        math.hypot(math.log(interval.high) / NINETY, doubt),
        f"per operation, {_where(target, threads)}, {_origin(target)}{_scaled_from(profile)}{scaled}"
        f"{_not_fitted(profile, target)}",
        _least_ms(profile, target, threads),
        slower * target.overhead_ms.value,
    )


def slower_than_copied(profile: Profile, target: Target) -> float:
    """Return how many times slower a processor is expected to be than that whose rates a target has.

    It is 1 where they are the profile's own, on another unit than a processor, and where the two are as fast.
    """
    copied = rates_of(profile, target) if target.unit == "cpu" else None
    if copied is None:
        return 1.0
    kind = kind_of(target.precision)
    mine, theirs = (
        float(expected_speeds(each.cpu, each.memory, kind, its.threads).ms @ _reference(kind))
        for each, its in ((profile, target), copied)
    )
    return 1.0 if abs(mine / theirs - 1) < _SAME else mine / theirs


def _copied_from(profile: Profile, target: Target) -> str:
    copied = rates_of(profile, target)
    return f", scaled from the processor and memory of {copied[0].title}, whose rates it has" if copied else ""


def _reference(kind: str) -> np.ndarray:
    """Return the work of the network that rates are of, shape [len(COUNTS)]."""
    return np.array([document()["reference"][kind][name] for name in COUNTS])


def _not_fitted(profile: Profile, target: Target) -> str:
    """Return what to say where a profile has a shipped one's name, and what was fitted to that is not used."""
    keys = differs_in(profile, target.format, target.precision)
    return f"; not fitted as the shipped {profile.name}, which has another {', '.join(keys)}" if keys else ""


def _rates(target: Target) -> np.ndarray:
    """Return what the profile says that a unit of each kind of work takes; next to nothing where it says nothing."""
    mac_ms = 1e-6 / target.effective_gmacs_per_s.value
    stated = dict.fromkeys(MULTIPLYING, mac_ms) | {"launches": max(target.per_operation_ms.value, 1e-9)}
    return np.array([stated.get(name, 1e-15) for name in COUNTS])


def _least_ms(profile: Profile, target: Target, threads: int) -> np.ndarray:
    """Return what each kind of work takes at least.

    On a GPU that is the memory's time for all bytes, of which no published measurement there takes less; on a core
    whose vector units are known it is their time for products that no kernel does with fewer multiplications.
    """
    if target.unit == "gpu":
        byte_ms = 1e-6 / profile.memory.bandwidth_gbytes_per_s.value
        return np.array([byte_ms if name in _MOVING else 0.0 for name in COUNTS])
    least = least_ms(profile.cpu, profile.memory, kind_of(target.precision), threads)
    return np.array([value if name in _IRREDUCIBLE else 0.0 for name, value in zip(COUNTS, least, strict=True)])


def _other_threads(target: Target, threads: int, fitted_at: int) -> tuple[np.ndarray, float]:
    """Return factors for another number of threads, shape [len(COUNTS)], and half the largest's logarithm as doubt."""
    if threads == fitted_at or target.unit != "cpu":
        return np.ones(len(COUNTS)), 0.0
    factors = thread_factors(kind_of(target.precision), threads, fitted_at)
    return factors, float(np.max(np.abs(np.log(factors)))) / 2


def _where(target: Roofline, threads: int) -> str:
    return f"{target.unit}, {threads} thread{'s' if threads > 1 else ''}" if target.unit == "cpu" else target.unit


def _origin(roofline: Roofline) -> str:
    if roofline.fitted_rows:
        return (
            f"its level from {roofline.fitted_rows} published measurements of the device, a relative or another runtime"
        )
    return "its level from the nearest runtime or the datasheet, not fitted"


def _scaled_from(profile: Profile) -> str:
    power = profile.power
    return f", scaled from the mode {power.scaled_from.value}" if power and power.scaled_from else ""


def kind_of(precision: str) -> str:
    """Return what a precision is computed in, "int8" or "float32", as far as speed goes."""
    return "int8" if precision in ("int8", "dynamic_int8") else "float32"
