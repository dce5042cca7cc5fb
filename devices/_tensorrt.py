"""Which operations of an ONNX file TensorRT takes, by its parser's operator table and its rules for quantization.

The rules, from NVIDIA's "Working with Quantized Types" (TensorRT 10) and from the parser's messages: quantization is
symmetric, so zero points are zero; scales of activations are one for the whole tensor; integers stand between
QuantizeLinear and DequantizeLinear only, which take int8; sizes are fixed. A bias in int32 is refused
(github.com/onnx/onnx-tensorrt/issues/850, github.com/microsoft/onnxruntime/issues/14229). What TensorRT does not take,
ONNX Runtime's TensorRT provider leaves to its other providers.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from ..export._graph import Graph, Node, Value
from ._placement import PREDICTED, Placed, Placement, counted, grouped, macs_share

UNIT, OTHER = "TensorRT", "ONNX Runtime's other providers"
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_MULTIPLY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Operations that quantization moves through.
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "MaxPool")
# Of the table that lists an operation of which the earlier one says nothing.
_LATER = "10.15"


def place_on_tensorrt(graph: Graph, runtime: str) -> Placement:
    """Return which operations of an ONNX file TensorRT is predicted to take.

    Args:
        graph: the file.
        runtime: the device's runtime and version, such as "TensorRT 10.3".
    """
    table = operator_table()
    whole = _file_reasons(graph, table)
    placed = []
    for place, node in enumerate(graph.nodes):
        reason = whole[0] if whole else _reason(graph, node, table)
        placed.append(Placed(place, OTHER if reason else UNIT, reason))
    taken = [entry for entry in placed if entry.unit == UNIT]
    share = macs_share(graph, placed, UNIT)
    parts = _parts(placed)
    whole_numbers, _ = _in_integers(graph, placed)
    quantized = any(node.kind in _QUANTIZERS for node in graph.nodes)
    in_int8 = macs_share(graph, [Placed(place, UNIT) for place in whole_numbers], UNIT) if quantized else None
    facts: dict[str, Any] = {
        "operations": len(placed),
        "operations_on_tensorrt": len(taken),
        "macs_share": share,
        "macs_share_in_int8": in_int8,
        "parts": parts,
        "runtime": runtime,
    }
    sentences = [
        f"Predicted: {UNIT} takes {len(taken)} of {len(placed)} operations"
        + ("" if share is None else f" and {share:.1%} of the multiply-accumulates")
        + ("" if in_int8 is None else f" ({in_int8:.1%} in int8)")
        + (f", in {parts} parts" if parts > 1 else "")
        + f"; the rest runs in {OTHER}. Only building the engine decides."
    ]
    sentences += whole
    sentences += _doubts(graph, placed, table, runtime)
    return Placement(UNIT, PREDICTED, table["source"], grouped(graph, placed), tuple(sentences), facts, tuple(placed))


@cache
def operator_table() -> dict[str, Any]:
    """Return what TensorRT's ONNX parser takes."""
    text = (resources.files(f"{__package__}.profiles") / "tensorrt_ops.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _file_reasons(graph: Graph, table: dict[str, Any]) -> list[str]:
    """Return why TensorRT takes nothing of a file, as sentences."""
    reasons = []
    opset = graph.versions.get("ai.onnx", 0)
    if not table["lowest_opset"] <= opset <= table["opset_10_15"]:
        reasons.append(
            f"The file has operation set {opset}; TensorRT {_LATER} reads {table['lowest_opset']} to "
            f"{table['opset_10_15']}."
        )
    moving = [graph.values[place] for place in graph.inputs if not graph.values[place].static]
    if moving:
        names = ", ".join(value.name for value in moving)
        reasons.append(
            f"Inputs have sizes that are decided as the model runs; an engine is built for fixed ones: {names}."
        )
    return reasons


def _reason(graph: Graph, node: Node, table: dict[str, Any]) -> str:
    """Return why TensorRT does not take an operation, as the end of a sentence; empty where it does."""
    if node.custom:
        return "is none of the standard's operations"
    if node.kind not in table["operations"] and node.kind not in table["since_8_5"]:
        return "is not in the parser's table"
    if node.kind in _QUANTIZERS:
        return _quantizer_reason(graph, node)
    values = [*graph.inputs_of(node), *graph.outputs_of(node)]
    wrong = sorted({value.dtype for value in values if value.dtype not in (*table["types"], "unknown")})
    if wrong:
        return f"works on {', '.join(wrong)} outside of QuantizeLinear and DequantizeLinear"
    if any(value.shape is not None and not value.static for value in graph.outputs_of(node)):
        return "has sizes that are decided as the model runs"
    return _form_reason(graph, node)


def _quantizer_reason(graph: Graph, node: Node) -> str:
    stored = graph.values[node.inputs[0] if node.kind == "DequantizeLinear" else node.outputs[0]]
    if stored.dtype == "int4" and stored.constant:
        return "" if node.settings.get("block_size") else "has 4-bit weights that are not in blocks"
    if stored.dtype != "int8":
        what = "a bias in int32" if stored.dtype == "int32" and stored.constant else stored.dtype
        return f"quantizes to {what}; TensorRT takes int8"
    operands = [graph.values[place] if place >= 0 else None for place in node.inputs]
    zeros = operands[2] if len(operands) > 2 else None
    if zeros is not None and not zeros.zero:
        return "has a zero point that is not zero; TensorRT quantizes symmetrically"
    weights = stored.constant or (operands[0] is not None and operands[0].constant)
    if stored.scales > 1 and not weights:
        return f"has {stored.scales} scales for an activation; TensorRT takes one"
    if operands[1] is None or not operands[1].constant:
        return "has a scale that is computed as the model runs"
    return ""


def _form_reason(graph: Graph, node: Node) -> str:
    """Return which of the restrictions that the table names an operation breaks."""
    operands = [graph.values[place] if place >= 0 else None for place in node.inputs]
    shape = operands[0].shape if operands and operands[0] is not None else None
    if node.kind in ("AveragePool", "MaxPool") and shape is not None and len(shape) not in (4, 5):
        return "pools in other than two or three dimensions"
    if node.kind in ("AveragePool", "MaxPool", "LpPool") and any(size != 1 for size in _numbers(node, "dilations")):
        return "has dilations"
    if node.kind == "MaxPool" and len([place for place in node.outputs if place >= 0]) > 1:
        return "has its indices as an output"
    if node.kind in ("CumSum", "TopK", "OneHot") and len(operands) > 1 and not _constant(operands[1]):
        return "has a second input that is not a constant"
    if node.kind in ("Squeeze", "Unsqueeze") and len(operands) > 1 and not _constant(operands[1]):
        return "has axes that are not constant"
    if node.kind in ("LSTM", "GRU", "RNN") and (node.settings.get("layout") or node.settings.get("input_forget")):
        return "has its layout or input_forget set"
    if node.kind == "Resize" and node.settings.get("mode", "nearest") not in ("nearest", "linear"):
        return f"resizes by {node.settings.get('mode')}"
    return ""


def _numbers(node: Node, name: str) -> Sequence[int]:
    found = node.settings.get(name, [])
    return found if isinstance(found, list) else []


def _constant(value: Value | None) -> bool:
    return value is not None and value.constant


def _doubts(graph: Graph, placed: Sequence[Placed], table: dict[str, Any], runtime: str) -> list[str]:
    """Return what the tables do not settle for the device's TensorRT, and what will not run in integers."""
    found = []
    later = [graph.nodes[entry.node].kind for entry in placed if graph.nodes[entry.node].kind in table["since_8_5"]]
    if later and not _at_least(runtime, _LATER):
        found.append(f"In the table of TensorRT {_LATER} and not in that of 8.5, so to be tried: {counted(later)}.")
    opset = graph.versions.get("ai.onnx", 0)
    if table["opset_8_5"] < opset <= table["opset_10_15"] and not _at_least(runtime, _LATER):
        found.append(f"Whether {runtime} reads operation set {opset} is not known: 8.5 reads 17 and {_LATER} reads 24.")
    _, half = _in_integers(graph, placed)
    if half:
        kinds = counted([graph.nodes[place].kind for place in half])
        found.append(f"Have int8 weights and an input that is not in int8 there, and so run in float: {kinds}.")
    return found


def _undone(graph: Graph, placed: Sequence[Placed]) -> dict[int, Value]:
    """Return by tensor the integers that a DequantizeLinear of TensorRT's makes it of, moved about or not."""
    undone: dict[int, Value] = {}
    for entry in placed:
        node = graph.nodes[entry.node]
        if entry.unit == UNIT and node.kind == "DequantizeLinear":
            undone[node.outputs[0]] = graph.values[node.inputs[0]]
        elif entry.unit == UNIT and node.kind in _MOVES and node.inputs[0] in undone:
            undone[node.outputs[0]] = undone[node.inputs[0]]
    return undone


def _in_integers(graph: Graph, placed: Sequence[Placed]) -> tuple[list[int], list[int]]:
    """Return the products that TensorRT computes in int8, and those with int8 weights that it computes in float."""
    undone = _undone(graph, placed)
    whole, half = [], []
    for entry in placed:
        node = graph.nodes[entry.node]
        if entry.unit == UNIT and node.kind in _MULTIPLY and len(node.inputs) > 1:
            data, weights = (undone.get(place) for place in node.inputs[:2])
            if data is not None and weights is not None and data.dtype == weights.dtype == "int8":
                whole.append(entry.node)
            elif weights is not None and weights.constant:
                half.append(entry.node)
    return whole, half


def _parts(placed: Sequence[Placed]) -> int:
    """Return how many stretches of operations, in the file's order, TensorRT takes."""
    units = [entry.unit for entry in placed]
    return sum(unit == UNIT and (place == 0 or units[place - 1] != UNIT) for place, unit in enumerate(units))


def _at_least(runtime: str, version: str) -> bool:
    found = re.search(r"(\d+)\.(\d+)", runtime)
    wanted = tuple(int(part) for part in version.split("."))
    return found is not None and (int(found[1]), int(found[2])) >= wanted
