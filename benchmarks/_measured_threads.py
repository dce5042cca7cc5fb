"""Networks that were measured with several numbers of threads: predicted from their rows with four.

The share of the work that more threads do not shorten was chosen with these rows in sight; the two baselines are the
same latency, and one that is inversely proportional to the threads.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from _fitted import Factors, Series, fitted

from edgewright.devices._expected import thread_factors

_FITTED_AT, _FEWEST = 4, 4


class WithThreads(NamedTuple):
    """Predicted over measured of the rows with another number of threads, by each method; shapes [rows]."""

    title: str
    predicted: np.ndarray
    same: np.ndarray
    proportional: np.ndarray

    def plain(self) -> dict[str, float]:
        """Return mean errors as figures."""
        within = float(np.mean(np.abs(self.predicted - 1) <= 0.2))
        errors = {
            name: float(np.mean(np.abs(ratios - 1))) for name, ratios in self._asdict().items() if name != "title"
        }
        return {"rows": len(self.predicted), "within_20": within} | errors

    def line(self) -> str:
        """Return them as text."""
        found = self.plain()
        return (
            f"{self.title:37}{found['rows']:4} rows, mean error {found['predicted']:6.1%}, within 20 % "
            f"{found['within_20']:4.0%}; the same latency {found['same']:.1%}, proportional {found['proportional']:.1%}"
        )


def with_threads(series: list[Series], factors: Factors) -> Iterator[WithThreads]:
    """Judge the rows of each runtime and kind of number whose models have rows with four threads too."""
    settings: dict[tuple[str, ...], dict[int, Series]] = defaultdict(dict)
    for each in series:
        settings[each.device, each.version, each.setting, each.precision][each.threads] = each
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for by_threads in settings.values():
        four = by_threads.get(_FITTED_AT)
        if four is None or len(four.models) < _FEWEST:
            continue
        speeds = fitted(four, factors)
        for threads, each in by_threads.items():
            rows = each.only(set(four.models).__contains__)
            if threads == _FITTED_AT or not rows.models:
                continue
            taken = rows.counts @ (thread_factors(each.kind, threads, _FITTED_AT) * speeds.ms)
            same = rows.counts @ speeds.ms
            found[each.kind].append(np.stack([taken, same, same * _FITTED_AT / threads]) / rows.latency_ms)
    for kind, ratios in found.items():
        yield WithThreads(kind, *np.concatenate(ratios, axis=1))
