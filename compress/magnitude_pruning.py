"""Magnitude pruning: the smallest weights become zero, a few more at a time, while the rest is trained on.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017
(arXiv 1710.01878). The schedule and the masks are TF-MOT's (``PolynomialDecay``, ``pruning_impl``); the mapped model
brings them to Keras 3 layers.
"""

import math
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from ..errors import InputError
from ._fine_tuning import FineTuning, fine_tune
from ._technique import Parameters, Result, Technique, Work
from ._transform import Transform

if TYPE_CHECKING:
    import keras

_POWERS = {"linear": 1, "polynomial": 2, "cubic": 3}


class MagnitudePruning(FineTuning):
    """Parameters of magnitude pruning.

    Attributes:
        sparsity: share of zeros to reach in each variable, 0 to below 1.
        scope: regular expression; a variable is pruned when it is found in the variable's path.
        schedule: how sparsity rises: "constant" prunes at once, the others by a polynomial of power 1, 2 or 3.
        ramp: the share of the training steps after which the final sparsity is reached.
        epochs, batch_size, learning_rate, ...: of the fine-tuning; see ``FineTuning``.
    """

    sparsity: float = Field(ge=0, lt=1)
    scope: str = "kernel$"
    schedule: str = Field("cubic", pattern="^(constant|linear|polynomial|cubic)$")
    ramp: float = Field(0.6, gt=0, le=1)

    @field_validator("scope")
    @classmethod
    def _is_a_regular_expression(cls, scope: str) -> str:
        try:
            re.compile(scope)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return scope


def apply(work: Work, parameters: Parameters) -> Result:
    """Prune the variables in scope, fine-tuning in between, and write the zeros into them.

    Raises:
        InputError: the scope matches no variable, or the sparsity would empty one.
    """
    assert isinstance(parameters, MagnitudePruning)
    work = work.own_copy()
    pruned, skipped = _in_scope(work.model, parameters)
    masks = tuple(Mask(variable, parameters) for variable in pruned)
    notes = fine_tune(work, parameters, masks)
    return Result(work.model, tuple(variable.path for variable in pruned), skipped, masks, notes)


class Mask(Transform):
    """A variable times a mask of ones and zeros, computed anew while sparsity rises.

    Args:
        variable: the variable.
        parameters: how its sparsity rises, and to what.
    """

    def __init__(self, variable: "keras.Variable", parameters: MagnitudePruning) -> None:
        import keras

        super().__init__("magnitude_pruning", variable.path)
        self.mask = keras.Variable(np.ones(variable.shape, "float32"), trainable=False, name="mask")
        self._parameters = parameters
        self._sparsity_at: Any = None

    def __call__(self, value: Any) -> Any:
        """Return the value times the mask."""
        return value * self.mask.value

    def before_step(self, value: Any, step: int, steps: int) -> None:
        """Compute the mask anew from the weights as they are now."""
        if step == 0 or self._sparsity_at is None:
            self._sparsity_at = _schedule(self._parameters, steps)
        sparsity = self._parameters.sparsity if step == steps - 1 else self._sparsity_at(step)
        self.mask.assign(_mask(value, sparsity))


def _in_scope(model: "keras.Model", parameters: MagnitudePruning) -> tuple[list["keras.Variable"], dict[str, str]]:
    pruned, skipped = [], {}
    for variable in model.trainable_variables:
        if not re.search(parameters.scope, variable.path):
            skipped[variable.path] = f"out of the scope {parameters.scope!r}"
        elif len(variable.shape) < 2:
            skipped[variable.path] = "has one dimension: zeros there save nothing"
        elif round(math.prod(variable.shape) * (1 - parameters.sparsity)) < 1:
            raise InputError(
                f"Expected a sparsity that leaves a weight in {variable.path} {tuple(variable.shape)}. "
                f"Got: {parameters.sparsity}."
            )
        else:
            pruned.append(variable)
    if not pruned:
        paths = ", ".join(variable.path for variable in model.trainable_variables[:20])
        raise InputError(
            f"Expected a scope that matches a kernel among: {paths or 'no trainable variable'}. "
            f"Got: {parameters.scope!r}."
        )
    return pruned, skipped


def _schedule(parameters: MagnitudePruning, steps: int) -> Any:
    """Return a function from the training step to the sparsity there."""
    schedules = _tfmot().pruning_schedule
    if parameters.schedule == "constant":
        schedule = schedules.ConstantSparsity(parameters.sparsity, begin_step=0, frequency=1)
    else:
        end = max(1, round(steps * parameters.ramp))
        schedule = schedules.PolynomialDecay(
            0.0, parameters.sparsity, 0, end, power=_POWERS[parameters.schedule], frequency=1
        )
    return lambda step: float(schedule(np.int64(step))[1])


def _mask(weights: Any, sparsity: float) -> Any:
    """Return TF-MOT's mask: 1 for the largest ``1 - sparsity`` of the weights by magnitude, else 0."""
    import tensorflow as tf

    implementation = _tfmot().pruning_impl
    weights = tf.convert_to_tensor(weights)
    pruning = implementation.Pruning(
        training_step_fn=lambda: 0,
        pruning_vars=[],
        pruning_schedule=lambda step: (True, tf.constant(sparsity, tf.float32)),
        block_size=(1, 1),
        block_pooling_type="AVG",
    )
    return pruning._maybe_update_block_mask(weights)[1]


def _tfmot() -> Any:
    """Import TF-MOT's pruning and undo what its import does to the process: it asks for Keras 2."""
    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    from tensorflow_model_optimization.python.core.sparsity import keras as tfmot_pruning
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl, pruning_schedule  # noqa: F401

    if legacy is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    return tfmot_pruning


TECHNIQUE = Technique(
    name="magnitude_pruning",
    title="magnitude pruning",
    parameters=MagnitudePruning,
    apply=apply,
    needs_data=True,
)
