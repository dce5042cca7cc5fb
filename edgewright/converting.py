"""An attempt at all artifacts of a model: each graph converted to each format and precision, and each file run."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

from . import warm
from .attempts import Attempt
from .checks import Reference, check_all
from .children import run_together
from .compress import Recipe
from .compress._recipe import EDGE_TPU
from .export import About, Artifact, Conversion, Deployable, Frozen, HostCode, convert, deployables
from .export import get as exporter
from .export._bundle import artifact_at, plain_artifact
from .export._convert import ENVIRONMENT
from .export._exporter import CALIBRATED, GROUP_SIZE
from .export._legalise import Legalised
from .export._legalise import version as passes_version
from .files import sha256, write_json
from .hosting import Calls
from .progress import Event, OnProgress, part
from .stages import Stages

# Two converters at a time: each is one process of about 0.8 GB that keeps one core busy.
_CONVERTERS_AT_ONCE = 2
_VERSIONS_OF = (
    "edgewright",
    "tensorflow",
    "keras",
    "tensorflow-model-optimization",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "tflite-runtime",
    "numpy",
)


class _Failed(Exception):
    """A conversion that failed: it is reported, and tried again the next time."""

    def __init__(self, conversion: Conversion) -> None:
        super().__init__(conversion.reason)
        self.conversion = conversion


@dataclass(frozen=True)
class Plan:
    """What is converted, and how.

    Attributes:
        about: what the model is; progress calls it by its name.
        frozen: the graphs, or the imported file, by name.
        digests: of each of them, by name.
        recipe: whose steps say the group size of 4-bit weights, and for what unit int8 is exported.
        calibration: by graph, an .npz of representative inputs.
        quantized: by graph, the one with the ranges of its activations, and a digest of these.
        as_one: the formats that get it.
        sparse: whether weights that have zeros in blocks are stored without them.
        hosted: whether host code calls the graphs, with real numbers. To quantize these takes NumPy longer than many a
            graph takes; in the graph it takes next to nothing. The Edge TPU has no float, so that its files do not.
    """

    about: About
    frozen: Mapping[str, Frozen]
    digests: Mapping[str, str]
    recipe: Recipe
    calibration: Mapping[str, Path]
    quantized: Mapping[str, tuple[Frozen, str]] = field(default_factory=dict)
    sparse: bool = False
    as_one: tuple[str, ...] = ()
    hosted: bool = False

    @property
    def group_size(self) -> int:
        """How many 4-bit weights share a scale: what the recipe's step says, if one does."""
        asked = [getattr(step.parameters, "group_size", None) for step in self.recipe.steps]
        return next((size for size in asked if size), GROUP_SIZE)


def make_ready(formats: Sequence[str]) -> None:
    """Begin what conversions are forked from: it takes seconds, and keeps busy what something else leaves idle."""
    loads = {name for format in formats for name in exporter(format).loads}
    warm.make_ready(sorted(loads), _CONVERTERS_AT_ONCE, ENVIRONMENT)


def attempt(
    plan: Plan,
    cells: Sequence[tuple[str, str]],
    folder: Path,
    stages: Stages,
    reference: Reference,
    report: OnProgress,
    host: HostCode | None = None,
    calls: Calls | None = None,
) -> Attempt:
    """Convert to each (format, precision), copy the files into ``folder`` and run them on the reference's samples."""
    conversions = _convert_all(plan, cells, stages, part(report, 0, 0.6))
    artifacts = _gather(conversions, folder)
    tried = deployables(_complete(artifacts, set(plan.frozen)), host, calls)
    checks = check_all(tried, reference, measure=False, on_progress=part(report, 0.6, 1))
    return Attempt(conversions, tried, checks)


