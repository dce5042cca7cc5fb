"""A float .onnx or .tflite file of the user's as what converters start from, or the reason why it does not serve.

It is looked through, without being run, and refused where it is quantized already or has sizes, other than the batch,
that are decided as it runs. Child processes read it and fix its batch to 1.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..children import GIB, python, run_child
from ..errors import InputError
from ._artifact import Tensor
from ._freeze import Frozen
from ._graph import Graph, Node, Value
from ._names import plain_name, plain_names
from ._reading import read_graph

# By the suffix of a file that is imported, its format.
SUFFIXES = {".onnx": "onnx", ".tflite": "tflite"}
_TIME_LIMIT_S = 300.0
_MEMORY_LIMIT_BYTES = 8 * GIB
# Operations that stand for quantization whatever their tensors' types are told to be.
_QUANTIZED_KINDS = (
    *("QLinear", "QGemm", "QAttention", "QOrdered", "QEmbed", "Quantize", "Dequantize", "DynamicQuantize"),
    *("MatMulInteger", "ConvInteger", "MatMulNBits", "MatMulBnb4", "QUANTIZE", "DEQUANTIZE"),
)
_NARROW = ("float16", "bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2")
_NUMBERS = ("float32", "float64", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_ACTIVATIONS = {"SOFTMAX": "softmax", "Softmax": "softmax", "LOGISTIC": "sigmoid", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Imported:
    """A user's file that serves.

    Attributes:
        frozen: the file as what ``convert`` takes.
        activation: "softmax" or "sigmoid" where the only output is that of one; None where it cannot be told.
        notes: what was changed in the file, as sentences.
    """

    frozen: Frozen
    activation: str | None
    notes: tuple[str, ...] = ()


def import_file(path: Path, folder: Path) -> Imported:
    """Return a user's float file as what converters start from.

    Args:
        path: a .onnx or .tflite file.
        folder: an empty folder, for the file with a batch of 1.

    Raises:
        InputError: no such file; one that is broken, truncated or of another format; one that is quantized already; an
            input or output with sizes that are decided as the model runs, other than the batch.
    """
    graph = read_graph(path)
    _check_float(graph, path)
    for place in graph.inputs:
        _check_input(graph.values[place], path)
    if not graph.inputs:
        raise InputError(f"Expected a model with inputs. Got: {path}, which has none.")
    file, notes = _at_batch_1(path, graph.format, folder)
    graph = read_graph(file)
    for place in graph.outputs:
        _check_output(graph.values[place], path)
    frozen = Frozen(
        folder=file,
        inputs=_tensors(graph, graph.inputs),
        outputs=_tensors(graph, graph.outputs),
        macs=graph.macs,
        parameters=sum(_size(value) for value in graph.values if value.constant and "float" in value.dtype),
        imported=graph.format,
    )
    return Imported(frozen, _activation(graph), notes)


def _at_batch_1(path: Path, format: str, folder: Path) -> tuple[Path, tuple[str, ...]]:
    target = folder / path.name
    child = run_child(
        python("-m", f"{__package__}._import_in_child", path.absolute(), format, target),
        time_limit_s=_TIME_LIMIT_S,
        memory_limit_bytes=_MEMORY_LIMIT_BYTES,
    )
    if not child.ok:
        raise InputError(f"Expected a whole {format} file. Got: {path}; opening it ended with {child.reason()}")
    fixed = json.loads(child.stdout)
    notes = (f"the batch of the imported file, which is open, is fixed to 1: {', '.join(fixed)}",)
    return target, notes if fixed else ()


def _check_float(graph: Graph, path: Path) -> None:
    for place, node in enumerate(graph.nodes):
        found = _narrow(graph, node)
        if found:
            name = f" {node.name!r}" if node.name else ""
            raise InputError(
                f"Expected a float32 model, to quantize it. Got: {path}, which is quantized already: operation "
                f"{place}, {node.kind}{name}, has {found}. Give the file that it was made of."
            )


def _narrow(graph: Graph, node: Node) -> str:
    """Return what of an operation is stored in fewer bits than float32, or an empty string."""
    for value in (*graph.inputs_of(node), *graph.outputs_of(node)):
        if value.dtype.startswith(_NARROW) or (value.scales and "int" in value.dtype):
            return f"{value.name!r} as {value.dtype}"
    if node.kind.removeprefix("com.microsoft.").startswith(_QUANTIZED_KINDS):
        return " and ".join(graph.dtypes_of(node))
    return ""


def _check_input(value: Value, path: Path) -> None:
    where = f"input {plain_name(value.name)!r} of {path}"
    if value.dtype not in _NUMBERS:
        raise InputError(f"Expected numbers in {where}. Got: {value.dtype}.")
    if not value.shape or value.shape[0] not in (-1, 1):
        raise InputError(
            f"Expected a batch of 1, or an open one, as axis 0 of {where}. Got: {_shape(value.in_file)}. Export the "
            "model with such a batch."
        )
    _check_fixed(value.in_file or (), where)


def _check_output(value: Value, path: Path) -> None:
    where = f"output {plain_name(value.name)!r} of {path}"
    if not value.shape or value.shape[0] not in (-1, 1):
        raise InputError(
            f"Expected one answer for each sample, axis 0, in {where}. Got: {_shape(value.shape)} for one sample."
        )
    _check_fixed(value.shape, where)


def _check_fixed(shape: Sequence[int], where: str) -> None:
    open_axes = [axis for axis, size in enumerate(shape) if axis and size < 0]
    if open_axes:
        raise InputError(
            f"Expected fixed dimensions besides the batch in {where}: devices run static shapes. Got: {_shape(shape)}, "
            f"open in axis {', '.join(map(str, open_axes))}. Export the model with a fixed shape."
        )


def _shape(shape: Sequence[int] | None) -> str:
    return "no known shape" if shape is None else f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"


def _tensors(graph: Graph, places: Sequence[int]) -> tuple[Tensor, ...]:
    values = [graph.values[place] for place in places]
    names = plain_names([value.name for value in values])
    return tuple(
        Tensor(name, (1, *(value.shape or ())[1:]), value.dtype) for name, value in zip(names, values, strict=True)
    )


def _size(value: Value) -> int:
    return math.prod(value.shape or ())


def _activation(graph: Graph) -> str | None:
    if len(graph.outputs) != 1:
        return None
    last = [node.kind for node in graph.nodes if graph.outputs[0] in node.outputs and not node.body]
    return _ACTIVATIONS.get(last[0]) if last else None
