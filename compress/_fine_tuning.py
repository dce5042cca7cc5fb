"""Fine-tuning: training on with transforms in force, towards the labels, the original model's outputs, or both."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ..errors import InputError
from ..train import Schedule, Task
from ..train._training import as_inputs, fit, steps_of, structured
from ._technique import Parameters, Work
from ._transform import Transform

if TYPE_CHECKING:
    import keras

    from ._mapped_model import Run

# Transforms are brought up to date every so many training steps: masks, assignments.
_FREQUENCY = 10
# Fine-tuning that ends with this many times the loss of not training at all has diverged.
_DIVERGED = 2.0
_SAMPLES = 256


class FineTuning(Parameters):
    """Parameters of fine-tuning, which every technique that trains has.

    Attributes:
        epochs: of fine-tuning; with 0 nothing is trained.
        batch_size, learning_rate: of the fine-tuning (Adam, cosine decay to zero).
        samples_per_epoch: how many samples an epoch takes, drawn anew each time; all when not given.
        distillation: the share of the loss that compares the outputs with the original model's, 0 to 1; without labels
            it is 1 whatever is given.
        temperature: of the distillation of classifiers.
    """

    epochs: int = Field(6, ge=0)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    samples_per_epoch: int | None = Field(None, ge=1)
    distillation: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(2.0, gt=0)

    @property
    def training(self) -> Schedule:
        """The schedule that the parameters describe."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            samples_per_epoch=self.samples_per_epoch,
        )


def fine_tune(
    work: Work, parameters: FineTuning, transforms: Sequence[Transform] = (), run: "Run | None" = None
) -> tuple[str, ...]:
    """Train ``work.model`` in place with the work's transforms and these in force, and write the mapped values into it.

    A training that diverges (the loss becomes NaN or infinite, or ends at more than twice the loss that the model has
    without any training) is stopped, and the weights that were there before it are restored.

    Args:
        work: the model, which may be changed, and the data.
        parameters: how long and towards what; with ``epochs = 0`` the mapped values are written and nothing is trained.
        transforms: further ones, applied after those of the work.
        run: how the model is run; a plain call when None.

    Returns:
        Sentences for the report: what went wrong; usually none.

    Raises:
        InputError: there is nothing to train on.
    """
    from ._mapped_model import MappedModel

    everything = (*work.transforms, *transforms)
    if not parameters.epochs:
        mapped = MappedModel(work.model, everything, run)
        mapped.bring_up_to_date(0, 1)
        mapped.settle()
        return ()
    task, imitation = objective(work, parameters)
    mapped = MappedModel(work.model, everything, run, imitation)
    steps = steps_of(parameters.training, len(task.train))
    before = _values(mapped)
    reason = ""
    try:
        with warnings.catch_warnings():
            # A range in front of all that is trained, such as an input's mask, may have no gradient: it stays.
            warnings.filterwarnings("ignore", "Gradients do not exist for variables \\['range'")
            fit(mapped, task, parameters.training, work.seed, work.on_epoch, callbacks=(_up_to_date(mapped, steps),))
    except FloatingPointError as error:
        reason = str(error)
    tuned = _values(mapped)
    loss = loss_of(mapped, task) if not reason else float("nan")
    _restore(mapped, before)
    mapped.bring_up_to_date(steps - 1, steps)
    untuned_loss = loss_of(mapped, task)
    if not reason and not loss <= _DIVERGED * untuned_loss + 1e-3:
        reason = f"the loss ended at {loss:.4g}, and is {untuned_loss:.4g} without training"
    if not reason:
        _restore(mapped, tuned)
    mapped.settle()
    if not reason:
        return ()
    return (f"Fine-tuning diverged ({reason}): the weights before it were restored. Try a lower learning_rate.",)


