"""Reads an OpenVINO IR into a graph: the .xml, bodies of loops included, and constants from the .bin beside it."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from . import _openvino_metadata
from ._graph import FEW, Graph, Node, Value, elements, weight_bytes, why_uncounted, with_summed_products
from ._openvino_batch import BODIES, Shapes, shape_of, shapes_at_batch_1
from ._openvino_loops import trips
from ._openvino_macs import macs_of

_TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "boolean": "bool"}
_PORT_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64", "boolean": "bool"}
_NARROW = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "uint1": 1, "nf4": 4}


def read(path: Path) -> Graph:
    """Return what an OpenVINO IR (.xml, and .bin beside it) is made of.

    Raises:
        InputError: it is not an IR; a constant lies beyond the end of the .bin.
    """
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"Expected an OpenVINO IR without a DTD. Got: {path}, which has one.")
    root = ElementTree.fromstring(content)
    if root.tag != "net" or root.find("layers") is None:
        raise InputError(f"Expected an OpenVINO IR, with <net> and <layers>. Got: {path}, a file of <{root.tag}>.")
    weights = path.with_suffix(".bin")
    size = weights.stat().st_size if weights.is_file() else None
    return _Reader(root, weights, size, shapes_at_batch_1(path, root)).graph()


class _Reader:
    """One file: values and nodes of the network and of all bodies are numbered through."""

    def __init__(self, root: Any, weights: Path, size: int | None, shapes: Shapes) -> None:
        self.root = root
        self.shapes = shapes
        self.weights = weights
        self.size = size
        self.values: list[Value] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.offsets: set[int] = set()
        self.opset = 0

    def graph(self) -> Graph:
        nodes = list(self._nodes(self.root, "", 1))
        version = self.root.get("version", "")
        return Graph(
            format="openvino",
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            values=tuple(self.values),
            nodes=with_summed_products(nodes, self.values, "Multiply", frozenset({"ReduceSum"})),
            versions={"ir": int(version) if version.isdigit() else 0, "opset": self.opset},
            producer=self._producer(),
            metadata=_openvino_metadata.read(self.root),
        )

    def _producer(self) -> str:
        for place in ("rt_info/Runtime_version", "rt_info/MO_version"):
            found = self.root.find(place)
            if found is not None:
                return f"OpenVINO {found.get('value', '')}"
        return ""

    def _nodes(self, network: Any, body: str, times: int | None) -> Iterator[Node]:
        """Yield the operations of a network, each after those that it depends on, and those of the bodies in it."""
        layers = {layer.get("id"): layer for layer in network.iterfind("layers/layer")}
        sources = {
            (edge.get("to-layer"), edge.get("to-port")): (edge.get("from-layer"), edge.get("from-port"))
            for edge in network.iterfind("edges/edge")
        }
        made: dict[tuple[str | None, str | None], int] = {}
        for key in _ordered(layers, sources):
            layer = layers[key]
            inputs = tuple(
                made.get(sources.get((key, port.get("id")), ("", "")), -1) for port in _ports(layer, "input")
            )
            kind = layer.get("type", "")
            version = layer.get("version", "")
            if version.startswith("opset") and version[5:].isdigit():
                self.opset = max(self.opset, int(version[5:]))
            if kind == "Result":
                self.outputs += inputs if not body else ()
                continue
            settings = _settings(layer)
            for place, port in enumerate(_ports(layer, "output")):
                value = self._value(layer, port, self.shapes.get((body, layer.get("name", ""), place)))
                made[key, port.get("id")] = len(self.values)
                self.values.append(self._constant(value, settings) if kind == "Const" else value)
            outputs = tuple(made[key, port.get("id")] for port in _ports(layer, "output"))
            if kind == "Parameter" and not body:
                self.inputs += outputs
            if kind in ("Parameter", "Const"):
                continue
            yield self._node(layer, inputs, outputs, settings, body, times)
            for part in BODIES:
                inner = layer.find(part)
                if inner is not None:
                    count = self._count(layer, inputs) if part == "body" else None
                    inner_times = None if count is None or times is None else times * count
                    yield from self._nodes(inner, f"{layer.get('name', kind)}, {part}", inner_times)

    def _node(
        self, layer: Any, inputs: tuple[int, ...], outputs: tuple[int, ...], settings: Any, body: str, times: int | None
    ) -> Node:
        read = [self.values[place] if place >= 0 else None for place in inputs]
        written = [self.values[place] for place in outputs]
        version = layer.get("version", "")
        custom = not version.startswith("opset")
        macs, formula = macs_of(layer.get("type", ""), read, written, settings) if not custom else (None, False)
        return Node(
            kind=layer.get("type", ""),
            version=int(version[5:]) if not custom and version[5:].isdigit() else 0,
            name=layer.get("name", ""),
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

    def _value(self, layer: Any, port: Any, at_batch_1: tuple[int, ...] | None = None) -> Value:
        dtype = _dtype(port.get("precision", "").lower(), _PORT_TYPES)
        stated = shape_of(port)
        if any(size < -1 for size in stated):
            raise InputError(f"Expected sizes of at least 0, or -1, in {layer.get('name')}. Got: {stated}.")
        shape = at_batch_1 if at_batch_1 is not None and -1 in stated else stated
        count = elements(shape)
        name = (port.get("names") or layer.get("name", "")).split(",")[0]
        stored = None if count is None else (count * _bits(dtype) + 7) // 8
        return Value(name, shape, dtype, stored, stated=None if stated == shape else stated)

    def _constant(self, value: Value, settings: Mapping[str, Any]) -> Value:
        dtype = _dtype(str(settings.get("element_type", "")), _TYPES)
        offset, stored = int(settings.get("offset", 0)), int(settings.get("size", 0))
        if offset < 0 or stored < 0 or self.size is None or offset + stored > self.size:
            found = "no such file" if self.size is None else f"{self.size} bytes"
            raise InputError(f"Expected {self.weights.name} with at least {offset + stored} bytes. Got: {found}.")
        shared = offset in self.offsets
        self.offsets.add(offset)
        value = replace(value, dtype=dtype, bytes=0 if shared else stored, constant=True)
        width = _bits(dtype) // 8
        # An empty constant takes a byte all the same.
        counted = elements(value.shape) == stored // max(width, 1) and stored % max(width, 1) == 0
        if dtype in _NARROW or dtype.startswith(("bfloat", "unknown")) or not counted or stored > FEW * width:
            return value
        with open(self.weights, "rb") as file:
            file.seek(offset)
            numbers = np.frombuffer(file.read(stored), dtype)
        finite = bool(np.isfinite(numbers).all()) if numbers.dtype.kind in "fiub" else False
        return replace(value, numbers=tuple(numbers.tolist()) if finite else None, zero=not numbers.any())

    def _count(self, layer: Any, inputs: tuple[int, ...]) -> int | None:
        """Return how often a body runs: by the axis that a TensorIterator is cut along, or a Loop's constant count."""
        places = dict(zip((port.get("id") for port in _ports(layer, "input")), inputs, strict=True))
        for entry in layer.iterfind("port_map/input"):
            place = places.get(entry.get("external_port_id"), -1)
            axis = int(entry.get("axis", -1))
            shape = self.values[place].shape if place >= 0 else None
            if axis >= 0 and shape is not None and axis < len(shape) and shape[axis] >= 0:
                return shape[axis] // max(int(entry.get("part_size", 1)), 1)
        if layer.get("type") != "Loop":
            return None
        limit = self._whole(places.get("0", -1))
        return limit if limit is not None and limit >= 0 else trips(layer, self._start_in(places), self._number_of)

    def _start_in(self, places: Mapping[str | None, int]) -> Callable[[str | None], int | None]:
        return lambda port: self._whole(places.get(port, -1))

    def _whole(self, place: int) -> int | None:
        """Return the one whole number that a constant is."""
        numbers = self.values[place].numbers if place >= 0 else None
        return int(numbers[0]) if numbers is not None and len(numbers) == 1 else None

    def _number_of(self, layer: Any) -> int | None:
        """Return the one whole number that a constant layer is, in a body that is not read yet."""
        settings, (port,) = _settings(layer), _ports(layer, "output")
        offsets = set(self.offsets)
        numbers = self._constant(self._value(layer, port), settings).numbers if layer.get("type") == "Const" else None
        self.offsets = offsets
        return int(numbers[0]) if numbers is not None and len(numbers) == 1 else None


