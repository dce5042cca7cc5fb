"""export/: conversion in child processes, and the bundle."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgewright import runtimes
from edgewright.errors import InputError, MissingRequirement
from edgewright.export import Artifact, convert, freeze, get, load_bundle, names, read_graph
from edgewright.export._bundle import artifact_at, bundle_manifest, files_of, plain_artifact, save_golden
from edgewright.files import MANIFEST, write_json
from edgewright.runtimes import run_artifact
from edgewright.train import Dataset
from edgewright.train._training import output_names, outputs_of

from ._broken_exporter import install_broken_exporter

CELLS = [(name, precision) for name in names() for precision in ("float32", "int8")]


@pytest.fixture(scope="module")
def model():
    """Two inputs and two outputs whose alphabetical order is not the model's order."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 3), name="picture")
    angle = keras.Input((5,), name="angle")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(picture)
    x = keras.layers.DepthwiseConv2D(3)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Concatenate()([x, keras.layers.Dense(6, activation="tanh")(angle)])
    zebra = keras.layers.Dense(3, activation="softmax", name="zebra")(x)
    aardvark = keras.layers.Dense(2, name="aardvark")(x)
    return keras.Model([picture, angle], [zebra, aardvark], name="two")


@pytest.fixture(scope="module")
def inputs():
    """Forty samples for it."""
    random = np.random.default_rng(1)
    return {
        "picture": random.uniform(size=(40, 8, 8, 3)).astype("float32"),
        "angle": random.normal(size=(40, 5)).astype("float32"),
    }


@pytest.fixture(scope="module")
def frozen(model, tmp_path_factory):
    """Its frozen graph."""
    return freeze(model, tmp_path_factory.mktemp("frozen") / "graph")


@pytest.fixture(scope="module")
def calibration(inputs, tmp_path_factory):
    """Its representative dataset."""
    path = tmp_path_factory.mktemp("calibration") / "samples.npz"
    np.savez(path, **inputs)
    return path


def test_the_frozen_graph_keeps_names_and_order(frozen):
    """Inputs and outputs come in the Keras model's order and under its names, at batch 1."""
    assert [(tensor.name, tensor.shape) for tensor in frozen.inputs] == [("picture", (1, 8, 8, 3)), ("angle", (1, 5))]
    assert [(tensor.name, tensor.shape) for tensor in frozen.outputs] == [("zebra", (1, 3)), ("aardvark", (1, 2))]


def test_macs_are_those_of_the_layers(frozen, model):
    """Multiply-accumulates are counted as the layers' closed forms add up to."""
    convolution, depthwise, dense = 8 * 8 * 9 * 3 * 4, 6 * 6 * 9 * 4, 5 * 6 + 10 * 3 + 10 * 2
    assert frozen.macs == convolution + depthwise + dense
    assert frozen.parameters == model.count_params()


def test_macs_of_attention_are_counted(tmp_path):
    """The products of an attention layer, which Keras writes as Einsum, are counted."""
    x = keras.Input((6, 8), name="x")
    attention = keras.layers.MultiHeadAttention(2, 4, use_bias=False)
    projections, products = 4 * 6 * 8 * 8, 2 * 2 * 6 * 6 * 4
    assert freeze(keras.Model(x, attention(x, x)), tmp_path / "graph").macs == projections + products


def test_macs_of_products_that_are_summed_up_are_counted(tmp_path):
    """Messages written as a product and a sum over neighbours cost one multiply-accumulate for each product."""
    filters, features = keras.Input((5, 5, 3), name="filters"), keras.Input((1, 5, 3), name="features")
    messages = keras.ops.sum(filters * features, axis=2)
    assert freeze(keras.Model([filters, features], messages), tmp_path / "graph").macs == 5 * 5 * 3


def test_macs_in_loops_are_counted_as_often_as_they_run(tmp_path):
    """A rolled LSTM's products are those of all of its steps, those with the state included."""
    x = keras.Input((6, 4), name="x")
    frozen = freeze(keras.Model(x, keras.layers.LSTM(5, name="y")(x)), tmp_path / "graph")
    made = convert(frozen, "tflite", "float32", tmp_path / "made")
    assert made.artifact.macs == 6 * (4 + 5) * 4 * 5


