"""What a runtime has to do for a file: its operations after fusion, each as counts that take time on a processor."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ._graph import Graph, Node, Value, elements

# What takes time, and what each is counted in. A kind of multiply-accumulates has a rate of its own: a convolution that
# reads a picture's few channels fills no vectors, a depthwise one reuses nothing, a matrix of a row waits for weights.
COUNTS = (
    "shallow",  # multiply-accumulates of a convolution that reads few channels, such as those of a picture
    "convolution",  # of one that reads more: a matrix product of patches, or what saves multiplications
    "pointwise",  # of one by a kernel of a single pixel, or of a dense layer, at several pixels or rows
    "depthwise",  # of one with a kernel for each channel
    "matrix",  # of a dense layer at one row, and of recurrent layers: a vector by a matrix
    "inputs",  # bytes of activations that those read
    "outputs",  # bytes that those write
    "patches",  # bytes that a convolution by a larger kernel gathers before it multiplies
    "weights",  # bytes of weights that are read
    "moved",  # bytes read and written by what does not multiply: additions, pooling, padding, copies
    "streamed",  # of those three, the bytes beyond a tensor's first MiB: no core's caches hold them
    "functions",  # values of exponentials, logistic and hyperbolic functions, divisions and roots
    "sorting",  # scores of a detector that are compared, its boxes' overlaps each as several, one after the other
    "launches",  # operations
    "inferences",  # one in all
)
MULTIPLYING = COUNTS[:5]
_FEW_CHANNELS = 4
# Of a tensor as much is still in the caches as it is read next. The second level has 0.5 to 2 MiB on the boards known
# here; bytes beyond that come from main memory, which more cores do not make faster.
_HELD_BYTES = 2.0**20
# TFLite's operation that sorts a detector's boxes (github:tensorflow, lite/kernels/detection_postprocess.cc) compares
# all scores, and each detection that is kept with all boxes. An overlap takes as long as 4.5 scores on a Cortex-A53 and
# on an A72 (github:NobuoTsukamoto/benchmarks, spaghettinet: without the operation, and with 10 to 100 detections).
DETECTIONS = "TFLite_Detection_PostProcess"
_SCORES_IN_AN_OVERLAP = 4.5

_CONVOLUTIONS = {"CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE", "DEPTHWISE_CONV_2D"}
_CONVOLUTIONS |= {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "ConvInteger", "QLinearConv"}
_CONVOLUTIONS |= {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}
# A dense layer over rows is the product that a convolution by one pixel is over pixels: in LiteRT, ONNX Runtime and
# OpenVINO on one core it took 0.8 to 1.4 times as long (eight layers of 64 to 96 channels, 4 to 196 rows).
_PRODUCTS = {"FULLY_CONNECTED", "BATCH_MATMUL", "Gemm", "Einsum", "FusedGemm", "FusedMatMul", "MatMul"}
_PRODUCTS |= {"MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits", "QGemm"}
_PRODUCTS |= {"Attention", "QAttention", "MultiHeadAttention", "ScaledDotProductAttention"}
# Kernels for several rows take at least as many at once (github:google/XNNPACK, src/configs/gemm-config.c).
_ROWS_AT_ONCE = 4
# No kernel runs for these: a view of the same bytes, or a part of what stands beside them.
FREE = {
    "RESHAPE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "SHAPE",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Shape",
    "Identity",
}
FREE |= {"ShapeOf", "Constant", "Assign", "ReadValue", "Cast_Shape", "VAR_HANDLE", "CALL_ONCE", "WHILE", "IF"}
FREE |= {"Loop", "If", "Scan", "TensorIterator"}
# Computed as the operation before them writes its result, where nothing else reads that.
_JOINED = {"Relu", "Clip", "LeakyRelu", "BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Add", "Mul", "Sub"}
_JOINED |= {"ReLU", "Clamp", "PRelu", "FakeQuantize", "Multiply", "Subtract", "Convert", "HardSwish", "HSwish"}
_JOINED |= {"HardSigmoid", "RELU", "RELU6", "Sigmoid", "Swish"}
# Read no more of what they are given than they write.
_PICKING = {"SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "Slice", "StridedSlice", "Gather", "GatherND"}
_PICKING |= {"GatherElements", "EMBEDDING_LOOKUP"}
_QUANTIZING = {"QuantizeLinear", "DequantizeLinear", "FakeQuantize"}
# Integers go through these as they are.
_CARRYING = {"Concat", "Transpose", "MaxPool", "Slice", "StridedSlice", "Split", "VariadicSplit", "Gather", "Pad"}
# Integers that weights are stored as: other ones are places and sizes.
_WEIGHTS = {"int8", "uint8", "int4", "uint4", "int2", "uint2"}
_FUNCTIONS = {"LOGISTIC", "TANH", "EXP", "LOG", "SOFTMAX", "LOG_SOFTMAX", "SQRT", "RSQRT", "DIV", "ELU", "GELU", "POW"}
_FUNCTIONS |= {"SIN", "COS", "Sigmoid", "Tanh", "Exp", "Log", "Softmax", "LogSoftmax", "Sqrt", "Div"}
_FUNCTIONS |= {"Reciprocal", "Erf", "Elu", "Gelu", "Softplus", "Pow", "Sin", "Cos", "SoftMax", "SoftPlus", "Divide"}
_FUNCTIONS |= {"Power", "MVN", "LayerNormalization", "Swish", "Selu", "BiasGelu", "FastGelu", "QuickGelu"}
_FUNCTIONS |= {"SkipLayerNormalization", "BiasSoftmax"}


@dataclass(frozen=True)
class Work:
    """What one operation takes, with what is fused into it.

    Attributes:
        name: its kind in the format's own terms, and the tensor that it writes.
        kind: the multiply-accumulates that it does, or what else it is: one of ``COUNTS``.
        counts: by name, of ``COUNTS``, in all runs of one inference.
        times: how often it runs in one inference.
    """

    name: str
    kind: str
    counts: dict[str, float] = field(default_factory=dict)
    times: float = 1.0


def work_of(graph: Graph, assumed_turns: int = 1) -> tuple[Work, ...]:
    """Return what one inference of a file takes, operation by operation.

    Activations after a convolution or product, its bias, batch normalization and what turns numbers into integers and
    back count as part of it; what reads constants alone is computed when the file is loaded, and views cost nothing.
    What comes of integers or becomes such has their bytes: runtimes make an integer kernel of the operation in between.

    Args:
        graph: the file.
        assumed_turns: how often a loop turns whose length is decided as it runs.
    """
    readers: dict[int, int] = {}
    for node in graph.nodes:
        for place in node.inputs:
            readers[place] = readers.get(place, 0) + 1
    for place in graph.outputs:
        readers[place] = readers.get(place, 0) + 1
    folded = {place for place, value in enumerate(graph.values) if value.constant}
    joins: dict[int, bool] = {}
    sizes = _sizes(graph)
    writers: dict[int, Work] = {}
    found = []
    for node in graph.nodes:
        live = [place for place in node.inputs if place >= 0 and place not in folded]
        if not live and node.inputs:
            folded.update(node.outputs)
            continue
        if _joined(graph, node, live, joins, readers):
            joins.update(dict.fromkeys(node.outputs, True))
            before, made = live[0], node.outputs[0]
            if before in writers:
                writers[made] = writers[before]
                for place, times in ((made, writers[made].times), (before, -writers[made].times)):
                    _add(writers[made].counts, "outputs", [sizes[place]], times)
            continue
        if node.operation in FREE or (node.operation in _QUANTIZING and not _at_the_edge(graph, node)):
            joins.update({place: joins.get(live[0], False) for place in node.outputs} if live else {})
            if live and live[0] in writers and len(node.outputs) == 1:
                writers[node.outputs[0]] = writers[live[0]]
            continue
        times = float(assumed_turns if node.times is None else node.times)
        if times == 0:
            continue
        work = _work(graph, node, times, folded, sizes)
        joins.update(dict.fromkeys(node.outputs, work.kind in MULTIPLYING))
        if len(node.outputs) == 1 and work.counts.get("outputs"):
            writers[node.outputs[0]] = work
        found.append(work)
    return tuple(found)


def total(works: Iterable[Work]) -> dict[str, float]:
    """Return the counts of all operations together, by name, and the inference that they make up."""
    found = dict.fromkeys(COUNTS, 0.0) | {"inferences": 1.0}
    for work in works:
        for name, count in work.counts.items():
            found[name] += count
    return found


def uncounted(graph: Graph) -> list[str]:
    """Return the kinds of operations that run and whose work could not be counted, each with why."""
    return sorted({f"{node.kind} ({node.note})" for node in graph.nodes if node.macs is None and node.times != 0})


def of_unknown_size(graph: Graph) -> list[str]:
    """Return the kinds of the other operations that run and write tensors of sizes that nothing tells before."""
    return sorted(
        {
            node.kind
            for node in graph.nodes
            if node.macs is not None and node.times != 0
            if any(elements(value.shape) is None for value in graph.outputs_of(node))
        }
    )


def sorting(boxes: int, scores: int, detections: int) -> float:
    """Return what it takes to sort boxes by their scores and drop those that overlap, in scores that are compared."""
    return scores + _SCORES_IN_AN_OVERLAP * detections * boxes


def _joined(graph: Graph, node: Node, live: list[int], joins: dict[int, bool], readers: dict[int, int]) -> bool:
    """Tell whether an operation is computed with the one before it."""
    if node.operation not in _JOINED or len(set(live)) != 1:
        return False
    place = live[0]
    written = graph.values[node.outputs[0]] if node.outputs else None
    same_size = written is not None and elements(written.shape) == elements(graph.values[place].shape)
    return joins.get(place, False) and readers.get(place, 0) == 1 and same_size


def _at_the_edge(graph: Graph, node: Node) -> bool:
    """Tell whether an operation reads the file's input or writes its output: there, no kernel takes it along."""
    return any(place in graph.inputs for place in node.inputs) or any(place in graph.outputs for place in node.outputs)


