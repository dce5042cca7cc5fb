"""train/: architectures, their data, and training that moves the metric."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from edgewright.errors import InputError, MissingRequirement
from edgewright.train import MEAN_ABSOLUTE_ERROR, Dataset, Schedule, Task, get, names
from edgewright.train._sources import made_once, require
from edgewright.train._training import fit, outputs_of, train


@pytest.mark.parametrize("name", names())
def test_a_short_training_moves_the_metric(name):
    """Two short epochs better the untrained model's metric by 10 points, 2 dB, or 10 percent of it."""
    experiment = get(name).default
    edge = experiment.schedules["edge"]
    short = dataclasses.replace(edge, epochs=2, samples_per_epoch=min(edge.samples_per_epoch or 4000, 4000))
    task = experiment.task()
    untrained = experiment.build("edge", 0)
    trained = train(dataclasses.replace(experiment, schedules={"edge": short}))

    def metric(model):
        return task.metric.measure(outputs_of(model, task.test), task.test.labels)

    wanted = 2 if task.metric.unit == "dB" else 10
    assert task.metric.lost(metric(trained), metric(untrained)) > wanted


@pytest.mark.parametrize("name", names())
def test_a_keras_file_keeps_the_architecture(name, tmp_path):
    """A model saved and loaded gives the same outputs to the last bit."""
    experiment = get(name).default
    model = experiment.build("edge", 1)
    model.save(tmp_path / "model.keras")
    data = experiment.task().test.take(8)
    again = keras.saving.load_model(tmp_path / "model.keras")
    for output, array in outputs_of(model, data).items():
        np.testing.assert_array_equal(outputs_of(again, data)[output], array)


@pytest.mark.parametrize("name", names())
def test_the_seed_decides_the_weights(name):
    """The same seed builds the same model, another seed another one."""
    experiment = get(name).default
    first, second, other = (experiment.build("edge", seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_digits_are_split_by_class():
    """4,000 digits train and 1,000 test, evenly by class, with no image in both."""
    task = get("sparse").default.task()
    assert (len(task.train), len(task.test)) == (4000, 1000)
    assert set(np.bincount(task.train.labels)) == {400}
    assert set(np.bincount(task.test.labels)) == {100}
    assert task.train.inputs["image"].min() == 0 and task.train.inputs["image"].max() == 1
    train_rows = {image.tobytes() for image in task.train.inputs["image"]}
    assert not [image for image in task.test.inputs["image"] if image.tobytes() in train_rows]


def test_a_diverging_training_stops():
    """A loss that becomes NaN ends the training with an error that names the epoch."""
    endless = Schedule(epochs=1, learning_rate=float("inf"))
    with pytest.raises(FloatingPointError, match="epoch 1"):
        train(dataclasses.replace(get("sparse").default, schedules={"edge": endless}))


def _two_inputs(structure):
    """A small model and its task, the inputs in a list or a dictionary."""
    inputs = {name: keras.Input((3,), name=name) for name in ("left", "right")}
    both = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(structure(inputs), keras.layers.Dense(1, name="sum")(both))
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=(64, 3)).astype("float32") for name in inputs}
    data = Dataset(arrays, arrays["left"].sum(axis=1, keepdims=True) - arrays["right"].sum(axis=1, keepdims=True))
    return model, Task("difference", data, data, "mean_squared_error", MEAN_ABSOLUTE_ERROR)


@pytest.mark.parametrize("structure", [lambda inputs: list(inputs.values()), dict])
def test_a_model_with_several_inputs_trains(structure):
    """Inputs are matched by name, whether the model takes a list or a dictionary."""
    model, task = _two_inputs(structure)
    fit(model, task, Schedule(epochs=60, batch_size=16, learning_rate=0.05), seed=0)
    assert task.metric.measure(outputs_of(model, task.test), task.test.labels) < 0.1


class _Killed(Exception):
    """What the end of a process stands for."""


def test_a_killed_training_goes_on_with_the_same_result(tmp_path):
    """A training that was cut off after its first epoch and started again ends in the weights of one that was not."""
    schedule = Schedule(epochs=3, batch_size=64, learning_rate=3e-3, weight_decay=0.01, samples_per_epoch=500)
    experiment = dataclasses.replace(get("convolutional").default, schedules={"edge": schedule})

    def stop(done, total):
        raise _Killed

    whole = train(experiment, seed=4, folder=tmp_path / "whole").get_weights()
    with pytest.raises(_Killed):
        train(experiment, seed=4, folder=tmp_path / "killed", on_epoch=stop)
    for one, other in zip(train(experiment, seed=4, folder=tmp_path / "killed").get_weights(), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    """A folder with the checkpoint of another seed is not gone on from: the error names both."""
    short = dataclasses.replace(get("sparse").default, schedules={"edge": Schedule(epochs=1, samples_per_epoch=64)})
    train(short, seed=1, folder=tmp_path)
    with pytest.raises(InputError, match="seed 2.*Got: .*seed 1"):
        train(short, seed=2, folder=tmp_path)


def test_an_unknown_size_is_refused():
    """A size that the experiment does not have is an error that names those that it has."""
    with pytest.raises(InputError, match="edge. Got: 'huge'"):
        train(get("sparse").default, size="huge")


def test_made_data_is_kept_and_made_again_when_harmed(tmp_path, monkeypatch):
    """Arrays are made once; a file whose checksum does not fit is made anew."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    calls = []

    def make():
        calls.append(1)
        return {"x": np.arange(5)}

    for _ in range(2):
        np.testing.assert_array_equal(made_once("five", make)["x"], np.arange(5))
    assert len(calls) == 1
    (tmp_path / "five.npz").write_bytes(b"harmed")
    np.testing.assert_array_equal(made_once("five", make)["x"], np.arange(5))
    assert len(calls) == 2


def test_several_hosts_are_refused_with_the_reason(monkeypatch):
    """Keras 3 does not train over several hosts with TensorFlow: that is said at once, not by a stack trace."""
    cluster = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(MissingRequirement, match="one host"):
        train(get("sparse").default)


def test_a_package_that_is_there_but_broken_is_not_called_absent(tmp_path, monkeypatch):
    """Where a data package fails to import, the error tells how, and does not say that it is not installed."""
    (tmp_path / "broken_data.py").write_text("import a_module_that_is_nowhere", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingRequirement, match="broken-data.*fails to import.*a_module_that_is_nowhere"):
        require("broken_data", "broken-data", "train", "which has data")
    with pytest.raises(MissingRequirement, match="absent-data.*Got: not installed"):
        require("absent_data", "absent-data", "train", "which has data")
