"""compress/: ranges of activations, quantization-aware training, mixed precision, one graph in all formats."""

import math
from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright import converting, train
from edgewright import export as export_bundle
from edgewright.compress import compress, load_recipe, parse_recipe
from edgewright.compress._activations import Activations, fake_quantizer
from edgewright.compress._calibration import METHODS, by_entropy, by_mse, by_percentile, calibrate, with_zero
from edgewright.compress._mixed_precision import disagreement_percent
from edgewright.compress._points import find_points, run_at_points
from edgewright.compress._weight_quantizer import WeightQuantizer, quantized, summed_axes
from edgewright.devices._tensorrt import place_on_tensorrt
from edgewright.errors import InputError
from edgewright.export import Job, convert, freeze, read_graph
from edgewright.export import get as get_exporter
from edgewright.runtimes import for_format, run_artifact
from edgewright.train import ACCURACY, Dataset, Deployment, Schedule, Task
from edgewright.train._checkpoints import load, shipped
from edgewright.train._training import fit, outputs_of


def _mixed_model() -> keras.Model:
    """A net with a convolution, a normalization, a residual, attention, a recurrent layer and an exact GELU."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="convolution")(image)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="normalization")(x))
    x = keras.layers.ReLU(name="sum")(x + keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = keras.layers.Reshape((16, 8))(keras.layers.MaxPooling2D()(x))
    x = x + keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = keras.layers.Dense(8, activation="gelu", name="gelu")(x)
    x = keras.layers.GRU(6, name="recurrent")(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="classes")(x), name="mixed")


def _images(samples: int = 96) -> Dataset:
    random = np.random.default_rng(0)
    images = random.normal(size=(samples, 8, 8, 3)).astype("float32")
    return Dataset({"image": images}, (images.mean(axis=(1, 2)).argmax(axis=1)).astype("int32"))


def _task() -> Task:
    data = _images()
    return Task("brightest channel", data, data, "sparse_categorical_crossentropy", ACCURACY)


def _convolutional(strided: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.ReLU()(x + keras.layers.DepthwiseConv2D(3, padding="same")(x))
    x = keras.layers.MaxPooling2D()(x)
    if strided:
        x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="last")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax", name="classes")(x), name="convolutional")
    fit(model, _task(), Schedule(8, 32, 3e-3), 0)
    return model


@pytest.fixture(scope="module")
def convolutional() -> keras.Model:
    """A trained convolutional net with a normalization, a residual and a depthwise layer."""
    return _convolutional()


def _batches(data: Dataset):
    return lambda: (data.at(slice(start, start + 32)).inputs for start in range(0, len(data), 32))


def test_points_are_where_runtimes_write_a_tensor():
    """A product has one point with its bias, folded normalization and activation; a GELU has one at its end."""
    points = {point.name for point in find_points(_mixed_model())}
    assert "relu:Relu:0" in points
    assert not [name for name in points if name.startswith(("convolution:", "normalization:"))]
    assert {name for name in points if name.startswith("gelu:")} == {"gelu:Add:0", "gelu:Mul:2"}
    assert "classes:Softmax:0" in points and "input:image" in points


def test_points_are_found_inside_of_loops_and_not_in_code_that_nothing_uses():
    """A recurrent layer that loops has the cell's points once, those of the loop."""
    sums = [point.name for point in find_points(_mixed_model()) if "recurrent" in point.layer]
    assert sums and not [name for name in sums if name.endswith("Sigmoid:0")]


