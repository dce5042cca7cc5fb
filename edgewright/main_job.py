"""The main job: the embedded defaults, from the shipped checkpoints all the way to verdicts for three devices."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import train as _train
from .api import DEVICES, compress, export, validate
from .converting import versions
from .errors import InputError
from .export import About
from .files import MANIFEST, check_output_folder, new_manifest, write_json
from .progress import Event, OnProgress, part
from .report import Report, joined
from .stages import Stages
from .train import Experiment
from .train._checkpoints import load, shipped
from .train._training import train


@dataclass(frozen=True)
class Default:
    """An architecture and the recipe that it goes through.

    Attributes:
        architecture: its name.
        recipe: a shipped recipe's.
        max_drop: how much of the metric may be lost, in place of the devices' default: in points, or in percent of a
            metric that is no share.
    """

    architecture: str
    recipe: str
    max_drop: float | None = None


# Where the metric is an error, or the network has little to spare, more is allowed than the devices' one point.
DEFAULTS = (
    Default("sparse", "sparse-90-int8"),
    Default("convolutional", "sparse-50-int8"),
    Default("liquid", "sparse-50-int8", max_drop=3),
    Default("graph", "sparse-30-int8", max_drop=20),
    Default("program_synthesis", "sparse-30-int8", max_drop=2),
    Default("nerf", "sparse-30-int8", max_drop=2),
    Default("multimodal", "sparse-30-int8", max_drop=2),
)
REPORT = "report.json"


def defaults_of(architectures: Sequence[str]) -> tuple[Default, ...]:
    """Return the defaults of some architectures.

    Raises:
        InputError: the main job does not run one of them.
    """
    known = {default.architecture: default for default in DEFAULTS}
    for name in architectures:
        if name not in known:
            raise InputError(f"Expected an architecture of the main job: {', '.join(known)}. Got: {name!r}.")
    return tuple(known[name] for name in architectures)


def run(
    out: Path,
    defaults: tuple[Default, ...] = DEFAULTS,
    devices: tuple[str, ...] | None = None,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Report:
    """Compress, export and validate each default; write a bundle for each and report.json into ``out``.

    A default whose trained model does not come with edgewright is trained first.

    Killed and started again it goes on after the last finished stage; the stages are removed when all is done.

    Args:
        out: a folder that is empty, missing or ours.
        defaults: what to run.
        devices: names of device profiles; those of ``DEVICES`` when None.
        seed: of everything random.
        on_progress: told what is being done.

    Raises:
        InputError: ``out`` holds something else.
        MissingRequirement: the data is not installed, or ``out`` cannot be written.
    """
    check_output_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / MANIFEST, new_manifest("run", 1))
    work = out / "work"
    reports = []
    for place, default in enumerate(defaults):
        listener = part(on_progress, place / len(defaults), (place + 1) / len(defaults))
        reports.append(_one(default, out, work, devices, seed, listener))
    report = joined(reports)
    write_json(out / REPORT, report.plain())
    shutil.rmtree(work, ignore_errors=True)
    return report


def _one(
    default: Default, out: Path, work: Path, devices: tuple[str, ...] | None, seed: int, report: OnProgress
) -> Report:
    architecture = _train.get(default.architecture)
    experiment = architecture.default
    stages = Stages(work / architecture.name)
    model = load(_trained(default, stages, seed, part(report, 0, 0.15)))
    compressed = compress(
        model,
        experiment.task(),
        default.recipe,
        seed=seed,
        deploy=experiment.deploy,
        on_progress=part(report, 0.15, 0.3),
    )
    bundle = export(
        compressed,
        out / architecture.name,
        deploy=experiment.deploy,
        name=architecture.name,
        about=_about(experiment),
        work=work / architecture.name,
        on_progress=part(report, 0.3, 0.85),
    )
    return validate(bundle, devices=devices or DEVICES, max_drop=default.max_drop, on_progress=part(report, 0.85, 1))


def _about(experiment: Experiment) -> About:
    """Return what is told of a model that comes with edgewright."""
    description = f"{experiment.title}, trained on {experiment.task().name}."
    return About(version=versions()["edgewright"], description=description, author="edgewright", licence="Apache-2.0")


def _trained(default: Default, stages: Stages, seed: int, report: OnProgress) -> Path:
    """Return the file of the trained model: the shipped one, or one that is trained now."""
    architecture = _train.get(default.architecture)
    experiment = architecture.default
    checkpoint = shipped(architecture.name, experiment.name)
    if checkpoint:
        return checkpoint
    key = [architecture.name, experiment.name, repr(experiment.schedules["edge"]), seed, versions()]
    return stages.once("train", key, lambda folder: _train_into(folder, default, seed, report)) / "model.keras"


def _train_into(folder: Path, default: Default, seed: int, report: OnProgress) -> None:
    architecture = _train.get(default.architecture)
    model = train(
        architecture.default,
        seed=seed,
        on_epoch=lambda done, total: report(Event("train", (architecture.name, f"epoch {done}"), done / total)),
    )
    model.save(folder / "model.keras")
    (folder / "trained.json").write_text(
        json.dumps({"architecture": architecture.name, "seed": seed, "versions": versions()}), encoding="utf-8"
    )
