"""An inspection for people: what a file is, its operations by kind, and where a device runs them."""

from collections.abc import Iterator, Sequence

from .devices import Placement
from .export import Graph, Node, Value
from .inspecting import Inspection, OnDevice


def inspection_text(inspection: Inspection, every: bool = False) -> str:
    """Return an inspection as text; with ``every``, each operation with its shapes too."""
    lines = [*_head(inspection), "", *_operations(inspection.graph)]
    if every:
        lines += ["", *_each(inspection)]
    if inspection.on_device:
        lines += ["", *_on_device(inspection.on_device)]
    return "\n".join(lines)


def _head(inspection: Inspection) -> Iterator[str]:
    graph, needed = inspection.graph, inspection.needed
    domains = {node.kind.rsplit(".", 1)[0] for node in graph.nodes if node.custom} | {
        "ir",
        "opset",
        "schema",
        "ai.onnx",
    }
    versions = ", ".join(f"{name} {number}" for name, number in graph.versions.items() if number and name in domains)
    producer = f", by {graph.producer}" if graph.producer else ""
    yield f"{inspection.path}: {graph.format}, {versions}{producer}"
    yield f"  size       {inspection.size_bytes:,} bytes, {inspection.gzip_bytes:,} after gzip"
    constants = ", ".join(f"{count:,} in {dtype}" for dtype, count in graph.constant_bytes.items() if count)
    yield f"  constants  {constants or 'none'} (bytes)"
    yield f"  inputs     {_values(graph, graph.inputs)}"
    yield f"  outputs    {_values(graph, graph.outputs)}"
    yield f"  MACs       {graph.macs:,} an inference{_uncounted(graph)}"
    wanted = f"{needed.runtime} {needed.version}: {needed.because}" if needed.version else "not known"
    yield f"  needs      {wanted}"
    if graph.stated_runtime and graph.stated_runtime != needed.version:
        yield f"             the file itself states {graph.stated_runtime}"
    if needed.unknown:
        yield f"             not in the table: {', '.join(needed.unknown)}"
    for key, text in graph.metadata.items():
        yield f"  metadata   {key}: {text}"
    for note in graph.notes:
        yield f"  note       {note}"


def _uncounted(graph: Graph) -> str:
    without = sorted({f"{node.kind} ({node.note})" for node in graph.nodes if node.macs is None})
    loops = sorted({node.body for node in graph.nodes if node.times is None})
    text = f"; not counted: {', '.join(without)}" if without else ""
    return text + (f"; counted once, since the file does not tell how often: {', '.join(loops)}" if loops else "")


def _operations(graph: Graph) -> list[str]:
    groups: dict[tuple[str, int, str, str], list[Node]] = {}
    for node in graph.nodes:
        groups.setdefault((node.kind, node.version, ", ".join(graph.dtypes_of(node)), node.body), []).append(node)
    rows = [("operation", "version", "types", "count", "MACs", "weights")]
    ordered = sorted(groups.items(), key=lambda item: (-_macs(item[1]), -len(item[1]), item[0]))
    for (kind, version, dtypes, body), nodes in ordered:
        weights = sum(node.weight_bytes for node in nodes)
        label = f"{kind} (in {body})" if body else kind
        rows.append((label, str(version), dtypes, str(len(nodes)), f"{_macs(nodes):,}", f"{weights:,}"))
    return _table(rows, right=(1, 3, 4, 5))


def _macs(nodes: Sequence[Node]) -> int:
    return sum((node.macs or 0) * (1 if node.times is None else node.times) for node in nodes)


def _each(inspection: Inspection) -> list[str]:
    graph = inspection.graph
    placement = inspection.on_device.placement if inspection.on_device else None
    units = {entry.node: entry for entry in placement.placed} if placement else {}
    rows = [("#", "operation", "inputs", "outputs", "MACs", *(["where"] if units else []))]
    for place, node in enumerate(graph.nodes):
        where = units.get(place)
        macs = "not counted" if node.macs is None else f"{node.macs:,}"
        macs += f" x {node.times}" if node.times not in (None, 1) else ""
        row = (str(place), node.kind, _shapes(graph.inputs_of(node)), _shapes(graph.outputs_of(node)), macs)
        rows.append((*row, f"{where.unit}{': ' + where.reason if where.reason else ''}") if where else row)
    return _table(rows, right=(0,))


def _on_device(on_device: OnDevice) -> Iterator[str]:
    yield f"On {on_device.title}:"
    yield f"  {on_device.loads.sentence}"
    placement = on_device.placement
    if placement is None:
        yield "  All of it runs on the processor, in that runtime."
        return
    yield from (f"  {sentence}" for sentence in placement.sentences)
    if placement.groups:
        yield ""
        yield from (f"  {line}" for line in _groups(placement))
    yield f"  ({placement.how} by {placement.source})"


def _groups(placement: Placement) -> list[str]:
    rows = [("operation", "count", "runs on", "why not on " + placement.unit)]
    rows += [(group.kind, str(group.count), group.unit, group.reason) for group in placement.groups]
    return _table(rows, right=(1,))


def _values(graph: Graph, places: Sequence[int]) -> str:
    return ", ".join(f"{graph.values[place].name} {_typed(graph.values[place])}" for place in places) or "none"


def _shapes(values: Sequence[Value]) -> str:
    return ", ".join(_typed(value) for value in values)


def _typed(value: Value) -> str:
    shape = "?" if value.in_file is None else " x ".join("?" if size < 0 else str(size) for size in value.in_file)
    marks = f"{value.dtype}{' constant' if value.constant else ''}{' sparse' if value.sparse else ''}"
    return f"[{shape}] {marks}"


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return rows as lines with aligned columns; the last column is as wide as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
