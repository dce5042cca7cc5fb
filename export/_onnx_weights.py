"""Smaller weights in an ONNX file that computes in float: stored narrow, widened by a standard operation.

Float16 weights are widened by Cast, integer ones by DequantizeLinear, so every runtime takes the file that takes the
operation, and none needs operators of its own: ONNX Runtime's MatMulNBits covers matrix products alone.
"""

import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compress._weight_quantizer import quantized

# Fewer weights than these cost more in scales and nodes than they save.
_FEWEST = 128
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
# A group's scale is the best of these shares of the one that clips nothing.
_SHARES = np.linspace(1.0, 0.75, 11)


@dataclass(frozen=True)
class _Weight:
    """A weight in a graph: its initializer, the axis of its output channels, and the axis that is summed over."""

    initializer: Any
    channels: int
    summed: int
    convolution: bool


def store_float16(model: Any) -> None:
    """Store every float initializer of some size in half precision; what half precision cannot hold stays as it is."""
    import onnx

    for graph in graphs_of(model.graph):
        nodes = []
        for initializer in _floats(graph):
            values = onnx.numpy_helper.to_array(initializer)
            if np.abs(values).max() > _LARGEST_FLOAT16:
                continue
            narrow = f"{initializer.name}/float16"
            nodes.append(onnx.helper.make_node("Cast", [narrow], [initializer.name], to=onnx.TensorProto.FLOAT))
            _replace(graph, initializer, onnx.numpy_helper.from_array(values.astype(np.float16), narrow))
        _prepend(graph, nodes)


def store_int8(model: Any) -> None:
    """Store the weights as int8, symmetric, with a scale for each output channel."""
    import onnx

    for graph in graphs_of(model.graph):
        nodes = []
        for weight in _weights(graph):
            name = weight.initializer.name
            values = onnx.numpy_helper.to_array(weight.initializer)
            others = tuple(axis for axis in range(values.ndim) if axis != weight.channels)
            stored, scales = quantized(values, others)
            parts = [
                onnx.numpy_helper.from_array(stored, f"{name}/int8"),
                onnx.numpy_helper.from_array(scales.reshape(-1), f"{name}/scales"),
            ]
            names = [part.name for part in parts]
            nodes.append(onnx.helper.make_node("DequantizeLinear", names, [name], axis=weight.channels))
            _replace(graph, weight.initializer, *parts)
        _prepend(graph, nodes)


def store_int4(model: Any, group_size: int) -> None:
    """Store the weights as int4, symmetric, with a scale for each ``group_size`` weights that are summed up.

    The model must be of opset 21 or later. A kernel of a convolution is stored as a matrix with a row for each channel
    of its first axis, since its window is summed over as well.
    """
    import ml_dtypes
    import onnx

    for graph in graphs_of(model.graph):
        nodes = []
        for weight in _weights(graph):
            name = weight.initializer.name
            values = onnx.numpy_helper.to_array(weight.initializer)
            matrix = values.reshape(len(values), -1) if weight.convolution else values
            axis = 1 if weight.convolution else weight.summed
            group = min(group_size, matrix.shape[axis])
            stored, scales = _quantized_in_groups(matrix, axis, group)
            parts = [
                onnx.numpy_helper.from_array(stored.astype(ml_dtypes.int4), f"{name}/int4"),
                onnx.numpy_helper.from_array(scales, f"{name}/scales"),
            ]
            widened = f"{name}/matrix" if weight.convolution else name
            names = [part.name for part in parts]
            nodes.append(onnx.helper.make_node("DequantizeLinear", names, [widened], axis=axis, block_size=group))
            if weight.convolution:
                parts.append(onnx.numpy_helper.from_array(np.array(values.shape, np.int64), f"{name}/shape"))
                nodes.append(onnx.helper.make_node("Reshape", [widened, f"{name}/shape"], [name]))
            _replace(graph, weight.initializer, *parts)
        _prepend(graph, nodes)


