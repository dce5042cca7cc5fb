"""The gate in front of a bundle: which layer goes wrong, and kernels that disagree."""

from pathlib import Path

import keras
import numpy as np
import pytest

import edgewright
from edgewright.attempts import Attempt
from edgewright.checks import Check
from edgewright.compress import parse_recipe
from edgewright.compress._activations import Activations
from edgewright.export import Artifact, deployables
from edgewright.localising import first_wrong_layer
from edgewright.train import Dataset


def _cancelling() -> keras.Model:
    """A sum of something large and something small, of which the large one is taken away again."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    small = keras.layers.Dense(8, name="small")(x)
    large = keras.layers.Rescaling(1e4, name="large")(keras.layers.Dense(8, name="first")(x))
    both = keras.layers.Add(name="both")([small, large])
    return keras.Model(x, keras.layers.Subtract(name="difference")([both, large]), name="cancelling")


def test_the_layer_that_goes_wrong_first_is_named():
    """Eight bits lose what is small beside what is large: the layer that takes the difference is the wrong one."""
    samples = {"x": np.random.default_rng(0).normal(size=(64, 8)).astype("float32")}
    for activations in (None, Activations("min_max")):
        sentence = first_wrong_layer(_cancelling(), "tflite", "int8", "litert", samples, activations)
        assert sentence.startswith("Layer 'difference' goes wrong first")
        assert "those of the 4 layers before it" in sentence


def test_no_layer_is_blamed_where_all_are_right():
    """In float32 every layer's output agrees, and the sentence says so."""
    samples = {"x": np.random.default_rng(0).normal(size=(64, 8)).astype("float32")}
    sentence = first_wrong_layer(_cancelling(), "onnx", "float32", "onnxruntime", samples)
    assert sentence.startswith("With every layer's output read out it computes right")


def _exported(model, recipe, folder, formats):
    data = Dataset({model.inputs[0].name: np.random.default_rng(0).normal(size=(64, *model.inputs[0].shape[1:]))})
    return edgewright.export(edgewright.compress(model, data, parse_recipe(recipe)), folder, formats)


def test_an_artifact_that_computes_something_else_is_left_out_with_the_layer(tmp_path):
    """What is not in the bundle stands in its failures, with the layer where it goes wrong; the rest is handed over."""
    recipe = "[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\n"
    bundle = _exported(_cancelling(), recipe, tmp_path / "bundle", ("tflite",))
    assert [artifact.name for artifact in bundle.artifacts] == ["tflite float32"]
    assert sorted(file.name for file in (bundle.path / "artifacts").iterdir()) == ["model.float32.tflite"]
    assert "computes something else" in bundle.manifest["failures"]["tflite int8"]
    assert "Layer 'difference' goes wrong first" in bundle.manifest["failures"]["tflite int8"]


def test_an_artifact_that_loses_more_than_its_recipe_allows_is_left_out(tmp_path):
    """With an allowance the 4-bit file, which misjudges some samples, fails by the metric; without one it is kept."""
    keras.utils.set_random_seed(0)
    x = keras.Input((16,), name="x")
    hidden = keras.layers.Dense(64, activation="relu")(x)
    model = keras.Model(x, keras.layers.Dense(10, activation="softmax", name="kinds")(hidden), name="kinds")
    samples = np.random.default_rng(0).normal(size=(400, 16)).astype("float32")
    labels = model.predict(samples, verbose=0).argmax(axis=1)
    data = Dataset({"x": samples}, labels)
    kept = {}
    for allowed in ("", "max_drop = 0.0\n"):
        recipe = parse_recipe(f"{allowed}[[steps]]\ntechnique = 'weight_only_int4'\n")
        bundle = edgewright.export(
            edgewright.compress(model, data, recipe), tmp_path / f"bundle{allowed[:3]}", ["tflite"]
        )
        kept[allowed] = [artifact.name for artifact in bundle.artifacts]
    assert kept == {"": ["tflite float32", "tflite int4_weights"], "max_drop = 0.0\n": ["tflite float32"]}
    assert "of the accuracy, where the recipe allows 0" in bundle.manifest["failures"]["tflite int4_weights"]


def test_what_failed_is_replaced_by_what_is_right_in_another_attempt():
    """What is right stays as it was first made; what failed is taken from the second attempt where that is right."""

    def attempt(tflite, onnx, sha):
        artifacts = [Artifact(Path(f"{format}"), format, "int8", (), (), sha, 1, 1) for format in ("tflite", "onnx")]
        checks = [
            Check(name, runtime, "1", False, ok, "" if ok else f"dies {sha}")
            for name, runtime, ok in (("tflite int8", "litert", tflite), ("onnx int8", "onnxruntime", onnx))
        ]
        return Attempt((), deployables(tuple(artifacts)), tuple(checks))

    first = attempt(True, False, "first")
    assert first.why_not("onnx int8") == "onnxruntime: dies first" and not first.why_not("tflite int8")
    merged = first.replaced_by(attempt(True, True, "second"))
    assert {each.name for each in merged.right} == {"tflite int8", "onnx int8"} and not merged.failures
    assert attempt(False, False, "first").replaced_by(attempt(False, False, "second")).failures == {
        "tflite int8": "litert: dies first",
        "onnx int8": "onnxruntime: dies first",
    }


def test_kernels_that_disagree_are_told():
    """Where XNNPACK agrees with Keras by points less than LiteRT's built-in kernels do, a note says so."""

    def notes(xnnpack, kernels):
        checks = (
            Check("tflite int8", "litert", "2", False, True, samples=9, agreement_keras_percent=xnnpack),
            Check("tflite int8", "litert_kernels", "2", True, True, samples=9, agreement_keras_percent=kernels),
        )
        return Attempt((), (), checks).kernel_notes()

    assert not notes(98.0, 99.0) and not notes(99.0, 60.0)
    (note,) = notes(81.0, 99.5)
    assert note.startswith("tflite int8: with XNNPACK it agrees with the Keras model to 81 %")


@pytest.mark.parametrize(("agreed", "told"), [((53.0, 60.0), True), ((53.0, 97.0), False), ((85.0,), False)])
def test_what_is_handed_over_far_from_keras_is_told(agreed, told):
    """An artifact that passes the gate and agrees to less than 80 % in each of its runtimes has a note that says so."""
    file = Artifact(Path("x.tflite"), "tflite", "int8", (), (), "one", 1, 1)
    checks = tuple(
        Check("tflite int8", runtime, "1", False, True, agreement_keras_percent=percent)
        for runtime, percent in zip(("litert", "tflite_runtime"), agreed, strict=False)
    )
    notes = Attempt((), deployables((file,)), checks).far_notes()
    assert bool(notes) == told
    assert not told or notes[0].startswith("tflite int8 agrees with the Keras model to 60 % only")
