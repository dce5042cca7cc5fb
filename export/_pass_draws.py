"""Pass that writes random numbers of a fixed seed as the constants that they are.

No converter has TensorFlow's generator: TFLite and OpenVINO take no draw at all, and ONNX's operation of the same name
draws other numbers. ``_draws.check_draws`` has refused all draws that are no constants.
"""

from collections.abc import Sequence
from typing import Any

from ._draws import SEEDED
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def replacing(work: Work) -> Replace:
    """Write each draw as what it draws."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        drawn = work.graph.constant(operation.outputs[0]) if operation.type in SEEDED else None
        return None if drawn is None else [tf.constant(drawn)]

    return replace


PASSES = (
    Pass(
        "constant-draws",
        "No converter has TensorFlow's generator of random numbers; ONNX's draws others from the same seed.",
        SEEDED,
        replacing,
    ),
)
