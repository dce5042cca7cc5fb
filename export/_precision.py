"""Which of edgewright's precisions a file of unknown origin has, by the types of what it multiplies."""

from collections import Counter

from ._graph import Graph, Node, Value

_QUANTIZING = {"QuantizeLinear", "FakeQuantize"}
_INTEGERS = {
    "MatMulInteger": "dynamic_int8",
    "ConvInteger": "dynamic_int8",
    "QLinearConv": "int8",
    "QLinearMatMul": "int8",
    # ONNX Runtime's own.
    "DynamicQuantizeLSTM": "dynamic_int8",
    "DynamicQuantizeMatMul": "dynamic_int8",
    "MatMulIntegerToFloat": "dynamic_int8",
}
_WEIGHTS = {"int8": "int8_weights", "uint8": "int8_weights", "int4": "int4_weights", "uint4": "int4_weights"}


def precision_of(graph: Graph) -> str:
    """Return the precision that most of a file's multiply-accumulates have, such as "int8" or "dynamic_int8".

    Integers that are made of activations as the file states make it "int8"; integer weights of float activations are
    "dynamic_int8" where the runtime quantizes the activations as it runs (TFLite's convolutions and dense layers), else
    "int8_weights" or "int4_weights"; weights stored in half precision make it "float16". Where sizes are decided as the
    file runs, so that nothing is counted, each operation that may multiply counts once.
    """
    quantizes = any(node.operation in _QUANTIZING and _live(graph, node) for node in graph.nodes)
    stored = _stored_types(graph)
    found: Counter[str] = Counter()
    open_sizes: Counter[str] = Counter()
    for node in graph.nodes:
        if node.macs:
            found[_precision(graph, node, quantizes, stored)] += node.macs * (node.times or 1)
        elif node.macs is None:
            open_sizes[_precision(graph, node, quantizes, stored)] += 1
    most = (found or open_sizes).most_common(1)
    return most[0][0] if most else "float32"


def _precision(graph: Graph, node: Node, quantizes: bool, stored: dict[int, str]) -> str:
    if node.operation in _INTEGERS:
        return _INTEGERS[node.operation]
    if node.operation == "MatMulNBits":
        return "int4_weights" if node.settings.get("bits", 4) <= 4 else "int8_weights"
    activations = [graph.values[place].dtype for place in node.inputs if place >= 0 and place not in stored]
    weights = [stored[place] for place in node.inputs if place >= 0 and place in stored][:1]
    narrow = next((dtype for dtype in weights if dtype != "float32"), "")
    if any(dtype in ("int8", "uint8") for dtype in activations):
        return "int8"
    if "int16" in activations:
        return "int16x8"
    if graph.format != "tflite" and quantizes and (not weights or narrow in ("int8", "uint8")):
        return "int8"
    if narrow == "int8" and graph.format == "tflite" and graph.values[node.inputs[1]].dtype == "int8":
        return "dynamic_int8"
    return "float16" if narrow in ("float16", "bfloat16") else _WEIGHTS.get(narrow, "float32")


def _stored_types(graph: Graph) -> dict[int, str]:
    """Return by tensor the type that it is stored in: of constants, and of what is computed of constants alone."""
    found = {place: value.dtype for place, value in enumerate(graph.values) if value.constant}
    for node in graph.nodes:
        read = [place for place in node.inputs if place >= 0]
        if read and all(place in found for place in read):
            found.update((place, found[read[0]]) for place in node.outputs if place >= 0)
    return found


def _live(graph: Graph, node: Node) -> bool:
    values: list[Value] = graph.inputs_of(node)
    return bool(values) and not values[0].constant