def test_what_is_done_at_a_point_reaches_the_output_and_the_gradient_passes():
    """A fake quantizer in a recurrent cell's loop changes the output, and its kernel still has a gradient."""
    model = _mixed_model()
    names = frozenset(point.name for point in find_points(model) if point.layer.startswith("recurrent"))
    images = tf.constant(_images(4).inputs["image"])

    @tf.function
    def run(scale):
        return run_at_points(model, images, lambda name, tensor: tensor * scale, names)

    with tf.GradientTape() as tape:
        changed = tf.reduce_sum(run(tf.constant(0.5))[:, 0])
    gradients = tape.gradient(changed, [variable.value for variable in model.trainable_variables])
    assert float(np.abs(run(tf.constant(0.5)) - model(images)).max()) > 1e-3
    assert all(gradient is not None for gradient in gradients)
    np.testing.assert_allclose(run(tf.constant(1.0)), model(images), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_of_calibration_keeps_within_the_extremes(method, convolutional):
    """A calibrated range holds zero and is never wider than what the samples reach."""
    points = find_points(convolutional)
    widest = calibrate(convolutional, _batches(_images()), points, "min_max")
    ranges = calibrate(convolutional, _batches(_images()), points, method)
    assert set(ranges) == {point.name for point in points}
    for name, (low, high) in ranges.items():
        assert widest[name][0] - 1e-6 <= low <= 0 <= high <= widest[name][1] + 1e-6, name


def test_min_max_ranges_are_the_extremes_of_the_activations(convolutional):
    """The range at the last affine layer is that of its outputs over all batches."""
    before = keras.Model(convolutional.input, convolutional.get_layer("classes").input)
    wanted = np.asarray(before(_images().inputs["image"]))
    kernel, bias = (np.asarray(weight) for weight in convolutional.get_layer("classes").weights)
    low, high = calibrate(convolutional, _batches(_images()), find_points(convolutional))["classes:Add:0"]
    np.testing.assert_allclose([low, high], [(wanted @ kernel + bias).min(), (wanted @ kernel + bias).max()], rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.0, 2.0), st.booleans())
def test_the_mse_range_has_no_larger_error_than_the_extremes(seed, tail, signed):
    """Rounding in the chosen range has at most the squared error of rounding between the extremes."""
    values = np.random.default_rng(seed).normal(size=4000) * np.exp(
        tail * np.random.default_rng(seed + 1).normal(size=4000)
    )
    values = values if signed else np.abs(values)
    low, high = with_zero(values.min(), values.max())
    counts, _ = np.histogram(values, bins=2048, range=(low, high))

    def error(bounds):
        one, other = with_zero(*bounds)
        step = (other - one) / 255
        return np.mean((values - (np.clip(np.round((values - one) / step), 0, 255) * step + one)) ** 2)

    assert error(by_mse(counts, low, high)) <= error((low, high)) * 1.02


def test_percentile_and_entropy_leave_outliers_out():
    """One value at a hundred deviations does not stretch the range; the bulk stays within."""
    values = np.abs(np.random.default_rng(0).normal(size=100_000))
    values[0] = 100
    counts, _ = np.histogram(values, bins=2048, range=(0, 100))
    assert 2 < by_percentile(counts, 0, 100, 99.9)[1] < 5
    assert 2 < by_entropy(counts, 0, 100)[1] < 30


