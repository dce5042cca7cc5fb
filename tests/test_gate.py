"""The gate in front of a bundle: which layer goes wrong, and kernels that disagree."""

import keras
import numpy as np

from edgewright.compress._activations import Activations
from edgewright.localising import first_wrong_layer


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
