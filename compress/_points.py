"""The points of a model's graph at which activations are quantized, found for any layer, custom ones included.

TensorFlow calls an operation callback for each operation that a model's layers create, inside of loops too, and takes
what the callback returns in place of the operation's output. So activations are observed, fake-quantized and quantized
for export at the same points by one mechanism that no layer knows of.

A point has no part inside of what runtimes compute as one operation: a product with its bias, a folded normalization
and the activation after it, or the exact GELU.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..train._training import input_of

if TYPE_CHECKING:
    import keras

# Products, which take the bias, the normalization and the activation after them along.
# fmt: off
PRODUCTS = frozenset((
    "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2", "Einsum",
))
# fmt: on
# Keras adds a tensor that has one dimension above 1 with BiasAdd, so a sum's kind may depend on the batch.
_KINDS = {"AddV2": "Add", "BiasAdd": "Add"}
_ERROR_FUNCTIONS = frozenset({"Erf", "Erfc"})
_FUSED_ACTIVATIONS = frozenset({"Relu", "Relu6"})
# These change the shape alone. A sequence is convolved as a picture of one row, with a squeeze in front of the bias.
RESHAPES = frozenset({"Reshape", "Identity", "Squeeze", "ExpandDims"})
# A dilated convolution is put together of its parts in front of the bias, which is the same for all of them.
_PUT_TOGETHER = RESHAPES | {"BatchToSpaceND"}
# These move values without changing them: what they return is on the scale of what they were given.
# fmt: off
_MOVES = frozenset((
    "Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose", "StridedSlice", "Slice", "Split", "SplitV",
    "Unpack", "GatherV2", "Pad", "PadV2", "MirrorPad", "MaxPool", "Tile", "BroadcastTo", "SpaceToBatchND",
    "BatchToSpaceND", "ReverseV2", "StopGradient", "Cast", "ReadVariableOp", "Const", "Placeholder",
    "PlaceholderWithDefault", "ResourceGather", "IdentityN", "Shape", "While", "StatelessWhile", "If",
    "StatelessIf", "PartitionedCall", "StatefulPartitionedCall", "TensorListGetItem", "TensorListStack",
    "TensorListFromTensor", "Fill", "ZerosLike", "OnesLike", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs",
    "FakeQuantWithMinMaxVarsPerChannel", "Select", "SelectV2",
))
# fmt: on
# These hand every number on that somebody reads: a limit behind them holds in front of them.
_HANDED_ON = RESHAPES | {"Transpose", "StridedSlice", "Slice", "Split", "SplitV", "Unpack"}
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# The range of what these return is known: TFLite's integer kernels have exactly these scales.
FIXED_RANGES = {
    "Softmax": (0.0, 255 / 256),
    "Sigmoid": (0.0, 255 / 256),
    "Tanh": (-1.0, 127 / 128),
}
# Beyond these, what they return changes by less than a tenth of a step of those scales.
SATURATED = {"Sigmoid": 8.0, "Tanh": 4.0}
INPUT = "input"
# Rows of a table, such as an embedding's. The table has one scale, symmetric, and what is looked up has its integers.
_LOOK_UPS = frozenset({"GatherV2", "ResourceGather"})

# Called with a point's name and the tensor there; returns what takes its place.
AtPoint = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Point:
    """A place in a model's graph where the activations are quantized.

    Attributes:
        name: the layer's path, the operation and how manieth of its kind it is there, such as "block/dense:Relu:0".
        layer: the path of the layer, without the model's name.
        operation: TensorFlow's name for it.
        fixed: its range where that is known; None where it is calibrated.
        looked_up: whether it is rows of a table of weights; its range is the table's.
        beyond: the size above which nothing that takes it tells values apart: sigmoids and tanhs alone do.
    """

    name: str
    layer: str
    operation: str
    fixed: tuple[float, float] | None = None
    beyond: float = math.inf
    looked_up: bool = False


def find_points(model: "keras.Model") -> tuple[Point, ...]:
    """Return the points of a model, those of its inputs first, in the order of computation."""
    import keras

    _, seen = traced(model)
    points = [
        Point(f"{INPUT}:{tensor.name}", INPUT, "Placeholder")
        for tensor in keras.tree.flatten(input_of(model))
        if tensor.dtype == "float32"
    ]
    used = used_operations(tensor.graph for _, tensor in seen)
    for name, tensor in seen:
        operation = tensor.op
        if (id(operation.graph), operation.name) in used and _is_point(operation):
            layer, kind, _ = name.rsplit(":", 2)
            if kind not in _LOOK_UPS:
                points.append(Point(name, layer, kind, FIXED_RANGES.get(kind), _saturates_at(tensor)))
            elif (table := _table(operation.inputs[0])) is not None:
                reach = max(float(np.abs(table).max()), 1e-6)
                points.append(Point(name, layer, kind, symmetric(-reach, reach), looked_up=True))
    return tuple(points)


def symmetric(low: float, high: float) -> tuple[float, float]:
    """Return the range around zero that holds another, for 256 levels of which the middle one is zero.

    >>> symmetric(-0.5, 1.27)
    (-1.28, 1.27)
    """
    reach = max(-low, high)
    return (-reach * 128 / 127, reach)


def _table(tensor: Any) -> np.ndarray | None:
    """Return the values of a constant or a variable as they are now; None for anything else."""
    import tensorflow as tf

    while tensor.op.type in ("Identity", "ReadVariableOp"):
        tensor = tensor.op.inputs[0]
    if tensor.dtype != tf.resource:
        return tf.get_static_value(tensor)
    held = next((outer for outer, inner in tensor.graph.captures if inner is tensor), None)
    if not isinstance(held, tf.__internal__.EagerTensor):
        return None
    return tf.raw_ops.ReadVariableOp(resource=held, dtype=tf.float32).numpy()


def traced(model: "keras.Model") -> tuple[Any, list[tuple[str, Any]]]:
    """Return a model's graph at batch 1, and the name and the output of each operation with a float32 output."""
    import keras
    import tensorflow as tf

    seen: list[tuple[str, Any]] = []
    specs = [
        tf.TensorSpec(tuple(size or 1 for size in tensor.shape), tensor.dtype, name=tensor.name)
        for tensor in keras.tree.flatten(input_of(model))
    ]

    @tf.function(input_signature=specs, autograph=False)
    def trace(*arrays: Any) -> Any:
        inputs = keras.tree.pack_sequence_as(input_of(model), list(arrays))
        with each_operation(model, lambda name, tensor: seen.append((name, tensor))):
            return keras.tree.flatten(model(inputs, training=False))

    return trace.get_concrete_function().graph, seen


