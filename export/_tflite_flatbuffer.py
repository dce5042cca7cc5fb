"""A TFLite file as objects that can be changed, and back: by the schema that LiteRT ships."""

from collections.abc import Iterable
from typing import Any

import numpy as np

METADATA = "TFLITE_METADATA"
_IDENTIFIER = b"TFL3"
_MOST_BYTES = 1 << 30  # of a file that is written anew: a flatbuffer ends at 2 GB


def unpacked(content: bytes) -> Any:
    """Return a file's ``ModelT``."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def gathered(content: bytes) -> Any:
    """Return a file's ``ModelT`` with the weights in it that stand behind the flatbuffer, where all of it has room.

    AI Edge Quantizer puts them there in small files too.
    """
    model = unpacked(content)
    for buffer in items(model.buffers) if len(content) <= _MOST_BYTES else ():
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model: Any) -> bytes:
    """Return the file of a ``ModelT``."""
    from ._flatbuffer_builder import SharingBuilder

    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def self_contained(model: Any) -> bool:
    """Tell whether all of a file stands in its flatbuffer, which may then be written anew.

    A file of more than 2 GB has its weights behind it, and one with metadata may have a zip of labels there.
    """
    outside = any(buffer.offset > 1 for buffer in items(model.buffers)) or items(model.externalBuffers)
    custom = any(each.largeCustomOptionsOffset for graph in items(model.subgraphs) for each in items(graph.operators))
    return not (outside or custom or any(text(entry.name) == METADATA for entry in items(model.metadata)))


def signature(key: str, inputs: Iterable[tuple[str, int]], outputs: Iterable[tuple[str, int]]) -> Any:
    """Return a signature of the first subgraph, of (name, place of the tensor)."""
    from ai_edge_litert import schema_py_generated as schema

    def entries(pairs: Iterable[tuple[str, int]]) -> list[Any]:
        made = []
        for name, place in pairs:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, int(place)
            made.append(entry)
        return made

    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = key, 0
    made.inputs, made.outputs = entries(inputs), entries(outputs)
    return made


def names_of(model: Any) -> dict[tuple[int, int], str]:
    """Return by subgraph and tensor the name that a signature gives an input or output."""
    found: dict[tuple[int, int], str] = {}
    for each in items(model.signatureDefs):
        for entry in (*items(each.inputs), *items(each.outputs)):
            found.setdefault((int(each.subgraphIndex), int(entry.tensorIndex)), text(entry.name))
    return found


def by_number(enumeration: Any) -> dict[int, str]:
    """Return the names that an enumeration of the schema, such as ``BuiltinOperator``, gives to numbers."""
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


def items(several: Any) -> Any:
    """Return what a vector holds; nothing where it is left out."""
    return () if several is None else several


def text(found: bytes | str | None) -> str:
    """Return a string of the file; empty where it is left out."""
    return (found.decode("utf-8", "replace") if isinstance(found, bytes) else found) or ""
