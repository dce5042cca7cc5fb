"""export/ and compress/: int8 spends its steps where they tell: of logits, and of the parts of a concatenation."""

import keras
import numpy as np
import openvino
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

from edgewright.compress._activations import Activations
from edgewright.compress._points import SATURATED, find_points
from edgewright.export import convert, freeze
from edgewright.export._tflite_flatbuffer import gathered
from edgewright.export._tflite_int8 import mended
from edgewright.runtimes import run_artifact
from edgewright.train import Dataset
from edgewright.train._training import outputs_of

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}


def _sigmoid(logits):
    return layers.Activation("sigmoid")(logits)


def _gates(logits):
    """Two of a cell's gates, cut out of one product."""
    gate, state = ops.split(logits, 2, axis=-1)
    return ops.sigmoid(gate) * ops.tanh(state)


def _returned(logits):
    return [ops.sigmoid(logits), layers.Identity(name="logits")(logits)]


def _added(logits):
    return ops.sigmoid(logits) + logits


def _model(function):
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    dense = layers.Dense(6, name="dense")
    model = keras.Model(x, function(dense(x)))
    kernel = np.random.default_rng(1).integers(-127, 128, (8, 6))
    kernel[0] = 127
    dense.kernel.assign(kernel * 40 / 127)
    return model


def _samples():
    """Return inputs that int8 holds exactly, as it does the kernel: only the logits are rounded."""
    inputs = np.random.default_rng(0).integers(-128, 128, (256, 8))
    inputs[:2, 0] = -128, 127
    return {"x": (inputs / 127).astype("float32")}


def _exported(model, format, own, samples, folder):
    """Export to int8 by the ranges of the model's points, or by the format's own quantizer where ``own``."""
    np.savez(folder / "samples.npz", **samples)
    ranges = None if own else Activations().ranges_of(model, lambda *size: iter([samples]))
    made = convert(freeze(model, folder / "graph", ranges), format, "int8", folder / "made", folder / "samples.npz")
    assert made.artifact, made.reason
    return made


@pytest.mark.parametrize("function", [_sigmoid, _gates])
@pytest.mark.parametrize(("format", "own"), [("tflite", True), ("tflite", False), ("onnx", False), ("openvino", False)])
def test_a_sigmoid_of_large_logits_keeps_its_steps(function, format, own, tmp_path):
    """A step of 255 of logits of ±150 moves a sigmoid by up to 0.25; it is right to a tenth of that."""
    model = _model(function)
    path = _exported(model, format, own, _samples(), tmp_path).artifact.path
    (name,) = model.output_names
    answers = run_artifact(path, RUNTIMES[format], _samples()).outputs[name]
    expected = outputs_of(model, Dataset(_samples()))[name]
    assert np.abs(answers - expected).max() < 0.025


@pytest.mark.parametrize("function", [_returned, _added])
def test_logits_that_others_read_keep_their_range(function, tmp_path):
    """What is an output, or read by a sum, is not cut at what a sigmoid tells apart."""
    model = _model(function)
    path = _exported(model, "tflite", True, _samples(), tmp_path).artifact.path
    answers = run_artifact(path, "litert", _samples()).outputs
    name = model.output_names[-1]
    expected = outputs_of(model, Dataset(_samples()))[name]
    assert np.abs(answers[name] - expected).max() < 0.01 * np.ptp(expected)
    assert [point.beyond for point in find_points(model) if point.layer == "dense"] == [np.inf]


def test_a_point_knows_what_its_readers_tell_apart():
    """A point that a sigmoid and a tanh read, cut up in between, goes to the wider of their limits."""
    (logits,) = (point for point in find_points(_model(_gates)) if point.layer == "dense")
    assert logits.beyond == max(SATURATED.values())


def test_a_file_without_saturated_logits_stays(tmp_path):
    """A second time there is nothing to narrow, and a file that has no scales is handed back as it is."""
    path = _exported(_model(_sigmoid), "tflite", True, _samples(), tmp_path).artifact.path
    content = path.read_bytes()
    assert mended(content) == content
    (logits,) = (
        tensor
        for operator in gathered(content).subgraphs[0].operators
        for tensor in [gathered(content).subgraphs[0].tensors[int(operator.inputs[0])]]
        if operator.builtinOptions is None and tensor.quantization is not None and "dense" in tensor.name.decode()
    )
    assert logits.quantization.scale[0] == pytest.approx(16 / 255, rel=1e-3)
    Interpreter(model_content=content).allocate_tensors()


def _joined(x, head):
    """Directions of one beside activations of hundreds, and weights that make as much of both."""
    made = head(layers.Concatenate()([x * 300.0, ops.tanh(x)]))
    large, small = np.split(head.kernel.numpy(), 2, -2)
    head.kernel.assign(np.concatenate([large / 100, small * 4], -2))
    return made


def _of_parts(function, shape):
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, name="x")
    return keras.Model(x, function(x)), {"x": np.random.default_rng(0).normal(size=(64, *shape)).astype("float32")}


