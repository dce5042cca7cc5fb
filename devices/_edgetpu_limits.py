"""The Edge TPU's limits that shapes, types and constants decide; the rest only edgetpu_compiler knows.

The limits are those of the published table (profiles/edgetpu_ops.json, where each has its source) and of the
requirements on models: 8-bit integers, fixed sizes, parameters that are constants, and no more than the three innermost
sizes above one.
"""

from collections.abc import Callable, Sequence

from ..export._graph import Graph, Node, Value

_EIGHT_BIT = ("int8", "uint8")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "PRELU")
# "Certain reshapes might not be mapped for large tensor sizes"; resizing "depending on input/output size".
UNDECIDED = ("RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_LARGEST_SOFTMAX = 16_000


def limit(graph: Graph, node: Node) -> str:
    """Return which limit an operation of the table breaks, as the end of a sentence; empty where none is seen."""
    inputs = [graph.values[place] if place >= 0 else None for place in node.inputs]
    outputs = graph.outputs_of(node)
    moving = [value for value in inputs if value is not None and not value.constant] + outputs
    if any(not value.fixed for value in moving):
        return "has sizes that are decided as the model runs"
    wide = sorted({value.dtype for value in moving if value.dtype not in _EIGHT_BIT})
    if wide:
        return f"works on {', '.join(wide)}, not on 8-bit integers"
    weights = inputs[1] if node.kind in _WEIGHTED and len(inputs) > 1 else None
    if weights is not None and not weights.constant:
        return "has weights that are computed as the model runs"
    if weights is not None and weights.dtype not in _EIGHT_BIT:
        return f"has weights in {weights.dtype}, not in 8-bit integers"
    for value in moving:
        if len(_above_one(value, slice(0, -3))) > 0:
            return f"works on {_text(value)}: only the three innermost sizes may be above 1"
    rule = _RULES.get(node.kind)
    return rule(node, inputs, outputs) if rule else ""


def _above_one(value: Value, part: slice) -> list[int]:
    return [size for size in (value.shape or ())[part] if size > 1]


def _text(value: Value) -> str:
    return " x ".join(str(size) for size in value.shape or ()) or "a scalar"


def _no_activation(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    fused = node.settings.get("fusedActivationFunction", "NONE")
    return "" if fused == "NONE" else f"has {fused} fused into it"


def _same_dilation(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    tall, wide = node.settings.get("dilationHFactor", 1), node.settings.get("dilationWFactor", 1)
    return "" if tall == wide else f"has a dilation of {tall} by {wide}; the two have to be the same"


def _concatenation(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    constants = [value for value in inputs if value is not None and value.constant]
    if constants and (len(inputs) != 2 or not all(value.zero for value in constants)):
        return "has a constant among its inputs, which may only be zeros, and one of two"
    return _no_activation(node, inputs, outputs)


def _fully_connected(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    if node.settings.get("weightsFormat", 0):
        return "has shuffled weights"
    if _above_one(outputs[0], slice(0, -1)):
        return f"has an output of {_text(outputs[0])}, which is not one-dimensional"
    return ""


def _axes(value: Value | None, rank: int) -> list[int] | None:
    if value is None or value.numbers is None:
        return None
    return [int(axis) % rank for axis in value.numbers] if rank else []


def _mean(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    data = inputs[0]
    if data is None or data.shape is None or len(inputs) < 2:
        return ""
    if refusal := _no_batch(node, inputs, outputs):
        return refusal
    rank = len(data.shape)
    axes = _axes(inputs[1], rank)
    if axes and rank - 1 in axes and rank > 1 and data.shape[-1] % 4:
        return f"averages over {data.shape[-1]} channels, which 4 does not divide"
    return ""


def _no_batch(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    data = inputs[0]
    rank = len(data.shape or ()) if data is not None else 0
    axes = _axes(inputs[1], rank) if len(inputs) > 1 else []
    if axes is None:
        return "has axes that are computed as the model runs"
    return "reduces the batch" if 0 in axes and rank > 1 else ""


def _pack(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    return "packs along the batch" if node.settings.get("axis") == 0 else ""


def _pad(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    padding = inputs[1].numbers if len(inputs) > 1 and inputs[1] is not None else None
    if padding is None:
        return "has a padding that is computed as the model runs"
    return "pads the batch" if any(padding[:2]) else ""


def _prelu(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    slopes = inputs[1] if len(inputs) > 1 else None
    if slopes is not None and _above_one(slopes, slice(0, -1)):
        return f"has slopes of {_text(slopes)}: only the last size may be above 1"
    return ""


def _softmax(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    data = inputs[0]
    if data is None or not data.shape:
        return ""
    if _above_one(data, slice(0, -1)):
        return f"works on {_text(data)}, which is not one-dimensional"
    return f"works on {data.shape[-1]} elements; 16,000 are allowed" if data.shape[-1] > _LARGEST_SOFTMAX else ""


def _split(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    axis = inputs[0].numbers if inputs[0] is not None else None
    data = inputs[1] if len(inputs) > 1 else None
    rank = len(data.shape or ()) if data is not None else 0
    return "splits the batch" if axis and rank > 1 and int(axis[0]) % rank == 0 else ""


def _squeeze(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    data = inputs[0]
    shape = data.shape or () if data is not None else ()
    gone = [axis % len(shape) for axis in node.settings.get("squeezeDims", [])] if shape else []
    gone = gone or [axis for axis, size in enumerate(shape) if size == 1]
    leading = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    return "drops a size of 1 that is not among the leading ones" if any(axis > leading for axis in gone) else ""


def _strided_slice(node: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> str:
    strides = inputs[3].numbers if len(inputs) > 3 and inputs[3] is not None else None
    if strides is None:
        return "has strides that are computed as the model runs"
    if any(stride != 1 for stride in strides):
        return f"has strides of {', '.join(f'{stride:g}' for stride in strides)}; all have to be 1"
    masks = [name for name in ("ellipsisMask", "newAxisMask") if node.settings.get(name)]
    return f"has {' and '.join(masks)} set" if masks else ""


_Rule = Callable[[Node, Sequence[Value | None], Sequence[Value]], str]
_RULES: dict[str, _Rule] = {
    "AVERAGE_POOL_2D": _no_activation,
    "MAX_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _same_dilation,
    "DEPTHWISE_CONV_2D": _same_dilation,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "PACK": _pack,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _no_batch,
    "REDUCE_MIN": _no_batch,
    "SUM": _no_batch,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
}
