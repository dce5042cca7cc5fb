"""Seeded training of an architecture on its task."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._task import Architecture, Arrays, Dataset, Task

if TYPE_CHECKING:
    import keras

OnEpoch = Callable[[int, int], None]


def train(
    architecture: Architecture, size: str = "edge", seed: int = 0, on_epoch: OnEpoch | None = None
) -> "keras.Model":
    """Build a model and train it on its task (Adam, cosine decay to zero), the same for the same seed.

    Args:
        architecture: what to train.
        size: one of ``architecture.sizes``.
        seed: of the initial weights, the order of the samples and dropout.
        on_epoch: called with (epochs done, epochs in all).
    """
    model = architecture.build(size, seed)
    task = architecture.task()
    fit(model, task, architecture.epochs, architecture.batch_size, architecture.learning_rate, seed, on_epoch)
    return model


def fit(
    model: "keras.Model",
    task: Task,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_epoch: OnEpoch | None = None,
    callbacks: "tuple[keras.callbacks.Callback, ...]" = (),
) -> None:
    """Train ``model`` in place on ``task.train``.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    import keras

    keras.utils.set_random_seed(seed)
    data = task.train
    steps = epochs * math.ceil(len(data) / batch_size)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        loss=task.loss or "mean_squared_error",
    )

    def report(epoch: int, logs: dict[str, float]) -> None:
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"the training loss became {logs['loss']} in epoch {epoch + 1}")
        if on_epoch:
            on_epoch(epoch + 1, epochs)

    model.fit(
        as_inputs(model, data.inputs),
        data.labels,
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report), *callbacks],
    )


def outputs_of(model: "keras.Model", data: Dataset, batch_size: int = 256) -> dict[str, np.ndarray]:
    """Return the model's outputs for every sample, ``[samples, ...]`` by output name."""
    import keras

    batches = []
    for start in range(0, len(data), batch_size):
        inputs = {name: array[start : start + batch_size] for name, array in data.inputs.items()}
        batches.append(keras.tree.flatten(model(as_inputs(model, inputs), training=False)))
    arrays = [np.concatenate([np.asarray(array) for array in parts]) for parts in zip(*batches, strict=True)]
    return dict(zip(output_names(model), arrays, strict=True))


def as_inputs(model: "keras.Model", inputs: Arrays) -> Any:
    """Return the arrays in the structure that the model takes: an array, a list or a dictionary."""
    import keras

    return keras.tree.map_structure(lambda tensor: inputs[tensor.name], model.input)


def output_names(model: "keras.Model") -> list[str]:
    """Return one distinct name for each output: the names of the layers that make them."""
    names = [str(name) for name in getattr(model, "output_names", None) or ["output"]]
    return [name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)]