def test_macs_of_transposed_convolutions_are_counted(tmp_path):
    """Each input element is multiplied by each weight that it goes to, in two and in three dimensions."""
    picture, volume = keras.Input((8, 8, 3), name="picture"), keras.Input((4, 4, 4, 2), name="volume")
    wide = keras.layers.Conv2DTranspose(4, 3, 2, "same")(picture)
    deep = keras.layers.Conv3DTranspose(3, 2, 2)(volume)
    frozen = freeze(keras.Model([picture, volume], [wide, deep]), tmp_path / "graph")
    assert frozen.macs == 8 * 8 * 3 * 3 * 3 * 4 + 4 * 4 * 4 * 2 * 2 * 2 * 2 * 3


@pytest.mark.parametrize("activation", ["silu", "gelu", "softplus", "mish", "hard_swish", "elu"])
def test_activations_with_gradients_of_their_own_are_frozen(activation, tmp_path):
    """An activation whose operation defines its own gradient is frozen and converted like any other."""
    x = keras.Input((4,), name="x")
    small = keras.Model(x, keras.layers.Dense(3, activation=activation, name="y")(x))
    made = convert(freeze(small, tmp_path / "graph"), "tflite", "float32", tmp_path / "tflite")
    assert made.artifact, made.reason


def test_an_answer_of_a_convolution_in_groups_keeps_its_shape(tmp_path):
    """What Keras compiles as a function of its own stands among the frozen operations, so that converters see it."""
    x = keras.Input((6, 4), name="x")
    y = keras.layers.Conv1D(4, 3, padding="same", groups=2, use_bias=False, activation="relu", name="y")(x)
    frozen = freeze(keras.Model(x, y), tmp_path / "graph")
    assert frozen.outputs[0].shape == (1, 6, 4)
    assert "Conv2D" in frozen.types
    assert "StatefulPartitionedCall" not in frozen.types
    assert frozen.macs == 6 * 4 * 3 * 2


def test_an_unknown_dimension_is_refused(tmp_path):
    """An input with an unknown length names the input and its shape."""
    x = keras.Input((None, 4), name="sequence")
    with pytest.raises(InputError, match=r"'sequence'.*\(None, None, 4\)"):
        freeze(keras.Model(x, keras.layers.Dense(2)(x)), tmp_path / "graph")


@pytest.mark.parametrize("format", names())
def test_convolutions_in_groups_are_exported_wherever_they_stand(format, tmp_path):
    """In front of an activation with a pooling, and at the model's end; shapes and multiply-accumulates are known."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 6), name="picture")
    x = keras.layers.Conv2D(6, 3, groups=3, name="grouped")(picture)
    classes = keras.layers.Dense(4, name="classes")(keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)))
    model = keras.Model(picture, [x, classes], name="groups")
    frozen = freeze(model, tmp_path / "graph")
    assert [tensor.shape for tensor in frozen.outputs] == [(1, 6, 6, 6), (1, 4)]
    assert frozen.macs == 6 * 6 * 6 * 3 * 3 * 2 + 6 * 4
    samples = np.random.default_rng(0).normal(size=(3, 8, 8, 6)).astype("float32")
    made = convert(frozen, format, "float32", tmp_path / "made")
    assert made.artifact, made.reason
    assert read_graph(made.artifact.path).macs == frozen.macs
    ran = run_artifact(made.artifact.path, runtimes.for_format(format)[0], {"picture": samples})
    assert ran.ok, ran.reason
    for name, expected in zip(("grouped", "classes"), model(samples), strict=True):
        np.testing.assert_allclose(ran.outputs[name], expected, atol=1e-5)


def test_an_output_of_unknown_rank_is_refused(tmp_path):
    """What a layer has Python compute ends in a tensor of unknown shape, which is told with the output's name."""

    class Called(keras.layers.Layer):
        """Doubles, in Python."""

        def compute_output_shape(self, shape):
            """Return the input's."""
            return shape

        def call(self, x):
            """Return twice x."""
            return tf.numpy_function(lambda array: array * 2, [x], tf.float32)

    x = keras.Input((4,), name="x")
    with pytest.raises(InputError, match=r"'doubled'.*unknown"):
        freeze(keras.Model(x, Called(name="doubled")(x)), tmp_path / "graph")


