"""Low-rank factorisation: two layers that compute what one did, up to what was dropped."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.compress import compress, parse_recipe
from edgewright.compress._factors import Outputs
from edgewright.errors import InputError
from edgewright.train import MEAN_ABSOLUTE_ERROR, Dataset, Task

BATCH = 40


def _step(technique: str = "low_rank", **parameters) -> str:
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    return "\n".join(["[[steps]]", f"technique = {technique!r}", *lines, ""])


def _task(model: keras.Model, seed: int = 0) -> Task:
    random = np.random.default_rng(seed)
    inputs = {tensor.name: random.normal(size=(BATCH, *tensor.shape[1:])).astype("float32") for tensor in model.inputs}
    data = Dataset(inputs, np.asarray(model(list(inputs.values())[0] if len(inputs) == 1 else inputs)))
    return Task("imitation", data, data, "mean_squared_error", MEAN_ABSOLUTE_ERROR)


def _low_rank_kernel(layer, seed: int, spatial: bool = False) -> None:
    """Give a layer a kernel of rank 2, as the matrix that is factored."""
    random = np.random.default_rng(seed)
    shape = tuple(layer.kernel.shape)
    if spatial:
        height, width, channels, outputs = shape
        matrix = random.normal(size=(height * channels, 2)) @ random.normal(size=(2, width * outputs))
        kernel = matrix.reshape(height, channels, width, outputs).transpose(0, 2, 1, 3)
    elif isinstance(layer, keras.layers.EinsumDense):
        kernel = random.normal(size=(shape[0], 2)) @ random.normal(size=(2, int(np.prod(shape[1:]))))
    else:
        kernel = random.normal(size=(int(np.prod(shape[:-1])), 2)) @ random.normal(size=(2, shape[-1]))
    layer.kernel.assign(kernel.reshape(shape) / 4)


def _with(layer, shape) -> keras.Model:
    keras.utils.set_random_seed(0)
    entry = keras.Input(shape, name="x")
    model = keras.Model(entry, layer(entry), name="one")
    if getattr(layer, "bias", None) is not None:
        layer.bias.assign(np.random.default_rng(9).normal(size=layer.bias.shape))
    return model


CASES = {
    "dense": (lambda: keras.layers.Dense(12, activation="tanh", name="it"), (10,)),
    "dense over a sequence": (lambda: keras.layers.Dense(12, use_bias=False, name="it"), (5, 10)),
    "convolution": (lambda: keras.layers.Conv2D(12, 3, 2, "same", activation="relu", name="it"), (9, 8, 4)),
    "dilated convolution": (lambda: keras.layers.Conv2D(12, (3, 2), dilation_rate=2, name="it"), (9, 8, 4)),
    "causal convolution": (lambda: keras.layers.Conv1D(12, 3, padding="causal", name="it"), (9, 8)),
    "convolution over volumes": (lambda: keras.layers.Conv3D(9, 2, name="it"), (4, 4, 4, 4)),
    "einsum": (lambda: keras.layers.EinsumDense("abc,cde->abde", (None, 4, 5), "relu", "de", name="it"), (3, 8)),
    "einsum with ellipsis": (lambda: keras.layers.EinsumDense("...x,xy->...y", 12, bias_axes="y", name="it"), (3, 9)),
    "einsum that moves axes": (lambda: keras.layers.EinsumDense("abc,ce->aeb", (12, None), name="it"), (3, 8)),
}


@pytest.mark.parametrize("calibration", [0, BATCH])
@pytest.mark.parametrize("case", CASES)
def test_at_the_rank_that_a_layer_has_nothing_changes(case, calibration, tmp_path):
    """A layer of rank 2 becomes two of rank 2 that compute the same with bias and activation, also once loaded."""
    make, shape = CASES[case]
    model = _with(make(), shape)
    _low_rank_kernel(model.get_layer("it"), 1)
    task = _task(model)
    recipe = parse_recipe(_step(energy=1 - 1e-9, epochs=0, calibration=calibration))
    made = compress(model, task, recipe)
    first, second = made.model.get_layer("it_reduce"), made.model.get_layer("it")
    assert first.kernel.shape[-1] == 2
    assert [variable.path for variable in made.report if variable.applied] == [first.kernel.path, second.kernel.path]
    made.model.save(tmp_path / "factored.keras")
    for each in (made.model, keras.saving.load_model(tmp_path / "factored.keras")):
        received = np.asarray(each(task.test.inputs["x"]))
        np.testing.assert_allclose(received, task.test.labels, atol=1e-5 * np.abs(task.test.labels).max() + 1e-6)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, (2, 3)])
def test_a_separable_convolution_becomes_one_along_each_dimension(padding, strides):
    """Jaderberg et al.'s second scheme is exact for a kernel of rank 2, whatever strides and padding."""
    layer = keras.layers.Conv2D(12, (3, 4), strides, padding, activation="relu", name="it")
    model = _with(layer, (11, 10, 4))
    _low_rank_kernel(layer, 1, spatial=True)
    task = _task(model)
    recipe = parse_recipe(_step(energy=1 - 1e-9, epochs=0, convolutions="spatial"))
    made = compress(model, task, recipe).model
    assert made.get_layer("it_reduce").kernel_size == (3, 1) and made.get_layer("it").kernel_size == (1, 4)
    received = np.asarray(made(task.test.inputs["x"]))
    np.testing.assert_allclose(received, task.test.labels, atol=1e-5 * np.abs(task.test.labels).max() + 1e-6)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**16), st.booleans())
