"""The task of a user's model, inferred from its output and the labels."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._task import ACCURACY, MEAN_ABSOLUTE_ERROR, Dataset, Task

if TYPE_CHECKING:
    import keras

# Below this many samples nothing is set aside: all calibrate, and all judge.
_FEWEST_TO_SPLIT = 10
_TEST_SHARE = 0.2


def infer_task(model: "keras.Model", data: Dataset) -> Task:
    """Return what a model is judged by on a user's data.

    Integer labels with an output of several classes mean top-1 accuracy, 0 and 1 with an output of one probability
    binary accuracy, other labels the mean absolute error. Without labels there is no metric. A fifth of the samples, drawn
    with a fixed seed, is set aside to judge by; the rest calibrates and trains.

    Raises:
        InputError: labels that do not fit the output.
    """
    loss, metric = (None, None) if data.labels is None else _judged_by(model, data.labels)
    labels = data.labels
    if metric is ACCURACY and labels is not None:
        labels = labels.reshape(len(labels)).astype(np.int32)
    train, test = _split(Dataset(data.inputs, labels))
    return Task(name="the given data", train=train, test=test, loss=loss, metric=metric)


def _judged_by(model: "keras.Model", labels: np.ndarray) -> tuple[Any, Any]:
    if len(model.outputs) > 1:
        raise InputError(
            f"Expected labels for a model with one output. Got: {len(model.outputs)} outputs of {model.name}; "
            "leave labels out to be shown the agreement with the original."
        )
    shape = tuple(model.outputs[0].shape)
    counted = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    integers = np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool
    if integers and counted and len(shape) == 2:
        classes = max(int(shape[1] or 0), 2)
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"Expected labels from 0 to {classes - 1}, for the {shape[1]} outputs of {model.name}. "
                f"Got: {labels.min()} to {labels.max()}."
            )
        return _classification_loss(model, int(shape[1] or 0)), ACCURACY
    if labels.shape[1:] not in (shape[1:], ()) or (labels.ndim == 1 and shape[1:] not in ((), (1,))):
        raise InputError(f"Expected labels as [samples, {', '.join(map(str, shape[1:]))}]. Got: {list(labels.shape)}.")
    return "mean_squared_error", MEAN_ABSOLUTE_ERROR


def _classification_loss(model: "keras.Model", outputs: int) -> Any:
    """Return the cross-entropy; of logits unless the last layer ends in a softmax or sigmoid."""
    import keras

    last = model.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    logits = not (activation in ("softmax", "sigmoid") or isinstance(last, keras.layers.Softmax))
    if outputs > 1:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return keras.losses.BinaryCrossentropy(from_logits=logits)


def _split(data: Dataset) -> tuple[Dataset, Dataset]:
    count = len(data)
    if count < _FEWEST_TO_SPLIT:
        return data, data
    order = np.random.default_rng(0).permutation(count)
    test = max(1, round(count * _TEST_SHARE))
    return _pick(data, np.sort(order[test:])), _pick(data, np.sort(order[:test]))


def _pick(data: Dataset, places: np.ndarray) -> Dataset:
    labels = None if data.labels is None else data.labels[places]
    return Dataset({name: array[places] for name, array in data.inputs.items()}, labels)
