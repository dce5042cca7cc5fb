"""Pass that writes exp(x) - 1, which CELU is made of, with the exponential that every format has."""

from collections.abc import Sequence
from typing import Any

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def replacing(work: Work) -> Replace:
    """Write Expm1 as an exponential less one."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        return [tf.exp(value(operation.inputs[0])) - 1.0] if operation.type == "Expm1" else None

    return replace


PASSES = (
    Pass(
        "exponential-less-one",
        "tf2onnx writes Expm1, which ONNX does not have, without a word.",
        frozenset({"Expm1"}),
        replacing,
        formats=frozenset({"onnx"}),
    ),
)
