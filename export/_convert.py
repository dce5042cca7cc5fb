"""Conversion in a child process with limits: a converter that dies is a recorded failure."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..children import GIB, Child
from ..compress._recipe import UNITS
from ..errors import InputError
from ..files import check_room, gzip_bytes, sha256
from ..warm import run_module
from ._about import About
from ._artifact import Artifact, read_operations, read_tensors
from ._exporter import CALIBRATED, GROUP_SIZE, Exporter
from ._freeze import Frozen
from ._legalise import RECORD, Legalised
from ._reading import read_graph
from ._unconverted import unconverted

TIME_LIMIT_S = 600.0
MEMORY_LIMIT_BYTES = 12 * GIB
# Of the child. Converters go through sets of names: in one order of hashes they write equal models as equal files.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONHASHSEED": "0"}
_LOOPS = {"While", "StatelessWhile"}


@dataclass(frozen=True)
class Conversion:
    """What came of one conversion.

    Attributes:
        format, precision: what was asked for.
        graph: the graph that was converted.
        artifact: the file; None when it failed.
        reason: why it failed; empty when it did not.
        wall_s: seconds that it took, the child's start included.
        peak_memory_bytes: of the child.
        legalised: what came of each pass that rewrote the graph before it was converted, or was refused.
    """

    format: str
    precision: str
    artifact: Artifact | None
    reason: str
    wall_s: float
    peak_memory_bytes: int
    graph: str = "model"
    legalised: tuple[Legalised, ...] = ()


def convert(
    frozen: Frozen,
    format: str,
    precision: str,
    folder: Path,
    calibration: Path | None = None,
    graph: str = "model",
    group_size: int = GROUP_SIZE,
    sparse: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    unit: str = "",
    about: About | None = None,
    float_tensors: bool = False,
) -> Conversion:
    """Convert a frozen graph or an imported file to one format and precision, in a child process.

    Args:
        frozen: the graph, or an imported file.
        format: an exporter's name.
        precision: one of the exporter's.
        folder: an empty folder for the file.
        calibration: an .npz of representative inputs by name; needed for int8 and int16x8, except of a graph that holds
            its ranges.
        graph: the name of the graph, which the file gets too.
        group_size: how many 4-bit weights share a scale, where the format has groups.
        sparse: store weights that have zeros in blocks without them, where the format can and a runtime gains by it.
        time_limit_s, memory_limit_bytes: of the child.
        unit: a kind of processing unit that is exported for besides the format: "edgetpu", "tensorrt", or empty.
        about: what the model is, for the file's own fields; None writes nothing there.
        float_tensors: of an integer precision, leave inputs and outputs in float.

    Raises:
        InputError: no such format or unit; the format lacks the precision; no representative dataset.
    """
    from . import get

    exporter = get(format)
    _check(exporter, frozen, precision, calibration, unit)
    folder.mkdir(parents=True, exist_ok=True)
    job = folder / "job.json"
    document = {
        "format": format,
        "precision": precision,
        "calibration": str(calibration) if calibration else None,
        "folder": str(folder),
        "stem": f"{graph}.{precision}",
        "group_size": group_size,
        "sparse": sparse,
        "unit": unit,
        "float_tensors": float_tensors,
        "about": asdict(_about_graph(about, frozen, graph)) if about else None,
        **_told_of(frozen),
    }
    job.write_text(json.dumps(document), encoding="utf-8")
    child = run_module(
        f"{__package__}._worker",
        [job],
        () if frozen.imported else exporter.loads,
        time_limit_s=time_limit_s,
        memory_limit_bytes=memory_limit_bytes,
        environment=ENVIRONMENT,
    )
    artifact, reason = None, "" if child.ok else _why_failed(child, exporter, frozen)
    if child.ok:
        try:
            artifact = _read_artifact(folder, format, precision, frozen, graph)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"the converter ended without an error but left no usable file: {error}"
    if artifact is None:
        check_room(folder, reason)
    legalised = _read_legalised(folder)
    return Conversion(format, precision, artifact, reason, child.wall_s, child.peak_memory_bytes, graph, legalised)


def _check(exporter: Exporter, frozen: Frozen, precision: str, calibration: Path | None, unit: str) -> None:
    """Raise InputError for what ``exporter`` cannot make of ``frozen``."""
    if unit and unit not in UNITS:
        raise InputError(f"Expected a processing unit: {', '.join(UNITS)}, or none. Got: {unit!r}.")
    if refusal := exporter.refusal(precision, frozen.imported):
        raise InputError(
            f"Expected a precision of {exporter.name}: {', '.join(exporter.precisions)}. Got: {precision!r}. {refusal}"
        )
    if precision in CALIBRATED and calibration is None and not frozen.quantized:
        raise InputError(f"Expected a representative dataset for {exporter.name} {precision}. Got: none.")


def _why_failed(child: Child, exporter: Exporter, frozen: Frozen) -> str:
    """Return why a conversion failed: which operations the converter lacks, where it says so, before its own words."""
    sentence = unconverted(child.stderr, exporter.title, frozen.layers)
    return sentence or child.reason()


def _told_of(frozen: Frozen) -> dict[str, Any]:
    """Return what the child is told of the graph or the file that it converts."""
    return {
        "saved_model": str(frozen.folder),
        "inputs": [asdict(tensor) for tensor in frozen.inputs],
        "outputs": [asdict(tensor) for tensor in frozen.outputs],
        "quantized": frozen.quantized,
        "types": sorted(frozen.types),
        "imported": frozen.imported,
    }


def _about_graph(about: About, frozen: Frozen, graph: str) -> About:
    return about.of(graph, (tensor.name for tensor in frozen.inputs), (tensor.name for tensor in frozen.outputs))


def _read_legalised(folder: Path) -> tuple[Legalised, ...]:
    try:
        documents = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the child died before it was written
        return ()
    return tuple(Legalised(**document) for document in documents)


def _read_artifact(folder: Path, format: str, precision: str, frozen: Frozen, graph: str) -> Artifact:
    document = json.loads((folder / "exported.json").read_text(encoding="utf-8"))
    path = Path(document["path"])
    companions = tuple(Path(companion) for companion in document["companions"])
    files = (path, *companions)
    return Artifact(
        path=path,
        format=format,
        precision=precision,
        inputs=read_tensors(document["inputs"]),
        outputs=read_tensors(document["outputs"]),
        sha256=sha256(path),
        size_bytes=sum(file.stat().st_size for file in files),
        gzip_bytes=sum(gzip_bytes(file) for file in files),
        companions=tuple((companion, sha256(companion)) for companion in companions),
        macs=_macs(frozen, path),
        parameters=frozen.parameters,
        operations=read_operations(document["operations"]),
        graph=graph,
    )


def _macs(frozen: Frozen, path: Path) -> int:
    """Return what the graph computes; of one with loops what the file says, which knows how often they run."""
    if not frozen.types & _LOOPS:
        return frozen.macs
    try:
        return read_graph(path).macs
    except InputError:
        return frozen.macs
