"""Where each operation of a TFLite file runs on an Edge TPU, predicted by the published table and its limits.

The compiler makes one part for the Edge TPU: the first operation that it cannot take and all that depend on it run on
the CPU, whatever they are (coral.ai/docs/edgetpu/models-intro).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..export._graph import Graph, Node
from ..export._work import total, work_of
from ._edgetpu import operator_table
from ._edgetpu_limits import UNDECIDED, limit
from ._edgetpu_parts import CPU, UNIT, Part, crossing, parts_of, parts_text, share_of
from ._edgetpu_work import MIB, EdgeTpuWork, edge_tpu_work
from ._placement import BOUNDARY, PREDICTED, Placed, Placement, counted, grouped, macs_share, mebibytes

COMPILED = "edgetpu-custom-op"
SOURCE = "the Edge TPU's operator table, and its requirements on models"
# What a compiler that allows one part of a model alone says of operations that it could take.
_AFTER = "comes after an operation that stays on the CPU"
_BOUNDARY = {"QUANTIZE": f"{BOUNDARY}input", "DEQUANTIZE": f"{BOUNDARY}output"}


def place_on_edgetpu(graph: Graph, cache_mib: float | None) -> Placement:
    """Return where the operations of a TFLite file are predicted to run.

    Args:
        graph: the file.
        cache_mib: what the Edge TPU holds of parameters; None where that is not known.
    """
    if any(node.kind == COMPILED for node in graph.nodes):
        return _compiled(graph)
    reasons = [_reason(graph, node) for node in graph.nodes]
    placed = _one_part(graph, reasons)
    mapped = [entry for entry in placed if entry.unit == UNIT]
    share = macs_share(graph, placed, UNIT)
    runs = _runs(graph, reasons)
    parameters = _parameter_bytes(graph, [graph.nodes[entry.node] for entry in mapped])
    work = edge_tpu_work(graph, [entry.node for entry in mapped], None if cache_mib is None else cache_mib * MIB)
    facts: dict[str, Any] = {
        "operations": len(placed),
        "operations_on_edgetpu": len(mapped),
        "macs_share": share,
        "parts_if_several_were_allowed": len(runs),
        "parameter_bytes": parameters,
        "cache_bytes": None if cache_mib is None else int(cache_mib * MIB),
        "cached_bytes": None if cache_mib is None else work.cached_bytes,
        "streamed_bytes": None if cache_mib is None else work.streamed_bytes,
        "work": work.counts,
        "cpu_work": _work_elsewhere(graph, placed),
    }
    sentences = [
        f"Predicted: {len(mapped)} of {len(placed)} operations"
        + ("" if share is None else f" and {share:.1%} of the multiply-accumulates")
        + " run on the Edge TPU, the rest on the CPU. Only edgetpu_compiler decides."
    ]
    if mapped:
        sentences.append(_cache_sentence(parameters, cache_mib, work))
    if undecided := [graph.nodes[entry.node].kind for entry in mapped if graph.nodes[entry.node].kind in UNDECIDED]:
        sentences.append(f"May not be mapped where tensors are large: {counted(undecided)}.")
    if len(runs) > 1:
        sentences.append(
            f"With several parts allowed (edgetpu_compiler --enable_multiple_subgraphs) there would be {len(runs)}; "
            "each one costs a transfer to the Edge TPU and back."
        )
    if parts := edgetpu_parts(graph):
        sentences.append(parts_text(graph, parts))
        facts["split"] = _plain_parts(graph, parts)
    return Placement(UNIT, PREDICTED, SOURCE, grouped(graph, placed), tuple(sentences), facts, tuple(placed))


def _reason(graph: Graph, node: Node) -> str:
    """Return why the Edge TPU cannot take an operation by itself; empty where it can."""
    if node.body:
        return f"stands in {node.body}"
    if _converts_boundary(graph, node):
        return _BOUNDARY[node.kind]
    if node.custom:
        return "is a custom operation"
    if node.kind not in operator_table():
        return "is not in the table"
    return limit(graph, node)


def _converts_boundary(graph: Graph, node: Node) -> bool:
    """Tell whether an operation only converts a float input or output of the file."""
    if node.kind == "QUANTIZE":
        return node.inputs[0] in graph.inputs and graph.values[node.inputs[0]].dtype == "float32"
    return node.kind == "DEQUANTIZE" and node.outputs[0] in graph.outputs


def _one_part(graph: Graph, reasons: Sequence[str]) -> list[Placed]:
    on_cpu: set[int] = set()
    placed = []
    for place, (node, reason) in enumerate(zip(graph.nodes, reasons, strict=True)):
        if not reason and not on_cpu.isdisjoint(node.inputs):
            reason = _AFTER
        # A conversion of the input comes before the part that the Edge TPU runs, and cuts nothing off from it.
        if reason and reason != _BOUNDARY["QUANTIZE"]:
            on_cpu.update(node.outputs)
        placed.append(Placed(place, CPU if reason else UNIT, reason))
    return placed


def _runs(graph: Graph, reasons: Sequence[str]) -> list[range]:
    """Return the stretches of operations, in the file's order, that the Edge TPU could take."""
    runs, start = [], 0
    for place, reason in enumerate([*reasons, "end"]):
        if reason:
            if place > start:
                runs.append(range(start, place))
            start = place + 1
    return runs


