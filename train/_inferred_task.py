"""The task that a user's labels imply: what the model is judged by, and what it is fine-tuned with."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._data_file import Input, check_data
from ._task import ACCURACY, MEAN_ABSOLUTE_ERROR, Dataset, Metric, Task
from ._training import outputs_of
from ._user_data import dataset_of

if TYPE_CHECKING:
    import keras

TEST_SHARE = 0.2
# Each artifact is run on all of them in each runtime, one at a time; accuracy is then known to half a point.
MAX_TEST = 10_000
# With fewer samples than this a split leaves too little on either side.
MIN_TO_SPLIT = 10
_LOOKED_AT = 64
# Without data a model is compared with itself on this many random inputs.
_RANDOM_SAMPLES = 32
_SIGMOIDS = ("sigmoid", "hard_sigmoid")
_PROBABILITIES = ("softmax", *_SIGMOIDS)


def label_accuracy(outputs: np.ndarray, labels: np.ndarray, above: float = 0.5) -> float:
    """Return the share of labels, in percent, that the outputs are on the right side for: 1 above, 0 below.

    Args:
        outputs: any shape.
        labels: 0 and 1, as many.
        above: what an output of a 1 is above.

    >>> label_accuracy(np.array([[0.9, 0.1], [0.7, 0.8]]), np.array([[1, 0], [0, 1]]))
    75.0
    """
    return float(100.0 * np.mean((outputs.reshape(-1) > above) == labels.reshape(-1)))


def binary_accuracy_of_logits(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of labels, in percent, whose logit has their sign.

    >>> binary_accuracy_of_logits(np.array([[-0.5], [0.25]]), np.array([0, 1]))
    100.0
    """
    return label_accuracy(outputs, labels, above=0)


LABEL_ACCURACY = Metric("accuracy", "%", "higher", label_accuracy)
LOGIT_ACCURACY = Metric("accuracy", "%", "higher", binary_accuracy_of_logits)


def infer_task(model: "keras.Model", data: Dataset, seed: int = 0) -> Task:
    """Return what a model is judged by and fine-tuned with, as its outputs and the labels imply.

    ==================  ==========================================  ======================  ==========================
    outputs             labels                                      metric                  loss
    ==================  ==========================================  ======================  ==========================
    [..., C], C > 1     integers [...] below C, or one-hot rows     accuracy                categorical cross-entropy
    any                 0 and 1 of the outputs' shape               accuracy of each label  binary cross-entropy
    any                 other numbers of the outputs' shape         mean absolute error     mean squared error
    any                 none                                        none                    none
    ==================  ==========================================  ======================  ==========================

    Whether a classifier's outputs are probabilities or logits is seen from the last activation, and where there is none
    to see, from the outputs on the first samples: between 0 and 1 and, for several classes, with sums of one. A 0 or 1
    for each output is one of two classes, of several labels that a sample may have, or of a mask's pixels; as floats
    behind a last layer that has no sigmoid they are a regression's.

    The samples are shuffled by the seed, with labels or without; the last 20 %, of which 10,000 are enough, are for the
    test, the others for calibration and fine-tuning. Fewer than 10 samples are used for both, which the task's name
    says. Inputs that lie in files stay there.

    Args:
        model: the user's model.
        data: the user's samples, checked.
        seed: of the shuffle.

    Raises:
        InputError: labels that do not fit the outputs, or labels for a model with several outputs.
    """

    def outputs_on(few: Dataset) -> Mapping[str, np.ndarray]:
        return outputs_of(model, few, batch_size=_LOOKED_AT)

    return infer_task_by(outputs_on, lambda: _last_activation(model), data, seed)


def infer_task_by(
    outputs_on: Callable[[Dataset], Mapping[str, np.ndarray]],
    last_activation: Callable[[], str | None],
    data: Dataset,
    seed: int = 0,
) -> Task:
    """Return what a model is judged by, as ``infer_task`` does, of a model that need not be one of Keras.

    Args:
        outputs_on: maps samples to the model's outputs by name; called once, with few samples, where there are labels.
        last_activation: returns the name of the activation that the output comes from, "linear" for none, or None if
            it cannot be seen.
        data, seed: as for ``infer_task``.

    Raises:
        InputError: see ``infer_task``.
    """
    if data.labels is None:
        train, test, name = _split(data, seed)
        return Task(name, train, test, loss=None, metric=None)
    outputs = outputs_on(data.take(_LOOKED_AT))
    if len(outputs) > 1:
        raise InputError(
            f"Expected a model with one output to judge by labels. Got: {len(outputs)} outputs, {', '.join(outputs)}. "
            "Leave the labels out, and the model is judged by its agreement with the original."
        )
    if isinstance(data.labels, Mapping):
        raise InputError(f"Expected labels in one array, for one output. Got: arrays for {', '.join(data.labels)}.")
    (array,) = outputs.values()
    labels, loss, metric = _judged(last_activation(), array, data.labels)
    train, test, name = _split(replace(data, labels=labels), seed)
    return Task(name, train, test, loss, metric)