def _convert_all(
    plan: Plan, cells: Sequence[tuple[str, str]], stages: Stages, report: OnProgress
) -> tuple[Conversion, ...]:
    """Convert every graph to each (format, precision), two at a time; a finished conversion is a stage.

    A precision that a format lacks, or does not make of an imported file, is a conversion that failed, with the reason.
    """
    imported = next(iter(plan.frozen.values())).imported
    refusals = {cell: exporter(cell[0]).refusal(cell[1], imported) for cell in cells}
    refused = tuple(Conversion(*cell, None, reason, 0.0, 0) for cell, reason in refusals.items() if reason)
    jobs = [(graph, *cell) for cell in cells if not refusals[cell] for graph in plan.frozen]
    calibration_keys = {name: sha256(path) for name, path in plan.calibration.items()}
    passes = passes_version()

    def one(graph: str, format: str, precision: str) -> Conversion:
        calibrated = calibration_keys.get(graph, "") if precision in CALIBRATED else ""
        grouped = plan.group_size if precision == "int4_weights" else 0
        frozen = plan.frozen[graph]
        as_one = precision == "int8" and format in plan.as_one
        source, ranges = plan.quantized.get(graph, (frozen, "")) if as_one else (frozen, "")
        unit = plan.recipe.unit if precision == "int8" else ""
        float_tensors = plan.hosted and unit != EDGE_TPU
        settings = [graph, format, precision, unit, calibrated, ranges, grouped, plan.sparse, float_tensors]
        key = [plan.digests[graph], *settings, asdict(plan.about), versions(), passes]

        def make(folder: Path) -> None:
            made = convert(
                source,
                format,
                precision,
                folder,
                plan.calibration.get(graph),
                graph,
                plan.group_size,
                plan.sparse,
                unit=unit,
                about=plan.about,
                float_tensors=float_tensors,
            )
            if made.artifact is None:
                raise _Failed(made)
            write_json(folder / "conversion.json", {**asdict(made), "artifact": plain_artifact(made.artifact)})

        try:
            place = stages.once(f"convert-{graph}-{format}-{precision}", key, make)
        except _Failed as failed:
            return failed.conversion
        document = json.loads((place / "conversion.json").read_text(encoding="utf-8"))
        legalised = tuple(Legalised(**each) for each in document["legalised"])
        return Conversion(**{**document, "artifact": artifact_at(document["artifact"], place), "legalised": legalised})

    def tell(place: int, made: Conversion, done: int) -> None:
        graph, *rest = jobs[place]
        report(Event("converted", (plan.about.name, "" if graph == "model" else graph, *rest), done / len(jobs)))

    report(Event("convert", (plan.about.name, f"{len(jobs)} artifacts")))
    long = [precision in CALIBRATED for *_, precision in jobs]
    return (*run_together([partial(one, *job) for job in jobs], _CONVERTERS_AT_ONCE, tell, long=long), *refused)


def _gather(conversions: tuple[Conversion, ...], folder: Path) -> tuple[Artifact, ...]:
    """Copy the converted files into the bundle's folder and return the artifacts as they are there."""
    artifacts = []
    for made in conversions:
        if made.artifact:
            for path in (made.artifact.path, *(path for path, _ in made.artifact.companions)):
                shutil.copyfile(path, folder / path.name)
            artifacts.append(artifact_at(plain_artifact(made.artifact), folder))
    return tuple(artifacts)


def _complete(artifacts: tuple[Artifact, ...], wanted: set[str]) -> tuple[Artifact, ...]:
    """Return the artifacts of the formats and precisions in which every graph was converted."""
    graphs: dict[str, set[str]] = {}
    for artifact in artifacts:
        graphs.setdefault(artifact.name, set()).add(artifact.graph)
    return tuple(artifact for artifact in artifacts if graphs[artifact.name] == wanted)


def remove_others(folder: Path, right: tuple[Deployable, ...]) -> None:
    """Remove from a bundle's folder the files of all artifacts that are not right."""
    artifacts = [artifact for deployable in right for artifact in deployable.artifacts]
    kept = {path for artifact in artifacts for path in (artifact.path, *(path for path, _ in artifact.companions))}
    for path in folder.iterdir():
        if path not in kept:
            path.unlink()


def versions() -> dict[str, str]:
    """Return the versions of the packages that shape what is exported."""
    found = {}
    for name in _VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
