"""The grid of a kernel: which of its weights share a scale, what the scale is, and which weight holds its end.

Exporters find the scale again in the weights: the largest magnitude over the largest integer. So of each set of weights
that share a scale the largest stays at the grid's end, and whatever else is rounded how, the files keep the values.
"""

from dataclasses import dataclass

import numpy as np

from ._product_layouts import Layout

# Of the scale that clips nothing, what a search tries.
_SHARES = {8: np.linspace(1, 0.8, 11), 4: np.linspace(1, 0.5, 26)}


@dataclass(frozen=True)
class Grid:
    """The values that a kernel's weights may have: integers times a scale.

    Attributes:
        scale: ``[weights]``, for each weight of the flattened kernel.
        ends: ``[weights]``, true for the weight of each set that stays at the end of the grid.
        largest: the largest integer; the smallest is its negative.
    """

    scale: np.ndarray
    ends: np.ndarray
    largest: int

    def integers(self, values: np.ndarray) -> np.ndarray:
        """Return the integers nearest to flattened values, the ends at the largest."""
        found = np.clip(np.round(values / self.scale), -self.largest, self.largest)
        return np.where(self.ends, np.where(values < 0, -self.largest, self.largest), found)


def sets_of(layout: Layout, bits: int, group_size: int = 0) -> np.ndarray:
    """Return for each weight of a flattened kernel the number of the set with which it shares a scale in files.

    Args:
        layout: how the kernel is multiplied.
        bits: with 8 a set is an output channel; with 4 a group of weights that are summed up.
        group_size: how many; 0 for an output channel.
    """
    groups, inputs, outputs = layout.places.shape
    size = group_size if bits == 4 and group_size else inputs
    # Files keep the channels of a convolution's input before its window.
    window, channels = layout.window, inputs // layout.window
    order = np.arange(inputs).reshape(channels, window).T.reshape(-1)
    alone = layout.alone or size < inputs
    numbers = (np.arange(groups) if alone else np.zeros(groups, int))[:, np.newaxis, np.newaxis] * outputs
    numbers = (numbers + np.arange(outputs)) * -(-inputs // size) + order[:, np.newaxis] // size
    sets = np.empty(layout.places.size, int)
    sets[layout.places] = numbers
    return sets


def grid_of(
    values: np.ndarray, sets: np.ndarray, bits: int, weights: np.ndarray | None = None, search: bool = False
) -> Grid:
    """Return the grid of flattened values.

    Args:
        values: ``[weights]``.
        sets: ``[weights]``, see ``sets_of``.
        bits: 8 or 4.
        weights: ``[weights]``, how much the squared error of each counts in the search; the same when None.
        search: whether each set takes the share of its scale that has the least squared error; larger weights are
            clipped (Nagel et al., "A white paper on neural network quantization", 2021, arXiv 2106.08295, section 3.1).
            Otherwise nothing is clipped, which is what the exporters do.
    """
    largest = 2 ** (bits - 1) - 1
    count = int(sets.max()) + 1
    magnitudes = np.abs(values)
    last = np.lexsort((magnitudes, sets))
    ends = np.zeros(len(values), bool)
    ends[last[np.append(np.diff(sets[last]) > 0, True)]] = True
    ends &= magnitudes > 0
    widest = np.zeros(count)
    np.maximum.at(widest, sets, magnitudes)
    widest = np.where(widest > 0, widest, largest) / largest
    scale, least = widest, np.full(count, np.inf)
    for share in _SHARES[bits] if search else ():
        each = (widest * share)[sets]
        errors = (np.clip(np.round(values / each), -largest, largest) * each - values) ** 2
        error = np.bincount(sets, errors if weights is None else errors * weights, count)
        better = error < least
        scale, least = np.where(better, widest * share, scale), np.where(better, error, least)
    return Grid(scale[sets], ends, largest)


def rounded_as_exported(values: np.ndarray, layout: Layout, bits: int, group_size: int = 0) -> np.ndarray:
    """Return a kernel as the exporters round it, to the nearest; see ``sets_of``."""
    flat = values.reshape(-1).astype(np.float64)
    grid = grid_of(flat, sets_of(layout, bits, group_size), bits)
    return (grid.integers(flat) * grid.scale).reshape(values.shape).astype(values.dtype)