def run_at_points(model: "keras.Model", inputs: Any, at: AtPoint, points: frozenset[str]) -> Any:
    """Run a model for inference with ``at`` applied at some points.

    Operations are named as they are created, so this has to be traced: within a ``tf.function``. For gradients to pass
    through ``at``, what is differentiated must be the call of such a function.
    """
    import keras

    def replaced(tensor: Any, value: Any) -> Any:
        name = f"{INPUT}:{tensor.name}"
        return at(name, value) if name in points else value

    inputs = keras.tree.map_structure(replaced, input_of(model), inputs)
    with each_operation(model, lambda name, tensor: at(name, tensor) if name in points else None):
        return model(inputs, training=False)


@contextmanager
def each_operation(model: "keras.Model", seen: Callable[[str, Any], Any]) -> Iterator[None]:
    """Within, call ``seen`` with the name and the float output of each operation that is created."""
    import tensorflow as tf
    from keras.src.backend.common.name_scope import current_path
    from tensorflow.python.framework import op_callbacks

    counts: dict[str, int] = {}
    prefix = f"{model.name}/"

    # The callback's parameters are passed by these names.
    def called(op_type: str, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> Any:
        if graph is None or len(outputs) != 1 or outputs[0].dtype != tf.float32:
            return None
        if op_type in _MOVES and not (op_type in _LOOK_UPS and _looks_up(inputs)):
            return None
        key = f"{current_path().removeprefix(prefix)}:{_KINDS.get(op_type, op_type)}"
        place = counts[key] = counts.get(key, -1) + 1
        # What is added at a point is no operation of the model.
        op_callbacks.remove_op_callback(called)
        try:
            value = seen(f"{key}:{place}", outputs[0])
        finally:
            op_callbacks.add_op_callback(called)
        return None if value is None else [value]

    op_callbacks.add_op_callback(called)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(called)


def _looks_up(inputs: Any) -> bool:
    """Tell whether places that are computed are looked up in a table of weights."""
    is_table = _is_constant(inputs[0]) if inputs[0].dtype.name != "resource" else True
    return is_table and inputs[0].shape.rank != 1 and not _is_constant(inputs[1])


def _saturates_at(tensor: Any) -> float:
    """Return the size above which nothing that takes a tensor, moved or not, tells values apart."""
    waiting, limit = [tensor], 0.0
    while waiting:
        each = waiting.pop()
        consumers = _consumers(each)
        if not consumers or any(each is output for output in each.graph.outputs):
            return math.inf
        for consumer in consumers:
            if consumer.type in _HANDED_ON:
                waiting += consumer.outputs
            else:
                limit = max(limit, SATURATED.get(consumer.type, math.inf))
    return limit


def used_operations(graphs: Iterable[Any]) -> set[tuple[int, str]]:
    """Return the operations that outputs depend on; Keras calls a recurrent cell once before its loop for nothing."""
    used: set[tuple[int, str]] = set()
    for graph in {id(graph): graph for graph in graphs}.values():
        waiting = [tensor.op for tensor in graph.outputs]
        while waiting:
            operation = waiting.pop()
            if (id(graph), operation.name) not in used:
                used.add((id(graph), operation.name))
                waiting += [tensor.op for tensor in operation.inputs]
    return used


def _is_point(operation: Any) -> bool:
    return not (_is_constant(operation.outputs[0]) or _goes_on_as_one(operation) or _inside_gelu(operation))


def _goes_on_as_one(operation: Any) -> bool:
    """Tell whether a runtime computes the operation together with the one after it."""
    consumer = only_consumer(operation.outputs[0], _PUT_TOGETHER)
    if consumer is None:
        return False
    if consumer.type in _FUSED_ACTIVATIONS:
        return operation.type not in FIXED_RANGES
    return _same_channels(operation, consumer) and _is_affine(consumer) and _ends_a_product(operation)


def _ends_a_product(operation: Any) -> bool:
    """Tell whether an operation is a product by weights, or what is folded into one."""
    if operation.type in _CALLS:
        return _ends_a_product(_last_within(operation))
    if operation.type in PRODUCTS:
        return any(_is_constant(tensor) for tensor in operation.inputs)
    if not _is_affine(operation):
        return False
    before = [tensor.op for tensor in operation.inputs if not _is_constant(tensor)]
    while len(before) == 1 and before[0].type in _PUT_TOGETHER:
        before = [before[0].inputs[0].op]
    if len(before) != 1 or only_consumer(before[0].outputs[0], _PUT_TOGETHER) is None:
        return False
    return _same_channels(before[0], operation) and _ends_a_product(before[0])


def _same_channels(first: Any, second: Any) -> bool:
    """Tell whether what two operations return has as many channels; flattened, constants are no longer a channel's."""
    counts = {each.outputs[0].shape[-1] for each in (first, second) if each.outputs[0].shape.rank}
    return len(counts - {None}) < 2


def _is_affine(operation: Any) -> bool:
    """Tell whether an operation adds or multiplies by constants, one for each channel or one for all."""
    if operation.type == "BiasAdd":
        return _is_constant(operation.inputs[1])
    if operation.type not in ("AddV2", "Add", "Sub", "Mul"):
        return False
    if operation.type == "Sub" and _is_constant(operation.inputs[0]):
        return False
    channels = operation.outputs[0].shape[-1] if operation.outputs[0].shape.rank else None
    constants = [tensor for tensor in operation.inputs if _is_constant(tensor)]
    # A table of positions has more than the channels' dimension: it is added, not folded.
    return bool(constants) and all(tensor.shape.num_elements() in (1, channels) for tensor in constants)


def only_consumer(tensor: Any, through: frozenset[str] = RESHAPES) -> Any:
    """Return the operation that alone takes a tensor, or what operations of some types make of it; None without."""
    consumers = _consumers(tensor)
    while len(consumers) == 1 and consumers[0].type in through:
        after = _consumers(consumers[0].outputs[0])
        if not after:
            break
        consumers = after
    return consumers[0] if len(consumers) == 1 else None


def _consumers(tensor: Any) -> list[Any]:
    """Return the operations that take a tensor; where a called function returns it, those that take the result.

    Keras compiles a convolution in groups as a function of its own, and adds the bias outside.
    """
    found: list[Any] = tensor.consumers()
    if found:
        return found
    call = caller_of(tensor.graph)
    places = [place for place, output in enumerate(tensor.graph.outputs) if output is tensor] if call else []
    return _consumers(call.outputs[places[0]]) if len(places) == 1 else found


def caller_of(graph: Any) -> Any:
    """Return the one operation that calls a graph as a function, or None: loops call theirs in other ways."""
    outer = getattr(graph, "outer_graph", None)
    calls = [each for each in outer.get_operations() if each.type in _CALLS and _called(each) is graph] if outer else []
    return calls[0] if len(calls) == 1 else None


def _called(call: Any) -> Any:
    """Return the graph of the function that an operation calls."""
    return call.graph._get_function(call.get_attr("f").name).graph


def _last_within(call: Any) -> Any:
    """Return the operation that computes what a called function returns."""
    operation = _called(call).outputs[0].op
    while operation.type in _PUT_TOGETHER:
        operation = operation.inputs[0].op
    return operation


def _is_constant(tensor: Any) -> bool:
    """Tell whether a tensor depends on constants and variables alone."""
    operation = tensor.op
    if operation.type in ("ReadVariableOp", "Const", "ResourceGather"):
        return operation.type != "ResourceGather" or _is_constant(operation.inputs[1])
    if not operation.inputs:
        return operation.type not in ("Placeholder", "PlaceholderWithDefault") or tensor.dtype.name == "resource"
    if "While" in operation.type or operation.type in ("TensorListGetItem", "PartitionedCall", "If"):
        return False
    return all(_is_constant(each) for each in operation.inputs)


def _inside_gelu(operation: Any) -> bool:
    """Tell whether an operation is a part, not the end, of x / 2 (1 + erf(x / sqrt 2)) or x / 2 erfc(-x / sqrt 2)."""
    if operation.type in _ERROR_FUNCTIONS or _is_one_more(operation):
        return True
    consumer = only_consumer(operation.outputs[0])
    if consumer is None or operation.type not in ("Mul", "Neg"):
        return False
    if consumer.type in ("Mul", "Neg") and not _is_last_product(consumer):
        consumer = only_consumer(consumer.outputs[0]) or consumer
    return consumer.type in _ERROR_FUNCTIONS or _is_last_product(consumer)


def _is_last_product(operation: Any) -> bool:
    if operation.type != "Mul":
        return False
    return any(tensor.op.type in _ERROR_FUNCTIONS or _is_one_more(tensor.op) for tensor in operation.inputs)


def _is_one_more(operation: Any) -> bool:
    return operation.type == "AddV2" and any(tensor.op.type in _ERROR_FUNCTIONS for tensor in operation.inputs)