@pytest.mark.parametrize(
    ("shape", "head"),
    [
        ((8,), lambda: layers.Dense(6)),
        ((6, 8), lambda: layers.Dense(6)),
        ((6, 8), lambda: layers.Conv1D(6, 3, dilation_rate=2, padding="causal")),
        ((5, 5, 8), lambda: layers.Conv2D(6, 3, padding="same")),
    ],
)
@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize("own", [True, False])
def test_small_parts_of_a_concatenation_keep_their_bits(shape, head, format, own, tmp_path):
    """Directions beside activations of hundreds are told apart in int8, where they were three steps of the scale."""
    model, samples = _of_parts(lambda x: _joined(x, head()), shape)
    made = _exported(model, format, own, samples, tmp_path)
    assert [(each.operations, each.refused) for each in made.legalised if each.name == "scaled-parts"] == [(1, "")]
    (answers,) = run_artifact(made.artifact.path, RUNTIMES[format], samples).outputs.values()
    (expected,) = outputs_of(model, Dataset(samples)).values()
    assert np.sqrt(np.mean((answers - expected) ** 2)) < 0.03 * np.std(expected)


def _alike(x):
    return layers.Dense(4)(layers.Concatenate()([layers.Dense(8)(x), ops.tanh(x)]))


def _summed(x):
    head = layers.Dense(16)
    return _joined(x, head) + head.input


def _given_back(x):
    head = layers.Dense(4, name="head")
    return [_joined(x, head), head.input]


@pytest.mark.parametrize("function", [_alike, _summed, _given_back])
def test_parts_that_are_alike_or_go_elsewhere_are_not_scaled(function, tmp_path):
    """A concatenation stays as it is where its parts are alike, where it is an output, and where a sum takes it."""
    model, samples = _of_parts(function, (8,))
    made = _exported(model, "tflite", True, samples, tmp_path)
    assert "scaled-parts" not in {each.name for each in made.legalised}


def _by_openvino(activation, folder):
    """Export a perceptron to int8 by NNCF; return its file and by how much of their deviation its answers are off."""
    keras.utils.set_random_seed(0)
    x = hidden = keras.Input((16,), name="x")
    for _ in range(3):
        hidden = layers.Dense(32, activation=activation, kernel_initializer="he_normal")(hidden)
    model = keras.Model(x, layers.Dense(3)(hidden))
    samples = {"x": np.random.default_rng(0).normal(size=(128, 16)).astype("float32")}
    path = _exported(model, "openvino", True, samples, folder).artifact.path
    (name,) = model.output_names
    expected = outputs_of(model, Dataset(samples))[name]
    errors = run_artifact(path, "openvino", samples).outputs[name] - expected
    return path, float(np.sqrt(np.mean(errors**2)) / expected.std())


def _is_symmetric(path):
    """Tell whether the steps of each hidden layer's activations reach as far below zero as above it, or not at all."""
    read = openvino.Core().read_model(path)
    rounded = [node for node in read.get_ops() if node.get_type_name() == "FakeQuantize"]
    ends = [[float(np.min(node.input_value(port).get_node().data)) for port in (1, 2)] for node in rounded]
    return all(low == 0 or low == pytest.approx(-high, rel=0.02) for low, high in ends)


@pytest.mark.parametrize("activation", ["silu", "hard_silu", "leaky_relu", "mish"])
def test_openvino_spends_no_steps_on_what_an_activation_never_gives(activation, tmp_path):
    """Activations that end a little below zero are asymmetric in OpenVINO's int8: errors of 3.3 to 3.9 % shrink."""
    path, error = _by_openvino(activation, tmp_path)
    assert not _is_symmetric(path)
    assert error < 0.025


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_openvino_stays_symmetric_where_nothing_is_gained(activation, tmp_path):
    """Asymmetric steps cost time in a CPU's products: an activation that is zero on one side does without."""
    path, error = _by_openvino(activation, tmp_path)
    assert _is_symmetric(path)
    assert error < 0.03


def _of_words():
    keras.utils.set_random_seed(0)
    words = keras.Input((12,), dtype="int32", name="words")
    hidden = layers.Conv1D(8, 3, activation="relu")(layers.Embedding(500, 16, name="table")(words))
    model = keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden)))
    # Words that the samples lack, with the largest rows.
    table = model.get_layer("table").embeddings
    table.assign(np.random.default_rng(0).normal(size=(500, 16)) * np.where(np.arange(500) < 400, 0.2, 1.0)[:, None])
    return model, {"words": np.random.default_rng(1).integers(0, 400, (64, 12)).astype("int32")}


