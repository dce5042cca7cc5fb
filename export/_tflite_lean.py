"""Takes out of a TFLite file what nothing reads, and what stands in it more than once; it computes the same bytes."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ._tflite_flatbuffer import gathered, items, packed, self_contained, text

# The converter's own record of its versions and options, which it alone reads.
_OF_THE_CONVERTER = "CONVERSION_METADATA"
# Last parts of names, in lower case and without numbers: of what multiplies by a kernel, and of operations in a layer.
_PRODUCTS = {"conv2d", "conv2dbackpropinput", "convolution", "depthwise", "einsum", "matmul", "tensordot"}
_WITHIN = {*_PRODUCTS, "batchnorm", "biasadd", "moments", "readvariableop"}


def write(path: Path) -> None:
    """Make a .tflite file smaller; one that is not all in its flatbuffer stays as it is."""
    model = gathered(path.read_bytes())
    if self_contained(model):
        make_lean(model)
        path.write_bytes(packed(model))


def make_lean(model: Any) -> None:
    """Take out of a ``ModelT`` what ``write`` takes out of its file."""
    model.metadata = [entry for entry in items(model.metadata) if text(entry.name) != _OF_THE_CONVERTER] or None
    _keep_used_buffers(model)
    _keep_used_codes(model)
    for graph in items(model.subgraphs):
        for tensor in items(graph.tensors):
            tensor.quantization = _with_content(tensor.quantization)
        _shorten_names(graph)


def _keep_used_buffers(model: Any) -> None:
    """Keep one buffer of each content; the first, empty, stands for all that hold nothing, as the schema has it."""
    from ai_edge_litert import schema_py_generated as schema

    kept = [schema.BufferT()]
    places: dict[bytes, int] = {}

    def place(index: int) -> int:
        data = np.asarray(items(model.buffers[index].data), np.uint8)
        if not data.size:
            return 0
        digest = hashlib.sha256(data.tobytes()).digest()
        if digest not in places:
            places[digest] = len(kept)
            kept.append(model.buffers[index])
        return places[digest]

    for graph in items(model.subgraphs):
        for tensor in items(graph.tensors):
            tensor.buffer = place(tensor.buffer)
    for entry in items(model.metadata):
        entry.buffer = place(entry.buffer)
    model.metadataBuffer = None  # what metadata had before it had names
    model.buffers = kept


def _keep_used_codes(model: Any) -> None:
    operators = [each for graph in items(model.subgraphs) for each in items(graph.operators)]
    used = sorted({each.opcodeIndex for each in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for each in operators:
        each.opcodeIndex = used.index(each.opcodeIndex)


def _with_content(quantization: Any) -> Any:
    """Return what says how a tensor is quantized, without the ranges that its scales were made of; None for nothing."""
    if quantization is None or (quantization.details is None and not len(items(quantization.scale))):
        return None
    quantization.min = quantization.max = None
    return quantization


def _shorten_names(graph: Any) -> None:
    """Shorten the names that a converter joined of all operations that it fused; no two become equal by it.

    What goes into the graph and comes out, and what keeps a state, goes by the name that it has.
    """
    fixed = {int(place) for place in (*items(graph.inputs), *items(graph.outputs))}
    tensors = list(items(graph.tensors))
    names = [text(tensor.name) for tensor in tensors]
    taken = set(names)
    for place, tensor in enumerate(tensors):
        short = shortened(names[place])
        if place in fixed or tensor.isVariable or short == names[place]:
            continue
        numbered = (short, *(f"{short}_{number}" for number in range(1, len(names))))
        tensor.name = next(name for name in numbered if name not in taken)
        taken.add(tensor.name)


def shortened(name: str) -> str:
    """Return of a joined name one part for each layer in it: what multiplies, or what comes first.

    >>> shortened("net/norm/mul;net/norm/add;net/dense/BiasAdd;net/dense/MatMul")
    'net/norm/mul;net/dense/MatMul'
    """
    kept: dict[tuple[str, ...], str] = {}
    for part in name.split(";"):
        scope = _scope(part)
        if part and (scope not in kept or (_is_product(part) and not _is_product(kept[scope]))):
            kept[scope] = part
    return ";".join(kept.values())


def _scope(part: str) -> tuple[str, ...]:
    """Return the path of the layer that a part of a name stands in; of one without a path, itself."""
    parts = part.split("/")
    scope = parts[:-1] or parts
    while len(scope) > 1 and _bare(scope[-1]) in _WITHIN:
        scope.pop()
    return tuple(scope)


def _is_product(part: str) -> bool:
    return any(_bare(each) in _PRODUCTS for each in part.split("/")[1:])


def _bare(part: str) -> str:
    return part.rstrip("_0123456789").lower()
