"""Which published latencies have a rebuilt graph, and how far each graph agrees with the published size, as text."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from _measured_names import DISAGREEING, canonical, without

from edgewright.export import Graph, read_graph

# How far a graph's figure may be from the published one.
TOLERANCE = 0.03


def table(latencies: Path, folder: Path) -> str:
    """Return the tables for ``latencies`` (a CSV file) and the graphs in ``folder``."""
    with latencies.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_name = defaultdict(list)
    for row in rows:
        name = canonical(row)
        by_name[name if name and (folder / f"{name}.tflite").is_file() else None].append(row)
    lines = ["GRAPHS (MACs and parameters in millions)", _line("name", "operations", "MACs", "published", "off", "")]
    for name in sorted(filter(None, by_name)):
        lines += _graph_lines(name, by_name[name], read_graph(folder / f"{name}.tflite"))
    lines += ["", "ROWS BY DEVICE AND RUNTIME", _line("", "with a graph", "of", "", "", "")]
    having = Counter(_where(row) for name, of_it in by_name.items() if name for row in of_it)
    for where, count in Counter(map(_where, rows)).most_common():
        lines.append(_line(where, str(having[where]), str(count), "", "", ""))
    lines.append(_line("all", str(having.total()), str(len(rows)), "", "", ""))
    lines += ["", "ROWS WITHOUT A GRAPH"]
    reasons = Counter((without(row), row["model"]) for row in by_name[None])
    for (reason, model), count in sorted(reasons.items()):
        lines.append(f"{count:5}  {model}: {reason}")
    return "\n".join(lines)


def macs_of(graph: Graph) -> float:
    """Return the multiply-accumulates of a graph in millions; products of two computed tensors count."""
    return sum(node.macs or 0 for node in graph.nodes) / 1e6


def parameters_of(graph: Graph) -> float:
    """Return the floating-point constants of a graph in millions."""
    constants = [value for value in graph.values if value.constant and value.dtype == "float32"]
    return sum(math.prod(value.shape or ()) for value in constants) / 1e6


def _graph_lines(name: str, rows: list[Mapping[str, str]], graph: Graph) -> list[str]:
    lines = []
    for column, built in (("macs_m", macs_of(graph)), ("params_m", parameters_of(graph))):
        published = sorted({float(row[column]) for row in rows if row[column] and "precision_" not in row["model"]})
        off = max((_off(built, value) for value in published), default=0.0)
        reason = DISAGREEING.get(name, "DISAGREES") if off > TOLERANCE else ""
        figures = " ".join(f"{value:g}" for value in published)
        what = "MACs" if column == "macs_m" else "parameters"
        first = name if column == "macs_m" else ""
        lines.append(
            _line(
                first,
                f"{len(graph.nodes)}" if first else "",
                f"{built:.2f}",
                figures,
                f"{off:.1%}" if published else "",
                f"{what} {reason}",
            )
        )
    return lines


def _off(built: float, published: float) -> float:
    """Return how far a figure is from the published one; 0 where that is it, cut or rounded to a whole number."""
    return 0.0 if published in (math.floor(built), round(built)) else abs(built / published - 1)


def _where(row: Mapping[str, str]) -> str:
    return f"{row['device']}, {row['runtime']}"


def _line(name: str, operations: str, built: str, published: str, off: str, note: str) -> str:
    return f"{name:44}{operations:>12}{built:>11}{published:>22}{off:>7}  {note}".rstrip()
