"""train/_float32.py: models of half precision are built anew in float32, and compressed as such."""

import keras
import numpy as np
import pytest

import edgewright
from edgewright.compress import parse_recipe
from edgewright.errors import InputError
from edgewright.train._float32 import in_float32

from ._removal_models import Mixing

layers = keras.layers
POLICIES = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "float64")


def _model(policy: str) -> keras.Model:
    """A model with a frozen model within it, a custom layer, attention and a wrapped recurrent layer."""
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        features = keras.Input((6, 8))
        frozen = keras.Model(features, layers.Dense(8, activation="relu")(layers.LayerNormalization()(features)))
        frozen.trainable = False
        features, tokens = keras.Input((6, 8), name="features"), keras.Input((6,), dtype="int32", name="tokens")
        x = frozen(features) + layers.Embedding(9, 8)(tokens)
        x = Mixing()(layers.MultiHeadAttention(2, 4)(x, x))
        x = layers.Bidirectional(layers.LSTM(5, recurrent_initializer="glorot_uniform"))(x)
        x = layers.Dense(8, activation="relu", name="hidden")(x)
        return keras.Model([features, tokens], layers.Dense(3, name="classes")(x))
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_model_of_another_precision_is_built_anew_in_float32(policy):
    """Every layer and output is in float32 then, weights and frozen layers are the same, and a note says so."""
    model = _model(policy)
    made, (note,) = in_float32(model)
    assert {layer.dtype_policy.name for layer in made._flatten_layers()} == {"float32"}
    assert {str(each.dtype) for each in (*made.weights, *made.outputs)} == {"float32"}
    for new, old in zip(made.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(new), np.asarray(old).astype("float32"))
    assert len(made.trainable_weights) == len(model.trainable_weights) < len(model.weights)
    assert f"computes in {policy}" in note
    assert in_float32(made) == (made, ())


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float64"])
def test_a_model_of_another_precision_is_pruned_rounded_and_trained(policy):
    """Steps that look for float32 values do something to it, without labels."""
    random = np.random.default_rng(0)
    data = {"features": random.normal(size=(64, 6, 8)).astype("float32"), "tokens": random.integers(0, 9, (64, 6))}
    pruning = "[[steps]]\ntechnique='structured_pruning'\nshare=0.3\nscope='hidden'\nepochs=1\n"
    for rounding, further in (("weight_rounding", ""), ("quantization_aware_training", "epochs=1")):
        recipe = parse_recipe(f"{pruning}[[steps]]\ntechnique='{rounding}'\n{further}\n")
        made = edgewright.compress(_model(policy), data, recipe)
        assert [each for each in made.report if rounding in each.applied], rounding
        assert any(policy in note for note in made.notes)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_model_that_keras_has_quantized_is_refused(mode):
    """Its kernels are no real numbers to compress: the layers are told, how they are quantized, and what to give."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="first")], name="small")
    model.quantize(mode)
    with pytest.raises(
        InputError, match=rf"Got: small, of which Keras has quantized small/first \({mode}\).*before model"
    ):
        edgewright.compress(model, recipe="float16")