def test_a_layer_that_no_sample_activates_is_named():
    """Calibration data on which a layer is always zero is refused, and the layer is named."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4,), name="image")
    dead = keras.layers.Dense(4, activation="relu", bias_initializer=keras.initializers.Constant(-100), name="dead")
    model = keras.Model(image, keras.layers.Dense(2, bias_initializer="ones", name="out")(dead(image)))
    data = Dataset({"image": np.ones((8, 4), "float32")})
    task = Task("none", data, data, None, None)
    with pytest.raises(InputError, match="zeros only from layer 'dead'"):
        compress(model, task, parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'"))
    kept = parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\nkeep_float='dead'")
    assert compress(model, task, kept).activations is not None


def test_keep_float_that_matches_nothing_is_refused(convolutional):
    """A scope that finds no layer is an error that lists the layers."""
    recipe = parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\nkeep_float='nowhere'")
    with pytest.raises(InputError, match="keep_float to match a layer among: .*classes"):
        compress(convolutional, _task(), recipe)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([4, 8]))
def test_quantizing_twice_changes_nothing(seed, bits):
    """Rounded weights are a fixed point, and each is within half a step of what it was."""
    values = np.random.default_rng(seed).normal(size=(5, 7)).astype("float32")
    variable = keras.Variable(values, name="kernel")
    quantizer = WeightQuantizer("test", variable, (0,), bits)
    once = np.asarray(quantizer(variable.value))
    np.testing.assert_allclose(np.asarray(quantizer(keras.ops.convert_to_tensor(once))), once, rtol=1e-5, atol=1e-7)
    integers, scale = quantized(values, (0,), bits)
    np.testing.assert_allclose(integers * scale, once, rtol=1e-4, atol=1e-6)
    assert (np.abs(once - values) <= 0.501 * scale).all()


def test_output_channels_are_told_by_the_layer():
    """Depthwise kernels have a scale for each channel, Einsum kernels for each label that is not summed over."""
    axes = summed_axes(_mixed_model())
    assert axes["depthwise/depthwise_kernel" if "depthwise/depthwise_kernel" in axes else "depthwise/kernel"] == (0, 1)
    assert axes["attention/query/kernel"] == (0,)
    assert axes["attention/attention_output/kernel"] == (0, 1)
    assert axes["convolution/kernel"] == (0, 1, 2)


@pytest.mark.parametrize("ranges", ["learned", "moving_average", "fixed"])
def test_quantization_aware_training_takes_every_layer_kind(ranges):
    """Attention, recurrent, depthwise and dense kernels end on their grids, whatever moves the ranges."""
    recipe = parse_recipe(
        f"[[steps]]\ntechnique='quantization_aware_training'\nepochs=2\nbatch_size=32\nranges='{ranges}'\n"
    )
    made = compress(_mixed_model(), _task(), recipe)
    axes = summed_axes(made.model)
    touched = [variable for variable in made.model.trainable_variables if variable.path.endswith("kernel")]
    assert len(touched) >= 8
    for variable in touched:
        integers, scale = quantized(np.asarray(variable), axes[variable.path])
        np.testing.assert_allclose(integers * scale, np.asarray(variable), rtol=1e-3, atol=1e-6, err_msg=variable.path)
    assert made.precisions == ("float32", "int8")
    begin = Activations("mse").ranges_of(_mixed_model(), _batches(_images()))
    moved = [name for name in begin if abs(made.activations.learned[name][1] - begin[name][1]) > 1e-5]
    assert bool(moved) == (ranges != "fixed")


@pytest.mark.parametrize("labelled", [True, False])
def test_inputs_in_a_list_train_with_rounding(labelled):
    """A model that takes its inputs in a list is trained, with labels and without, and its kernels are rounded."""
    sides = [keras.Input((4,), name=name) for name in ("left", "right")]
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()(sides))
    model = keras.Model(sides, keras.layers.Dense(3, activation="softmax")(x))
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(64, 4)).astype("float32") for name in ("left", "right")}
    data = Dataset(inputs, random.integers(0, 3, 64) if labelled else None)
    task = Task("sides", data, data, *(("sparse_categorical_crossentropy", ACCURACY) if labelled else (None, None)))
    recipe = parse_recipe("[[steps]]\ntechnique='quantization_aware_training'\nepochs=1\n")
    assert len([each for each in compress(model, task, recipe).report if each.applied]) == 2


def test_a_convolution_in_groups_is_calibrated_trained_and_exported(tmp_path):
    """A convolution in groups, compiled by XLA, has one point with its bias and activation, and exports as trained."""
    image = keras.Input((8, 8, 4), name="image")
    x = keras.layers.Conv2D(8, 3, groups=2, activation="relu", name="fused")(image)
    x = keras.layers.Conv2D(8, 3, groups=4, use_bias=False, name="bare")(x)
    model = keras.Model(image, keras.layers.Dense(3, name="classes")(keras.layers.Flatten()(x)))
    layers = [point.layer for point in find_points(model)]
    assert layers == ["input", "fused", "bare", "classes"]
    data = Dataset({"image": np.random.default_rng(0).normal(size=(64, 8, 8, 4)).astype("float32")})
    recipe = parse_recipe("[[steps]]\ntechnique='quantization_aware_training'\nepochs=1\n")
    made = compress(model, Task("images", data, data, None, None), recipe)
    for name in ("fused", "bare"):
        kernel = made.model.get_layer(name).kernel
        integers, scale = quantized(np.asarray(kernel), summed_axes(made.model)[kernel.path])
        np.testing.assert_allclose(integers * scale, np.asarray(kernel), rtol=1e-3, atol=1e-6)
    wanted = made.model(data.inputs["image"])
    for artifact in export_bundle(made, tmp_path / "bundle").deployables:
        for runtime in for_format(artifact.format) if artifact.precision == "int8" else ():
            ran = run_artifact(artifact, runtime, data.inputs)
            assert ran.ok, (artifact.name, runtime, ran.reason)
            np.testing.assert_allclose(ran.outputs["classes"], wanted, atol=0.1)


@pytest.mark.parametrize(
    "step",
    [
        "technique='quantization_aware_training'\nepochs=1\nmax_disagreement=0.0",
        "technique='structured_pruning'\nshare=0.5\nepochs=1",
        "technique='cross_layer_equalization'",
    ],
)
def test_outputs_of_booleans_and_integers_are_left_out_of_the_imitation(step):
    """A model that returns a class and a flag beside scores imitates the scores; without any, training is refused."""
    features = keras.Input((6,), name="features")
    scores = keras.layers.Dense(4)(keras.layers.Dense(8, activation="relu")(features))
    outputs = {"class": keras.ops.argmax(scores, -1), "flag": scores > 0, "top": keras.ops.top_k(scores, 2)[0]}
    data = Dataset({"features": np.random.default_rng(0).normal(size=(64, 6)).astype("float32")})
    task = Task("scores", data, data, None, None)
    recipe = parse_recipe(f"[[steps]]\n{step}\n")
    made = compress(keras.Model(features, outputs), task, recipe)
    assert made.model.outputs[0].dtype == "int32" and len(made.report) == 4
    if "epochs" in step:
        with pytest.raises(InputError, match="Expected an output of floats.*Got: int32"):
            compress(keras.Model(features, outputs["class"]), task, recipe)


def test_a_layer_that_stays_in_float_keeps_its_kernel_off_the_grid(convolutional):
    """What keep_float names is neither rounded nor reported as int8, and says so."""
    recipe = "[[steps]]\ntechnique='quantization_aware_training'\nepochs=1\nbatch_size=32\nkeep_float='classes'\n"
    made = compress(convolutional, _task(), parse_recipe(recipe))
    (kernel,) = (variable for variable in made.report if variable.path == "classes/kernel")
    assert kernel.bits == 32 and kernel.skipped == ("quantization_aware_training: its layer stays in float",)
    values = np.asarray(made.model.get_layer("classes").kernel)
    integers, scale = quantized(values, (0,))
    assert np.abs(integers * scale - values).max() > 0.1 * scale.max()
    assert {variable.bits for variable in made.report if variable.applied} == {8}


def test_training_recovers_what_rounding_costs():
    """At three deviations' clipping, a net trained with its ranges loses less than one that only has them."""
    model = _convolutional()
    task = _task()
    loss = keras.losses.SparseCategoricalCrossentropy()

    def loss_of(net, ranges):
        @tf.function
        def run(inputs):
            return run_at_points(net, inputs, fake_quantizer(ranges), frozenset(ranges))

        return float(loss(task.train.labels, run(tf.constant(task.train.inputs["image"]))))

    narrow = {
        name: (low / 4, high / 4) if "Softmax" not in name else (low, high)
        for name, (low, high) in Activations().ranges_of(model, _batches(task.train)).items()
    }
    from edgewright.compress import quantization_aware_training as training
    from edgewright.compress._fine_tuning import fine_tune
    from edgewright.compress._technique import Work

    work = Work(model, task, 0, model).own_copy()
    parameters = training.QuantizationAwareTraining(epochs=20, batch_size=32, learning_rate=3e-3)
    run = training.QuantizedRun(find_points(work.model), narrow, "learned")
    before = loss_of(model, narrow)
    assert fine_tune(work, parameters, (), run) == ()
    assert loss_of(work.model, run.found()) < 0.8 * before


