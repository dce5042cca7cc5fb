"""A TFLite file's metadata: the flatbuffer that Android's code generator and the task libraries read.

Its tables are those of metadata_schema.fbs of TensorFlow Lite Support, version 1.1.0. The package that has code for
them is no longer kept up, so the few fields used here are written by their places in the tables.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from ._about import About
from ._tflite_flatbuffer import METADATA, items, names_of, packed, self_contained, text, unpacked

ENTRY = METADATA
RECIPE_ENTRY = "edgewright_recipe"
_IDENTIFIER = b"M001"
# Fields by their place: of a model, of its first subgraph, of a tensor, of a tensor's statistics.
_MODEL = {"name": 0, "description": 1, "version": 2, "author": 4, "license": 5}
_SUBGRAPHS, _MIN_PARSER_VERSION = 3, 7
_INPUTS, _OUTPUTS = 2, 3
_NAME, _DESCRIPTION, _STATS = 0, 1, 5
_MAX, _MIN = 0, 1


def write(path: Path, about: About) -> None:
    """Add to a .tflite file what its model is; a file that has metadata keeps it."""
    model = unpacked(path.read_bytes())
    if not self_contained(model):
        return
    names, first = names_of(model), model.subgraphs[0]
    inputs, outputs = (
        [names.get((0, int(place))) or text(first.tensors[place].name) for place in places]
        for places in (first.inputs, first.outputs)
    )
    _add(model, ENTRY, metadata_of(about, inputs, outputs))
    if recipe := about.facts.get("recipe"):
        _add(model, RECIPE_ENTRY, recipe.encode("ascii"))
    path.write_bytes(packed(model))


def _add(model: Any, name: str, content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers) - 1
    model.metadata = [*items(model.metadata), entry]


def metadata_of(about: About, inputs: Iterable[str], outputs: Iterable[str]) -> bytes:
    """Return the metadata flatbuffer of a model whose tensors go by these names, in the file's order."""
    builder = flatbuffers.Builder(512)
    subgraph = _table(
        builder,
        {
            _INPUTS: _vector(builder, [_tensor(builder, name, about.inputs, about) for name in inputs]),
            _OUTPUTS: _vector(builder, [_tensor(builder, name, about.outputs, None) for name in outputs]),
        },
    )
    fields = {place: builder.CreateString(about.facts[key]) for key, place in _MODEL.items() if key in about.facts}
    fields[_SUBGRAPHS] = _vector(builder, [subgraph])
    fields[_MIN_PARSER_VERSION] = builder.CreateString("1.0.0")
    builder.Finish(_table(builder, fields), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: Any, name: str, texts: Mapping[str, str], about: About | None) -> int:
    fields = {_NAME: builder.CreateString(name)}
    if texts.get(name):
        fields[_DESCRIPTION] = builder.CreateString(texts[name])
    if about and name in about.ranges:
        low, high = (builder.CreateNumpyVector(np.array([bound], np.float32)) for bound in about.ranges[name])
        fields[_STATS] = _table(builder, {_MAX: high, _MIN: low})
    return _table(builder, fields)


def _table(builder: Any, fields: Mapping[int, int]) -> int:
    builder.StartObject(max(fields) + 1)
    for place, offset in sorted(fields.items()):
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def read(entries: Mapping[str, bytes]) -> dict[str, str]:
    """Return what a file tells of its model, by the field's name; a tensor's is "input NAME" or "output NAME".

    Args:
        entries: the file's metadata buffers by their names.

    Raises:
        ValueError, IndexError, struct.error: the metadata are broken.
    """
    found: dict[str, str] = {}
    if content := entries.get(ENTRY):
        if content[4:8] != _IDENTIFIER:
            raise ValueError(f"expected {_IDENTIFIER.decode()} at byte 4 of its metadata, got {content[4:8]!r}")
        root = flatbuffers.table.Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
        found = {key: told for key, place in _MODEL.items() if (told := _string(root, place))}
        for subgraph in list(_tables(root, _SUBGRAPHS))[:1]:
            for kind, place in (("input", _INPUTS), ("output", _OUTPUTS)):
                for tensor in _tables(subgraph, place):
                    if told := _told(tensor):
                        found[f"{kind} {_string(tensor, _NAME)}"] = told
    if recipe := entries.get(RECIPE_ENTRY):
        found["recipe"] = recipe.decode("ascii")
    return found


def _told(tensor: Any) -> str:
    parts = [_string(tensor, _DESCRIPTION)]
    for stats in _inner(tensor, _STATS):
        low, high = _first_float(stats, _MIN), _first_float(stats, _MAX)
        parts += [f"{low:.4g} to {high:.4g}"] if low is not None and high is not None else []
    return "; ".join(part for part in parts if part)


def _string(table: Any, place: int) -> str:
    offset = table.Offset(4 + 2 * place)
    return bytes(table.String(offset + table.Pos)).decode("utf-8") if offset else ""


def _inner(table: Any, place: int) -> Iterator[Any]:
    offset = table.Offset(4 + 2 * place)
    if offset:
        yield flatbuffers.table.Table(table.Bytes, table.Indirect(offset + table.Pos))


def _tables(table: Any, place: int) -> Iterator[Any]:
    offset = table.Offset(4 + 2 * place)
    for index in range(table.VectorLen(offset) if offset else 0):
        yield flatbuffers.table.Table(table.Bytes, table.Indirect(table.Vector(offset) + 4 * index))


def _first_float(table: Any, place: int) -> float | None:
    offset = table.Offset(4 + 2 * place)
    if not offset or not table.VectorLen(offset):
        return None
    return float(table.Get(flatbuffers.number_types.Float32Flags, table.Vector(offset)))
