"""Cross-layer equalization of a SchNet potential: what is multiplied has the same range in every feature.

Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019, arXiv 1906.04721: a factor
moves from one layer to the next and what they compute together stays. In int8 all features of a tensor share one scale,
so that a filter of small values beside one of large values would be left with few of the 256 steps. Here the two
layers are a filter and the senders that it multiplies, and the ranges are those of training samples.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ._task import Arrays, Dataset

_SAMPLES = 200


class Equalize(keras.callbacks.Callback):
    """Equalizes a model's potential when its training ends.

    Args:
        data: maps nothing to the training samples.
    """

    def __init__(self, data: Callable[[], Dataset]) -> None:
        super().__init__()
        self._data = data

    def on_train_end(self, logs: Any = None) -> None:
        """Move factors between filters and senders; a model that is equalized already stays as it is."""
        data = self._data()
        equalize(self.model, data.at(data.evenly(_SAMPLES)).inputs)


def equalize(model: keras.Model, inputs: Arrays) -> None:
    """Change the weights of a force model's filters and senders, and nothing that the model computes.

    Args:
        model: with the layers ``pairs``, ``radial``, ``cutoff`` and ``potential``.
        inputs: ``atoms``, ``positions`` and ``mask`` of the samples that ranges are taken from.
    """
    layers: dict[str, Any] = {layer.name: layer for layer in model.layers}
    distances, _, pairs = layers["pairs"]([inputs["positions"], inputs["mask"]])
    radial, _ = layers["radial"](distances)
    cutoff, _ = layers["cutoff"]([distances, pairs])
    potential = layers["potential"]
    x = potential.embedding(inputs["atoms"])
    for filters, interaction in zip(potential.filters, potential.layers, strict=True):
        factor = np.sqrt(_range(filters([radial, pairs])) / _range(interaction.senders(x)))
        filters.second.kernel.assign(filters.second.kernel.numpy() / factor)
        filters.second.bias.assign(filters.second.bias.numpy() / factor)
        interaction.senders.kernel.assign(interaction.senders.kernel.numpy() * factor)
        x = interaction([x, filters([radial, cutoff])])


def _range(values: Any) -> np.ndarray:
    """Return the largest absolute value of each feature; of one that is always zero, next to nothing."""
    largest = ops.max(ops.abs(values), axis=tuple(range(len(values.shape) - 1)))
    return np.maximum(ops.convert_to_numpy(largest), 1e-6)