def _sizes(graph: Graph) -> list[float]:
    """Return the bytes of each tensor, as kernels read and write it: what stands for integers has theirs."""
    sizes = [_bytes(graph, place) for place in range(len(graph.values))]
    known = {place for place, value in enumerate(graph.values) if value.constant}
    weights = {place for place in known if graph.values[place].dtype in _WEIGHTS}
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        read = [place for place in node.inputs if place >= 0]
        for place in read:
            readers.setdefault(place, []).append(node)
        for made in (place for place in node.outputs if place >= 0 and place not in graph.outputs):
            if node.operation in _QUANTIZING and read:
                sizes[made] = min(sizes[made], sizes[read[0]], _of_levels(graph, node, made))
            elif read and known.issuperset(read):
                same = [place for place in weights.intersection(read) if _alike(graph, place, made)]
                sizes[made] = min([sizes[made], *(sizes[place] for place in same)])
                weights.update([made] if same else [])
            elif node.operation in FREE or node.operation in _CARRYING:
                moving = [place for place in read if place not in known]
                widths = [sizes[place] / (elements(graph.values[place].shape) or math.inf) for place in moving]
                if moving and all(sizes[place] < _bytes(graph, place) for place in moving):
                    sizes[made] = min(sizes[made], max(widths) * (elements(graph.values[made].shape) or math.inf))
            if read and known.issuperset(read):
                known.add(made)
    for place, nodes in readers.items():
        if place not in graph.inputs and all(node.operation in _QUANTIZING for node in nodes):
            sizes[place] = min([sizes[place], *(sizes[made] for node in nodes for made in node.outputs)])
    return sizes


