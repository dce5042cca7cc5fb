"""The training job: an experiment trained, measured, and written down with what made it."""

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import train as _train
from .converting import versions
from .errors import GateFailed, InputError, MissingRequirement
from .files import MANIFEST, check_output_folder, new_manifest, read_text, write_json
from .held import alone
from .hosting import answers_of
from .progress import Event, OnProgress, part
from .train import Experiment, Task
from .train._checkpoints import load
from .train._sources import digest_of_arrays
from .train._training import CHECKPOINT, check_seed, outputs_of, schedule_of, train

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
RECORD = "trained.json"
_WORK = "work"
_KIND = "training"


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        model: the file of the trained model.
        record: how it was made and what it reaches, as plain data.
    """

    model: Path
    record: dict[str, Any]


def train_experiment(
    architecture: str,
    experiment: str | None = None,
    size: str = "edge",
    seed: int = 0,
    out: Path | None = None,
    *,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Train an experiment of an architecture; write model.keras and trained.json into ``out``.

    After each epoch a checkpoint is kept there until the training is done.

    Args:
        architecture: its name.
        experiment: one of the architecture's; its default when None.
        size: one of the experiment's.
        seed: of everything random.
        out: a folder that is empty, missing or ours; build/train/ARCHITECTURE/EXPERIMENT-SIZE-SEED when None.
        resume: go on from the checkpoint in ``out``, with the result of a training that was never stopped; what is
            finished there is returned.
        on_progress: told each epoch.

    Raises:
        InputError: there is no such architecture, experiment or size; an unfinished training lies in ``out`` and
            ``resume`` is not set, or what lies there is another training's; another process trains into ``out``.
        GateFailed: the training diverged.
        MissingRequirement: the data's package is not installed, or the disk is full.
    """
    check_seed(seed)
    chosen = _train.get(architecture).experiment(experiment) if experiment else _train.get(architecture).default
    schedule_of(chosen, size)  # raises where there is no such size
    asked = {"architecture": architecture, "experiment": chosen.name, "size": size, "seed": seed}
    out = Path(out) if out else Path("build", "train", architecture, f"{chosen.name}-{size}-{seed}")
    check_output_folder(out, _KIND)
    with alone(out):
        if (out / _WORK / CHECKPOINT).exists() and not resume:
            raise InputError(
                f"Expected a folder without an unfinished training. Got: {out / _WORK / CHECKPOINT}. "
                "Give --resume to go on with it, or another --out."
            )
        if resume and not (out / _WORK / CHECKPOINT).exists() and (out / RECORD).exists() and (out / MODEL).exists():
            return _finished(out, asked)
        return _trained(chosen, asked, out, part(on_progress, 0, 1))


def _trained(chosen: Experiment, asked: dict[str, Any], out: Path, report: OnProgress) -> Trained:
    architecture, size, seed = asked["architecture"], asked["size"], asked["seed"]
    report(Event("data", (architecture, chosen.name)))
    task = chosen.task()
    with _room_in(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / MANIFEST, new_manifest(_KIND, 1))
    started = time.perf_counter()

    def tell(done: int, total: int) -> None:
        report(Event("train", (architecture, chosen.name, f"epoch {done}"), 0.95 * done / total))

    try:
        model = train(chosen, size, seed, tell, out / _WORK)
    except FloatingPointError as error:
        raise GateFailed(f"Expected {architecture} {chosen.name} to converge. Got: {error}.") from error
    seconds = time.perf_counter() - started
    # A model as built has no optimizer, whose state is twice the size of the weights.
    bare = chosen.build(size, seed)
    bare.set_weights(model.get_weights())
    with _room_in(out):
        bare.save(out / _WORK / MODEL)
    report(Event("measure", (architecture, chosen.name), 0.95))
    command = ["edgewright", "train", architecture, "--experiment", chosen.name, "--size", size, "--seed", str(seed)]
    record = {
        "command": shlex.join(command),
        **asked,
        "schedule": asdict(schedule_of(chosen, size)),
        "parameters": int(model.count_params()),
        "wall_s": round(seconds, 1),
        "data_sha256": data_digest(task),
        "versions": versions(),
        **measured(load(out / _WORK / MODEL), chosen, task),
    }
    _check_reached(record)
    with _room_in(out):
        # Never a model beside the record of another, whenever this is killed.
        (out / RECORD).unlink(missing_ok=True)
        os.replace(out / _WORK / MODEL, out / MODEL)
        write_json(out / RECORD, record)
    (out / _WORK / CHECKPOINT).unlink()
    shutil.rmtree(out / _WORK)  # what a kill left half written lies there too
    return Trained(out / MODEL, record)


def _check_reached(record: dict[str, Any]) -> None:
    """Raise GateFailed where a metric or a measure of a record is no finite number."""
    told = [record[key] for key in ("metric", "deployed") if record.get(key)]
    values = [*((each["name"], each["value"]) for each in told), *record.get("measures", {}).items()]
    wrong = [name for name, value in values if not np.isfinite(value)]
    if wrong:
        title = f"{record['architecture']} {record['experiment']}"
        raise GateFailed(f"Expected {title} to reach a number. Got: no finite {', '.join(wrong)}.")


@contextmanager
def _room_in(out: Path) -> Iterator[None]:
    """Tell of a full disk as such; the checkpoint is still there to go on from."""
    try:
        yield
    except OSError as error:
        raise MissingRequirement(
            f"Expected room and the right to write {out}. Got: {error.strerror or error}. "
            "Go on with --resume when there is."
        ) from error


def _finished(out: Path, asked: dict[str, Any]) -> Trained:
    """Return the finished training in a folder, which is what was asked to go on with.

    Raises:
        InputError: it is another one, or its record is damaged.
    """
    try:
        record = json.loads(read_text(out / RECORD, "the record of a training"))
        there = {name: record[name] for name in asked}
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"Expected the record of a training at {out / RECORD}. Got: a damaged file ({error}). "
            "Train without --resume, or name another --out."
        ) from error
    if there != asked:
        wanted, found = (", ".join(f"{name} {value}" for name, value in each.items()) for each in (asked, there))
        raise InputError(f"Expected {wanted} in {out}, to go on with. Got: {found}, which is finished.")
    return Trained(out / MODEL, record)


def measured(model: "keras.Model", experiment: Experiment, task: Task) -> dict[str, Any]:
    """Return the task's metric, the metric of the deployment form where that is another, and the further measures."""
    found: dict[str, Any] = {}
    if task.metric and task.test.labels is not None:
        value = task.metric.measure(outputs_of(model, task.test), task.test.labels)
        found["metric"] = {"name": task.metric.name, "unit": task.metric.unit, "value": value}
    if experiment.deploy:
        deployment = experiment.deploy(model)
        metric, labels = deployment.task.metric, deployment.task.test.labels
        if metric and labels is not None:
            answers, _ = answers_of(deployment, deployment.task.test)
            value = metric.measure(answers, labels)
            found["deployed"] = {
                **{"name": metric.name, "unit": metric.unit, "value": value},
                "samples": len(deployment.task.test),
            }
    if experiment.measures:
        found["measures"] = {name: float(value) for name, value in experiment.measures(model).items()}
    return found


def data_digest(task: Task) -> str:
    """Return the SHA-256 of a task's training inputs."""
    return digest_of_arrays(task.train.inputs)
