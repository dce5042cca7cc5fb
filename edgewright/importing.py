"""Importing: a float .onnx or .tflite, quantized without Keras and judged by itself in a runtime of its own format."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import runtimes
from .bundle_facts import check_any_right, write_facts
from .checks import CHECK_TIME_LIMIT_S, Reference, samples_at_once
from .compress import Recipe, get
from .compress._fine_tuning import FineTuning
from .compress._quantization import AUTO, Int8
from .compress._recipe import EDGE_TPU
from .compress._technique import PRECISION
from .converting import Plan, attempt, remove_others
from .errors import InputError, MissingRequirement
from .export import About, Bundle, Frozen, load_bundle
from .export._bundle import KIND
from .export._imported import SUFFIXES, import_file
from .files import new_folder, sha256
from .held import temporary_folder
from .model_card import about_model
from .progress import Event, OnProgress, part
from .runtimes import run_artifact
from .runtimes._runner import save
from .stages import Stages
from .train import Dataset, Task
from .train._data_file import Input
from .train._inferred_task import given_task, infer_task_by

# By format, the runtime that says what a file computes.
_RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}


@dataclass(frozen=True)
class ImportedModel:
    """What ``edgewright.quantize`` returns: all that ``edgewright.export`` needs of an .onnx or .tflite file.

    Attributes:
        path: the user's file.
        sha256: of that file.
        content: the file with its batch fixed to 1; the same where it is so already.
        frozen: its signature and what is known of it.
        activation: "softmax" or "sigmoid" where its output is that of one, else None.
        task: what it is judged by.
        recipe: what is done.
        seed: of everything random.
        notes: what was changed in the file, and what of the recipe is done in another way, a sentence each.
    """

    path: Path
    sha256: str
    content: bytes
    frozen: Frozen
    activation: str | None
    task: Task
    recipe: Recipe
    seed: int
    notes: tuple[str, ...] = ()


def is_imported(path: Path) -> bool:
    """Tell whether a model is a file that is imported, by its suffix."""
    return path.suffix in SUFFIXES


def import_model(path: Path, data: Any, recipe: Recipe, seed: int, report: OnProgress) -> ImportedModel:
    """Return what is exported of a float file of the user's; see ``edgewright.quantize``.

    Raises:
        InputError: the recipe has a step that needs a Keras model; the file or the data cannot be used.
    """
    if not is_imported(path):
        raise InputError(f"Expected a float file that ends in {' or '.join(SUFFIXES)}. Got: {path}.")
    notes = _check_recipe(recipe, path)
    if data is None:
        for step in recipe.steps:
            if get(step.technique).needs_data:
                raise InputError(f"Expected samples for {step.technique} (a representative dataset). Got: none.")
    report(Event("load", (str(path),)))
    with temporary_folder("import") as temporary:
        imported = import_file(path, temporary)
        frozen = imported.frozen
        inputs = {tensor.name: Input(tensor.shape[1:], tensor.dtype) for tensor in frozen.inputs}
        task = given_task(data, inputs, lambda given: _infer(frozen.folder, imported.activation, given, path))
        content = frozen.folder.read_bytes()
    frozen = replace(frozen, folder=Path(path.name))
    return ImportedModel(
        path, sha256(path), content, frozen, imported.activation, task, recipe, seed, (*imported.notes, *notes)
    )


def _check_recipe(recipe: Recipe, path: Path) -> tuple[str, ...]:
    """Return sentences about what of a recipe is done in another way than with a Keras model.

    Raises:
        InputError: a step changes weights or shapes, trains, or looks at layers.
    """
    notes = []
    for step in recipe.steps:
        technique, parameters = get(step.technique), step.parameters
        if technique.stage != PRECISION or isinstance(parameters, FineTuning):
            raise InputError(
                f"Expected a recipe whose steps only set the precision, for {path}, an imported file. Got: "
                f"{step.technique} in recipe {recipe.name}, which needs a Keras model."
            )
        if isinstance(parameters, Int8):
            for name in ("keep_float", "max_disagreement"):
                if getattr(parameters, name) not in ("", None):
                    raise InputError(
                        f"Expected {step.technique} without {name} for {path}, an imported file: layers are kept in "
                        f"float in Keras models alone. Got: {name} = {getattr(parameters, name)!r}."
                    )
            if parameters.calibration not in ("converter", AUTO):
                notes.append(
                    f"{step.technique}: each format's own quantizer finds the ranges of an imported file, for "
                    f"calibration = {parameters.calibration!r} needs a Keras model"
                )
    if recipe.unit == EDGE_TPU:
        notes.append(f"unit = {recipe.unit!r}: an imported file is not rewritten for it, which needs a Keras model")
    return tuple(notes)


def make_imported_bundle(
    model: ImportedModel, out: Path, formats: tuple[str, ...], about: About, work: Path | None, report: OnProgress
) -> Bundle:
    """Write the bundle of an imported file; see ``edgewright.export``."""
    with temporary_folder("export") as temporary, new_folder(out, KIND) as folder:
        file = folder / f"model{model.path.suffix}"
        file.write_bytes(model.content)
        report(Event("run", (about.name, f"in {_RUNTIMES[model.frozen.imported]}")))
        reference = replace(_reference(file, model.task, model.path), max_drop=model.recipe.max_drop)
        (folder / "artifacts").mkdir()
        frozen = {"model": replace(model.frozen, folder=file)}
        calibration = _save_calibration(model, temporary)
        about = about_model(about, model.recipe, frozen, reference, calibration)
        plan = Plan(about, frozen, {"model": sha256(file)}, model.recipe, calibration)
        cells = [(format, precision) for format in formats for precision in model.recipe.precisions]
        stages = Stages(work or temporary / "stages")
        made = attempt(plan, cells, folder / "artifacts", stages, reference, part(report, 0.1, 1))
        check_any_right(about.name, made, made.failures)
        remove_others(folder / "artifacts", made.right)
        write_facts(
            folder,
            about,
            made,
            reference,
            model.recipe,
            model.task.name,
            made.failures,
            (*model.notes, *made.kernel_notes(reference.name), *made.far_notes(reference.name)),
            model.seed,
            imported={
                "file": file.name,
                "made_of": model.path.name,
                "made_of_sha256": model.sha256,
                "activation": model.activation,
            },
            deployment={"graphs": ["model"], "host": False, "per": "", "calls": {"model": 1.0}},
            variables=[],
            activations={"calibration": "converter" if plan.calibration else "none"},
        )
    return load_bundle(out)


def bundled_reference(bundle: Bundle, data: Any) -> Reference:
    """Return what the imported file in a bundle answers to a user's samples.

    Raises:
        InputError: the data cannot be used.
    """
    facts = bundle.manifest["imported"]
    golden, _ = bundle.golden()
    inputs = {name: Input(array.shape[1:], str(array.dtype)) for name, array in golden.items()}
    file = bundle.path / facts["file"]
    task = given_task(data, inputs, lambda given: _infer(file, facts["activation"], given, file))
    return _reference(file, task, file)


def _save_calibration(model: ImportedModel, folder: Path) -> dict[str, Path]:
    """Write the representative dataset, and return where; nothing when the recipe quantizes nothing."""
    if not model.recipe.calibration_samples:
        return {}
    train = model.task.train
    path = folder / "calibration.npz"
    save(str(path), train.at(train.evenly(model.recipe.calibration_samples)).inputs)
    return {"model": path}


def _reference(file: Path, task: Task, named: Path) -> Reference:
    answers = _answers(file, task.test, named)
    runtime = runtimes.get(_RUNTIMES[SUFFIXES[file.suffix]])
    name = f"the imported file ({runtime.name} {runtime.version()})"
    return Reference(task.test, task.metric, answers, answers, name)


def _infer(file: Path, activation: str | None, data: Dataset, named: Path) -> Task:
    return infer_task_by(lambda few: _answers(file, few, named), lambda: activation, data)


def _answers(file: Path, data: Dataset, named: Path) -> Mapping[str, np.ndarray]:
    """Return a file's outputs ``[samples, ...]`` by name, in a runtime of its format and child processes."""
    runtime = runtimes.get(_RUNTIMES[SUFFIXES[file.suffix]])
    if runtime.version() is None:
        raise MissingRequirement(f"Expected {runtime.title}, to run {named}. Got: pip install {runtime.distribution}.")
    parts = []
    size = samples_at_once(data)
    for start in range(0, len(data), size):
        few = data.at(slice(start, start + size))
        run = run_artifact(file, runtime.name, few.inputs, time_limit_s=CHECK_TIME_LIMIT_S)
        if not run.ok:
            raise InputError(f"Expected a model that {runtime.title} runs, to compare with. Got: {named}: {run.reason}")
        parts.append(run.outputs)
    return {name: np.concatenate([outputs[name] for outputs in parts]) for name in parts[0]}
