"""A TFLite file as objects that can be changed, and back: by the schema that LiteRT ships."""

from collections.abc import Iterable
from typing import Any

_ALIGNED = 16  # bytes: what runtimes expect of weights, and TFLite's schema asks for
_IDENTIFIER = b"TFL3"


def unpacked(content: bytes) -> Any:
    """Return a file's ``ModelT``."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def packed(model: Any) -> bytes:
    """Return the file of a ``ModelT``."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):
        """Begins each vector of bytes at a multiple of 16, which the schema asks for and generated code forgets."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, _ALIGNED if elemSize == 1 else alignment)

    builder = Aligned(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


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


def items(several: Any) -> Any:
    """Return what a vector holds; nothing where it is left out."""
    return () if several is None else several


def text(found: bytes | str | None) -> str:
    """Return a string of the file; empty where it is left out."""
    return (found.decode("utf-8", "replace") if isinstance(found, bytes) else found) or ""
