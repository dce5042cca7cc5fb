"""Cuts a TFLite file into several that run one after the other, at the level of its flatbuffer.

A part holds the operations that it is given, the tensors that they touch, and of the file's buffers and operator codes
those alone. Its inputs and outputs go by the names of the file's signature, or by the tensor's own where they cross.
It runs as a child process, for it reads a user's file: ``python -m edgewright.export._tflite_parts JOB.json``.
"""

import copy
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..children import GIB, python, run_child
from ..errors import InputError
from ..held import temporary_folder
from ._freeze import SIGNATURE
from ._tflite_flatbuffer import items, names_of, packed, signature, text, unpacked
from ._tflite_lean import make_lean

TIME_LIMIT_S = 120.0
MEMORY_LIMIT_BYTES = 6 * GIB


def write_parts(source: Path, groups: Sequence[Sequence[int]], targets: Sequence[Path]) -> None:
    """Write a file's operations, by their places, as one file a group.

    Raises:
        InputError: the file cannot be cut, and why.
    """
    with temporary_folder("parts") as folder:
        job = folder / "job.json"
        answer = folder / "answer.json"
        document = {
            "source": str(source.absolute()),
            "groups": [list(map(int, group)) for group in groups],
            "targets": [str(target.absolute()) for target in targets],
            "answer": str(answer),
        }
        job.write_text(json.dumps(document), encoding="utf-8")
        child = run_child(python("-m", __name__, job), time_limit_s=TIME_LIMIT_S, memory_limit_bytes=MEMORY_LIMIT_BYTES)
        reason = json.loads(answer.read_text(encoding="utf-8"))["refused"] if answer.is_file() else child.reason()
    if reason:
        raise InputError(f"Expected a TFLite file that can be cut into parts at {source}. Got: {reason}")


def parts_of_file(content: bytes, groups: Sequence[Sequence[int]]) -> list[bytes]:
    """Return a file's operations, by their places, as the bytes of one file a group.

    Raises:
        InputError: it holds what no part may hold.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    if len(model.subgraphs or []) != 1:
        raise InputError(f"{len(model.subgraphs or [])} subgraphs, such as the bodies of loops: one can be cut.")
    if any(operator.largeCustomOptionsOffset for operator in model.subgraphs[0].operators):
        raise InputError("a custom operation whose settings stand outside of the flatbuffer.")
    names = _names(model)
    return [_part(schema, model, content, group, names) for group in groups]


def _names(model: Any) -> dict[int, str]:
    """Return what each tensor is called as an input or output: as in the signature, or as itself; all distinct."""
    found = {place: name for (_, place), name in names_of(model).items()}
    taken = set(found.values())
    for place, tensor in enumerate(model.subgraphs[0].tensors):
        if place not in found:
            name = text(tensor.name) or f"tensor {place}"
            found[place] = name if name not in taken else f"{name} ({place})"
            taken.add(found[place])
    return found


def _part(schema: Any, model: Any, content: bytes, group: Sequence[int], names: dict[int, str]) -> bytes:
    graph = model.subgraphs[0]
    operators = [graph.operators[place] for place in group]
    made = {int(place) for each in operators for place in items(each.outputs)}
    touched = {
        int(place)
        for each in operators
        for place in (*items(each.inputs), *items(each.outputs), *items(each.intermediates))
        if place >= 0
    }
    order = sorted(touched)
    computed = {int(place) for each in graph.operators for place in items(each.outputs)} | set(map(int, graph.inputs))
    others = [each for place, each in enumerate(graph.operators) if place not in set(group)]
    wanted = {int(place) for each in others for place in items(each.inputs)} | set(map(int, graph.outputs))
    inputs = [place for place in order if place in computed and place not in made]
    outputs = [place for place in order if place in made and place in wanted]

    part = schema.ModelT()
    part.version, part.description = model.version, model.description
    buffers = _Buffers(schema, model, content)
    new = {place: index for index, place in enumerate(order)}
    only = schema.SubGraphT()
    only.name = graph.name
    only.tensors = [buffers.moved(graph.tensors[place]) for place in order]
    only.inputs, only.outputs = _placed(inputs, new), _placed(outputs, new)
    codes = sorted({each.opcodeIndex for each in operators})
    only.operators = [_moved_operator(each, new, codes) for each in operators]
    part.subgraphs, part.buffers = [only], buffers.kept
    part.operatorCodes = [model.operatorCodes[code] for code in codes]
    sides = ([(names[place], new[place]) for place in each] for each in (inputs, outputs))
    part.signatureDefs = [signature(SIGNATURE, *sides)]
    make_lean(part)
    return packed(part)


class _Buffers:
    """The buffers of a part: the first is empty, as TFLite has it, and stands for all that hold nothing."""

    def __init__(self, schema: Any, model: Any, content: bytes) -> None:
        self._schema, self._model, self._content = schema, model, content
        self.kept = [schema.BufferT()]
        self._places: dict[int, int] = {}

    def moved(self, tensor: Any) -> Any:
        """Return a tensor that refers to the part's buffers."""
        moved = copy.copy(tensor)
        moved.buffer = self._place(tensor.buffer)
        return moved

    def _place(self, index: int) -> int:
        if index not in self._places:
            buffer = self._model.buffers[index]
            data = buffer.data
            if buffer.offset > 1:  # outside of the flatbuffer, in files of more than 2 GB
                data = np.frombuffer(self._content, np.uint8, buffer.size, buffer.offset)
            if data is None or not len(data):
                return 0
            new = self._schema.BufferT()
            new.data = np.asarray(data, np.uint8)
            self.kept.append(new)
            self._places[index] = len(self.kept) - 1
        return self._places[index]


def _moved_operator(operator: Any, new: dict[int, int], codes: list[int]) -> Any:
    moved = copy.copy(operator)
    moved.opcodeIndex = codes.index(operator.opcodeIndex)
    moved.inputs, moved.outputs = _placed(operator.inputs, new), _placed(operator.outputs, new)
    if operator.intermediates is not None:
        moved.intermediates = _placed(operator.intermediates, new)
    return moved


def _placed(places: Iterable[int], new: dict[int, int]) -> np.ndarray:
    """Return places among the part's tensors; -1, for an input that is left out, stays."""
    return np.asarray([new.get(int(place), -1) for place in items(places)], np.int32)


def main(job_file: str) -> None:
    """Cut the file that a job names; why it was refused is written down, empty where it was cut."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    refused = ""
    try:
        parts = parts_of_file(Path(job["source"]).read_bytes(), job["groups"])
        for target, part in zip(job["targets"], parts, strict=True):
            Path(target).write_bytes(part)
    except InputError as error:
        refused = str(error)
    Path(job["answer"]).write_text(json.dumps({"refused": refused}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
