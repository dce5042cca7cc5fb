"""Passes for Keras' argmax and argmin, which look at the bits of their input to order -0 below +0.

No converter takes these bits. Both zeros are one number in every runtime's comparison.
"""

from collections.abc import Sequence
from typing import Any

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def replacing(work: Work) -> Replace:
    """Write the test of a float's sign bit as x < 0, and leave out the search for negative zeros."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type == "SelectV2" and _looks_for_negative_zeros(operation):
            return [value(operation.inputs[2])]
        number = _whose_sign_bit(operation)
        return None if number is None else [tf.less(value(number), 0.0)]

    return replace


def _looks_for_negative_zeros(operation: Any) -> bool:
    """Tell whether it is where(x == 0 and signbit(x), -tiny, x)."""
    both = operation.inputs[0].op
    if both.type != "LogicalAnd":
        return False
    numbers = [_whose_sign_bit(tensor.op) for tensor in both.inputs]
    return any(number is not None and number is operation.inputs[2] for number in numbers)


def _whose_sign_bit(operation: Any) -> Any:
    """Return the float tensor of (bits(x) & the lowest integer) < 0; None where it is something else."""
    masked = operation.inputs[0].op if operation.type == "Less" else None
    if masked is None or masked.type != "BitwiseAnd":
        return None
    for tensor in masked.inputs:
        if tensor.op.type == "Bitcast" and tensor.op.inputs[0].dtype.name == "float32":
            return tensor.op.inputs[0]
    return None


PASSES = (
    Pass(
        "plain-argmax",
        "No converter takes the Bitcast and BitwiseAnd in Keras' argmax and argmin.",
        frozenset({"BitwiseAnd"}),
        replacing,
        counted=frozenset({"SelectV2"}),
    ),
)
