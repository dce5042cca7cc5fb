"""Reads a TFLite file into a graph: its flatbuffer, by the schema that LiteRT ships.

An interpreter is started for files with an open batch alone.
"""

import math
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from ..errors import InputError
from . import _tflite_metadata
from ._graph import FEW, Graph, Node, Value, weight_bytes, why_uncounted, with_summed_products
from ._tflite_batch import shapes_at_batch_1
from ._tflite_flatbuffer import by_number, items, names_of, text, unpacked
from ._tflite_loops import trips
from ._tflite_macs import NOT_COUNTED, macs_of
from ._work import DETECTIONS

_IDENTIFIER = b"TFL3"
# What flexbuffers raises for bytes that it did not write.
_NO_FLEXBUFFER = (ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error)
# Attributes that name other subgraphs.
_SUBGRAPHS = (
    "condSubgraphIndex",
    "bodySubgraphIndex",
    "thenSubgraphIndex",
    "elseSubgraphIndex",
    "initSubgraphIndex",
    "decompositionSubgraphIndex",
)
_STATED_RUNTIME = "min_runtime_version"
# Bits of an element where it is not whole bytes, and of types that NumPy has no name for.
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "bool": 8, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
_NUMPY = {"float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}


def read(path: Path) -> Graph:
    """Return what a .tflite file is made of.

    Raises:
        InputError: it is not TFLite. What is broken further in raises whatever the flatbuffer's reader raises.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise InputError(f"Expected a TFLite file, with {_IDENTIFIER.decode()} at byte 4. Got: {path}, which has none.")
    return _Reader(schema, unpacked(content), content).graph()


def _detections(operator: Any) -> dict[str, Any]:
    """Return how many boxes an operation that sorts boxes keeps, and its other settings; nothing where unreadable."""
    try:
        found = flexbuffers.Loads(bytes(bytearray(items(operator.customOptions))))
    except _NO_FLEXBUFFER:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)} if isinstance(found, dict) else {}


class _Reader:
    """One file: values and nodes of all of its subgraphs are numbered through."""

    def __init__(self, schema: Any, model: Any, content: bytes) -> None:
        self.model = model
        self.content = content
        self.types = by_number(schema.TensorType)
        self.kinds = by_number(schema.BuiltinOperator)
        self.activations = by_number(schema.ActivationFunctionType)
        self.subgraphs = model.subgraphs or []
        self.starts = np.cumsum([0, *(len(subgraph.tensors or []) for subgraph in self.subgraphs)]).tolist()
        self.stored: set[int] = set()
        self.named = names_of(model)
        self.shapes = shapes_at_batch_1(model, content)

    def graph(self) -> Graph:
        if not self.subgraphs:
            raise InputError("Expected a TFLite file with at least one subgraph. Got: none.")
        values = tuple(
            self._value(tensor, self.named.get((place, index), ""), self.shapes.get((place, index)))
            for place, subgraph in enumerate(self.subgraphs)
            for index, tensor in enumerate(items(subgraph.tensors))
        )
        parents = self._parents()
        nodes = [
            node
            for place, subgraph in enumerate(self.subgraphs)
            for node in self._nodes(place, subgraph, values, *self._standing(place, parents, values))
        ]
        first = self.subgraphs[0]
        metadata, notes = self._metadata()
        return Graph(
            format="tflite",
            inputs=self._places(0, first.inputs),
            outputs=self._places(0, first.outputs),
            values=values,
            nodes=with_summed_products(nodes, values, "MUL", frozenset({"SUM"})),
            versions={"schema": int(self.model.version)},
            producer=text(self.model.description),
            stated_runtime=self._entries.get(_STATED_RUNTIME, b"").rstrip(b"\0").decode("ascii", "replace"),
            metadata=metadata,
            notes=(*self._notes(parents), *notes),
        )

    def _value(self, tensor: Any, name: str, at_batch_1: tuple[int, ...] | None) -> Value:
        dtype = self.types.get(tensor.type, f"type {tensor.type}").lower()
        stated = self._shape(tensor)
        shape = stated if at_batch_1 is None else at_batch_1
        data = self._data(tensor)
        constant = data is not None
        numbers = self._numbers(data, dtype) if data is not None and tensor.sparsity is None else None
        scales, zeros = [], []
        if tensor.quantization is not None:
            scales, zeros = list(items(tensor.quantization.scale)), list(items(tensor.quantization.zeroPoint))
            if tensor.quantization.details is not None and not scales:
                scales = [math.nan]  # blocks: their scales stand in a tensor of their own
        return Value(
            name=name or text(tensor.name),
            shape=shape,
            dtype=dtype,
            bytes=self._bytes(tensor, data, dtype, shape),
            constant=constant,
            scale=float(scales[0]) if scales and math.isfinite(scales[0]) else None,
            zero_point=int(zeros[0]) if zeros else None,
            scales=len(scales),
            sparse=tensor.sparsity is not None,
            numbers=numbers,
            zero=constant and bool(np.all(np.frombuffer(data or b"", np.uint8) == _zero_byte(zeros, dtype))),
            stated=None if stated == shape else stated,
        )

    def _shape(self, tensor: Any) -> tuple[int, ...] | None:
        if tensor.shapeSignature is not None and len(tensor.shapeSignature):
            return tuple(int(size) for size in tensor.shapeSignature)
        if tensor.shape is None or not len(tensor.shape):
            # A scalar, or a tensor whose rank is not known: the file's flag for that is often left unset.
            return ()
        return tuple(int(size) for size in tensor.shape)

    def _data(self, tensor: Any) -> bytes | None:
        """Return the bytes that the file holds for a tensor, or None."""
        buffer = self.model.buffers[tensor.buffer]
        if buffer.offset > 1:
            if buffer.offset + buffer.size > len(self.content):
                raise InputError(
                    f"Expected {buffer.size} bytes at {buffer.offset} for {text(tensor.name)}. Got: the file's end."
                )
            return self.content[buffer.offset : buffer.offset + buffer.size]
        if buffer.data is None or not len(buffer.data):
            return None
        return np.asarray(buffer.data, np.uint8).tobytes()

    def _bytes(self, tensor: Any, data: bytes | None, dtype: str, shape: tuple[int, ...] | None) -> int | None:
        if data is not None:
            if tensor.buffer in self.stored:
                return 0
            self.stored.add(tensor.buffer)
            return len(data)
        if shape is None or any(size < 0 for size in shape):
            return None
        return (math.prod(shape) * _bits(dtype) + 7) // 8

    def _numbers(self, data: bytes, dtype: str) -> tuple[float, ...] | None:
        if dtype not in _NUMPY or len(data) % np.dtype(dtype).itemsize or len(data) // np.dtype(dtype).itemsize > FEW:
            return None
        numbers = np.frombuffer(data, dtype)
        return tuple(numbers.tolist()) if np.isfinite(numbers).all() else None

    def _nodes(
        self, place: int, subgraph: Any, values: tuple[Value, ...], body: str, times: int | None
    ) -> Iterator[Node]:
        for operator in items(subgraph.operators):
            code = self.model.operatorCodes[operator.opcodeIndex]
            # Files before 2.4 have the code in the narrow field alone, where 127 stands for "in the wide one".
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            custom = self.kinds.get(number) == "CUSTOM"
            kind = text(code.customCode) if custom else self.kinds.get(number, f"operator {number}")
            inputs, outputs = self._places(place, operator.inputs), self._places(place, operator.outputs)
            settings = self._settings(operator) | (_detections(operator) if kind == DETECTIONS else {})
            read = [values[index] if index >= 0 else None for index in inputs]
            written = [values[index] for index in outputs if index >= 0]
            known = not custom and not kind.startswith(("STABLEHLO", "operator", *NOT_COUNTED))
            # What sorts a detector's boxes multiplies nothing, and is counted as such where its options can be read.
            sorts = kind == DETECTIONS and "max_detections" in settings
            macs = macs_of(kind, read, written, settings) if known else 0 if sorts else None
            yield Node(
                kind=kind,
                version=int(code.version),
                name="",
                inputs=inputs,
                outputs=outputs,
                macs=macs,
                weight_bytes=weight_bytes(read),
                settings=settings,
                body=body,
                times=times,
                custom=custom,
                note=why_uncounted(macs, known),
            )

    def _places(self, subgraph: int, tensors: Any) -> tuple[int, ...]:
        start, end = self.starts[subgraph], self.starts[subgraph + 1]
        places = tuple(start + int(index) if index >= 0 else -1 for index in items(tensors))
        if any(index >= end for index in places):
            raise InputError(f"Expected tensors below {end - start} in subgraph {subgraph}. Got: {list(tensors)}.")
        return places

    def _settings(self, operator: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for options in (operator.builtinOptions, operator.builtinOptions2):
            for name, value in vars(options).items() if options is not None else ():
                if name == "fusedActivationFunction":
                    found[name] = self.activations.get(value, str(value))
                elif isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
                    found[name] = value
                elif isinstance(value, bytes):
                    found[name] = text(value)
                elif isinstance(value, list | np.ndarray) and len(value) <= FEW:
                    found[name] = [int(item) for item in value if isinstance(item, int | np.integer)]
        return found

    def _parents(self) -> dict[int, tuple[int, Any, str]]:
        """Return for each subgraph that an operation runs: the subgraph and the operation, and as what."""
        found: dict[int, tuple[int, Any, str]] = {}
        for place, subgraph in enumerate(self.subgraphs):
            for operator in items(subgraph.operators):
                options = {**_fields(operator.builtinOptions), **_fields(operator.builtinOptions2)}
                for name in _SUBGRAPHS:
                    if name in options and 0 < options[name] < len(self.subgraphs):
                        found.setdefault(options[name], (place, operator, name.removesuffix("SubgraphIndex")))
        return found

    def _standing(
        self, place: int, parents: dict[int, tuple[int, Any, str]], values: tuple[Value, ...], depth: int = 0
    ) -> tuple[str, int | None]:
        """Return the name of a subgraph, empty for the first, and how often it runs in one inference."""
        if place == 0:
            return "", 1
        name = text(self.subgraphs[place].name) or f"subgraph {place}"
        if place not in parents or depth > len(self.subgraphs):
            return name, 0
        outer, operator, role = parents[place]
        _, outer_times = self._standing(outer, parents, values, depth + 1)
        if role in ("cond", "body"):
            options = operator.builtinOptions
            count = trips(
                [
                    (self.subgraphs[index], values[self.starts[index] : self.starts[index + 1]])
                    for index in (outer, options.condSubgraphIndex, options.bodySubgraphIndex)
                ],
                operator,
                lambda made: self.kinds.get(
                    max(
                        self.model.operatorCodes[made.opcodeIndex].builtinCode,
                        self.model.operatorCodes[made.opcodeIndex].deprecatedBuiltinCode,
                    ),
                    "",
                ),
            )
            times = None if count is None else count + (role == "cond")
        else:
            times = 1 if role in ("init", "decomposition") else None
        return f"{name}, {role} of an operation", None if times is None or outer_times is None else times * outer_times

    @cached_property
    def _entries(self) -> dict[str, bytes]:
        """The file's metadata buffers, by their names."""
        buffers = {text(entry.name): self.model.buffers[entry.buffer].data for entry in items(self.model.metadata)}
        return {name: bytes(bytearray(data)) for name, data in buffers.items() if data is not None}

    def _metadata(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return what the file tells of its model; where that is broken, the rest is read and a note says so."""
        try:
            return _tflite_metadata.read(self._entries), ()
        except (ValueError, IndexError, struct.error) as error:
            return {}, (f"Its metadata could not be read: {error}.",)

    def _notes(self, parents: dict[int, tuple[int, Any, str]]) -> Iterator[str]:
        others = [
            text(subgraph.name) or f"subgraph {place}"
            for place, subgraph in enumerate(self.subgraphs)
            if place and place not in parents
        ]
        if others:
            yield f"Further entry points, which one inference does not run: {', '.join(others)}."


def _fields(options: Any) -> dict[str, Any]:
    return {} if options is None else vars(options)


def _bits(dtype: str) -> int:
    return 8 * np.dtype(dtype).itemsize if dtype in _NUMPY else _BITS.get(dtype, 0)


def _zero_byte(zeros: list[Any], dtype: str) -> int:
    """Return the byte that each number of a constant of zeros is stored as: its zero point where it has one byte."""
    return int(zeros[0]) % 256 if len(zeros) == 1 and dtype in ("int8", "uint8") else 0
