"""One model in its form for the Coral Dev Board: compressed, exported, and placed on the Edge TPU; kept on disk."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from _compression_subjects import Subject

import edgewright
from edgewright.compress import Recipe
from edgewright.converting import versions
from edgewright.devices import Placement, get, place
from edgewright.errors import EdgewrightError
from edgewright.export import Graph, load_bundle, read_graph
from edgewright.export._legalise import version as passes_version
from edgewright.files import write_json
from edgewright.train import Task

DEVICE = "coral-dev-board"
_UNIT = "Edge TPU"


@dataclass(frozen=True)
class Cell:
    """What came of one model, over all graphs of its deployment.

    Attributes:
        reason: why there is nothing; empty where there is.
        graphs: how many files go to the device.
        operations, mapped: of all files; those that the Edge TPU is predicted to take.
        macs_share: of the multiply-accumulates of one answer, 0 to 1; each file's by how often it is called.
        parts: stretches of operations on the Edge TPU, if the compiler is allowed several in a file.
        parameter_bytes, cache_bytes: of the mapped operations, all files together; what the chip keeps.
        whole: whether every operation of every file is mapped.
        on_cpu: what is not, and why, the reason of its own first.
        macs_share_split: the share when each file is split; that of the files as they are where nothing is gained.
        split_notes: for each file, how many parts, or why it was not split.
        metric: its name and unit.
        keras, compressed, litert: the metric of the original model, of the compressed one, and of the files in LiteRT.
    """

    reason: str = ""
    graphs: int = 0
    operations: int = 0
    mapped: int = 0
    macs_share: float = 0.0
    parts: int = 0
    parameter_bytes: int = 0
    cache_bytes: int = 0
    whole: bool = False
    on_cpu: tuple[str, ...] = ()
    macs_share_split: float = 0.0
    split_notes: tuple[str, ...] = ()
    metric: str = ""
    keras: float | None = None
    compressed: float | None = None
    litert: float | None = None


def cell_of(subject: Subject, recipe: Recipe, out: Path, samples: int, kept: bool) -> Cell:
    """Return the cell of a subject; what is compressed and exported for it is kept, and done again when it changed."""
    folder = out / subject.name.replace("/", "-") / recipe.name
    key = {
        "model": subject.sha256,
        "recipe": recipe.to_toml(),
        "samples": samples,
        "passes": passes_version(),
        "versions": versions(),
    }
    record = folder / "key.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else None
    if known != key and not (kept and known):
        if kept:
            return Cell("not computed")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            _make_bundle(subject, recipe, folder / "bundle", samples)
        except EdgewrightError as error:
            return Cell(f"{type(error).__name__}: {error}")
        write_json(record, key)
    cell = _placed(folder)
    write_json(folder / "cell.json", asdict(cell))
    return cell


def _make_bundle(subject: Subject, recipe: Recipe, folder: Path, samples: int) -> None:
    task = subject.experiment.task()
    few = task.test.at(task.test.evenly(samples)) if len(task.test) > samples else task.test
    deploy = subject.experiment.deploy
    made = edgewright.compress(subject.model(), dataclasses.replace(task, test=few), recipe, deploy=deploy)
    assert isinstance(made.task, Task)
    edgewright.export(made, folder, ["tflite"], deploy=deploy, name=subject.name)


def _placed(folder: Path) -> Cell:
    bundle = load_bundle(folder / "bundle")
    chosen = next((each for each in bundle.deployables if each.precision == "int8"), None)
    if chosen is None:
        return Cell(f"no int8 file: {bundle.manifest['failures']}"[:300])
    files = [_file(artifact.path, chosen.calls_of(artifact)) for artifact in chosen.artifacts]
    facts = [file.placement.facts for file in files]
    shares, notes = zip(*(_split(file, folder / "split") for file in files), strict=True)
    evidence = bundle.manifest["evidence"]
    checks = [made for made in evidence["checks"] if made["artifact"] == chosen.name and made["runtime"] == "litert"]
    return Cell(
        graphs=len(files),
        operations=sum(each["operations"] for each in facts),
        mapped=sum(each["operations_on_edgetpu"] for each in facts),
        macs_share=_weighted(files, [each["macs_share"] for each in facts]),
        parts=sum(each["parts_if_several_were_allowed"] for each in facts),
        parameter_bytes=sum(each["parameter_bytes"] for each in facts),
        cache_bytes=facts[0]["cache_bytes"],
        whole=all(each["operations"] == each["operations_on_edgetpu"] for each in facts),
        on_cpu=tuple(text for file in files for text in _on_cpu(file)),
        macs_share_split=_weighted(files, shares),
        split_notes=notes,
        metric=f"{evidence['metric']['name']}, {evidence['metric']['unit']}" if evidence["metric"] else "",
        keras=evidence["original_metric"],
        compressed=evidence["compressed_metric"],
        litert=checks[0]["metric"] if checks else None,
    )


@dataclass(frozen=True)
class _File:
    """A file, how often it is called for one answer, and where its operations are predicted to run."""

    path: Path
    calls: float
    graph: Graph
    placement: Placement


def _file(path: Path, calls: float) -> _File:
    graph = read_graph(path)
    placement = place(get(DEVICE), graph)
    assert placement is not None
    return _File(path, calls, graph, placement)


def _weighted(files: Sequence[_File], shares: Sequence[float | None]) -> float:
    macs = [file.calls * file.graph.macs for file in files]
    there = sum(count * (share or 0.0) for count, share in zip(macs, shares, strict=True))
    return there / sum(macs) if sum(macs) else 0.0


def _on_cpu(file: _File) -> list[str]:
    groups = [group for group in file.placement.groups if group.unit != _UNIT]
    groups.sort(key=lambda group: "comes after" in group.reason)
    return [f"{file.path.name}: {group.count} {group.kind} {group.reason}" for group in groups]


def _split(file: _File, out: Path) -> tuple[float, str]:
    """Return the share of the multiply-accumulates on the Edge TPU after a split, and what was done."""
    try:
        made = edgewright.split(file.path, DEVICE, out / file.path.stem)
    except EdgewrightError as error:
        return file.placement.facts["macs_share"] or 0.0, f"{file.path.name}: {error}"
    return made.macs_share, f"{file.path.name}: {len(made.parts)} parts"
