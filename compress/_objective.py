"""What fine-tuning aims at: the labels, or, without labels, the outputs of the original model."""

from dataclasses import replace

from ..errors import InputError
from ..train import Dataset, Task
from ..train._training import outputs_of
from ._technique import Work


def objective(work: Work) -> Task:
    """Return the task to fine-tune on.

    Without labels the original model's outputs take their place and the loss is their mean squared error
    (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015,
    arXiv 1503.02531, in its plain form).

    Raises:
        InputError: there is nothing to train on.
    """
    task = work.task
    if not len(task.train):
        raise InputError("Expected samples to fine-tune on. Got: none. Give data, or set epochs = 0 in the recipe.")
    if task.train.labels is not None and task.loss:
        return task
    outputs = list(outputs_of(work.original, task.train).values())
    if len(outputs) > 1:
        raise InputError(
            f"Expected a model with one output to fine-tune without labels. Got: {len(outputs)} outputs of "
            f"{work.original.name}. Set epochs = 0 in the recipe."
        )
    return replace(task, train=Dataset(task.train.inputs, outputs[0]), loss="mean_squared_error")
