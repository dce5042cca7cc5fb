"""The inputs and outputs of an ONNX model: a batch of 1, and names."""

from collections.abc import Sequence
from typing import Any

from ._onnx_shapes import with_shapes
from ._onnx_weights import graphs_of

# The first in which an initializer need not be an input too.
_IR_OF_INITIALIZERS = 4


def at_batch_1(model: Any) -> list[str]:
    """Fix each batch that is open to 1, in place, and infer the outputs' shapes; return the inputs that it was open in.

    Initializers that are inputs too are no longer inputs.
    """
    import onnx

    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    if any(value.name in initializers for value in graph.input):
        kept = [value for value in graph.input if value.name not in initializers]
        del graph.input[:]
        graph.input.extend(kept)
        model.ir_version = max(model.ir_version, _IR_OF_INITIALIZERS)
    fixed = fix_batch(model)
    if fixed or any(is_open(value) for value in graph.output):
        forget_shapes(model)
        found = {value.name: value for value in with_shapes(onnx, model).graph.output}
        for value in graph.output:
            value.CopyFrom(found[value.name])
    return fixed


def fix_batch(model: Any) -> list[str]:
    """Fix each batch that is open to 1, in place; return the inputs that it was open in.

    The first axis of an input is its batch.
    """
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    fixed, batches = [], set()
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value") and value.name not in initializers:
            batches.add(dims[0].dim_param)
            dims[0].dim_value = 1
            fixed.append(value.name)
    for value in graph.output:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_param and dims[0].dim_param in batches:
            dims[0].dim_value = 1
    return fixed


def forget_shapes(model: Any) -> None:
    """Drop the shapes of what is computed, as far as they would stand in the way of inferring them."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        if is_open(value):
            value.type.tensor_type.ClearField("shape")


def is_open(value: Any) -> bool:
    """Tell whether a size of a tensor, or its rank, is not stated; what is no tensor has none."""
    if not value.type.HasField("tensor_type"):
        return False
    tensor = value.type.tensor_type
    return not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim)


def renamed(model: Any, wanted: Sequence[str]) -> Any:
    """Give a model's inputs and outputs other names, in their order.

    An inner name that is the same as one of them is prefixed. Bodies of loops see the outer names, so all are renamed.
    """
    values = [value.name for value in (*model.graph.input, *model.graph.output)]
    graphs = list(graphs_of(model.graph))
    inner = {name for graph in graphs for node in graph.node for name in (*node.input, *node.output)}
    names = {name: f"inner/{name}" for name in inner & set(wanted)}
    names |= dict(zip(values, wanted, strict=True))
    for graph in graphs:
        for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
            value.name = names.get(value.name, value.name)
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
    return model
