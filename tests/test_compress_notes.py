"""What the steps of a recipe found out reaches the front door, and zeros in blocks reach the file."""

import keras
import numpy as np
import pytest

import edgewright
from edgewright.compress import parse_recipe
from edgewright.train import Dataset, Task


def _dense() -> tuple[keras.Model, Task]:
    keras.utils.set_random_seed(0)
    features = keras.Input((64,), name="features")
    x = keras.layers.Dense(128, activation="relu")(features)
    model = keras.Model(features, keras.layers.Dense(128, name="out")(x), name="dense")
    data = Dataset({"features": np.random.default_rng(0).normal(size=(64, 64)).astype("float32")})
    return model, Task("none", data, data, None, None)


@pytest.mark.parametrize(("pattern", "smaller"), [("1x4", True), ("unstructured", False)])
def test_zeros_in_blocks_make_the_float_file_smaller_and_the_notes_say_where_zeros_pay(tmp_path, pattern, smaller):
    """Nine of ten weights zero in blocks leave a TFLite file of less than a third; single zeros leave it as it was."""
    model, task = _dense()
    recipe = f"[[steps]]\ntechnique='magnitude_pruning'\nsparsity=0.9\nepochs=0\npattern='{pattern}'\n"
    made = edgewright.compress(model, task, parse_recipe(recipe))
    assert any("TFLite" in note or "no runtime" in note for note in made.notes)
    bundle = edgewright.export(made, tmp_path / "bundle", ["tflite"])
    assert not bundle.manifest["failures"]
    (artifact,) = bundle.artifacts
    weights_bytes = 4 * (64 * 128 + 128 * 128)
    assert (artifact.size_bytes < weights_bytes / 3) == smaller
    checks = [check for check in bundle.manifest["evidence"]["checks"] if check["ok"]]
    assert checks and all(check["agreement_keras_percent"] > 99.9 for check in checks)


@pytest.mark.parametrize("nested", [False, True])
def test_a_sequential_that_was_built_without_an_input_is_compressed_by_the_name_that_its_file_has(nested, tmp_path):
    """Its input is called as in a file of it, steps that copy the model run, and the model that came in stays."""
    first = keras.layers.Dense(16, activation="relu")
    model = keras.Sequential([keras.Sequential([keras.Input((5,)), first]) if nested else first, keras.layers.Dense(3)])
    model.build((None, 5))
    rows = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")
    before = np.array(model(rows))
    steps = '[[steps]]\ntechnique = "structured_pruning"\nparameters = 0.5\nepochs = 1\n'
    made = edgewright.compress(model, rows, parse_recipe(steps))
    model.save(tmp_path / "model.keras")
    assert made.model.inputs[0].name == keras.models.load_model(tmp_path / "model.keras").inputs[0].name
    assert made.model.count_params() < model.count_params()
    np.testing.assert_array_equal(model(rows), before)