def test_what_a_layer_has_compiled_is_frozen_as_operations(tmp_path):
    """A function of the user's own that XLA compiles is in the graph by its operations, with its shape."""

    class Compiled(keras.layers.Layer):
        """Doubles, in a function that XLA compiles."""

        def call(self, x):
            """Return twice x."""
            return tf.function(lambda tensor: tensor * 2, jit_compile=True)(x)

    x = keras.Input((4,), name="x")
    frozen = freeze(keras.Model(x, Compiled(name="doubled")(x)), tmp_path / "graph")
    assert frozen.outputs[0].shape == (1, 4)
    made = convert(frozen, "onnx", "float32", tmp_path / "made")
    assert made.artifact, made.reason


def test_a_table_of_words_or_numbers_is_refused(tmp_path):
    """What a layer looks up in a table no file can hold: the layer is named, Keras's own and one of the user's."""

    class Looks(keras.layers.Layer):
        """Looks numbers up in a table of TensorFlow's."""

        def build(self, shape):
            """Make the table."""
            keys = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2], tf.int64), tf.constant([3, 4], tf.int64))
            self.table = tf.lookup.StaticHashTable(keys, 0)

        def call(self, x):
            """Return what the table holds."""
            return self.table.lookup(tf.cast(x, tf.int64))

    numbers = keras.Input((4,), name="numbers", dtype="int32")
    for layer in (keras.layers.IntegerLookup(vocabulary=[1, 2], name="known"), Looks(name="known")):
        with pytest.raises(InputError, match="'?known.*table"):
            freeze(keras.Model(numbers, layer(numbers)), tmp_path / type(layer).__name__)


class _Draws(keras.layers.Layer):
    """A layer that draws random numbers as it is run."""

    def __init__(self, draw):
        super().__init__(name="noise")
        self.draw = draw

    def call(self, x):
        """Return ``x`` with what is drawn."""
        return x + self.draw(x)


@pytest.mark.parametrize("format", names())
def test_numbers_drawn_of_a_fixed_seed_are_constants_of_the_file(format, tmp_path):
    """Every format adds the very numbers that Keras draws, none its own generator's."""
    x = keras.Input((4,), name="x")
    noise = _Draws(lambda x: keras.random.normal((4,), seed=3) * keras.random.uniform((4,), seed=4))
    model = keras.Model(x, noise(keras.layers.Dense(4)(x)))
    made = convert(freeze(model, tmp_path / "graph"), format, "float32", tmp_path / "out")
    assert made.artifact, made.reason
    samples = {"x": np.random.default_rng(0).normal(size=(4, 4)).astype("float32")}
    run = run_artifact(made.artifact.path, runtimes.for_format(format)[0], samples)
    np.testing.assert_allclose(run.outputs["noise"], outputs_of(model, Dataset(samples))["noise"], atol=1e-5)


@pytest.mark.parametrize(
    ("draw", "which"),
    [
        (lambda x: keras.random.normal(keras.ops.shape(x), seed=3), "others for each sample"),
        (lambda x: tf.random.normal((4,)), "other ones at each call"),
        (
            lambda x: keras.ops.cast(keras.random.categorical(x, 4, seed=3), "float32"),
            "numbers that depend on its input",
        ),
        (lambda x: keras.ops.fori_loop(0, 3, lambda i, a: a + keras.random.normal((4,), seed=3), x), "in a loop"),
    ],
)
def test_a_model_that_draws_other_numbers_is_refused(draw, which, tmp_path):
    """What no file can repeat is an error that names the layer: each file would draw numbers of its own."""
    x = keras.Input((4,), name="x")
    with pytest.raises(InputError, match=f"draws no random numbers.*noise.*{which}"):
        freeze(keras.Model(x, _Draws(draw)(x)), tmp_path / "graph")