@settings(max_examples=40)
def test_the_error_is_what_the_dropped_singular_values_say(inputs, outputs, seed, observed):
    """The squared error at each rank is the sum of the energies dropped, in the weights or in the outputs observed."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(inputs, outputs))
    found = Outputs(matrix)
    samples = random.normal(size=(50, inputs)) * np.geomspace(1, 0.01, inputs)
    if observed:
        found.observe(samples @ found.basis)
    spectrum = found.spectrum(centred=False)
    assert (np.diff(spectrum.energies) <= 1e-12 * spectrum.energies[0]).all()
    for rank in range(1, min(inputs, outputs) + 1):
        left, right, _ = spectrum.factors(rank)
        error = samples @ (left @ right - matrix) / np.sqrt(len(samples)) if observed else left @ right - matrix
        dropped = spectrum.energies[rank:].sum()
        assert np.sum(error**2) <= dropped + 1e-9 * spectrum.energies[0]
        if not observed:
            singular = np.linalg.svd(matrix, compute_uv=False)
            assert np.sum(error**2) == pytest.approx(np.sum(singular[rank:] ** 2), abs=1e-9)


def test_calibration_keeps_what_the_samples_use():
    """On inputs of few directions, with a mean, calibrated factors lose far less than those of the weights alone."""
    model = _with(keras.layers.Dense(24, name="it"), (32,))
    random = np.random.default_rng(0)
    used = random.normal(size=(4, 32))

    def task(seed):
        codes = np.random.default_rng(seed).normal(size=(64, 4)) + 2
        x = (codes @ used).astype("float32")
        data = Dataset({"x": x}, np.asarray(model(x)))
        return Task("few directions", data, data, "mean_squared_error", MEAN_ABSOLUTE_ERROR)

    fresh = task(1)

    def error(calibration):
        made = compress(model, task(0), parse_recipe(_step(share=0.4, epochs=0, calibration=calibration)))
        return float(np.mean((np.asarray(made.model(fresh.test.inputs["x"])) - fresh.test.labels) ** 2))

    assert error(64) < 0.02 * error(0)


def _sequential() -> keras.Model:
    layers = [keras.Input((6, 16)), keras.layers.Dense(24, "relu", name="wide"), keras.layers.LayerNormalization()]
    return keras.Sequential(layers, name="part")


def _small() -> keras.Model:
    """Return a model with another one within it, a sequential one."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 16), name="x")
    y = keras.layers.Flatten()(_sequential()(x))
    return keras.Model(x, keras.layers.Dense(9, name="last")(y), name="small")


