"""Which version of a TFLite operation its types ask for: some converters write a lower one into the file.

The rules are those of ``GetBuiltinOperatorVersion`` in LiteRT's converter
(github:google-ai-edge/LiteRT@119ae633cc86:tflite/converter/tools/versioning/op_version.cc), as far as they look at how
weights are stored.
"""

from collections.abc import Callable

from ..export._graph import Graph, Node, Value

_NARROW = ("int4", "uint4", "int2")


def asked_version(graph: Graph, node: Node) -> int:
    """Return the version that an operation's types ask for; 1 where these rules say nothing about it."""
    rule = _RULES.get(node.kind)
    operands = [graph.values[place] for place in node.inputs if place >= 0]
    return rule(operands) if rule and operands else 1


def _dequantize(operands: list[Value]) -> int:
    stored = operands[0]
    if stored.dtype == "int4":
        return 6
    if stored.dtype in ("int16", "float16"):
        return 3
    if stored.dtype == "int8":
        return 5 if stored.scales > 1 else 2
    return 1


def _convolution(versions: tuple[int, int, int, int]) -> Callable[[list[Value]], int]:
    """Return a rule: versions of int4 weights, float with int8 weights per channel and per tensor, and of int8."""

    def rule(operands: list[Value]) -> int:
        if len(operands) < 2:
            return 1
        data, weights = operands[0].dtype, operands[1]
        narrow, per_channel, hybrid, whole = versions
        if weights.dtype in _NARROW:
            return narrow
        if data == "float32" and weights.dtype == "int8":
            return per_channel if weights.scales > 1 else hybrid
        return whole if data == weights.dtype == "int8" else 1

    return rule


def _fully_connected(operands: list[Value]) -> int:
    if len(operands) < 2:
        return 1
    data, weights = operands[0].dtype, operands[1]
    if weights.dtype == "int2":
        return 14
    if weights.dtype == "int4":
        return 13 if data == "int16" else 10
    if data == "float32" and weights.dtype == "int8":
        return 12 if weights.scales > 1 else 3
    if weights.sparse:
        return 8
    return 4 if data == weights.dtype == "int8" else 1


def _embedding(operands: list[Value]) -> int:
    if len(operands) < 2:
        return 1
    table = operands[1]
    return 5 if table.dtype == "int2" else 4 if table.dtype == "int4" or table.scales > 1 else 1


_RULES: dict[str, Callable[[list[Value]], int]] = {
    "DEQUANTIZE": _dequantize,
    "CONV_2D": _convolution((7, 5, 2, 3)),
    "DEPTHWISE_CONV_2D": _convolution((7, 6, 4, 3)),
    "FULLY_CONNECTED": _fully_connected,
    "EMBEDDING_LOOKUP": _embedding,
}