def edgetpu_parts(graph: Graph) -> tuple[Part, ...]:
    """Return the parts to cut a file into for more of it to run on the Edge TPU; none where that gains nothing.

    What converts float inputs and outputs cuts nothing off, and goes with what it converts for.
    """
    reasons = [_reason(graph, node) for node in graph.nodes]
    share = macs_share(graph, _one_part(graph, reasons), UNIT)
    if share is None or any(node.body for node in graph.nodes):
        return ()
    return parts_of(graph, [bool(reason) and reason not in _BOUNDARY.values() for reason in reasons], share)


def _plain_parts(graph: Graph, parts: Sequence[Part]) -> dict[str, object]:
    """Return parts as plain data, with the names of the tensors that go into them and come out."""
    plain = []
    for part in parts:
        going_in, coming_out = crossing(graph, part.nodes)
        plain.append(
            {
                "unit": part.unit,
                "operations": list(part.nodes),
                "macs_share": part.macs_share,
                "inputs": [_short(graph.values[place].name) for place in going_in],
                "outputs": [_short(graph.values[place].name) for place in coming_out],
            }
        )
    return {"macs_share": share_of(parts), "parts": plain}


def _short(name: str) -> str:
    """Return a tensor's name without those of the operations that were fused with the one that made it."""
    return name.split(";")[0]


def _parameter_bytes(graph: Graph, nodes: Sequence[Node]) -> int:
    """Return the bytes of the weights and biases that operations read; axes and shapes are compiled away."""
    places = {place for node in nodes for place in node.inputs if place >= 0}
    values = (graph.values[place] for place in places)
    return sum(value.bytes or 0 for value in values if value.constant and value.scales)


def _work_elsewhere(graph: Graph, placed: Sequence[Placed]) -> dict[str, float]:
    """Return what the operations that stay on the CPU take there, by kind of work."""
    nodes = tuple(graph.nodes[entry.node] for entry in placed if entry.unit == CPU)
    works = work_of(replace(graph, nodes=nodes))
    return {name: count for name, count in total(works).items() if count} if works else {}


def _cache_sentence(parameters: int, cache_mib: float | None, work: EdgeTpuWork) -> str:
    if cache_mib is None:
        return f"Predicted: they read {mebibytes(parameters)} of parameters."
    if not work.streamed_bytes:
        return f"Predicted: their {mebibytes(parameters)} of parameters fit on the chip."
    return (
        f"Predicted: of their {mebibytes(parameters)} of parameters {mebibytes(work.cached_bytes)} are kept on the "
        f"chip, as it stores them; {mebibytes(work.streamed_bytes)} are sent to it at every inference."
    )


def _compiled(graph: Graph) -> Placement:
    """Return the placement of a file that edgetpu_compiler wrote."""
    placed = [
        Placed(place, UNIT) if node.kind == COMPILED else Placed(place, CPU, "edgetpu_compiler left it there")
        for place, node in enumerate(graph.nodes)
    ]
    parts = sum(entry.unit == UNIT for entry in placed)
    text = f"edgetpu_compiler wrote this file: {parts} compiled part{'s' if parts > 1 else ''}, and "
    text += f"{len(placed) - parts} operations for the CPU."
    facts = {"parts": parts, "operations_on_cpu": len(placed) - parts}
    return Placement(UNIT, "edgetpu_compiler", "the file", grouped(graph, placed), (text,), facts, tuple(placed))
