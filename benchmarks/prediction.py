"""How well latencies are predicted: cross-validated on published measurements, beside a baseline and the noise floor.

    python benchmarks/prediction.py             # all of it, some minutes on one core
    python benchmarks/prediction.py --json prediction.json
    python benchmarks/prediction.py --only gpu  # or "power modes": one section, seconds

Four ways to split the rows, each model predicted by speeds that were fitted without it:

    models    ten parts of a series' models by turns: the device, the runtime and the family are known
    family    each family left out, on every device: networks of a kind that no fit has seen
    transfer  each device left out, but for the first rows that a user would measure: 3 or 10, drawn three times
    device    each device left out altogether, its datasheet known

What is left out is left out everywhere: of every series, in which the same model may stand again, and of what is
expected of devices in general. A row counts as within 10 % where predicted / measured is. The baseline is a MACs + b
parameters + c, not negative, fitted to the same rows by relative errors. The noise floor is how far two published
measurements of one model on one board, in one runtime version, precision and clock are apart.

A table beside them, "threads", predicts rows with another number of threads from those with four. Two sections follow:
"power modes", networks in a lower mode of a Jetson predicted from the highest, beside "the same latency"; and "gpu",
the shipped rates of Jetsons' GPUs on TensorRT's rows, beside the same rates fitted without each model and the baseline.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import _one_thread  # noqa: F401 - before NumPy
import numpy as np
from _fitted import Factors, Series, all_series, family, fitted, on_processor, pooled, unlike
from _fitted import expected as expected_of
from _gpu_rates import gpus
from _measured_modes import in_modes
from _measured_modes import lines as mode_lines
from _measured_threads import with_threads
from fit_speeds import general

from edgewright.devices._fitting import Speeds, fit
from edgewright.export._work import COUNTS, MULTIPLYING
from edgewright.files import write_json

RUNTIMES = ("TFLite", "Arm NN Neon", "ncnn")
_NINETY = 1.645
_FEWEST = 6


@dataclass
class Judged:
    """Predictions against measurements: ratios, how many deviations off, and the baseline's ratios."""

    ratios: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)

    def add(self, speeds: Speeds, series: Series, baseline: np.ndarray | None, spread: float = 0.0) -> None:
        """Judge speeds on a series that they were not fitted on; ``spread`` replaces theirs where it is larger."""
        speeds = replace(speeds, spread=max(speeds.spread, spread))
        for counts, known in zip(series.counts, series.latency_ms, strict=True):
            value, deviation = speeds.latency(counts)
            self.ratios.append(value / known)
            self.off.append(abs(float(np.log(known / value))) / deviation)
            if baseline is not None:
                self.baseline.append(float(_plain(counts) @ baseline) / known)

    def plain(self) -> dict[str, float]:
        """Return it as figures."""
        error = np.abs(np.array(self.ratios) - 1)
        factor = np.maximum(self.ratios, 1 / np.array(self.ratios))
        found = {
            "rows": len(self.ratios),
            "mean_error": error.mean(),
            "within_10": np.mean(error <= 0.1),
            "within_20": np.mean(error <= 0.2),
            "largest_factor": factor.max(),
            "covered": np.mean(np.array(self.off) <= _NINETY),
        }
        if self.baseline:
            error = np.abs(np.array(self.baseline) - 1)
            found |= {"baseline_error": error.mean(), "baseline_within_20": np.mean(error <= 0.2)}
        return {name: float(value) for name, value in found.items()}


