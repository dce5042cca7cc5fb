"""Weight rounding: held-out outputs are nearer than by rounding to nearest, and files keep the values."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright import export
from edgewright.compress import _kernel_products, compress, load_recipe, parse_recipe
from edgewright.compress._kernel_products import find_products, gram_matrices, in_parts
from edgewright.compress._product_layouts import Layout
from edgewright.compress._rounding_methods import Matrices, adaround, gptq
from edgewright.compress._weight_grid import grid_of, rounded_as_exported, sets_of
from edgewright.compress._weight_quantizer import quantized, summed_axes
from edgewright.errors import InputError
from edgewright.export._onnx_weights import _quantized_in_groups
from edgewright.train import ACCURACY, Dataset, Task

LAYERS = keras.layers
SAMPLES = 256


def _step(technique: str = "weight_rounding", **parameters) -> str:
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in parameters.items()
    ]
    return "\n".join(["[[steps]]", f"technique = {technique!r}", *lines, ""])


def _correlated(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return samples as activations are: features that go together, most of them positive."""
    mix = np.random.default_rng(0).normal(size=(shape[-1], shape[-1])) / np.sqrt(shape[-1])
    return np.maximum(np.random.default_rng(seed).normal(size=shape) @ mix + 0.3, 0).astype("float32")


def _task(model: keras.Model, samples: int = SAMPLES) -> Task:
    def data(seed: int) -> Dataset:
        return Dataset(
            {tensor.name: _correlated((samples, *tensor.shape[1:]), seed) for tensor in model.inputs},
            np.zeros(samples, int),
        )

    return Task("any", data(1), data(2), "sparse_categorical_crossentropy", ACCURACY)


def _model(shape: tuple[int, ...], *layers) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = y = keras.Input(shape, name="x")
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y, name="model")


def _nearest(model: keras.Model, bits: int) -> keras.Model:
    """Return a copy with the kernels as the exporters round them."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    axes = summed_axes(copy)
    for variable in copy.trainable_variables:
        if variable.path.endswith("kernel"):
            integers, scale = quantized(np.asarray(variable), axes[variable.path], bits)
            variable.assign(integers * scale)
    return copy


class Odd(LAYERS.Layer):
    """Multiplies by one kernel squared, by one from both sides, and by one as anybody would."""

    def build(self, shape):
        """Make the kernels."""
        for name in ("squared", "both", "plain"):
            setattr(self, name, self.add_weight(shape=(shape[-1], shape[-1]), name=f"{name}_kernel"))

    def call(self, x):
        """Return the sum of the products."""
        ops = keras.ops
        return x @ (self.squared**2) + (x @ self.both) @ ops.transpose(self.both) + ops.dot(x, self.plain)


CASES = {
    "dense": lambda: _model((24,), LAYERS.Dense(12)),
    "dense over a sequence": lambda: _model((5, 16), LAYERS.Dense(12)),
    "convolution": lambda: _model((7, 6, 5), LAYERS.Conv2D(8, 3, strides=2, padding="same")),
    "dilated convolution": lambda: _model((7, 6, 5), LAYERS.Conv2D(8, 2, dilation_rate=2)),
    "causal convolution": lambda: _model((9, 6), LAYERS.Conv1D(8, 3, padding="causal")),
    "depthwise": lambda: _model((7, 6, 5), LAYERS.DepthwiseConv2D(3, depth_multiplier=2)),
    "separable": lambda: _model((7, 6, 5), LAYERS.SeparableConv2D(8, 3)),
    "einsum": lambda: _model((4, 16), LAYERS.EinsumDense("abc,cde->abde", (None, 3, 4))),
    "einsum for each head": lambda: _model((4, 3, 8), LAYERS.EinsumDense("abhc,hcd->abhd", (None, 3, 6))),
    "loop": lambda: _model((6, 12), LAYERS.LSTM(10)),
    "unrolled": lambda: _model((6, 12), LAYERS.GRU(10, unroll=True)),
}


@pytest.mark.parametrize("method", ["gptq", "adaround"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_nearer_than_by_rounding_to_nearest(case, method):
    """With 4 bits the outputs on held-out samples have less error, whatever the layer, also inside of a loop."""
    model = CASES[case]()
    task = _task(model)
    made = compress(model, task, parse_recipe(_step(bits=4, group_size=0, method=method, steps=200)))
    wanted = np.asarray(model(task.test.inputs["x"]))
    ours, theirs = (
        float(np.mean((np.asarray(each(task.test.inputs["x"])) - wanted) ** 2))
        for each in (made.model, _nearest(model, 4))
    )
    kernels = [row for row in made.report if row.path.endswith("kernel")]
    assert all(row.applied and not row.skipped for row in kernels) and ours > 0
    assert ours < (1.0 if case == "depthwise" else 0.95) * theirs


def test_attention_is_rounded_and_told_by_variable():
    """All kernels of multi-head attention are rounded to 8 bits; the note names each with its gain."""
    x = keras.Input((5, 12), name="x")
    keras.utils.set_random_seed(0)
    model = keras.Model(x, LAYERS.MultiHeadAttention(2, 6, name="attention")(x, x), name="model")
    made = compress(model, _task(model), parse_recipe(_step()))
    applied = [row.path for row in made.report if row.applied]
    assert len(applied) == 4 and all(path in made.notes[0] for path in applied)
    assert {row.values <= 255 * row.shape[-1] * row.shape[-2] for row in made.report if row.applied} == {True}


@given(st.integers(0, 2**16), st.sampled_from([4, 8]), st.booleans(), st.integers(2, 20), st.integers(1, 6))
@settings(max_examples=30)
def test_what_files_hold_is_what_was_chosen(seed, bits, search, inputs, outputs):
    """Quantizing the result again by the exporters' rule changes nothing: each channel keeps an end of the grid."""
    random = np.random.default_rng(seed)
    values = random.standard_t(3, size=(1, inputs, outputs)) * np.geomspace(1, 1e-4, outputs)
    rows = random.normal(size=(60, inputs)) @ random.normal(size=(inputs, inputs))
    layout = Layout(np.arange(values.size).reshape(values.shape), lambda operation: operation)
    sets = sets_of(layout, bits)
    grid = grid_of(values.reshape(-1), sets, bits, search=search)
    held = np.where(grid.ends, np.where(values.reshape(-1) < 0, -grid.largest, grid.largest), np.nan)
    matrices = Matrices(
        values, grid.scale.reshape(values.shape), held.reshape(values.shape), (rows.T @ rows / 60)[None], grid.largest
    )
    for integers in (gptq(matrices), adaround(matrices, 30)):
        kernel = (integers * matrices.scale)[0].astype("float32")
        again, scale = quantized(kernel, (0,), bits)
        np.testing.assert_array_equal(again, integers[0])
        np.testing.assert_allclose(again * scale, kernel, rtol=1e-6)
        np.testing.assert_allclose(rounded_as_exported(kernel, layout, bits), kernel, rtol=1e-6)


