"""A model that computes in half or double precision, built anew to compute in float32.

Compression and the exporters' own quantizers look for float32 values; half precision is a step of a recipe.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._rebuilding import built_anew, largest_change

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
    others = _precisions(model)
    if not others:
        return model, ()
    try:
        made = built_anew(model, _changed, _hand_over)
    except ValueError as error:
        raise _refused(model, others, f"Keras cannot build it in float32: {error}") from error
    moved = largest_change(model, made)
    if left := _precisions(made):
        raise _refused(model, others, f"Built in float32 it has layers of {', '.join(left)} still.")
    if not moved <= _TOLERANCE:
        raise _refused(model, others, f"Built in float32 its outputs move by {100 * moved:.2g} % of their size.")
    return made, (
        f"the model computes in {', '.join(others)}: it was built anew in float32 with the same weights, which is what "
        f"is compressed and compared with (outputs moved by {100 * moved:.2g} % of their size)",
    )


def check_float(model: "keras.Model") -> None:
    """Raise InputError for a model whose kernels Keras has quantized: what is compressed are real numbers."""
    modes = {
        layer.path or layer.name: layer.quantization_mode
        for layer in model._flatten_layers(include_self=False)
        if getattr(layer, "quantization_mode", None)
    }
    if modes:
        told = ", ".join(list(modes)[:3]) + (f" and {len(modes) - 3} more" if len(modes) > 3 else "")
        raise InputError(
            f"Expected a model whose weights are real numbers. Got: {model.name}, of which Keras has quantized {told} "
            f"({', '.join(sorted(set(modes.values())))}). Give the model as it was before model.quantize(); recipes "
            "such as int8 and int4-weights quantize it, for every format."
        )


def _precisions(model: "keras.Model") -> list[str]:
    return sorted({layer.dtype_policy.name for layer in model._flatten_layers()} & _PRECISIONS)


def _changed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's configuration, or a policy in it, in float32."""
    if config.get("class_name") == "DTypePolicy" and config["config"].get("name") in _PRECISIONS:
        return {**config, "config": {**config["config"], "name": "float32"}}
    dtype = config.get("dtype")
    return {**config, "dtype": "float32"} if isinstance(dtype, str) and dtype in _PRECISIONS else config


def _hand_over(model: "keras.Model", made: "keras.Model") -> None:
    for variable, before in zip(made.weights, model.weights, strict=True):
        variable.assign(np.asarray(before).astype(str(variable.dtype)))


def _refused(model: "keras.Model", others: list[str], why: str) -> InputError:
    return InputError(
        f"Expected a model that computes in float32. Got: {model.name}, which computes in {', '.join(others)}. {why} "
        "Build it with keras.config.set_dtype_policy('float32'), set the weights of this one, and save that."
    )
