"""What "accurate" means for a model: its data, its loss, its metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """Samples for a model.

    Attributes:
        inputs: one array for each model input, by the input's name, each ``[samples, ...]``.
        labels: ``[samples]`` integers for a classifier, ``[samples, ...]`` floats for a regression, None without.
    """

    inputs: Arrays
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, count: int) -> "Dataset":
        """Return the first ``count`` samples."""
        labels = None if self.labels is None else self.labels[:count]
        return Dataset({name: array[:count] for name, array in self.inputs.items()}, labels)


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model's outputs are.

    Attributes:
        name: the field's term, such as "accuracy".
        unit: "%" or the unit of the labels.
        better: "higher" or "lower".
        of: maps (outputs ``[samples, ...]``, labels ``[samples, ...]``) to the number.
    """

    name: str
    unit: str
    better: str
    of: Callable[[np.ndarray, np.ndarray], float]

    def lost(self, reference: float, value: float) -> float:
        """Return by how much ``value`` is worse than ``reference``; negative when it is better.

        A share in percent loses points; any other metric loses percent of the reference.
        """
        lost = reference - value if self.better == "higher" else value - reference
        return lost if self.unit == "%" else 100 * lost / max(abs(reference), 1e-12)


def top_1_accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of samples, in percent, whose largest output is the label.

    Args:
        outputs: ``[samples, classes]``, or ``[samples, 1]`` probabilities of class 1.
        labels: ``[samples]`` integers.

    >>> top_1_accuracy(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    50.0
    """
    decided = outputs.argmax(axis=-1) if outputs.shape[-1] > 1 else outputs[..., 0] > 0.5
    return float(100.0 * np.mean(decided == labels.reshape(decided.shape)))


def mean_absolute_error(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of |output - label|, in the unit of the labels."""
    return float(np.mean(np.abs(outputs.astype(np.float64) - labels.reshape(outputs.shape))))


ACCURACY = Metric("accuracy", "%", "higher", top_1_accuracy)
MEAN_ABSOLUTE_ERROR = Metric("mean absolute error", "", "lower", mean_absolute_error)


@dataclass(frozen=True)
class Task:
    """What a model is trained for and judged by.

    Attributes:
        name: such as "digits".
        train, test: the data, split as the task's source says.
        loss: a Keras loss or its name, such as "sparse_categorical_crossentropy"; None to imitate
            the original's outputs.
        metric: what the model is judged by; None without labels.
    """

    name: str
    train: Dataset
    test: Dataset
    loss: "str | keras.losses.Loss | None"
    metric: Metric | None


@dataclass(frozen=True)
class Architecture:
    """A family of models with the task that it is trained on.

    Attributes:
        name: the plug-in's name.
        title: what a report calls it.
        build: maps (size, seed) to a fresh Keras model.
        task: maps nothing to its Task; reads the data on the first call.
        epochs, batch_size, learning_rate: how it is trained (Adam, cosine decay to zero).
        sizes: the sizes that ``build`` knows, the edge size first.
    """

    name: str
    title: str
    build: "Callable[[str, int], keras.Model]"
    task: Callable[[], Task]
    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    sizes: tuple[str, ...] = ("edge",)
