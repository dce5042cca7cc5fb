"""Equalization, folded normalizations and bias correction: what a model computes stays, or comes back."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.compress import compress, parse_recipe
from edgewright.compress._channel_scales import pairs_of
from edgewright.compress._folded_normalization import folded
from edgewright.compress._weight_quantizer import kernels, quantized, summed_axes
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Task

LAYERS = keras.layers
EQUALIZE = "[[steps]]\ntechnique = 'cross_layer_equalization'\n"
CORRECT = "[[steps]]\ntechnique = 'bias_correction'\n"


def _data(model: keras.Model, seed: int, samples: int = 32) -> Dataset:
    random = np.random.default_rng(seed)
    inputs = {
        tensor.name: random.normal(size=(samples, *tensor.shape[1:])).astype("float32") for tensor in model.inputs
    }
    return Dataset(inputs, np.zeros(samples, int))


def _task(model: keras.Model, samples: int = 32) -> Task:
    return Task("any", _data(model, 1, samples), _data(model, 2), "sparse_categorical_crossentropy", ACCURACY)


def _model(shape: tuple[int, ...], *layers, seed: int = 0) -> keras.Model:
    """Return layers in a row with random weights, biases and statistics."""
    keras.utils.set_random_seed(seed)
    x = y = keras.Input(shape, name="x")
    for layer in layers:
        y = layer(y)
    return _shaken(keras.Model(x, y, name="model"), seed)


def _shaken(model: keras.Model, seed: int = 0) -> keras.Model:
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(random.uniform(0.3, 1.5, variable.shape))
    return model


def _outputs(model: keras.Model, task: Task) -> np.ndarray:
    return np.asarray(model(task.test.inputs["x"], training=False))


def _rounded(model: keras.Model, bits: int = 8) -> keras.Model:
    """Return a copy with the kernels as the exporters round them."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    axes = summed_axes(copy)
    for variable in kernels(copy)[0]:
        integers, scale = quantized(np.asarray(variable), axes[variable.path], bits)
        variable.assign(integers * scale)
    return copy


def _scaled_apart(model: keras.Model, first: str, second: str, seed: int = 0) -> None:
    """Let the channels between two layers have very different sizes, the model computing what it did."""
    one, other = model.get_layer(first), model.get_layer(second)
    scale = 10 ** np.random.default_rng(seed).uniform(-2, 2, one.kernel.shape[-1]).astype("float32")
    one.kernel.assign(one.kernel / scale)
    one.bias.assign(one.bias / scale)
    depthwise = isinstance(other, LAYERS.DepthwiseConv2D)
    other.kernel.assign(other.kernel * (scale[:, None]))
    assert not depthwise or other.kernel.shape[-1] == 1


