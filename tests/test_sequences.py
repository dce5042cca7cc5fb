"""export/, compress/: convolutions of sequences and dilated ones, whose products TensorFlow moves before the bias."""

from collections import Counter

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

from edgewright import export as export_bundle
from edgewright.compress import compress, parse_recipe
from edgewright.compress._activations import Activations, fake_quantizer
from edgewright.compress._points import find_points, run_at_points
from edgewright.export import _worker, freeze, get
from edgewright.export._exporter import Job
from edgewright.export._frozen_graph import read_frozen_graph
from edgewright.export._pass import Target
from edgewright.runtimes import for_format, run_artifact
from edgewright.train import Dataset, Task

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}
SEQUENCE, PICTURE = (24, 8), (10, 10, 8)


def _normalized(convolution):
    return lambda x: layers.ReLU()(layers.BatchNormalization()(convolution(x)))


def _residual(x):
    x = layers.Conv1D(8, 1)(x)
    return x + layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(x)


# What the model has twice, and its input.
KINDS = {
    "sequence": (lambda x: layers.Conv1D(8, 3, activation="relu")(x), SEQUENCE),
    "causal": (lambda x: layers.Conv1D(8, 3, padding="causal", activation="relu")(x), SEQUENCE),
    "strided": (lambda x: layers.Conv1D(8, 3, 2, padding="same", activation="relu")(x), SEQUENCE),
    "normalized": (lambda x: _normalized(layers.Conv1D(8, 3, padding="same"))(x), SEQUENCE),
    "separable": (lambda x: layers.SeparableConv1D(8, 3, padding="same", activation="relu")(x), SEQUENCE),
    "groups": (lambda x: layers.Conv1D(8, 3, groups=2, dilation_rate=2, activation="relu")(x), SEQUENCE),
    "dilated": (lambda x: layers.Conv1D(8, 3, padding="causal", dilation_rate=4, activation="relu")(x), SEQUENCE),
    "bare": (lambda x: layers.Conv1D(8, 3, dilation_rate=2, use_bias=False)(x), SEQUENCE),
    "residual": (_residual, SEQUENCE),
    "dilated picture": (lambda x: layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu")(x), PICTURE),
    "depthwise picture": (
        lambda x: _normalized(layers.DepthwiseConv2D(3, dilation_rate=2, use_bias=False))(x),
        PICTURE,
    ),
}


def _model(function, size):
    """Return a model that has something twice and ends in a dense layer, with biases and statistics at random."""
    keras.utils.set_random_seed(0)
    x = y = keras.Input(size, name="x")
    for _ in range(2):
        y = function(y)
    model = keras.Model(x, layers.Dense(4, name="y")(layers.Flatten()(y)))
    random = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("bias", "beta", "moving_mean")):
            variable.assign(random.normal(size=variable.shape) / 2)
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(random.uniform(0.3, 2, variable.shape))
    return model


def _samples(model, count=48):
    return np.random.default_rng(1).normal(size=(count, *model.input.shape[1:])).astype("float32")


def _legalised(model, format, precision, folder, ranges=None):
    """Return the job that a converter is given, with ranges of the activations where there are any."""
    np.savez(folder / "samples.npz", x=_samples(model))
    frozen = freeze(model, folder / "graph", ranges)
    (folder / "out").mkdir()
    place = folder / "out"
    job = Job(
        saved_model=frozen.folder,
        precision=precision,
        inputs=frozen.inputs,
        outputs=frozen.outputs,
        calibration=folder / "samples.npz",
        folder=place,
        stem="model",
        quantized=frozen.quantized,
    )
    return _worker._legalised(job, Target(format, precision), frozen.types)


def _error(model, format, exported):
    """Run a file; return the root of the mean square difference from Keras, over the outputs' standard deviation."""
    ran = run_artifact(exported.path, RUNTIMES[format], {"x": _samples(model)})
    assert ran.ok, ran.reason
    expected = np.asarray(model(_samples(model)))
    return float(np.sqrt(np.mean((ran.outputs["y"] - expected) ** 2)) / expected.std())


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_that_is_moved_has_one_point_with_its_bias_and_activation(kind):
    """What TensorFlow puts between a product and its bias makes no point: one is behind all that runtimes fuse."""
    points = [point.operation for point in find_points(_model(*KINDS[kind]))]
    each = {
        "separable": ["DepthwiseConv2dNative", "Relu"],
        "bare": ["Conv2D"],
        "residual": ["Add", "Relu", "Add"],
    }.get(kind, ["Relu"])
    assert points == ["Placeholder", *each, *each, "Add"]


