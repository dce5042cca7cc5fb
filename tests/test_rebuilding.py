"""train/_rebuilding.py: models whose layers call functions of the user's, copied by the recipes that change weights."""

import keras
import numpy as np
import pytest

import edgewright
from edgewright.compress import parse_recipe
from edgewright.errors import InputError

PRUNING = "name = 'small'\n[[steps]]\ntechnique = 'magnitude_pruning'\nsparsity = 0.5\nepochs = 1"
LOW_RANK = "name = 'small'\n[[steps]]\ntechnique = 'low_rank'\nenergy = 0.5\nepochs = 0\ncalibration = 0"


def doubled(values):
    """Return them twice as large."""
    return values * 2


def _model(function, activation=None, dtype="float32"):
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    hidden = keras.layers.Lambda(function, name="own", dtype=dtype)(keras.layers.Dense(16, activation)(x))
    return keras.Model(x, keras.layers.Dense(4)(hidden))


def _compressed(model, recipe):
    samples = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    return edgewright.compress(model, samples, parse_recipe(recipe))


@pytest.mark.parametrize("recipe", [PRUNING, LOW_RANK], ids=["pruning", "low rank"])
def test_functions_with_a_name_are_copied(recipe):
    """A Lambda layer and an activation that call a function of one's own still do so in what is compressed."""
    made = _compressed(_model(doubled, activation=doubled), recipe)
    assert made.model is not made.original
    called = [getattr(layer, "function", None) or getattr(layer, "activation", None) for layer in made.model.layers]
    assert called.count(doubled) == 2


def test_a_model_in_half_precision_with_a_function_is_built_anew():
    """What is built in float32 calls the functions that it called before."""
    made = _compressed(_model(doubled, dtype="mixed_float16"), PRUNING)
    assert any("built anew in float32" in note for note in made.notes)


@pytest.mark.parametrize("recipe", [PRUNING, LOW_RANK], ids=["pruning", "low rank"])
def test_a_lambda_expression_is_refused_with_what_to_do(recipe):
    """Keras cannot copy a function without a name: the layer is told, and not how to weaken Keras' checks."""
    with pytest.raises(InputError, match="own calls a lambda expression.*function with a name.*int8") as raised:
        _compressed(_model(lambda values: values * 2), recipe)
    assert "unsafe" not in str(raised.value)


def test_functions_of_the_same_name_are_not_taken_for_each_other():
    """Two functions of one name, which Keras cannot tell apart in a copy, are refused."""

    def tripled(values):
        return values * 3

    tripled.__name__ = doubled.__name__
    with pytest.raises(InputError, match="Expected a model whose layers Keras can copy"):
        _compressed(_model(doubled, activation=tripled), PRUNING)
