"""Dynamic sparsity: masks that have the wanted sparsity from the first step, and move while the network trains.

A move drops the smallest weights that are active and lets as many others grow, from zero. How many falls with a cosine
(Evci et al., "Rigging the lottery: making all tickets winners", 2020, arXiv 1911.11134, section 3).
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ..errors import InputError
from ..train._sparse_densities import erdos_renyi_kernel, uniform
from ..train._sparse_moves import dropped_and_grown, largest
from ._fine_tuning import FineTuning, fine_tune
from ._kernels import NO_VECTOR
from ._magnitude_mask import KeepMask
from ._scope import Scope, in_scope
from ._technique import Result, Work
from .magnitude_pruning import speed_note

if TYPE_CHECKING:
    import keras

# Maps a mask and the training step to how much each weight, in the kernel's shape, wishes to grow.
Wish = Callable[["MovingMask", int], np.ndarray]


class DynamicSparsity(FineTuning):
    """Parameters of dynamic sparsity.

    Attributes:
        sparsity: share of zeros over all kernels in scope, 0 to below 1.
        scope: regular expression; a variable is masked when it is found in the variable's path.
        densities: "erk" leaves small layers denser (Erdős–Rényi kernel), "uniform" gives all the same density.
        start: the first masks; "magnitude" keeps a trained network's largest weights, "random" is for a fresh one, and
            keeps the variance of each layer's output.
        replaced: the share of the active weights that the first moves replace; 0 leaves the masks as they start.
        stop: the share of the training steps after which the masks rest.
        moves: about how many moves a training would have if they did not stop, one in ten steps at most.
        epochs, batch_size, learning_rate, ...: of the training; see ``FineTuning``.
    """

    sparsity: float = Field(ge=0, lt=1)
    scope: Scope = "kernel$"
    densities: str = Field("erk", pattern="^(erk|uniform)$")
    start: str = Field("magnitude", pattern="^(magnitude|random)$")
    replaced: float = Field(0.3, ge=0, le=1)
    stop: float = Field(0.75, gt=0, le=1)
    moves: int = Field(30, ge=1)


class MovingMask(KeepMask):
    """A variable times a mask that keeps its number of ones while it moves.

    Args:
        technique: the name of the technique.
        variable: the variable; what the mask leaves out of it becomes zero at each move, for weights to grow from.
        mask: booleans, where the mask starts.
        parameters: how it moves.
        seed: of what is random, together with the path and the step.

    Attributes:
        wish: what tells how much each weight wishes to grow.
    """

    wish: Wish

    def __init__(
        self,
        technique: str,
        variable: "keras.Variable",
        mask: np.ndarray,
        parameters: DynamicSparsity,
        seed: int,
    ) -> None:
        super().__init__(technique, variable, mask.astype("float32"))
        self.seed = seed
        self._kernel = (variable,)  # in a tuple: it is the model's, not this transform's own
        self._parameters = parameters
        self._moved = 0

    def before_step(self, value: Any, step: int, steps: int) -> None:
        """Drop and grow, when it is time."""
        end = min(round(self._parameters.stop * steps), steps - 1)
        if step == 0:
            self._moved = 0
        if step >= end or step - self._moved < max(1, steps // self._parameters.moves):
            return
        self._moved = step
        mask = np.asarray(self.mask) > 0.5
        share = self._parameters.replaced / 2 * (1 + math.cos(math.pi * step / end))
        count = min(int(share * mask.sum()), int(mask.size - mask.sum()))
        if not count:
            return
        after = dropped_and_grown(mask, np.abs(np.asarray(value)), self.wish(self, step), count)
        (variable,) = self._kernel
        variable.assign(variable * self.mask)
        self.mask.assign(after.astype("float32"))

    def random(self, step: int) -> np.random.Generator:
        """Return the generator of what is random in this mask at a step."""
        return np.random.default_rng((self.seed, zlib.crc32(self.path.encode()), step))


def trained_sparse(
    work: Work,
    technique: str,
    parameters: DynamicSparsity,
    wish_of: Callable[[Work, Sequence[MovingMask]], Wish],
) -> Result:
    """Mask the kernels in scope and train on while the masks move.

    Args:
        work: the model and the data.
        technique: the technique's name.
        parameters: how sparse, and how the masks move.
        wish_of: makes what decides which weights grow, of the work whose model is trained and its masks.

    Raises:
        InputError: the scope matches no kernel, or the sparsity would empty one.
    """
    work = work.own_copy()
    variables, skipped = in_scope(work.model, parameters.scope, NO_VECTOR)
    masks = []
    for variable, density in zip(variables, _densities(variables, parameters), strict=True):
        first = _first(variable, density, parameters, work.seed)
        if parameters.start == "random":
            variable.assign(variable / math.sqrt(first.mean()))
        masks.append(MovingMask(technique, variable, first, parameters, work.seed))
    wish = wish_of(work, masks)
    for mask in masks:
        mask.wish = wish
    notes = fine_tune(work, parameters, masks)
    return Result(
        work.model, tuple(variable.path for variable in variables), skipped, tuple(masks), (*notes, speed_note())
    )


def _densities(variables: list["keras.Variable"], parameters: DynamicSparsity) -> list[float]:
    allot = {"erk": erdos_renyi_kernel, "uniform": uniform}[parameters.densities]
    densities = allot([tuple(variable.shape) for variable in variables], parameters.sparsity)
    for variable, density in zip(variables, densities, strict=True):
        if round(density * math.prod(variable.shape)) < 1:
            raise InputError(
                f"Expected a sparsity that leaves a weight in {variable.path} {tuple(variable.shape)}. "
                f"Got: {parameters.sparsity}."
            )
    return densities


def _first(variable: "keras.Variable", density: float, parameters: DynamicSparsity, seed: int) -> np.ndarray:
    values = np.abs(np.asarray(variable))
    if parameters.start == "random":
        values = np.random.default_rng((seed, zlib.crc32(variable.path.encode()))).uniform(size=values.shape)
    return largest(values, round(density * values.size))
