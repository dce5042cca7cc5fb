"""Shapes of an ONNX model: ONNX's own inference, helped over sizes that the file computes as the model runs.

tf2onnx writes the shape that a Reshape goes to as Shape, Gather, ReduceProd and Concat, even where all sizes are fixed;
ONNX's inference does not follow that. Here such operations are computed once the shape that they start from is known,
with ONNX's reference operators, and inference goes on from there. Runtimes do the same when they load a file.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

_COMPUTES_SIZES = {
    *("Shape", "Size", "Gather", "Slice", "Concat", "ReduceProd", "Cast", "Mul", "Add", "Sub", "Div", "Max", "Min"),
    *("Unsqueeze", "Squeeze", "Reshape", "Identity", "Where", "Equal", "Floor", "Ceil", "ConstantOfShape", "Range"),
}
# A shape has few numbers: nothing larger is computed.
_MOST_NUMBERS = 64
_MOST_PASSES = 64


def with_shapes(onnx: Any, model: Any) -> Any:
    """Return the model with the shapes of its tensors, as far as they can be inferred.

    Raises:
        Exception: whatever ONNX's inference raises for a broken model.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    if not _open_shapes(inferred) or any(_dims(value) is None for value in inferred.graph.input):
        return inferred
    working = onnx.ModelProto()
    working.CopyFrom(inferred)
    for _ in range(_MOST_PASSES):
        computed = dict(_computed(onnx, working))
        if not computed:
            break
        kept = [node for node in working.graph.node if not any(name in computed for name in node.output)]
        del working.graph.node[:]
        working.graph.node.extend(kept)
        working.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in computed.items())
        # What was inferred with less known would stand in the way.
        opened = [
            value for value in working.graph.value_info if _dims(value) is not None and value.name not in computed
        ]
        del working.graph.value_info[:]
        working.graph.value_info.extend(opened)
        for value in working.graph.output:
            if _dims(value) is None:
                value.type.tensor_type.ClearField("shape")
        working = onnx.shape_inference.infer_shapes(working, data_prop=True)
    return _with_values_of(onnx, inferred, working)


def _open_shapes(model: Any) -> bool:
    return any(_dims(value) is None for value in (*model.graph.value_info, *model.graph.output))


def _dims(value: Any) -> list[int] | None:
    """Return a tensor's sizes, or None where one is not known; sequences and the like count as known."""
    if not value.type.HasField("tensor_type"):
        return []
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value for dim in dims] if all(dim.HasField("dim_value") for dim in dims) else None


def _computed(onnx: Any, model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the outputs that can be computed now, each with its numbers."""
    graph = model.graph
    shapes = {value.name: _dims(value) for value in (*graph.value_info, *graph.input) if _dims(value) is not None}
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    known = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if int(np.prod(tensor.dims)) <= _MOST_NUMBERS and tensor.data_location != tensor.EXTERNAL
    }
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            if int(np.prod(tensor.dims)) <= _MOST_NUMBERS:
                known[node.output[0]] = onnx.numpy_helper.to_array(tensor)
        elif node.op_type in _COMPUTES_SIZES and len(node.output) == 1:
            array = _compute(onnx, node, model.opset_import, known, shapes)
            if array is not None and array.size <= _MOST_NUMBERS:
                known[node.output[0]] = array
                yield node.output[0], array


def _compute(onnx: Any, node: Any, opsets: Any, known: dict[str, np.ndarray], shapes: Any) -> np.ndarray | None:
    if node.op_type in ("Shape", "Size"):
        dims = shapes.get(node.input[0])
        if dims is None:
            return None
        if node.op_type == "Size":
            return np.asarray(int(np.prod(dims)), np.int64)
        limits = {attribute.name: attribute.i for attribute in node.attribute}
        return np.asarray(dims[limits.get("start", 0) : limits.get("end")], np.int64)
    if not all(name in known for name in node.input if name):
        return None
    helper = onnx.helper
    inputs = [name for name in node.input if name]
    typed = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(known[name].dtype), known[name].shape)
        for name in dict.fromkeys(inputs)
    ]
    graph = helper.make_graph([node], "one", typed, [helper.make_empty_tensor_value_info(node.output[0])])
    try:
        single = helper.make_model(graph, opset_imports=opsets)
        return np.asarray(
            onnx.reference.ReferenceEvaluator(single).run(None, {name: known[name] for name in inputs})[0]
        )
    except Exception:  # an operation that the reference lacks stays unknown
        return None


def _with_values_of(onnx: Any, model: Any, working: Any) -> Any:
    """Return the model with the shapes found in a copy of it in which sizes are constants."""
    found = {value.name: value for value in (*working.graph.value_info, *working.graph.output)}
    for tensor in working.graph.initializer:
        found[tensor.name] = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    outputs = {value.name for value in model.graph.output}
    made = {name for node in model.graph.node for name in node.output if name in found and name not in outputs}
    del model.graph.value_info[:]
    model.graph.value_info.extend(found[name] for name in sorted(made))
    for value in model.graph.output:
        if value.name in found and _dims(found[value.name]) is not None:
            value.CopyFrom(found[value.name])
    return model