def objective(work: Work, parameters: FineTuning) -> tuple[Task, Any]:
    """Return the task, and the loss against the original's outputs with its share; None where only labels count.

    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015 (arXiv 1503.02531).

    Raises:
        InputError: there are no samples, or no output is of floats.
    """
    task = work.task
    if not len(task.train):
        raise InputError("Expected samples to fine-tune on. Got: none. Give data, or set epochs = 0 in the recipe.")
    float_outputs(work.original, work.original.outputs)
    labelled = task.train.labels is not None and bool(task.loss)
    share = parameters.distillation if labelled else 1.0
    if not labelled:
        task = replace(task, train=replace(task.train, labels=None), loss=None)
    if not share:
        return task, None
    return task, (_imitation(work, parameters.temperature), share)


def _imitation(work: Work, temperature: float) -> Callable[[Any, Any], Any]:
    """Return a loss of (inputs, outputs): how far the outputs are from the original model's.

    Where the original's outputs are probabilities it is the divergence at a temperature (Hinton et al., section 2),
    elsewhere the squared error over the variance that the original's output has. Integers and booleans are left out.
    """
    import keras

    original = work.original
    some = work.task.train.at(work.task.train.evenly(_SAMPLES))
    outputs = [np.asarray(each) for each in float_outputs(original, original(as_inputs(original, some.inputs)))]
    probabilities = [_are_probabilities(each) for each in outputs]
    spreads = [max(float(np.var(each)), 1e-12) for each in outputs]

    def imitates(inputs: Any, received: Any) -> Any:
        wanted = float_outputs(original, original(structured(original, inputs), training=False))
        total = 0.0
        for place, (target, value) in enumerate(zip(wanted, float_outputs(original, received), strict=True)):
            target = keras.ops.stop_gradient(target)
            if probabilities[place]:
                total += temperature**2 * _divergence(target, value, temperature)
            else:
                total += keras.ops.mean(keras.ops.square(value - target)) / spreads[place]
        return total

    return imitates


def float_outputs(model: "keras.Model", outputs: Any) -> list[Any]:
    """Return those of a model's outputs that are floats: integers and booleans have no slope to train by.

    Raises:
        InputError: there are none.
    """
    import keras

    everything = keras.tree.flatten(outputs)
    types = [keras.backend.standardize_dtype(each.dtype) for each in everything]
    floats = [each for each, dtype in zip(everything, types, strict=True) if keras.backend.is_float_dtype(dtype)]
    if not floats:
        raise InputError(
            f"Expected an output of floats, to train by. Got: {', '.join(types)} from {model.name}. Let the model "
            "return what they are made of too, such as scores."
        )
    return floats


def _are_probabilities(values: np.ndarray) -> bool:
    if values.ndim < 2 or values.shape[-1] < 2 or values.dtype.kind != "f":
        return False
    return bool((values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-3))


def _divergence(target: Any, value: Any, temperature: float) -> Any:
    import keras

    def softened(probabilities: Any) -> Any:
        return keras.ops.log_softmax(keras.ops.log(keras.ops.maximum(probabilities, 1e-7)) / temperature, axis=-1)

    wanted, received = softened(target), softened(value)
    return keras.ops.mean(keras.ops.sum(keras.ops.exp(wanted) * (wanted - received), axis=-1))


def _up_to_date(mapped: Any, steps: int) -> "keras.callbacks.Callback":
    """Return what brings the transforms up to date, and stops the training at a loss that is not finite."""
    import keras

    class UpToDate(keras.callbacks.Callback):
        """Calls the transforms before a step."""

        step = 0

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.step % _FREQUENCY == 0 or self.step == steps - 1:
                mapped.bring_up_to_date(self.step, steps)
            self.step += 1

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if logs and not np.isfinite(logs["loss"]):
                raise FloatingPointError(f"the loss became {logs['loss']} in step {self.step}")

    return UpToDate()


def loss_of(mapped: Any, task: Task) -> float:
    """Return the loss on some samples, spread over the data."""
    some = task.train.at(task.train.evenly(_SAMPLES))
    inputs = dict(some.inputs) if isinstance(mapped.input, list) else as_inputs(mapped, some.inputs)
    outputs = mapped(inputs, training=False)
    return float(np.asarray(mapped.compute_loss(inputs, some.labels, outputs, training=False)))


def _values(model: Any) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.variables]


def _restore(model: Any, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
