"""Making a bundle: convert, run every artifact, keep what is right with the evidence for it."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import Check, Reference, check_all
from .compress import Compressed
from .errors import GateFailed, InputError
from .export import Artifact, Bundle, Conversion, Frozen, convert, freeze, load_bundle
from .export._bundle import artifact_at, bundle_manifest, files_of, plain_artifact, save_golden
from .files import MANIFEST, new_folder, write_json
from .progress import Event, OnProgress, part
from .stages import Stages, digest
from .train._model_file import load_model
from .train._training import outputs_of

if TYPE_CHECKING:
    import keras

GOLDEN_SAMPLES = 16
MODEL = "model.keras"
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
    compressed: Compressed, out: Path, formats: tuple[str, ...], work: Path | None, report: OnProgress
) -> Bundle:
    """Write the bundle of a compressed model; see ``edgewright.export``."""
    with tempfile.TemporaryDirectory(prefix="edgewright-") as temporary, new_folder(out) as folder:
        report(Event("freeze", (compressed.model.name,)))
        frozen = freeze(compressed.model, Path(temporary) / "frozen")
        calibration = _save_calibration(compressed, Path(temporary) / "calibration.npz")
        stages = Stages(work or Path(temporary) / "stages")
        conversions = _convert_all(compressed, frozen, calibration, formats, stages, part(report, 0, 0.6))
        converted = _gather(conversions, folder / "artifacts")

        reference = reference_of(compressed)
        checks = check_all(converted, reference, measure=False, on_progress=part(report, 0.6, 1))
        artifacts, failures = _right_ones(converted, checks)
        failures |= {f"{made.format} {made.precision}": made.reason for made in conversions if not made.artifact}
        if not artifacts:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
            raise GateFailed(f"Expected an artifact of {compressed.model.name} that runs. Got: none. {reasons}")
        _write_model(compressed, folder, failures)
        _write_golden(reference, folder)
        (folder / "recipe.toml").write_text(compressed.recipe.to_toml(), encoding="utf-8")
        facts = _facts(compressed, reference, checks, failures, conversions)
        write_json(folder / MANIFEST, {**bundle_manifest(artifacts, **facts), "files": files_of(folder)})
    return load_bundle(out)


def reference_of(compressed: Compressed) -> Reference:
    """Return what the artifacts are compared with: both Keras models on the task's test samples."""
    test = compressed.task.test
    outputs = outputs_of(compressed.model, test)
    original = outputs if compressed.model is compressed.original else outputs_of(compressed.original, test)
    return Reference(test, compressed.task.metric, original, outputs)


def bundled_model(bundle: Bundle, allow: Sequence[str] = ()) -> "keras.Model":
    """Return the compressed Keras model that lies in a bundle.

    Raises:
        InputError: it could not be saved when the bundle was made, or holds what ``allow`` does not name.
    """
    if not (bundle.path / MODEL).exists():
        raise InputError(f"Expected {MODEL} in {bundle.path}, to compare with. Got: none.")
    return load_model(bundle.path / MODEL, allow).model


def _save_calibration(compressed: Compressed, path: Path) -> Path | None:
    if not compressed.calibration_samples:
        return None
    samples = compressed.task.train.take(compressed.calibration_samples)
    np.savez(path, **samples.inputs)
    return path


def _convert_all(
    compressed: Compressed,
    frozen: Frozen,
    calibration: Path | None,
    formats: tuple[str, ...],
    stages: Stages,
    report: OnProgress,
) -> tuple[Conversion, ...]:
    """Convert to every format and precision, two at a time; a finished conversion is a stage."""
    jobs = [(name, precision) for name in formats for precision in compressed.precisions]
    model_key = digest_of(compressed.model)
    calibration_key = _digest_of_arrays(compressed.task.train.take(compressed.calibration_samples).inputs)

    def one(format: str, precision: str) -> Conversion:
        key = [model_key, format, precision, calibration_key if precision != "float32" else "", versions()]

        def make(folder: Path) -> None:
            made = convert(frozen, format, precision, folder, calibration)
            if made.artifact is None:
                raise _Failed(made)
            write_json(folder / "conversion.json", {**asdict(made), "artifact": plain_artifact(made.artifact)})

        try:
            place = stages.once(f"convert-{format}-{precision}", key, make)
        except _Failed as failed:
            return failed.conversion
        document = json.loads((place / "conversion.json").read_text(encoding="utf-8"))
        return Conversion(**{**document, "artifact": artifact_at(document["artifact"], place)})

    done: dict[tuple[str, str], Conversion] = {}
    report(Event("convert", (compressed.model.name, f"{len(jobs)} artifacts")))
    with ThreadPoolExecutor(_CONVERTERS_AT_ONCE) as pool:
        running = {pool.submit(one, *job): job for job in jobs}
        try:
            for future in as_completed(running):
                done[running[future]] = future.result()
                report(Event("converted", (compressed.model.name, *running[future]), len(done) / len(jobs)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return tuple(done[job] for job in jobs)


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


def _right_ones(
    artifacts: tuple[Artifact, ...], checks: tuple[Check, ...]
) -> tuple[tuple[Artifact, ...], dict[str, str]]:
    """Part the artifacts that ran in a runtime other than a referee from those that ran in none."""
    right, failures = [], {}
    for artifact in artifacts:
        tried = [made for made in checks if made.artifact == artifact.name and not made.referee]
        if any(made.ok for made in tried):
            right.append(artifact)
        else:
            reasons = "; ".join(f"{made.runtime}: {made.reason}" for made in tried) or "no runtime here runs it"
            failures[artifact.name] = reasons
            for path in (artifact.path, *(path for path, _ in artifact.companions)):
                path.unlink()
    return tuple(right), failures


def _write_model(compressed: Compressed, folder: Path, failures: dict[str, str]) -> None:
    if not compressed.self_contained:
        failures[MODEL] = "the model is the graph of a SavedModel, which stays where it is"
        return
    try:
        compressed.model.save(folder / MODEL)
    except (ValueError, TypeError, RuntimeError) as error:
        (folder / MODEL).unlink(missing_ok=True)
        failures[MODEL] = f"Keras could not save the model: {error}"


def _write_golden(reference: Reference, folder: Path) -> None:
    samples = reference.data.take(GOLDEN_SAMPLES)
    outputs = {name: array[:GOLDEN_SAMPLES] for name, array in reference.compressed.items()}
    save_golden(folder, dict(samples.inputs), outputs)


def _facts(
    compressed: Compressed,
    reference: Reference,
    checks: tuple[Check, ...],
    failures: dict[str, str],
    conversions: tuple[Conversion, ...],
) -> dict[str, Any]:
    metric = compressed.task.metric
    return {
        "model": compressed.model.name,
        "notes": list(compressed.notes),
        "seed": compressed.seed,
        "recipe": {**compressed.recipe.resolved(), "sha256": compressed.recipe.sha256},
        "variables": [asdict(variable) for variable in compressed.report],
        "versions": versions(),
        "host": {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()},
        "failures": failures,
        "conversions": [
            {
                "artifact": f"{made.format} {made.precision}",
                "wall_s": round(made.wall_s, 2),
                "peak_memory_bytes": made.peak_memory_bytes,
            }
            for made in conversions
        ],
        "evidence": {
            "task": compressed.task.name,
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
