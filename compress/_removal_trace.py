"""A model as one graph of TensorFlow operations, with the labels of all places in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ._removal_flow import LEADING, TRAILING, Flow
from ._removal_operations import RULES

SAMPLES = 8
# Stand for a length that the model leaves open: of a sequence, of a picture.
_UNKNOWN_LENGTH, _UNKNOWN_SIDE = 5, 64
_STEPS = 3  # of a sequence; the places of its units are the same at every step
_ATTEMPTS = 4


@dataclass(frozen=True)
class Trace:
    """A model's graph and its labels.

    Attributes:
        flow: the labels.
        variables: the model's variables, of its layers' weights.
        axes: for each variable the labels of its axes.
        layer_axes: by a layer's id, the labels of the axes that its operations make.
        nested: by the id of a model in the model, the labels of its inputs' axes.
        products: for each product of matrices or convolution how often it is computed for a sample, and the labels of
            the axes whose sizes, multiplied, are its multiplications for all samples.
        graph: a function of samples that can be cut at any tensor.
    """

    flow: Flow
    variables: list[keras.Variable]
    axes: list[list[np.ndarray]]
    layer_axes: dict[int, list[np.ndarray]]
    nested: dict[int, list[list[np.ndarray]]]
    products: list[tuple[float, list[np.ndarray]]]
    graph: Any


def trace(model: keras.Model, whole: bool = False) -> Trace:
    """Return a functional model's graph for ``SAMPLES`` samples, with labels.

    Args:
        model: its inputs' and outputs' places are fixed.
        whole: write recurrent layers out over all of their steps, for activations; else over a few.
    """
    import tensorflow as tf

    ends: list[tuple[int, Any]] = []
    taken: dict[int, list[Any]] = {}

    def run(*inputs: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()

        def recorded(operation: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                ends.append((len(graph.get_operations()), None))
                if _is_nested(operation):
                    taken.setdefault(id(operation), keras.tree.flatten(args[0]))
                outputs = _called(operation, args, kwargs, recorded, whole)
                ends.append((len(graph.get_operations()), None if _is_nested(operation) else operation))
                return outputs

            return call

        return keras.tree.flatten(functional(model)._run_through_graph(inputs, operation_fn=recorded))

    signature = [
        tf.TensorSpec(shape_of(tensor), tensor.dtype, name=f"input_{place}")
        for place, tensor in enumerate(functional(model).inputs)
    ]
    with _unrolled(model):
        graph = tf.compat.v1.wrap_function(run, signature)
    operations = graph.graph.get_operations()
    owners = _owners(len(operations), ends)
    layers = {op.name: owner for op, owner in zip(operations, owners, strict=True)}
    constants = _constants(graph, operations)
    choices: dict[str, str] = {}
    for _ in range(_ATTEMPTS):
        flow, variables, axes = _labelled(model, graph, constants, choices, layers)
        stuck = [
            name for name, labels in flow.divided.items() if name not in choices and not flow.labels.are_live(labels)
        ]
        if not stuck:
            break
        # What cannot go by heads may go by features: the other part of the divided axis is tried.
        choices |= {name: _other(choices.get(name), flow, name) for name in stuck}
    layer_axes: dict[int, list[np.ndarray]] = {}
    for op, owner in zip(operations, owners, strict=True):
        if owner is not None:
            for output in op.outputs:
                layer_axes.setdefault(id(owner), []).extend(flow.axes.get(output.name, []))
    products = [(_times(layers[op.name], whole) / SAMPLES, axes) for op, axes in flow.products]
    nested = {key: [flow.of(tensor) for tensor in tensors] for key, tensors in taken.items()}
    return Trace(flow, variables, axes, layer_axes, nested, products, graph)


def _times(owner: Any, whole: bool) -> float:
    """Return how often a layer computes what its graph has once: recurrent layers were traced over a few steps."""
    if whole or not isinstance(owner, keras.layers.RNN | keras.layers.Bidirectional):
        return 1.0
    return max(1.0, (keras.tree.flatten(owner.input)[0].shape[1] or _UNKNOWN_LENGTH) / _STEPS)


def _other(chosen: str | None, flow: Flow, name: str) -> str:
    return TRAILING if (chosen or flow.defaults[name]) == LEADING else LEADING


def shape_of(tensor: Any) -> list[int]:
    """Return the shape of an input for ``SAMPLES`` samples."""
    unknown = _UNKNOWN_LENGTH if len(tensor.shape) < 4 else _UNKNOWN_SIDE
    return [SAMPLES, *(size or unknown for size in tensor.shape[1:])]


def functional(model: Any) -> Any:
    """Return the functional model that a model is, or that a sequential one holds."""
    return getattr(model, "_functional", None) or model


def _is_nested(operation: Any) -> bool:
    return isinstance(operation, keras.Model) and hasattr(functional(operation), "_run_through_graph")


def _called(operation: Any, args: Any, kwargs: Any, recorded: Any, whole: bool) -> Any:
    """Call one operation of a functional model, going into nested models, for inference."""
    if _is_nested(operation):
        return functional(operation)._run_through_graph(args[0], operation_fn=recorded)
    if getattr(operation, "_call_has_training_arg", False):
        kwargs = {**kwargs, "training": False}
    if isinstance(operation, keras.layers.RNN | keras.layers.Bidirectional) and not whole:
        return _few_steps(operation, args, kwargs)
    return operation(*args, **kwargs)


def _few_steps(layer: Any, args: Any, kwargs: Any) -> Any:
    """Call a recurrent layer on the first steps; what it returns for the last of them stands for the others."""
    steps = args[0].shape[1]
    args = (args[0][:, :_STEPS], *args[1:])
    if kwargs.get("mask") is not None:
        kwargs = {**kwargs, "mask": kwargs["mask"][:, :_STEPS]}
    outputs = layer(*args, **kwargs)
    if not layer.return_sequences or steps <= _STEPS:
        return outputs
    first, *states = outputs if isinstance(outputs, list | tuple) else [outputs]
    first = keras.ops.concatenate([first, *[first[:, -1:]] * (steps - _STEPS)], axis=1)
    return [first, *states] if states else first


@contextmanager
def _unrolled(model: keras.Model) -> Iterator[None]:
    """Let recurrent layers write their steps out: the graph has no loops, and every operation is plain."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    before = [layer.unroll for layer in layers]
    try:
        for layer in layers:
            layer.unroll = True
        yield
    finally:
        for layer, unroll in zip(layers, before, strict=True):
            layer.unroll = unroll


