"""Pass that writes loops of known length, such as recurrent layers, out step by step.

What a loop counts and compares is computed here, and its lists of tensors are lists; all else is copied for each step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value, emit, functions_of
from ._pass import INTEGER, Inapplicable, Pass, Work
from ._pass_ranges import between, has_ranges

_LOOPS = frozenset({"While", "StatelessWhile"})
# Of operations in one graph: beyond, conversion takes minutes.
_MOST = 50_000
_COUNTED: dict[str, Callable[..., Any]] = {
    "AddV2": np.add,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Minimum": np.minimum,
    "Maximum": np.maximum,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalNot": np.logical_not,
    "Pack": lambda *numbers: np.stack(numbers),
}


def replacing(work: Work) -> Replace:
    """Write every loop out; in float only where a loop has what the format's converter or runtime fails at.

    In an ONNX graph with ranges too: its loops run as they are, an LSTM as one operation.
    """
    fails = _ends_in_states_alone if work.target.format == "openvino" else _fails_in_onnx
    may_stay = work.target.precision not in INTEGER or (work.target.format == "onnx" and has_ranges(work.graph))
    if may_stay and not fails(work.graph.function.graph):
        return lambda operation, value: None
    return _Unrolling(work)


class _Unrolling:
    """Replaces loops, and what lists of tensors are made and read with."""

    def __init__(self, work: Work) -> None:
        self._graph, self._made = work.graph, 0
        self._is_openvino = work.target.format == "openvino"

    def __call__(self, operation: Any, value: Value) -> Sequence[Any] | None:
        self._made += 1
        if self._made > _MOST:
            raise Inapplicable(f"A loop of more than {_MOST} operations, when it is written out.")
        if operation.type in _LOOPS:
            return self._unrolled(operation, [self._number_or(tensor, value) for tensor in operation.inputs])
        if operation.type.startswith("TensorList"):
            made = _listed(operation, [self._number_or(tensor, value) for tensor in operation.inputs])
            # OpenVINO finds no range behind what puts steps together.
            marked = self._is_openvino and operation.type == "TensorListStack"
            return [between(each) for each in made] if marked and made else made
        if operation.type == "Identity":
            return [value(operation.inputs[0])]
        if operation.type == "Const":
            return _small_number(operation)
        if operation.type in _COUNTED and operation.inputs:
            inputs = [value(tensor) for tensor in operation.inputs]
            if all(isinstance(each, np.ndarray) for each in inputs):
                result = _COUNTED[operation.type](*inputs)
                return [np.asarray(result, operation.outputs[0].dtype.as_numpy_dtype)]
        return None

    def _number_or(self, tensor: Any, value: Value) -> Any:
        known = value(tensor)
        if isinstance(known, np.ndarray | list) or tensor.graph is not self._graph.function.graph:
            return known
        constant = self._graph.constant(tensor) if tensor.dtype.name == "int32" else None
        return known if constant is None else constant

    def _unrolled(self, operation: Any, variables: list[Any]) -> list[Any]:
        condition, body = functions_of(operation, "cond", "body")
        while True:
            (goes_on,) = emit(condition, condition.inputs, variables, condition.outputs, self)
            if not isinstance(goes_on, np.ndarray):
                raise Inapplicable(f"How often the loop {operation.name} runs depends on the input.")
            if not goes_on:
                return variables
            variables = emit(body, body.inputs, variables, body.outputs, self)


def _small_number(operation: Any) -> list[Any] | None:
    dtype = operation.outputs[0].dtype
    if not (dtype.is_integer or dtype.is_bool) or operation.outputs[0].shape.num_elements() not in range(17):
        return None
    from tensorflow.python.framework import tensor_util

    return [tensor_util.MakeNdarray(operation.get_attr("value"))]


def _listed(operation: Any, inputs: list[Any]) -> list[Any] | None:
    """Return what an operation on a list of tensors does to a list."""
    import tensorflow as tf

    kind = operation.type.removeprefix("TensorList")
    if kind == "FromTensor":
        tensor = tf.constant(inputs[0]) if isinstance(inputs[0], np.ndarray) else inputs[0]
        return [tf.unstack(tensor)]
    if kind == "Reserve" and isinstance(inputs[1], np.ndarray):
        return [[None] * int(inputs[1])]
    items = inputs[0]
    if not isinstance(items, list):
        raise Inapplicable(f"The list of tensors that {operation.name} takes has no known length.")
    if kind == "Length":
        return [np.asarray(len(items), np.int32)]
    if kind == "Stack" and all(item is not None for item in items):
        return [tf.stack(items)]
    if kind in ("GetItem", "SetItem") and isinstance(inputs[1], np.ndarray):
        place = int(inputs[1])
        if kind == "SetItem":
            return [[*items[:place], inputs[2], *items[place + 1 :]]]
        if items[place] is not None:
            return [items[place]]
    raise Inapplicable(f"The loop's {operation.type} ({operation.name}) cannot be written out.")


def _fails_in_onnx(graph: Any) -> bool:
    """Tell whether a loop convolves, or reads the list that it writes, as that of keras.ops.scan does."""
    loops = [operation for operation in graph.get_operations() if operation.type in _LOOPS]
    for body in (functions_of(loop, "body")[0].get_operations() for loop in loops):
        read, written = (
            {inner.inputs[0].name for inner in body if inner.type == kind}
            for kind in ("TensorListGetItem", "TensorListSetItem")
        )
        if read & written or any(inner.type == "Conv2D" for inner in body):
            return True
    return False


def _ends_in_states_alone(graph: Any) -> bool:
    """Tell whether of a loop the last states are taken, and its list of outputs is not."""
    import tensorflow as tf

    loops = [operation for operation in graph.get_operations() if operation.type in _LOOPS]
    taken = [[tensor.dtype for tensor in loop.outputs if tensor.consumers()] for loop in loops]
    return any(types and tf.variant not in types for types in taken)


PASSES = (
    Pass(
        "unrolled-loops",
        "TFLite's calibration dies of loops, ONNX Runtime's quantizer writes ones that do not load, and tf2onnx loses "
        "the shapes of those that convolve.",
        _LOOPS,
        replacing,
        precisions=INTEGER,
    ),
    Pass(
        "unrolled-loops",
        "tf2onnx loses the shapes of loops that convolve, and takes no list that a loop both reads and writes.",
        _LOOPS,
        replacing,
        formats=frozenset({"onnx"}),
    ),
    Pass(
        "unrolled-loops",
        "OpenVINO computes something else where the last states of a loop are taken and its list of outputs is not.",
        _LOOPS,
        replacing,
        formats=frozenset({"openvino"}),
    ),
)
