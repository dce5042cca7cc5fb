"""What "accurate" means for a model: its data, its loss, its metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._stored_array import StoredArray

if TYPE_CHECKING:
    import keras

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """Samples for a model.

    Attributes:
        inputs: one array for each model input, by the input's name, each ``[samples, ...]``. An array may be a
            ``StoredArray``, of which only the samples that are asked for come into memory: take batches with ``at``.
        labels: ``[samples]`` integers for a classifier, ``[samples, ...]`` floats for a regression, by output name
            where a model has several outputs, None without.
        origin: where the samples are from, for a report.
    """

    inputs: Arrays
    labels: np.ndarray | Arrays | None = None
    origin: str = "user data"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, count: int) -> "Dataset":
        """Return the first ``count`` samples; where there are no more, the whole as it is."""
        return self if count >= len(self) else self.at(slice(count))

    def at(self, places: Any) -> "Dataset":
        """Return the samples at ``places``, in memory: a slice or an array of indices."""
        return self._each(lambda array: array[places])

    def evenly(self, count: int) -> np.ndarray:
        """Return the indices of ``count`` samples at equal distances, for data may be sorted; of all without more."""
        count = min(count, len(self))
        return np.arange(count) * len(self) // max(count, 1)

    def part(self, places: np.ndarray) -> "Dataset":
        """Return the samples at these indices; of what lies in files, nothing is read yet."""
        return self._each(lambda array: array.part(places) if isinstance(array, StoredArray) else array[places])

    def _each(self, chosen: Callable[[Any], Any]) -> "Dataset":
        labels = self.labels
        if isinstance(labels, Mapping):
            labels = {name: chosen(array) for name, array in labels.items()}
        elif labels is not None:
            labels = chosen(labels)
        return Dataset({name: chosen(array) for name, array in self.inputs.items()}, labels, self.origin)


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model's outputs are.

    Attributes:
        name: the field's term, such as "accuracy".
        unit: "%" or the unit of the labels.
        better: "higher" or "lower".
        of: maps (outputs ``[samples, ...]``, labels ``[samples, ...]``) to the number.
        output: name of the output that it looks at; the first one when empty.
    """

    name: str
    unit: str
    better: str
    of: Callable[[np.ndarray, np.ndarray], float]
    output: str = ""

    def measure(self, outputs: Arrays, labels: np.ndarray | Arrays) -> float:
        """Return the number for a model's outputs, ``[samples, ...]`` by name, and the labels that belong to them."""
        name = self.output or next(iter(outputs))
        return self.of(outputs[name], labels[name] if isinstance(labels, Mapping) else labels)

    def lost(self, reference: float, value: float) -> float:
        """Return by how much ``value`` is worse than ``reference``; negative when it is better.

        A share in percent loses points, and a logarithm dB; any other metric loses percent of the reference. It is
        rounded to nine places, so that from 95.9 to 95.8 % it is 0.1 points, and within a limit of 0.1.
        """
        lost = reference - value if self.better == "higher" else value - reference
        return round(lost if self.unit in ("%", "dB") else 100 * lost / max(abs(reference), 1e-12), 9)


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
        loss: a Keras loss or its name, such as "sparse_categorical_crossentropy", by output name where there are
            several; None to imitate the original's outputs.
        metric: what the model is judged by; None without labels.
    """

    name: str
    train: Dataset
    test: Dataset
    loss: "str | keras.losses.Loss | Mapping[str, Any] | None"
    metric: Metric | None


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained (AdamW, cosine decay to zero).

    Attributes:
        epochs: passes, each of ``samples_per_epoch`` samples.
        batch_size: samples per step.
        learning_rate: at its highest.
        warmup: share of the steps in which the learning rate rises from zero.
        weight_decay: decoupled (Loshchilov and Hutter, 2019, arXiv 1711.05101); 0 is Adam.
        clip_norm: the gradient's global norm is held below it; None for no limit.
        samples_per_epoch: how many samples an epoch takes, drawn anew each time; all when None.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    samples_per_epoch: int | None = None


@dataclass(frozen=True)
class Deployment:
    """What of a trained model goes to a device: static graphs, and the code around them.

    Attributes:
        graphs: by name, the models that are exported; they share the trained model's weights. Every input has a
            leading batch dimension, 1 on the device, and otherwise static dimensions.
        task: samples as the host code takes them, with what the answers are judged by.
        host: a NumPy-only file, valid Python 3.7, whose class ``Host(graphs, settings)`` turns one sample into one
            answer; None where the one graph's outputs are the answer. See docs/architecture.md.
        settings: what ``Host`` needs to know, as plain data for JSON.
        per: the graph whose calls latency is counted by, such as a recurrent network's step; the answer when empty.
        unit: what a user counts in one answer, or in one call of ``per``, such as "token"; throughput is told by it.
        units: how many of them that is.
    """

    graphs: "Mapping[str, keras.Model]"
    task: Task
    host: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    per: str = ""
    unit: str = "inference"
    units: float = 1.0


@dataclass(frozen=True)
class Experiment:
    """One model of a family on one task.

    Attributes:
        name: such as "cfc-japanese-vowels".
        title: what a table calls it, such as "CfC, 48 units".
        build: maps (size, seed) to a fresh Keras model.
        task: maps nothing to its Task; reads the data on the first call.
        schedules: by size, the edge size first, how it is trained.
        deploy: maps the trained model to its deployment form; None where the model itself, fed with the task's
            samples, is what is deployed.
        measures: maps the trained model to further numbers by name and unit, such as {"PSNR (dB)": 25.1}.
        optimizer: maps the learning rate's schedule to an optimizer; AdamW when None.
        callbacks: maps (model, steps in all) to callbacks. What they remember lies in variables of the model or of
            the optimizer, so that a resumed training goes on as it would have.
        bar: the metric that the edge size has to reach; None for a baseline.
    """

    name: str
    title: str
    build: "Callable[[str, int], keras.Model]"
    task: Callable[[], Task]
    schedules: Mapping[str, Schedule]
    deploy: "Callable[[keras.Model], Deployment] | None" = None
    measures: "Callable[[keras.Model], Mapping[str, float]] | None" = None
    optimizer: "Callable[[Any], keras.optimizers.Optimizer] | None" = None
    callbacks: "Callable[[keras.Model, int], Sequence[keras.callbacks.Callback]] | None" = None
    bar: float | None = None

    def deployment(self, model: "keras.Model") -> Deployment:
        """Return the deployment form of a trained model of this experiment."""
        return self.deploy(model) if self.deploy else Deployment({"model": model}, self.task())


@dataclass(frozen=True)
class Architecture:
    """A family of models with the tasks that they are trained on.

    Attributes:
        name: the plug-in's name.
        title: what a report calls it.
        experiments: what can be trained, the one that stands for the family first.
    """

    name: str
    title: str
    experiments: tuple[Experiment, ...]

    @property
    def default(self) -> Experiment:
        """The experiment that stands for the family."""
        return self.experiments[0]

    def experiment(self, name: str) -> Experiment:
        """Return an experiment by its name.

        Raises:
            InputError: there is none of that name.
        """
        for experiment in self.experiments:
            if experiment.name == name:
                return experiment
        known = ", ".join(experiment.name for experiment in self.experiments)
        raise InputError(f"Expected an experiment of {self.name}: {known}. Got: {name!r}.")
