"""A comparison: how many times longer one artifact takes than another, from processes that ran in turn."""

import functools
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ..figures import Figure
from ._measurement import Measurement

# Of the interval, two-sided. Seven pairs are the fewest whose signs alone can be so unlikely.
LEVEL = 0.98
FEWEST_PAIRS, MOST_PAIRS = 7, 30


class Found(StrEnum):
    """What a comparison shows of the second artifact."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "not distinguishable"


class Guard(StrEnum):
    """What a limit on the ratio makes of it."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Comparison:
    """Two artifacts that were timed in turn.

    Attributes:
        before, after: what was measured of each.
        ratio: the second's latency over the first's, with its 98 % interval.
    """

    before: Measurement
    after: Measurement
    ratio: Figure

    @property
    def found(self) -> Found:
        """Whether the second is faster or slower: the interval lies on one side of 1."""
        assert self.ratio.low is not None and self.ratio.high is not None
        if self.ratio.high < 1:
            return Found.FASTER
        return Found.SLOWER if self.ratio.low > 1 else Found.SAME

    def guard(self, max_regression: float) -> Guard:
        """Return whether the second may pass for no more than ``max_regression`` (0.05 is 5 %) slower.

        The interval has to lie on one side of the limit; a throttled device decides nothing.
        """
        assert self.ratio.low is not None and self.ratio.high is not None
        limit = 1 + max_regression
        if any(process.held_back for each in (self.before, self.after) for process in each.processes):
            return Guard.INCONCLUSIVE
        if self.ratio.low > limit:
            return Guard.FAIL
        return Guard.PASS if self.ratio.high < limit else Guard.INCONCLUSIVE


def compare(before: Measurement, after: Measurement) -> Comparison:
    """Return the ratio of two measurements whose processes ran in turn.

    Each pair of neighbouring processes gives one ratio of medians. The estimate is the Hodges-Lehmann estimator of
    their logarithms: the median of the means of all pairs of them; its interval is that of Wilcoxon's signed-rank test
    (Hollander, Wolfe and Chicken, "Nonparametric statistical methods", 2014, sections 3.2 and 3.3). Neither assumes
    a distribution, and one process in a busy moment moves them little.

    Raises:
        ValueError: there are not as many processes of both, or fewer than ``FEWEST_PAIRS``.
    """
    if not FEWEST_PAIRS <= len(before.processes) == len(after.processes):
        raise ValueError(
            f"Expected as many processes of both, at least {FEWEST_PAIRS}. "
            f"Got: {len(before.processes)} and {len(after.processes)}."
        )
    ratios = [
        math.log(two.median_ms / one.median_ms) for one, two in zip(before.processes, after.processes, strict=True)
    ]
    middle, low, high = location(ratios)
    basis = f"{len(ratios)} pairs of processes in turn, p50 each, Hodges-Lehmann, {100 * LEVEL:g} % interval"
    return Comparison(before, after, Figure(math.exp(middle), before.how, math.exp(low), math.exp(high), basis))


def location(values: list[float]) -> tuple[float, float, float]:
    """Return the Hodges-Lehmann estimate of where ``values`` lie, and its interval at ``LEVEL``.

    >>> location([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    (4.0, 1.0, 7.0)
    """
    array = np.asarray(values, np.float64)
    first, second = np.triu_indices(len(array))
    means = np.sort((array[first] + array[second]) / 2)
    outside = _outside(len(array))
    return float(np.median(means)), float(means[outside]), float(means[-1 - outside])


@functools.cache
def _outside(count: int) -> int:
    """Return how many of the sorted means lie outside of the interval at each end.

    The sum of the positive ranks of ``count`` values is distributed as the sums of all subsets of 1 to ``count``.
    """
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, count + 1):
        ways[rank:] += ways[:-rank].copy()
    below = np.cumsum(ways) / 2.0**count
    return max(int(np.searchsorted(below, (1 - LEVEL) / 2, side="right")) - 1, 0)
