"""Layers that were frozen for a training: compression changes their weights like all others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@contextmanager
def thawed(model: "keras.Model") -> Iterator[int]:
    """Have a model's frozen layers (``trainable=False``) trainable as long as it lasts.

    Freezing says what a training was to leave alone, such as the base of a transferred model, and nothing of how small
    its weights may become. Frozen batch normalization stays as it is, since there the flag decides what a layer
    computes in training; so do variables that were frozen within a layer which is not.

    Yields:
        How many variables it made trainable.
    """
    import keras

    layers = list(model._flatten_layers())
    frozen = [layer for layer in layers if not layer.trainable]
    normalizing = [layer for layer in frozen if isinstance(layer, keras.layers.BatchNormalization)]
    flags = [(variable, variable.trainable) for variable in model.variables]
    left = {id(variable) for layer in normalizing for variable in layer.variables}
    thawing = {id(variable) for layer in frozen for variable in layer._trainable_variables} - left
    trained = len(model.trainable_variables)
    try:
        for layer in frozen:
            layer.trainable = True  # and all layers within it
        for layer in normalizing:
            layer.trainable = False
        for variable, flag in flags:
            variable.trainable = flag or id(variable) in thawing
        yield len(model.trainable_variables) - trained
    finally:
        for layer in layers:
            layer._trainable = True
        for layer in frozen:
            layer._trainable = False
        for variable, flag in flags:
            variable.trainable = flag
