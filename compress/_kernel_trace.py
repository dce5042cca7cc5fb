"""Where a model's graph reads its variables: each operation, by a name that is the same whenever it is traced.

A variable may be reshaped and transposed on its way to an operation, and taken into a loop.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._points import traced, used_operations

if TYPE_CHECKING:
    import keras

# On the way of a kernel to its product these change its shape or the order of its axes alone.
_SHAPES = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze", "StopGradient"})
_CALLS = frozenset(
    {"While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall", "IdentityN"}
)


class Trace:
    """A model's operations, each with a name that is the same whenever the model is traced.

    Attributes:
        operations: by name, those with a float32 output that the model's outputs depend on.
        graph: the outermost graph.
    """

    def __init__(self, model: "keras.Model") -> None:
        self.graph, seen = traced(model)
        graphs = {id(graph): graph for graph in (self.graph, *(tensor.graph for _, tensor in seen))}
        self._graphs = list(graphs.values())
        self.used = used_operations(self._graphs)
        self.operations = {name: tensor.op for name, tensor in seen if _key(tensor)[:2] in self.used}
        self._outer = {_key(inner): outer for graph in self._graphs for outer, inner in graph.captures}
        inner = [graph for graph in self._graphs if graph is not self.graph]
        self._captured = {_key(self._outermost(outer)) for graph in inner for outer, _ in graph.captures}
        self._paths = {id(variable.value.handle): variable.path for variable in model.variables}
        self._shapes = {variable.path: tuple(variable.shape) for variable in model.variables}

    def readers(self) -> Iterable[tuple[Any, int, str, np.ndarray | None]]:
        """Yield each operation that reads a variable and is more than a change of its shape: the operation, which of
        its inputs it is, the variable's path, and the place in the flattened variable of each element that is read;
        None where that is not known.
        """
        for graph in self._graphs:
            for operation in graph.get_operations():
                if (id(graph), operation.name) not in self.used or operation.type in _SHAPES | {"Transpose"}:
                    continue
                for place, tensor in enumerate(operation.inputs):
                    if operation.type in _CALLS and _key(self._outermost(tensor)) in self._captured:
                        continue
                    if tensor.dtype.name == "resource":
                        path = self._variable(tensor)
                        if path and operation.type != "ReadVariableOp":
                            yield operation, place, path, None
                        continue
                    origin = self.origin(tensor)
                    if origin:
                        yield operation, place, *origin

    def origin(self, tensor: Any) -> tuple[str, np.ndarray] | None:
        """Return the path of the variable that a tensor holds, and the place in it of each element; None for others."""
        operation = tensor.op
        if operation.type == "ReadVariableOp":
            path = self._variable(operation.inputs[0])
            return (path, np.arange(int(np.prod(self._shapes[path]))).reshape(self._shapes[path])) if path else None
        if operation.type in ("Placeholder", "Const"):
            outer = self._outermost(tensor)
            return self.origin(outer) if _in_graph(outer) and outer is not tensor else None
        if operation.type not in _SHAPES and operation.type != "Transpose":
            return None
        found = self.origin(operation.inputs[0])
        if found is None:
            return None
        path, places = found
        if operation.type == "Transpose":
            import tensorflow as tf

            order = tf.get_static_value(operation.inputs[1])
            return None if order is None else (path, places.transpose(order))
        return (path, places.reshape(tensor.shape)) if tensor.shape.is_fully_defined() else None

    def _variable(self, handle: Any) -> str | None:
        return self._paths.get(id(self._outermost(handle)))

    def _outermost(self, tensor: Any) -> Any:
        """Return what a tensor stands for that an inner graph has taken from an outer one."""
        while _in_graph(tensor) and _key(tensor) in self._outer:
            tensor = self._outer[_key(tensor)]
        return tensor


def _in_graph(tensor: Any) -> bool:
    import tensorflow as tf

    return not isinstance(tensor, tf.__internal__.EagerTensor)


def _key(tensor: Any) -> tuple[int, str, int] | tuple[int]:
    return (id(tensor.graph), tensor.op.name, tensor.value_index) if _in_graph(tensor) else (id(tensor),)
