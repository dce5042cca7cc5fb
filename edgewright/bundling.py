"""Making a bundle: convert, run every artifact, keep what is right with the evidence for it."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import Check, Reference, check_all
from .children import run_together
from .compress import Compressed
from .errors import GateFailed, InputError
from .export import (
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
from .hosting import Calls, answers_of, calibration_of
from .progress import Event, OnProgress, part
from .stages import Stages, digest
from .train import Dataset, Deployment, Task
from .train._model_file import load_model

if TYPE_CHECKING:
    import keras

GOLDEN_SAMPLES = 16
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
    name: str,
    work: Path | None,
    report: OnProgress,
) -> Bundle:
    """Write the bundle of a compressed model; see ``edgewright.export``."""
    with tempfile.TemporaryDirectory(prefix="edgewright-") as temporary, new_folder(out) as folder:
        # Before its layers are called again in the deployment's graphs: afterwards Keras may fail to save it.
        unsaved = _write_model_of(compressed, folder)
        deployment = _deployment(compressed, compressed.model, deploy)
        report(Event("freeze", (name,)))
        frozen = {key: freeze(graph, Path(temporary) / "frozen" / key) for key, graph in deployment.graphs.items()}
        calibration = _save_calibration(compressed, deployment, Path(temporary))
        quantized = _quantized(compressed, deployment, calibration, Path(temporary))
        stages = Stages(work or Path(temporary) / "stages")
        conversions = _convert_all(
            name, compressed, deployment, frozen, quantized, calibration, formats, stages, part(report, 0, 0.6)
        )
        converted = _gather(conversions, folder / "artifacts")

        reference, calls = reference_of(compressed, deployment, deploy)
        host = _write_host(deployment, folder)
        tried = deployables(_complete(converted, deployment), host, calls)
        checks = check_all(tried, reference, measure=False, on_progress=part(report, 0.6, 1))
        right, failures = _right_ones(tried, checks)
        failures |= unsaved
        failures |= {_conversion_name(made): made.reason for made in conversions if not made.artifact}
        _remove_others(converted, right)
        if not right:
            reasons = "; ".join(f"{which}: {reason}" for which, reason in failures.items())
            raise GateFailed(f"Expected an artifact of {name} that runs. Got: none. {reasons}")
        _write_graphs(compressed, deployment, folder, failures)
        _write_golden(reference, folder)
        (folder / "recipe.toml").write_text(compressed.recipe.to_toml(), encoding="utf-8")
        facts = {
            "deployment": {"graphs": list(deployment.graphs), "host": host is not None, "per": deployment.per}
            | {"calls": dict(calls)},
            "model": name,
            **_facts(compressed, reference, deployment, checks, failures, conversions),
        }
        artifacts = tuple(artifact for deployable in right for artifact in deployable.artifacts)
        write_json(folder / MANIFEST, {**bundle_manifest(artifacts, **facts), "files": files_of(folder)})
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
    return Reference(test, deployment.task.metric, original, answers), calls


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
        ranges = activations.ranges_of(graph, partial(_in_batches, samples))
        frozen = freeze(graph, folder / "quantized" / name, ranges)
        quantized[name] = (frozen, digest(sorted(ranges.items())))
    return quantized


def _in_batches(samples: Mapping[str, np.ndarray], size: int = 32) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(next(iter(samples.values()))), size):
        yield {name: array[start : start + size] for name, array in samples.items()}


def _convert_all(
    model: str,
    compressed: Compressed,
    deployment: Deployment,
    frozen: Mapping[str, Frozen],
    quantized: Mapping[str, tuple[Frozen, str]],
    calibration: Mapping[str, Path],
    formats: tuple[str, ...],
    stages: Stages,
    report: OnProgress,
) -> tuple[Conversion, ...]:
    """Convert every graph to every format and precision, two at a time; a finished conversion is a stage.

    A precision that a format lacks is a conversion that failed, with the reason.
    """
    cells = [(name, precision) for name in formats for precision in compressed.precisions]
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
        key = [graph_keys[graph], graph, format, precision, calibrated, ranges, grouped, sparse, versions(), passes]

        def make(folder: Path) -> None:
            made = convert(source, format, precision, folder, calibration.get(graph), graph, group_size, sparse)
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
        report(Event("converted", (model, "" if graph == "model" else graph, *rest), done / len(jobs)))

    report(Event("convert", (model, f"{len(jobs)} artifacts")))
    return (*run_together([partial(one, *job) for job in jobs], _CONVERTERS_AT_ONCE, tell), *refused)


def _group_size(compressed: Compressed) -> int:
    """Return how many 4-bit weights share a scale: what the recipe's step says, if one does."""
    asked = [getattr(step.parameters, "group_size", None) for step in compressed.recipe.steps]
    return next((size for size in asked if size), GROUP_SIZE)


def _gather(conversions: tuple[Conversion, ...], folder: Path) -> tuple[Artifact, ...]:
    """Copy the converted files into the bundle's folder and return the artifacts as they are there."""
    folder.mkdir()
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


def _right_ones(
    tried: tuple[Deployable, ...], checks: tuple[Check, ...]
) -> tuple[tuple[Deployable, ...], dict[str, str]]:
    """Part what ran in a runtime other than a referee from what ran in none."""
    right, failures = [], {}
    for deployable in tried:
        mine = [made for made in checks if made.artifact == deployable.name and not made.referee]
        if any(made.ok for made in mine):
            right.append(deployable)
        else:
            reasons = "; ".join(f"{made.runtime}: {made.reason}" for made in mine) or "no runtime here runs it"
            failures[deployable.name] = reasons
    return tuple(right), failures


def _remove_others(converted: tuple[Artifact, ...], right: tuple[Deployable, ...]) -> None:
    kept = {artifact.path for deployable in right for artifact in deployable.artifacts}
    for artifact in converted:
        if artifact.path not in kept:
            for path in (artifact.path, *(path for path, _ in artifact.companions)):
                path.unlink()


def _conversion_name(made: Conversion) -> str:
    graph = "" if made.graph == "model" else f" {made.graph}"
    return f"{made.format} {made.precision}{graph}"


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
    checks: tuple[Check, ...],
    failures: dict[str, str],
    conversions: tuple[Conversion, ...],
) -> dict[str, Any]:
    metric = deployment.task.metric
    return {
        "notes": list(compressed.notes),
        "seed": compressed.seed,
        "recipe": {**compressed.recipe.resolved(), "sha256": compressed.recipe.sha256},
        "variables": [asdict(variable) for variable in compressed.report],
        "activations": _activations_facts(compressed),
        "versions": versions(),
        "host": {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()},
        "failures": failures,
        "conversions": [
            {
                "artifact": _conversion_name(made),
                "wall_s": round(made.wall_s, 2),
                "peak_memory_bytes": made.peak_memory_bytes,
            }
            for made in conversions
        ],
        "legalised": {
            _conversion_name(made): [asdict(each) for each in made.legalised] for made in conversions if made.legalised
        },
        "evidence": {
            "task": deployment.task.name,
            "samples": len(reference.data),
            "metric": metric and {"name": metric.name, "unit": metric.unit, "better": metric.better},
            "original_metric": reference.original_metric(),
            "compressed_metric": reference.compressed_metric(),
            "checks": [made.plain() for made in checks],
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
