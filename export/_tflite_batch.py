"""The sizes that the tensors of a TFLite file with an open batch have at a batch of 1."""

from typing import Any

import numpy as np

from ._tflite_flatbuffer import items


def shapes_at_batch_1(model: Any, content: bytes) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the shape at a batch of 1 of each tensor that a file leaves open, by subgraph and place.

    What a file states for open sizes are placeholders, and it computes shapes as it runs: it is run once, on ones.

    Returns:
        Nothing where the batch is not open, another size of an input is too, numbers decide sizes, or the file does not
        run.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    opened = {
        (place, index)
        for place, subgraph in enumerate(items(model.subgraphs))
        for index, tensor in enumerate(items(subgraph.tensors))
        if -1 in _signature(tensor)
    }
    first = model.subgraphs[0] if model.subgraphs else None
    inputs = [_signature(first.tensors[index]) for index in items(first.inputs)] if first is not None else []
    if not any(-1 in sizes for sizes in inputs) or any(-1 in sizes[1:] for sizes in inputs):
        return {}
    by_numbers = (schema.BuiltinOperator.WHERE, schema.BuiltinOperator.UNIQUE)
    if any(max(code.builtinCode, code.deprecatedBuiltinCode) in by_numbers for code in items(model.operatorCodes)):
        return {}
    try:
        # With delegates, what is within them keeps the placeholders.
        interpreter = Interpreter(
            model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        interpreter.allocate_tensors()
        for each in interpreter.get_input_details():
            interpreter.set_tensor(each["index"], np.ones(each["shape"], each["dtype"]))
        interpreter.invoke()
        return {
            (place, each["index"]): tuple(int(size) for size in each["shape"])
            for place in range(len(model.subgraphs))
            for each in interpreter.get_tensor_details(place)
            if (place, each["index"]) in opened and _is_there(interpreter, place, each["index"])
        }
    except (RuntimeError, ValueError, TypeError):  # operations that only another runtime has; ones that it refuses
        return {}


def _signature(tensor: Any) -> list[int]:
    return [int(size) for size in items(tensor.shapeSignature)]


def _is_there(interpreter: Any, subgraph: int, index: int) -> bool:
    """Tell whether a tensor has memory: what no operation has written has its placeholders still."""
    try:
        interpreter.get_tensor(index, subgraph)
    except ValueError:
        return False
    return True
