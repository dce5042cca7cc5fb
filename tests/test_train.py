"""train/: architectures, their data, and training that moves the metric."""

import dataclasses

import keras
import numpy as np
import pytest

from edgewright.train import get, names
from edgewright.train._training import outputs_of, train


@pytest.mark.parametrize("name", names())
def test_a_short_training_moves_the_metric(name):
    """Two epochs on the task make the metric better than that of the untrained model by a wide margin."""
    architecture = dataclasses.replace(get(name), epochs=2)
    task = architecture.task()
    untrained = architecture.build(architecture.sizes[0], 0)
    trained = train(architecture)

    def metric(model):
        return task.metric.of(next(iter(outputs_of(model, task.test).values())), task.test.labels)

    assert task.metric.lost(metric(trained), metric(untrained)) > 40


@pytest.mark.parametrize("name", names())
def test_a_keras_file_keeps_the_architecture(name, tmp_path):
    """A model saved and loaded gives the same outputs to the last bit."""
    architecture = get(name)
    model = architecture.build(architecture.sizes[0], 1)
    model.save(tmp_path / "model.keras")
    data = architecture.task().test.take(8)
    again = keras.saving.load_model(tmp_path / "model.keras")
    for output, array in outputs_of(model, data).items():
        np.testing.assert_array_equal(outputs_of(again, data)[output], array)


@pytest.mark.parametrize("name", names())
def test_the_seed_decides_the_weights(name):
    """The same seed builds the same model, another seed another one."""
    architecture = get(name)
    first, second, other = (architecture.build(architecture.sizes[0], seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_digits_are_split_by_class():
    """4,000 digits train and 1,000 test, evenly by class, with no image in both."""
    task = get("sparse").task()
    assert (len(task.train), len(task.test)) == (4000, 1000)
    assert set(np.bincount(task.train.labels)) == {400}
    assert set(np.bincount(task.test.labels)) == {100}
    assert task.train.inputs["image"].min() == 0 and task.train.inputs["image"].max() == 1
    train_rows = {image.tobytes() for image in task.train.inputs["image"]}
    assert not [image for image in task.test.inputs["image"] if image.tobytes() in train_rows]


def test_a_diverging_training_stops():
    """A loss that becomes NaN ends the training with an error that names the epoch."""
    architecture = dataclasses.replace(get("sparse"), epochs=1, learning_rate=float("inf"))
    with pytest.raises(FloatingPointError, match="epoch 1"):
        train(architecture)