def _owners(count: int, ends: list[tuple[int, Any]]) -> list[Any]:
    """Return for each operation the layer that made it, or None."""
    owners: list[Any] = [None] * count
    start = 0
    for end, owner in ends:
        if owner is not None:
            owners[start:end] = [owner] * (end - start)
        start = end
    return owners


def _constants(graph: Any, operations: list[Any]) -> dict[str, np.ndarray]:
    """Return the values of all tensors that follow from constants alone, by name."""
    changing = {
        tensor.name for op in operations if not op.inputs and op.type not in ("Const", "NoOp") for tensor in op.outputs
    }
    found = []
    for op in operations:
        if any(tensor.name in changing for tensor in op.inputs) or op._is_stateful:
            changing |= {tensor.name for tensor in op.outputs}
        found += [
            tensor
            for tensor in op.outputs
            if tensor.name not in changing and tensor.dtype.name not in ("resource", "variant", "string")
        ]
    if not found:
        return {}
    values = graph.prune([], found)()
    return {tensor.name: value.numpy() for tensor, value in zip(found, values, strict=True)}


def _labelled(
    model: Any, graph: Any, constants: dict[str, np.ndarray], choices: dict[str, str], layers: dict[str, Any]
) -> tuple[Flow, list[keras.Variable], list[list[np.ndarray]]]:
    def layer_of(name: str) -> str:
        return str(getattr(layers.get(name), "name", None) or "the model")

    flow = Flow(RULES, choices, constants, layer_of)
    for tensor in graph.inputs[: len(functional(model).inputs)]:
        flow.set(tensor, [flow.labels.constant(size, "is an input of the model") for size in tensor.shape])
    variables = model.weights
    axes = [[flow.labels.fresh(size) for size in variable.shape] for variable in variables]
    of_handle = {id(variable.value.handle): labels for variable, labels in zip(variables, axes, strict=True)}
    of_place = {
        inner.name: of_handle.get(id(outer)) for outer, inner in graph.graph.captures if outer.dtype.name == "resource"
    }
    for op in graph.graph.get_operations():
        read = of_place.get(op.inputs[0].name) if op.type == "ReadVariableOp" else None
        if read is not None:
            flow.set(op.outputs[0], read)
        elif op.type == "Placeholder":
            continue
        else:
            flow.follow(op)
    for tensor in graph.outputs:
        for labels in flow.of(tensor):
            flow.labels.fix(labels, "is an output of the model")
    return flow, variables, axes
