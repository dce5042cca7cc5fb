"""Reads an ONNX file into a graph, with the shapes that can be inferred; data in files beside it is not opened."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from . import _onnx_metadata
from ._beside import check_data
from ._graph import FEW, Graph, Node, Value, elements, weight_bytes, why_uncounted, with_summed_products
from ._onnx_loops import trips
from ._onnx_macs import macs_of
from ._onnx_ran import ran_shapes
from ._onnx_shapes import with_shapes
from ._onnx_signature import fix_batch, forget_shapes, is_open
from ._onnx_weights import graphs_of

_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
# Names of element types where lower case is not enough.
_TYPES = {"float": "float32", "double": "float64"}
_BITS = {"int4": 4, "uint4": 4, "float4e2m1": 4, "int2": 2, "uint2": 2, "bool": 8, "bfloat16": 16, "complex64": 64}
# Beyond this many numbers it is not looked at whether a constant is all zeros.
_LOOKED_AT = 65536
_UNBOUNDED = 2**31 - 1
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def read(path: Path) -> Graph:
    """Return what an .onnx file is made of.

    Raises:
        InputError: it holds no graph, or lacks what operations read. What is broken raises whatever protobuf or onnx
            raises.
    """
    import onnx
    import onnx.inliner
    import onnx.reference

    model = onnx.load_model(str(path), load_external_data=False)
    if not model.graph.node and not model.graph.output:
        raise InputError(f"Expected an ONNX file with a graph. Got: {path}, which has none.")
    check_data(model, path)
    notes = []
    try:
        model = onnx.inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # the functions' calls are read as operations of unknown work
        notes.append(f"ONNX could not write out the model's functions: {str(error).splitlines()[0][:200]}.")
    graph = model.graph
    stated = {value.name: _shape(value.type) for value in (*graph.input, *graph.output) if is_open(value)}
    if fix_batch(model):
        forget_shapes(model)
    try:
        model = with_shapes(onnx, model)
    except Exception as error:  # the file is read without inferred shapes
        notes.append(f"ONNX could infer no shapes: {str(error).splitlines()[0][:200]}.")
    _fill_shapes(model, path)
    return _Reader(onnx, model, notes, stated).graph()


def _fill_shapes(model: Any, path: Path) -> None:
    """Give what has no known shape that of one inference."""
    known = {value.name for value in (*model.graph.value_info, *model.graph.output) if not is_open(value)}
    if all(name in known for node in model.graph.node for name in node.output if name):
        return
    found = {name: value for name, value in ran_shapes(model, path).items() if name not in known}
    kept = [value for value in model.graph.value_info if value.name not in found]
    outputs = [value for value in model.graph.output if value.name in found]
    del model.graph.value_info[:]
    model.graph.value_info.extend([*kept, *(found[name] for name in found.keys() - {value.name for value in outputs})])
    for value in outputs:
        value.CopyFrom(found[value.name])


class _Reader:
    """One file: values and nodes of its graph and of all bodies are numbered through."""

    def __init__(self, onnx: Any, model: Any, notes: list[str], stated: Mapping[str, tuple[int, ...] | None]) -> None:
        self.onnx = onnx
        self.model = model
        self.notes = notes
        self.stated = stated
        self.values: list[Value] = []
        self.opsets = {opset.domain or "ai.onnx": int(opset.version) for opset in model.opset_import}
        self.made = {name for graph in graphs_of(model.graph) for node in graph.node for name in node.output}
        self.functions = {(function.domain, function.name) for function in model.functions}

    def graph(self) -> Graph:
        graph = self.model.graph
        scope: dict[str, int] = {}
        nodes = list(self._nodes(graph, scope, "", 1))
        initializers = {tensor.name for tensor in graph.initializer}
        self._quantize(nodes)
        if self.functions:
            names = ", ".join(sorted(name for _, name in self.functions))
            self.notes.append(f"Functions of the model, not looked into: {names}.")
        return Graph(
            format="onnx",
            inputs=tuple(scope[value.name] for value in graph.input if value.name not in initializers),
            outputs=tuple(scope[value.name] for value in graph.output if value.name in scope),
            values=tuple(self.values),
            nodes=with_summed_products(nodes, self.values, "Mul", frozenset({"ReduceSum"})),
            versions={"ir": int(self.model.ir_version), **self.opsets},
            producer=" ".join(part for part in (self.model.producer_name, self.model.producer_version) if part),
            metadata=_onnx_metadata.read(self.model),
            notes=tuple(self.notes),
        )

    def _nodes(self, graph: Any, scope: dict[str, int], body: str, times: int | None) -> Iterator[Node]:
        """Yield the operations of a graph and of the bodies in it; ``scope`` gets the graph's own names."""
        types = {value.name: value.type for value in (*graph.value_info, *graph.output, *graph.input)}
        for tensor in graph.initializer:
            scope[tensor.name] = self._add(self._constant(tensor))
        for sparse in graph.sparse_initializer:
            value = self._constant(sparse.values)
            scope[value.name] = self._add(replace(value, shape=tuple(sparse.dims), sparse=True, numbers=None))
        for entry in graph.input:
            if entry.name not in scope or body:
                scope[entry.name] = self._add(self._typed(entry.name, types))
        for place, node in enumerate(graph.node):
            if node.op_type == "Constant" and node.domain in _STANDARD:
                scope[node.output[0]] = self._add(self._constant_node(node))
                continue
            for name in node.output:
                if name:
                    scope[name] = self._add(self._typed(name, types))
            yield self._node(node, scope, body, times)
            label = node.name or f"{node.op_type} {place}"
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    count = None if times is None else self._count(node, scope)
                    inner_times = None if count is None or times is None else times * count
                    yield from self._nodes(inner, dict(scope), f"{label}, {attribute.name}", inner_times)

    def _node(self, node: Any, scope: dict[str, int], body: str, times: int | None) -> Node:
        lost = [name for name in node.input if name and name not in scope and name not in self.made]
        if lost:
            raise InputError(
                f"Expected inputs that the file holds or an operation makes. Got: {lost[0]!r}, which "
                f"{node.name or node.op_type} reads and nothing makes."
            )
        inputs = tuple(scope.get(name, -1) if name else -1 for name in node.input)
        outputs = tuple(scope[name] if name else -1 for name in node.output)
        read = [self.values[place] if place >= 0 else None for place in inputs]
        written = [self.values[place] for place in outputs if place >= 0]
        settings = self._settings(node)
        version = self._version(node)
        custom = version is None
        known = (node.domain, node.op_type) not in self.functions
        macs, formula = macs_of(node.op_type, custom, read, written, settings) if known else (None, False)
        return Node(
            kind=node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}",
            version=self.opsets.get(node.domain or "ai.onnx", 0) if version is None else version,
            name=node.name,
            inputs=inputs,
            outputs=outputs,
            macs=macs,
            weight_bytes=weight_bytes(read),
            settings=settings,
            body=body,
            times=times,
            custom=custom,
            note=why_uncounted(macs, formula),
        )

    def _version(self, node: Any) -> int | None:
        """Return the operation set that brought this form of an operation; None where ONNX knows none."""
        opset = self.opsets.get(node.domain or "ai.onnx", 0)
        try:
            return int(self.onnx.defs.get_schema(node.op_type, opset, node.domain).since_version)
        except Exception:  # of another domain, or of none at all
            return None

    def _count(self, node: Any, scope: Mapping[str, int]) -> int | None:
        """Return how often the body of a Loop or Scan runs at most, where the file tells; None for a branch."""
        if node.op_type == "Loop":
            most = self._number(node.input[0], scope)
            # Converters write the largest integer where only the condition ends a loop.
            if most is not None and 0 <= most < _UNBOUNDED:
                return int(most)
            body = next((attribute.g for attribute in node.attribute if attribute.name == "body"), None)
            starts = [self._number(name, scope) for name in node.input[2:]]
            return None if body is None else trips(body, starts, lambda name: self._number_in(body, name, scope))
        if node.op_type == "Scan" and len(node.input):
            shape = self.values[scope[node.input[-1]]].shape if node.input[-1] in scope else None
            axes = next((list(made.ints) for made in node.attribute if made.name == "scan_input_axes"), [0])
            return shape[axes[-1]] if shape and -len(shape) <= axes[-1] < len(shape) and shape[axes[-1]] >= 0 else None
        return None

    def _number(self, name: str, scope: Mapping[str, int]) -> float | None:
        """Return the one number that a constant is."""
        numbers = self.values[scope[name]].numbers if name in scope else None
        return numbers[0] if numbers is not None and len(numbers) == 1 else None

    def _number_in(self, body: Any, name: str, scope: Mapping[str, int]) -> float | None:
        """Return the one number that a constant is, in a body that is not read yet or around it."""
        constants = [tensor for tensor in body.initializer if tensor.name == name]
        constants += [
            attribute.t
            for node in body.node
            if node.op_type == "Constant" and name in node.output
            for attribute in node.attribute
            if attribute.name == "value"
        ]
        if not constants:
            return self._number(name, scope)
        numbers = self._constant(constants[0]).numbers
        return numbers[0] if numbers is not None and len(numbers) == 1 else None

    def _settings(self, node: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for attribute in node.attribute:
            value = self.onnx.helper.get_attribute_value(attribute)
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            numbers = value if isinstance(value, list) else [] if isinstance(value, str) else [value]
            if len(numbers) <= FEW and all(isinstance(item, int | float) and np.isfinite(item) for item in numbers):
                found[attribute.name] = value
        return found

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _typed(self, name: str, types: Mapping[str, Any]) -> Value:
        made = types.get(name)
        if made is None or not made.HasField("tensor_type"):
            return Value(name, None, "unknown" if made is None else str(made.WhichOneof("value")), None)
        dtype = self._dtype(made.tensor_type.elem_type)
        stated, shape = self.stated.get(name), _shape(made)
        shape = stated if shape is None else shape
        count = elements(shape)
        stored = None if count is None else (count * _bits(dtype) + 7) // 8
        return Value(name, shape, dtype, stored, stated=None if stated == shape else stated)

    def _dtype(self, number: int) -> str:
        try:
            name = self.onnx.TensorProto.DataType.Name(number).lower()
        except ValueError:
            return f"type {number}"
        return _TYPES.get(name, name)

    def _constant_node(self, node: Any) -> Value:
        for attribute in node.attribute:
            if attribute.name == "value":
                return replace(self._constant(attribute.t), name=node.output[0])
            if attribute.name in ("value_float", "value_int", "value_floats", "value_ints"):
                number = np.asarray(self.onnx.helper.get_attribute_value(attribute))
                tensor = self.onnx.numpy_helper.from_array(
                    number.astype(np.float32 if "float" in attribute.name else np.int64), node.output[0]
                )
                return self._constant(tensor)
        return Value(node.output[0], None, "unknown", None, constant=True)

    def _constant(self, tensor: Any) -> Value:
        dtype = self._dtype(tensor.data_type)
        shape = tuple(int(size) for size in tensor.dims)
        count = elements(shape) or 0
        external = {entry.key: entry.value for entry in tensor.external_data}
        numbers, zero = None, False
        if not external and count <= _LOOKED_AT:
            array = self.onnx.numpy_helper.to_array(tensor)
            if array.dtype.kind in "biuf" or dtype in _BITS:
                flat = array.astype(np.float64 if array.dtype.kind not in "biu" else np.int64).ravel()
                zero = not flat.any()
                numbers = tuple(flat.tolist()) if count <= FEW and np.isfinite(flat).all() else None
        stored = len(tensor.raw_data) or (count * _bits(dtype) + 7) // 8
        stored = int(external["length"]) if external.get("length", "").isdigit() else stored
        return Value(tensor.name, shape, dtype, stored, constant=True, numbers=numbers, zero=zero)

    def _quantize(self, nodes: list[Node]) -> None:
        """Give each quantized tensor the scale that stands in the operation that makes it or undoes it."""
        for node in nodes:
            if node.kind not in _QUANTIZERS or len(node.inputs) < 2 or node.inputs[1] < 0:
                continue
            place = node.outputs[0] if node.kind == "QuantizeLinear" else node.inputs[0]
            scales = self.values[node.inputs[1]]
            zeros = self.values[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] >= 0 else None
            if place < 0 or self.values[place].scales:
                continue
            first = 0 if zeros is None or zeros.zero else int(zeros.numbers[0]) if zeros.numbers else None
            self.values[place] = replace(
                self.values[place],
                scale=float(scales.numbers[0]) if scales.numbers else None,
                zero_point=first,
                scales=elements(scales.shape) or 0,
            )


def _shape(kind: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor's type, -1 for a size that it leaves open; None where it states no rank."""
    if not kind.tensor_type.HasField("shape"):
        return None
    return tuple(int(dim.dim_value) if dim.HasField("dim_value") else -1 for dim in kind.tensor_type.shape.dim)


def _bits(dtype: str) -> int:
    try:
        return _BITS.get(dtype) or 8 * np.dtype(dtype).itemsize
    except TypeError:
        return 8 if dtype.startswith("float8") else 0
