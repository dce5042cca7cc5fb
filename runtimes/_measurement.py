"""A measurement: the latencies of single inferences over several fresh processes, and what they were taken under."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..figures import Figure, How

# Samples that a percentile needs at 99 % confidence, by MLPerf's early-stopping rule.
_SAMPLES_NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}
_BOOTSTRAPS = 1000
# Above this a process' coefficient of variation is worth a warning, as in trtexec and perf_analyzer.
VARIES = 0.1
# Wider than this share of the median to either side, an interval says too little.
NOISY = 0.1
# A sample again and again that is so much faster than among others tells of answers that were kept: MLPerf's TEST04.
KEPT = 1.1
# The Raspberry Pi's flags: what is so now, and not what has been so since boot.
_FLAGS = {0: "under-voltage", 1: "the clock is capped", 2: "throttled", 3: "the soft temperature limit is reached"}


@dataclass(frozen=True)
class Process:
    """What one fresh process took.

    Attributes:
        samples_ms: every latency, in the order taken.
        load_ms: loading the files.
        first_ms: the first inference.
        warmup_runs: inferences before the first that counts.
        warmup_stable: whether their latency had come to rest.
        cold: whether the files had been dropped from the page cache before they were loaded.
        peak_memory_bytes: the largest resident set, Python and runtime included.
        telemetry: clocks, temperatures, throttling, power and load, "before" and "after".
        at_speed: how answers of timed runs differ from those of the accuracy run: how many were "compared", their
            "max_difference", and the "largest" value; as the file stores them.
        repeated_ms, among_others_ms: one sample again and again, and the same sample with others in between.
    """

    samples_ms: tuple[float, ...]
    load_ms: float
    first_ms: float
    warmup_runs: int = 0
    warmup_stable: bool = True
    cold: bool = False
    peak_memory_bytes: int | None = None
    telemetry: Mapping[str, Any] = field(default_factory=dict)
    at_speed: Mapping[str, Any] = field(default_factory=dict)
    repeated_ms: tuple[float, ...] = ()
    among_others_ms: tuple[float, ...] = ()

    @property
    def median_ms(self) -> float:
        """The median latency."""
        return float(np.median(self.samples_ms))

    @property
    def held_back(self) -> tuple[str, ...]:
        """What held the device back meanwhile, as sentences."""
        return throttled(self.telemetry)


@dataclass(frozen=True)
class Measurement:
    """Latencies at batch 1, and what they were taken under.

    Attributes:
        processes: fresh processes, in the order run; the first may have been cold.
        threads: of the runtime.
        runtime, runtime_version: what ran it.
        how: where it was taken.
        conditions: CPU, cores, governor, versions, the runtime's settings and what ran; None where unreadable.
        unit: what one latency is of, such as "step".
        units: how many units one latency is of.
    """

    processes: tuple[Process, ...]
    threads: int
    runtime: str
    runtime_version: str
    how: How = How.MEASURED_HERE
    conditions: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "inference"
    units: float = 1.0

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """The latencies of all processes."""
        return tuple(sample for process in self.processes for sample in process.samples_ms)

    @property
    def load_ms(self) -> float:
        """The median of loading files that lie in the page cache, or of all where none did."""
        warm = [process.load_ms for process in self.processes if not process.cold]
        return float(np.median(warm or [process.load_ms for process in self.processes]))

    @property
    def load_cold_ms(self) -> float | None:
        """Loading files from the disk, in a fresh process; None where that was not tried."""
        return next((process.load_ms for process in self.processes if process.cold), None)

    @property
    def first_ms(self) -> float:
        """The median of the processes' first inferences."""
        return float(np.median([process.first_ms for process in self.processes]))

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest of the processes' resident sets, Python and runtime included."""
        return max((process.peak_memory_bytes or 0 for process in self.processes), default=0) or None

    def percentile_ms(self, percent: int) -> float | None:
        """Return a percentile (50, 90, 95 or 99), or None when there are too few samples for it.

        The median is that of the processes' medians; a tail is that of all samples, as no process has enough.
        """
        if len(self.samples_ms) < _SAMPLES_NEEDED[percent]:
            return None
        if percent == 50:
            return float(np.median([process.median_ms for process in self.processes]))
        return float(np.percentile(self.samples_ms, percent))

    @property
    def p50_ms(self) -> float | None:
        """The median, or None."""
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float | None:
        """What nine in ten are below, or None."""
        return self.percentile_ms(90)

    @property
    def p99_ms(self) -> float | None:
        """What 99 in a hundred are below, or None."""
        return self.percentile_ms(99)

    @property
    def coefficient_of_variation(self) -> float:
        """Standard deviation over mean of a process' latencies: the median process'.

        The slowest hundredth is left out: of an inference of microseconds, one interruption would be all that it tells.
        """
        kept = [np.sort(each.samples_ms)[: max(1, math.ceil(0.99 * len(each.samples_ms)))] for each in self.processes]
        return float(np.median([np.std(samples) / np.mean(samples) for samples in kept]))

    def latency(self) -> Figure | None:
        """Return the median in ms with its 90 % bootstrap interval; None when there are too few samples.

        With several processes their medians are drawn, for between processes the median moves more than within one;
        with one, its samples are.
        """
        median = self.percentile_ms(50)
        if median is None:
            return None
        medians = [process.median_ms for process in self.processes]
        drawn_from = medians if len(medians) > 1 else self.samples_ms
        draws = np.random.default_rng(0).choice(drawn_from, (_BOOTSTRAPS, len(drawn_from)))
        low, high = np.percentile(np.median(draws, axis=1), (5, 95))
        count = len(self.processes)
        basis = (
            f"p50 of {len(self.samples_ms)} runs in {f'{count} processes' if count > 1 else 'one process'}, "
            f"{self.threads} thread{'s' if self.threads > 1 else ''}, {self.runtime} {self.runtime_version}"
        )
        return Figure(median, self.how, float(low), float(high), basis)

    def rate(self) -> Figure | None:
        """Return units per second, such as tokens, with the interval; None when there are too few samples."""
        latency = self.latency()
        if latency is None or latency.low is None or latency.high is None:
            return None
        per_s = 1e3 * self.units
        return Figure(
            per_s / latency.value, self.how, per_s / latency.high, per_s / latency.low, f"1 / {latency.basis}"
        )

    def inconclusive(self) -> tuple[str, ...]:
        """Return why the figures decide nothing: the device was throttled, or the interval is too wide."""
        reasons = list(dict.fromkeys(reason for each in self.processes for reason in each.held_back))
        latency = self.latency()
        if latency is None:
            reasons.append(f"{len(self.samples_ms)} runs are too few for a median, which needs {_SAMPLES_NEEDED[50]}")
        elif latency.low is not None and latency.high is not None:
            wide = max(latency.high - latency.value, latency.value - latency.low) / latency.value
            if wide > NOISY:
                reasons.append(
                    f"too noisy: the interval of the median, {latency.low:.4g} to {latency.high:.4g} ms, reaches "
                    f"{100 * wide:.0f} % to one side; {100 * NOISY:.0f} % is the limit"
                )
        return tuple(reasons)

    def warnings(self) -> tuple[str, ...]:
        """Return what a reader should know of the figures."""
        found = []
        if self.coefficient_of_variation > VARIES:
            found.append(f"the latencies of a process vary by {100 * self.coefficient_of_variation:.0f} %")
        unstable = sum(not process.warmup_stable for process in self.processes)
        if 2 * unstable > len(self.processes):
            found.append(f"latency had not come to rest when timing began, in {unstable} of {len(self.processes)}")
        ratio = self.kept_answers()
        if ratio is not None and ratio > KEPT:
            found.append(f"one sample again and again is {ratio:.2f} times faster than among others: answers are kept?")
        return tuple(found)

    def kept_answers(self) -> float | None:
        """Return how many times slower a sample is among others than again and again; None where it was not tried."""
        ratios = [
            np.median(process.among_others_ms) / np.median(process.repeated_ms)
            for process in self.processes
            if process.repeated_ms and process.among_others_ms
        ]
        return float(np.median(ratios)) if ratios else None

    def difference_at_speed(self) -> float | None:
        """Return the largest difference of timed answers from the accuracy run's, as a share of the largest value."""
        compared = [process.at_speed for process in self.processes if process.at_speed.get("compared")]
        if not compared:
            return None
        return max(float(each["max_difference"]) / max(float(each["largest"]), 1e-30) for each in compared)


def read_measurement(document: Mapping[str, Any]) -> Measurement:
    """Return the measurement that ``dataclasses.asdict`` and JSON made plain data of."""
    lists = ("samples_ms", "repeated_ms", "among_others_ms")
    processes = tuple(
        Process(**{**each, **{name: tuple(each[name]) for name in lists}}) for each in document["processes"]
    )
    return Measurement(**{**document, "processes": processes, "how": How(document["how"])})


def throttled(telemetry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in sentences what held the device back while it was measured.

    Args:
        telemetry: what the runner read "before" and "after".
    """
    before = telemetry.get("before", {}).get("throttled", {})
    after = telemetry.get("after", {}).get("throttled", {})
    reasons = []
    for name, value in after.items():
        if value is None:
            continue
        if name == "get_throttled":
            now = int(value) | int(before.get(name) or 0)
            reasons += [f"the Raspberry Pi says: {text}" for bit, text in _FLAGS.items() if now >> bit & 1]
        elif before.get(name) is not None and value > before[name]:
            reasons.append(f"throttled {value - before[name]:g} times while it was measured ({name})")
    return tuple(reasons)