ROWS = {
    "dense": lambda: ((6,), LAYERS.Dense(5, name="a"), LAYERS.Dense(4, "relu", name="b"), LAYERS.Dense(3, name="c")),
    "flattened": lambda: (
        (6, 6, 3),
        LAYERS.Conv2D(4, 3, name="a"),
        LAYERS.LeakyReLU(0.1),
        LAYERS.MaxPooling2D(),
        LAYERS.Flatten(),
        LAYERS.Dropout(0.5),
        LAYERS.Dense(3, name="b"),
    ),
    "depthwise": lambda: (
        (6, 6, 3),
        LAYERS.Conv2D(4, 1, activation="relu", name="a"),
        LAYERS.ZeroPadding2D(),
        LAYERS.DepthwiseConv2D(3, depth_multiplier=2, name="b"),
        LAYERS.Activation("relu"),
        LAYERS.Conv2D(5, 1, name="c"),
        LAYERS.GlobalAveragePooling2D(),
        LAYERS.Dense(3, "softmax", name="d"),
    ),
    "in one dimension": lambda: (
        (9, 3),
        LAYERS.Conv1D(4, 3, padding="causal", activation="relu", name="a"),
        LAYERS.DepthwiseConv1D(2, name="b"),
        LAYERS.PReLU(alpha_initializer=keras.initializers.Constant(0.3)),
        LAYERS.Conv1D(3, 2, name="c"),
    ),
}
NORMALIZED = {
    "dense": lambda: ((6,), LAYERS.Dense(5, name="a"), LAYERS.BatchNormalization(), LAYERS.Dense(3, name="b")),
    "convolutions": lambda: (
        (8, 8, 3),
        LAYERS.Conv2D(4, 3, use_bias=False, name="a"),
        LAYERS.BatchNormalization(scale=False),
        LAYERS.ReLU(),
        LAYERS.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="b"),
        LAYERS.BatchNormalization(center=False, epsilon=0.1),
        LAYERS.ReLU(6),
        LAYERS.Conv2D(5, 1, name="c"),
        LAYERS.BatchNormalization(),
    ),
    "in one dimension": lambda: (
        (9, 3),
        LAYERS.Conv1D(4, 3, use_bias=False, name="a"),
        LAYERS.BatchNormalization(),
        LAYERS.DepthwiseConv1D(2, name="b"),
        LAYERS.BatchNormalization(),
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_channels_are_scaled_and_nothing_else_changes(case):
    """The largest weights of each channel are the same before and after it, and the outputs are what they were."""
    model = _model(*ROWS[case]())
    task = _task(model)
    before = [np.array(variable) for variable in model.weights]
    made = compress(model, task, parse_recipe(EQUALIZE))
    wanted = _outputs(model, task)
    np.testing.assert_allclose(_outputs(made.model, task), wanted, atol=1e-5 * np.abs(wanted).max())
    names = [layer.name for layer in made.model.layers if layer.name in "abcd"]
    assert [row.path for row in made.report if row.applied] == [f"{name}/kernel" for name in names]
    for pair in pairs_of(made.model)[0]:
        one = np.abs(np.asarray(pair.first.kernel)).reshape(-1, *pair.first.kernel.shape[-2:])
        depthwise = "Depthwise" in type(pair.first).__name__
        one = one.max(axis=0).reshape(-1) if depthwise else one.max(axis=(0, 1))
        other = np.asarray(pair.second.kernel)
        other = np.abs(other.reshape(-1, len(one), other.shape[-1])).max(axis=(0, 2))
        np.testing.assert_allclose(one, other, rtol=0.01)
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@given(st.integers(0, 2**16))
@settings(max_examples=4)
def test_int8_weights_recover_from_channels_that_were_scaled_apart(seed):
    """A net whose channels differ by up to four orders of magnitude loses much less by rounding once equalized."""
    model = _model(
        (8,), LAYERS.Dense(16, "relu", name="a"), LAYERS.Dense(16, "relu", name="b"), LAYERS.Dense(4), seed=seed
    )
    _scaled_apart(model, "a", "b", seed)
    task = _task(model)
    made = compress(model, task, parse_recipe(EQUALIZE))
    wanted = _outputs(model, task)
    plain, ours = (float(np.abs(_outputs(_rounded(each), task) - wanted).max()) for each in (model, made.model))
    assert ours < 0.7 * plain


@pytest.mark.parametrize("case", NORMALIZED)
def test_normalizations_are_folded(case):
    """A normalization after a product becomes a part of it, and a plain Keras model computes the same without it."""
    model = _model(*NORMALIZED[case]())
    made, reasons = folded(model)
    assert not reasons
    assert not any(isinstance(layer, LAYERS.BatchNormalization) for layer in made.layers)
    x = _data(model, 3).inputs["x"]
    wanted = np.asarray(model(x, training=False))
    np.testing.assert_allclose(np.asarray(made(x)), wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_normalization_that_cannot_be_folded_stays_with_the_reason():
    """After an activation, a sum or a product that something else reads, and where a kernel is held, it stays."""
    x = keras.Input((6,), name="x")
    one = LAYERS.Dense(6, "relu", name="one")(x)
    two = LAYERS.Dense(6, name="two")(LAYERS.BatchNormalization(name="after_relu")(one))
    three = LAYERS.BatchNormalization(name="shared")(two)
    four = LAYERS.BatchNormalization(name="after_add")(LAYERS.Add()([two, three]))
    five = LAYERS.BatchNormalization(name="held")(LAYERS.Dense(3, name="five")(four))
    model = keras.Model(x, five)
    made, reasons = folded(model, {"five/kernel"})
    assert made is model
    assert "activation" in reasons["after_relu"]
    assert "only one" in reasons["shared"]
    assert "Add" in reasons["after_add"]
    assert "held" in reasons["held"]


def test_models_within_models_are_folded_and_equalized():
    """A sequential model inside of a functional one is looked into, and its outputs stay what they were."""
    inner = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            LAYERS.Conv2D(4, 3, use_bias=False, name="a"),
            LAYERS.BatchNormalization(name="norm"),
            LAYERS.ReLU(),
            LAYERS.DepthwiseConv2D(3, name="b"),
        ],
        name="inner",
    )
    model = _model((6, 6, 3), inner, LAYERS.Flatten(), LAYERS.Dense(3, name="c"))
    task = _task(model)
    made = compress(model, task, parse_recipe(EQUALIZE))
    wanted = _outputs(model, task)
    np.testing.assert_allclose(_outputs(made.model, task), wanted, atol=1e-5 * np.abs(wanted).max())
    assert len([row for row in made.report if row.applied]) == 2
    assert not any(isinstance(layer, LAYERS.BatchNormalization) for layer in made.model.get_layer("inner").layers)


