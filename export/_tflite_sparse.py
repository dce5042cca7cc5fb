"""Puts weights back into a TFLite file that TensorFlow's converter stored in blocks wrongly.

It stores a kernel in blocks of 1x4 or 1x16 as well where its rows are no multiple of 4 or 16 long: a block then runs
into the next row, weights are lost, and every runtime computes something else.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ._tflite_flatbuffer import items, packed, unpacked


def mended(content: bytes, dense: Callable[[], bytes]) -> bytes:
    """Return a file in which such kernels are stored dense; all of them, where the two conversions cannot be matched.

    Args:
        content: the file.
        dense: converts the same graph without leaving out zeros.
    """
    model = unpacked(content)
    if not any(_runs_over(tensor) for graph in items(model.subgraphs) for tensor in items(graph.tensors)):
        return content
    whole = dense()
    other = unpacked(whole)
    if len(items(model.subgraphs)) != len(items(other.subgraphs)):
        return whole
    for graph, twin in zip(items(model.subgraphs), items(other.subgraphs), strict=True):
        if not _put_back(model, graph, other, twin):
            return whole
    return packed(model)


def _runs_over(tensor: Any) -> bool:
    """Tell whether a tensor's blocks do not divide its dimensions."""
    if tensor.sparsity is None:
        return False
    sizes = [dimension.denseSize for dimension in tensor.sparsity.dimMetadata[len(tensor.shape) :]]
    return any(tensor.shape[axis] % size for axis, size in zip(items(tensor.sparsity.blockMap), sizes, strict=True))


def _put_back(model: Any, graph: Any, other: Any, twin: Any) -> bool:
    """Give a graph's wrong tensors the weights of its twin; tell whether each is taken by the same operations there."""
    ours, theirs = list(_uses(model, graph)), list(_uses(other, twin))
    if [code for code, _ in ours] != [code for code, _ in theirs]:
        return False
    for (_, taken), (_, weights) in zip(ours, theirs, strict=True):
        for place, twins in zip(taken, weights, strict=True):
            tensor = graph.tensors[place] if place >= 0 else None
            if tensor is None or not _runs_over(tensor):
                continue
            data = other.buffers[twin.tensors[twins].buffer]
            if list(tensor.shape) != list(twin.tensors[twins].shape) or not len(items(data.data)):
                return False
            model.buffers.append(data)
            tensor.buffer, tensor.sparsity = len(model.buffers) - 1, None
            _leave_out_densify(model, graph, place)
    return True


def _uses(model: Any, graph: Any) -> Iterator[tuple[int, list[int]]]:
    """Yield the code and the inputs of each operation but DENSIFY, with what a DENSIFY makes dense in its place."""
    whole = {each.outputs[0]: int(each.inputs[0]) for each in items(graph.operators) if _is_densify(model, each)}
    for operator in items(graph.operators):
        if not _is_densify(model, operator):
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            yield code, [whole.get(int(index), int(index)) for index in items(operator.inputs)]


def _is_densify(model: Any, operator: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    return bool(model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.DENSIFY)


def _leave_out_densify(model: Any, graph: Any, place: int) -> None:
    """Let what takes a tensor by way of a DENSIFY take it as it is: it is dense now."""
    for operator in [each for each in items(graph.operators) if list(items(each.inputs)) == [place]]:
        if _is_densify(model, operator):
            graph.operators.remove(operator)
            for each in items(graph.operators):
                each.inputs = [place if index == operator.outputs[0] else int(index) for index in items(each.inputs)]