@pytest.mark.parametrize("format", names())
def test_an_operation_that_a_format_lacks_is_named_with_its_layer(format, tmp_path):
    """A conversion that fails of an operation says which one, and in which of the model's layers it stands."""
    x = keras.Input((4, 4), name="x")
    inner = keras.Sequential([keras.Input((4, 4)), keras.layers.Lambda(keras.ops.svd, name="parts")], name="inner")
    model = keras.Model(x, keras.layers.Dense(2)(inner(keras.layers.Dense(4)(x))[1]))
    made = convert(freeze(model, tmp_path / "graph"), format, "float32", tmp_path / "out")
    title = get(format).title
    assert made.reason == f"Expected operations that {title}'s converter knows. Got: Svd in layer 'inner/parts'."


def test_a_model_that_keeps_a_state_is_refused(tmp_path):
    """A recurrent layer that goes on from its last state writes a variable, which no file holds: it is named."""
    x = keras.Input(batch_shape=(1, 6, 5), name="x")
    with pytest.raises(InputError, match="writes no variable.*keeper"):
        freeze(keras.Model(x, keras.layers.LSTM(3, stateful=True, name="keeper")(x)), tmp_path / "graph")


def _onnx_answers(function, samples, folder):
    """Return what ONNX Runtime and Keras answer where a layer computes ``function`` of the samples."""

    class Computes(keras.layers.Layer):
        """Computes the function."""

        def call(self, x):
            """Return the function of x."""
            return function(x)

    x = keras.Input(samples.shape[1:], name="x")
    model = keras.Model(x, Computes(name="y")(x), name="computes")
    made = convert(freeze(model, folder / "graph"), "onnx", "float32", folder / "made")
    assert made.artifact, made.reason
    ran = run_artifact(made.artifact.path, "onnxruntime", {"x": samples})
    assert ran.ok, ran.reason
    return ran.outputs["y"], np.asarray(model(samples))


def test_a_choice_in_onnx_avoids_what_is_not_chosen(tmp_path):
    """A division by zero and a logarithm of a negative number that a condition avoids leave no NaN in ONNX."""
    samples = np.asarray([[-1.0, 0.0, 2.0]], "float32")
    found, expected = _onnx_answers(
        lambda x: keras.ops.where(x > 0, keras.ops.log(x) / x, keras.ops.where(x < 0, -1.0, 5.0)), samples, tmp_path
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_splits_of_one_tensor_into_different_numbers_of_parts_stay_apart(tmp_path):
    """In ONNX a tensor is cut into two, into three and into single rows, and each reader gets its own part."""

    def parts(x):
        halves, thirds = keras.ops.split(x, 2, axis=1), keras.ops.split(x, 3, axis=1)
        rows = keras.ops.unstack(x, axis=1)
        return (
            keras.ops.mean(halves[0], 1) - 2 * keras.ops.max(thirds[0], 1) + 3 * keras.ops.min(halves[1], 1) + rows[1]
        )

    samples = np.random.default_rng(0).normal(size=(1, 6, 5)).astype("float32")
    found, expected = _onnx_answers(parts, samples, tmp_path)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"model": "my model"}, {"model": "modèle"}, {"x": "in put"}, {"y": "dé nse"}])
def test_a_name_that_no_graph_can_have_is_refused(wrong, tmp_path):
    """A space or an accent in the name of a model, an input or a layer is an error that tells which."""
    x = keras.Input((3,), name=wrong.get("x", "x"))
    y = keras.layers.Dense(2, name=wrong.get("y", "y"))(x)
    (name,) = wrong.values()
    with pytest.raises(InputError, match=f"Expected a name of ASCII letters.*Got: {name!r}"):
        freeze(keras.Model(x, y, name=wrong.get("model", "model")), tmp_path / "graph")


