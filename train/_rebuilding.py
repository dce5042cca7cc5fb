"""A Keras model built anew from changed configurations of its layers, and how far it computes something else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from ._keras_2 import random_inputs
from ._training import input_of

if TYPE_CHECKING:
    import keras

Config = dict[str, Any]
_NAMELESS = "<lambda>"


def built_anew(
    model: "keras.Model",
    changed: Callable[[Config], Config],
    hand_over: "Callable[[keras.Model, keras.Model], None]",
) -> "keras.Model":
    """Return a copy of a model whose layers are of changed configurations; frozen ones stay frozen.

    Args:
        model: it is left unchanged.
        changed: a layer's configuration as it shall be, or that of a table in it.
        hand_over: gives the weights of the model to its copy.

    Raises:
        ValueError: Keras cannot build it so, and why, in one line.
    """
    import keras

    def again(config: Any) -> Any:
        if isinstance(config, dict):
            return {key: again(value) for key, value in changed(config).items()}
        return type(config)(map(again, config)) if type(config) in (list, tuple) else config

    def rebuilt(layer: "keras.layers.Layer") -> "keras.layers.Layer":
        return type(layer).from_config(again(layer.get_config()))

    try:
        with functions_known(model):
            made = keras.models.clone_model(model, clone_function=rebuilt, recursive=True)
        hand_over(model, made)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(why_not(model, error)) from error
    for layer, before in zip(made._flatten_layers(), model._flatten_layers(), strict=True):
        layer.trainable = before.trainable
    return made


@contextmanager
def functions_known(model: "keras.Model") -> Iterator[None]:
    """Let Keras find, as it copies layers, the functions that they call by name: a configuration has the name alone."""
    import keras

    found: dict[str, set[Any]] = {}
    for _, function in _functions(model):
        found.setdefault(function.__name__, set()).add(function)
    own = [name for name in found if name != _NAMELESS and not hasattr(keras.activations, name)]
    named = {name: found[name].pop() for name in own if len(found[name]) == 1}
    with keras.saving.CustomObjectScope(named):
        yield


def why_not(model: "keras.Model", error: Exception) -> str:
    """Return in one line why Keras cannot copy a model's layers."""
    nameless = sorted({layer.name for layer, function in _functions(model) if function.__name__ == _NAMELESS})
    if nameless:
        return (
            f"{', '.join(nameless)} calls a lambda expression, which Keras does not copy. Give it a function with a "
            "name (def), or make a layer of it."
        )
    return str(error).strip().splitlines()[0]


def _functions(model: "keras.Model") -> "Iterator[tuple[keras.layers.Layer, FunctionType]]":
    """Yield each layer with a function of the user's that it calls, such as that of a Lambda or an activation.

    Those that are registered with Keras are found by themselves.
    """
    import keras

    for layer in model._flatten_layers(include_self=False):
        for value in vars(layer).values():
            if not isinstance(value, FunctionType) or value.__module__.partition(".")[0] == "keras":
                continue
            if keras.saving.get_registered_name(value) == value.__name__:
                yield layer, value


def largest_change(one: "keras.Model", other: "keras.Model") -> float:
    """Return how far the float outputs of two models are apart on average, over their size, at the worst output."""
    import keras

    arrays = random_inputs(one)

    def outputs(model: "keras.Model") -> list[np.ndarray]:
        # By place: Keras' copy of a sequential model may name its input anew.
        inputs = keras.tree.pack_sequence_as(input_of(model), arrays)
        return [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(model(inputs, training=False))]

    worst = 0.0
    for before, after in zip(outputs(one), outputs(other), strict=True):
        if after.dtype.kind == "f":
            before, after = before.astype(np.float64), after.astype(np.float64)
            worst = max(worst, float(np.abs(before - after).mean() / max(float(np.abs(before).mean()), 1e-6)))
    return worst