def main() -> None:
    """Judge each split and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--runtime", action="append", choices=RUNTIMES)
    parser.add_argument("--only", choices=("power modes", "gpu"), help="one of the last two sections alone")
    arguments = parser.parse_args()
    document: dict[str, object] = {}
    for runtime in () if arguments.only else arguments.runtime or RUNTIMES:
        series = [each for each in all_series() if on_processor(each) and each.runtime == runtime]
        expected = general(all_series()) if runtime == "TFLite" else series
        print(f"\n{runtime}: {sum(len(each.models) for each in series)} rows, {len(series)} series")
        tables = {
            "noise floor": _floor(series),
            "models": _models(series, expected),
            "family": _families(series, expected),
            "transfer, 3 rows": _devices(series, expected, 3),
            "transfer, 10 rows": _devices(series, expected, 10),
            "device": _devices(series, expected, 0),
        }
        threads = list(with_threads(series, pooled(expected)))
        for split, found in tables.items():
            print(f"\n  {split}")
            for line in _lines(found):
                print(f"    {line}")
        if threads:
            print("\n  threads", *(each.line() for each in threads), sep="\n    ")
        document[runtime] = tables | {"threads": {each.title: each.plain() for each in threads}}
    if arguments.only != "gpu":
        modes = in_modes()
        print("\npower modes", *mode_lines(modes), sep="\n    ")
        document["power modes"] = [asdict(each) for each in modes]
    if arguments.only != "power modes":
        found = list(gpus(_baseline))
        print("\ngpu", *(each.line() for each in found), sep="\n    ")
        document["gpu"] = {each.title: each.plain() for each in found}
    if arguments.json:
        write_json(arguments.json, document)


Found = dict[str, dict[str, float]]


def _lines(found: Found) -> Iterator[str]:
    for name, figures in found.items():
        if "mean_error" not in figures:
            yield f"{name:36}" + ", ".join(f"{key} {value:.3g}" for key, value in figures.items())
            continue
        baseline = (
            f"; baseline {figures['baseline_error']:6.1%} mean, {figures['baseline_within_20']:4.0%} within 20 %"
            if "baseline_error" in figures
            else ""
        )
        yield (
            f"{name:36}{figures['rows']:5.0f} rows, mean error {figures['mean_error']:6.1%}, within 10 % "
            f"{figures['within_10']:4.0%}, within 20 % {figures['within_20']:4.0%}, at most "
            f"{figures['largest_factor']:.2f} times off, 90 % interval holds {figures['covered']:4.0%}{baseline}"
        )


def _models(series: list[Series], expected: list[Series]) -> Found:
    """Judge each series on a tenth of its models at a time; what to expect in general comes of the other nine."""
    found: dict[str, Judged] = defaultdict(Judged)
    names = sorted({model for each in series for model in each.models})
    np.random.default_rng(0).shuffle(names)
    for part in range(10):
        out = set(names[part::10])
        factors = pooled(_without(expected, out.__contains__))
        for each in series:
            if len(each.models) >= _FEWEST:
                _judge(found[_group(each)], each, out.__contains__, factors)
    return _plain_of(found)


def _families(series: list[Series], expected: list[Series]) -> Found:
    """Judge each series on each family; what to expect in general comes of the other families."""
    found: dict[str, Judged] = defaultdict(Judged)
    by_family: dict[str, Judged] = defaultdict(Judged)
    for name in sorted({family(model) for each in series for model in each.models}):
        out = _is_of(name)
        factors = pooled(_without(expected, out))
        for each in series:
            if len(each.models) >= _FEWEST and any(map(out, each.models)):
                for judged in (found[_group(each)], by_family[f"without {name}"]):
                    _judge(judged, each, out, factors, nested=True)
    return _plain_of(found) | _plain_of(by_family)


def _is_of(name: str) -> Callable[[str], bool]:
    return lambda model: family(model) == name


def _devices(series: list[Series], expected: list[Series], rows: int) -> Found:
    """Judge each device by what is expected of it, and by as many of its rows as asked."""
    found: dict[str, Judged] = defaultdict(Judged)
    for device in sorted({each.device for each in series}):
        factors = pooled([each for each in expected if _board(each.device) != _board(device)])
        for each in series:
            if each.device != device or len(each.models) < _FEWEST:
                continue
            start = expected_of(each, factors)
            if rows == 0:
                found[_group(each)].add(start, each, None)
                continue
            for seed in range(3):
                models = sorted(set(each.models))
                np.random.default_rng(seed).shuffle(models)
                seen = set(models[:rows])
                known, rest = each.only(seen.__contains__), each.only(lambda model, seen=seen: model not in seen)
                if rest.models:
                    found[_group(each)].add(fit(start, known.counts, known.latency_ms), rest, None)
    return _plain_of(found)


def _board(device: str) -> str:
    """Return what boards share whose rows tell of one another: an AGX Orin stands twice in the table."""
    return device.removesuffix(" 64GB")


def _judge(judged: Judged, series: Series, out: Callable[[str], bool], factors: Factors, nested: bool = False) -> None:
    known, rest = series.only(lambda model: not out(model)), series.only(out)
    if len(known.models) < 3 or not rest.models:
        return
    spread = unlike(known, factors) if nested else 0.0
    judged.add(fitted(known, factors), rest, _baseline(known), spread)


def _without(series: Iterable[Series], out: Callable[[str], bool]) -> list[Series]:
    return [each.only(lambda model: not out(model)) for each in series]


def _group(series: Series) -> str:
    return f"{series.device}, {series.precision}"


def _plain_of(found: Mapping[str, Judged]) -> Found:
    return {name: judged.plain() for name, judged in sorted(found.items()) if judged.ratios}


def _plain(counts: np.ndarray) -> np.ndarray:
    """Return MACs, parameters (by the bytes of weights that are read) and one."""
    return np.array([counts[: len(MULTIPLYING)].sum(), counts[COUNTS.index("weights")], 1.0])


def _baseline(series: Series) -> np.ndarray:
    """Return coefficients of MACs, parameters and one, not negative, of least relative squares."""
    design = np.array([_plain(counts) for counts in series.counts]) / series.latency_ms[:, None]
    for keep in ((0, 1, 2), (0, 1), (0, 2), (0,)):
        scale = np.maximum(design[:, keep].max(axis=0), 1e-30)
        some = np.linalg.lstsq(design[:, keep] / scale, np.ones(len(design)), rcond=None)[0] / scale
        if min(some) >= 0:
            break
    coefficients = np.zeros(3)
    coefficients[list(keep)] = np.maximum(some, 0)
    return coefficients


def _floor(series: list[Series]) -> Found:
    """Return how far measurements of one model in one setting are apart."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in series:
        times: dict[str, list[float]] = defaultdict(list)
        for model, latency in zip(each.models, each.latency_ms, strict=True):
            times[model].append(float(latency))
        found[_group(each)] += [max(values) / min(values) - 1 for values in times.values() if len(values) > 1]
    return {
        name: {
            "pairs": len(apart),
            "median_apart": float(np.median(apart)),
            "share_within_10_%": float(np.mean(np.array(apart) <= 0.1)),
            "share_within_20_%": float(np.mean(np.array(apart) <= 0.2)),
        }
        for name, apart in sorted(found.items())
        if apart
    }


if __name__ == "__main__":
    main()
