"""What an Edge TPU has to do for a file: the counts that its latency is the sum of, and what its cache holds.

Parameters beyond the cache are sent at every inference. Which those are follows from how the chip stores them, as the
compiler's logs for published stacks of layers show it (github:Jorgitou98/EdgeTPU-QuantRL-Evaluation): operation by
operation, in blocks of 64 output channels (of one pixel of the kernel), each on one of sixteen parts of the memory. An
operation whose blocks do not all find room is sent whole; those after it may still be held.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..export._graph import Graph, Node, Value, elements
from ..export._work import FREE, kind_of

# What takes time on the chip, and what on the link to its host, and what each is counted in.
ON_CHIP = (
    "convolution",  # multiply-accumulates of a convolution, its channels rounded up as the chip has them
    "pointwise",  # of one by a kernel of a single pixel
    "depthwise",  # of one with a kernel for each channel
    "matrix",  # of a dense layer or of a product of two activations
    "moved",  # bytes that operations read and write
)
ON_LINK = (
    "invokes",  # one for each inference
    "launches",  # operations: their instructions are sent at every inference
    "sent",  # bytes of the chip's inputs
    "received",  # bytes of its outputs
    "streamed",  # bytes of parameters that the cache does not hold
    "restreamed",  # those bytes times the MiB beyond one that their operation reads and writes: it works in parts
)
COUNTS = ON_CHIP + ON_LINK
_MULTIPLYING = ON_CHIP[:4]
MIB = 2**20

_BLOCK, _DEPTH = 64, 4  # output channels in a block; input channels are rounded up to a multiple
_CHANNEL_BYTES = 8  # of an output channel of a convolution: its bias and its scale
# Multiply-accumulates that the chip does while a byte of parameters comes in: so many of an operation whose parameters
# are sent cost nothing else. At 700 GMAC/s, which cached convolutions reach, and 0.39 GB/s.
HIDDEN = 1800
PARTS = 16


@dataclass(frozen=True)
class EdgeTpuWork:
    """What one inference takes.

    Attributes:
        counts: by name, of ``COUNTS``.
        cached_bytes, streamed_bytes: of parameters, as the chip stores them.
    """

    counts: dict[str, float]
    cached_bytes: int
    streamed_bytes: int


@dataclass(frozen=True)
class _Stored:
    """An operation's parameters on the chip: so many blocks of so many bytes."""

    blocks: int
    block_bytes: float

    @property
    def bytes(self) -> int:
        return round(self.blocks * self.block_bytes)


def edge_tpu_work(graph: Graph, nodes: Sequence[int], cache_bytes: float | None) -> EdgeTpuWork:
    """Return what the operations of a file that run on the Edge TPU take there.

    Args:
        graph: the file; a number counts as one byte, whatever the file stores.
        nodes: places in ``Graph.nodes``, in order.
        cache_bytes: what the chip holds of parameters; None where that is not known, and all are taken to fit.
    """
    stored = [_stored(graph, graph.nodes[place]) for place in nodes]
    held = _held(stored, math.inf if cache_bytes is None else cache_bytes / PARTS)
    counts = dict.fromkeys(COUNTS, 0.0)
    counts["invokes"] = 1.0
    for place, parameters, inside in zip(nodes, stored, held, strict=True):
        node = graph.nodes[place]
        if node.kind in FREE:
            continue
        moved = _numbers(_activations(graph, node)) + _numbers(graph.outputs_of(node))
        counts["launches"] += 1
        counts["moved"] += moved
        kind = kind_of(node, _constants(graph, node), graph.outputs_of(node))
        kind = "convolution" if kind == "shallow" else kind
        macs = _padded_macs(graph, node)
        if not inside:
            counts["streamed"] += parameters.bytes
            counts["restreamed"] += parameters.bytes * max(0.0, moved / MIB - 1)
            macs = max(0.0, macs - HIDDEN * parameters.bytes)
        if kind in _MULTIPLYING:
            counts[kind] += macs
    sent, received = _crossing(graph, nodes)
    counts["sent"], counts["received"] = sent, received
    cached = sum(each.bytes for each, inside in zip(stored, held, strict=True) if inside)
    return EdgeTpuWork(counts, cached, int(counts["streamed"]))


def _held(stored: Iterable[_Stored], part_bytes: float) -> list[bool]:
    """Tell of each operation's parameters, in order, whether the chip holds them."""
    parts = [0.0] * PARTS
    held = []
    for each in stored:
        filled = list(parts)
        heapq.heapify(filled)
        for _ in range(each.blocks):
            heapq.heapreplace(filled, filled[0] + each.block_bytes)
        held.append(max(filled) <= part_bytes)
        if held[-1]:
            parts = filled
    return held


def _stored(graph: Graph, node: Node) -> _Stored:
    shape = _kernel(graph, node)
    if shape is None:
        return _Stored(0, 0)
    pixels = elements(shape[1:-1]) or 1
    if len(shape) == 2:
        return _Stored(-(-shape[0] // _BLOCK), _BLOCK * _up(shape[1], _DEPTH))
    channels, depth = (shape[-1], 1) if node.kind == "DEPTHWISE_CONV_2D" else (shape[0], _up(shape[-1], _DEPTH))
    return _Stored(-(-channels // _BLOCK) * pixels, _BLOCK * (depth + _CHANNEL_BYTES / pixels))


def _padded_macs(graph: Graph, node: Node) -> float:
    """Return the multiply-accumulates that the chip does: of whole blocks of channels."""
    macs, shape = float(node.macs or 0), _kernel(graph, node)
    if shape is None or not macs:
        return macs
    if node.kind == "DEPTHWISE_CONV_2D":
        return macs * _up(shape[-1], _BLOCK) / shape[-1]
    return macs * _up(shape[0], _BLOCK) / shape[0] * _up(shape[-1], _DEPTH) / shape[-1]


def _kernel(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Return the shape of an operation's weights, of at least two dimensions; None where it has none."""
    shapes = [value.shape for value in _constants(graph, node) if value.static and len(value.shape or ()) >= 2]
    return max(shapes, key=lambda shape: elements(shape) or 0, default=None) if node.macs else None


def _crossing(graph: Graph, nodes: Sequence[int]) -> tuple[float, float]:
    """Return the bytes that cross the link for the operations: their inputs, and what others read of them."""
    inside = {place for node in nodes for place in graph.nodes[node].outputs}
    read = {place for node in nodes for place in graph.nodes[node].inputs if place >= 0} - inside
    chosen = set(nodes)
    wanted = {place for at, node in enumerate(graph.nodes) if at not in chosen for place in node.inputs}
    wanted |= set(graph.outputs)
    sent = [graph.values[place] for place in read if not graph.values[place].constant]
    return _numbers(sent), _numbers(graph.values[place] for place in inside & wanted)


def _activations(graph: Graph, node: Node) -> list[Value]:
    return [value for value in graph.inputs_of(node) if not value.constant]


def _constants(graph: Graph, node: Node) -> list[Value]:
    return [value for value in graph.inputs_of(node) if value.constant]


def _numbers(values: Iterable[Value]) -> float:
    return float(sum(elements(value.shape) or 0 for value in values))


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
