"""Takes out of an ONNX file what nothing reads, and what stands in it more than once; it computes the same bytes.

Constants stand in the order in which operations read them: converters write them in another one each time.

The names are most of it: of a quantized graph network's file two thirds were names of tensors, each written where it is
made and where it is read. Inputs, outputs, weights and operations keep theirs, by which layers are known.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ._graph import FEW
from ._names import letters
from ._onnx_weights import graphs_of

# What TensorFlow's calls put before the names of what they call.
_CALLS = re.compile(r"((Stateful)?PartitionedCall(_\d+)?/)+")
# What TensorFlow's reading of a variable puts behind its layer's name.
_READING = re.compile(r"(/Cast(_\d+)?)?/ReadVariableOp(_\d+)?(:0)?")
# They are named after what they quantize.
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
# What ONNX Runtime's quantizer writes for itself.
_OF_THE_QUANTIZER = {"onnx.infer", "onnx.quant.pre_process"}


def write(path: Path) -> None:
    """Make an .onnx file smaller; one with data in files beside it stays as it is."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    if not any(tensor.external_data for graph in graphs_of(model.graph) for tensor in graph.initializer):
        make_lean(model)
        onnx.save(model, path)


def make_lean(model: Any) -> None:
    """Take out of a ``ModelProto`` what ``write`` takes out of its file."""
    kept = [entry for entry in model.metadata_props if entry.key not in _OF_THE_QUANTIZER]
    _assign(model.metadata_props, kept)
    _keep_untold_types(model)
    for graph in graphs_of(model.graph):
        graph.doc_string = ""
        for each in (*graph.node, *graph.initializer, *graph.value_info):
            each.doc_string = ""
            del each.metadata_props[:]
        _order_constants(graph)
        _share_constants(graph)
    _shorten_names(model)


def _keep_untold_types(model: Any) -> None:
    """Drop the types and shapes that ONNX infers from the others: each reader of a file does so."""
    import onnx

    stated = {value.name: value.type for value in model.graph.value_info}
    told = list(model.graph.value_info)
    del model.graph.value_info[:]
    try:
        inferred = {value.name: value.type for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    except Exception:  # whatever ONNX's inference makes of an operation of another domain
        inferred = {}
    _assign(model.graph.value_info, [value for value in told if inferred.get(value.name) != stated[value.name]])


def _order_constants(graph: Any) -> None:
    """Put a graph's initializers in the order in which its operations, and bodies in them, read them."""
    read = (name for inner in graphs_of(graph) for node in inner.node for name in node.input)
    place = {name: number for number, name in enumerate(dict.fromkeys(read))}
    _assign(
        graph.initializer, sorted(graph.initializer, key=lambda each: (place.get(each.name, len(place)), each.name))
    )


def _share_constants(graph: Any) -> None:
    """Keep one initializer of each type, shape and content; of integers, of each scale and zero point too."""
    fixed = {value.name for value in (*graph.input, *graph.output)}
    contents = {tensor.name: _content(tensor) for tensor in graph.initializer}
    scaled = {node.input[0]: node.input[1:] for node in graph.node if node.op_type == "DequantizeLinear"}
    first: dict[Any, str] = {}
    renamed, kept = {}, []
    for tensor in graph.initializer:
        key = (contents[tensor.name], *(contents.get(name, name) for name in scaled.get(tensor.name, ())))
        if tensor.name not in fixed and first.setdefault(key, tensor.name) != tensor.name:
            renamed[tensor.name] = first[key]
        else:
            kept.append(tensor)
    _assign(graph.initializer, kept)
    _rename(graph, renamed)


def _content(tensor: Any) -> bytes:
    """Return the digest of all of an initializer but its name."""
    name, tensor.name = tensor.name, ""
    content = tensor.SerializeToString(deterministic=True)
    tensor.name = name
    return hashlib.sha256(content).digest()


def _shorten_names(model: Any) -> None:
    """Name tensors by letters, weights and operations without what TensorFlow's calls and readings add to theirs."""
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)}
    graphs = list(graphs_of(model.graph))
    names = dict.fromkeys(name for graph in graphs for name in _names_in(graph) if name and name not in fixed)
    bare = {name: _READING.sub("", _CALLS.sub("", name)) for graph in graphs for name in _weights(graph)}
    counts = Counter([*bare.values(), *fixed])
    weights = {name: short if counts[short] == 1 else name for name, short in bare.items()}
    fresh = letters({*fixed, *weights.values()})
    new = {name: weights[name] if name in weights else next(fresh) for name in names}
    _name_operations(graphs, new)
    for graph in graphs:
        for each in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
            each.name = new.get(each.name, each.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = new.get(sparse.values.name, sparse.values.name)
        del graph.quantization_annotation[:]
    _rename(model.graph, new)


def _name_operations(graphs: Iterable[Any], new: Mapping[str, str]) -> None:
    """Name each operation by its layer: where a converter's name tells none, by what it makes."""
    taken: set[str] = set()
    for node in (node for graph in graphs for node in graph.node):
        made = next(iter(node.output), "")
        if node.op_type in _QUANTIZERS:
            bare = new.get(made, made)
        else:
            bare = _CALLS.sub("", node.name if "/" in node.name else made.split(":")[0])
            bare = bare if "/" in bare else node.name
        node.name = bare if bare not in taken else node.name
        taken.add(node.name)


def _weights(graph: Any) -> Iterator[str]:
    """Yield the names of the initializers that are neither few numbers nor scales nor zero points."""
    others = {name for node in graph.node if node.op_type in _QUANTIZERS for name in node.input[1:]}
    for tensor in graph.initializer:
        if tensor.name not in others and math.prod(tensor.dims) > FEW:
            yield tensor.name


def _names_in(graph: Any) -> Iterator[str]:
    """Yield the names of a graph's tensors, those of the bodies in it not."""
    yield from (value.name for value in (*graph.input, *graph.initializer))
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        yield from (*node.input, *node.output)
    yield from (value.name for value in (*graph.output, *graph.value_info))


def _rename(graph: Any, new: dict[str, str]) -> None:
    """Rename what operations read and make; those in bodies read what stands around them too."""
    for inner in graphs_of(graph):
        for node in inner.node:
            _assign(node.input, [new.get(name, name) for name in node.input])
            _assign(node.output, [new.get(name, name) for name in node.output])


def _assign(field: Any, values: list[Any]) -> None:
    """Give a repeated field of a message other values."""
    copied = list(values)
    del field[:]
    field.extend(copied)
