"""The main job: the embedded defaults, from the shipped checkpoints all the way to verdicts for three devices."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import train as _train
from .api import DEVICES, compress, export, judged, measured_checks
from .checks import read_check
from .compress import load_recipe
from .converting import make_ready, versions
from .device_names import profile_of
from .devices import Profile
from .errors import InputError
from .export import About, Bundle, load_bundle
from .export import names as format_names
from .files import MANIFEST, check_output_folder, new_manifest, sha256, write_json
from .held import alone
from .progress import Event, OnProgress, part
from .report import Report, joined
from .stages import Stages
from .train import Experiment
from .train._checkpoints import load, shipped
from .train._training import check_seed, train


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
_CHECKED = "checked.json"
_KIND = "run"
# Told of each default that is done: its architecture, and the seconds from its model to its last measurement.
OnDone = Callable[[str, float], None]


def defaults_of(architectures: Sequence[str]) -> tuple[Default, ...]:
    """Return the defaults of some architectures, once each.

    Raises:
        InputError: the main job does not run one of them.
    """
    known = {default.architecture: default for default in DEFAULTS}
    for name in architectures:
        if name not in known:
            raise InputError(f"Expected an architecture of the main job: {', '.join(known)}. Got: {name!r}.")
    return tuple(known[name] for name in dict.fromkeys(architectures))


def run(
    out: Path,
    defaults: tuple[Default, ...] = DEFAULTS,
    devices: tuple[str, ...] | None = None,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_done: OnDone | None = None,
) -> Report:
    """Compress, export and validate each default; write a bundle for each and report.json into ``out``.

    A default whose trained model does not come with edgewright is trained first.

    Killed and started again it goes on after the last finished stage: an architecture that was done is only judged
    again, and one that was not is compressed again, but not converted. The stages are removed when all is done.

    Args:
        out: a folder that is empty, missing or ours.
        defaults: what to run.
        devices: names of device profiles; those of ``DEVICES`` when None.
        seed: of everything random.
        on_progress: told what is being done.
        on_done: told how long each default took.

    Raises:
        InputError: there is no such device, the seed is out of range, ``out`` holds something else, or another process
            writes it.
        MissingRequirement: the data is not installed, or ``out`` cannot be written.
    """
    check_seed(seed)
    profiles = tuple(profile_of(device) for device in devices or DEVICES)
    check_output_folder(out, _KIND)
    with alone(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / MANIFEST, new_manifest(_KIND, 1))
        (out / REPORT).unlink(missing_ok=True)  # of bundles that are about to be replaced, one after the other
        work = out / "work"
        reports = []
        for place, default in enumerate(defaults):
            listener = part(on_progress, place / len(defaults), (place + 1) / len(defaults))
            made, took_s = _one(default, out, work, profiles, seed, listener)
            reports.append(made)
            if on_done:
                on_done(default.architecture, took_s)
        report = joined(reports)
        write_json(out / REPORT, report.plain())
        for left in (work, *out.glob(".*.partial-*"), *out.glob(".*.old-*")):  # of runs that were killed too
            shutil.rmtree(left, ignore_errors=True)
    return report


def _one(
    default: Default, out: Path, work: Path, profiles: Sequence[Profile], seed: int, report: OnProgress
) -> tuple[Report, float]:
    """Return the report of a default, and how many seconds its bundle and its measurements took."""
    name = default.architecture
    stages = Stages(work / name)
    model = _trained(default, stages, seed, part(report, 0, 0.15))
    key = [name, load_recipe(default.recipe).sha256, sha256(model), seed, versions()]

    def make(folder: Path) -> None:
        started = time.monotonic()
        bundle = _bundle(default, model, out / name, work / name, seed, report)
        checks = [made.plain() for made in measured_checks(bundle, part(report, 0.85, 1))]
        bundled = sha256(bundle.path / MANIFEST)
        write_json(folder / _CHECKED, {"bundle": bundled, "checks": checks, "took_s": time.monotonic() - started})

    for _ in range(2):
        done = json.loads((stages.once("checked", key, make) / _CHECKED).read_text(encoding="utf-8"))
        bundle = _intact(out / name, done["bundle"])
        if bundle:
            break
        stages.forget("checked", key)
    assert bundle is not None
    limits = {} if default.max_drop is None else {"max_drop": default.max_drop}
    checks = tuple(read_check(document) for document in done["checks"])
    return judged(bundle, checks, profiles, limits), done["took_s"]


def _intact(path: Path, manifest: str) -> Bundle | None:
    """Return the bundle at ``path``, or None where it is not there or not the one that was checked."""
    try:
        return load_bundle(path) if sha256(path / MANIFEST) == manifest else None
    except (InputError, OSError):
        return None


def _bundle(default: Default, model: Path, out: Path, work: Path, seed: int, report: OnProgress) -> Bundle:
    experiment = _train.get(default.architecture).default
    original = load(model)
    make_ready(format_names())
    compressed = compress(
        original,
        experiment.task(),
        default.recipe,
        seed=seed,
        deploy=experiment.deploy,
        on_progress=part(report, 0.15, 0.3),
    )
    return export(
        compressed,
        out,
        deploy=experiment.deploy,
        name=default.architecture,
        about=_about(experiment),
        work=work,
        on_progress=part(report, 0.3, 0.85),
    )


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
