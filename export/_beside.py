"""The files that lie beside a file and belong to it: OpenVINO's weights, and the data that an ONNX file names."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._onnx_weights import graphs_of


def files_beside(path: Path) -> tuple[Path, ...]:
    """Return the files beside one that hold data of it and are there; none of a file that cannot be read."""
    named = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    if path.suffix == ".onnx":
        import onnx

        try:
            named = [file for file, _ in _outside(onnx.load_model(str(path), load_external_data=False), path)]
        except Exception:  # whoever reads it tells what is wrong with it
            named = []
    return tuple(each for each in dict.fromkeys(named) if each.is_file() and _is_beside(each, path))


def check_data(model: Any, path: Path) -> None:
    """Raise InputError where data that an ONNX model names is not there, ends too early or lies in another folder."""
    for file, size in _outside(model, path):
        if not _is_beside(file, path):
            raise InputError(f"Expected data of {path.name} in its own folder, as ONNX asks for. Got: {file}.")
        found = file.stat().st_size if file.is_file() else None
        if found is None or found < size:
            told = "no such file" if found is None else f"{found} bytes"
            raise InputError(f"Expected {file.name} with at least {size} bytes beside {path.name}. Got: {told}.")


def _is_beside(file: Path, path: Path) -> bool:
    return file.resolve().is_relative_to(path.parent.resolve())


def _outside(model: Any, path: Path) -> Iterator[tuple[Path, int]]:
    """Yield for each tensor that an ONNX model keeps outside the file, and how many bytes that must have."""
    for tensor in chain.from_iterable(map(_stored, graphs_of(model.graph))):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location"):
            numbers = [entries.get(key, "") for key in ("offset", "length")]
            yield path.parent / entries["location"], sum(int(each) for each in numbers if each.isdigit())


def _stored(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from (made.t for node in graph.node for made in node.attribute if made.HasField("t"))
