"""The public functions: compress or quantize a model, export it as a bundle, validate the bundle against devices."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from . import devices as _devices
from .bundling import Deploy, bundled_deployment, make_bundle
from .checks import Check, Reference, check_all, read_check
from .compress import Compressed, Recipe, load_recipe
from .compress import compress as apply_recipe
from .device_names import profile_of
from .devices._profile import checked_limits
from .errors import InputError
from .export import About, Bundle, load_bundle
from .export import get as get_exporter
from .export import names as format_names
from .export._bundle import KIND
from .export._exportable import blaming, check_exportable
from .files import check_output_folder
from .held import alone
from .hosting import answers_of
from .importing import ImportedModel, bundled_reference, import_model, make_imported_bundle
from .inspecting import counted, graphs_of, memories_of, placements_of, too_new_of
from .kernels import Emulated, emulate_bundle
from .measured_latency import kept_for
from .progress import Event, OnProgress, part
from .report import Report, judge_bundle
from .train import Dataset, Task
from .train._data_file import Input, model_inputs
from .train._float32 import check_float, in_float32
from .train._inferred_task import given_task, infer_task
from .train._lora import without_lora
from .train._model_file import load_model
from .train._named_input import with_named_input
from .train._training import check_seed
from .train._user_data import dataset_of

if TYPE_CHECKING:
    import keras

ModelLike = Union["keras.Model", str, Path]
# What holds samples: see ``train._user_data.dataset_of``.
SamplesLike: TypeAlias = Dataset | Mapping[str, np.ndarray] | np.ndarray | tuple[Any, ...] | str | Path | Iterable[Any]
DataLike: TypeAlias = Task | SamplesLike | Callable[[], SamplesLike] | None
# What is judged where no device is named: a board with a CPU alone, one with a GPU, one with an Edge TPU.
DEVICES = ("coral-dev-board", "jetson-orin-nano", "raspberry-pi-4b")


def compress(
    model: ModelLike,
    data: DataLike = None,
    recipe: str | Path | Recipe = "int8",
    *,
    seed: int = 0,
    deploy: Deploy | None = None,
    allow: Sequence[str] = (),
    for_export: bool = False,
    on_progress: OnProgress | None = None,
) -> Compressed:
    """Apply a recipe to a model.

    Args:
        model: a Keras 3 model, or the path of a .keras file, a SavedModel, a .h5 or .hdf5. It is left unchanged.
            One that computes in half or double precision is built anew in float32 first, and low-rank adapters (LoRA)
            are merged into the kernels; the notes say so.
        data: arrays by input name (and "labels"), the path of an .npz or of a folder of .npy of them, (inputs, labels),
            a Dataset, a Task, a tf.data.Dataset, a generator of samples or batches, or a function that returns one. A
            stream is read once into temporary files, and what is large is left in files: memory does not grow with it.
            None is enough for a recipe that needs no samples.
        recipe: the name of a shipped recipe, the path of a TOML file, or a Recipe.
        seed: of everything random.
        deploy: as for ``export``, where the model itself is not what goes to a device: what the host computes is not
            quantized.
        allow: classes that the model file may hold although they run code; see ``load_model``.
        for_export: the model itself is what is exported afterwards: refuse at once, before anything is trained, what
            ``export`` would refuse of its names and sizes.
        on_progress: told what is being done.

    Returns:
        The compressed model, with what was done to each variable.

    Raises:
        InputError: the model, the data, the recipe or the seed cannot be used; the message says why.
    """
    check_seed(seed)
    report = part(on_progress, 0, 1)
    recipe = load_recipe(recipe)
    notes: tuple[str, ...] = ()
    self_contained = True
    if isinstance(model, str | Path):
        report(Event("load", (str(model),)))
        loaded = load_model(Path(model), allow)
        model, notes, self_contained = loaded.model, loaded.notes, loaded.self_contained
    if for_export:
        check_exportable(model)
    check_float(model)
    with blaming(model):
        model = with_named_input(model)
        for built_anew in (without_lora, in_float32):
            model, converted = built_anew(model)
            notes += converted
        task = task_of(data, model)
        compressed = apply_recipe(
            model,
            task,
            recipe,
            seed,
            lambda step, done, total: report(Event(step, (model.name, f"epoch {done}"), done / max(total, 1))),
            deploy,
        )
    return replace(compressed, notes=(*notes, *compressed.notes), self_contained=self_contained)


def quantize(
    model: str | Path,
    data: DataLike = None,
    recipe: str | Path | Recipe = "int8",
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> ImportedModel:
    """Prepare a float .onnx or .tflite file, edgewright's or not, to be exported in a recipe's precision.

    Nothing is retrained and no Keras model is needed. The file itself is what its artifacts are compared with, run in
    ONNX Runtime or LiteRT.

    Args:
        model: the path of the file. An open batch is fixed to 1.
        data: as for ``compress``.
        recipe: as for ``compress``; its steps only set the precision.
        seed: written down; nothing here is random but the samples' order.
        on_progress: told what is being done.

    Returns:
        What ``export`` takes.

    Raises:
        InputError: a step of the recipe needs a Keras model; the file is broken, quantized already, or has open
            dimensions besides the batch; its runtime does not run it; the data does not fit it; the seed is out of
            range.
        MissingRequirement: its runtime is not installed.
    """
    check_seed(seed)
    return import_model(Path(model), data, load_recipe(recipe), seed, part(on_progress, 0, 1))


def export(
    compressed: Compressed | ImportedModel,
    out: str | Path,
    formats: Sequence[str] | None = None,
    *,
    deploy: Deploy | None = None,
    name: str | None = None,
    about: About | None = None,
    work: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Bundle:
    """Convert a compressed model to every format asked for, run each artifact, and write the bundle.

    Args:
        compressed: what ``compress`` or ``quantize`` returned.
        out: the folder to write; nothing appears there before all of it is done.
        formats: names of formats, each taken once; all when None.
        deploy: maps a model to its deployment form: graphs, and the host code around them; None where the model itself
            is what is deployed.
        name: what reports call the model; when None what ``about`` names it, its Keras name, or the imported file's.
        about: what the model is, in words: it goes into the files' own fields and the model card.
        work: a folder for finished conversions, so that a killed export goes on where it stopped.
        on_progress: told what is being done.

    Returns:
        The bundle. Conversions that failed are in its manifest under "failures", with their reasons.

    Raises:
        InputError: nothing that was compressed, an unknown format, an output folder that holds something else or that
            another process writes, or ``about`` tells of a tensor that the model does not have.
        GateFailed: no artifact at all came out right; nothing was written.
    """
    if not isinstance(compressed, Compressed | ImportedModel):
        raise InputError(
            "Expected what edgewright.compress or edgewright.quantize returned. "
            f"Got: an object of the class {type(compressed).__name__}."
        )
    out = Path(out)
    check_output_folder(out, KIND)
    formats = tuple(dict.fromkeys(formats)) if formats else format_names()
    for format in formats:
        get_exporter(format)
    about = about or About()
    known = compressed.path.stem if isinstance(compressed, ImportedModel) else compressed.model.name
    about = replace(about, name=name or about.name or known)
    listener = part(on_progress, 0, 1)
    with alone(out):
        if isinstance(compressed, ImportedModel):
            return make_imported_bundle(compressed, out, formats, about, work, listener)
        return make_bundle(compressed, out, formats, deploy, about, work, listener)


def validate(
    bundle: Bundle | str | Path,
    data: DataLike = None,
    devices: Sequence[str] | None = None,
    *,
    max_latency_ms: float | None = None,
    max_size_bytes: int | None = None,
    max_memory_bytes: int | None = None,
    max_drop: float | None = None,
    measure: bool = True,
    emulate: bool = False,
    allow: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> Report:
    """Judge each artifact of a bundle against each device.

    Args:
        bundle: what ``export`` returned, or its folder.
        data: samples to judge accuracy on, in any form that ``compress`` takes; None takes the evidence that the export
            left in the bundle. With data the reference is the bundle's Keras model, or the imported file in it.
        devices: names or files of device profiles, or names of registered devices; those of ``DEVICES`` when None.
        max_latency_ms, max_size_bytes, max_memory_bytes: what is asked for; each device's own default where None.
        max_drop: how much of the metric may be lost, in points, or in percent of a metric that is no share; likewise.
        measure: measure latencies on this host.
        emulate: also run the golden inputs on the emulated cores of Raspberry Pis among the devices.
        allow: classes that the bundle's Keras model may hold although they run code; needed only with data.
        on_progress: told what is being done.

    Returns:
        The report; its ``exit_code`` is 0 when every device has an artifact that passes.

    Raises:
        InputError: no such bundle, device or data; a limit that is none; a changed file in the bundle; no device's core
            can be emulated.
        MissingRequirement: no emulator was built.
    """
    limits = checked_limits(
        latency_ms=max_latency_ms, size_bytes=max_size_bytes, memory_bytes=max_memory_bytes, max_drop=max_drop
    )
    report = part(on_progress, 0, 0.6 if emulate else 1)
    if not isinstance(bundle, Bundle):
        bundle = load_bundle(Path(bundle))
    profiles = [profile_of(name) for name in (devices or DEVICES)]
    if data is not None:
        imported = "imported" in bundle.manifest
        reference = bundled_reference(bundle, data) if imported else _bundled_reference(bundle, data, allow)
        checks = check_all(bundle.deployables, reference, measure, report)
    else:
        checks = measured_checks(bundle, report) if measure else _evidence(bundle)
    emulated = emulate_bundle(bundle, checks, profiles, part(on_progress, 0.6, 1)) if emulate else {}
    return judged(bundle, checks, profiles, limits, emulated)


def judged(
    bundle: Bundle,
    checks: tuple[Check, ...],
    profiles: Sequence[_devices.Profile],
    limits: dict[str, float],
    emulated: Emulated | None = None,
) -> Report:
    """Return the report of a bundle that was checked, after looking what its files are made of."""
    graphs = graphs_of(bundle.deployables)
    kept = kept_for(bundle.deployables, [profile.name for profile in profiles])
    deployables = counted(bundle.deployables, graphs)
    asked_of = (deployables, profiles, graphs)
    return judge_bundle(
        *(bundle, deployables, checks, profiles, limits, placements_of(*asked_of), too_new_of(*asked_of), emulated),
        memories=memories_of(*asked_of),
        kept=kept,
    )


def task_of(data: DataLike, model: "keras.Model") -> Task:
    """Return what a model is judged by on the data that the user gave.

    Without data it is the agreement with itself on random inputs, and there is nothing to calibrate or train on.

    Raises:
        InputError: the data does not fit the model.
    """
    return given_task(data, model_inputs(model), lambda given: infer_task(model, given))


def _evidence(bundle: Bundle) -> tuple[Check, ...]:
    return tuple(read_check(document) for document in bundle.manifest["evidence"]["checks"])


def measured_checks(bundle: Bundle, on_progress: OnProgress) -> tuple[Check, ...]:
    """Return the checks that lie in a bundle with latencies of this host, taken on the golden inputs.

    An artifact that no longer runs here, whatever the evidence in the bundle says, is a failed check.
    """
    inputs, outputs = bundle.golden()
    golden = Reference(Dataset(inputs), None, outputs, outputs)
    new = {(made.artifact, made.runtime): made for made in check_all(bundle.deployables, golden, True, on_progress)}
    merged = []
    for old in _evidence(bundle):
        now = new.get((old.artifact, old.runtime))
        if now and now.ok:
            old = replace(old, measurement=now.measurement)
        elif now and old.ok:
            old = now
        merged.append(old)
    return tuple(merged)


def _bundled_reference(bundle: Bundle, data: DataLike, allow: Sequence[str]) -> Reference:
    deployment = bundled_deployment(bundle, allow)
    if deployment.host is None:
        task = task_of(data, next(iter(deployment.graphs.values())))
        test, metric = task.test, task.metric
    else:
        test, metric = _host_samples(bundle, data), None
    answers, _ = answers_of(deployment, test)
    return Reference(test, metric, answers, answers)


def _host_samples(bundle: Bundle, data: DataLike) -> Dataset:
    """Return samples as the bundle's host code takes them; what it takes is known from the golden inputs.

    Labels are left aside: what they are compared by is not in a bundle.
    """
    golden, _ = bundle.golden()
    inputs = {name: Input(array.shape[1:], str(array.dtype)) for name, array in golden.items()}
    if isinstance(data, Task):
        data = data.test
    return Dataset(dataset_of(data, inputs).inputs)
