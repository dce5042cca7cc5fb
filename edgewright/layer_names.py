"""Which Keras layer each operation of a file comes from, by the names that converters keep."""

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .export import Graph, Node

# How a layer was found: by a name in the file; by the order of multiplications in another file of the same graph; or by
# the operation next to it.
NAME, ORDER, NEIGHBOUR = "name", "order", "neighbour"
_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")
_NUMBERED = re.compile(r"_\d+$")
# Names that TensorFlow gives to groups of operations within a layer.
_WITHIN = {
    *("add", "batchnorm", "biasadd", "body", "cast", "concat", "cond", "conv2d", "convolution", "depthwise", "einsum"),
    *("expanddims", "matmul", "mean", "moments", "mul", "readvariableop", "relu", "reshape", "softmax", "squeeze"),
    *("strided_slice", "sub", "tensordot", "transpose", "while"),
}
_LOOPS = {"body", "cond", "while"}
# Last parts of names that tell what multiplies by a kernel: a fused operation goes by that one's layer.
_PRODUCTS = {
    *("conv2d", "conv2dbackpropinput", "conv2dtranspose", "convolution", "depthwise", "einsum", "matmul", "tensordot"),
}
# What OpenVINO and NNCF put behind the name of an operation that they quantize.
_QUANTIZER = re.compile(r"fq_(output|weights)_\d+|Dequantization\w+")


@dataclass(frozen=True)
class Origin:
    """Where an operation of a file comes from.

    Attributes:
        model: the model's name in the file; empty where the names do not share one.
        layer: the layer's path below it, such as ("encoder", "dense"); empty where it is not known.
        how: by what it was found; empty where it is not known.
        also: the paths of other layers that are fused into the operation.
    """

    model: str = ""
    layer: tuple[str, ...] = ()
    how: str = ""
    also: tuple[tuple[str, ...], ...] = ()


def known_layers(model: Path) -> frozenset[str]:
    """Return the names of a .keras file's layers, those in layers too, and the model's; empty for any other file."""
    try:
        with zipfile.ZipFile(model) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return frozenset()
    return frozenset(_names_in(config))


def _names_in(config: object) -> Iterable[str]:
    if isinstance(config, dict):
        inner = config.get("config")
        if "class_name" in config and isinstance(inner, dict) and isinstance(inner.get("name"), str):
            yield inner["name"]
        for value in config.values():
            yield from _names_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from _names_in(value)


def origins(graph: Graph, known: frozenset[str] = frozenset(), other: Graph | None = None) -> tuple[Origin, ...]:
    """Return each operation's origin, in the graph's order.

    Args:
        graph: a file's.
        known: the names of the Keras model's layers, where they are known.
        other: another file of the same Keras graph, for multiplications whose names the converter lost.
    """
    reader = _Paths(graph, known)
    found = [reader.origin(node) for node in graph.nodes]
    if other is not None:
        _fill_by_order(graph, found, other, known)
    _fill_by_neighbours(graph, found)
    return tuple(found)


