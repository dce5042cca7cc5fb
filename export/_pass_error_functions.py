"""Passes for the error function: its complement where a format has only the function, and a formula where it has none.

TFLite's converter takes the error function within the exact GELU only, which it fuses.
"""

from collections.abc import Sequence
from typing import Any

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work

# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: the error is at most 1.5e-7.
_P = 0.3275911
_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def complement(work: Work) -> Replace:
    """Write erfc(x) as 1 - erf(x)."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        return [1.0 - tf.math.erf(value(operation.inputs[0]))] if operation.type == "Erfc" else None

    return replace


def formula(work: Work) -> Replace:
    """Write erf(x) as sign(x) (1 - (a1 t + ... + a5 t^5) exp(-x^2)), t = 1 / (1 + p |x|)."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type not in ("Erf", "Erfc") or _is_fused(operation):
            return None
        erf = _erf(value(operation.inputs[0]))
        return [erf if operation.type == "Erf" else 1.0 - erf]

    return replace


def _erf(x: Any) -> Any:
    import tensorflow as tf

    t = 1.0 / (1.0 + _P * tf.abs(x))
    polynomial = _A[4] * t
    for coefficient in reversed(_A[:4]):
        polynomial = (polynomial + coefficient) * t
    return tf.sign(x) * (1.0 - polynomial * tf.exp(-x * x))


def _is_fused(operation: Any) -> bool:
    """Tell whether it is the one of x / 2 (1 + erf(x / sqrt 2)) or x / 2 erfc(-x / sqrt 2)."""
    scaled = operation.inputs[0].op
    factors = list(scaled.inputs) if scaled.type in ("Mul", "RealDiv", "Neg") else []
    factors += [tensor for factor in factors if factor.op.type == "Neg" for tensor in factor.op.inputs]
    sources = {tensor.name for tensor in factors if tensor.op.type != "Const"}
    after = operation.outputs[0].consumers()
    if operation.type == "Erf":
        after = [product for sum_ in after if sum_.type == "AddV2" for product in sum_.outputs[0].consumers()]
    others = [tensor for product in after if product.type == "Mul" for tensor in product.inputs]
    others += [tensor for other in others if other.op.type == "Mul" for tensor in other.op.inputs]
    return any(tensor.name in sources for tensor in others)


PASSES = (
    Pass(
        "erf-for-erfc",
        "tf2onnx writes erfc, which ONNX does not have, without a word.",
        frozenset({"Erfc"}),
        complement,
        formats=frozenset({"onnx"}),
    ),
    Pass(
        "erf-by-formula",
        "TFLite has no error function outside of the exact GELU.",
        frozenset({"Erf", "Erfc"}),
        formula,
        formats=frozenset({"tflite"}),
    ),
)