def _large() -> keras.Model:
    """Return a model with attention, a recurrent layer, and one that is called twice."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 16), name="x")
    twice = keras.layers.Dense(16, name="twice")
    y = _sequential()(twice(keras.ops.tanh(twice(x))) + x)
    y = y + keras.layers.MultiHeadAttention(2, 6, name="attention")(y, y)
    y = keras.layers.BatchNormalization(name="normalization")(keras.layers.GRU(8, name="recurrent")(y))
    return keras.Model(x, [keras.layers.Dense(9, name="last")(y), keras.ops.sum(y, axis=-1)], name="large")


def test_layers_within_models_and_layers_called_twice_are_replaced(tmp_path):
    """Where a layer stands does not matter; what stands inside of another layer is left alone, and says why."""
    model = _large()
    x = np.random.default_rng(0).normal(size=(BATCH, 6, 16)).astype("float32")
    before = keras.tree.map_structure(np.asarray, model(x))
    data = Dataset({"x": x})
    made = compress(model, Task("any", data, data, None, None), parse_recipe(_step(share=0.9, epochs=1, scope=".*")))
    report = {variable.path: variable for variable in made.report}
    names = {path.split("/")[-2] for path, variable in report.items() if variable.applied}
    assert names == {"wide", "wide_reduce", "twice", "twice_reduce", "last", "last_reduce"}
    assert all(bool(variable.applied) != bool(variable.skipped) for variable in made.report)
    reason = next(each.skipped[0] for path, each in report.items() if "attention" in path and "kernel" in path)
    assert "MultiHeadAttention" in reason
    made.model.save(tmp_path / "factored.keras")
    again = keras.saving.load_model(tmp_path / "factored.keras")
    keras.tree.map_structure(np.testing.assert_array_equal, made.model(x), again(x))
    keras.tree.map_structure(np.testing.assert_array_equal, before, keras.tree.map_structure(np.asarray, model(x)))


def test_a_sequential_model_stays_one():
    """In a sequential model the two layers follow each other in the list."""
    model = _sequential()
    data = Dataset({"x": np.zeros((0, 6, 16), "float32")})
    recipe = parse_recipe(_step(energy=1e-9, epochs=0, calibration=0))
    made = compress(model, Task("none", data, data, None, None), recipe).model
    assert isinstance(made, keras.Sequential)
    assert [layer.name for layer in made.layers][:2] == ["wide_reduce", "wide"]
    assert made.layers[0].kernel.shape == (16, 1)


def test_a_layer_is_factored_again():
    """A second step may factor what the first one made, under names of their own."""
    model = _small()
    recipe = parse_recipe(_step(share=0.8, epochs=0) + _step(share=0.6, epochs=0))
    made = compress(model, _task(model), recipe).model
    assert made.get_layer("last").kernel.shape[0] < made.get_layer("last_reduce_again").kernel.shape[0]


def test_factored_pruned_and_clustered_in_one_recipe():
    """Low rank comes first; pruning and clustering then hold the factors' zeros and values."""
    model = _small()
    task = _task(model)
    more = {"epochs": 1, "batch_size": 20}
    recipe = _step(share=0.5, **more) + _step("magnitude_pruning", sparsity=0.5, **more)
    made = compress(model, task, parse_recipe(recipe + _step("clustering", clusters=8, **more)))
    factors = [variable for variable in made.report if "low_rank" in variable.applied]
    assert len(factors) == 4
    for variable in factors:
        assert variable.applied == ("low_rank", "magnitude_pruning", "clustering")
        assert variable.sparsity >= 0.49 and variable.values <= 8


def test_fine_tuning_makes_up_for_the_rank():
    """Fine-tuned factors are nearer to the original than those of the decomposition."""
    model = _small()
    task = _task(model)

    def error(epochs):
        recipe = _step(share=0.4, epochs=epochs, batch_size=20, learning_rate=3e-3)
        made = compress(model, task, parse_recipe(recipe)).model
        return float(np.mean((np.asarray(made(task.train.inputs["x"])) - task.train.labels) ** 2))

    assert error(30) < 0.75 * error(0)


