"""The mask of magnitude pruning: computed anew from the weights as they are, while sparsity rises."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._kernels import Axes
from ._masks import Pattern, mask_of, masks_of
from ._tfmot import tfmot
from ._transform import Transform

if TYPE_CHECKING:
    import keras

    from .magnitude_pruning import MagnitudePruning

_POWERS = {"linear": 1, "polynomial": 2, "cubic": 3}


class KeepMask(Transform):
    """A variable times a mask of ones and zeros.

    Args:
        technique: the name of the technique.
        variable: the variable.
        mask: 1 where a weight stays, in the variable's shape.
    """

    def __init__(self, technique: str, variable: "keras.Variable", mask: np.ndarray) -> None:
        import keras

        super().__init__(technique, variable.path)
        self.mask = keras.Variable(mask, dtype=variable.dtype, trainable=False, name="mask")

    def __call__(self, value: Any) -> Any:
        """Return the value times the mask."""
        return value * self.mask.value


class Mask(KeepMask):
    """A mask that is computed anew while sparsity rises.

    Args:
        variable: the variable.
        axes: what its axes are.
        pattern: what becomes zero together.
        parameters: how its sparsity rises, and to what.
    """

    def __init__(
        self, variable: "keras.Variable", axes: Axes, pattern: Pattern, parameters: "MagnitudePruning"
    ) -> None:
        super().__init__("magnitude_pruning", variable, np.ones(variable.shape, "float32"))
        self.axes = axes
        self.sparsity = parameters.sparsity
        self.ranking: GlobalRanking | None = None
        self._pattern, self._parameters = pattern, parameters
        self._sparsities = np.zeros(0)

    def before_step(self, value: Any, step: int, steps: int) -> None:
        """Compute the mask anew from the weights as they are now."""
        if len(self._sparsities) != steps:
            self._sparsities = sparsities_of(self._parameters, self.sparsity, steps)
        sparsity = self.sparsity if step == steps - 1 else float(self._sparsities[step])
        if self.ranking:
            self.ranking.take(self, np.asarray(value), sparsity)
        else:
            self.prune(value, sparsity)

    def prune(self, value: Any, sparsity: float) -> None:
        """Set the mask by the magnitudes of ``value``."""
        self.mask.assign(mask_of(np.asarray(value), self.axes, self._pattern, sparsity))


class GlobalRanking:
    """What waits until every mask has shown its weights, and then sets them all by one threshold.

    Attributes:
        at_floor: paths of the kernels that the threshold would have left almost empty.
    """

    def __init__(self, masks: Sequence[Mask], pattern: Pattern, parameters: "MagnitudePruning") -> None:
        self.at_floor: tuple[str, ...] = ()
        self._masks, self._pattern = masks, pattern
        self._values: dict[str, np.ndarray] = {}
        for mask in masks:
            mask.ranking = self

    def take(self, mask: Mask, values: np.ndarray, sparsity: float) -> None:
        """Note a kernel's weights, ``[...]``; set all masks once all have come."""
        self._values[mask.path] = values
        if len(self._values) < len(self._masks):
            return
        kernels = [self._values.pop(each.path) for each in self._masks]
        made, at_floor = masks_of(kernels, [each.axes for each in self._masks], self._pattern, sparsity)
        for each, new in zip(self._masks, made, strict=True):
            each.mask.assign(new)
        self.at_floor = tuple(each.path for each, low in zip(self._masks, at_floor, strict=True) if low)


def sparsities_of(parameters: "MagnitudePruning", sparsity: float, steps: int) -> np.ndarray:
    """Return the sparsity at each of ``[steps]`` training steps on the way to ``sparsity``."""
    schedules = tfmot("sparsity.keras.pruning_schedule")
    if parameters.schedule == "constant":
        schedule = schedules.ConstantSparsity(sparsity, begin_step=0, frequency=1)
    else:
        end = max(1, round(steps * parameters.ramp))
        schedule = schedules.PolynomialDecay(0.0, sparsity, 0, end, power=_POWERS[parameters.schedule], frequency=1)
    return np.broadcast_to(np.asarray(schedule(np.arange(steps))[1]), steps)
