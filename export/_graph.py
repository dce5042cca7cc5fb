"""What a file of any format is made of, as one plain value: tensors, operations, shapes, multiply-accumulates."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Constants of up to this many numbers are kept: axes, shapes, strides, bounds.
FEW = 16
# An operation that is not one of the format's own (a custom one) may multiply: nobody can count that.
NO_FORMULA = "no formula for this operation"
UNKNOWN_SHAPE = "a shape is not known"


@dataclass(frozen=True)
class Value:
    """A tensor of a graph.

    Attributes:
        name: as the file has it; a TFLite file's inputs and outputs go by the names of its signature.
        shape: at a batch of 1; -1 for each size that is decided as the model runs; None where not even the rank is
            known.
        dtype: such as "float32", "int8" or "int4".
        bytes: of a constant, what it takes in the file (0 where another one stores the same bytes); of any other, what
            it takes in memory. None where the shape is not known.
        constant: whether the file holds its numbers.
        scale, zero_point: ``real = scale * (stored - zero_point)``; the first of several; None for one without.
        scales: how many scales it has: 0 for none, 1 for the whole tensor, else one a channel or block.
        sparse: whether it is stored without its zeros.
        numbers: of a constant of at most 16 numbers.
        zero: whether a constant is nothing but zeros, as far as that was looked at.
        stated: the shape in the file, with -1 for open sizes, where a batch of 1 decides some of them; None where it is
            the same.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    bytes: int | None
    constant: bool = False
    scale: float | None = None
    zero_point: int | None = None
    scales: int = 0
    sparse: bool = False
    numbers: tuple[float, ...] | None = None
    zero: bool = False
    stated: tuple[int, ...] | None = None

    @property
    def static(self) -> bool:
        """Whether all of its sizes are known, at a batch of 1."""
        return self.shape is not None and all(size >= 0 for size in self.shape)

    @property
    def in_file(self) -> tuple[int, ...] | None:
        """The shape in the file."""
        return self.shape if self.stated is None else self.stated

    @property
    def fixed(self) -> bool:
        """Whether the file itself states all of its sizes."""
        return self.static and self.stated is None


@dataclass(frozen=True)
class Node:
    """An operation of a graph.

    Attributes:
        kind: in the format's own terms, such as "CONV_2D"; a custom operation by its own name.
        version: of the operation in TFLite; in ONNX and OpenVINO the operation set that brought this form of it.
        name: in ONNX and OpenVINO; empty in TFLite, which has none.
        inputs, outputs: places in ``Graph.values``; -1 for an optional input that is left out.
        macs: multiply-accumulates each time it runs; None where they cannot be counted, and ``note`` says why.
        weight_bytes: of the constants that it reads.
        settings: its attributes, by the format's names.
        body: which loop, branch or further entry point it stands in; empty in the graph itself.
        times: how often it runs in one inference, or at most; None where the file does not tell.
        custom: whether it is none of the format's own operations.
        note: why ``macs`` is None.
    """

    kind: str
    version: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int | None
    weight_bytes: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    times: int | None = 1
    custom: bool = False
    note: str = ""

    @property
    def operation(self) -> str:
        """What it computes: its kind without the domain that ONNX Runtime puts before its own forms of operations."""
        return self.kind.removeprefix("com.microsoft.").removeprefix("nchwc.")