@pytest.mark.parametrize("case", ["dense", "convolution"])
def test_groups_are_those_of_the_files(case):
    """With 4 bits in groups, what ONNX stores of the rounded kernel is the kernel, in its own order of the axes."""
    model = {
        "dense": lambda: _model((40,), LAYERS.Dense(6)),
        "convolution": lambda: _model((6, 6, 9), LAYERS.Conv2D(5, 3)),
    }[case]()
    made = compress(model, _task(model, 64), parse_recipe(_step(bits=4, group_size=16)))
    kernel = np.asarray(made.model.layers[-1].kernel)
    stored = kernel if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)
    axis = 0 if kernel.ndim == 2 else 1
    integers, scales = _quantized_in_groups(stored, axis, 16)
    repeated = np.repeat(scales, 16, axis)[: stored.shape[0], : stored.shape[1]]
    np.testing.assert_allclose(integers * repeated, stored, rtol=1e-6, atol=0)
    assert scales.size == stored.shape[1 - axis] * -(-stored.shape[axis] // 16)


def test_pruned_zeros_stay_and_a_codebook_is_left_alone():
    """Zeros of an earlier pruning are zeros afterwards; a clustered kernel is skipped with the reason."""
    model = _model((24,), LAYERS.Dense(16, name="pruned"), LAYERS.Dense(16, name="clustered"))
    recipe = (
        _step("magnitude_pruning", sparsity=0.5, scope="pruned", epochs=0)
        + _step("clustering", clusters=8, scope="clustered", epochs=0)
        + _step(bits=4, group_size=0)
    )
    made = compress(model, _task(model), parse_recipe(recipe))
    rows = {row.path: row for row in made.report}
    assert rows["pruned/kernel"].sparsity >= 0.5 and "weight_rounding" in rows["pruned/kernel"].applied
    assert rows["clustered/kernel"].values <= 8
    assert any("held to values" in reason for reason in rows["clustered/kernel"].skipped)


def test_what_is_no_plain_product_is_skipped_with_the_reason():
    """A kernel that is squared or used from both sides keeps its values; the plain one beside them is rounded."""
    model = _model((8,), Odd(name="odd"))
    made = compress(model, _task(model, 32), parse_recipe(_step()))
    rows = {row.path: row for row in made.report}
    assert "is no product" in rows["odd/squared_kernel"].skipped[0]
    assert "along several" in rows["odd/both_kernel"].skipped[0]
    assert [path for path, row in rows.items() if row.applied] == ["odd/plain_kernel"]
    for name in ("squared", "both"):
        np.testing.assert_array_equal(getattr(made.model.layers[-1], name), getattr(model.layers[-1], name))


class Turned(LAYERS.Layer):
    """Multiplies by a kernel of ``[outputs, inputs]``, as PyTorch keeps it."""

    def build(self, shape):
        """Make the kernel."""
        self.turned = self.add_weight(shape=(5, shape[-1]), name="kernel")

    def call(self, x):
        """Return the product."""
        return keras.ops.matmul(x, keras.ops.transpose(self.turned))


def test_a_custom_kernel_is_rounded_as_it_is_multiplied():
    """Where a layer transposes its kernel, scales belong to what are then its output channels, as in the files."""
    model = _model((12,), Turned(name="turned"))
    task = _task(model)
    made = compress(model, task, parse_recipe(_step(bits=4, group_size=0)))
    kernel = np.asarray(made.model.layers[-1].turned)
    integers, scale = quantized(kernel, (1,), 4)
    np.testing.assert_allclose(integers * scale, kernel, rtol=1e-6)
    integers, scale = quantized(np.asarray(model.layers[-1].turned), (1,), 4)
    x = task.test.inputs["x"]
    ours, theirs = (
        np.mean((x @ (np.asarray(model.layers[-1].turned) - each).T) ** 2) for each in (kernel, integers * scale)
    )
    assert made.report[0].applied and ours < 0.8 * theirs


def test_large_inputs_are_taken_in_parts(monkeypatch):
    """Batches whose patches would be too large are split, and the means are the same."""
    model = _model((8, 8, 3), LAYERS.Conv2D(4, 3, name="one"))
    products, _ = find_products(model, [model.layers[-1].kernel])
    assert products[0].elements == 6 * 6 * 27
    batches = [{"x": _correlated((5, 8, 8, 3), 1)}]
    whole = gram_matrices(model, lambda: batches, products)["one/kernel"]
    monkeypatch.setattr(_kernel_products, "_MULTIPLIED", 2 * products[0].elements)
    np.testing.assert_allclose(gram_matrices(model, lambda: batches, products)["one/kernel"], whole, rtol=1e-5)


def test_gram_matrices_are_those_of_the_inputs():
    """What is collected over the batches is the mean of x x' of what the layers are given; parts hold all products."""
    model = _model((10,), LAYERS.Dense(6, activation="relu", name="one"), LAYERS.Dense(4, name="two"))
    kernels = [layer.kernel for layer in model.layers[1:]]
    products, reasons = find_products(model, kernels)
    batches = [{"x": _correlated((7, 10), 1)}, {"x": _correlated((5, 10), 2)}]
    grams = gram_matrices(model, lambda: batches, products)
    x = np.concatenate([batch["x"] for batch in batches])
    hidden = np.asarray(model.layers[1](x))
    assert not reasons and [product.path for product in products] == ["one/kernel", "two/kernel"]
    for path, rows in (("one/kernel", x), ("two/kernel", hidden)):
        np.testing.assert_allclose(grams[path][0], rows.T @ rows / 12, rtol=1e-4, atol=1e-6)
    assert [product for part in in_parts(products) for product in part] == products
    assert [product.elements for product in products] == [10, 6]


def test_bad_input_is_told():
    """No samples, a scope that matches nothing, and inputs that are all zero are each told."""
    model = _model((8,), LAYERS.Dense(4, name="only"))
    task = _task(model, 8)
    nothing = Dataset({"x": np.zeros((0, 8), "float32")}, np.zeros(0, int))
    with pytest.raises(InputError, match="Got: none"):
        compress(model, Task("none", nothing, nothing, task.loss, ACCURACY), parse_recipe(_step()))
    with pytest.raises(InputError, match="absent"):
        compress(model, task, parse_recipe(_step(scope="absent")))
    zeros = Dataset({"x": np.zeros((8, 8), "float32")}, np.zeros(8, int))
    made = compress(model, Task("zeros", zeros, zeros, task.loss, ACCURACY), parse_recipe(_step()))
    assert "zeros" in made.report[0].skipped[0] and not made.report[0].applied
    with pytest.raises(InputError, match="group_size"):
        parse_recipe(_step(group_size=7))


def test_the_exported_file_holds_the_integers_that_were_chosen(tmp_path):
    """Every kernel's integers stand in the int8 TFLite file as they were rounded, none rounded again."""
    model = _model(
        (6, 6, 4),
        LAYERS.Conv2D(8, 3, activation="relu"),
        LAYERS.DepthwiseConv2D(2, activation="relu"),
        LAYERS.Flatten(),
        LAYERS.Dense(5, "softmax"),
    )
    task = _task(model, 32)
    made = compress(model, task, parse_recipe(_step() + _step("static_int8", calibration="min_max")))
    bundle = export(made, tmp_path / "bundle", formats=("tflite",))
    (file,) = (each.path for each in bundle.artifacts if each.precision == "int8")
    interpreter = tf.lite.Interpreter(str(file))
    stored = [
        np.sort(interpreter.get_tensor(each["index"]), axis=None)
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.int8 and len(each["quantization_parameters"]["scales"]) > 1
    ]
    axes = summed_axes(made.model)
    kernels = [variable for variable in made.model.trainable_variables if variable.path.endswith("kernel")]
    assert len(kernels) == 3
    for variable, before in zip(
        kernels, [each for each in model.trainable_variables if each.path.endswith("kernel")], strict=True
    ):
        chosen, nearest = (
            np.sort(quantized(np.asarray(each), axes[variable.path])[0], axis=None) for each in (variable, before)
        )
        assert any(np.array_equal(chosen, each) for each in stored)
        assert not np.array_equal(nearest, chosen) or "depthwise" in variable.path


@pytest.mark.parametrize(("name", "last"), [("int8-rounded", "static_int8"), ("int4-rounded", "weight_only_int4")])
def test_the_shipped_recipes_take_samples_alone(name, last):
    """The recipes for calibration data only equalize, round and correct before the precision, and train nothing."""
    recipe = load_recipe(name)
    assert [step.technique for step in recipe.steps] == [
        "cross_layer_equalization",
        "weight_rounding",
        "bias_correction",
        last,
    ]
    assert not any(hasattr(step.parameters, "epochs") for step in recipe.steps)


def test_later_training_leaves_the_kernels_on_their_grid():
    """Biases are trained and kernels may move, but only from one value of the grid to another; its ends stay."""
    model = _model((12,), LAYERS.Dense(8, "relu", name="one"), LAYERS.Dense(4, "softmax", name="two"))
    task = _task(model, 64)
    train = "[[steps]]\ntechnique = 'clustering'\nscope = 'two'\nclusters = 4\nlearning_rate = 0.02\nepochs = 3\n"
    rounding = _step(bits=4, group_size=0, scope="one/kernel")
    alone = compress(model, task, parse_recipe(rounding)).model.get_layer("one")
    trained = compress(model, task, parse_recipe(rounding + train)).model.get_layer("one")
    (one, scale), (other, same) = (quantized(np.asarray(layer.kernel), (0,), 4) for layer in (alone, trained))
    np.testing.assert_allclose(scale, same, rtol=1e-6)
    np.testing.assert_allclose(other * same, trained.kernel, atol=1e-6)
    assert (one != other).any() and not np.array_equal(alone.bias, trained.bias)


@pytest.mark.parametrize("technique", ["weight_rounding", "bias_correction", "cross_layer_equalization"])
def test_a_sequential_model_is_taken(technique):
    """A Sequential model that nothing has called is traced, run and rounded like a functional one."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,), name="x"), layers.Dense(8, activation="relu"), layers.Dense(3)])
    data = Dataset({"x": np.random.default_rng(0).normal(size=(32, 6)).astype("float32")})
    made = compress(model, Task("none", data, data, None, None), parse_recipe(f"[[steps]]\ntechnique='{technique}'"))
    assert any(variable.applied for variable in made.report)


@pytest.mark.parametrize("method", ["gptq", "adaround"])
def test_activations_whose_squares_float32_does_not_hold_are_none(method):
    """Inputs around 1e-18 say nothing of how to round: a kernel behind them is left alone, and the rest is rounded."""
    x = keras.Input((4, 4, 8), name="x")
    tiny = LAYERS.Dense(96, name="tiny")(LAYERS.Rescaling(1e-18)(LAYERS.Flatten()(x)))
    tiny = LAYERS.Dense(2, name="behind")(tiny)
    mixed = LAYERS.Rescaling([1e-19] * 4 + [1.0] * 4)(x)
    mixed = LAYERS.Flatten()(LAYERS.DepthwiseConv2D(3, depth_multiplier=4, name="mixed")(mixed))
    model = keras.Model(x, LAYERS.Softmax()(tiny + LAYERS.Dense(2, name="end")(mixed)))
    made = compress(model, _task(model), parse_recipe(_step(method=method)))
    rows = {row.path: row for row in made.report if row.path.endswith("kernel")}
    assert {path for path, row in rows.items() if row.applied} == {"mixed/kernel", "end/kernel"}
    assert "multiplied by nothing" in rows["tiny/kernel"].skipped[0]
    assert all(np.isfinite(np.asarray(weight)).all() for weight in made.model.weights)