def test_what_cannot_be_scaled_is_skipped_with_the_reason():
    """ReLU6, tanh, a residual sum, an output and a shared layer stop a scale; each is told at its kernel."""
    x = keras.Input((6,), name="x")
    cut = LAYERS.ReLU(6)(LAYERS.Dense(6, name="cut")(x))
    bent = LAYERS.Dense(6, "tanh", name="bent")(cut)
    twice = LAYERS.Dense(6, name="twice")(bent)
    added = LAYERS.Add()([twice, bent])
    shared = LAYERS.Dense(6, name="shared")
    y = LAYERS.Dense(6, name="before")(shared(shared(added)))
    model = keras.Model(x, [LAYERS.Dense(3, name="last")(y), y])
    reasons = pairs_of(model)[1]
    assert not pairs_of(model)[0]
    for name, reason in {
        "cut": "cut off at 6",
        "bent": "tanh",
        "twice": "Add",
        "shared": "more than once",
        "before": "read 2 times",
        "last": "leaves the model",
    }.items():
        assert reason in reasons[f"{name}/kernel"], name
    task = Task("any", _data(model, 1), _data(model, 1), None, ACCURACY)
    made = compress(model, task, parse_recipe(EQUALIZE))
    assert not any(row.applied for row in made.report) and "No two layers" in made.notes[-1]


def test_a_mask_is_scaled_and_a_codebook_is_not():
    """Pruned zeros do not mind a scale; a clustered kernel keeps its values and says so."""
    model = _model(
        (8,), LAYERS.Dense(16, "relu", name="a"), LAYERS.Dense(16, "relu", name="b"), LAYERS.Dense(4, name="c")
    )
    task = _task(model, 8)
    for step, scaled in (("magnitude_pruning'\nsparsity = 0.5", True), ("clustering'\nclusters = 8", False)):
        text = f"[[steps]]\ntechnique = '{step}\nscope = 'a/kernel'\nepochs = 0\n" + EQUALIZE
        row = compress(model, task, parse_recipe(text)).report[0]
        assert ("cross_layer_equalization" in row.applied) == scaled
        assert row.sparsity >= 0.5 if scaled else row.values <= 8