def _ordered(layers: Mapping[str | None, Any], sources: Mapping[Any, Any]) -> Iterator[str | None]:
    """Yield the layers, each after those that its inputs come from; a layer in a circle comes where it stands."""
    needed: dict[str | None, list[str | None]] = {key: [] for key in layers}
    for (target, _), (source, _) in sources.items():
        if target in needed and source in layers:
            needed[target].append(source)
    done: set[str | None] = set()
    for key in layers:
        waiting = [(key, iter(needed[key]))]
        entered = {key}
        while waiting:
            current, rest = waiting[-1]
            following = next((other for other in rest if other not in done and other not in entered), None)
            if following is None:
                waiting.pop()
                if current not in done:
                    done.add(current)
                    yield current
            else:
                entered.add(following)
                waiting.append((following, iter(needed[following])))


def _ports(layer: Any, side: str) -> list[Any]:
    return list(layer.iterfind(f"{side}/port"))


def _settings(layer: Any) -> dict[str, Any]:
    data = layer.find("data")
    return {} if data is None else {name: text for name, text in data.items() if len(text) <= 200}


def _dtype(text: str, names: Mapping[str, str]) -> str:
    if text in names:
        return names[text]
    if len(text) > 1 and text[0] in "iu" and text[1:].isdigit():
        return f"{'int' if text[0] == 'i' else 'uint'}{text[1:]}"
    return text or "unknown"


def _bits(dtype: str) -> int:
    if dtype in _NARROW:
        return _NARROW[dtype]
    if dtype == "bfloat16":
        return 16
    try:
        return 8 * np.dtype(dtype).itemsize
    except TypeError:
        return 8 if dtype.startswith("f8") else 0
