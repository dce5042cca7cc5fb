"""Predicts the peak memory of a runtime with a file: weights, activations with buffers used again, and what it adds.

What is predicted is what a process that loads the runtime and runs the file takes at most (its largest resident set)
beyond what Python and NumPy take by themselves; a program in C++ needs about as much in all. It is the sum of parts:

    weights       of the file, as it stores them; mapped or read, they are in memory once       read from the file
    activations   at most alive at once, buffers used again (``_memory_plan``)                  planned
    copies        of weights, in the layout and width that the runtime's kernels read           fitted times their size
    buffers       that kernels work with, and activations beyond the plan                       fitted times their size
    operations    what each one's entry in the runtime takes                                    fitted for each
    runtime       its library, as far as it is touched                                          fitted, and measured

``benchmarks/memory.py`` prints the fits, judges them on models that they have not seen, and writes them
(profiles/memory_fits.json). They are of an x86-64 host; on another processor the library is of another size.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ..export._graph import Graph, Node, elements
from ..figures import Figure, How
from ._memory_plan import arena_bytes, constants_of, peak_of_activations
from ._profile import Unsupported
from ._xnnpack import OTHER, place_on_xnnpack

READ, PLANNED, FITTED = "read from the file", "planned over the file's operations", "fitted"
# Constants of fewer numbers than this are shapes and axes, which no kernel packs.
_FEW = 16
_COPIES = ("packed_float", "packed_integer", "unpacked", "widened")
_BUFFERS = ("beyond_plan", "indirection", "indirections", "columns", "widest")
# By runtime: what of ``sizes_of`` its memory was fitted with.
FACTORS: dict[str, Sequence[str]] = {
    "litert": ("runtime", "operations", "packed_float", "packed_integer", "beyond_plan", "indirection", "widest"),
    "tflite_runtime": (
        *("runtime", "kernels", "packed_float", "packed_integer"),
        *("unpacked", "widened", "indirections", "columns"),
    ),
    "onnxruntime": ("runtime", "operations", "packed_float", "packed_integer", "indirection"),
    "openvino": ("runtime", "operations", "kernels", "packed_float", "packed_integer"),
}
_FORMATS = {"litert": "tflite", "tflite_runtime": "tflite", "onnxruntime": "onnx", "openvino": "openvino"}


@dataclass(frozen=True)
class Part:
    """One part of the memory: its bytes, and whether they were read, planned or fitted."""

    name: str
    bytes: int
    how: str


@dataclass(frozen=True)
class Memory:
    """The predicted peak memory of a runtime with a file, beyond Python and NumPy.

    Attributes:
        total_bytes: runtime and model together, with the interval that holds nine files out of ten.
        model_bytes: what the model adds to a process that has imported the runtime.
        parts: what ``total_bytes`` is the sum of.
    """

    total_bytes: Figure
    model_bytes: Figure
    parts: tuple[Part, ...]

    def part(self, name: str) -> int:
        """Return the bytes of the part of that name."""
        return next(part.bytes for part in self.parts if part.name == name)


def predict_memory(graph: Graph, runtime: str, threads: int = 1) -> Memory | Unsupported:
    """Return the predicted peak memory of a runtime with a file, or why there is none.

    Args:
        graph: the file's, from ``edgewright.export.read_graph``.
        runtime: "litert", "tflite_runtime", "onnxruntime" or "openvino".
        threads: of the runtime. The fits are of one; more were not measured, and the basis says so.
    """
    fits = fitted()["runtimes"]
    if runtime not in fits:
        return Unsupported(f"The memory of {runtime} was not fitted; expected one of {', '.join(sorted(fits))}.")
    if graph.format != _FORMATS[runtime]:
        return Unsupported(f"{runtime} does not load {graph.format} files, so it takes no memory with one.")
    fit = fits[runtime]
    sizes = sizes_of(graph, runtime)
    factors = fit["coefficients"]
    of = {name: factors.get(name, 0.0) * size for name, size in sizes.items()}
    parts = (
        Part("weights", sizes["weights"], READ),
        Part("activations", sizes["activations"], PLANNED),
        Part("copies", int(sum(of[name] for name in _COPIES)), FITTED),
        Part("buffers", int(sum(of[name] for name in _BUFFERS)), FITTED),
        Part("operations", int(of["operations"] + of["kernels"]), FITTED),
        Part("runtime", int(of["runtime"]) + fit["import_bytes"], FITTED),
    )
    total = sum(part.bytes for part in parts)
    threaded = "" if threads == 1 else f"; fitted on one thread, {threads} are asked for"
    basis = (
        f"weights and activations of the file, the rest fitted on {fit['files']} files of {fit['models']} models with "
        f"{runtime} {fit['version']} on {fitted()['machine']}{threaded}"
    )
    return Memory(
        Figure(total, How.PREDICTED, total * fit["total"]["low"], total * fit["total"]["high"], basis),
        _model(total - fit["import_bytes"], fit, basis),
        parts,
    )


def together(memories: Sequence[Memory]) -> Figure:
    """Return the peak memory of a runtime that has loaded several files: the first with it, and what the others add."""
    first, *others = memories

    def end(total: float | None, models: list[float | None]) -> float:
        return (total or 0.0) + sum(each or 0.0 for each in models)

    whole = first.total_bytes
    return Figure(
        whole.value + sum(each.model_bytes.value for each in others),
        whole.how,
        end(whole.low, [each.model_bytes.low for each in others]),
        end(whole.high, [each.model_bytes.high for each in others]),
        whole.basis,
    )


def _model(value: int, fit: Mapping[str, Any], basis: str) -> Figure:
    return Figure(value, How.PREDICTED, value * fit["model"]["low"], value * fit["model"]["high"], basis)


@cache
def fitted() -> dict[str, Any]:
    """Return the fits, by runtime, and where they are from."""
    text = (resources.files(f"{__package__}.profiles") / "memory_fits.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def sizes_of(graph: Graph, runtime: str) -> dict[str, int]:
    """Return what the parts are multiples of, in bytes; ``operations``, ``kernels`` and ``runtime`` are counts.

    ``packed_float`` and ``packed_integer`` are the weights that kernels read, four bytes a number and one;
    ``unpacked`` are integer weights of operations that XNNPACK leaves to TFLite's own kernels, ``columns`` the largest
    input that those write out window by window. ``widened`` is what float16 weights take as float32, ``widest`` the
    largest tensor of them. ``indirection`` is the largest table of pointers to input pixels that XNNPACK's convolutions
    keep, eight bytes for each of an output's pixels times the kernel's, and ``indirections`` the sum of all; with ONNX
    Runtime it stands for what convolutions work with.
    """
    constants = constants_of(graph)
    activations = (
        arena_bytes(graph) if graph.format == "tflite" else peak_of_activations(graph, narrow=graph.format != "onnx")
    )
    sizes = {
        "weights": sum(value.bytes or 0 for value in graph.values if value.constant),
        "activations": activations,
        "beyond_plan": activations,
        "packed_float": 0,
        "packed_integer": 0,
        "unpacked": 0,
        "widest": 0,
        "widened": sum(2 * (value.bytes or 0) for value in graph.values if value.constant and value.dtype == "float16"),
        "indirection": 0,
        "indirections": 0,
        "columns": 0,
        "operations": len(graph.nodes),
        "kernels": sum(bool(node.macs) for node in graph.nodes),
        "runtime": 1,
    }
    elsewhere = _elsewhere(graph, runtime)
    makers = {place: node for node in graph.nodes for place in node.outputs}
    seen: set[int] = set()
    for index, node in enumerate(graph.nodes):
        weights = _weights(graph, node, constants)
        if weights is None or weights in seen:
            continue
        seen.add(weights)
        count = elements(graph.values[weights].shape) or 0
        stored = graph.values[_stored(graph, weights, constants, makers)].dtype
        if index in elsewhere:
            if "float" not in stored:
                sizes["unpacked"] += count
                sizes["columns"] = max(sizes["columns"], _columns(graph, node, weights))
            continue
        sizes["packed_float" if "float" in stored else "packed_integer"] += 4 * count if "float" in stored else count
        if stored == "float16":
            sizes["widest"] = max(sizes["widest"], 4 * count)
        table = _indirection(graph, node, weights)
        sizes["indirection"] = max(sizes["indirection"], table)
        sizes["indirections"] += table
    return sizes


def _elsewhere(graph: Graph, runtime: str) -> set[int]:
    """Return the operations of a TFLite file that XNNPACK does not take.

    In tflite-runtime 2.14 these are all in integers, and those in loops and branches.
    """
    if graph.format != "tflite":
        return set()
    elsewhere = {entry.node for entry in place_on_xnnpack(graph).placed if entry.unit == OTHER}
    if runtime == "tflite_runtime":
        elsewhere |= {
            place for place, node in enumerate(graph.nodes) if node.body or "float32" not in graph.dtypes_of(node)
        }
    return elsewhere


def _weights(graph: Graph, node: Node, constants: set[int]) -> int | None:
    """Return the largest constant that an operation reads beside something that is none."""
    read = [place for place in node.inputs if place >= 0]
    fixed = [place for place in read if place in constants]
    if not fixed or len(fixed) == len(read):
        return None
    largest = max(fixed, key=lambda place: elements(graph.values[place].shape) or 0)
    return largest if (elements(graph.values[largest].shape) or 0) > _FEW else None


def _stored(graph: Graph, place: int, constants: set[int], makers: Mapping[int, Node]) -> int:
    """Return the constant in the file that a constant is made of, by way of dequantization or widening."""
    while not graph.values[place].constant:
        read = [source for source in makers[place].inputs if source in constants]
        if not read:
            break
        place = max(read, key=lambda source: elements(graph.values[source].shape) or 0)
    return place


def _indirection(graph: Graph, node: Node, weights: int) -> int:
    kernel, output = graph.values[weights].shape, graph.values[node.outputs[0]].shape if node.outputs else None
    if kernel is None or output is None or len(kernel) != 4 or len(output) != 4:
        return 0
    window = kernel[1] * kernel[2] if graph.format == "tflite" else kernel[2] * kernel[3]
    pixels = output[1] * output[2] if graph.format == "tflite" else output[2] * output[3]
    return 8 * window * abs(pixels) if window > 1 else 0


def _columns(graph: Graph, node: Node, weights: int) -> int:
    """Return what an integer convolution's input takes, written out for each of its outputs (im2col)."""
    kernel = graph.values[weights].shape
    if node.kind != "CONV_2D" or kernel is None or len(kernel) != 4:
        return 0
    return _indirection(graph, node, weights) // 8 * kernel[3]
