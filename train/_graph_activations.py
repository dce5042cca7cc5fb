"""Activations of molecular networks, each with its slope, which forces need."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("edgewright")
def silu(x: Any) -> Any:
    """Return ``x sigmoid(x)``.

    Keras' own has a custom gradient under TensorFlow, and a frozen graph with one cannot be saved.
    """
    return x * ops.sigmoid(x)


def silu_and_slope(x: Any) -> tuple[Any, Any]:
    """Return ``x sigmoid(x)`` and its slope."""
    gate = ops.sigmoid(x)
    value = x * gate
    return value, gate + value * (1.0 - gate)


def shifted_softplus_and_slope(x: Any) -> tuple[Any, Any]:
    """Return ``ln(e^x / 2 + 1 / 2)`` and its slope."""
    return ops.softplus(x) - math.log(2.0), ops.sigmoid(x)


# SchNet's own is the second. SiLU is what runs on devices: int8 runtimes compute softplus as log(1 + exp(x)), and eight
# bits do not hold the exponential's range.
ACTIVATIONS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "silu": silu_and_slope,
    "shifted_softplus": shifted_softplus_and_slope,
}