def test_pruning_and_clusters_outlive_quantization_aware_training():
    """Zeros stay zero and a kernel keeps its few distinct values when training goes on with rounding."""
    steps = (
        "[[steps]]\ntechnique='magnitude_pruning'\nsparsity=0.5\nepochs=1\nbatch_size=32\n"
        "[[steps]]\ntechnique='clustering'\nclusters=8\nepochs=1\nbatch_size=32\n"
        "[[steps]]\ntechnique='quantization_aware_training'\nepochs=1\nbatch_size=32\n"
    )
    made = compress(_convolutional(), _task(), parse_recipe(steps))
    kernels = [variable for variable in made.report if variable.path.endswith("kernel") and len(variable.shape) == 2]
    assert kernels
    for variable in kernels:
        assert variable.sparsity >= 0.49
        values = np.asarray(next(each for each in made.model.weights if each.path == variable.path))
        # Each channel rounds the same few values by a scale of its own.
        assert max(len(np.unique(values[:, channel])) for channel in range(values.shape[1])) <= 8
        assert variable.applied == ("magnitude_pruning", "clustering", "quantization_aware_training")
        assert variable.bits == 8


def test_training_that_diverges_is_stopped_and_undone():
    """A learning rate that blows up leaves the weights as rounding alone leaves them, and a note says so."""
    model = _convolutional()
    recipe = "[[steps]]\ntechnique='quantization_aware_training'\nepochs=2\nbatch_size=32\nlearning_rate={}\n"
    made = compress(model, _task(), parse_recipe(recipe.format("1e3")))
    assert any("diverged" in note and "learning_rate" in note for note in made.notes)
    wanted = outputs_of(model, _task().test)["classes"]
    assert disagreement_percent([wanted], [outputs_of(made.model, _task().test)["classes"]]) < 5


