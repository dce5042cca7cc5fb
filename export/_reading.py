"""Reading a file of any format into a graph, in a child process: a hostile or broken file ends only that."""

import json
import sys
import tempfile
from pathlib import Path

from ..children import GIB, python, run_child
from ..errors import InputError, nearest
from ._graph import Graph, graph_of

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
    with tempfile.TemporaryDirectory(prefix="edgewright-read-") as temporary:
        answer = Path(temporary) / "graph.json"
        child = run_child(
            python("-m", __name__, path.absolute(), format, answer),
            time_limit_s=TIME_LIMIT_S,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
        )
        document = json.loads(answer.read_text(encoding="utf-8")) if child.ok and answer.is_file() else {}
    if "graph" in document:
        return graph_of(document["graph"])
    reason = document.get("refused") or f"a broken or truncated file ({document.get('broken') or child.reason()})."
    if reason.startswith("Expected"):
        raise InputError(reason)
    raise InputError(f"Expected a whole {format} file at {path}. Got: {reason}")


def _format_of(path: Path) -> str:
    from . import get, names

    suffixes = {get(name).suffix: name for name in names() if get(name).read is not None}
    if path.suffix not in suffixes:
        raise InputError(
            f"Expected a file that ends in {', '.join(sorted(suffixes))}. Got: {path}.{nearest(path.suffix, suffixes)}"
        )
    return suffixes[path.suffix]


def main(path: str, format: str, answer: str) -> None:
    """Read a file and write what came of it as JSON: "graph", or "refused" or "broken" with the reason."""
    from . import get

    read = get(format).read
    assert read is not None
    try:
        document: dict[str, object] = {"graph": read(Path(path)).plain()}
    except InputError as error:
        document = {"refused": str(error)}
    except Exception as error:  # whatever a broken file makes of its reader
        lines = str(error).strip().splitlines() or [""]
        document = {"broken": f"{type(error).__name__}: {lines[0][:200]}"}
    Path(answer).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