def _quantized_in_groups(values: np.ndarray, axis: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the integers from -8 to 7, and a scale for each group along ``axis``.

    Of the shares of the scale that clips nothing each group takes the one with the least squared error.
    """
    rows = np.moveaxis(values, axis, -1)
    groups = -(-rows.shape[-1] // group)
    padded = np.zeros((*rows.shape[:-1], groups * group), np.float32)
    padded[..., : rows.shape[-1]] = rows
    padded = padded.reshape(*rows.shape[:-1], groups, group)
    widest = _scales(padded, (-1,), 7)
    scales, stored = widest, np.zeros_like(padded)
    least = np.full_like(widest, np.inf)
    for share in _SHARES:
        tried = widest * np.float32(share)
        integers = np.clip(np.rint(padded / tried), -8, 7)
        error = ((integers * tried - padded) ** 2).sum(-1, keepdims=True)
        better = error < least
        scales = np.where(better, tried, scales)
        stored = np.where(better, integers, stored)
        least = np.where(better, error, least)
    stored = stored.reshape(*rows.shape[:-1], groups * group)[..., : rows.shape[-1]]
    return (
        np.ascontiguousarray(np.moveaxis(stored, -1, axis)),
        np.ascontiguousarray(np.moveaxis(scales[..., 0], -1, axis)),
    )


def _scales(values: np.ndarray, axes: tuple[int, ...], largest: int) -> np.ndarray:
    """Return the scales that clip nothing, ``axes`` kept with length 1; 1 where all values are zero."""
    scales = np.abs(values).max(axes, keepdims=True) / np.float32(largest)
    return np.where(scales > 0, scales, np.float32(1)).astype(np.float32)


def graphs_of(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside it, such as the body of a loop."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs_of(inner)


def sort_operations(graph: Any) -> None:
    """Put a graph's operations in an order in which each stands after those that make what it, or a body in it, reads.

    ONNX Runtime's quantizers sort them without a look into the bodies of loops.
    """
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}

    def sources(node: Any) -> set[int]:
        bodies = [inner for attribute in node.attribute if attribute.HasField("g") for inner in graphs_of(attribute.g)]
        own = {name for inner in bodies for each in inner.node for name in each.output}
        own |= {value.name for inner in bodies for value in (*inner.input, *inner.initializer)}
        inside = {name for inner in bodies for each in inner.node for name in each.input}
        inside |= {value.name for inner in bodies for value in inner.output}
        return {makers[name] for name in {*node.input, *(inside - own)} if name in makers}

    order = graphlib.TopologicalSorter({place: sources(node) for place, node in enumerate(graph.node)}).static_order()
    nodes = [graph.node[place] for place in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _floats(graph: Any) -> list[Any]:
    import onnx

    return [
        initializer
        for initializer in graph.initializer
        if initializer.data_type == onnx.TensorProto.FLOAT and np.prod(initializer.dims) >= _FEWEST
    ]


def _weights(graph: Any) -> list[_Weight]:
    """Return the initializers that are multiplied with activations or looked up, each once."""
    floats = {initializer.name: initializer for initializer in _floats(graph)}
    carried = _carried(graph)
    found: dict[str, _Weight] = {}
    for inner in graphs_of(graph):
        for node in inner.node:
            for place, seen in enumerate(node.input):
                # What a loop carries is a weight where it is multiplied from the right: a state stands on the left.
                name = carried.get(seen, seen) if place == 1 else seen
                axes = _axes(node, place, len(floats[name].dims)) if name in floats else None
                if axes:
                    convolution = node.op_type in ("Conv", "ConvTranspose")
                    found.setdefault(name, _Weight(floats[name], *axes, convolution))
    return list(found.values())


def _carried(graph: Any) -> dict[str, str]:
    """Return by its name in a loop's body what the loop is given under another name."""
    names: dict[str, str] = {}
    for inner in graphs_of(graph):
        for node in inner.node:
            for attribute in node.attribute:
                if node.op_type == "Loop" and attribute.name == "body":
                    given = zip(attribute.g.input, node.input, strict=True)
                    names |= {value.name: names.get(name, name) for value, name in given}
    return names


def _axes(node: Any, place: int, rank: int) -> tuple[int, int] | None:
    """Return the axes of the output channels and of what is summed over; None where an input is no weight."""
    if node.op_type == "MatMul" and rank >= 2:
        return (rank - 1, rank - 2) if place == 1 else (rank - 2, rank - 1)
    if node.op_type == "Gemm" and place == 1:
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return (0, 1) if transposed else (1, 0)
    if node.op_type == "Conv" and place == 1:
        return 0, 1
    if node.op_type == "ConvTranspose" and place == 1:
        return 1, 0
    if node.op_type == "Gather" and place == 0 and rank == 2:
        return 0, 1
    if node.op_type in ("LSTM", "GRU", "RNN") and place in (1, 2):
        return 1, 2
    return None


def _replace(graph: Any, initializer: Any, *parts: Any) -> None:
    graph.initializer.remove(initializer)
    graph.initializer.extend(parts)


def _prepend(graph: Any, nodes: list[Any]) -> None:
    nodes = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
