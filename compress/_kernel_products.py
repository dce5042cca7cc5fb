"""The products of a model's kernels with activations: where its graph has them, and what the kernels are multiplied by.

They are found in the operations that TensorFlow creates for a model's layers, whatever the layers are, inside of loops
too. A kernel may be reshaped and transposed on its way to a product; one that is read in any other way is left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..train._training import as_inputs
from ._points import _each_operation, _used
from ._product_layouts import Layout, layout_of

if TYPE_CHECKING:
    import keras

    from ._activations import Samples

# On the way of a kernel to its product these change its shape or the order of its axes alone.
_SHAPES = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze", "StopGradient"})
_CALLS = frozenset(
    {"While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall", "IdentityN"}
)
# So many elements of Gram matrices are held at a time: 256 MB.
_HELD = 2**26


@dataclass(frozen=True)
class Products:
    """All products of one kernel.

    Attributes:
        path: of the kernel.
        sites: the names of the operations, in the order of computation; see ``Point.name``.
        layout: how they read the kernel, the same in all.
        in_loop: whether one of them is inside of a loop.
    """

    path: str
    sites: tuple[str, ...]
    layout: Layout
    in_loop: bool


class Trace:
    """A model's operations, each with a name that is the same whenever the model is traced.

    Attributes:
        operations: by name, those with a float32 output that the model's outputs depend on.
        graph: the outermost graph.
    """

    def __init__(self, model: "keras.Model") -> None:
        import keras
        import tensorflow as tf

        seen: list[tuple[str, Any]] = []
        specs = [
            tf.TensorSpec(tuple(size or 1 for size in tensor.shape), tensor.dtype, name=tensor.name)
            for tensor in keras.tree.flatten(model.input)
        ]

        @tf.function(input_signature=specs, autograph=False)
        def trace(*arrays: Any) -> Any:
            inputs = keras.tree.pack_sequence_as(model.input, list(arrays))
            with _each_operation(model, lambda name, tensor: seen.append((name, tensor))):
                return keras.tree.flatten(model(inputs, training=False))

        self.graph = trace.get_concrete_function().graph
        graphs = {id(graph): graph for graph in (self.graph, *(tensor.graph for _, tensor in seen))}
        self._graphs = list(graphs.values())
        self.used = _used(self._graphs)
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


def find_products(
    model: "keras.Model", kernels: Sequence["keras.Variable"], trace: Trace | None = None
) -> tuple[list[Products], dict[str, str]]:
    """Return the products of some kernels in the order of computation, and by path why a kernel has none."""
    trace = trace or Trace(model)
    names = {(id(operation.graph), operation.name): name for name, operation in trace.operations.items()}
    order = {name: place for place, name in enumerate(names.values())}
    wanted = {variable.path for variable in kernels}
    found: dict[str, list[tuple[str, Layout, bool]]] = {}
    reasons: dict[str, str] = {}
    for operation, place, path, places in trace.readers():
        if path not in wanted or path in reasons:
            continue
        name = names.get((id(operation.graph), operation.name))
        layout = f"is read by {operation.type}, which is no product of a known kind"
        if name and places is not None:
            layout = layout_of(operation, place, places)
        if isinstance(layout, str):
            reasons[path] = layout
        elif path in found and not np.array_equal(found[path][0][1].places, layout.places):
            reasons[path] = "is multiplied along several of its axes"
        else:
            found.setdefault(path, []).append((name or "", layout, operation.graph is not trace.graph))
    for path in wanted - set(found) - set(reasons):
        reasons[path] = "is in no product with activations in 32 bits: it is changed before, or looked up"
    made = [
        Products(path, tuple(name for name, *_ in sites), sites[0][1], any(inside for *_, inside in sites))
        for path, sites in found.items()
        if path not in reasons
    ]
    return sorted(made, key=lambda product: order[product.sites[0]]), reasons


def in_parts(products: Sequence[Products]) -> Iterable[list[Products]]:
    """Yield the products in runs whose Gram matrices fit into memory together."""
    part: list[Products] = []
    held = 0
    for product in products:
        groups, inputs, _ = product.layout.places.shape
        if part and held + groups * inputs**2 > _HELD:
            yield part
            part, held = [], 0
        part.append(product)
        held += groups * inputs**2
    if part:
        yield part


def gram_matrices(model: "keras.Model", samples: "Samples", products: Sequence[Products]) -> dict[str, np.ndarray]:
    """Return the mean of x x' over all that each kernel is multiplied by, ``[groups, inputs, inputs]``, by path.

    Raises:
        InputError: there are no samples; a value is not finite.
    """
    import tensorflow as tf

    held, counts, by_site = {}, {}, {}
    for product in products:
        groups, inputs, _ = product.layout.places.shape
        held[product.path] = tf.Variable(tf.zeros((groups, inputs, inputs)))
        counts[product.path] = tf.Variable(0.0, dtype=tf.float64)
        by_site.update(dict.fromkeys(product.sites, product))

    def seen(name: str, tensor: Any) -> None:
        if name not in by_site:
            return
        product = by_site[name]
        rows = product.layout.rows(tensor.op)
        held[product.path].assign_add(tf.einsum("ngi,ngj->gij", rows, rows))
        counts[product.path].assign_add(tf.cast(tf.shape(rows)[0], tf.float64))

    run_over(model, samples, seen)
    grams = {path: gram.numpy().astype(np.float64) / max(float(counts[path]), 1) for path, gram in held.items()}
    for path, gram in grams.items():
        if not np.isfinite(gram).all():
            raise InputError(f"Expected finite activations. Got: NaN or infinity in what {path} is multiplied by.")
    return grams


def run_over(model: "keras.Model", samples: "Samples", seen: Callable[[str, Any], Any]) -> list[Any]:
    """Run a model on samples with ``seen`` called at its operations; return the outputs, a list for each batch.

    Raises:
        InputError: there are no samples.
    """
    import keras
    import tensorflow as tf

    @tf.function(autograph=False, reduce_retracing=True)
    def run(inputs: Any) -> Any:
        with _each_operation(model, seen):
            return keras.tree.flatten(model(inputs, training=False))

    types: Mapping[str, Any] = {tensor.name: tensor.dtype for tensor in keras.tree.flatten(model.input)}
    outputs = [
        run(as_inputs(model, {name: tf.cast(array, types[name]) for name, array in batch.items() if name in types}))
        for batch in samples()
    ]
    if not outputs:
        raise InputError("Expected samples to calibrate on (a representative dataset). Got: none.")
    return outputs
