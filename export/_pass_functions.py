"""Pass that writes functions which a format lacks by those that it has, such as a tangent by sine and cosine."""

from collections.abc import Callable, Sequence
from typing import Any

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def _one_less_square(x: Any) -> Any:
    import tensorflow as tf

    return tf.sqrt((1.0 - x) * (1.0 + x))


def _formulas() -> dict[str, Callable[[Any], Any]]:
    import tensorflow as tf

    return {
        "Log1p": lambda x: tf.math.log(1.0 + x),
        "Tan": lambda x: tf.sin(x) / tf.cos(x),
        "Sinh": lambda x: (tf.exp(x) - tf.exp(-x)) * 0.5,
        "Cosh": lambda x: (tf.exp(x) + tf.exp(-x)) * 0.5,
        "Atan": lambda x: tf.atan2(x, tf.ones_like(x)),
        "Asin": lambda x: tf.atan2(x, _one_less_square(x)),
        "Acos": lambda x: tf.atan2(_one_less_square(x), x),
        "Asinh": lambda x: tf.sign(x) * tf.math.log(tf.abs(x) + tf.sqrt(x * x + 1.0)),
        "Acosh": lambda x: tf.math.log(x + tf.sqrt(x - 1.0) * tf.sqrt(x + 1.0)),
        "Atanh": lambda x: tf.math.log((1.0 + x) / (1.0 - x)) * 0.5,
    }


def _replacing(types: frozenset[str]) -> Callable[[Work], Replace]:
    def replacing(work: Work) -> Replace:
        formulas = {name: formula for name, formula in _formulas().items() if name in types}

        def replace(operation: Any, value: Value) -> Sequence[Any] | None:
            if operation.type not in formulas or operation.outputs[0].dtype.name != "float32":
                return None
            return [formulas[operation.type](value(operation.inputs[0]))]

        return replace

    return replacing


_LACKING = {
    "onnx": ("logarithm-of-one-more", frozenset({"Log1p"}), "tf2onnx writes Log1p, which ONNX does not have."),
    "tflite": (
        "functions-by-others",
        frozenset({"Tan", "Sinh", "Cosh", "Atan", "Asin", "Acos", "Asinh", "Acosh", "Atanh"}),
        "TFLite has sine, cosine, exponential, logarithm and the angle of two numbers, and no further such function.",
    ),
}

PASSES = tuple(
    Pass(name, why, types, _replacing(types), formats=frozenset({format}))
    for format, (name, types, why) in _LACKING.items()
)
