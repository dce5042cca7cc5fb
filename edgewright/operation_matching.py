"""Which operations of a file a runtime ran as one piece: by name where it keeps names, else by kind and order."""

import re
from collections.abc import Callable, Iterator, Sequence

from .export import Graph
from .runtimes._profile import RanGraph, RanOperation

# What XNNPACK calls the TFLite operations that it does not call alike.
_XNNPACK = {
    "average pooling": {"AVERAGE_POOL_2D"},
    "bankers rounding": {"ROUND"},
    "batch matrix multiply": {"BATCH_MATMUL"},
    "clamp": {"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"},
    "concatenate": {"CONCATENATION"},
    "constant pad": {"PAD", "PADV2"},
    "convert": {"QUANTIZE", "DEQUANTIZE", "CAST"},
    "convolution": {"CONV_2D", "DEPTHWISE_CONV_2D"},
    "copy": {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"},
    "cosine": {"COS"},
    "deconvolution": {"TRANSPOSE_CONV"},
    "depthwise convolution": {"DEPTHWISE_CONV_2D"},
    "divide": {"DIV"},
    "even split": {"SPLIT"},
    "fully connected": {"FULLY_CONNECTED", "BATCH_MATMUL"},
    "global average pooling": {"MEAN", "AVERAGE_POOL_2D"},
    "global sum pooling": {"SUM"},
    "max pooling": {"MAX_POOL_2D"},
    "multiply": {"MUL"},
    "negate": {"NEG"},
    "reciprocal square root": {"RSQRT"},
    "resize bilinear": {"RESIZE_BILINEAR"},
    "sigmoid": {"LOGISTIC"},
    "sine": {"SIN"},
    "slice": {"SLICE", "STRIDED_SLICE"},
    "square": {"SQUARE", "MUL"},
    "square root": {"SQRT"},
    "static reshape": {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"},
    "static slice": {"SLICE", "STRIDED_SLICE"},
    "static transpose": {"TRANSPOSE"},
    "subtract": {"SUB"},
}
# Kinds of a runtime's operation that multiply by a kernel, in letters alone.
_PRODUCTS = re.compile(r"conv|gemm|matmul|fullyconnected|einsum|gru|lstm|attention|inner|brgemm|batchmatrix|subgraph")
_ENCLOSING = {"CALL_ONCE", "IF", "If", "Loop", "STABLEHLO_COMPOSITE", "Scan", "TensorIterator", "WHILE"}
# Names up to this long stand in others by chance.
_SHORT = 4
# What runtimes put behind a name when they rewrite an operation.
_REWRITTEN = re.compile(r"(_nchwc|_token_\d+|/duplicated\w*|_transformed|_kernel_time|/Dequantization\w+)$")


def match(graph: Graph, ran: RanGraph) -> list[tuple[int, ...]]:
    """Return for each operation that ran the places of the file's operations in it; empty where it is none of them.

    Each operation of the file is in at most one. What has no time of its own is taken to be fused into its neighbour.
    """
    if graph.format == "tflite":
        claimed = _by_order(graph, ran)
    else:
        claimed = _by_name(graph, ran.operations)
    _give_the_rest(graph, ran.operations, claimed)
    return [tuple(sorted(places)) for places in claimed]


def _by_order(graph: Graph, ran: RanGraph) -> list[list[int]]:
    """Match a TFLite file: the interpreter tells places; XNNPACK's operators are aligned with each partition's."""
    claimed: list[list[int]] = [[] for _ in ran.operations]
    parts: dict[str, list[int]] = {}
    for index, operation in enumerate(ran.operations):
        if operation.node is not None:
            claimed[index] = [operation.node] if operation.node < len(graph.nodes) else []
        else:
            parts.setdefault(operation.name.split(".")[0], []).append(index)
    told = {node for places in claimed for node in places}
    for number, (_, indexes) in enumerate(parts.items()):
        if len(parts) == len(ran.partitions):
            nodes = [node for node in ran.partitions[number] if node < len(graph.nodes)]
        else:
            nodes = [node for node in range(len(graph.nodes)) if node not in told]
        for place, node in _aligned(indexes, nodes, lambda a, b: _alike(ran.operations[a].kind, graph, b)):
            claimed[place] = [node]
            told.add(node)
    return claimed


def _alike(kind: str, graph: Graph, node: int) -> int:
    """Return how much matching an XNNPACK operator with an operation counts; 0 where it cannot be that one."""
    name = kind.split(" (")[0].lower()
    known = graph.nodes[node].kind
    if known in _XNNPACK.get(name, ()) or name.replace(" ", "_") == known.lower():
        return 4 if graph.nodes[node].macs else 3 - (name == "square" and known == "MUL")
    # A kind that is not in the table, of a type that is new.
    return int(bool(graph.nodes[node].macs) and _multiplies(kind))


def _aligned(ran: Sequence[int], nodes: Sequence[int], worth: Callable[[int, int], int]) -> list[tuple[int, int]]:
    """Return the pairs of two sequences, both in order, that are worth most together."""
    best = [[0] * (len(nodes) + 1) for _ in range(len(ran) + 1)]
    for i in reversed(range(len(ran))):
        for j in reversed(range(len(nodes))):
            gain = worth(ran[i], nodes[j])
            both = gain + best[i + 1][j + 1] if gain else 0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], both)
    pairs, i, j = [], 0, 0
    while i < len(ran) and j < len(nodes):
        gain = worth(ran[i], nodes[j])
        if gain and best[i][j] == gain + best[i + 1][j + 1]:
            pairs.append((ran[i], nodes[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _by_name(graph: Graph, operations: Sequence[RanOperation]) -> list[list[int]]:
    """Match by the names of operations and of what they compute; what fits most closely is taken first."""
    names: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (node.name, *(value.name for value in graph.outputs_of(node))):
            if name:
                names.setdefault(name, index)
    claimed: list[list[int]] = [[] for _ in operations]
    taken: set[int] = set()
    for find in (_exact, _rewritten, _contained, _placed):
        for index, operation in enumerate(operations):
            if not claimed[index]:
                found = [each for each in find(graph, names, operation) if each not in taken]
                claimed[index] = list(dict.fromkeys(found))
                taken.update(found)
    return claimed


def _exact(graph: Graph, names: dict[str, int], operation: RanOperation) -> list[int]:
    return [names[name] for name in (operation.name, *operation.made_of) if name in names]


def _rewritten(graph: Graph, names: dict[str, int], operation: RanOperation) -> list[int]:
    """Return what a name is that of, once what runtimes put behind it is taken off."""
    found = []
    for name in (operation.name, *operation.made_of):
        bare = _REWRITTEN.sub("", name)
        while bare != name:
            if bare in names:
                found.append(names[bare])
                break
            name, bare = bare, _REWRITTEN.sub("", bare)
    return found


def _contained(graph: Graph, names: dict[str, int], operation: RanOperation) -> list[int]:
    """Return what has the longest name within the operation's, such as of "fused dense/MatMul"."""
    within = [name for name in names if len(name) > _SHORT and name in operation.name]
    return [names[max(within, key=len)]] if within else []


def _placed(graph: Graph, names: dict[str, int], operation: RanOperation) -> list[int]:
    """Return the operation at the place that the runtime tells, where its kind is the same."""
    place = operation.node
    if place is None or place >= len(graph.nodes) or graph.nodes[place].kind != operation.kind:
        return []
    return [place]


def _give_the_rest(graph: Graph, operations: Sequence[RanOperation], claimed: list[list[int]]) -> None:
    """Give each operation of the file that none has to the one that computes what it reads, or reads what it computes.

    A multiplication goes to one whose kind multiplies and that has none yet; the body of a loop to the loop.
    """
    owner = {node: index for index, places in enumerate(claimed) for node in places}
    makers = {place: index for index, node in enumerate(graph.nodes) for place in node.outputs}
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for place in node.inputs:
            readers.setdefault(place, []).append(index)
    loops = [index for node, index in owner.items() if graph.nodes[node].kind in _ENCLOSING]

    def around(node: int) -> tuple[list[int], list[int]]:
        before = [makers[place] for place in graph.nodes[node].inputs if place in makers]
        return before, [each for place in graph.nodes[node].outputs for each in readers.get(place, [])]

    def give(node: int, index: int) -> None:
        owner[node] = index
        claimed[index].append(node)

    def nearest(place: int, side: int) -> Iterator[int]:
        """Yield those that have what comes before (0) or after (1), by way of operations that none has yet."""
        open_, seen = list(around(place)[side]), set()
        while open_:
            each = open_.pop(0)
            if each in owner:
                yield owner[each]
            elif each not in seen and not graph.nodes[each].macs:
                seen.add(each)
                open_.extend(around(each)[side])

    free = [place for place in range(len(graph.nodes)) if place not in owner]
    for place in [each for each in free if graph.nodes[each].macs and not graph.nodes[each].body]:
        near = [index for side in (1, 0) for index in nearest(place, side) if _multiplies(operations[index].kind)]
        fitting = [index for index in near if not _has_macs(graph, claimed[index])]
        if fitting:
            give(place, fitting[0])
    changed = True
    while changed:
        changed = False
        for place in [each for each in free if each not in owner]:
            before, after = around(place)
            near = [owner[each] for each in (*before, *after) if each in owner]
            if graph.nodes[place].body:
                near = loops or near
            if near:
                give(place, near[0])
                changed = True


def _multiplies(kind: str) -> bool:
    return bool(_PRODUCTS.search(re.sub(r"[^a-z]", "", kind.lower())))


def _has_macs(graph: Graph, places: Sequence[int]) -> bool:
    return any(graph.nodes[place].macs for place in places)
