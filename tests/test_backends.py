"""The architectures on Keras' other backend: train/ is written in keras.ops alone."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from edgewright.train import get, names
from edgewright.train._training import outputs_of

EXPERIMENTS = [
    pytest.param(name, experiment.name, marks=() if experiment is get(name).default else pytest.mark.slow)
    for name in names()
    for experiment in get(name).experiments
    if not (name == "sparse" and experiment.callbacks)  # whose masks move on JAX in test_sparse.py
]
# Run in a child with the other backend: the outputs for given weights, and a few steps of training.
ASK = """
import json, sys
import numpy as np
from edgewright.train import Schedule, Task, get
from edgewright.train._training import fit, outputs_of
import keras

assert keras.backend.backend() == "jax"
architecture, name, weights, answer = sys.argv[1:]
experiment = get(architecture).experiment(name)
model = experiment.build("edge", 0)
with np.load(weights) as arrays:
    model.set_weights([arrays[str(place)] for place in range(len(arrays.files))])
task = experiment.task()
np.savez(answer, **outputs_of(model, task.test.take(4)))
few = Task(task.name, task.train.take(32), task.test, task.loss, task.metric)
fit(model, few, Schedule(epochs=1, batch_size=16, learning_rate=1e-3), 0, optimizer=experiment.optimizer)
assert all(np.isfinite(np.asarray(weight)).all() for weight in model.get_weights())
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (edgewright[jax])")
@pytest.mark.parametrize(("architecture", "name"), EXPERIMENTS)
def test_both_backends_compute_the_same(architecture, name, tmp_path):
    """With the same weights TensorFlow and JAX give the same outputs, and JAX trains without NaN."""
    experiment = get(architecture).experiment(name)
    model = experiment.build("edge", 0)
    weights = {str(place): weight for place, weight in enumerate(model.get_weights())}
    np.savez(tmp_path / "weights.npz", **weights)
    done = subprocess.run(
        [sys.executable, "-c", ASK, architecture, name, tmp_path / "weights.npz", tmp_path / "outputs.npz"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "outputs.npz") as answered:
        for key, array in outputs_of(model, experiment.task().test.take(4)).items():
            np.testing.assert_allclose(answered[key], array, rtol=1e-3, atol=1e-4 * max(1, np.abs(array).max()))
