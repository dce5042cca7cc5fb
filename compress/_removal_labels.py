"""Labels of tensors' places: places that have to be removed together share a label.

Every place along every axis of every tensor has a label. An operation unites labels (what is added stands or falls
together) or hands them on; a label that is fixed stays, with the reason. It is dependency tracking as in Fang et al.,
"DepGraph: Towards any structural pruning", 2023 (arXiv 2301.12900), by single places, so that concatenations, heads,
and gates side by side need no rules of their own.
"""

from typing import Any

import numpy as np


class Labels:
    """Disjoint sets of labels, each of them with what is known about it."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._fixed: dict[int, str] = {}
        self._mixed: dict[int, str] = {}
        self._by_reason: dict[str, int] = {}

    def fresh(self, count: int) -> np.ndarray:
        """Return so many new labels."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def constant(self, count: int, reason: str) -> np.ndarray:
        """Return so many times the label that is fixed for a reason."""
        if reason not in self._by_reason:
            label = int(self.fresh(1)[0])
            self._by_reason[reason] = label
            self._fixed[label] = reason
        return np.full(count, self._by_reason[reason])

    def root(self, label: int) -> int:
        """Return the label that stands for a label's set."""
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    def roots(self, labels: Any) -> np.ndarray:
        """Return the roots of an array of labels."""
        distinct, places = np.unique(labels, return_inverse=True)
        roots = np.array([self.root(int(label)) for label in distinct], dtype=int)
        return roots[places].reshape(np.shape(labels))

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Unite labels pairwise."""
        for one, other in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            one, other = self.root(one), self.root(other)
            if one == other or (one in self._fixed and other in self._fixed):
                continue
            self._parents[other] = one
            for known in (self._fixed, self._mixed):
                if other in known:
                    reason = known.pop(other)
                    known.setdefault(one, reason)

    def fix(self, labels: np.ndarray, reason: str) -> None:
        """Say that labels have to stay, and why; the first reason is kept."""
        for root in set(self.roots(labels).ravel().tolist()):
            self._fixed.setdefault(root, reason)

    def mix(self, labels: np.ndarray, reason: str) -> None:
        """Say that removing one of these labels changes what the others compute, and why."""
        for root in set(self.roots(labels).ravel().tolist()):
            self._mixed.setdefault(root, reason)

    def why_fixed(self, label: int) -> str:
        """Return why a label stays; "" when it may go."""
        return self._fixed.get(self.root(label), "")

    def why_mixed(self, label: int) -> str:
        """Return why the removal of a label changes the others; "" when it does not."""
        return self._mixed.get(self.root(label), "")

    def are_live(self, labels: np.ndarray) -> bool:
        """Tell whether any of the labels may go."""
        return any(root not in self._fixed for root in set(self.roots(labels).ravel().tolist()))
