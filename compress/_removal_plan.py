"""How many units of which groups go: the same share of each, or the least important of all, down to a target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ._removal_groups import Family
from ._removal_rebuild import Removal, kept_places, sizes_left
from ._removal_trace import Trace

UNITS, PARAMETERS, MACS = "units", "parameters", "macs"
GROUP, GLOBAL = "group", "global"


@dataclass(frozen=True)
class Limits:
    """What a removal has to leave.

    Attributes:
        least: units of each group, at least.
        multiple: a number that the units of large groups are a multiple of.
    """

    least: int = 1
    multiple: int = 1

    def allowed(self, family: Family) -> list[int]:
        """Return how many shares of a family may be kept, descending from all of them."""
        sizes = [len(group.units) for group in family.groups]
        largest = max(sizes)

        def fits(kept: int) -> bool:
            left = [size * kept // family.size for size in sizes]
            if any(count < min(self.least, size) for count, size in zip(left, sizes, strict=True)):
                return False
            return largest < 2 * self.multiple or max(left) % self.multiple == 0

        return [family.size, *(kept for kept in reversed(family.possible) if kept < family.size and fits(kept))]


def cost(trace: Trace, removals: Sequence[Removal], measure: str, families: Sequence[Family] = ()) -> float:
    """Return the units, parameters or multiplications (of one sample) that are left after removals."""
    if measure == UNITS:
        gone = sum(len(units) for removal in removals for units in removal.gone)
        return sum(len(group.units) for family in families for group in family.groups) - gone
    if measure == PARAMETERS:
        axes = kept_places(trace, removals)
        return float(sum(np.prod([places.sum() for places in each]) for each in axes))
    left = sizes_left(trace, removals)
    return sum(times * float(np.prod([left(axis) for axis in axes])) for times, axes in trace.products)


def removal(family: Family, scores: Sequence[np.ndarray], kept: int) -> Removal:
    """Return the removal that keeps so many shares: those units that score highest."""
    gone = []
    for group, of_units in zip(family.groups, scores, strict=True):
        count = len(group.units) * kept // family.size
        gone.append(np.sort(np.argsort(of_units, kind="stable")[: len(group.units) - count]))
    return Removal(family, kept, tuple(gone))


def same_share(
    families: Sequence[Family], scores: Sequence[Sequence[np.ndarray]], wanted: Mapping[str, float], limits: Limits
) -> list[Removal]:
    """Return removals that leave each family about as many units of its first group as are wanted, by its name."""
    made = []
    for family, of_family in zip(families, scores, strict=True):
        shares = wanted[family.name] / len(family.groups[0].units) * family.size
        kept = min(limits.allowed(family), key=lambda kept: (round(abs(kept - shares), 9), -kept))
        made.append(removal(family, of_family, kept))
    return [each for each in made if each.kept < each.family.size]


def least_important(
    families: Sequence[Family], scores: Sequence[Sequence[np.ndarray]], limits: Limits
) -> list[tuple[float, int, int]]:
    """Return the steps of a global ranking, least important first: (importance, place of the family, kept shares).

    A unit's importance is its score over the mean of its group: groups of other shapes have other scales.
    """
    steps = []
    for place, (family, of_family) in enumerate(zip(families, scores, strict=True)):
        ascending = [np.sort(of_units) / max(float(of_units.mean()), 1e-30) for of_units in of_family]
        allowed = limits.allowed(family)
        highest = 0.0
        for before, after in zip(allowed, allowed[1:], strict=False):
            worth = [
                of_units[len(of_units) * (family.size - before) // family.size :][
                    : len(of_units) * (before - after) // family.size
                ].mean()
                for of_units in ascending
            ]
            highest = max(highest, float(np.mean(worth)))
            steps.append((highest, place, after))
    return sorted(steps, key=lambda step: (step[0], -step[2]))


def first_below(target: float, candidates: int, at: Callable[[int], list[Removal]], left: Callable) -> list[Removal]:
    """Return the first of ordered candidates, each removing more than the one before it, that leaves at most a target.

    Raises:
        InputError: even the last one leaves more.
    """
    if not candidates or left(at(candidates - 1)) > target:
        least = left(at(candidates - 1) if candidates else [])
        raise InputError(
            f"Expected a target that removal can reach: {least:,.0f} are left when all goes that may. "
            f"Got: {target:,.0f}. Keep more, widen the scope, or set approximate = true."
        )
    low, high = 0, candidates - 1
    while low < high:
        middle = (low + high) // 2
        if left(at(middle)) <= target:
            high = middle
        else:
            low = middle + 1
    return at(low)
