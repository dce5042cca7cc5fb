"""edgewright train: the training job on the command line, killed and resumed, and the shipped models."""

import json
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import GateFailed, InputError, MissingRequirement
from edgewright.files import check_output_folder
from edgewright.hosting import answers_of
from edgewright.train import Schedule, get, names
from edgewright.train._checkpoints import load, record_of, shipped
from edgewright.train._training import CHECKPOINT, train
from edgewright.training import train_experiment

COMMAND = [str(Path(sys.executable).with_name("edgewright")), "train", "sparse", "--json"]
# What makes its data in minutes is for make slow.
LONG = {"schnet-ethanol-forces"}
SHIPPED = [
    pytest.param(name, experiment.name, marks=pytest.mark.slow if experiment.name in LONG else ())
    for name in names()
    for experiment in get(name).experiments
    if shipped(name, experiment.name)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that was not stopped."""
    out = tmp_path_factory.mktemp("train") / "whole"
    done = subprocess.run([*COMMAND, "--out", str(out)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)["result"]["trained"]


def test_a_training_records_what_made_it(whole):
    """The record holds command, seed, schedule, versions, the data's SHA-256 and the metric; no checkpoint is left."""
    out, record = whole
    assert record == json.loads((out / "trained.json").read_text())
    assert record["command"] == "edgewright train sparse --experiment digits --size edge --seed 0"
    assert record["seed"] == 0 and len(record["data_sha256"]) == 64 and record["versions"]["keras"]
    assert record["metric"]["unit"] == "%" and record["metric"]["value"] > 90
    assert (out / "model.keras").stat().st_size < 1.1 * 4 * record["parameters"], "the optimizer's state is in it"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model.keras", "trained.json"]


def test_a_training_that_diverges_is_a_failed_gate(tmp_path, monkeypatch):
    """A loss that becomes NaN ends the job with what diverged and where, and not as a bug of ours."""
    sparse = get("sparse")
    endless = replace(sparse.default, schedules={"edge": Schedule(epochs=1, learning_rate=float("inf"))})
    monkeypatch.setattr("edgewright.train.get", lambda name: replace(sparse, experiments=(endless,)))
    with pytest.raises(GateFailed, match="Expected sparse digits to converge. Got: .* in epoch 1"):
        train_experiment("sparse", out=tmp_path / "endless")


def test_a_metric_that_is_no_number_is_a_failed_gate(tmp_path, monkeypatch):
    """A model whose metric is NaN at the end is told so, not as a bug of ours; the one before it keeps its record."""
    sparse = get("sparse")
    task = sparse.default.task()
    lost = replace(task, metric=replace(task.metric, of=lambda outputs, labels: float("nan")))
    odd = replace(sparse.default, task=lambda: lost, schedules={"edge": Schedule(epochs=1)})
    monkeypatch.setattr("edgewright.train.get", lambda name: replace(sparse, experiments=(odd,)))
    out = tmp_path / "odd"
    out.mkdir()
    before = {
        "manifest.json": '{"made_by": "edgewright", "kind": "training"}',
        "model.keras": "old",
        "trained.json": "{",
    }
    for name, text in before.items():
        (out / name).write_text(text)
    with pytest.raises(InputError, match="trained.json. Got: a damaged file .* Train without --resume"):
        train_experiment("sparse", out=out, resume=True)
    with pytest.raises(GateFailed, match="Expected sparse digits to reach a number. Got: no finite accuracy"):
        train_experiment("sparse", out=out)
    assert (out / "model.keras").read_text() == "old" and (out / "trained.json").read_text() == "{"


@pytest.fixture
def stopped(tmp_path):
    """A training of two epochs, its checkpoint after both still there: (experiment, the checkpoint's folder)."""
    experiment = replace(get("sparse").experiment("static-80"), schedules={"edge": Schedule(epochs=2)})
    train(experiment, folder=tmp_path / "work")
    return experiment, tmp_path / "work"


def test_a_checkpoint_of_another_experiment_is_refused(stopped):
    """Two experiments with the same network, schedule and seed never go on with each other's weights."""
    experiment, work = stopped
    other = replace(get("sparse").experiment("set-80"), schedules=experiment.schedules)
    with pytest.raises(InputError, match="of this training.* set-80, edge.* Got: static-80, edge"):
        train(other, folder=work)


def test_a_checkpoint_of_other_data_or_versions_is_refused(stopped, monkeypatch):
    """A training goes on with the samples, labels and libraries that it began with, or not at all."""
    experiment, work = stopped
    task = experiment.task()
    other = replace(task, train=replace(task.train, labels=task.train.labels[::-1]))
    with pytest.raises(InputError, match="Remove it to train from the start"):
        train(replace(experiment, task=lambda: other), folder=work)
    monkeypatch.setattr("edgewright.train._training.metadata.version", lambda name: "0.0")
    with pytest.raises(InputError, match="keras 0.0.* Got: .*keras 3"):
        train(experiment, folder=work)


@pytest.mark.parametrize("damage", ["half", "empty", "a variable is missing"])
def test_a_damaged_checkpoint_is_refused(damage, stopped):
    """Half a checkpoint is told as one, with what to do, and not as a bug of ours."""
    experiment, work = stopped
    whole = (work / CHECKPOINT).read_bytes()
    if damage == "a variable is missing":
        with np.load(work / CHECKPOINT) as arrays:
            np.savez(work / CHECKPOINT, **{name: arrays[name] for name in arrays.files if name != "1"})
    else:
        (work / CHECKPOINT).write_bytes(whole[: len(whole) // 2 if damage == "half" else 0])
    with pytest.raises(InputError, match="Got: a damaged file .* Remove it"):
        train(experiment, folder=work)


def test_a_full_disk_keeps_the_checkpoint_before(stopped):
    """A checkpoint that there is no room for is an environment error; the one before it stands, and nothing half."""
    experiment, work = stopped
    before = (work / CHECKPOINT).read_bytes()
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills_up(done, total):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, allowed[1]))

    (work / CHECKPOINT).unlink()
    try:
        with pytest.raises(MissingRequirement, match="Expected room .* checkpoint"):
            train(experiment, on_epoch=fills_up, folder=work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert [path.name for path in work.iterdir()] == [CHECKPOINT]
    with np.load(work / CHECKPOINT) as arrays:
        assert arrays["epochs"] == 1


def test_what_a_kill_left_half_written_does_not_stop_the_end(tmp_path, monkeypatch):
    """A training whose work folder holds the rest of a killed write ends as any other, and removes it."""
    sparse = get("sparse")
    short = replace(sparse.default, schedules={"edge": Schedule(epochs=1)})
    monkeypatch.setattr("edgewright.train.get", lambda name: replace(sparse, experiments=(short,)))
    (tmp_path / "out" / "work").mkdir(parents=True)
    (tmp_path / "out" / "manifest.json").write_text('{"made_by": "edgewright", "kind": "training"}')
    (tmp_path / "out" / "work" / ".checkpoint.npz.half").write_bytes(b"half")
    train_experiment("sparse", out=tmp_path / "out")
    assert not (tmp_path / "out" / "work").exists()


def test_a_bundle_is_not_written_over_a_trained_model(whole):
    """A folder of ours of another kind is refused as an output and keeps its files; one of the same kind is taken."""
    out, _ = whole
    command = [COMMAND[0], "compress", str(out / "model.keras"), "--recipe", "float16", "--out", str(out)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert refused.returncode == 2 and "which is a training; nothing was written" in refused.stderr
    check_output_folder(out, "training")
    assert (out / "model.keras").exists()


def test_a_killed_training_is_resumed(whole, tmp_path):
    """Killed in the middle, refused without --resume, and with it ended in the very same weights."""
    out = tmp_path / "out"
    child = subprocess.Popen([*COMMAND, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "work" / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "trained.json").exists()
    refused = subprocess.run([*COMMAND, "--out", str(out)], capture_output=True, text=True, timeout=300, check=False)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    again = subprocess.run(
        [*COMMAND, "--out", str(out), "--resume"], capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stderr
    pairs = zip(load(out / "model.keras").get_weights(), load(whole[0] / "model.keras").get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(("architecture", "experiment"), SHIPPED)
def test_a_shipped_model_reaches_what_its_record_says(architecture, experiment):
    """Each shipped model is small, and a hundred samples give about the metric beside it, in its deployment form."""
    path = shipped(architecture, experiment)
    record = record_of(path)
    assert path.stat().st_size < 2_000_000
    assert (record["architecture"], record["experiment"], record["size"]) == (architecture, experiment, "edge")
    found = get(architecture).experiment(experiment)
    try:
        deployment = found.deployment(load(path))
    except MissingRequirement as missing:
        pytest.skip(f"its data come with an extra: {missing}")
    whole = deployment.task.test
    data = whole.at(np.random.default_rng(0).permutation(len(whole))[:100])
    answers, _ = answers_of(deployment, data)
    stated = record.get("deployed", record["metric"])
    value = deployment.task.metric.measure(answers, data.labels)
    assert value == pytest.approx(stated["value"], rel=0.3, abs=10 if stated["unit"] == "%" else 0)


def test_shipped_models_are_small_together():
    """All shipped models take less than 15 MB."""
    assert sum(shipped(*pair.values).stat().st_size for pair in SHIPPED) < 15_000_000
