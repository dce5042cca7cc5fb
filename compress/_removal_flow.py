"""The labels of all tensors of a graph, followed from operation to operation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ._removal_labels import Labels

Axes = list[np.ndarray]
LEADING, TRAILING = "leading", "trailing"
PLACE = "a dimension of samples, time or place"


class Flow:
    """The labels of all tensors of a graph, found by going through its operations in order.

    Args:
        rules: by an operation's type, what hands on the labels of its inputs to its outputs.
        choices: by an operation's name, which part of a divided axis keeps labels, ``LEADING`` or ``TRAILING``.
        constants: the values of tensors that depend on no input and no variable, by name.
        layer_of: maps an operation's name to the layer that it belongs to.
    """

    def __init__(
        self,
        rules: "Mapping[str, Rule]",
        choices: dict[str, str],
        constants: dict[str, np.ndarray],
        layer_of: Callable[[str], str],
    ) -> None:
        self.labels = Labels()
        self.axes: dict[str, Axes] = {}
        self.divided: dict[str, np.ndarray] = {}
        self.defaults: dict[str, str] = {}
        self.contracted: list[tuple[Any, int]] = []
        self.products: list[tuple[Any, Axes]] = []
        self._rules, self._choices, self._constants, self.layer_of = rules, choices, constants, layer_of

    def of(self, tensor: Any) -> Axes:
        """Return the labels of a tensor's axes."""
        if tensor.name not in self.axes:
            value = self._constants.get(tensor.name)
            shape = tuple(tensor.shape) if value is None else value.shape
            reason = "meets a constant that stays as it is"
            self.axes[tensor.name] = [
                self.labels.constant(size, f"{reason}, in {self.layer_of(tensor.op.name)}")
                if size > 1 and (value is None or _varies(value, axis))
                else self.labels.fresh(size)
                for axis, size in enumerate(shape)
            ]
        return self.axes[tensor.name]

    def set(self, tensor: Any, axes: Axes) -> None:
        """Set the labels of a tensor's axes; where they do not fit, everything is fixed."""
        if [len(axis) for axis in axes] != list(tensor.shape):
            raise ValueError(f"{tensor.op.type} makes {list(tensor.shape)}, not {[len(axis) for axis in axes]}")
        self.axes[tensor.name] = axes

    def place(self, size: int) -> np.ndarray:
        """Return labels for an axis along which nothing is removed."""
        return self.labels.constant(size, PLACE)

    def follow(self, op: Any) -> None:
        """Hand the labels on through an operation."""
        if all(output.name in self._constants for output in op.outputs) or not op.outputs:
            return
        try:
            if op.type not in self._rules:
                raise NotImplementedError(op.type)
            self._rules[op.type](self, op)
        except (NotImplementedError, ValueError, IndexError, TypeError):
            self._give_up(op)

    def _give_up(self, op: Any) -> None:
        reason = f"passes {op.type} in {self.layer_of(op.name)}, which removal does not follow"
        for tensor in op.inputs:
            if tensor.dtype.name != "resource":
                for axis in self.of(tensor):
                    self.labels.fix(axis, reason)
        for tensor in op.outputs:
            sizes = tensor.shape if tensor.shape.rank is not None else ()
            self.axes[tensor.name] = [self.labels.constant(size or 1, reason) for size in sizes]

    def constant(self, tensor: Any) -> np.ndarray:
        """Return the value of a constant tensor."""
        if tensor.name not in self._constants:
            raise NotImplementedError(f"{tensor.name} is no constant")
        return self._constants[tensor.name]

    def broadcast(self, several: Sequence[Axes]) -> Axes:
        """Unite the labels of tensors that are combined place by place, and return those of what comes out."""
        rank = max(len(axes) for axes in several)
        result: Axes = []
        for back in range(rank, 0, -1):
            here = [axes[-back] for axes in several if len(axes) >= back]
            wide = [axis for axis in here if len(axis) > 1] or here
            for other in wide[1:]:
                self.labels.unite(wide[0], other)
            result.append(wide[0])
        return result

    def choose(self, op: Any, labels: np.ndarray, candidates: list[int]) -> int:
        """Return along which of the axes of an array of labels they stay apart; those at one place there unite."""
        self.defaults[op.name] = LEADING if len(candidates) == 2 else TRAILING
        kept = candidates[0 if self._choices.get(op.name, self.defaults[op.name]) == LEADING else -1]
        slabs = np.moveaxis(labels, kept, 0).reshape(labels.shape[kept], -1)
        for slab in slabs:
            self.labels.unite(np.full(len(slab) - 1, slab[0]), slab[1:])
        self.divided[op.name] = slabs[:, 0]
        return kept


def _varies(value: np.ndarray, axis: int) -> bool:
    return bool((np.take(value, [0], axis) != value).any())


Rule = Callable[[Flow, Any], None]
