"""The sensitivity scan: what pruning each kernel alone costs, and the sparsities that cost least in sum.

Each kernel alone is pruned to several sparsities while the loss is measured, as Han et al. do ("Learning both weights
and connections for efficient neural networks", 2015, arXiv 1506.02626, section 4.1). That the costs of several kernels
add up is an assumption.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._fine_tuning import FineTuning, loss_of, objective
from ._technique import Work

if TYPE_CHECKING:
    from ._magnitude_mask import Mask

# A kernel is tried at these powers of the density asked for.
_POWERS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
# The cost of what makes the loss NaN or infinite.
_BROKEN = 1e30


def levels_of(sparsity: float) -> tuple[float, ...]:
    """Return the sparsities to try, 0 first; the last one is the most that a kernel may be given.

    >>> [round(level, 2) for level in levels_of(0.9)]
    [0.0, 0.44, 0.68, 0.82, 0.9, 0.97, 0.99]
    """
    return (0.0, *(1 - (1 - sparsity) ** power for power in _POWERS))


def scanned(work: Work, parameters: FineTuning, masks: "Sequence[Mask]", levels: Sequence[float]) -> list[list[float]]:
    """Return by kernel and level how much pruning that kernel alone adds to the loss, which never falls.

    The loss is what fine-tuning would lessen: the task's, or without labels the distance from the original's outputs.
    It is taken on 256 samples spread over the data.

    Raises:
        InputError: there are no samples.
    """
    from ._mapped_model import MappedModel

    if not len(work.task.train):
        raise InputError("Expected samples for the sensitivity scan. Got: none.")
    task, imitation = objective(work, parameters)
    mapped = MappedModel(work.model, (*work.transforms, *masks), None, imitation)
    mapped.compile(loss=task.loss or "mean_squared_error")
    plain = loss_of(mapped, task)
    added = []
    for mask in masks:
        value = _value_before(mapped, mask)
        losses = []
        for level in levels:
            mask.prune(value, level)
            losses.append(loss_of(mapped, task) - plain if level else 0.0)
        mask.prune(value, 0.0)
        finite = np.nan_to_num(losses, nan=_BROKEN, posinf=_BROKEN)
        added.append(np.maximum.accumulate(finite).tolist())
    return added


def allotted(
    sizes: Sequence[int], levels: Sequence[float], costs: Sequence[Sequence[float]], sparsity: float
) -> list[float]:
    """Return the sparsity of each kernel for which the costs add up to the least, at a sparsity of the whole.

    Between levels a cost is taken to lie on the lower convex hull of what was measured: going up the hulls in the order
    of their slopes, until enough weights are zero, is then optimal.

    Args:
        sizes: how many weights each kernel has.
        levels: sparsities, 0 first and rising.
        costs: by kernel and level, 0 first and never falling.
        sparsity: share of zeros over all kernels, at most the last level.

    >>> allotted([100, 100], [0, 0.5, 1], [[0, 1, 2], [0, 4, 9]], 0.5)
    [1.0, 0.0]
    """
    climbs = [
        (slope / size, kernel, low, high)
        for kernel, (size, cost) in enumerate(zip(sizes, costs, strict=True))
        for slope, low, high in _hull(levels, cost)
    ]
    given = [0.0] * len(sizes)
    missing = sparsity * sum(sizes)
    for _, kernel, low, high in sorted(climbs):
        step = min((high - low) * sizes[kernel], missing)
        given[kernel] += step / sizes[kernel]
        missing -= step
    return given


def _hull(levels: Sequence[float], cost: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return the lower convex hull of a curve as (slope, from, to)."""
    segments, place = [], 0
    while place < len(levels) - 1:
        slope, further = min(
            ((cost[end] - cost[place]) / (levels[end] - levels[place]), -end) for end in range(place + 1, len(levels))
        )
        segments.append((slope, levels[place], levels[-further]))
        place = -further
    return segments


def _value_before(mapped: Any, mask: "Mask") -> Any:
    """Return what the transforms before a mask make of its variable."""
    (variable,) = [each for each in mapped.inner.variables if each.path == mask.path]
    value = variable.value
    for transform in mapped.by_path[mask.path]:
        if transform is not mask:
            value = transform(value)
    return value