@pytest.mark.parametrize("layer", [layers.Conv1DTranspose, layers.Conv2DTranspose])
def test_a_transposed_convolution_has_one_point_with_its_bias_and_activation(layer):
    """TFLite adds the bias of a transposed convolution as it computes it."""
    size = (6, 6, 8) if layer is layers.Conv2DTranspose else (6, 8)
    points = [point.operation for point in find_points(_model(lambda x: layer(4, 3, 2, activation="relu")(x), size))]
    assert points == ["Placeholder", "Relu", "Relu", "Add"]


def test_what_is_computed_of_a_flattened_product_by_place_is_not_folded_into_it():
    """A normalization of each place, not of each channel, leaves the point behind the bias."""
    x = keras.Input(SEQUENCE)
    y = layers.BatchNormalization()(layers.Flatten()(layers.Conv1D(1, 3, name="one")(x)))
    assert [point.name for point in find_points(keras.Model(x, y)) if point.layer == "one"] == ["one:Add:0"]


@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("sequence", "strided")])
def test_a_convolution_is_computed_in_integers_with_its_bias(kind, format, tmp_path):
    """In a graph with ranges, nothing stands between a convolution and its bias, and nothing is put together."""
    model = _model(*KINDS[kind])
    ranges = Activations().ranges_of(model, lambda *size: iter([{"x": _samples(model)}]))
    exported = get(format).export(_legalised(model, format, "int8", tmp_path, ranges))
    assert _error(model, format, exported) < 0.06
    counts = Counter({each.name: each.count for each in exported.operations})
    sums = 2 if kind == "residual" else 0
    if format == "tflite":
        assert {dtype for each in exported.operations for dtype in each.dtypes} <= {"int8", "int32"}
        assert counts["ADD"] == sums and not {"MUL", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(counts)
    if format == "openvino":
        # Of the input and behind each of two products with what is fused; that of the output is taken out.
        assert counts["FakeQuantize"] == {"separable": 5, "residual": 7}.get(kind, 3)
        assert not {"SpaceToBatch", "BatchToSpace"} & set(counts)
    if format == "onnx":
        fused = _fused(exported.path, tmp_path)
        assert not {"Conv", "FusedConv", "Add", "Mul", "Pad", "Slice"} & set(fused)
        assert fused["QLinearConv"] == counts["Conv"] and fused["QLinearAdd"] == sums


def _fused(path, folder):
    """Count the operations that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)


@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize("activation", ["relu", "swish", "gelu"])
def test_a_sequence_stays_a_picture_from_one_convolution_to_the_next(activation, format, tmp_path):
    """A sequence becomes a picture once, whatever stands between its convolutions, and is right."""
    model = _model(lambda x: layers.Conv1D(8, 3, padding="causal", activation=activation)(x), SEQUENCE)
    job = _legalised(model, format, "float32", tmp_path)
    graph = read_frozen_graph(job.saved_model, job.inputs, job.outputs)
    rows = [each for each in graph.operations if each.type == "ExpandDims" and graph.constant(each.outputs[0]) is None]
    assert len(rows) == 1
    exported = get(format).export(job)
    assert _error(model, format, exported) < 1e-5
    assert "Add" not in {each.name for each in exported.operations} or format != "onnx" or activation == "gelu"


def test_sequences_export_to_what_they_were_trained_with(tmp_path):
    """After quantization-aware training, the int8 files compute what the rounded model does in Keras."""
    model = _model(*KINDS["dilated"])
    data = Dataset({"x": _samples(model, 96)})
    recipe = parse_recipe("[[steps]]\ntechnique='quantization_aware_training'\nepochs=1\n")
    made = compress(model, Task("sequences", data, data, None, None), recipe)
    ranges = made.activations.ranges_of(made.model, lambda *size: iter([data.inputs]))
    assert len(ranges) == 4 and set(made.activations.learned) == set(ranges)

    def run(inputs):
        return run_at_points(made.model, inputs, fake_quantizer(ranges), frozenset(ranges))

    import tensorflow as tf

    wanted = np.asarray(tf.function(run)(tf.constant(data.inputs["x"])))
    seen = 0
    for artifact in export_bundle(made, tmp_path / "bundle").deployables:
        for runtime in for_format(artifact.format) if artifact.precision == "int8" else ():
            ran = run_artifact(artifact, runtime, data.inputs)
            assert ran.ok, (artifact.name, runtime, ran.reason)
            assert np.abs(ran.outputs["y"] - wanted).max() < 0.02 * np.ptp(wanted), (artifact.name, runtime)
            seen += 1
    assert seen >= 3