def test_a_root_that_rounding_brings_to_zero_does_not_stop_the_training():
    """Distances, some of them 0, train with everything rounded: where a slope is infinite, none passes."""
    keras.utils.set_random_seed(0)
    place = keras.Input((4,), name="place")
    moved = keras.layers.Dense(3, use_bias=False, name="moved")(place)
    # 1e-6 keeps the float model clear of the root's pole, and is no step of eight bits.
    distance = keras.ops.sqrt(keras.ops.sum(keras.ops.square(moved), axis=-1, keepdims=True) + 1e-6)
    model = keras.Model(place, keras.layers.Dense(1, name="out")(distance), name="distances")
    places = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    places[::4] = 0
    data = Dataset({"place": places}, 1 + np.linalg.norm(places, axis=1, keepdims=True))
    task = Task("distances", data, data, "mean_squared_error", train.MEAN_ABSOLUTE_ERROR)
    recipe = "[[steps]]\ntechnique='quantization_aware_training'\nepochs=3\nbatch_size=16\nlearning_rate=1e-2\n"
    made = compress(model, task, parse_recipe(recipe))
    assert not made.notes
    before, after = ((outputs_of(each, data)["out"] - data.labels) ** 2 for each in (model, made.model))
    assert after.mean() < before.mean()


def test_layers_that_quantization_would_break_stay_in_float_and_say_why():
    """A layer whose outputs span a million to one is left in float; with it, decisions are the float model's."""
    keras.utils.set_random_seed(0)
    features = keras.Input((8,), name="features")
    wide = keras.layers.Dense(8, name="wide", kernel_initializer="identity")(features)
    small = keras.layers.Rescaling([1e-4] * 7 + [1e-7], name="small")(wide)
    x = keras.layers.Dense(4, name="out")(keras.layers.Rescaling(1e4, name="back")(small))
    model = keras.Model(features, x)
    scales = np.array([1, 1, 1, 1, 1, 1, 1, 1e3], "float32")
    data = Dataset({"features": np.random.default_rng(0).normal(size=(128, 8)).astype("float32") * scales})
    task = Task("none", data, data, None, None)
    recipe = parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\nmax_disagreement=2\n")
    made = compress(model, task, recipe)
    assert made.activations.reasons
    assert any("stays in float" in note for note in made.notes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The convolutional net with one set of ranges, in all three formats; its last convolution is flattened."""
    recipe = parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='mse'\n")
    made = compress(_convolutional(strided=True), _task(), recipe)
    return made, export_bundle(made, tmp_path_factory.mktemp("quantized") / "bundle")


def test_the_int8_artifacts_of_all_formats_compute_the_same(bundle):
    """One graph with its ranges, in each format and runtime, is the fake-quantized Keras model to three steps."""
    made, written = bundle
    assert not written.manifest["failures"]
    data = _images(32)
    ranges = made.activations.ranges_of(made.model, _batches(made.task.train))
    axes = summed_axes(made.model)
    rounded = keras.models.clone_model(made.model)
    rounded.set_weights(made.model.get_weights())
    for variable in rounded.trainable_variables:
        if variable.path.endswith("kernel"):
            variable.assign(WeightQuantizer("", variable, axes[variable.path])(variable.value))

    @tf.function
    def run(inputs):
        return run_at_points(rounded, inputs, fake_quantizer(ranges), frozenset(ranges))

    wanted = run(tf.constant(data.inputs["image"])).numpy()
    seen = 0
    for artifact in written.deployables:
        for runtime in for_format(artifact.format) if artifact.precision == "int8" else ():
            ran = run_artifact(artifact, runtime, data.inputs)
            assert ran.ok, (artifact.name, runtime, ran.reason)
            assert np.abs(ran.outputs["classes"] - wanted).max() <= 3.01 / 256, (artifact.name, runtime)
            seen += 1
    assert seen >= 5


def test_the_int8_artifacts_are_integers_throughout(bundle):
    """No operation of the TFLite file is float, and weights are stored in a byte in every format."""
    _, written = bundle
    for artifact in written.artifacts:
        if artifact.precision == "int8":
            assert artifact.size_bytes < 40_000
            if artifact.format == "tflite":
                assert all("float32" not in operation.dtypes for operation in artifact.operations)
            if artifact.format == "onnx":
                weights = [tensor for tensor in onnx.load(artifact.path).graph.initializer if len(tensor.dims) > 1]
                assert len(weights) >= 3 and all(tensor.data_type == onnx.TensorProto.INT8 for tensor in weights)


@pytest.mark.parametrize("dead", [False, True])
def test_by_default_onnx_is_made_of_one_graph_unless_its_activations_cannot_be_observed(dead, tmp_path):
    """Our graph has unsigned activations, ONNX Runtime's quantizer writes signed ones; a fallback is a note."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    if dead:
        never = keras.layers.Dense(16, kernel_initializer="zeros", name="never")
        hidden = hidden + never(x)
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax", name="kinds")(hidden))
    data = Dataset({"x": np.random.default_rng(0).normal(size=(64, 8)).astype("float32")})
    made = compress(model, Task("none", data, data, None, None), load_recipe("int8"))
    written = export_bundle(made, tmp_path / "bundle", ["onnx"])
    (artifact,) = (each for each in written.artifacts if each.precision == "int8")
    kinds = {tensor.data_type for tensor in onnx.load(artifact.path).graph.initializer}
    assert (onnx.TensorProto.UINT8 in kinds) is not dead
    assert any("its own quantizer finds the ranges" in note for note in written.manifest["notes"]) is dead


def test_by_default_a_format_whose_own_quantizer_fails_gets_one_graph(tmp_path, monkeypatch):
    """NNCF's failure is no missing artifact: the graph with ranges is taken, and a note says so."""

    def failing(frozen, format, precision, *given, **more):
        made = convert(frozen, format, precision, *given, **more)
        fails = precision == "int8" and not frozen.quantized
        return replace(made, artifact=None, reason="exit 1: no statistics") if fails else made

    monkeypatch.setattr(converting, "convert", failing)
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Dense(16, activation="relu")(x)))
    data = Dataset({"x": np.random.default_rng(0).normal(size=(64, 8)).astype("float32")})
    made = compress(model, Task("none", data, data, None, None), load_recipe("int8"))
    written = export_bundle(made, tmp_path / "bundle", ["openvino"])
    assert "openvino int8" in {each.name for each in written.artifacts}
    (note,) = (note for note in written.manifest["notes"] if note.startswith("openvino int8"))
    assert note.startswith("openvino int8 is by one graph with ranges") and "no statistics" in note


