"""How much memory the tensors of a graph need at once, where buffers are used again: liveness over its operations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..export._graph import Graph, Node, Value, elements

ALIGNMENT = 64
# Operations whose result may lie where their operand lay: it has the same bytes, and nothing else reads the operand.
_IN_PLACE = frozenset(
    (
        *("Abs", "Add", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Log"),
        *("Mul", "Neg", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh", "BatchNormalization", "Dropout"),
        *("Clamp", "Divide", "Exponent", "Gelu", "HSwish", "HSigmoid", "Multiply", "Mish", "Negative", "PRelu"),
        *("ReLU", "SoftPlus", "Subtract", "Swish"),
    )
)
_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Convert"))
# What a quantized file writes as float between these is computed in integers.
_QUANTIZE, _DEQUANTIZE = frozenset(("QuantizeLinear", "FakeQuantize")), frozenset(("DequantizeLinear",))


@dataclass(frozen=True)
class Life:
    """A buffer: its bytes, and the places of the operations that write it first and read it last."""

    bytes: int
    first: int
    last: int


def peak_of_activations(graph: Graph, narrow: bool = True) -> int:
    """Return the most bytes of tensors that are alive at once; constants are not among them.

    Each tensor lives from the operation that computes it to the last that reads it; inputs live from the start, outputs
    to the end. In ONNX and OpenVINO files elementwise operations work in place, and what stands between a quantization
    and a dequantization takes a byte for each element, unless ``narrow`` is false. Of loops and branches the largest
    body comes on top.
    """
    bodies = {node.body for node in graph.nodes} - {""}
    inner = max((_peak(lives(graph, body, narrow)) for body in bodies), default=0)
    return _peak(lives(graph, narrow=narrow)) + inner


def arena_bytes(graph: Graph) -> int:
    """Return the size of TFLite's arena: buffers placed greedily, the largest first, each at a multiple of 64 bytes.

    Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (arXiv 2001.03288), greedy by size.
    Each subgraph (the body of a loop, a branch) has an arena of its own, and keeps it.
    """
    bodies = {"", *(node.body for node in graph.nodes)}
    return sum(placed_greedily(lives(graph, body)) for body in bodies)


def placed_greedily(buffers: Iterable[Life], alignment: int = ALIGNMENT) -> int:
    """Return the bytes that buffers take where each, the largest first, goes into the smallest gap that holds it.

    >>> placed_greedily([Life(64, 0, 1), Life(128, 1, 2), Life(64, 2, 3)])
    192
    """
    placed: list[tuple[int, Life]] = []
    for life in sorted(buffers, key=lambda life: (-life.bytes, life.first)):
        best, best_gap, end = None, None, 0
        for start, other in sorted(
            ((start, other) for start, other in placed if other.first <= life.last and life.first <= other.last),
            key=lambda entry: entry[0],
        ):
            aligned = _aligned(end, alignment)
            gap = start - aligned
            if gap >= life.bytes and (best_gap is None or gap < best_gap):
                best, best_gap = aligned, gap
            end = max(end, start + other.bytes)
        placed.append((_aligned(end, alignment) if best is None else best, life))
    return max((start + life.bytes for start, life in placed), default=0)


def lives(graph: Graph, body: str = "", narrow: bool = True) -> list[Life]:
    """Return the buffers of a graph, or of the loop's body or branch of that name; TFLite keeps inputs to the end."""
    nodes = [node for node in graph.nodes if node.body == body]
    constants = constants_of(graph)
    spans: dict[int, tuple[int, int]] = {} if body else {place: (0, 0) for place in graph.inputs}
    for step, node in enumerate(nodes):
        for place in node.inputs:
            if place >= 0 and place not in constants and (place in spans or body):
                spans[place] = (spans.get(place, (0, 0))[0], step)
        for place in node.outputs:
            if place >= 0 and place not in constants:
                spans.setdefault(place, (step, step))
    kept = () if body else (*graph.outputs, *(graph.inputs if graph.format == "tflite" else ()))
    for place in kept:
        if place in spans:
            spans[place] = (spans[place][0], len(nodes))
    return _merged(graph, nodes, spans, narrow)


def tensor_bytes(value: Value) -> int:
    """Return what a tensor takes in memory; a size that is decided as the model runs counts as 1."""
    if value.bytes is not None:
        return value.bytes
    width = {"float64": 8, "int64": 8, "uint64": 8, "float16": 2, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
    return (elements([max(size, 1) for size in value.shape or ()]) or 1) * width.get(value.dtype, 4)


def _merged(graph: Graph, nodes: list[Node], spans: dict[int, tuple[int, int]], narrow: bool) -> list[Life]:
    """Join buffers that share their memory, and return all."""
    sizes = {place: tensor_bytes(graph.values[place]) for place in spans}
    root = {place: place for place in spans}
    if graph.format != "tflite":
        readers: dict[int, list[Node]] = {}
        for node in nodes:
            for place in node.inputs:
                readers.setdefault(place, []).append(node)
        if narrow:
            _narrow(graph, nodes, readers, sizes)
        for node in nodes:
            moving = [place for place in node.inputs if place in spans]
            if not moving or len(node.outputs) != 1 or node.outputs[0] not in spans:
                continue
            view = node.operation in _VIEWS or node.operation in _QUANTIZE or node.operation in _DEQUANTIZE
            shared = node.operation in _IN_PLACE or view
            same = sizes[moving[0]] == sizes[node.outputs[0]]
            if shared and same and (view or len(readers[moving[0]]) == 1) and moving[0] not in graph.inputs:
                root[node.outputs[0]] = root[moving[0]]
    joined: dict[int, Life] = {}
    for place, (first, last) in spans.items():
        key = root[place]
        while root[key] != key:
            key = root[key]
        old = joined.get(key, Life(0, first, last))
        joined[key] = Life(max(old.bytes, sizes[place]), min(old.first, first), max(old.last, last))
    return list(joined.values())


def _narrow(graph: Graph, nodes: list[Node], readers: Mapping[int, list[Node]], sizes: dict[int, int]) -> None:
    """Let what is quantized take a byte for each element, as the runtimes' integer kernels read and write it."""
    for node in nodes:
        moving = [place for place in node.inputs if place in sizes]
        for place in node.outputs:
            if place in sizes and moving and (node.operation in _DEQUANTIZE or node.operation in _QUANTIZE):
                sizes[place] = min(sizes[place], elements(graph.values[place].shape) or sizes[place])
    for place in sizes:
        read = readers.get(place, [])
        if read and all(node.operation in _QUANTIZE for node in read) and place not in graph.inputs:
            sizes[place] = min(sizes[place], elements(graph.values[place].shape) or sizes[place])


def constants_of(graph: Graph) -> set[int]:
    """Return the tensors that the file stores or that follow from those alone, such as widened weights."""
    known = {place for place, value in enumerate(graph.values) if value.constant}
    for node in graph.nodes:
        inputs = [place for place in node.inputs if place >= 0]
        if inputs and all(place in known for place in inputs):
            known |= {place for place in node.outputs if place >= 0}
    return known


def _peak(buffers: Iterable[Life]) -> int:
    changes: dict[int, int] = {}
    for life in buffers:
        changes[life.first] = changes.get(life.first, 0) + life.bytes
        changes[life.last + 1] = changes.get(life.last + 1, 0) - life.bytes
    peak = total = 0
    for step in sorted(changes):
        total += changes[step]
        peak = max(peak, total)
    return peak


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
