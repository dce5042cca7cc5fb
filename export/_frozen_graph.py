"""A frozen graph in memory: read from a SavedModel, run, built again with other operations in it, and saved."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ._artifact import Tensor
from ._draws import depends_on_inputs
from ._freeze import SIGNATURE, types_in

# Called with an operation of the graph and with what maps the graph's tensors to those of the new one; returns what
# takes the place of the operation's outputs, or None where it stays.
Value = Callable[[Any], Any]
Replace = Callable[[Any, Value], Sequence[Any] | None]

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


class FrozenGraph:
    """A graph without variables whose calls of functions are inlined; loops stay loops.

    Args:
        function: a concrete function of the inputs in order that returns a list of the outputs in order.
        inputs, outputs: its tensors, by the Keras model's names.
    """

    def __init__(self, function: Any, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
        self.function, self.inputs, self.outputs = function, inputs, outputs
        self._constants: dict[str, np.ndarray | None] = {}

    @property
    def operations(self) -> list[Any]:
        """All operations, inputs of each before it."""
        return list(self.function.graph.get_operations())

    @cached_property
    def types(self) -> frozenset[str]:
        """Of its operations, those of functions that its loops call included."""
        return types_in(self.function.graph.as_graph_def())

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs ``[1, ...]`` by name for inputs ``[1, ...]`` by name."""
        import tensorflow as tf

        results = self.function(*(tf.constant(arrays[tensor.name], tensor.dtype) for tensor in self.inputs))
        return {tensor.name: np.asarray(result) for tensor, result in zip(self.outputs, results, strict=True)}

    def values(self, tensors: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return what some tensors of the graph are for inputs ``[1, ...]`` by name."""
        return next(self.values_over(tensors, (arrays,)))

    def values_over(
        self, tensors: Sequence[Any], samples: Sequence[Mapping[str, np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        """Yield for each sample what some tensors of the graph are."""
        import tensorflow as tf

        places = list(zip(self.function.inputs, self.inputs, strict=True))
        with tf.compat.v1.Session(graph=self.function.graph) as session:
            for arrays in samples:
                fed = {place.name: arrays[tensor.name] for place, tensor in places if tensor.name in arrays}
                yield [np.asarray(array) for array in session.run(list(tensors), fed)]

    def constant(self, tensor: Any) -> np.ndarray | None:
        """Return the value of a tensor that depends on no input; None where it depends on one."""
        if tensor.name not in self._constants:
            found = None if depends_on_inputs(tensor.op) else self.values([tensor], {})[0]
            self._constants[tensor.name] = found
        return self._constants[tensor.name]

    def rewritten(self, replace: Replace) -> "FrozenGraph":
        """Return the graph in which ``replace`` was asked about every operation; what nothing uses is left out."""
        import tensorflow as tf

        graph = self.function.graph
        library = tf.compat.v1.GraphDef(library=graph.as_graph_def().library)
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in self.inputs]

        def build(*arrays: Any) -> list[Any]:
            tf.graph_util.import_graph_def(library, name="")
            return emit(graph, self.function.inputs, arrays, self.function.outputs, replace)

        built = tf.function(build, input_signature=specs, autograph=False)
        return FrozenGraph(_flat(built.get_concrete_function()), self.inputs, self.outputs)

    def save(self, folder: Path) -> None:
        """Write it as a SavedModel as ``freeze`` does."""
        import tensorflow as tf

        specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in self.inputs]
        names = [tensor.name for tensor in self.outputs]

        @tf.function(input_signature=specs, autograph=False)
        def serve(*arrays: Any) -> dict[str, Any]:
            return dict(zip(names, self.function(*arrays), strict=True))

        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(tf.Module(), str(folder), signatures={SIGNATURE: serve}, options=options)


def read_frozen_graph(saved_model: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> FrozenGraph:
    """Return the graph of a SavedModel that ``freeze`` wrote."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(saved_model)).signatures[SIGNATURE]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in inputs]

    @tf.function(input_signature=specs, autograph=False)
    def call(*arrays: Any) -> list[Any]:
        results = signature(**{spec.name: array for spec, array in zip(specs, arrays, strict=True)})
        return [results[tensor.name] for tensor in outputs]

    graph = FrozenGraph(_flat(call.get_concrete_function()), inputs, outputs)
    # TensorFlow inlines calls of functions that hold no loops.
    return graph.rewritten(_inlined) if _CALLS & graph.types else graph


def _inlined(operation: Any, value: Value) -> Sequence[Any] | None:
    if operation.type not in _CALLS:
        return None
    (body,) = functions_of(operation, "f")
    return emit(body, body.inputs, [value(tensor) for tensor in operation.inputs], body.outputs, _inlined)


def functions_of(operation: Any, *attributes: str) -> list[Any]:
    """Return the graphs of the functions that an operation calls, such as the "cond" and "body" of a loop."""
    from tensorflow.python.ops.control_flow_util_v2 import get_func_graph

    shapes = [tensor.shape for tensor in operation.inputs]
    return [get_func_graph(operation, shapes, operation.get_attr(name).name) for name in attributes]


def emit(graph: Any, given: Sequence[Any], known: Sequence[Any], wanted: Sequence[Any], replace: Replace) -> list[Any]:
    """Copy a graph's operations into the graph that is being traced, asking ``replace`` about each.

    Args:
        graph: the graph.
        given: tensors of the graph that are not to be computed, such as its inputs.
        known: what these are in the new one.
        wanted: tensors of the graph.
        replace: see ``Replace``.

    Returns:
        What the wanted tensors are in the new graph.
    """
    values = {tensor.ref(): each for tensor, each in zip(given, known, strict=True)}

    def value(tensor: Any) -> Any:
        return values[tensor.ref()]

    for operation in graph.get_operations():
        if any(tensor.ref() in values for tensor in operation.outputs):
            continue
        results = replace(operation, value)
        if results is None:
            results = copied(operation, [value(tensor) for tensor in operation.inputs])
        values.update((tensor.ref(), result) for tensor, result in zip(operation.outputs, results, strict=True))
    return [value(tensor) for tensor in wanted]


def copied(operation: Any, inputs: list[Any], same_shapes: bool = True, **functions: str) -> list[Any]:
    """Return the outputs of the same operation on other inputs, in the graph that is being traced.

    Args:
        operation: it.
        inputs: tensors of the traced graph, or arrays.
        same_shapes: whether the outputs have the shapes that they had; otherwise TensorFlow finds them.
        functions: by attributes such as a loop's "body", names of functions of the traced graph that it is to call.
    """
    import tensorflow as tf

    inputs = [tf.constant(each) if isinstance(each, np.ndarray) else each for each in inputs]
    if not operation.outputs:  # an assertion, or a mere order of events
        return []
    attributes = dict(operation.node_def.attr)
    for attribute, name in functions.items():
        attributes[attribute] = tf.compat.v1.AttrValue(func=tf.compat.v1.NameAttrList(name=name))
    graph = tf.compat.v1.get_default_graph()
    copy = graph._create_op_internal(
        operation.type,
        inputs,
        [tensor.dtype for tensor in operation.outputs],
        name=operation.name,
        attrs=attributes,
        op_def=operation.op_def,
    )
    for new, old in zip(copy.outputs, operation.outputs, strict=True):
        if same_shapes and new.dtype != tf.variant:
            new.set_shape(old.shape)
    return list(copy.outputs)


def _flat(function: Any) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)