def test_a_rank_that_saves_nothing_is_skipped_with_the_reason():
    """A layer whose energy needs too high a rank stays as it is, and the report gives the multiplications."""
    model = _with(keras.layers.Dense(12, name="it"), (10,))
    made = compress(model, _task(model), parse_recipe(_step(energy=1.0)))
    assert made.model.get_layer("it").kernel.shape == (10, 12)
    assert "low_rank: rank 10, for 1 of the energy, takes 220 multiplications, not 120" in made.report[0].skipped


def test_the_share_goes_to_the_layers_that_need_it():
    """The layers together keep at most the share: the one of low rank gives more of it than the one of full rank."""
    model = _small()
    _low_rank_kernel(model.get_layer("last"), 1)
    made = compress(model, _task(model), parse_recipe(_step(share=0.5, epochs=0, calibration=0)))
    kernels = {variable.path: np.prod(variable.shape) for variable in made.report if len(variable.shape) > 1}
    assert sum(kernels.values()) <= 0.5 * (16 * 24 + 144 * 9)
    assert made.model.get_layer("last").kernel.shape[0] <= 2
    assert made.model.get_layer("part").get_layer("wide").kernel.shape[0] >= 8


def test_a_share_out_of_reach_is_told():
    """A share that rank 1 exceeds is approached, with a note that says how far."""
    model = _with(keras.layers.Dense(2, name="it"), (10,))
    made = compress(model, _task(model), parse_recipe(_step(share=0.5, epochs=0)))
    assert made.notes == ("low_rank: the layers keep 60% of their multiplications even at rank 1, not 50%",)
    assert made.model.get_layer("it").kernel.shape == (1, 2)


def test_a_layer_that_no_sample_activates_is_named():
    """Calibration on zeros goes by the weights, and a note names the layer."""
    model = _with(keras.layers.Dense(24, name="it"), (32,))
    data = Dataset({"x": np.zeros((8, 32), "float32")})
    made = compress(model, Task("none", data, data, None, None), parse_recipe(_step(share=0.5, epochs=0)))
    assert "low_rank: the calibration samples never activate it/kernel" in made.notes[0]
    assert made.model.get_layer("it").kernel.shape == (6, 24)


@pytest.mark.parametrize(
    ("layer", "shape", "reason"),
    [
        (lambda: keras.layers.Conv2D(8, 3, groups=2, name="it"), (6, 6, 4), "in groups"),
        (lambda: keras.layers.DepthwiseConv2D(3, name="it"), (6, 6, 4), "DepthwiseConv2D"),
        (lambda: keras.layers.EinsumDense("abc,bcd->abd", (5, 4), name="it"), (5, 4), "abc,bcd->abd"),
    ],
)
def test_layers_that_are_no_matrix_product_say_so(layer, shape, reason):
    """Grouped and depthwise convolutions and einsums over batches of matrices are skipped with the reason."""
    model = _with(layer(), shape)
    made = compress(model, _task(model), parse_recipe(_step(share=0.5, epochs=0)))
    assert reason in made.report[0].skipped[0]


@pytest.mark.parametrize("parameters", [{}, {"energy": 0.9, "share": 0.5}])
def test_exactly_one_of_energy_and_share_is_asked_for(parameters):
    """A step with neither or with both is refused."""
    with pytest.raises(InputError, match="either energy or share"):
        parse_recipe(_step(**parameters))


def test_bad_input_is_refused():
    """A scope that finds nothing, no samples to calibrate on, and a step after one that sets values are errors."""
    model = _with(keras.layers.Dense(24, name="it"), (32,))
    task = _task(model)
    with pytest.raises(InputError, match="it/kernel"):
        compress(model, task, parse_recipe(_step(share=0.5, scope="nowhere")))
    empty = Dataset({"x": np.zeros((0, 32), "float32")})
    with pytest.raises(InputError, match="calibration = 0"):
        compress(model, Task("none", empty, empty, None, None), parse_recipe(_step(share=0.5)))
    with pytest.raises(InputError, match="low_rank after magnitude_pruning"):
        parse_recipe(_step("magnitude_pruning", sparsity=0.5) + _step(share=0.5))
