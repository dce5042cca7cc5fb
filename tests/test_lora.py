"""train/_lora.py: models with low-rank adapters are compressed with these merged into their kernels."""

import keras
import numpy as np
import pytest

import edgewright
from edgewright.compress import parse_recipe
from edgewright.train._lora import without_lora

layers = keras.layers
RECIPES = {
    "low rank": "[[steps]]\ntechnique = 'low_rank'\nshare = 0.8\nepochs = 0\n",
    "rounded": "[[steps]]\ntechnique = 'cross_layer_equalization'\n[[steps]]\ntechnique = 'weight_rounding'\n",
    "pruned and trained": (
        "[[steps]]\ntechnique = 'magnitude_pruning'\nsparsity = 0.5\nepochs = 1\n"
        "[[steps]]\ntechnique = 'quantization_aware_training'\nepochs = 1\n"
    ),
}


def _model() -> keras.Model:
    """A model with adapters in an embedding, a dense layer, and within attention."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(9, 8, name="embedding")(tokens)
    x = x + layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.Dense(8, activation="relu", name="hidden", trainable=False)(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(tokens, layers.Dense(3, name="classes")(x))
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Embedding | layers.Dense | layers.EinsumDense):
            layer.enable_lora(2)
            given = layer.lora_embeddings_b if isinstance(layer, layers.Embedding) else layer.lora_kernel_b
            given.assign(np.random.default_rng(1).normal(size=given.shape, scale=0.5))
    return model


def _tokens(samples: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, (samples, 6)).astype("int32")


def test_adapters_are_merged_into_the_kernels():
    """The model computes the same with plain variables, frozen layers stay frozen, and a note names the layers."""
    model = _model()
    made, (note,) = without_lora(model)
    assert not any("lora" in variable.path for variable in made.weights)
    assert not made.get_layer("hidden").trainable
    np.testing.assert_allclose(made(_tokens()), model(_tokens()), rtol=1e-4, atol=1e-5)
    assert note.startswith("the low-rank adapters (LoRA) of embedding, ")
    assert without_lora(made) == (made, ())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_with_adapters_is_compressed(recipe):
    """Whatever a step changes, it changes the sum of a kernel and its adapter, and the model that came in stays."""
    model = _model()
    before = np.array(model(_tokens()))
    made = edgewright.compress(model, {"tokens": _tokens()}, parse_recipe(RECIPES[recipe]))
    assert "embedding/embeddings" in {row.path for row in made.report}
    assert "LoRA" in made.notes[0]
    np.testing.assert_array_equal(model(_tokens()), before)