@pytest.mark.parametrize("bits", [4, 8])
def test_the_mean_of_rounded_outputs_comes_back(bits):
    """With the kernels rounded, the mean of the outputs is the float model's, through folded normalizations too."""
    model = _model(*NORMALIZED["convolutions"](), LAYERS.GlobalAveragePooling2D(), LAYERS.Dense(3, name="d"))
    model.get_layer("c").bias.assign(np.full(5, 2.0))
    task = Task("any", _data(model, 1), _data(model, 1), None, ACCURACY)
    made = compress(model, task, parse_recipe(CORRECT + f"bits = {bits}\ngroup_size = 0\n"))
    wanted = _outputs(model, task).mean(axis=0)
    plain = _outputs(_rounded(folded(model)[0], bits), task).mean(axis=0)
    ours = _outputs(_rounded(made.model, bits), task).mean(axis=0)
    assert np.abs(ours - wanted).max() < 1e-4 * np.abs(wanted).max() < 0.1 * np.abs(plain - wanted).max()
    assert [row.path for row in made.report if row.applied] == [f"{name}/bias" for name in "abcd"]


def test_biases_in_loops_and_missing_ones_are_skipped_with_the_reason():
    """A recurrent kernel is multiplied many times and a layer without a bias has none: both are told."""
    model = _model(
        (5, 4), LAYERS.LSTM(3, name="loop"), LAYERS.Dense(4, use_bias=False, name="bare"), LAYERS.Dense(2, name="d")
    )
    made = compress(model, _task(model), parse_recipe(CORRECT))
    rows = {row.path: row for row in made.report}
    assert "several times" in rows["loop/lstm_cell/kernel"].skipped[0]
    assert "no bias" in rows["bare/kernel"].skipped[0]
    assert [path for path, row in rows.items() if row.applied] == ["d/bias"]


def test_attention_biases_are_corrected():
    """The biases of attention are added in the shape of its heads, and take the correction in it."""
    x = keras.Input((5, 12), name="x")
    keras.utils.set_random_seed(0)
    y = LAYERS.MultiHeadAttention(2, 6, name="attention")(x, x)
    model = _shaken(keras.Model(x, y))
    task = Task("any", _data(model, 1), _data(model, 1), None, ACCURACY)
    made = compress(model, task, parse_recipe(CORRECT + "bits = 4\ngroup_size = 0\n"))
    assert len([row for row in made.report if row.applied]) == 4
    wanted, plain, ours = (
        _outputs(each, task).mean(axis=(0, 1)) for each in (model, _rounded(model, 4), _rounded(made.model, 4))
    )
    assert np.abs(ours - wanted).max() < 0.1 * np.abs(plain - wanted).max()


def test_samples_are_asked_for_where_they_are_needed():
    """Equalization takes no data; correction without any is told."""
    model = _model(*ROWS["dense"]())
    nothing = Dataset({"x": np.zeros((0, 6), "float32")}, np.zeros(0, int))
    task = Task("none", nothing, nothing, None, ACCURACY)
    assert any(row.applied for row in compress(model, task, parse_recipe(EQUALIZE)).report)
    with pytest.raises(InputError, match="Got: none"):
        compress(model, task, parse_recipe(CORRECT))


def test_what_was_rounded_before_is_corrected_towards_what_it_was():
    """After weight rounding the means are brought back to those of the model before it, the kernels as rounded."""
    model = _model((8,), LAYERS.Dense(16, "relu", name="a"), LAYERS.Dense(4, name="b"))
    task = Task("any", _data(model, 1, 16), _data(model, 1, 16), None, ACCURACY)
    rounding = "[[steps]]\ntechnique = 'weight_rounding'\nbits = 4\ngroup_size = 0\n"
    plain = compress(model, task, parse_recipe(rounding)).model
    ours = compress(model, task, parse_recipe(rounding + CORRECT + "bits = 4\ngroup_size = 0\n")).model
    for name in "ab":
        np.testing.assert_array_equal(plain.get_layer(name).kernel, ours.get_layer(name).kernel)
    wanted, before, after = (_outputs(each, task).mean(axis=0) for each in (model, plain, ours))
    assert np.abs(after - wanted).max() < 1e-4 < 0.1 * np.abs(before - wanted).max()
