"""Rolled loops: recurrent layers written out step by step become loops that compute the same."""

import keras
import numpy as np
import pytest

from edgewright import compress, export
from edgewright.compress import parse_recipe
from edgewright.runtimes import run_artifact
from edgewright.train import Dataset
from edgewright.train._training import outputs_of

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}
ROLLED = '[[steps]]\ntechnique = "rolled_loops"\n'
LAYERS = {
    "LSTM": lambda: keras.layers.LSTM(5, return_sequences=True, unroll=True, name="it"),
    "GRU": lambda: keras.layers.GRU(5, unroll=True, name="it"),
    "bidirectional": lambda: keras.layers.Bidirectional(keras.layers.LSTM(4, unroll=True), name="it"),
    "cells": lambda: keras.layers.RNN([keras.layers.SimpleRNNCell(3), keras.layers.GRUCell(2)], unroll=True, name="it"),
}


def _model(layer) -> keras.Model:
    keras.utils.set_random_seed(0)
    steps = keras.Input((6, 4), name="steps")
    answer = keras.layers.Dense(2, name="answer")(keras.layers.Flatten(name="flat")(layer(steps)))
    return keras.Model(steps, answer, name="recurrent")


def _samples() -> dict[str, np.ndarray]:
    return {"steps": np.random.default_rng(0).normal(size=(24, 6, 4)).astype("float32")}


@pytest.mark.parametrize("name", LAYERS)
def test_a_rolled_layer_computes_what_the_unrolled_one_did(name):
    """The weights are the same, those of wrapped layers and cells too, the outputs are, and the given model stays."""
    model = _model(LAYERS[name]())
    before = outputs_of(model, Dataset(_samples()))
    made = compress(model, Dataset(_samples()), parse_recipe(ROLLED))
    assert '"unroll": true' in model.to_json() and '"unroll": true' not in made.model.to_json()
    assert "Rolled into loops: it." in " ".join(made.notes)
    for one, other in zip(model.get_weights(), made.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    after = outputs_of(made.model, Dataset(_samples()))
    np.testing.assert_allclose(after["answer"], before["answer"], atol=1e-6)


def test_what_is_rolled_or_out_of_scope_stays():
    """A note says that there was nothing to roll, and the model is the one that was given."""
    rolled = _model(keras.layers.LSTM(5, name="it"))
    for model, scope in ((rolled, ".*"), (_model(LAYERS["LSTM"]()), "other")):
        made = compress(model, Dataset(_samples()), parse_recipe(f'{ROLLED}scope = "{scope}"\n'))
        assert "No layer is unrolled" in " ".join(made.notes)
        assert made.model.to_json() == model.to_json()


def test_rolled_layers_are_pruned_and_exported(tmp_path):
    """Units go after the steps are rolled; each format's file is smaller than the unrolled layer's, and right."""
    model = _model(LAYERS["LSTM"]())
    pruning = '[[steps]]\ntechnique = "structured_pruning"\nshare = 0.4\nepochs = 1\n'
    made = compress(model, Dataset(_samples()), parse_recipe(ROLLED + pruning))
    assert made.model.get_layer("it").units == 3
    before = compress(model, Dataset(_samples()), "float32")
    plain, rolled = (export(each, tmp_path / name) for each, name in ((before, "plain"), (made, "rolled")))
    expected = outputs_of(made.model, Dataset(_samples()))["answer"]
    for one, other in zip(plain.deployables, rolled.deployables, strict=True):
        assert one.format == other.format and other.size_bytes < 0.8 * one.size_bytes
        run = run_artifact(other, RUNTIMES[other.format], _samples())
        assert run.ok, run.reason
        np.testing.assert_allclose(run.outputs["answer"], expected, atol=1e-5)
