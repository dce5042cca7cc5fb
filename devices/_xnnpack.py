"""Which operations of a TFLite file XNNPACK takes on a device's processor; TFLite's built-in kernels run the rest.

The table is the delegate's own text (profiles/xnnpack_ops.json) and, where that is older than the runtime, what LiteRT
was seen to hand to XNNPACK; ``tests/test_inspect.py`` compares both with the LiteRT that is installed.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from ..export._graph import Graph, Node, Value
from ._placement import PREDICTED, Placed, Placement, grouped, macs_share

UNIT, OTHER = "XNNPACK", "TFLite's built-in kernels"
_FUSED = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "PRELU")
# Where axes, shapes or paddings stand among the inputs.
_SETTINGS = {"MEAN": 1, "SUM": 1, "PAD": 1, "TRANSPOSE": 1, "RESIZE_BILINEAR": 1, "SLICE": 1, "STRIDED_SLICE": 1}
_NARROW = ("int4", "uint4", "int2")
_MOST_JOINED = 5
_MOST_SPLIT = 4


def place_on_xnnpack(graph: Graph) -> Placement:
    """Return which operations of a TFLite file are predicted to run in XNNPACK."""
    stored = _stored(graph)
    placed = []
    for place, node in enumerate(graph.nodes):
        reason = _reason(graph, node, stored)
        placed.append(Placed(place, OTHER if reason else UNIT, reason))
    taken = sum(entry.unit == UNIT for entry in placed)
    share = macs_share(graph, placed, UNIT)
    facts: dict[str, Any] = {"operations": len(placed), "operations_in_xnnpack": taken, "macs_share": share}
    sentences = [
        f"Predicted: {UNIT} takes {taken} of {len(placed)} operations"
        + ("" if share is None else f" and {share:.1%} of the multiply-accumulates")
        + f", {OTHER} the rest."
    ]
    if any(node.kind == "DENSIFY" and graph.values[node.outputs[0]].dtype == "int8" for node in graph.nodes):
        sentences.append(
            "LiteRT 2.3 was seen to refuse files with int8 weights stored without their zeros (DENSIFY) as long as "
            "XNNPACK is on."
        )
    source = operator_table()["source"]
    return Placement(UNIT, PREDICTED, source, grouped(graph, placed), tuple(sentences), facts, tuple(placed))


@cache
def operator_table() -> dict[str, Any]:
    """Return the operations that XNNPACK takes, by type."""
    text = (resources.files(f"{__package__}.profiles") / "xnnpack_ops.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _stored(graph: Graph) -> dict[int, Value]:
    """Return by tensor the constant that it is, or that an operation of its own makes it of."""
    stored = {place: value for place, value in enumerate(graph.values) if value.constant}
    for node in graph.nodes:
        if node.kind in ("DEQUANTIZE", "DENSIFY") and node.inputs[0] in stored:
            stored[node.outputs[0]] = stored[node.inputs[0]]
    return stored


def _reason(graph: Graph, node: Node, stored: Mapping[int, Value]) -> str:
    """Return why XNNPACK does not take an operation, as the end of a sentence; empty where it does."""
    operands = [graph.values[place] if place >= 0 else None for place in node.inputs]
    outputs = graph.outputs_of(node)
    moving = [value for value in operands if value is not None and not value.constant] + outputs
    if node.custom:
        return "is a custom operation"
    if any(not value.static for value in moving):
        return "has sizes that are decided as the model runs"
    if node.kind in ("QUANTIZE", "DEQUANTIZE"):
        return _conversion_reason(operands, outputs)
    types = sorted({value.dtype for value in moving})
    if len(types) != 1 or types[0] not in ("float32", "int8"):
        return f"works on {', '.join(types)}"
    table = operator_table()
    if node.kind not in table[types[0]] and node.kind not in table["seen"][types[0]]:
        return f"is not in the table for {types[0]}"
    return _form_reason(node, operands, outputs, types[0], stored)


def _conversion_reason(operands: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    if not operands or operands[0] is None or not outputs:
        return "has no input"
    before, after = operands[0], outputs[0]
    if before.dtype in ("float16", "int8") and before.constant and after.dtype == "float32":
        return ""
    pair = (before.dtype, after.dtype)
    if pair not in (("int8", "float32"), ("float32", "int8"), ("int8", "int8")):
        return f"converts {before.dtype} to {after.dtype}"
    return "has a scale for each channel" if max(before.scales, after.scales) > 1 else ""


def _form_reason(
    node: Node, operands: Sequence[Value | None], outputs: Sequence[Value], dtype: str, stored: Mapping[int, Value]
) -> str:
    fused = node.settings.get("fusedActivationFunction", "NONE")
    if fused not in _FUSED:
        return f"has {fused} fused into it"
    if node.kind in _WEIGHTED and len(operands) > 1:
        weights = stored.get(node.inputs[1])
        if weights is None:
            return "has weights that are computed as the model runs"
        if weights.sparse:
            return "has weights without their zeros"
        # Dense layers take them where they quantize their input as the model runs.
        if weights.dtype in _NARROW and not (node.kind == "FULLY_CONNECTED" and operands[1] == weights):
            return "has weights of less than 8 bits"
        if weights.dtype in _NARROW and weights.shape and weights.shape[-1] % 2:
            return "has 4-bit weights in rows of odd length"
        if node.kind == "DEPTHWISE_CONV_2D" and dtype == "float32" and operands[1] == weights and weights.scales:
            return "quantizes its input as the model runs"
    place = _SETTINGS.get(node.kind)
    if place is not None and place < len(operands):
        setting = operands[place]
        if setting is not None and not setting.constant:
            return "has axes or sizes that are computed as the model runs"
    if node.kind == "CONCATENATION" and len(operands) > _MOST_JOINED:
        return f"joins {len(operands)} tensors; {_MOST_JOINED} are taken"
    if node.kind == "SPLIT" and len(outputs) > _MOST_SPLIT:
        return f"splits into {len(outputs)}; {_MOST_SPLIT} are taken"
    if node.kind == "SOFTMAX" and node.settings.get("beta", 1.0) != 1.0:
        return "has a beta other than 1"
    if node.kind == "STRIDED_SLICE":
        return _slice_reason(node, operands)
    if node.kind in ("ADD", "SUB") and dtype == "int8":
        return _scale_reason(operands, outputs)
    return ""


def _scale_reason(operands: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    """Return why int8 sums are not taken: each input's scale over the output's has to lie in [2^-10, 2^8)."""
    end = outputs[0].scale
    for value in operands:
        if value is not None and value.scale and end and not 2**-10 <= value.scale / end < 2**8:
            return f"has an input whose scale is {value.scale / end:.2g} times that of its output"
    return ""


def _slice_reason(node: Node, operands: Sequence[Value | None]) -> str:
    strides = operands[3].numbers if len(operands) > 3 and operands[3] is not None else None
    if strides is None or any(stride != 1 for stride in strides):
        return "has strides other than 1"
    masks = [name for name in ("ellipsisMask", "newAxisMask", "shrinkAxisMask") if node.settings.get(name)]
    return f"has {' and '.join(masks)} set" if masks else ""
