"""Making a bundle: convert, run every artifact, keep what is right with the evidence for it."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .attempts import Attempt, conversion_name
from .checks import Reference, check_all
from .children import run_together
from .compress import Compressed
from .compress._calibration import symmetric
from .compress._recipe import TENSORRT
from .errors import GateFailed, InputError
from .export import (
    About,
    Artifact,
    Bundle,
    Conversion,
    Deployable,
    Frozen,
    HostCode,
    convert,
    deployables,
    freeze,
    load_bundle,
)
from .export import get as exporter
from .export._bundle import HOST, SETTINGS, artifact_at, bundle_manifest, files_of, plain_artifact, save_golden
from .export._exporter import CALIBRATED, GROUP_SIZE
from .export._legalise import Legalised
from .export._legalise import version as passes_version
from .files import MANIFEST, new_folder, sha256, write_json
from .hosting import Calls, answers_of, batches_of, calibration_of
from .localising import first_wrong_layer
from .model_card import CARD, about_model, model_card
from .progress import Event, OnProgress, part
from .stages import Stages, digest
from .train import Dataset, Deployment, Task
from .train._model_file import load_model

if TYPE_CHECKING:
    import keras

GOLDEN_SAMPLES = 16
_SAMPLES_TO_LOCALISE = 64
MODEL = "model.keras"
GRAPHS = "graphs"

Deploy = Callable[["keras.Model"], Deployment]
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


def make_bundle(
    compressed: Compressed,
    out: Path,
    formats: tuple[str, ...],
    deploy: Deploy | None,
    about: About,
    work: Path | None,
    report: OnProgress,
) -> Bundle:
    """Write the bundle of a compressed model; see ``edgewright.export``."""
    name = about.name
    with tempfile.TemporaryDirectory(prefix="edgewright-") as temporary, new_folder(out) as folder:
        # Before its layers are called again in the deployment's graphs: afterwards Keras may fail to save it.
        unsaved = _write_model_of(compressed, folder)
        deployment = _deployment(compressed, compressed.model, deploy)
        report(Event("freeze", (name,)))
        frozen = {key: freeze(graph, Path(temporary) / "frozen" / key) for key, graph in deployment.graphs.items()}
        calibration = _save_calibration(compressed, deployment, Path(temporary))
        quantized = _quantized(compressed, deployment, calibration, Path(temporary))
        stages = Stages(work or Path(temporary) / "stages")
        reference, calls = reference_of(compressed, deployment, deploy)
        about = about_model(about, compressed, deployment, frozen, reference, calibration)
        host = _write_host(deployment, folder)
        (folder / "artifacts").mkdir()

        def attempt(
            ranges: Mapping[str, tuple[Frozen, str]],
            formats: tuple[str, ...],
            precisions: tuple[str, ...],
            listener: OnProgress,
        ) -> Attempt:
            cells = [(format, precision) for format in formats for precision in precisions]
            conversions = _convert_all(
                about, compressed, deployment, frozen, ranges, calibration, cells, stages, part(listener, 0, 0.6)
            )
            artifacts = _gather(conversions, folder / "artifacts")
            tried = deployables(_complete(artifacts, deployment), host, calls)
            checks = check_all(tried, reference, measure=False, on_progress=part(listener, 0.6, 1))
            return Attempt(conversions, tried, checks)

        made = attempt(quantized, formats, compressed.precisions, part(report, 0, 0.9))
        notes = list(compressed.notes)
        lacking = tuple(format for format in formats if quantized and _is_retried(made, format))
        if lacking:
            again = made.replaced_by(attempt({}, lacking, ("int8",), part(report, 0.9, 1)))
            notes += [
                f"{each.name} is by the format's own quantizer, for one graph with ranges failed: "
                f"{made.why_not(each.name)}"
                for each in again.right
                if each.name not in {before.name for before in made.right}
            ]
            made = again
        notes += made.kernel_notes()
        failures = {**made.failures, **_where_wrong(made, deployment, compressed, calibration), **unsaved}
        if not made.right:
            reasons = "; ".join(f"{which}: {reason}" for which, reason in failures.items())
            raise GateFailed(f"Expected an artifact of {name} that runs. Got: none. {reasons}")
        _remove_others(folder / "artifacts", made.right)
        _write_graphs(compressed, deployment, folder, failures)
        _write_golden(reference, folder)
        (folder / "recipe.toml").write_text(compressed.recipe.to_toml(), encoding="utf-8")
        facts = {
            "deployment": {"graphs": list(deployment.graphs), "host": host is not None, "per": deployment.per}
            | {"calls": dict(calls)},
            "model": name,
            "about": asdict(about),
            **_facts(compressed, reference, deployment, made, failures, notes),
        }
        artifacts = tuple(artifact for deployable in made.right for artifact in deployable.artifacts)
        manifest = bundle_manifest(artifacts, **facts)
        (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
        write_json(folder / MANIFEST, {**manifest, "files": files_of(folder)})
    return load_bundle(out)


def _deployment(compressed: Compressed, model: "keras.Model", deploy: Deploy | None) -> Deployment:
    return deploy(model) if deploy else Deployment({"model": model}, compressed.task)


def reference_of(compressed: Compressed, deployment: Deployment, deploy: Deploy | None) -> tuple[Reference, Calls]:
    """Return what the artifacts are compared with: both models' answers, in Keras, to the task's test samples."""
    test = deployment.task.test
    answers, calls = answers_of(deployment, test)
    original = answers
    if compressed.model is not compressed.original:
        original, _ = answers_of(_deployment(compressed, compressed.original, deploy), test)
    return Reference(test, deployment.task.metric, original, answers, compressed.recipe.max_drop), calls


def bundled_deployment(bundle: Bundle, allow: Sequence[str] = ()) -> Deployment:
    """Return the Keras graphs that lie in a bundle with the host code, without samples.

    Raises:
        InputError: they could not be saved when the bundle was made, or hold what ``allow`` does not name.
    """
    nothing = Task("", Dataset({}), Dataset({}), None, None)
    if not bundle.manifest["deployment"]["host"]:
        return Deployment({"model": _bundled(bundle.path / MODEL, allow)}, nothing)
    return Deployment(
        graphs={
            name: _bundled(bundle.path / GRAPHS / f"{name}.keras", allow)
            for name in bundle.manifest["deployment"]["graphs"]
        },
        task=nothing,
        host=bundle.path / HOST,
        settings=json.loads((bundle.path / SETTINGS).read_text(encoding="utf-8")),
        per=bundle.manifest["deployment"]["per"],
    )


def _bundled(path: Path, allow: Sequence[str]) -> "keras.Model":
    if not path.exists():
        raise InputError(f"Expected {path.name} in {path.parent}, to compare with. Got: none.")
    return load_model(path, allow).model


def _save_calibration(compressed: Compressed, deployment: Deployment, folder: Path) -> dict[str, Path]:
    """Write the representative dataset of each graph, and return where; nothing when the recipe quantizes nothing."""
    if not compressed.calibration_samples:
        return {}
    paths = {}
    for name, arrays in calibration_of(deployment, compressed.calibration_samples, compressed.seed).items():
        paths[name] = folder / f"calibration-{name}.npz"
        np.savez(paths[name], **arrays)
    return paths


def _quantized(
    compressed: Compressed, deployment: Deployment, calibration: Mapping[str, Path], folder: Path
) -> dict[str, tuple[Frozen, str]]:
    """Return each graph with the ranges of its activations written into it, and a digest of these.

    Nothing where the recipe leaves the ranges to each format's own quantizer. What training found holds for the graph
    that was trained; others, such as a recurrent cell's single step, are calibrated with the trained weights.
    """
    if compressed.activations is None:
        return {}
    quantized = {}
    for name, graph in deployment.graphs.items():
        activations = compressed.activations
        if graph is not compressed.model:
            activations = replace(activations, learned={}, on_host=frozenset())
        with np.load(calibration[name], allow_pickle=False) as arrays:
            samples = dict(arrays)
        ranges = activations.ranges_of(graph, partial(batches_of, samples))
        if compressed.recipe.unit == TENSORRT:
            ranges = {point: symmetric(*bounds) for point, bounds in ranges.items()}
        frozen = freeze(graph, folder / "quantized" / name, ranges)
        quantized[name] = (frozen, digest(sorted(ranges.items())))
    return quantized


def _convert_all(
    about: About,
    compressed: Compressed,
    deployment: Deployment,
    frozen: Mapping[str, Frozen],
    quantized: Mapping[str, tuple[Frozen, str]],
    calibration: Mapping[str, Path],
    cells: list[tuple[str, str]],
    stages: Stages,
    report: OnProgress,
) -> tuple[Conversion, ...]:
    """Convert every graph to each (format, precision), two at a time; a finished conversion is a stage.

    A precision that a format lacks is a conversion that failed, with the reason.
    """
    refusals = {cell: exporter(cell[0]).refusal(cell[1]) for cell in cells}
    refused = tuple(Conversion(*cell, None, reason, 0.0, 0) for cell, reason in refusals.items() if reason)
    jobs = [(graph, *cell) for cell in cells if not refusals[cell] for graph in deployment.graphs]
    graph_keys = {name: digest_of(graph) for name, graph in deployment.graphs.items()}
    calibration_keys = {name: sha256(path) for name, path in calibration.items()}
    group_size, sparse = _group_size(compressed), compressed.zero_blocks
    passes = passes_version()

    def one(graph: str, format: str, precision: str) -> Conversion:
        calibrated = calibration_keys.get(graph, "") if precision in CALIBRATED else ""
        grouped = group_size if precision == "int4_weights" else 0
        source, ranges = quantized.get(graph, (frozen[graph], "")) if precision == "int8" else (frozen[graph], "")
        unit = compressed.recipe.unit if precision == "int8" else ""
        settings = [graph, format, precision, unit, calibrated, ranges, grouped, sparse, asdict(about)]
        key = [graph_keys[graph], *settings, versions(), passes]

        def make(folder: Path) -> None:
            made = convert(
                source,
                format,
                precision,
                folder,
                calibration.get(graph),
                graph,
                group_size,
                sparse,
                unit=unit,
                about=about,
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
        report(Event("converted", (about.name, "" if graph == "model" else graph, *rest), done / len(jobs)))

    report(Event("convert", (about.name, f"{len(jobs)} artifacts")))
    return (*run_together([partial(one, *job) for job in jobs], _CONVERTERS_AT_ONCE, tell), *refused)


def _group_size(compressed: Compressed) -> int:
    """Return how many 4-bit weights share a scale: what the recipe's step says, if one does."""
    asked = [getattr(step.parameters, "group_size", None) for step in compressed.recipe.steps]
    return next((size for size in asked if size), GROUP_SIZE)