def test_a_model_that_cannot_be_run_is_refused(tmp_path):
    """Of a model that Keras builds but cannot compute, the model and the layer are told."""
    x = keras.Input((6,), name="x")
    broken = keras.layers.Dense(10, activation="glu", name="second")(keras.layers.Dense(10, activation="glu")(x))
    with pytest.raises(InputError, match="'halved', whose call at batch 1 fails: .*'second'"):
        freeze(keras.Model(x, broken, name="halved"), tmp_path / "graph")


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_files_have_no_16_bit_floats_at_their_edges(kind, tmp_path):
    """A model of 16-bit floats is fed float32 and answers in it, what Keras computes to that type's precision."""
    from edgewright.runtimes import run_artifact

    x = keras.Input((6,), name="x", dtype=kind)
    narrow = keras.Model(x, keras.layers.Dense(3, name="y", dtype=kind)(x))
    frozen = freeze(narrow, tmp_path / "graph")
    assert {tensor.dtype for tensor in (*frozen.inputs, *frozen.outputs)} == {"float32"}
    made = convert(frozen, "openvino", "float32", tmp_path / "out")
    assert made.artifact, made.reason
    samples = {"x": np.random.default_rng(0).normal(size=(4, 6)).astype("float32")}
    run = run_artifact(made.artifact.path, "openvino", samples)
    assert run.ok, run.reason
    expected = outputs_of(narrow, Dataset(samples))["y"]
    assert expected.dtype == run.outputs["y"].dtype == np.float32
    np.testing.assert_allclose(run.outputs["y"], expected, atol=0.05)


def test_outputs_are_named_by_their_keys_and_never_as_inputs():
    """A dictionary's keys name the outputs, else their layers do; an input that is an output has another name there."""
    x = keras.Input((3,), name="x")
    y = keras.layers.Dense(2, name="y")(x)
    assert output_names(keras.Model(x, {"score": y, "raw": x})) == ["raw", "score"]
    assert output_names(keras.Model(x, {"x": y})) == ["x_output"]
    assert output_names(keras.Model(x, {"a:b": y})) == ["a_b"]
    assert output_names(keras.Model(x, [y, x])) == ["y", "x_output"]
    assert output_names(keras.Model(x, {"first": {"y": y}, "z": x})) == ["y", "x_output"]


@pytest.mark.parametrize("format", names())
def test_an_input_that_is_an_output_too_is_exported(format, tmp_path):
    """Its values come back unchanged, beside what is computed of them."""
    from edgewright.runtimes import for_format, run_artifact

    x = keras.Input((6,), name="x")
    both = keras.Model(x, {"y": keras.layers.Dense(1, name="y")(x), "raw": x})
    made = convert(freeze(both, tmp_path / "graph"), format, "float32", tmp_path / "out")
    assert made.artifact, made.reason
    samples = {"x": np.random.default_rng(0).normal(size=(4, 6)).astype("float32")}
    run = run_artifact(made.artifact.path, for_format(format)[0], samples)
    assert run.ok, run.reason
    assert set(run.outputs) == {"y", "raw"}
    np.testing.assert_array_equal(run.outputs["raw"], samples["x"])


@pytest.mark.parametrize("format", names())
def test_what_is_an_output_twice_is_exported(format, tmp_path):
    """Two outputs of one tensor have two names in a file, and both hold its values."""
    x = keras.Input((6,), name="x")
    y = keras.layers.Dense(3, name="y")(x)
    model = keras.Model(x, {"a": y, "b": y})
    made = convert(freeze(model, tmp_path / "graph"), format, "float32", tmp_path / "out")
    assert made.artifact, made.reason
    samples = {"x": np.random.default_rng(0).normal(size=(4, 6)).astype("float32")}
    run = run_artifact(made.artifact.path, runtimes.for_format(format)[0], samples)
    assert run.ok, run.reason
    for name in ("a", "b"):
        np.testing.assert_allclose(run.outputs[name], outputs_of(model, Dataset(samples))[name], atol=1e-6)