def _judged(last: str | None, outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, Any, Metric]:
    """Return the labels in their final form, the loss and the metric."""
    import keras

    shape, classes = outputs.shape[1:], outputs.shape[-1] if outputs.ndim > 1 else 1
    if outputs.ndim > 1 and classes > 1:
        indices = _class_indices(labels, shape)
        if indices is not None:
            if indices.min() < 0 or indices.max() >= classes:
                raise InputError(
                    f"Expected labels from 0 to {classes - 1}, for a model with {classes} classes. Got: labels from "
                    f"{indices.min()} to {indices.max()}."
                )
            if _gives_probabilities(last, outputs):
                return indices, "sparse_categorical_crossentropy", ACCURACY
            return indices, keras.losses.SparseCategoricalCrossentropy(from_logits=True), ACCURACY
    if int(np.prod(labels.shape[1:])) != int(np.prod(shape)) or labels.shape[1:] not in (
        shape,
        shape[:-1],
        (*shape, 1),
    ):
        raise InputError(
            f"Expected labels of shape [samples{''.join(f', {size}' for size in shape)}], as the outputs have"
            + (f", or integers of shape [samples{''.join(f', {size}' for size in shape[:-1])}]" if classes > 1 else "")
            + f". Got: {labels.dtype} of shape {list(labels.shape)}."
        )
    decides = last in (_PROBABILITIES if classes == 1 else _SIGMOIDS)
    if bool(np.isin(labels, (0, 1)).all()) and (labels.dtype.kind in "biu" or decides):
        labels = labels.reshape(-1, *(shape or (1,))).astype(np.int64)
        if decides or (last is None and _within_0_and_1(outputs)):
            return labels, "binary_crossentropy", LABEL_ACCURACY
        return labels, keras.losses.BinaryCrossentropy(from_logits=True), LOGIT_ACCURACY
    if shape in ((), (1,)) and labels.dtype.kind in "biu" and last in _PROBABILITIES:
        raise InputError(
            f"Expected labels 0 and 1, for a model with one {last} output. Got: labels from {labels.min()} to "
            f"{labels.max()}."
        )
    return labels.reshape(-1, *shape).astype(np.float32), "mean_squared_error", MEAN_ABSOLUTE_ERROR


def _class_indices(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return labels as indices of classes, or None where they are none."""
    if labels.dtype.kind in "iub" and labels.shape[1:] in (shape[:-1], (*shape[:-1], 1)):
        return labels.reshape(-1, *shape[:-1]).astype(np.int64)
    one_hot = labels.shape[1:] == shape and np.isin(labels, (0, 1)).all() and (labels.sum(axis=-1) == 1).all()
    return labels.argmax(axis=-1) if one_hot else None


def _gives_probabilities(last: str | None, outputs: np.ndarray) -> bool:
    if last is not None:
        return last in _PROBABILITIES
    return _within_0_and_1(outputs) and bool(np.allclose(outputs.sum(axis=-1), 1, atol=1e-2))


def _within_0_and_1(outputs: np.ndarray) -> bool:
    return bool((outputs >= -1e-3).all() and (outputs <= 1 + 1e-3).all())


def _last_activation(model: "keras.Model") -> str | None:
    """Return the name of the activation that the output comes from, "linear" for none, or None if it cannot be seen."""
    import keras

    operation = model.outputs[0]._keras_history.operation
    while isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        operation = operation.outputs[0]._keras_history.operation
    kind = type(operation).__name__.lower()
    if kind in _PROBABILITIES:
        return kind
    activation = getattr(operation, "activation", None)
    return getattr(activation, "__name__", None)


def given_task(data: Any, inputs: Mapping[str, Input], infer: Callable[[Dataset], Task]) -> Task:
    """Return what a model is judged by on the data that a user gave.

    Without data it is the agreement with itself on random inputs, and there is nothing to calibrate or train on.

    Args:
        data: a Task, samples in any form that ``dataset_of`` takes, or None.
        inputs: what the model takes.
        infer: maps samples that fit to a task.

    Raises:
        InputError: the data does not fit the model.
    """
    if isinstance(data, Task):
        check_data(data.train, inputs)
        check_data(data.test, inputs)
        return data
    return infer(dataset_of(data, inputs)) if data is not None else _random_task(inputs)


def _random_task(inputs: Mapping[str, Input]) -> Task:
    random = np.random.default_rng(0)
    arrays = {
        name: random.uniform(0, 1, (_RANDOM_SAMPLES, *wanted.shape)).astype(wanted.dtype)  # type: ignore[arg-type]
        for name, wanted in inputs.items()
    }
    nothing = Dataset({name: array[:0] for name, array in arrays.items()})
    return Task("random inputs", train=nothing, test=Dataset(arrays), loss=None, metric=None)


def _split(data: Dataset, seed: int) -> tuple[Dataset, Dataset, str]:
    count = len(data)
    if count < MIN_TO_SPLIT:
        return data, data, f"{data.origin}, all {count} samples both for calibration and for the test"
    order = np.random.default_rng(seed).permutation(count)
    first = count - min(max(1, round(count * TEST_SHARE)), MAX_TEST)
    train, test = data.part(order[:first]), data.part(order[first:])
    return train, test, f"{data.origin}, {len(train)} samples for calibration and {len(test)} for the test"