def _gather(conversions: tuple[Conversion, ...], folder: Path) -> tuple[Artifact, ...]:
    """Copy the converted files into the bundle's folder and return the artifacts as they are there."""
    artifacts = []
    for made in conversions:
        if made.artifact:
            for path in (made.artifact.path, *(path for path, _ in made.artifact.companions)):
                shutil.copyfile(path, folder / path.name)
            artifacts.append(artifact_at(plain_artifact(made.artifact), folder))
    return tuple(artifacts)


def _complete(artifacts: tuple[Artifact, ...], deployment: Deployment) -> tuple[Artifact, ...]:
    """Return the artifacts of the formats and precisions in which every graph was converted."""
    graphs: dict[str, set[str]] = {}
    for artifact in artifacts:
        graphs.setdefault(artifact.name, set()).add(artifact.graph)
    return tuple(artifact for artifact in artifacts if graphs[artifact.name] == set(deployment.graphs))


def _is_retried(made: Attempt, format: str) -> bool:
    """Tell whether a format that has int8 got no right artifact of one graph with ranges; its own quantizer may."""
    return not exporter(format).refusal("int8") and f"{format} int8" not in {each.name for each in made.right}


def _where_wrong(
    made: Attempt, deployment: Deployment, compressed: Compressed, calibration: Mapping[str, Path]
) -> dict[str, str]:
    """Return the failures of a model's only graph that computes something else, with the layer where that begins."""
    if deployment.host is not None:
        return {}
    ((name, model),) = deployment.graphs.items()
    samples = dict(deployment.task.test.take(_SAMPLES_TO_LOCALISE).inputs)
    if name in calibration:
        with np.load(calibration[name], allow_pickle=False) as arrays:
            samples = dict(arrays)
    found = {}
    for artifact, runtime in made.garbage:
        format, precision = artifact.split(" ")
        activations = compressed.activations if precision == "int8" else None
        where = first_wrong_layer(model, format, precision, runtime, samples, activations)
        found[artifact] = f"{made.failures[artifact]}. {where}"
    return found