class _Paths:
    """Reads layers' paths out of a file's names."""

    def __init__(self, graph: Graph, known: frozenset[str]) -> None:
        self.graph, self.known = graph, known
        self.makers = {place: node for node in graph.nodes for place in node.outputs}
        firsts = Counter(parts[0] for node in graph.nodes for name in self._own(node) if len(parts := _parts(name)) > 1)
        most, count = firsts.most_common(1)[0] if firsts else ("", 0)
        self.first = most if count > firsts.total() / 2 and (len(firsts) == 1 or _NUMBERED.search(most)) else ""
        # As edgewright freezes a model, the model's name and each layer's have a number behind them.
        self.numbered = bool(_NUMBERED.search(self.first)) and self.first not in known

    def origin(self, node: Node) -> Origin:
        """Return the origin that a node's names tell."""
        names = [name for name in self._own(node) if self._layer(name) is not None]
        if not names or (node.macs and not any(_last(name) in _PRODUCTS for name in names)):
            names = [name for name in self._weights(node) if self._layer(name)] or names
        if not names:
            return Origin()
        main = next((name for name in names if _last(name) in _PRODUCTS), names[0])
        layer = self._layer(main) or ()
        also = dict.fromkeys(path for name in names if (path := self._layer(name)) and path != layer)
        model = self._bare(self.first)
        return Origin(model, layer or (model or main,), NAME, tuple(also))

    def _own(self, node: Node) -> list[str]:
        names = [node.name] if node.name else []
        names += [self.graph.values[place].name for place in node.outputs if place >= 0]
        return [part for name in names for part in name.split(";") if part]

    def _weights(self, node: Node) -> list[str]:
        """Return the names of the constants that a node reads, by way of what turns stored numbers into real ones."""
        names = []
        for place in (*node.inputs[1:], *node.inputs[:1]):
            if place >= 0:
                maker = self.makers.get(place)
                if maker is None:
                    names += [self.graph.values[place].name] if self.graph.values[place].constant else []
                elif maker.inputs and self.graph.values[maker.inputs[0]].constant:
                    names += [*self._own(maker), self.graph.values[maker.inputs[0]].name]
        return [part for name in names for part in name.split(";") if part]

    def _layer(self, name: str) -> tuple[str, ...] | None:
        """Return the path of the layer that a name stands in, below the model; None where it tells none."""
        parts = _parts(name)
        if len(parts) == 1 and parts[0] in self.known:
            return (parts[0],)
        scope = parts[:-1]
        if self.first and scope[:1] == [self.first]:
            scope = scope[1:]
        elif self.first or not scope:
            return None
        while scope and self._within(scope[-1]):
            scope.pop()
        return tuple(self._bare(part) for part in scope if part in self.known or part not in _LOOPS)

    def _within(self, part: str) -> bool:
        """Whether a part of a name is TensorFlow's, for operations within a layer."""
        bare = self._bare(part)
        if bare in self.known:
            return False
        numbered = bool(_NUMBERED.search(part))
        return _NUMBERED.sub("", part).lower() in _WITHIN if numbered or not self.numbered else True

    def _bare(self, part: str) -> str:
        """Return a layer's name as Keras has it."""
        stripped = _NUMBERED.sub("", part)
        if stripped == part or (part in self.known and stripped not in self.known):
            return part
        return stripped if self.numbered else part


def _parts(name: str) -> list[str]:
    """Return the parts of a name without what converters put around it.

    >>> _parts("PartitionedCall/net_1/dense_1/MatMul:0")
    ['net_1', 'dense_1', 'MatMul']
    """
    parts = [part for part in name.split(":")[0].split("/") if part]
    while len(parts) > 1 and _CALL.fullmatch(parts[0]):
        parts = parts[1:]
    while len(parts) > 1 and _QUANTIZER.fullmatch(parts[-1]):
        parts = parts[:-1]
    return parts or [name]


def _last(name: str) -> str:
    """Return the operation that a name ends in, as TensorFlow calls it, without numbers behind it."""
    inner = [re.sub(r"(_\w*)?_*\d+$", "", part).lower() for part in _parts(name)[1:]]
    return next((part for part in reversed(inner) if part in _PRODUCTS), inner[-1] if inner else "")


def _fill_by_order(graph: Graph, found: list[Origin], other: Graph, known: frozenset[str]) -> None:
    """Where two files of one graph multiply the same numbers in the same order, take layers from the other file."""
    named = origins(other, known)
    here = [place for place, node in enumerate(graph.nodes) if node.macs]
    there = [place for place, node in enumerate(other.nodes) if node.macs]
    if [graph.nodes[place].macs for place in here] != [other.nodes[place].macs for place in there]:
        return
    for place, twin in zip(here, there, strict=True):
        if not found[place].layer and named[twin].how == NAME:
            found[place] = Origin(named[twin].model, named[twin].layer, ORDER, named[twin].also)


def _fill_by_neighbours(graph: Graph, found: list[Origin]) -> None:
    """Give an operation without a layer that of what it reads, else of what reads it; not past a multiplication."""
    makers = {place: index for index, node in enumerate(graph.nodes) for place in node.outputs}
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for place in node.inputs:
            readers.setdefault(place, []).append(index)
    for index, node in enumerate(graph.nodes):
        if not found[index].layer and not node.macs:
            _take(found, index, [makers[place] for place in node.inputs if place in makers])
    for index in reversed(range(len(graph.nodes))):
        if not found[index].layer:
            after = [reader for place in graph.nodes[index].outputs for reader in readers.get(place, [])]
            past = [each for each in after if not (graph.nodes[index].macs and graph.nodes[each].macs)]
            _take(found, index, past)


def _take(found: list[Origin], index: int, others: Sequence[int]) -> None:
    near = next((found[other] for other in others if found[other].layer), None)
    if near:
        found[index] = Origin(near.model, near.layer, NEIGHBOUR)
