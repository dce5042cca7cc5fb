"""Making a bundle: convert, run every artifact, keep what is right with the evidence for it."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .attempts import Attempt
from .bundle_facts import check_any_right, write_facts
from .checks import Reference
from .compress import Compressed
from .compress._activations import Activations
from .compress._points import symmetric
from .compress._recipe import TENSORRT
from .converting import Plan, attempt, remove_others
from .errors import InputError
from .export import About, Bundle, Frozen, HostCode, freeze, load_bundle
from .export import get as exporter
from .export._bundle import HOST, KIND, SETTINGS
from .files import new_folder, write_json
from .held import temporary_folder
from .hosting import Calls, answers_of, batches_of, calibration_of
from .localising import first_wrong_layer
from .model_card import about_model
from .progress import Event, OnProgress, part
from .stages import Stages, digest
from .train import Dataset, Deployment, Task
from .train._model_file import load_model

if TYPE_CHECKING:
    import keras

_SAMPLES_TO_LOCALISE = 64
MODEL = "model.keras"
GRAPHS = "graphs"
# Two ways to int8, by whether it is one graph for several formats.
_WAYS = {True: "one graph with ranges", False: "the format's own quantizer"}

Deploy = Callable[["keras.Model"], Deployment]


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
    with temporary_folder("export") as temporary, new_folder(out, KIND) as folder:
        # Before its layers are called again in the deployment's graphs: afterwards Keras may fail to save it.
        unsaved = _write_model_of(compressed, folder)
        deployment = _deployment(compressed, compressed.model, deploy)
        report(Event("freeze", (name,)))
        frozen = {key: freeze(graph, temporary / "frozen" / key) for key, graph in deployment.graphs.items()}
        calibration = _save_calibration(compressed, deployment, temporary)
        activations = compressed.activations
        as_one = tuple(format for format in formats if activations and activations.for_format(format))
        quantized, unseen = _quantized(compressed, deployment, calibration, temporary) if activations else ({}, [])
        stages = Stages(work or temporary / "stages")
        reference, calls = reference_of(compressed, deployment, deploy)
        about = about_model(about, compressed.recipe, frozen, reference, calibration)
        host = _write_host(deployment, folder)
        (folder / "artifacts").mkdir()
        digests = {key: digest_of(graph) for key, graph in deployment.graphs.items()}
        blocks, hosted = compressed.zero_blocks, host is not None
        plan = Plan(about, frozen, digests, compressed.recipe, calibration, quantized, blocks, as_one, hosted)

        def attempted(plan: Plan, cells: list[tuple[str, str]], listener: OnProgress) -> Attempt:
            return attempt(plan, cells, folder / "artifacts", stages, reference, listener, host, calls)

        cells = [(format, precision) for format in formats for precision in compressed.precisions]
        made = attempted(plan, cells, part(report, 0, 0.9))
        notes = [*compressed.notes, *unseen]
        lacking = [(format, "int8") for format in formats if quantized and _is_retried(made, format)]
        if lacking:
            others = tuple(format for format, _ in lacking if format not in as_one)
            again = made.replaced_by(attempted(replace(plan, as_one=others), lacking, part(report, 0.9, 1)))
            notes += [
                f"{each.name} is by {_WAYS[each.format in others]}, for {_WAYS[each.format in as_one]} failed: "
                f"{made.why_not(each.name)}"
                for each in again.right
                if each.name not in {before.name for before in made.right}
            ]
            made = again
        notes += made.kernel_notes(reference.name) + made.far_notes(reference.name)
        failures = {
            **made.failures,
            **_where_wrong(made, deployment, compressed.activations if quantized else None, calibration),
            **unsaved,
        }
        check_any_right(name, made, failures)
        remove_others(folder / "artifacts", made.right)
        _write_graphs(compressed, deployment, folder, failures)
        write_facts(
            folder,
            about,
            made,
            reference,
            compressed.recipe,
            deployment.task.name,
            failures,
            notes,
            compressed.seed,
            deployment={
                "graphs": list(deployment.graphs),
                "host": host is not None,
                "per": deployment.per,
                "unit": deployment.unit,
                "units": deployment.units,
                "calls": dict(calls),
            },
            variables=[asdict(variable) for variable in compressed.report],
            activations=_activations_facts(compressed),
        )
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
    return Reference(test, deployment.task.metric, original, answers, max_drop=compressed.recipe.max_drop), calls


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
        unit=bundle.manifest["deployment"].get("unit", "inference"),
        units=bundle.manifest["deployment"].get("units", 1.0),
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
) -> tuple[dict[str, tuple[Frozen, str]], list[str]]:
    """Return each graph with the ranges of its activations written into it, and a digest of these.

    What training found holds for the graph that was trained; others, such as a recurrent cell's single step, are
    calibrated with the trained weights. Where the recipe leaves the way to us, a graph whose activations cannot be
    observed is left to the quantizers, and a sentence says so.
    """
    quantized, notes = {}, []
    for name, graph in deployment.graphs.items():
        activations = compressed.activations
        assert activations is not None
        if graph is not compressed.model:
            activations = replace(activations, learned={}, on_host=frozenset())
        with np.load(calibration[name], allow_pickle=False) as arrays:
            samples = dict(arrays)
        try:
            ranges = activations.ranges_of(graph, partial(batches_of, samples))
        except Exception as error:  # whatever a layer does that only a converter can follow
            if not activations.formats:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            notes.append(f"{', '.join(activations.formats)} int8 {name}: its own quantizer finds the ranges: {reason}")
            continue
        if compressed.recipe.unit == TENSORRT:
            ranges = {point: symmetric(*bounds) for point, bounds in ranges.items()}
        frozen = freeze(graph, folder / "quantized" / name, ranges)
        quantized[name] = (frozen, digest(sorted(ranges.items())))
    return quantized, notes


def _is_retried(made: Attempt, format: str) -> bool:
    """Tell whether a format that has int8 got no right artifact in one way to it; the other may do."""
    return not exporter(format).refusal("int8") and f"{format} int8" not in {each.name for each in made.right}


def _where_wrong(
    made: Attempt, deployment: Deployment, activations: Activations | None, calibration: Mapping[str, Path]
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
        as_one = precision == "int8" and activations is not None and activations.for_format(format)
        where = first_wrong_layer(model, format, precision, runtime, samples, activations if as_one else None)
        found[artifact] = f"{made.failures[artifact]}. {where}"
    return found


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


def _activations_facts(compressed: Compressed) -> dict[str, Any]:
    """Return how the activations were quantized, and which layers stayed in float and why."""
    activations = compressed.activations
    if activations is None:
        return {"calibration": "converter" if compressed.calibration_samples else "none"}
    return {
        "calibration": activations.calibration,
        "one_graph_for": list(activations.formats) or "all",
        "learned_ranges": len(activations.learned),
        "keep_float": activations.keep_float,
        "float_layers": dict(activations.reasons),
    }


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