@pytest.mark.parametrize("kind", ["int16", "uint16", "float64"])
def test_inputs_of_types_that_openvino_does_not_quantize_are_exported_in_int8(kind, tmp_path):
    """Its CPU plug-in fuses an input's conversion with the quantizer behind it, and then does not load the file."""
    x = keras.Input((2, 3), name="x", dtype=kind)
    model = keras.Model(x, keras.layers.Dense(4, name="y")(keras.ops.cast(x, "float32")))
    samples = {"x": np.random.default_rng(0).integers(0, 9, size=(40, 2, 3)).astype(kind)}
    np.savez(tmp_path / "samples.npz", **samples)
    made = convert(freeze(model, tmp_path / "graph"), "openvino", "int8", tmp_path / "out", tmp_path / "samples.npz")
    assert made.artifact, made.reason
    run = run_artifact(made.artifact.path, "openvino", samples)
    assert run.ok, run.reason
    expected = outputs_of(model, Dataset(samples))["y"]
    np.testing.assert_allclose(run.outputs["y"], expected, atol=0.02 * np.ptp(expected))


def test_models_of_tokens_are_exported_with_16_bit_activations(tmp_path):
    """TensorFlow's 16-bit calibrator wants ranges of integers too and fails; the file is right all the same."""
    x = keras.Input((6,), name="x", dtype="int32")
    y = keras.layers.Conv1D(6, 3, activation="relu")(keras.layers.Embedding(20, 8)(x))
    model = keras.Model(x, keras.layers.Dense(3, name="y")(keras.layers.Flatten()(y)))
    samples = {"x": np.random.default_rng(0).integers(0, 20, size=(40, 6)).astype("int32")}
    np.savez(tmp_path / "samples.npz", **samples)
    made = convert(freeze(model, tmp_path / "graph"), "tflite", "int16x8", tmp_path / "out", tmp_path / "samples.npz")
    assert made.artifact, made.reason
    assert [tensor.dtype for tensor in (*made.artifact.inputs, *made.artifact.outputs)] == ["int32", "int16"]
    run = run_artifact(made.artifact.path, "litert", samples)
    expected = outputs_of(model, Dataset(samples))["y"]
    np.testing.assert_allclose(run.outputs["y"], expected, atol=0.01 * np.ptp(expected))


@pytest.mark.parametrize(("format", "precision"), CELLS)
def test_every_format_is_converted_and_right(format, precision, frozen, model, inputs, calibration, tmp_path):
    """An artifact has the model's signature, and in its runtimes it computes what Keras computes."""
    from edgewright.runtimes import for_format, run_artifact
    from edgewright.runtimes import get as get_runtime

    made = convert(frozen, format, precision, tmp_path / "out", calibration)
    assert made.artifact, made.reason
    artifact = made.artifact
    assert [tensor.name for tensor in artifact.inputs] == ["picture", "angle"]
    assert [tensor.name for tensor in artifact.outputs] == ["zebra", "aardvark"]
    assert artifact.path.suffix == get(format).suffix
    assert artifact.operations
    expected = outputs_of(model, Dataset(inputs))
    runtimes = [name for name in for_format(format) if get_runtime(name).version()]
    assert runtimes
    for name in runtimes:
        samples = {key: array[:16] for key, array in inputs.items()}
        run = run_artifact(artifact.path, name, samples)
        assert run.ok, run.reason
        for output, array in expected.items():
            tolerance = 1e-5 if precision == "float32" else 0.05 * float(np.ptp(array))
            np.testing.assert_allclose(run.outputs[output], array[:16], atol=tolerance, err_msg=f"{name} {output}")


@pytest.mark.parametrize("format", names())
def test_int8_files_are_made_of_integers(format, frozen, calibration, tmp_path):
    """An int8 artifact is smaller than the float one, and its integer operations are listed."""
    artifact = convert(frozen, format, "int8", tmp_path / "out", calibration).artifact
    assert artifact is not None
    kinds = {operation.name for operation in artifact.operations}
    types = {dtype for operation in artifact.operations for dtype in operation.dtypes}
    assert "int8" in types or "FakeQuantize" in kinds
    if format == "tflite":
        assert {tensor.dtype for tensor in (*artifact.inputs, *artifact.outputs)} == {"int8"}
        assert all(tensor.scale for tensor in (*artifact.inputs, *artifact.outputs))


