"""Reading a file of any format into a graph, in a child process: a hostile or broken file ends only that."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..children import GIB, python, run_child
from ..errors import InputError, nearest
from ..held import temporary_folder
from ._graph import Graph, graph_of

_OF_KERAS = (".keras", ".h5", ".hdf5")
TIME_LIMIT_S = 120.0
MEMORY_LIMIT_BYTES = 6 * GIB


def read_graph(path: Path) -> Graph:
    """Return what a file is made of; its suffix says which format it has.

    Raises:
        InputError: no such file, no known suffix, or a file that is broken, truncated or of another format.
    """
    format = _format_of(path)
    if not path.is_file():
        raise InputError(f"Expected a file at {path}. Got: {'a folder' if path.is_dir() else 'nothing'}.")
    with temporary_folder("read") as temporary:
        answer = temporary / "graph.json"
        child = run_child(
            python("-m", __name__, answer, path.absolute(), format),
            time_limit_s=TIME_LIMIT_S,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
        )
        documents = json.loads(answer.read_text(encoding="utf-8")) if child.ok and answer.is_file() else {}
        document = documents.get(str(path.absolute()), {})
    if "graph" in document:
        return graph_of(document["graph"])
    reason = document.get("refused") or f"a broken or truncated file ({document.get('broken') or child.reason()})."
    if reason.startswith("Expected"):
        raise InputError(reason)
    raise InputError(f"Expected a whole {format} file at {path}. Got: {reason}")


def read_graphs(paths: Sequence[Path]) -> dict[Path, Graph]:
    """Return what files are made of, read in one child process; those that cannot be read are left out.

    Where one of them ends that process, each is read in one of its own.
    """
    with temporary_folder("read") as temporary:
        answer = temporary / "graphs.json"
        files = [part for path in paths if path.is_file() for part in (path.absolute(), _format_of(path))]
        child = run_child(
            python("-m", __name__, answer, *files),
            time_limit_s=TIME_LIMIT_S,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
        )
        if child.ok and answer.is_file():
            documents = json.loads(answer.read_text(encoding="utf-8"))
            return {
                path: graph_of(document["graph"])
                for path, document in ((path, documents.get(str(path.absolute()), {})) for path in paths)
                if "graph" in document
            }
    found = {}
    for path in paths:
        with contextlib.suppress(InputError):
            found[path] = read_graph(path)
    return found


def _format_of(path: Path) -> str:
    from . import get, names

    suffixes = {get(name).suffix: name for name in names() if get(name).read is not None}
    if path.suffix not in suffixes:
        hint = nearest(path.suffix, suffixes)
        if path.suffix in _OF_KERAS:
            hint = " A Keras model is exported first, as by: edgewright compress MODEL --recipe float32 --out FOLDER"
        raise InputError(f"Expected a file that ends in {', '.join(sorted(suffixes))}. Got: {path}.{hint}")
    return suffixes[path.suffix]


def main(answer: str, *files: str) -> None:
    """Read files, each named with its format after it, and write what came of each as JSON.

    By path it holds "graph", or "refused" or "broken" with the reason.
    """
    found = {path: _read(path, format) for path, format in zip(files[::2], files[1::2], strict=True)}
    Path(answer).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")


def _read(path: str, format: str) -> dict[str, object]:
    from . import get

    read = get(format).read
    assert read is not None
    try:
        return {"graph": read(Path(path)).plain()}
    except InputError as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever a broken file makes of its reader
        lines = str(error).strip().splitlines() or [""]
        return {"broken": f"{type(error).__name__}: {lines[0][:200]}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