@pytest.mark.parametrize("activation", ["swish", "gelu"])
def test_a_regression_keeps_its_offset_where_outputs_are_not_rounded(activation, tmp_path):
    """A bias that a converter puts into the ranges of an output's quantizer stays when that is taken out."""
    keras.utils.set_random_seed(0)
    x = keras.Input((16,), name="x")
    hidden = keras.layers.Dense(64, activation=activation)(x)
    shifted = keras.layers.Rescaling(2.0, offset=7.0, name="y")(keras.layers.Dense(1, bias_initializer="ones")(hidden))
    samples = np.random.default_rng(0).normal(size=(128, 16)).astype("float32")
    model = keras.Model(x, shifted)
    made = compress(
        model,
        Task("none", Dataset({"x": samples}), Dataset({"x": samples}), None, None),
        parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\n"),
    )
    written = export_bundle(made, tmp_path / "bundle")
    assert not written.manifest["failures"]
    for check in written.manifest["evidence"]["checks"]:
        assert check["agreement_keras_percent"] > 98, check


def test_an_output_that_is_float_is_not_rounded(bundle):
    """ONNX and OpenVINO have float outputs: nothing quantizes them on the way out, for nobody reads the integers."""
    _, written = bundle
    for artifact in written.artifacts:
        if artifact.precision == "int8" and artifact.format != "tflite":
            graph = read_graph(artifact.path)
            makers = {place: node.kind for node in graph.nodes for place in node.outputs}
            kinds = {makers[place] for place in graph.outputs}
            assert kinds == {"Softmax"} or kinds == {"SoftMax"}, kinds


