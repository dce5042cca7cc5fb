"""A model that computes in half or double precision, built anew to compute in float32.

Compression and the exporters' own quantizers look for float32 values; half precision is a step of a recipe.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._keras_2 import random_inputs
from ._training import input_of

if TYPE_CHECKING:
    import keras

_PRECISIONS = frozenset({"float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "float64"})
# Half precision moves the outputs of deep models by a few percent of their size.
_TOLERANCE = 0.1


def in_float32(model: "keras.Model") -> "tuple[keras.Model, tuple[str, ...]]":
    """Return a model whose layers compute in float32, with the same weights, and a note that says so if it is new.

    Raises:
        InputError: Keras cannot build the layers anew, or they compute something else then.
    """
    import keras

    others = _precisions(model)
    if not others:
        return model, ()

    def rebuilt(layer: "keras.layers.Layer") -> "keras.layers.Layer":
        return type(layer).from_config(_replaced(layer.get_config()))

    try:
        made = keras.models.clone_model(model, clone_function=rebuilt, recursive=True)
        for variable, before in zip(made.weights, model.weights, strict=True):
            variable.assign(np.asarray(before).astype(str(variable.dtype)))
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise _refused(model, others, f"Keras cannot build it in float32: {reason}") from error
    for layer, before in zip(made._flatten_layers(), model._flatten_layers(), strict=True):
        layer.trainable = before.trainable
    moved = largest_change(model, made)
    if left := _precisions(made):
        raise _refused(model, others, f"Built in float32 it has layers of {', '.join(left)} still.")
    if not moved <= _TOLERANCE:
        raise _refused(model, others, f"Built in float32 its outputs move by {100 * moved:.2g} % of their size.")
    return made, (
        f"the model computes in {', '.join(others)}: it was built anew in float32 with the same weights, which is what "
        f"is compressed and compared with (outputs moved by {100 * moved:.2g} % of their size)",
    )


def _precisions(model: "keras.Model") -> list[str]:
    return sorted({layer.dtype_policy.name for layer in model._flatten_layers()} & _PRECISIONS)


def _replaced(config: Any) -> Any:
    """Return a layer's configuration with policies of other others replaced, those of layers within it too."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"].get("name") in _PRECISIONS:
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {
            key: "float32" if key == "dtype" and isinstance(value, str) and value in _PRECISIONS else _replaced(value)
            for key, value in config.items()
        }
    return type(config)(map(_replaced, config)) if type(config) in (list, tuple) else config


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


def _refused(model: "keras.Model", others: list[str], why: str) -> InputError:
    return InputError(
        f"Expected a model that computes in float32. Got: {model.name}, which computes in {', '.join(others)}. {why} "
        "Build it with keras.config.set_dtype_policy('float32'), set the weights of this one, and save that."
    )