def _remove_others(folder: Path, right: tuple[Deployable, ...]) -> None:
    artifacts = [artifact for deployable in right for artifact in deployable.artifacts]
    kept = {path for artifact in artifacts for path in (artifact.path, *(path for path, _ in artifact.companions))}
    for path in folder.iterdir():
        if path not in kept:
            path.unlink()


def _write_host(deployment: Deployment, folder: Path) -> HostCode | None:
    if deployment.host is None:
        return None
    shutil.copyfile(deployment.host, folder / HOST)
    write_json(folder / SETTINGS, dict(deployment.settings))
    return HostCode(folder / HOST, folder / SETTINGS, deployment.per)


def _write_model_of(compressed: Compressed, folder: Path) -> dict[str, str]:
    """Save the compressed Keras model; return why not, by the file's name, where it cannot be."""
    if not compressed.self_contained:
        return {MODEL: "the model is the graph of a SavedModel, which stays where it is"}
    failures: dict[str, str] = {}
    _write_model(compressed.model, folder / MODEL, failures)
    return failures


def _write_graphs(compressed: Compressed, deployment: Deployment, folder: Path, failures: dict[str, str]) -> None:
    """Save the deployment's graphs where they are others than the model."""
    if compressed.self_contained and deployment.host is not None:
        (folder / GRAPHS).mkdir()
        for name, graph in deployment.graphs.items():
            _write_model(graph, folder / GRAPHS / f"{name}.keras", failures)