@pytest.mark.parametrize("calibration", ["converter", "min_max"])
def test_a_recipe_for_tensorrt_has_its_products_in_int8_there(calibration, tmp_path):
    """With unit = "tensorrt" zero points are zero and biases float: TensorRT is predicted to compute in integers."""
    step = f"[[steps]]\ntechnique='static_int8'\ncalibration='{calibration}'\n"
    made = compress(_convolutional(strided=True), _task(), parse_recipe(f"unit='tensorrt'\n{step}"))
    bundle = export_bundle(made, tmp_path / "bundle", ["onnx"])
    (artifact,) = (each for each in bundle.artifacts if each.precision == "int8")
    facts = place_on_tensorrt(read_graph(artifact.path), "TensorRT 10.3").facts
    assert facts["macs_share"] == 1 and facts["macs_share_in_int8"] > 0.95
    (agreed,) = {
        check["agreement_keras_percent"]
        for check in bundle.manifest["evidence"]["checks"]
        if check["artifact"] == "onnx int8" and check["runtime"] == "onnxruntime"
    }
    assert agreed >= 95


def test_what_the_host_computes_stays_in_float_while_training():
    """Layers in front of the graph that is deployed have no points, though the graph's input has the name of one."""
    keras.utils.set_random_seed(0)
    features = keras.Input((4,), name="features")
    scaled = keras.layers.Rescaling(1e-3, name="scaled")(features)
    model = keras.Model(features, keras.layers.Dense(2, name="out")(scaled), name="whole")

    def deploy(model):
        taken = keras.Input((4,), name="scaled")
        return Deployment({"graph": keras.Model(taken, model.get_layer("out")(taken))}, _task())

    data = Dataset({"features": np.random.default_rng(0).normal(size=(32, 4)).astype("float32")})
    task = Task("none", data, data, None, None)
    recipe = parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\n")
    for how, layers in ((None, {"input", "scaled", "out"}), (deploy, {"out"})):
        made = compress(model, task, recipe, deploy=how)
        assert {point.layer for point in made.activations.points_of(model)} == layers