@pytest.mark.parametrize(
    ("body", "limit_s", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", 120, "killed by SIGSEGV"),
        ("time.sleep(60)", 6, "time limit of 6 s"),
        ("raise RuntimeError('no such operator')", 120, "no such operator"),
        ("os._exit(0)", 120, "left no usable file"),
    ],
)
def test_a_converter_that_dies_is_a_recorded_failure(body, limit_s, reason, frozen, tmp_path, monkeypatch):
    """A converter that crashes, hangs, raises or writes nothing is a reason, and this process goes on."""
    install_broken_exporter(tmp_path, body, monkeypatch)
    made = convert(frozen, "broken", "float32", tmp_path / "out", time_limit_s=limit_s)
    assert made.artifact is None
    assert reason in made.reason


def test_a_full_disk_is_no_fault_of_an_artifact(frozen, tmp_path, monkeypatch):
    """A converter that finds no room ends the export as an error of the environment, not as an artifact that failed."""
    install_broken_exporter(tmp_path, "raise OSError(28, os.strerror(28))", monkeypatch)
    with pytest.raises(MissingRequirement, match="Expected room .* No space left on device"):
        convert(frozen, "broken", "float32", tmp_path / "out")


def test_a_precision_that_a_format_lacks_is_refused(frozen, tmp_path):
    """A precision or calibration that is missing is a usage error."""
    with pytest.raises(InputError, match="int4_weights. Got: 'int2'"):
        convert(frozen, "tflite", "int2", tmp_path)
    with pytest.raises(InputError, match="representative dataset"):
        convert(frozen, "tflite", "int8", tmp_path)


@pytest.fixture
def bundle_folder(tmp_path):
    """A bundle whose one artifact is a few bytes."""
    folder = tmp_path / "bundle"
    (folder / "artifacts").mkdir(parents=True)
    path = folder / "artifacts" / "model.float32.tflite"
    path.write_bytes(b"bytes")
    artifact = Artifact(path, "tflite", "float32", (), (), "", 5, 5)
    save_golden(folder, {"x": np.ones((2, 3))}, {"y": np.zeros((2, 1))})
    document = bundle_manifest((artifact,), model="tiny")
    write_json(folder / MANIFEST, {**document, "files": files_of(folder)})
    return folder


def test_a_bundle_reads_back(bundle_folder):
    """A bundle's artifacts, golden inputs and golden outputs come back as they were written."""
    bundle = load_bundle(bundle_folder)
    assert bundle.artifacts[0].path == bundle_folder / "artifacts" / "model.float32.tflite"
    assert artifact_at(plain_artifact(bundle.artifacts[0]), bundle.artifacts[0].path.parent) == bundle.artifacts[0]
    inputs, outputs = bundle.golden()
    assert inputs["x"].shape == (2, 3) and outputs["y"].shape == (2, 1)


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_a_bundle_with_a_changed_file_is_refused(bundle_folder, spoil):
    """A file that is not what the manifest says is named."""
    path = bundle_folder / "artifacts" / "model.float32.tflite"
    path.write_bytes(b"other") if spoil == "change" else path.unlink()
    with pytest.raises(InputError, match=r"artifacts/model.float32.tflite"):
        load_bundle(bundle_folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, bundle_folder):
    """A folder without our manifest, and a manifest of another schema, are refused."""
    with pytest.raises(InputError, match="no manifest.json of ours"):
        load_bundle(tmp_path)
    document = json.loads((bundle_folder / MANIFEST).read_text())
    write_json(bundle_folder / MANIFEST, {**document, "schema": 99})
    with pytest.raises(InputError, match="schema 99"):
        load_bundle(bundle_folder)
