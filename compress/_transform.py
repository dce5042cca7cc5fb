"""A transform: what is computed in place of a variable's value, such as the value times a mask."""

import abc
from collections.abc import Iterable
from typing import Any


class Transform(abc.ABC):
    """Maps one variable's value to the value that the model computes with, and lets gradients through to it.

    A transform is a projection: applied to what it returned it changes nothing, up to rounding. Those of one variable
    are applied in the order of the recipe's steps, and hold through all later fine-tuning. Keras variables that are its
    attributes are trained along with the model when they are trainable, and kept as they are otherwise.

    Attributes:
        technique: the name of the technique that made it.
        path: the path of the variable.
        held: set when its step is over: it stays as it is from then on.
    """

    def __init__(self, technique: str, path: str) -> None:
        self.technique = technique
        self.path = path
        self.held = False

    @abc.abstractmethod
    def __call__(self, value: Any) -> Any:
        """Return the value to compute with, of the same shape; differentiable, straight through where it rounds."""

    def before_step(self, value: Any, step: int, steps: int) -> None:  # noqa: B027  most have nothing to do
        """Bring the transform up to date before training step ``step`` of ``steps``.

        Args:
            value: what the transforms before this one make of the variable's value now.
            step, steps: the last call of a fine-tuning has ``step == steps - 1``; it is not called when it is held.
        """

    @property
    def variables(self) -> list[Any]:
        """Its own Keras variables: masks, centroids, ranges."""
        import keras

        return [value for value in vars(self).values() if isinstance(value, keras.Variable)]


def computed(value: Any, transforms: Iterable[Transform]) -> Any:
    """Return what a variable's value becomes by some transforms in their order."""
    for transform in transforms:
        value = transform(value)
    return value


def straight_through(value: Any, projected: Any) -> Any:
    """Return ``projected``, whose gradient with respect to ``value`` is one.

    Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons", 2013
    (arXiv 1308.3432).
    """
    import keras

    # The difference is zero: what is computed with is the projected one to the last bit.
    return keras.ops.stop_gradient(projected) + (value - keras.ops.stop_gradient(value))