def test_a_sequential_model_with_a_rolled_layer_trains_and_is_frozen_with_its_loop(tmp_path):
    """A Sequential LSTM is trained with rounding and frozen; its graph, and its ONNX file, compute what it does."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 4), name="steps"), keras.layers.LSTM(5), keras.layers.Dense(2, activation="softmax")]
    random = np.random.default_rng(0)
    steps = random.normal(size=(64, 6, 4)).astype("float32")
    data = Dataset({"steps": steps}, (steps.mean(axis=(1, 2)) > 0).astype("int32"))
    task = Task("signs", data, data, "sparse_categorical_crossentropy", ACCURACY)
    recipe = parse_recipe("[[steps]]\ntechnique='quantization_aware_training'\nepochs=2\nbatch_size=32\n")
    made = compress(keras.Sequential(layers, name="sequential"), task, recipe)
    ranges = made.activations.ranges_of(made.model, _batches(data))
    frozen = freeze(made.model, tmp_path / "frozen", ranges)
    assert frozen.quantized and frozen.macs
    run = tf.saved_model.load(str(frozen.folder)).signatures["serving_default"]
    (received,) = run(steps=tf.constant(steps[:1])).values()

    @tf.function
    def rounded(inputs):
        return run_at_points(made.model, inputs, fake_quantizer(ranges), frozenset(ranges))

    np.testing.assert_allclose(received, rounded(tf.constant(steps[:1])), atol=1e-5)

    # The exporter alone: in a conversion a pass writes such a loop out first, where its length is known.
    job = Job(frozen.folder, "int8", frozen.inputs, frozen.outputs, None, tmp_path, "loop", quantized=True)
    path = get_exporter("onnx").export(job).path
    assert "Loop" in {node.op_type for node in onnx.load(path).graph.node}
    run = run_artifact(path, "onnxruntime", {"steps": steps})
    assert run.ok, run.reason
    (outputs,) = run.outputs.values()
    assert np.abs(outputs - np.asarray(rounded(tf.constant(steps)))).max() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", train.names())
def test_every_architecture_trains_with_rounding(name):
    """The shipped model of each architecture trains with rounding for a moment; its kernels end on their grids."""
    experiment = train.get(name).default
    checkpoint = shipped(name, experiment.name)
    assert checkpoint
    recipe = parse_recipe(
        "[[steps]]\ntechnique='quantization_aware_training'\nepochs=1\nsamples_per_epoch=64\nbatch_size=16\n"
        "learning_rate=1e-5\nsamples=32\n"
    )
    made = compress(load(checkpoint), experiment.task(), recipe, deploy=experiment.deploy)
    axes = summed_axes(made.model)
    for variable in made.model.trainable_variables:
        if "quantization_aware_training" in {
            step for report in made.report if report.path == variable.path for step in report.applied
        }:
            integers, scale = quantized(np.asarray(variable), axes[variable.path])
            np.testing.assert_allclose(integers * scale, np.asarray(variable), rtol=1e-3, atol=1e-6)
    assert made.activations.learned


def test_weights_of_a_text_model_are_integers_in_the_file(tmp_path):
    """One graph with ranges: the table, what multiplies its rows, the loop's kernels, and what is behind the loop."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((5,), name="tokens", dtype="int32")
    x = keras.layers.Embedding(30, 8, name="table")(tokens)
    x = keras.layers.Dense(14, activation="relu", name="front")(x)
    x = keras.layers.GRU(6, name="recurrent")(x)
    model = keras.Model(tokens, keras.layers.Dense(11, name="behind")(x), name="text")
    data = Dataset({"tokens": np.random.default_rng(0).integers(0, 30, (64, 5)).astype("int32")})
    recipe = parse_recipe("[[steps]]\ntechnique='static_int8'\ncalibration='min_max'\n")
    made = compress(model, Task("none", data, data, None, None), recipe)
    bits = {row.path: row.bits for row in made.report}
    assert bits["recurrent/gru_cell/bias"] == 32  # of two dimensions, and added
    kernels = {row.path: math.prod(row.shape) for row in made.report if row.bits == 8}
    assert len(kernels) == len(set(kernels.values())) == 5
    bundle = export_bundle(made, tmp_path / "bundle", ["tflite", "openvino"])
    for format in ("tflite", "openvino"):
        assert not [each for each in bundle.manifest["legalised"][f"{format} int8"] if each["refused"]]
        (path,) = (each.path for each in bundle.artifacts if each.name == f"{format} int8")
        constants = [value for value in read_graph(path).values if value.constant]
        whole = {math.prod(value.shape) for value in constants if value.dtype in ("int8", "uint8")}
        assert set(kernels.values()) <= whole, (format, kernels, whole)
