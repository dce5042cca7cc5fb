"""Ways to train a network sparse: callbacks that move the masks of a ``MaskedAdam`` while it trains.

Each works on kernels alone. What a callback decides follows from the number of the step and from the initial weights,
so that a resumed training decides the same.
"""

import itertools
import math
import zlib
from abc import ABC, abstractmethod
from typing import Any

import keras
import numpy as np

from ..errors import InputError
from ._sparse_densities import erdos_renyi_kernel, uniform
from ._sparse_moves import dropped_and_grown
from ._sparse_optimizer import is_kernel

# Evci et al., 2020: the share that is replaced at the start, and the share of the training after which nothing is.
REPLACED, STOP = 0.3, 0.75
# A hundred steps between updates suit trainings of tens of thousands; here there are some thirty updates.
UPDATES = 30


class _Masks(keras.callbacks.Callback, ABC):
    """Base: finds the kernels of the optimizer, and calls ``start`` before the first step and ``move`` between steps.

    Args:
        model: freshly built; its initial weights seed what is random.
        steps: of the whole training.
        sparsity: share of zeros to end with, over all kernels.
    """

    def __init__(self, model: keras.Model, steps: int, sparsity: float) -> None:
        super().__init__()
        self.sparsity, self.every, self.end = sparsity, max(1, steps // UPDATES), round(STOP * steps)
        self.places = [place for place, each in enumerate(model.trainable_variables) if is_kernel(each)]
        kernels = [np.asarray(model.trainable_variables[place]) for place in self.places]
        self.shapes = [kernel.shape for kernel in kernels]
        self.seed = zlib.crc32(b"".join(kernel.tobytes() for kernel in kernels))

    def on_train_begin(self, logs: Any = None) -> None:
        """Set the first masks, unless the training goes on from a checkpoint."""
        self.step = int(self.model.optimizer.iterations)
        if self.step == 0:
            self.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the masks after a step, when it is time."""
        self.step += 1
        if not self.due(self.step):
            return
        if keras.backend.backend() == "jax":  # whose training step holds the variables' values meanwhile
            self.model.jax_state_sync()
        self.move(self.step)

    @abstractmethod
    def start(self) -> None:
        """Set the first masks."""

    @abstractmethod
    def due(self, step: int) -> bool:
        """Tell whether the masks move after ``step`` steps."""

    @abstractmethod
    def move(self, step: int) -> None:
        """Move the masks after ``step`` steps."""

    def kernel(self, place: int) -> Any:
        """Return a kernel's variable."""
        return self.model.trainable_variables[place]

    def mask(self, place: int) -> np.ndarray:
        """Return a kernel's mask as booleans."""
        return np.asarray(self.model.optimizer.masks[place]) > 0.5

    def set_mask(self, place: int, mask: np.ndarray) -> None:
        """Put a mask in force."""
        self.model.optimizer.set_mask(place, self.kernel(place), mask.astype("float32"))


class Static(_Masks):
    """Random masks that never move: what dynamic sparsity has to beat.

    Args:
        densities: "erk" or "uniform".
    """

    def __init__(self, model: keras.Model, steps: int, sparsity: float, densities: str = "erk") -> None:
        super().__init__(model, steps, sparsity)
        self.densities = {"erk": erdos_renyi_kernel, "uniform": uniform}[densities](self.shapes, sparsity)

    def start(self) -> None:
        """Draw the masks."""
        random = np.random.default_rng(self.seed)
        for place, shape, density in zip(self.places, self.shapes, self.densities, strict=True):
            mask = np.zeros(math.prod(shape), bool)
            mask[random.permutation(mask.size)[: max(1, round(density * mask.size))]] = True
            # What is left of a layer keeps the variance of its output.
            self.kernel(place).assign(np.asarray(self.kernel(place)) / math.sqrt(max(density, 1.0 / mask.size)))
            self.set_mask(place, mask.reshape(shape))

    def due(self, step: int) -> bool:
        """Never."""
        return False

    def move(self, step: int) -> None:
        """Leave them."""


class Set(Static):
    """SET (Mocanu et al., 2018, arXiv 1707.04780): the smallest weights are dropped, others grow at random.

    How many falls with the cosine of RigL, and new weights start at zero.
    """

    def due(self, step: int) -> bool:
        """Every so many steps, until the end of moving."""
        return step % self.every == 0 and step < self.end

    def move(self, step: int) -> None:
        """Drop and grow."""
        share = REPLACED / 2 * (1 + math.cos(math.pi * step / self.end))
        random = np.random.default_rng((self.seed, step))
        for place in self.places:
            mask = self.mask(place)
            count = min(int(share * mask.sum()), int(mask.size - mask.sum()))
            if count:
                weights = np.abs(np.asarray(self.kernel(place)))
                self.set_mask(place, dropped_and_grown(mask, weights, self.wish_to_grow(place, random), count))

    def wish_to_grow(self, place: int, random: np.random.Generator) -> np.ndarray:
        """Return how much each weight wishes to grow: at random."""
        return random.uniform(size=self.shapes[self.places.index(place)])


class RigL(Set):
    """RigL (Evci et al., 2020, arXiv 1911.11134): weights grow where the dense gradient is largest."""

    def wish_to_grow(self, place: int, random: np.random.Generator) -> np.ndarray:
        """Return the magnitude of the dense gradient."""
        return np.abs(np.asarray(self.model.optimizer.dense_gradients[place]))


class _FromDense(_Masks):
    """Base: a dense start, from which the sparsity rises by the cubic of Zhu and Gupta (2017, arXiv 1710.01878)."""

    def start(self) -> None:
        """Begin dense."""

    def due(self, step: int) -> bool:
        """Every so many steps, and at the end of moving."""
        return (step % self.every == 0 and step < self.end) or step == self.end

    def risen(self, step: int) -> float:
        """Return how far the cubic has come: 0 at the start, 1 at the end of moving."""
        return 1.0 - (1.0 - step / self.end) ** 3


class GradualMagnitude(_FromDense):
    """Gradual magnitude pruning (Zhu and Gupta, 2017): the smallest weights of all layers together go first.

    Every kernel keeps at least one weight.
    """

    def move(self, step: int) -> None:
        """Prune a little more."""
        weights = {place: np.abs(np.asarray(self.kernel(place))) for place in self.places}
        every = np.concatenate([values.ravel() for values in weights.values()])
        count = round(self.sparsity * self.risen(step) * every.size)
        limit = np.partition(every, count - 1)[count - 1] if count else -1.0
        for place, values in weights.items():
            mask = values > limit
            self.set_mask(place, mask if mask.any() else values >= values.max())


class L1(GradualMagnitude):
    """Magnitude pruning at once, after a training under an L1 penalty that the model's kernels carry.

    The cut comes after ``STOP`` of the training, the rest of which makes up for it.
    """

    def due(self, step: int) -> bool:
        """Once."""
        return step == self.end


class Structured(_FromDense):
    """Whole hidden units go: those whose incoming and outgoing weights have the smallest norms.

    A unit is that of a dense layer or the channel of a convolution. Every hidden layer keeps the same share of its
    units, chosen so that the kernels end with about the asked share of zeros: small layers round coarsely.

    Raises:
        InputError: the model is no chain of layers.
    """

    def __init__(self, model: keras.Model, steps: int, sparsity: float) -> None:
        super().__init__(model, steps, sparsity)
        for before, after in itertools.pairwise(model.layers):
            if after.input is not before.output:
                raise InputError(
                    f"Expected a chain of layers to take whole units from. Got: {model.name}, whose layer {after.name} "
                    f"does not take the output of {before.name}, the layer before it, alone."
                )

    def move(self, step: int) -> None:
        """Take a few more units."""
        kept = 1 - (1 - kept_share(self.shapes, self.sparsity)) * self.risen(step)
        before = [self.shapes[0][-2], *(shape[-1] for shape in self.shapes)]
        kernels = [
            by_units(np.asarray(self.kernel(place)), count) for place, count in zip(self.places, before, strict=False)
        ]
        units = [np.ones(kernels[0].shape[1], bool)]
        for into, out_of in itertools.pairwise(kernels):
            norm = np.sqrt((into**2).sum(axis=(0, 1)) * (out_of**2).sum(axis=(0, 2)))
            units.append(norm >= np.sort(norm)[-max(1, round(kept * norm.size))])
        units.append(np.ones(kernels[-1].shape[2], bool))
        for place, shape, kernel, pair in zip(
            self.places, self.shapes, kernels, itertools.pairwise(units), strict=True
        ):
            self.set_mask(place, np.broadcast_to(np.outer(*pair), kernel.shape).reshape(shape))


def by_units(kernel: np.ndarray, units: int) -> np.ndarray:
    """Return a kernel as ``[places, units before, units]``.

    Those places are a convolution's window, or the image that was flattened before a dense layer; channels come last.

    >>> by_units(np.zeros((3, 3, 8, 16)), 8).shape, by_units(np.zeros((4 * 4 * 64, 10)), 64).shape
    ((9, 8, 16), (16, 64, 10))
    """
    return kernel.reshape(-1, units, kernel.shape[-1])


def kept_share(shapes: list[tuple[int, ...]], sparsity: float) -> float:
    """Return the share of units that every hidden layer keeps, for the kernels to end with the sparsity."""
    total = sum(math.prod(shape) for shape in shapes)

    def density(share: float) -> float:
        last = len(shapes) - 1
        kept = (
            math.prod(shape) * (share if place else 1) * (share if place < last else 1)
            for place, shape in enumerate(shapes)
        )
        return sum(kept) / total

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if density(middle) < 1 - sparsity else (low, middle)
    return (low + high) / 2