@pytest.mark.parametrize("format", RUNTIMES)
def test_a_table_is_stored_in_int8_and_holds_words_that_no_sample_has(format, tmp_path):
    """By one graph of ranges an embedding has int8; its scale is the table's, not that of the samples."""
    model, samples = _of_words()
    made = _exported(model, format, False, samples, tmp_path)
    words = {"words": np.random.default_rng(2).integers(400, 500, (32, 12)).astype("int32")}
    path = made.artifact.path
    size = sum(each.stat().st_size for each in (path, *dict(made.artifact.companions)) if each.suffix != ".xml")
    assert size < 2 * 500 * 16
    (answers,) = run_artifact(path, RUNTIMES[format], samples).outputs.values()
    (expected,) = outputs_of(model, Dataset(samples)).values()
    assert np.sqrt(np.mean((answers - expected) ** 2)) < 0.1 * np.std(expected)
    (unseen,) = run_artifact(path, RUNTIMES[format], words).outputs.values()
    assert np.abs(unseen).max() > np.abs(expected).max()


@pytest.mark.parametrize("format", RUNTIMES)
def test_a_transposed_convolution_is_stored_in_int8(format, tmp_path):
    """By one graph of ranges its kernel has int8 and a scale for each output channel, as any other has."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 32), name="x")
    model = keras.Model(x, layers.Conv2DTranspose(48, 3, 2, padding="same", activation="relu")(x))
    scales = np.geomspace(0.01, 1, 48)
    kernel = model.layers[-1].kernel
    kernel.assign(kernel * scales[:, None])
    samples = {"x": np.random.default_rng(0).normal(size=(16, 6, 6, 32)).astype("float32")}
    made = _exported(model, format, False, samples, tmp_path)
    path = made.artifact.path
    size = sum(each.stat().st_size for each in (path, *dict(made.artifact.companions)) if each.suffix != ".xml")
    assert size < 1.5 * 9 * 32 * 48
    (answers,) = run_artifact(path, RUNTIMES[format], samples).outputs.values()
    (expected,) = outputs_of(model, Dataset(samples)).values()
    assert np.sqrt(np.mean((answers - expected) ** 2)) < 0.03 * np.std(expected)


@pytest.mark.parametrize(("kind", "activation"), [("Dense", "relu"), ("Conv2D", "relu"), ("Conv2D", "relu6")])
def test_an_output_of_openvino_keeps_the_activation_that_ends_it(kind, activation, tmp_path):
    """The last ReLU or ReLU6 is there although an output is not rounded: the converter put it into the range."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 8), name="x")
    more = {} if kind == "Dense" else {"kernel_size": 3}
    model = keras.Model(x, getattr(layers, kind)(8, activation=activation, **more)(x))
    model.layers[-1].bias.assign(np.linspace(-4, 8, 8))
    samples = {"x": np.random.default_rng(0).normal(size=(16, 6, 6, 8)).astype("float32")}
    made = _exported(model, "openvino", False, samples, tmp_path)
    (answers,) = run_artifact(made.artifact.path, "openvino", samples).outputs.values()
    (expected,) = outputs_of(model, Dataset(samples)).values()
    assert np.sqrt(np.mean((answers - expected) ** 2)) < 0.03 * np.std(expected)


def _shaped(activation):
    return lambda x: layers.Conv1D(6, 3, padding="same", activation=activation)(layers.Reshape((4, 2))(x))


def _pictured(x):
    return layers.Reshape((2, 1, 4))(x)


def _half_zero(x):
    """Return a sum with a part that is zero on all samples, as an untouched branch is."""
    hidden = layers.Dense(8)(x)
    return hidden + ops.relu(ops.abs(hidden) * -1.0)


def _chosen(x):
    """Return what is above zero, and elsewhere something that never is."""
    hidden = layers.Dense(8)(x)
    return layers.Dense(4)(ops.where(hidden > 0, hidden, -3.0 * ops.relu(layers.Dense(8)(x))))


def _maximum(x):
    return layers.Flatten()(ops.maximum(layers.Conv2DTranspose(4, 3)(_pictured(x)) / 4, _pictured(x)[:, :1]))


@pytest.mark.parametrize(
    ("function", "own"),
    [
        (layers.Dense(8, activation="hard_sigmoid"), False),
        (_shaped("celu"), False),
        (_shaped("celu"), True),
        (_shaped("sparse_plus"), False),
        (_maximum, False),
        (_maximum, True),
        (_chosen, False),
        (_half_zero, False),
    ],
    ids=["hard sigmoid", "celu", "celu, own", "sparse plus", "maximum", "maximum, own", "choice", "zero"],
)
def test_tflite_rounds_what_activations_are_made_of(function, own, tmp_path):
    """A constant added to all channels, what others read on its way to a maximum, a choice, a part that is zero."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    model = keras.Model(x, function(x))
    samples = {"x": np.random.default_rng(0).normal(size=(32, 8)).astype("float32")}
    made = _exported(model, "tflite", own, samples, tmp_path)
    (answers,) = run_artifact(made.artifact.path, "litert", samples).outputs.values()
    (expected,) = outputs_of(model, Dataset(samples)).values()
    assert np.sqrt(np.mean((answers - expected) ** 2)) < 0.03 * np.std(expected)
