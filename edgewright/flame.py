"""A flame-like picture of a profile, as SVG: from the model by way of its layers down to what ran, wide as time."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from .errors import InputError
from .files import check_parent
from .profile_values import ONLY, GraphTime, OperationProfile, OperationTime

WIDTH, ROW, MARGIN = 1200.0, 22.0, 12.0
_HEAD, _LETTER = 44.0, 6.3
_BEGINNING = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" '
# What XML 1.0 does not allow in a text, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class _Cell:
    """One rectangle: its label, its hover text, its milliseconds, its colour's seed, and what it is made of."""

    label: str
    ms: float
    title: str
    seed: str = ""
    inside: dict[str, "_Cell"] = field(default_factory=dict)


def check_picture(path: Path) -> None:
    """Raise unless a picture can be written at ``path``: nothing but a picture is written over.

    Raises:
        InputError: another ending than .svg, no such folder, or a file that is no picture of ours.
        MissingRequirement: the folder cannot be written.
    """
    if path.suffix.lower() != ".svg":
        raise InputError(f"Expected a picture whose name ends in .svg. Got: {path}.")
    if not path.parent.is_dir():
        raise InputError(
            f"Expected a folder that exists, to write the picture {path.name} in. Got: {path.parent}, which does not."
        )
    if path.is_dir() or (path.is_file() and not _is_picture(path)):
        raise InputError(f"Expected a free name for the picture, or one written before. Got: {path}, something else.")
    check_parent(path)


def _is_picture(path: Path) -> bool:
    """Tell whether a file begins as a picture of ours does."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_BEGINNING)) == _BEGINNING.encode()
    except OSError:
        return False


def flame_svg(profile: OperationProfile) -> str:
    """Return the picture as one self-contained SVG document.

    Each row splits the one above it; the last of each column is what ran, or "(runtime)" or "(host code)" for time in
    no operation. Hovering over a rectangle shows its time, share, multiply-accumulates and bytes.
    """
    root = _tree(profile)
    depth = _depth(root)
    height = _HEAD + depth * ROW + MARGIN
    body = [*_rectangles(root, MARGIN, 0, WIDTH - 2 * MARGIN, root.ms or 1.0)]
    title = f"{profile.source.name}, {profile.artifact} in {profile.runtime} {profile.runtime_version or ''}"
    under = f"{profile.answer_ms:.4g} ms an answer, {profile.how}, {profile.threads} thread(s); {profile.method}"
    return "\n".join(
        [
            f'{_BEGINNING}height="{height:g}" viewBox="0 0 {WIDTH:g} {height:g}">',
            "<style>text{font:11px sans-serif;fill:#1b1b1b;pointer-events:none}"
            ".t{font-size:14px;font-weight:bold}rect.c{stroke:#fff;stroke-width:.6}rect.c:hover{stroke:#000}</style>",
            f'<rect width="{WIDTH:g}" height="{height:g}" fill="#fff"/>',
            f'<text class="t" x="{MARGIN:g}" y="18">{_text(title)}</text>',
            f'<text x="{MARGIN:g}" y="34">{_text(under)}</text>',
            *body,
            "</svg>",
            "",
        ]
    )


def _tree(profile: OperationProfile) -> _Cell:
    whole = sum(graph.ms * graph.calls for graph in profile.graphs) + (profile.host_ms or 0.0)
    root = _Cell(profile.source.name, whole, _facts(profile.source.name, whole, whole))
    for graph in profile.graphs:
        cell = root
        if profile.host_ms is not None or graph.name != ONLY:
            ms = graph.ms * graph.calls
            cell = _Cell(graph.name, ms, _facts(f"graph {graph.name}, {graph.calls:g} calls", ms, whole))
            root.inside[f"graph {graph.name}"] = cell
        _fill(cell, graph, whole)
    if profile.host_ms:
        root.inside["host"] = _Cell("(host code)", profile.host_ms, _facts("(host code)", profile.host_ms, whole))
    return root


def _fill(cell: _Cell, graph: GraphTime, whole: float) -> None:
    for index, operation in enumerate(graph.operations):
        ms = operation.ms * graph.calls
        if ms <= 0:
            continue
        parts = operation.layer.split("/") if operation.layer else ["(not mapped)"]
        inner, path = cell, ""
        for part in parts:
            path = f"{path}/{part}" if path else part
            inner = inner.inside.setdefault(f"layer {part}", _Cell(part, 0.0, ""))
            inner.ms += ms
            inner.title = _facts(path, inner.ms, whole)
        inner.inside[f"operation {index}"] = _Cell(operation.kind, ms, _of(operation, ms, whole), operation.kind)
    rest = graph.runtime_ms * graph.calls
    if rest > 0:
        cell.inside["runtime"] = _Cell("(runtime)", rest, _facts("(runtime): in no operation", rest, whole))


def _facts(name: str, ms: float, whole: float) -> str:
    return f"{name}\n{ms:.4g} ms, {100 * ms / whole if whole else 0:.3g} %"


def _of(operation: OperationTime, ms: float, whole: float) -> str:
    lines = [
        _facts(f"{operation.kind} {operation.name}".strip(), ms, whole),
        f"layer {operation.layer or 'not known'}" + (f", with {', '.join(operation.also)}" if operation.also else ""),
        f"of the file: {', '.join(operation.operations) or 'none, the runtime put it in'}",
        f"{operation.macs:,} MACs; bytes: {operation.weight_bytes:,} weights, {operation.activation_bytes:,} others",
    ]
    return "\n".join(lines)


def _depth(cell: _Cell) -> int:
    return 1 + max((_depth(inner) for inner in cell.inside.values()), default=0)


def _rectangles(cell: _Cell, x: float, row: int, width: float, whole: float) -> Iterator[str]:
    y = _HEAD + row * ROW
    yield f'<g><title>{_text(cell.title)}</title><rect class="c" x="{x:.4f}" y="{y:g}" width="{width:.4f}" '
    yield f'height="{ROW - 1:g}" fill="{_colour(cell)}"/>{_label(cell.label, x, y, width)}</g>'
    total = sum(inner.ms for inner in cell.inside.values())
    for inner in cell.inside.values():
        share = width * inner.ms / max(total, cell.ms)
        yield from _rectangles(inner, x, row + 1, share, whole)
        x += share


def _label(label: str, x: float, y: float, width: float) -> str:
    letters = int((width - 6) / _LETTER)
    if letters < 3:
        return ""
    shown = label if len(label) <= letters else label[: letters - 1] + "…"
    return f'<text x="{x + 3:.2f}" y="{y + 15:g}">{_text(shown)}</text>'


def _colour(cell: _Cell) -> str:
    """Return a colour: of what ran by its kind, of layers a light grey, of time in no operation a darker one."""
    if cell.seed:
        return f"hsl({zlib.crc32(cell.seed.encode()) % 360},62%,74%)"
    return "#d5d5d5" if cell.label.startswith("(") else "#efe9dc"


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))