@dataclass(frozen=True)
class Graph:
    """A file of a format.

    Attributes:
        format: the exporter's name.
        inputs, outputs: places in ``values``.
        values: its tensors, those of loops' bodies too.
        nodes: its operations, each after those that it depends on.
        versions: the file's own version numbers, by name: "ir", "schema", the operation sets.
        producer: what wrote it, as far as it says.
        stated_runtime: the lowest runtime version that the file itself states; empty where it states none.
        metadata: what the file tells of its model, by the field's name, such as "license"; a tensor's is "input NAME".
        notes: what could not be read or inferred, as sentences.
    """

    format: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    versions: Mapping[str, int] = field(default_factory=dict)
    producer: str = ""
    stated_runtime: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: those that can be counted, loops of unknown length once."""
        return sum((node.macs or 0) * (1 if node.times is None else node.times) for node in self.nodes)

    @property
    def constant_bytes(self) -> dict[str, int]:
        """The bytes of all constants in the file, by type, the largest first."""
        found: dict[str, int] = {}
        for value in self.values:
            if value.constant:
                found[value.dtype] = found.get(value.dtype, 0) + (value.bytes or 0)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def inputs_of(self, node: Node) -> list[Value]:
        """Return the tensors that an operation reads, without those left out."""
        return [self.values[place] for place in node.inputs if place >= 0]

    def outputs_of(self, node: Node) -> list[Value]:
        """Return the tensors that an operation computes."""
        return [self.values[place] for place in node.outputs if place >= 0]

    def dtypes_of(self, node: Node) -> tuple[str, ...]:
        """Return the types of an operation's outputs and of those inputs that are no constants, distinct and sorted."""
        values = [value for value in self.inputs_of(node) if not value.constant] + self.outputs_of(node)
        return tuple(sorted({value.dtype for value in values}))

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, which ``graph_of`` reads back."""
        return asdict(self)


def weight_bytes(read: Iterable[Value | None]) -> int:
    """Return the bytes of the constants among the tensors that an operation reads."""
    return sum(value.bytes or 0 for value in read if value is not None and value.constant)


def why_uncounted(macs: int | None, formula: bool) -> str:
    """Return why multiply-accumulates are not counted; empty where they are.

    Args:
        macs: how many; None where they could not be counted.
        formula: whether there is a formula for the operation.
    """
    return "" if macs is not None else UNKNOWN_SHAPE if formula else NO_FORMULA


def graph_of(document: Mapping[str, Any]) -> Graph:
    """Return the graph that ``Graph.plain`` and JSON made plain data of."""
    return Graph(
        **{
            **document,
            "inputs": tuple(document["inputs"]),
            "outputs": tuple(document["outputs"]),
            "values": tuple(Value(**_with_tuples(value, "shape", "numbers", "stated")) for value in document["values"]),
            "nodes": tuple(Node(**_with_tuples(node, "inputs", "outputs")) for node in document["nodes"]),
            "notes": tuple(document["notes"]),
        }
    )


def _with_tuples(document: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {**document, **{key: None if document.get(key) is None else tuple(document[key]) for key in keys}}


def elements(shape: Sequence[int] | None) -> int | None:
    """Return how many elements a shape has, or None where a size is not known.

    >>> elements((2, 3)), elements((2, -1)), elements(None)
    (6, None, None)
    """
    return None if shape is None or any(size < 0 for size in shape) else math.prod(shape)


def product(*factors: int | None) -> int | None:
    """Return the product of sizes, or None where one is not known.

    >>> product(2, 0), product(2, None)
    (0, None)
    """
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None


def einsum_macs(equation: str, shapes: Sequence[Sequence[int] | None]) -> int | None:
    """Return the multiply-accumulates of an Einsum: one for each combination of the labels of two factors.

    Of more than two, the product of the first two is multiplied by the third, and so on, as ONNX Runtime does.

    >>> einsum_macs("ab,bc->ac", [(2, 3), (3, 4)]), einsum_macs("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)])
    (24, 64)
    >>> einsum_macs("...ab,...bc", [(7, 2, 3), (3, 4)])
    168
    """
    given, arrow, written = equation.replace(" ", "").partition("->")
    factors = given.split(",")
    if len(factors) != len(shapes) or any(elements(shape) is None for shape in shapes):
        return None
    sizes: dict[str, int] = {}
    for place, shape in enumerate(shapes):
        # The axes that an ellipsis stands for are aligned at the last one: labels count them from there.
        open_axes = len(shape or ()) - len(factors[place].replace("...", ""))
        factors[place] = factors[place].replace("...", "".join(map(str, range(open_axes)))[::-1])
        if len(factors[place]) != len(shape or ()):
            return None
        for label, size in zip(factors[place], shape or (), strict=True):
            sizes[label] = max(size, sizes.get(label, 0))
    kept = set(written) | {label for label in sizes if label.isdigit()}
    if not arrow:
        kept |= {label for label in sizes if given.count(label) == 1}
    total, made = 0, set(factors[0])
    for place, labels in enumerate(factors[1:], 2):
        together = made | set(labels)
        total += math.prod(sizes[label] for label in together)
        made = together & (kept | set("".join(factors[place:])))
    return total


def with_summed_products(
    nodes: Iterable[Node], values: Sequence[Value], multiply: str, add_up: frozenset[str]
) -> tuple[Node, ...]:
    """Count a product that is summed up, such as the messages of a graph network: one for each product.

    Squares that are summed up are a norm, which counts in no format: some write it as an operation of its own.
    """
    nodes = tuple(nodes)
    products = {
        place: values[place]
        for node in nodes
        if node.kind == multiply and len(set(node.inputs)) > 1
        for place in node.outputs
    }
    counted = []
    for node in nodes:
        if node.kind in add_up and node.inputs and node.inputs[0] in products:
            node = replace(node, macs=elements(products[node.inputs[0]].shape) or 0)
        counted.append(node)
    return tuple(counted)
