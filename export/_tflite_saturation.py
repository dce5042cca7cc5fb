"""Leaves out of int8 scales what a sigmoid or a tanh does not tell apart.

A converter takes the range of a logit from its extremes. In most of a range of ±100 a sigmoid answers 0 or 1, and where
it does not, one of 255 steps moves it by up to a fifth of its answers. Integers between an operation and a sigmoid have
a scale of their own, which the operation rounds to and the sigmoid's kernel reads: any that is written there is right.
"""

from typing import Any

import numpy as np

from ..compress._points import SATURATED
from ._tflite_flatbuffer import by_number, items

_BEYOND = {"LOGISTIC": SATURATED["Sigmoid"], "TANH": SATURATED["Tanh"]}
# They round to whatever scale their output has.
_ROUNDING = frozenset({"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "ADD", "SUB", "MUL"})
# They hand integers on, so what they take and what they return have one scale.
_MOVES = frozenset(
    {"RESHAPE", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK", "SQUEEZE", "EXPAND_DIMS"}
)
# XNNPACK multiplies by at most 256 as it rounds.
_MOST = 64.0


def narrow(model: Any) -> bool:
    """Give logits of an int8 file's ``ModelT`` scales that leave out what saturates; tell whether there are any."""
    return any([_narrow(model, graph) for graph in items(model.subgraphs)])


def _narrow(model: Any, graph: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    names = by_number(schema.BuiltinOperator)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in items(model.operatorCodes)]
    kinds = [names.get(codes[operator.opcodeIndex], "") for operator in items(graph.operators)]
    readers: dict[int, list[tuple[str, Any]]] = {}
    for kind, operator in zip(kinds, items(graph.operators), strict=True):
        for tensor in set(map(int, operator.inputs)):
            readers.setdefault(tensor, []).append((kind, operator))
    changed = False
    for kind, operator in zip(kinds, items(graph.operators), strict=True):
        if kind not in _ROUNDING or getattr(operator.builtinOptions, "fusedActivationFunction", None):
            continue
        tensors, beyond = _until_saturated(graph, readers, int(operator.outputs[0]))
        if beyond:
            changed |= _rescale([graph.tensors[tensor] for tensor in tensors], beyond)
    return changed


def _until_saturated(
    graph: Any, readers: dict[int, list[tuple[str, Any]]], tensor: int
) -> tuple[list[int], float | None]:
    """Return a tensor, what it is moved to, and beyond what none that reads them changes; None where one does."""
    found, waiting, beyond = [], [tensor], 0.0
    outputs = set(map(int, graph.outputs))
    while waiting:
        each = waiting.pop()
        found.append(each)
        if each in outputs or not readers.get(each):
            return found, None
        for kind, operator in readers[each]:
            if kind in _BEYOND:
                beyond = max(beyond, _BEYOND[kind])
            elif kind in _MOVES:
                waiting += map(int, operator.outputs)
            else:
                return found, None
    return found, beyond


def _rescale(tensors: list[Any], beyond: float) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    first = tensors[0]
    if first.type != schema.TensorType.INT8 or first.quantization is None or len(items(first.quantization.scale)) != 1:
        return False
    scale, zero = float(first.quantization.scale[0]), int(first.quantization.zeroPoint[0])
    low, high = max(scale * (-128 - zero), -beyond), min(scale * (127 - zero), beyond)
    narrow = max((high - low) / 255, scale / _MOST)
    if narrow > 0.99 * scale or not all(_alike(first, tensor) for tensor in tensors):
        return False
    for tensor in tensors:
        tensor.quantization.scale = np.array([narrow], np.float32)
        tensor.quantization.zeroPoint = np.array([round(-128 - low / narrow)], np.int64).clip(-128, 127)
    return True


def _alike(one: Any, other: Any) -> bool:
    """Tell whether two tensors have one scale."""
    mine, its = one.quantization, other.quantization
    return (
        other.type == one.type
        and its is not None
        and list(items(mine.scale)) == list(items(its.scale))
        and list(items(mine.zeroPoint)) == list(items(its.zeroPoint))
    )
