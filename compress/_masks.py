"""Masks: which weights of a kernel stay, singly, in blocks, or N of every M.

They are those of TF-MOT (``pruning_impl``), which the tests compare them with, for kernels of any dimensions; where
blocks do not divide a kernel TF-MOT ranks others than it then sets. TF-MOT sorts all of a kernel's weights; here the
threshold is found without sorting, in a tenth of the time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..train._sparse_moves import largest
from ._kernels import Axes

# What a ranking over all kernels leaves of each: this share of the density asked for, and one block.
FLOOR = 0.1


@dataclass(frozen=True)
class Pattern:
    """What becomes zero together.

    Attributes:
        block: how many outputs and inputs a block has; (1, 1) for single weights.
        kept, group: ``kept`` of every ``group`` consecutive inputs stay; 0 where that is not the pattern.
    """

    block: tuple[int, int] = (1, 1)
    kept: int = 0
    group: int = 0

    @property
    def sparsity(self) -> float:
        """The sparsity of N:M; 0 where the pattern leaves it open."""
        return 1 - self.kept / self.group if self.group else 0.0

    def misfit(self, axes: Axes, shape: tuple[int, ...]) -> str:
        """Tell why a kernel has no room for the pattern; "" when it has."""
        outputs, inputs = axes.counts(shape)
        if self.group > inputs:
            return f"has {inputs} inputs to an output at a place, fewer than a group of {self.group}"
        if self.block[0] > outputs or self.block[1] > inputs:
            block = f"{self.block[0]}x{self.block[1]}"
            return f"has {outputs} outputs and {inputs} inputs at a place, too few for a block of {block}"
        return ""

    def blocks(self, axes: Axes, shape: tuple[int, ...]) -> int:
        """Return how many blocks a kernel has; those at the end of an axis that they do not divide count as well."""
        outputs, inputs = axes.counts(shape)
        whole = -(-outputs // self.block[0]) * -(-inputs // self.block[1])
        return whole * (int(np.prod(shape)) // (outputs * inputs))


def pattern_of(name: str) -> Pattern:
    """Return the pattern of a name: "unstructured", outputs x inputs such as "4x4", or N of M such as "2:4".

    >>> pattern_of("1x16").block, pattern_of("2:4").sparsity
    ((1, 16), 0.5)

    Raises:
        InputError: it is none of them.
    """
    if name == "unstructured":
        return Pattern()
    block, group = re.fullmatch(r"(\d+)x(\d+)", name), re.fullmatch(r"(\d+):(\d+)", name)
    if block and min(map(int, block.groups())) > 0:
        return Pattern(block=(int(block[1]), int(block[2])))
    if group and 0 < int(group[1]) < int(group[2]):
        return Pattern(kept=int(group[1]), group=int(group[2]))
    raise InputError(
        'Expected a pattern: "unstructured", blocks of outputs x inputs such as "1x4", "4x4" or "1x16", or N weights '
        f'kept of M inputs such as "2:4" or "4:8". Got: {name!r}.'
    )


def mask_of(kernel: np.ndarray, axes: Axes, pattern: Pattern, sparsity: float) -> np.ndarray:
    """Return 1 where a weight stays and 0 elsewhere, in the kernel's shape.

    Of blocks the largest by mean magnitude stay, ``1 - sparsity`` of their number and at least one. A block at the end
    of an axis that the blocks do not divide is smaller, and its mean is over what it has. Of N:M the largest of each
    group stay; while sparsity rises, more than N do. A group at the end of an axis that M does not divide keeps its
    largest N too, or all when it has no more.
    """
    if pattern.group:
        matrices = np.abs(axes.matrices(kernel))
        zeros = min(round(sparsity * pattern.group), pattern.group - pattern.kept)
        kept = _largest_of_groups(matrices, pattern.group, pattern.group - zeros)
        return axes.kernel(kept, kernel.shape).astype("float32")
    scores = _scores(kernel, axes, pattern)
    return _mask(largest(scores, kept_blocks(scores.size, sparsity)), kernel, axes, pattern)


def masks_of(
    kernels: Sequence[np.ndarray], axes: Sequence[Axes], pattern: Pattern, sparsity: float
) -> tuple[list[np.ndarray], list[bool]]:
    """Return the masks by one threshold over the blocks of all kernels, and whether each kernel is at the floor.

    Every kernel keeps at least a tenth of the density asked for, and one block; the others make up for it.
    """
    scores = [_scores(kernel, each, pattern) for kernel, each in zip(kernels, axes, strict=True)]
    floors = [kept_blocks(each.size, 1 - FLOOR * (1 - sparsity)) for each in scores]
    safe = [largest(each, floor) for each, floor in zip(scores, floors, strict=True)]
    ranked = np.concatenate(
        [np.where(held, np.inf, each).ravel() for held, each in zip(safe, scores, strict=True)], dtype=np.float32
    )
    kept = largest(ranked, max(sum(floors), kept_blocks(ranked.size, sparsity)))
    parts = np.split(kept, np.cumsum([each.size for each in scores])[:-1])
    masks = [
        _mask(part.reshape(score.shape), kernel, place, pattern)
        for part, score, kernel, place in zip(parts, scores, kernels, axes, strict=True)
    ]
    return masks, [bool(part.sum() <= floor < part.size) for part, floor in zip(parts, floors, strict=True)]


def kept_blocks(blocks: int, sparsity: float) -> int:
    """Return how many of so many blocks or weights stay: at least one.

    >>> kept_blocks(10, 0.75), kept_blocks(10, 0.99)
    (2, 1)
    """
    return max(1, round(blocks * (1 - sparsity)))


def _scores(kernel: np.ndarray, axes: Axes, pattern: Pattern) -> np.ndarray:
    """Return each block's mean magnitude, ``[places, blocks of outputs, blocks of inputs]``; or of each weight."""
    if pattern == Pattern():
        return np.abs(kernel)
    matrices, block = np.abs(axes.matrices(kernel)), pattern.block
    places, outputs, inputs = matrices.shape
    padded = np.pad(matrices, ((0, 0), (0, -outputs % block[0]), (0, -inputs % block[1])))
    sums = padded.reshape(places, -1, block[0], padded.shape[2] // block[1], block[1]).sum(axis=(2, 4))
    sizes = [
        np.minimum(np.arange(0, whole, size) + size, whole) - np.arange(0, whole, size)
        for whole, size in zip((outputs, inputs), block, strict=True)
    ]
    return sums / np.outer(*sizes).astype(matrices.dtype)


def _mask(kept: np.ndarray, kernel: np.ndarray, axes: Axes, pattern: Pattern) -> np.ndarray:
    """Return the mask of a kernel by which of its blocks are kept."""
    if pattern == Pattern():
        return kept.astype("float32")
    outputs, inputs = axes.counts(kernel.shape)
    weights = kept.repeat(pattern.block[0], axis=1).repeat(pattern.block[1], axis=2)[:, :outputs, :inputs]
    return axes.kernel(weights, kernel.shape).astype("float32")


def _largest_of_groups(matrices: np.ndarray, group: int, kept: int) -> np.ndarray:
    inputs = matrices.shape[2]
    padded = np.pad(matrices, ((0, 0), (0, 0), (0, -inputs % group)), constant_values=-1)
    groups = padded.reshape(*padded.shape[:2], -1, group)
    weights = np.moveaxis(groups, -1, 0)
    # The place of each weight in the order of its group, the largest first: how many come before it.
    ranks = [
        sum(
            (other >= own if place > rank else other > own).astype("uint8")
            for rank, other in enumerate(weights)
            if rank != place
        )
        for place, own in enumerate(weights)
    ]
    return (np.stack(ranks, axis=-1) < kept).reshape(padded.shape)[:, :, :inputs]