def _of_levels(graph: Graph, node: Node, place: int) -> float:
    """Return the bytes of integers that are told by how many there are."""
    levels = str(node.settings.get("levels", ""))
    count = elements(graph.values[place].shape)
    return float(count * (1 if int(levels) <= 256 else 2)) if levels.isdigit() and count is not None else math.inf


def _alike(graph: Graph, place: int, other: int) -> bool:
    return elements(graph.values[place].shape) == elements(graph.values[other].shape)


def _work(graph: Graph, node: Node, times: float, folded: set[int], sizes: Sequence[float]) -> Work:
    live = [place for place in node.inputs if place >= 0 and place not in folded]
    held = [place for place in node.inputs if place >= 0 and place in folded]
    made = [place for place in node.outputs if place >= 0]
    read, stored, written = ([graph.values[place] for place in places] for places in (live, held, made))
    kind = kind_of(node, stored, written)
    counts = {"launches": 1.0}
    bytes_read, bytes_written = ([sizes[place] for place in places] for places in (live, made))
    if kind in MULTIPLYING:
        macs = float(node.macs or 0)
        # Weights that meet real numbers are made such first.
        narrow = any("int" in graph.values[place].dtype or sizes[place] < _bytes(graph, place) for place in live)
        weights = sum(sizes[place] if narrow else _bytes(graph, place) for place in held)
        counts |= {kind: macs, "weights": weights}
        _add(counts, "inputs", bytes_read)
        _add(counts, "outputs", bytes_written)
        if kind in ("shallow", "convolution") and written:
            count = max(1, math.prod(written[0].shape or (1,)))
            channels = _channels(graph.format, written[0])
            counts["patches"] = macs / count * (count / channels) * _element_bytes(live, graph, sizes)
    else:
        _add(counts, "moved", bytes_written + (bytes_written if node.operation in _PICKING else bytes_read))
        if node.operation == DETECTIONS and len(read) > 1:
            numbers, scores = (max(0, elements(value.shape) or 0) for value in read[:2])
            counts["sorting"] = sorting(numbers // 4, scores, max(0, node.settings.get("max_detections", 0)))
        if kind == "functions":
            counts["functions"] = float(sum(max(0, elements(value.shape) or 0) for value in written))
    name = f"{node.kind} {written[0].name if written else ''}".strip()
    return Work(name, kind, {key: times * count for key, count in counts.items() if count}, times)


def _add(counts: dict[str, float], name: str, tensors: Iterable[float], times: float = 1.0) -> None:
    """Count the bytes of tensors: those that caches hold under their name, the others as streamed."""
    for size in tensors:
        held = min(size, _HELD_BYTES)
        counts[name] = counts.get(name, 0.0) + held * times
        counts["streamed"] = counts.get("streamed", 0.0) + (size - held) * times


def kind_of(node: Node, stored: list[Value], written: list[Value]) -> str:
    """Return the multiply-accumulates that an operation does, or what else it is.

    Args:
        node: the operation.
        stored: its constants.
        written: what it writes.
    """
    if node.operation in _CONVOLUTIONS:
        kernel = max(stored, key=lambda value: len(value.shape or ()), default=None)
        shape = (kernel.shape if kernel is not None else None) or ()
        depth = _depth(node, shape)
        if node.operation == "DEPTHWISE_CONV_2D" or _groups(node, shape) > 1 and depth == 1:
            return "depthwise"
        if shape and math.prod(_window(node, shape)) == 1:
            return "pointwise"
        return "shallow" if shape and depth <= _FEW_CHANNELS else "convolution"
    if node.macs:
        return (
            "pointwise" if node.operation in _PRODUCTS and _rows(written, bool(stored)) >= _ROWS_AT_ONCE else "matrix"
        )
    return "functions" if node.operation in _FUNCTIONS else "moved"


def _rows(written: list[Value], of_weights: bool) -> int:
    """Return how many rows of a product are multiplied by one matrix: of weights, those of all samples."""
    shape = (written[0].shape if written else None) or ()
    return math.prod(shape[:-1]) if of_weights else math.prod(shape[-2:-1])


def _groups(node: Node, shape: tuple[int, ...]) -> int:
    if node.operation.startswith("GroupConvolution"):
        return shape[0] if shape else 1
    return int(node.settings.get("group", 1))


def _window(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many pixels a kernel takes along each axis of a sequence, picture or volume."""
    if node.operation.isupper():
        return shape[:3] if node.operation.startswith("CONV_3D") else shape[1:-1]
    return shape[3:] if node.operation.startswith("GroupConvolution") else shape[2:]


def _depth(node: Node, shape: tuple[int, ...]) -> int:
    """Return how many channels one kernel of a convolution reads."""
    if node.operation.isupper():
        return shape[-2 if node.operation == "CONV_3D" else -1] if shape else 1
    # The layouts of ONNX's and OpenVINO's operators; a transposed one has its input's channels before its output's.
    place = {"GroupConvolution": 2, "ConvTranspose": 0, "ConvolutionBackpropData": 0}.get(node.operation, 1)
    if len(shape) <= place:
        return 1
    return shape[place] // _groups(node, shape) if node.operation == "ConvTranspose" else shape[place]


def _channels(format: str, value: Value) -> int:
    shape = value.shape or (1,)
    return max(1, shape[-1] if format == "tflite" or len(shape) < 2 else shape[1])


def _bytes(graph: Graph, place: int) -> float:
    return float(graph.values[place].bytes or 0)


def _element_bytes(places: list[int], graph: Graph, sizes: Sequence[float]) -> float:
    for place in places:
        count = elements(graph.values[place].shape)
        if count and sizes[place]:
            return sizes[place] / count
    return 4.0