def _write_model(model: "keras.Model", path: Path, failures: dict[str, str]) -> None:
    try:
        model.save(path)
    except (ValueError, TypeError, RuntimeError) as error:
        path.unlink(missing_ok=True)
        failures[path.name] = f"Keras could not save the model: {error}"


def _write_golden(reference: Reference, folder: Path) -> None:
    samples = reference.data.take(GOLDEN_SAMPLES)
    outputs = {name: array[:GOLDEN_SAMPLES] for name, array in reference.compressed.items()}
    save_golden(folder, dict(samples.inputs), outputs)


def _activations_facts(compressed: Compressed) -> dict[str, Any]:
    """Return how the activations were quantized, and which layers stayed in float and why."""
    activations = compressed.activations
    if activations is None:
        return {"calibration": "converter" if compressed.calibration_samples else "none"}
    return {
        "calibration": activations.calibration,
        "learned_ranges": len(activations.learned),
        "keep_float": activations.keep_float,
        "float_layers": dict(activations.reasons),
    }


def _facts(
    compressed: Compressed,
    reference: Reference,
    deployment: Deployment,
    made: Attempt,
    failures: dict[str, str],
    notes: list[str],
) -> dict[str, Any]:
    metric = deployment.task.metric
    return {
        "notes": notes,
        "seed": compressed.seed,
        "recipe": {**compressed.recipe.resolved(), "sha256": compressed.recipe.sha256},
        "variables": [asdict(variable) for variable in compressed.report],
        "activations": _activations_facts(compressed),
        "versions": versions(),
        "host": {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()},
        "failures": failures,
        "conversions": [
            {
                "artifact": conversion_name(each),
                "wall_s": round(each.wall_s, 2),
                "peak_memory_bytes": each.peak_memory_bytes,
            }
            for each in made.conversions
        ],
        "legalised": {
            conversion_name(each): [asdict(one) for one in each.legalised]
            for each in made.conversions
            if each.legalised
        },
        "evidence": {
            "task": deployment.task.name,
            "samples": len(reference.data),
            "metric": metric and {"name": metric.name, "unit": metric.unit, "better": metric.better},
            "original_metric": reference.original_metric(),
            "compressed_metric": reference.compressed_metric(),
            "checks": [check.plain() for check in made.checks],
        },
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that shape what is exported."""
    found = {}
    for name in _VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest_of(model: "keras.Model") -> str:
    """Return a digest of a model's structure and weights."""
    arrays = {f"{place} {weight.path}": np.asarray(weight) for place, weight in enumerate(model.weights)}
    try:
        structure = model.to_json()
    except (ValueError, TypeError, NotImplementedError):
        # A model that Keras cannot write down is never taken for one that was converted before.
        structure = f"{id(model)} {np.random.default_rng().integers(2**62)}"
    return digest([structure, _digest_of_arrays(arrays)])


def _digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    return digest(
        [
            [name, array.shape, str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()]
            for name, array in arrays.items()
        ]
    )
