"""A representative dataset: batches of samples that a model is run over, spread evenly over the data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..train._training import as_inputs, input_of
from ._technique import Work

if TYPE_CHECKING:
    import keras

# Yields batches of inputs by name, each ``[samples, ...]``; called anew for each pass.
Samples = Callable[[], Iterable[Mapping[str, np.ndarray]]]
_BATCH = 32


def check_samples(work: Work, purpose: str) -> None:
    """Raise where there are no samples for a purpose, such as "to calibrate int8 on".

    Raises:
        InputError: there are none.
    """
    if not len(work.task.train):
        raise InputError(f"Expected samples {purpose} (a representative dataset). Got: none.")


def representative(work: Work, samples: int) -> Samples:
    """Return what yields batches of some training samples, spread evenly over the data."""
    data = work.task.train
    places = data.evenly(samples)

    def batches() -> Iterator[Mapping[str, np.ndarray]]:
        for start in range(0, len(places), _BATCH):
            yield data.at(places[start : start + _BATCH]).inputs

    return batches


def run_over(model: "keras.Model", samples: Samples, run: Callable[[Any], Any]) -> list[Any]:
    """Run a function of a model's inputs on samples, as a graph; return what it returned, for each batch.

    Raises:
        InputError: there are no samples.
    """
    import keras
    import tensorflow as tf

    types = {tensor.name: tensor.dtype for tensor in keras.tree.flatten(input_of(model))}
    traced = tf.function(run, autograph=False, reduce_retracing=True)
    outputs = [
        traced(as_inputs(model, {name: tf.cast(array, types[name]) for name, array in batch.items() if name in types}))
        for batch in samples()
    ]
    if not outputs:
        raise InputError("Expected samples to calibrate on (a representative dataset). Got: none.")
    return outputs
