"""Series of published latencies, and speeds fitted to them: what fit_speeds.py writes down and prediction.py judges."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.devices._expected import datasheet_ms
from edgewright.devices._fitting import STATED, Speeds, fit, prior
from edgewright.export._work import COUNTS, MULTIPLYING

HERE = Path(__file__).parent / "measured"
_BYTES = [COUNTS.index(name) for name in ("inputs", "outputs", "patches", "weights", "moved", "streamed")]
# How far each kind of work may be from the mean of devices while that is taken, as a logarithm's standard deviation.
_POOLED = 0.5
# As many models a series needs to tell of other devices, and on as many cores kernels need to have run for what is
# expected of them to come of their own rows alone.
_TELLING, _CORES = 5, 2
_NOT_STATED = "xnnpack state not stated"
# Kinds of work of which the datasheet's part states what they take, and not the least that they can take.
_STATED = np.isin(COUNTS, list(STATED))
_NARROW = {"int8": 1 / 4, "fp16": 1 / 2}
# Cores whose vector units compute in float16, twice as many numbers at a time: asimdhp in /proc/cpuinfo, for which see
# the profiles. There ncnn does so with float models unless it is told not to (its README's columns say fp32/fp16).
_HALF_PRECISION = {"Carmel", "Cortex-A76", "Cortex-A78AE"}
# Of the boards that rows are of: core, clock in GHz where the row does not state it, cores, dot product, GB/s.
# From the profiles and, for those that have none, from devices' datasheets.
_BOARDS = {
    "Raspberry Pi Zero 2 W": ("Cortex-A53", 1.0, 4, False, 2.0),
    "Raspberry Pi 3B": ("Cortex-A53", 1.2, 4, False, 2.2),
    "Raspberry Pi 3B+": ("Cortex-A53", 1.4, 4, False, 2.2),
    "Raspberry Pi 4B": ("Cortex-A72", 1.5, 4, False, 5.56),
    "Raspberry Pi 5": ("Cortex-A76", 2.4, 4, True, 17.0),
    "Jetson Nano": ("Cortex-A57", 1.43, 4, False, 25.6),
    "Jetson TX2 NX": ("Cortex-A57", 2.0, 4, False, 51.2),
    "Jetson AGX Xavier": ("Carmel", 2.26, 8, False, 136.5),
    "Jetson AGX Orin": ("Cortex-A78AE", 2.2, 12, True, 204.8),
    "Jetson AGX Orin 64GB": ("Cortex-A78AE", 2.2, 12, True, 204.8),
    "Jetson Orin NX 16GB": ("Cortex-A78AE", 2.0, 8, True, 102.4),
    "Jetson Orin Nano 8GB?": ("Cortex-A78AE", 1.5, 6, True, 68.0),
    "Jetson Orin Nano 8GB Super": ("Cortex-A78AE", 1.7, 6, True, 102.0),
}


@dataclass(frozen=True)
class Series:
    """Measurements of many models in one setting.

    Attributes:
        device, runtime, version, setting, threads, precision: as the table states them.
        models: by row.
        counts: of each row's model, shape [rows, len(COUNTS)].
        latency_ms: shape [rows].
        sources: distinct.
    """

    device: str
    runtime: str
    version: str
    setting: str
    threads: int
    precision: str
    models: tuple[str, ...]
    counts: np.ndarray
    latency_ms: np.ndarray
    sources: tuple[str, ...]

    @property
    def title(self) -> str:
        """Device, runtime, precision and threads in a few words."""
        return f"{self.device}, {self.version or self.runtime}, {self.precision}, {self.threads} threads"

    @property
    def kind(self) -> str:
        """What it is computed in: "int8" or "float32"."""
        return "int8" if self.precision == "int8" else "float32"

    @property
    def kernels(self) -> str:
        """Whose kernels run: "xnnpack" where the table says so, else "others", such as ruy's or another runtime's."""
        return "xnnpack" if "xnnpack" in f"{self.version} {self.setting}".lower().replace(_NOT_STATED, "") else "others"

    def only(self, keep: Callable[[str], bool]) -> "Series":
        """Return the rows whose models are to be kept."""
        chosen = np.array([keep(model) for model in self.models], bool)
        return Series(
            self.device, self.runtime, self.version, self.setting, self.threads, self.precision,
            tuple(model for model, kept in zip(self.models, chosen, strict=True) if kept),
            self.counts[chosen], self.latency_ms[chosen], self.sources,
        )  # fmt: skip


def family(model: str) -> str:
    """Return the family that a model belongs to: what is left out together.

    >>> family("mobilenet-v2-0.35-160"), family("efficientnet-lite0"), family("nb201-25"), family("resnet50-v1.5")
    ('mobilenet-v2', 'efficientnet-lite', 'nb201', 'resnet')
    """
    for name in ("mobilenet-v1", "mobilenet-v2", "mobilenet-v3", "efficientnet-lite", "efficientdet-lite"):
        if model.startswith(name):
            return name
    letters = model.split("-")[0].rstrip("0123456789")
    return "nb201" if letters == "nb" else letters or model


@cache
def work() -> Mapping[str, Mapping[str, Any]]:
    """Return what each model does at float32, by name and ``COUNTS``; "narrow": what differs on narrower numbers."""
    return dict(json.loads((HERE / "work.json").read_text(encoding="utf-8")))


def counts_of(model: str, precision: str) -> np.ndarray:
    """Return what a model does at a precision, shape [len(COUNTS)]: the same operations, on narrower numbers."""
    found, width = work()[model], _NARROW.get(precision, 1)
    counts = np.array([found.get(name, 0.0) for name in COUNTS])
    counts[_BYTES] *= width
    for name, count in found.get("narrow", {}).get(f"{width:g}", {}).items():
        counts[COUNTS.index(name)] = count
    return counts


@cache
def all_series() -> tuple[Series, ...]:
    """Return the table's series: one for each device, runtime, version, setting, threads and precision."""
    with open(HERE / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    keys = ("device", "runtime", "version", "setting", "threads", "precision")
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    found = []
    for (device, runtime, version, setting, threads, precision), members in groups.items():
        precision = "fp32" if precision.startswith("fp32") else precision
        found.append(
            Series(
                device, runtime, version, setting, _threads(device, threads), precision,
                tuple(row["model"] for row in members),
                np.array([counts_of(row["model"], precision) for row in members]),
                np.array([float(row["latency_ms"]) for row in members]),
                tuple(sorted({row["source"] for row in members})),
            )
        )  # fmt: skip
    return tuple(found)


def _threads(device: str, stated: str) -> int:
    digits = "".join(letter for letter in stated if letter.isdigit())
    return int(digits) if digits else _BOARDS[device][2] if device in _BOARDS else 1


def datasheet(series: Series) -> np.ndarray:
    """Return the least that each kind of work can take on a series' board; see ``datasheet_ms``."""
    core, clock, cores, dotprod, bandwidth = _BOARDS[series.device]
    stated = [word for word in series.setting.replace(";", " ").split() if word.replace(".", "").isdigit()]
    for number, unit in zip(series.setting.split(), series.setting.replace(";", " ").split()[1:], strict=False):
        if unit.startswith("MHz") and number in stated:
            clock = float(number) / 1000
    found = datasheet_ms(core, clock, min(cores, series.threads), dotprod, bandwidth, series.kind)
    if series.runtime == "ncnn" and series.kind == "float32" and core in _HALF_PRECISION:
        found[[*_BYTES, *map(COUNTS.index, MULTIPLYING)]] /= 2
    return found


def on_processor(series: Series) -> bool:
    """Tell whether a series is of a processor that is known here."""
    return series.device in _BOARDS and "GPU" not in series.setting and "Vulkan" not in series.setting


Factors = Mapping[tuple[str, str], np.ndarray]


def pooled(series: Iterable[Series], rounds: int = 2) -> Factors:
    """Return how many times longer than on the datasheet each kind of work takes, by kernels and kind of number.

    Each series is fitted around the mean of all; the mean is over cores, each the mean of its series, so that a board
    with many rows, or one of two boards with one core, counts no more than others.
    """
    known = [each for each in series if len(each.models) >= _TELLING]
    return {
        (kernels, kind): _pooled(_of_kernels([each for each in known if each.kind == kind], kernels), rounds)
        for kernels in ("xnnpack", "others")
        for kind in ("float32", "int8")
    }


def _of_kernels(series: list[Series], kernels: str) -> list[Series]:
    """Return the series of those kernels; of all where they ran on few cores, but on these cores their own."""
    same = [each for each in series if each.kernels == kernels]
    cores = {_core(each) for each in same}
    return same if len(cores) >= _CORES else same + [each for each in series if _core(each) not in cores]


def _pooled(series: Iterable[Series], rounds: int) -> np.ndarray:
    factors = np.where(_STATED, 1.0, 2.0)
    for _ in range(rounds):
        found: dict[str, list[np.ndarray]] = defaultdict(list)
        for each in series:
            base = datasheet(each)
            speeds = fit(prior(base * factors, own=_POOLED), each.counts, each.latency_ms)
            found[_core(each)].append(np.log(speeds.ms / base))
        if found:
            cores = [np.mean(logs, axis=0) for logs in found.values()]
            factors = np.where(_STATED, 1.0, np.exp(np.mean(cores, axis=0)))
    return factors


def _core(series: Series) -> str:
    return _BOARDS[series.device][0]


def expected(series: Series, factors: Factors) -> Speeds:
    """Return the speeds of a series' device before any of its rows is seen."""
    return prior(datasheet(series) * factors[series.kernels, series.kind])


def fitted(series: Series, factors: Factors) -> Speeds:
    """Return the speeds of a series' device, from its rows and what was expected of it."""
    return fit(expected(series, factors), series.counts, series.latency_ms)


def unlike(series: Series, factors: Factors) -> float:
    """Return the standard deviation of log(measured / predicted) where each family is predicted from the others.

    It is that of a normal distribution that holds nine out of ten of them; a series of one family tells nothing of
    others, and gets 0.
    """
    families = sorted({family(model) for model in series.models})
    logs: list[float] = []
    for name in families if len(families) > 1 else ():
        rest = series.only(lambda model, name=name: family(model) != name)
        out = series.only(lambda model, name=name: family(model) == name)
        if len(rest.models) < 5:
            continue
        speeds = fitted(rest, factors)
        logs += [
            abs(np.log(known / speeds.latency(counts)[0]))
            for counts, known in zip(out.counts, out.latency_ms, strict=True)
        ]
    return float(np.quantile(logs, 0.9) / 1.645) if logs else 0.0
