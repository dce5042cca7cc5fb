"""Passes that write with the Edge TPU's operations, and with those of TFLite's integers, what these lack.

The table is devices/profiles/edgetpu_ops.json. Of a graph that begins with an operation that is not in it, nothing runs
there: the look-up of an embedding (GATHER of 32-bit integers) is a head of its own; see ``edgewright split``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compress._recipe import EDGE_TPU
from ._frozen_graph import Replace, Value
from ._pass import Pass, Work
from ._pass_ranges import between


def negations(work: Work) -> Replace:
    """Write -x as a product with -1."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "Neg" or operation.outputs[0].dtype.name != "float32" or _is_in_gelu(operation):
            return None
        return [value(operation.inputs[0]) * -1.0]

    return replace


def squared_differences(work: Work) -> Replace:
    """Write (x - y)^2 as a difference times itself."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type != "SquaredDifference":
            return None
        difference = between(value(operation.inputs[0]) - value(operation.inputs[1]))
        return [difference * difference]

    return replace


def constant_choices(work: Work) -> Replace:
    """Write where(c, x, y) with a constant c as x c + y (1 - c)."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type not in ("Select", "SelectV2") or operation.outputs[0].dtype.name != "float32":
            return None
        chosen = work.graph.constant(operation.inputs[0])
        if chosen is None:
            return None
        ones = chosen.astype(np.float32)
        _, x, y = (value(tensor) for tensor in operation.inputs)
        return [between(between(x * tf.constant(ones)) + between(y * tf.constant(1 - ones)))]

    return replace


def _is_in_gelu(operation: Any) -> bool:
    """Tell whether it is in the argument of an error function: TFLite's converter fuses the exact GELU as it is."""
    after = operation.outputs[0].consumers()
    return any(last.type in ("Erf", "Erfc") for each in after for last in (each, *each.outputs[0].consumers()))


_HERE = frozenset({EDGE_TPU})

PASSES = (
    Pass(
        "multiplied-negations",
        "The Edge TPU has no NEG.",
        frozenset({"Neg"}),
        negations,
        units=_HERE,
    ),
    Pass(
        "multiplied-negations",
        "TFLite has no NEG for integers: it stays in float between two conversions.",
        frozenset({"Neg"}),
        negations,
        formats=frozenset({"tflite"}),
        precisions=frozenset({"int8", "int16x8"}),
    ),
    Pass(
        "multiplied-choices",
        "The Edge TPU has no SELECT_V2.",
        frozenset({"Select", "SelectV2"}),
        constant_choices,
        units=_HERE,
    ),
    Pass(
        "multiplied-choices",
        "TFLite has no SELECT_V2 of 16-bit integers: it stays in float between two conversions.",
        frozenset({"Select", "SelectV2"}),
        constant_choices,
        formats=frozenset({"tflite"}),
        precisions=frozenset({"int16x8"}),
    ),
    Pass(
        "multiplied-differences",
        "Edge TPU runtimes before 14 have no SQUARED_DIFFERENCE.",
        frozenset({"SquaredDifference"}),
        squared_differences,
        units=_HERE,
    ),
    Pass(
        "multiplied-differences",
        "TFLite's converter writes a SQUARED_DIFFERENCE of 16-bit integers, which no runtime has.",
        frozenset({"SquaredDifference"}),
        squared_differences,
        formats=frozenset({"tflite"}),
        precisions=frozenset({"int16x8"}),
    ),
)
