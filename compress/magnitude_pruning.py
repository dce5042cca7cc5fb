"""Magnitude pruning: the smallest weights become zero, a few more at a time, while the rest is trained on.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017
(arXiv 1710.01878). The schedule and the masks are TF-MOT's (``PolynomialDecay``, ``pruning_impl``); the mapped model
brings them to Keras 3 layers.
"""

import functools
import math
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from ..errors import InputError
from ..train import Schedule
from ..train._training import fit, steps_of
from ._objective import objective
from ._technique import Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras

# A mask is computed anew every so many training steps.
_FREQUENCY = 10
_POWERS = {"linear": 1, "polynomial": 2, "cubic": 3}


class MagnitudePruning(Parameters):
    """Parameters of magnitude pruning.

    Attributes:
        sparsity: share of zeros to reach in each variable, 0 to below 1.
        scope: regular expression; a variable is pruned when it is found in the variable's path.
        schedule: how sparsity rises: "constant" prunes at once, the others by a polynomial of power 1, 2 or 3.
        epochs: of fine-tuning; with 0 the model is pruned once and not trained.
        ramp: the share of the training steps after which the final sparsity is reached.
        batch_size, learning_rate: of the fine-tuning (Adam, cosine decay to zero).
        samples_per_epoch: how many samples an epoch takes, drawn anew each time; all when not given.
    """

    sparsity: float = Field(ge=0, lt=1)
    scope: str = "kernel$"
    schedule: str = Field("cubic", pattern="^(constant|linear|polynomial|cubic)$")
    epochs: int = Field(6, ge=0)
    ramp: float = Field(0.6, gt=0, le=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    samples_per_epoch: int | None = Field(None, ge=1)

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
    if parameters.epochs:
        _prune_while_training(work, pruned, parameters)
    for variable in pruned:
        variable.assign(variable.value * _mask(variable.value, parameters.sparsity))
    return Result(work.model, tuple(variable.path for variable in pruned), skipped)


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


def _prune_while_training(work: Work, pruned: list["keras.Variable"], parameters: MagnitudePruning) -> None:
    import keras

    from ._mapped_model import MappedModel

    task = objective(work)
    masks = {variable.path: keras.Variable(np.ones(variable.shape, "float32"), trainable=False) for variable in pruned}
    transforms = {path: functools.partial(keras.ops.multiply, mask) for path, mask in masks.items()}
    mapped = MappedModel(work.model, transforms)
    schedule = Schedule(
        epochs=parameters.epochs,
        batch_size=parameters.batch_size,
        learning_rate=parameters.learning_rate,
        samples_per_epoch=parameters.samples_per_epoch,
    )
    steps = steps_of(schedule, len(task.train))
    sparsity_at = _schedule(parameters, steps)

    class UpdateMasks(keras.callbacks.Callback):
        """Computes the masks anew from the weights as they are now."""

        step = 0

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.step % _FREQUENCY == 0 or self.step == steps - 1:
                sparsity = sparsity_at(self.step)
                for variable in pruned:
                    masks[variable.path].assign(_mask(variable.value, sparsity))
            self.step += 1

    fit(mapped, task, schedule, work.seed, work.on_epoch, callbacks=(UpdateMasks(),))
    for variable in pruned:
        variable.assign(variable.value * masks[variable.path].value)


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
