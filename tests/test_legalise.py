"""export/: rewrites of the frozen graph before conversion, each on a model that needs it, in the real runtimes."""

import json
from dataclasses import asdict

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from edgewright import compress, export
from edgewright.compress import parse_recipe
from edgewright.compress._activations import Activations
from edgewright.devices._edgetpu_graph import place_on_edgetpu
from edgewright.errors import InputError
from edgewright.export import _legalise, _worker, convert, freeze, get, read_graph
from edgewright.export._artifact import Tensor
from edgewright.export._exporter import Job
from edgewright.export._frozen_graph import FrozenGraph, read_frozen_graph
from edgewright.export._pass import Pass, Target, Work
from edgewright.runtimes import run_artifact
from edgewright.train import Dataset
from edgewright.train._training import outputs_of

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}
SAMPLES = 24


def _vector(function):
    x = keras.Input((8,), name="x")
    return keras.Model(x, layers.Dense(4, name="y")(function(x)))


def _sequence(function):
    x = keras.Input((6, 8), name="x")
    return keras.Model(x, layers.Dense(2, name="y")(function(x)))


def _added_mask(x):
    """Attention as many write it: -1e9 is added where a token may not look."""
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 4 + np.triu(np.full((6, 6), -1e9, "float32"), 1)
    return ops.matmul(ops.softmax(scores), x)


def _argmax():
    x = keras.Input((8,), name="x")
    return keras.Model(x, ops.argmax(layers.Dense(5)(x), -1))


MODELS = {
    "gelu": lambda: _vector(lambda x: ops.gelu(layers.Dense(8)(x), approximate=False)),
    "erf": lambda: _vector(ops.erf),
    "celu": lambda: _vector(layers.Dense(8, activation="celu")),
    "log1p": lambda: _vector(lambda x: ops.log1p(ops.relu(x))),
    "trigonometry": lambda: _vector(lambda x: ops.tan(x / 8) + ops.cosh(x) + ops.arcsinh(x) - ops.arccos(ops.tanh(x))),
    "argmax": _argmax,
    "product": lambda: _sequence(lambda x: ops.cumprod(x, axis=1)),
    "sum": lambda: _sequence(lambda x: ops.cumsum(x, axis=1)),
    "negative": lambda: _vector(lambda x: -layers.Dense(8, activation="tanh")(x)),
    "lstm": lambda: _sequence(lambda x: layers.LSTM(4)(x)),
    "gru": lambda: _sequence(lambda x: layers.GRU(4, return_sequences=True)(x)),
    "last states": lambda: _sequence(lambda x: layers.Dense(2)(layers.LSTM(4, return_state=True)(x)[2])),
    "convolving loop": lambda: _image_sequence(),
    "causal": lambda: _sequence(lambda x: layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)),
    "added mask": lambda: _sequence(_added_mask),
    "rows": lambda: _sequence(lambda x: layers.Dense(8, activation="relu")(layers.Dense(16)(x))),
    "one query": lambda: _sequence(_one_query),
    "normalized": lambda: _sequence(layers.LayerNormalization()),
    "steps": lambda: _sequence(lambda x: x + np.arange(6, dtype="float32")[:, None]),
    "both ways": lambda: _sequence(layers.Bidirectional(layers.LSTM(4, return_sequences=True))),
    "turned round": lambda: _sequence(
        lambda x: ops.concatenate([ops.flip(ops.tanh(x), 1), ops.flip(8 * x, (1, 2))], 1)
    ),
    "one hot": lambda: _one_hot(),
    "scattered": lambda: _sequence(lambda x: _Scattered()(layers.Dense(8)(x) - 9.0)),
    "counts": lambda: _numbers(layers.CategoryEncoding(3, output_mode="count")),
    "places": lambda: _vector(lambda x: ops.cast(layers.Discretization([-1.0, 0.0, 1.0])(x), "float32")),
    "written over": lambda: _sequence(lambda x: ops.slice_update(x, (0, 2, 1), layers.Dense(3)(x)[:, :2])),
    "scan": lambda: _sequence(_Decaying()),
    "log softmax": lambda: _sequence(layers.Conv1D(6, 3, activation="log_softmax")),
    "tiled": lambda: _picture(lambda x: ops.tile(layers.Conv2D(4, 3)(x), (1, 1, 3, 2))),
    "dilated sequence": lambda: _sequence(layers.Conv1D(4, 3, dilation_rate=2, padding="causal", activation="relu")),
    "dilated groups": lambda: _picture(layers.Conv2D(6, 3, groups=3, dilation_rate=(2, 1), padding="same")),
    "dilated volume": lambda: _volume(layers.Conv3D(4, 2, dilation_rate=2)),
    "dilated transposed": lambda: _picture(layers.Conv2DTranspose(4, (3, 2), dilation_rate=2, padding="same")),
    "pooled volume": lambda: _volume(
        lambda x: layers.MaxPooling3D(3, 2, "same")(x) - layers.AveragePooling3D(3, 2, "same")(x)
    ),
    "bicubic": lambda: _picture(layers.Resizing(7, 3, interpolation="bicubic")),
    "smaller": lambda: _picture(lambda x: ops.image.resize(x, (3, 4), antialias=True)),
    "nearest": lambda: _picture(layers.Resizing(6, 23, interpolation="nearest")),
}


class _Scattered(layers.Layer):
    """Three of six steps at other places, among zeros."""

    def call(self, x):
        steps = ops.transpose(x[:, :3], (1, 0, 2))
        places = np.array([[4], [0], [3]])
        return ops.transpose(ops.scatter(places, steps, (6, ops.shape(x)[0], 8)), (1, 0, 2))

    def compute_output_shape(self, shape):
        return shape


def _numbers(function):
    x = keras.Input((6,), name="x", dtype="int32")
    return keras.Model(x, layers.Dense(2, name="y")(function(ops.abs(x))))


class _Decaying(layers.Layer):
    """The sum of all steps, of which each weighs half of the one after it."""

    def call(self, x):
        def step(total, each):
            return 0.5 * total + each, 0.5 * total + each

        return ops.transpose(ops.scan(step, x[:, 0] * 0.0, ops.transpose(x, (1, 0, 2)))[1], (1, 0, 2))

    def compute_output_shape(self, shape):
        return shape


def _picture(function):
    x = keras.Input((5, 14, 6), name="x")
    return keras.Model(x, layers.Conv2D(2, 1, name="y")(function(x)))


def _volume(function):
    x = keras.Input((4, 5, 4, 4), name="x")
    return keras.Model(x, layers.Dense(2, name="y")(function(x)))


def _one_hot():
    """Numbers of which some have no place, so that no one stands there."""
    x = keras.Input((6,), name="x", dtype="int32")
    return keras.Model(x, layers.Dense(2, name="y")(ops.one_hot(x, 3, axis=1)))


def _image_sequence():
    x = keras.Input((3, 6, 6, 2), name="x")
    return keras.Model(x, layers.ConvLSTM2D(2, 3, name="y")(x))


def _one_query(x):
    scores = ops.matmul(layers.Dense(8)(x[:, -1:]), ops.transpose(layers.Dense(8)(x), (0, 2, 1)))
    return ops.matmul(ops.softmax(scores), layers.Dense(8)(x))


class _Prepared:
    """A model with its samples, its frozen graph, and jobs to convert it."""

    def __init__(self, model, folder, samples=None):
        self.model, self.folder = model, folder
        random = np.random.default_rng(0)
        self.samples = samples or {
            tensor.name: random.normal(size=(SAMPLES, *tensor.shape[1:])).astype(tensor.dtype)
            for tensor in model.inputs
        }
        self.calibration = folder / "samples.npz"
        np.savez(self.calibration, **self.samples)
        self.frozen = freeze(model, folder / "graph")

    def job(self, precision):
        """Return the job that an exporter is given when nothing is legalised."""
        place = self.folder / f"out-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        frozen = self.frozen
        return Job(frozen.folder, precision, frozen.inputs, frozen.outputs, self.calibration, place, "model")

    def legalised(self, job, format, unit=""):
        """Return a job with the graph that its converter is given."""
        return _worker._legalised(job, Target(format, job.precision, unit), self.frozen.types)

    def types(self, job):
        """Return the types of the operations of the graph that a job converts."""
        return read_frozen_graph(job.saved_model, job.inputs, job.outputs).types

    def error(self, format, exported):
        """Run a file; return the largest difference from Keras, as a share of the spread of the outputs."""
        run = run_artifact(exported.path, RUNTIMES[format], self.samples)
        assert run.ok, run.reason
        worst = 0.0
        for name, expected in outputs_of(self.model, Dataset(self.samples)).items():
            assert run.outputs[name].shape == expected.shape
            worst = max(worst, float(np.abs(run.outputs[name] - expected).max() / np.ptp(expected)))
        return worst


@pytest.fixture
def prepared(request, tmp_path):
    """The model that a test names, frozen."""
    keras.utils.set_random_seed(0)
    return _Prepared(MODELS[request.param](), tmp_path)


def _names(made):
    assert not [each for each in made if each.refused]
    return {each.name for each in made}


@pytest.mark.parametrize(
    ("prepared", "format", "precision", "name", "gone"),
    [
        ("gelu", "onnx", "float32", "erf-for-erfc", {"Erfc"}),
        ("erf", "tflite", "float32", "erf-by-formula", {"Erf"}),
        ("celu", "onnx", "float32", "exponential-less-one", {"Expm1"}),
        ("log1p", "onnx", "float32", "logarithm-of-one-more", {"Log1p"}),
        ("trigonometry", "tflite", "float32", "functions-by-others", {"Tan", "Cosh", "Asinh", "Acos"}),
        ("argmax", "tflite", "float32", "plain-argmax", {"Bitcast", "BitwiseAnd", "SelectV2"}),
        ("argmax", "onnx", "float32", "plain-argmax", {"Bitcast", "BitwiseAnd", "SelectV2"}),
        ("argmax", "openvino", "float32", "plain-argmax", {"Bitcast", "BitwiseAnd", "SelectV2"}),
        ("product", "tflite", "float32", "shifted-products", {"Cumprod"}),
        ("product", "openvino", "float32", "shifted-products", {"Cumprod"}),
        ("convolving loop", "onnx", "float32", "unrolled-loops", {"While", "TensorListStack"}),
        ("counts", "tflite", "float32", "counted-numbers", {"DenseBincount"}),
        ("counts", "openvino", "float32", "counted-numbers", {"DenseBincount"}),
        ("places", "onnx", "float32", "counted-boundaries", {"Bucketize"}),
        ("written over", "onnx", "float32", "chosen-updates", {"XlaDynamicUpdateSlice"}),
        ("written over", "openvino", "float32", "chosen-updates", {"XlaDynamicUpdateSlice"}),
        ("scan", "onnx", "float32", "unrolled-loops", {"StatelessWhile", "TensorListReserve"}),
        ("steps", "tflite", "float32", "sums-of-first-channels", {"Squeeze"}),
        ("dilated groups", "openvino", "float32", "whole-dilations", {"SpaceToBatchND", "BatchToSpaceND"}),
        ("dilated volume", "tflite", "float32", "whole-dilations", {"SpaceToBatchND", "BatchToSpaceND"}),
        ("pooled volume", "tflite", "float32", "pools-of-pictures", {"MaxPool3D", "AvgPool3D"}),
        ("bicubic", "tflite", "float32", "resizing-matrices", {"ResizeBicubic"}),
        ("bicubic", "openvino", "float32", "resizing-matrices", {"ResizeBicubic"}),
        ("smaller", "openvino", "float32", "resizing-matrices", {"ScaleAndTranslate"}),
        ("tiled", "openvino", "float32", "gathered-tiles", {"Tile"}),
    ],
    indirect=["prepared"],
)
def test_what_converters_do_not_take_is_rewritten(prepared, format, precision, name, gone):
    """A model whose conversion fails as it is comes out right, without the operations that it failed of."""
    job = prepared.job(precision)
    assert gone & prepared.types(job)
    with pytest.raises(Exception, match=r"(?i)op|shape|domain|translate"):
        get(format).export(job)
    legal = prepared.legalised(job, format)
    assert _names(_made(legal)) == {name}
    assert not gone & prepared.types(legal)
    assert prepared.error(format, get(format).export(legal)) < 2e-5


@pytest.mark.parametrize(
    ("prepared", "name"),
    [
        ("both ways", "gathered-reversals"),
        ("turned round", "gathered-reversals"),
        ("one hot", "compared-one-hot"),
        ("scattered", "taken-rows"),
    ],
    indirect=["prepared"],
)
def test_integers_that_tflite_copies_keep_their_scales(prepared, name):
    """Reversals and ones by index come out right in int8, of which TFLite's converter alone makes something else."""
    legal = prepared.legalised(prepared.job("int8"), "tflite")
    assert name in _names(_made(legal))
    assert prepared.error("tflite", get("tflite").export(legal)) < 0.08


@pytest.mark.parametrize("prepared", ["log softmax"], indirect=True)
def test_what_openvino_moves_a_transposition_past_keeps_its_axis(prepared):
    """Behind a convolution a log-softmax sums over the channels; OpenVINO's converter has it sum over columns."""
    job = prepared.job("float32")
    assert prepared.error("openvino", get("openvino").export(job)) > 0.1
    legal = prepared.legalised(job, "openvino")
    assert "written-out-log-softmax" in _names(_made(legal))
    assert prepared.error("openvino", get("openvino").export(legal)) < 1e-5


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize("prepared", ["nearest"], indirect=True)
def test_the_nearest_pixels_are_those_of_keras(prepared, format):
    """Of 14 columns that become 23 each is the one that Keras takes; runtimes round one of them to its neighbour."""
    wrong = prepared.error(format, get(format).export(prepared.job("float32")))
    legal = prepared.legalised(prepared.job("float32"), format)
    assert "nearest-pixels" in _names(_made(legal))
    right = prepared.error(format, get(format).export(legal))
    assert wrong > 0.01 and right < 2e-5


@pytest.mark.parametrize("prepared", ["dilated transposed"], indirect=True)
def test_a_transposed_convolution_is_dilated_by_its_kernel(prepared):
    """TFLite's converter fails of its dilation, and takes a kernel with zeros in between."""
    job = prepared.job("float32")
    with pytest.raises(Exception, match="Conv2DBackpropInput"):
        get("tflite").export(job)
    legal = prepared.legalised(job, "tflite")
    assert _names(_made(legal)) == {"kernels-with-zeros"}
    assert prepared.error("tflite", get("tflite").export(legal)) < 2e-5


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize("prepared", ["dilated sequence"], indirect=True)
def test_a_dilated_sequence_is_one_convolution(prepared, format):
    """A dilated convolution of a sequence is not computed in parts that are put together again."""
    exported = get(format).export(prepared.legalised(prepared.job("float32"), format))
    assert not {each.name for each in exported.operations} & {"SpaceToBatch", "BatchToSpace", "SpaceToDepth"}
    assert prepared.error(format, exported) < 2e-5


@pytest.mark.parametrize("prepared", ["pooled volume", "bicubic", "smaller"], indirect=True)
def test_graphs_with_ranges_have_them_for_what_is_written_in_two(prepared):
    """What stands between two pools or two products gets a range, and an int8 file computes nearly the same."""
    ranges = Activations().ranges_of(prepared.model, lambda *size: iter([prepared.samples]))
    frozen = freeze(prepared.model, prepared.folder / "ranges", ranges)
    made = convert(frozen, "tflite", "int8", prepared.folder / "out", prepared.calibration)
    assert made.artifact, made.reason
    assert {dtype for each in made.artifact.operations for dtype in each.dtypes} <= {"int8", "int32"}
    assert prepared.error("tflite", made.artifact) < 0.08


@pytest.mark.parametrize("prepared", ["last states"], indirect=True)
def test_openvino_computes_the_last_states_of_a_recurrent_layer(prepared):
    """A loop of which only the last states are taken is written out for OpenVINO, which computes garbage from it."""
    legal = prepared.legalised(prepared.job("float32"), "openvino")
    assert _names(_made(legal)) == {"unrolled-loops"}
    assert prepared.error("openvino", get("openvino").export(legal)) < 2e-5


def _made(job):
    documents = json.loads((job.folder / _legalise.RECORD).read_text())
    return [_legalise.Legalised(**document) for document in documents]


@pytest.mark.parametrize(
    ("prepared", "format", "name", "gone"),
    [
        ("lstm", "tflite", "unrolled-loops", {"While"}),
        ("lstm", "onnx", "unrolled-loops", {"While"}),
        ("gru", "tflite", "unrolled-loops", {"While"}),
        ("product", "tflite", "shifted-products", {"Cumprod"}),
        ("sum", "tflite", "triangular-sums", {"Cumsum"}),
        ("negative", "tflite", "multiplied-negations", {"Neg"}),
    ],
    indirect=["prepared"],
)
def test_integers_compute_what_was_rewritten(prepared, format, name, gone):
    """An int8 file of a graph that a quantizer dies of, or leaves in float, computes nearly what Keras computes."""
    job = prepared.job("int8")
    assert gone & prepared.types(job)
    legal = prepared.legalised(job, format)
    assert name in _names(_made(legal))
    assert not gone & prepared.types(legal)
    exported = get(format).export(legal)
    assert prepared.error(format, exported) < 0.08
    if format == "tflite":
        # At random the converter's calibration leaves the SPLIT of an unrolled layer's gates in float.
        rest = [
            operation for operation in exported.operations if operation.name not in ("SPLIT", "DEQUANTIZE", "QUANTIZE")
        ]
        assert {dtype for operation in rest for dtype in operation.dtypes} <= {"int8", "int32"}


@pytest.mark.parametrize("prepared", ["causal", "added mask"], indirect=True)
def test_masks_leave_a_quantized_softmax_its_resolution(prepared):
    """Attention with a mask is nonsense in int8 as it is, and right with a bounded mask."""
    job = prepared.job("int8")
    wrong = prepared.error("tflite", get("tflite").export(job))
    legal = prepared.legalised(prepared.job("int8"), "tflite")
    assert _names(_made(legal)) == {"bounded-masks"}
    right = prepared.error("tflite", get("tflite").export(legal))
    assert wrong > 0.2 and right < 0.1


@pytest.mark.parametrize("prepared", ["normalized", "sum"], indirect=True)
def test_sixteen_bits_run_where_a_kernel_was_missing(prepared):
    """A graph that cannot be converted to 16-bit activations, or to a file that nothing runs, comes out right."""
    try:
        exported = get("tflite").export(prepared.job("int16x8"))
    except RuntimeError as error:
        assert "Unsupported input type" in str(error)
    else:
        assert "SquaredDifference" in run_artifact(exported.path, "litert", prepared.samples).reason
    exported = get("tflite").export(prepared.legalised(prepared.job("int16x8"), "tflite"))
    assert prepared.error("tflite", exported) < 0.01


def test_a_constant_choice_is_a_product_in_sixteen_bits(tmp_path):
    """A causal mask needs no operation in float between two conversions."""
    keras.utils.set_random_seed(0)
    prepared = _Prepared(MODELS["causal"](), tmp_path)
    legal = prepared.legalised(prepared.job("int16x8"), "tflite")
    assert _names(_made(legal)) == {"bounded-masks", "multiplied-choices"}
    exported = get("tflite").export(legal)
    assert {dtype for operation in exported.operations for dtype in operation.dtypes} <= {"int16", "int32"}
    assert prepared.error("tflite", exported) < 0.02


def test_a_mask_of_padding_survives_half_precision(tmp_path):
    """A product with minus a billion is bounded in half precision, where it would be an infinity times zero."""
    x, keep = keras.Input((6, 8), name="x"), keras.Input((6,), name="keep")
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 4 + ops.expand_dims((1.0 - keep) * -1e9, 1)
    keras.utils.set_random_seed(0)
    model = keras.Model([x, keep], layers.Dense(2, name="y")(ops.matmul(ops.softmax(scores), x)))
    random = np.random.default_rng(0)
    mask = (random.uniform(size=(SAMPLES, 6)) < 0.7).astype("float32")
    mask[:, 0] = 1
    samples = {"x": random.normal(size=(SAMPLES, 6, 8)).astype("float32"), "keep": mask}
    prepared = _Prepared(model, tmp_path, samples)
    legal = prepared.legalised(prepared.job("float16"), "tflite")
    assert _names(_made(legal)) == {"bounded-masks"}
    assert prepared.error("tflite", get("tflite").export(legal)) < 2e-3


def test_integers_are_divided_as_keras_does(tmp_path):
    """Quotients and remainders of negative integers are rounded down in every format: ONNX's own go towards zero."""
    x = keras.Input((6,), name="x", dtype="int32")
    model = keras.Model(x, ops.cast(ops.stack([x // 3, x // -4, ops.mod(x, 3), ops.mod(x, -5)], -1), "float32"))
    samples = {"x": np.random.default_rng(0).integers(-9, 9, (SAMPLES, 6)).astype("int32")}
    prepared = _Prepared(model, tmp_path, samples)
    for format in RUNTIMES:
        assert prepared.error(format, get(format).export(prepared.job("float32"))) == 0.0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: layers.Conv2DTranspose(4, 3, strides=2, output_padding=1), (5, 7, 3)),
        (lambda: layers.Conv2DTranspose(4, 2, strides=(4, 1)), (5, 7, 3)),
        (lambda: layers.Conv3DTranspose(2, 2, strides=3, output_padding=(2, 1, 0)), (2, 3, 2, 2)),
        (lambda: layers.Resizing(7, 3), (5, 6, 2)),
    ],
    ids=["output padding", "strides beyond the kernel", "volumes", "resizing"],
)
def test_onnx_has_the_sizes_of_keras(layer, shape, tmp_path):
    """Outputs beyond the last product and resized pictures have the shapes and values that Keras gives them."""
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, name="x")
    prepared = _Prepared(keras.Model(x, layers.Dense(2, name="y")(layer()(x))), tmp_path)
    assert prepared.error("onnx", get("onnx").export(prepared.job("float32"))) < 2e-5


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_volumes_are_convolved_in_groups(format, padding, tmp_path):
    """A convolution of volumes in groups, which TensorFlow runs only compiled, is right in every format."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 5, 4, 4), name="x")
    y = layers.Conv3D(6, 2, 2, padding, groups=2, activation="relu", name="y")(x)
    prepared = _Prepared(keras.Model(x, y), tmp_path)
    assert prepared.frozen.macs == np.prod(y.shape[1:]) * 2**3 * 2
    legal = prepared.legalised(prepared.job("float32"), format)
    assert not [each for each in _made(legal) if each.refused]
    assert prepared.error(format, get(format).export(legal)) < 2e-5


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_a_normalized_vector_of_zeros_is_zeros(format, tmp_path):
    """Padding that is normalized stays zero in every runtime, also where a reciprocal root of zero is NaN."""
    x = keras.Input((3, 4), name="x")
    model = keras.Model(x, layers.UnitNormalization(name="y")(x), name="normalized")
    samples = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    samples[0, 1:] = 0
    made = convert(freeze(model, tmp_path / "graph"), format, "float32", tmp_path / "made")
    ran = run_artifact(made.artifact.path, RUNTIMES[format], {"x": samples})
    np.testing.assert_allclose(ran.outputs["y"], model(samples), atol=1e-6)


@pytest.mark.parametrize("masked", ["added mask", "causal"])
def test_a_graph_with_ranges_is_rewritten_and_keeps_them(masked, tmp_path):
    """Fake quantization stays in a rewritten graph; a masked score has a range, bounded with the mask."""
    keras.utils.set_random_seed(0)
    model = MODELS[masked]()
    samples = {"x": np.random.default_rng(0).normal(size=(SAMPLES, 6, 8)).astype("float32")}
    ranges = Activations().ranges_of(model, lambda *size: iter([samples]))
    assert (min(low for low, _ in ranges.values()) < -1e8) == (masked == "added mask")
    frozen = freeze(model, tmp_path / "graph", ranges)
    np.savez(tmp_path / "samples.npz", **samples)
    made = convert(frozen, "tflite", "int8", tmp_path / "out", tmp_path / "samples.npz")
    assert made.artifact, made.reason
    assert "bounded-masks" in _names(made.legalised)
    run = run_artifact(made.artifact.path, "litert", samples)
    expected = outputs_of(model, Dataset(samples))["y"]
    assert np.sqrt(np.mean((run.outputs["y"] - expected) ** 2)) < 0.05 * np.std(expected)


@pytest.mark.parametrize("kind", ["Cumprod", "Cumsum"])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [1, 2])
def test_cumulative_operations_of_any_numbers(kind, exclusive, reverse, axis):
    """Cumulative products and sums are right in both directions, and for negative numbers and zeros."""
    tensor = Tensor("x", (1, 5, 4), "float32")
    function = {"Cumprod": tf.math.cumprod, "Cumsum": tf.math.cumsum}[kind]
    graph = _graph(lambda x: function(x, axis, exclusive, reverse), tensor)
    x = np.random.default_rng(0).normal(size=tensor.shape).astype("float32")
    x[0, 2, 1] = 0
    work = Work(graph, Target("tflite", "int8"), ({"x": x},))
    name = {"Cumprod": "shifted-products", "Cumsum": "triangular-sums"}[kind]
    rewritten, made = _legalise.attempt(_pass(name), work)
    assert made is not None and made.operations == 1 and not made.refused
    assert kind not in rewritten.types
    np.testing.assert_allclose(rewritten.run({"x": x})["y"], graph.run({"x": x})["y"], atol=1e-6)


def _pass(name):
    return next(each for each in _legalise.passes() if each.name == name)


def _graph(function, tensor):
    spec = tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)
    concrete = tf.function(lambda x: [function(x)], input_signature=[spec], autograph=False).get_concrete_function()
    (output,) = concrete.outputs
    return FrozenGraph(concrete, (tensor,), (Tensor("y", tuple(output.shape), output.dtype.name),))


@pytest.mark.parametrize("precision", ["float32", "dynamic_int8", "int8_weights"])
@pytest.mark.parametrize("prepared", ["lstm"], indirect=True)
def test_a_rolled_lstm_is_one_operation_of_onnx(prepared, precision):
    """It is no loop, although Keras adds the state's product as a bias; it computes the same, and layers keep names."""
    legal = prepared.legalised(prepared.job(precision), "onnx")
    assert _names(_made(legal)) == {"plain-sums"}
    assert [each.difference for each in _made(legal)] == [0.0]
    exported = get("onnx").export(legal)
    kinds = {each.name for each in exported.operations}
    assert any(kind.endswith("LSTM") for kind in kinds) and "Loop" not in kinds
    assert any("/y_1/" in node.name for node in read_graph(exported.path).nodes)
    assert prepared.error("onnx", exported) < (2e-5 if precision == "float32" else 0.05)


def test_a_squeezed_row_is_a_sum_and_a_squeezed_column_is_not():
    """What BiasAdd adds along the last axis stays a bias where a sum would be along another."""
    for shape, gone in (((1, 4), True), ((1, 1, 4), False), ((4, 1), False)):
        row = np.arange(4, dtype="float32").reshape(shape)

        def add(x, row=row):
            return tf.nn.bias_add(x, tf.squeeze(row * tf.reduce_sum(x)))

        graph = _graph(add, Tensor("x", (4, 4), "float32"))
        work = Work(graph, Target("onnx", "float32"), _legalise.proving_samples(graph, ()))
        rewritten, made = _legalise.attempt(_pass("plain-sums"), work)
        assert (made is not None and not made.refused) == gone
        assert ("BiasAdd" in rewritten.types) != gone


def test_a_pass_that_changes_the_outputs_is_refused():
    """What computes something else is not used, and the record says by how much it was off."""
    tensor = Tensor("x", (1, 4), "float32")
    graph = _graph(lambda x: tf.sin(x) + 1.0, tensor)

    def slightly_wrong(work):
        return lambda operation, value: [value(operation.inputs[0])] if operation.type == "Sin" else None

    wrong = Pass("sine-by-itself", "None.", frozenset({"Sin"}), slightly_wrong)
    samples = _legalise.proving_samples(graph, ())
    kept, made = _legalise.attempt(wrong, Work(graph, Target("tflite", "float32"), samples))
    assert kept is graph
    assert made is not None and "differ by" in made.refused and made.difference > _legalise.TOLERANCE


def test_a_pass_that_dies_leaves_the_graph_alone():
    """An exception in a pass is the reason why it was not used."""
    graph = _graph(tf.sin, Tensor("x", (1, 4), "float32"))

    def dying(work):
        raise RuntimeError("no such thing")

    dead = Pass("dying", "None.", frozenset({"Sin"}), dying)
    kept, made = _legalise.attempt(dead, Work(graph, Target("tflite", "float32"), ()))
    assert kept is graph
    assert made is not None and "no such thing" in made.refused


def test_a_loop_whose_length_depends_on_the_input_is_left_alone():
    """It stays a loop, and the record says why."""

    def until_large(x):
        return tf.while_loop(lambda y: tf.reduce_max(y) < 100, lambda y: [y * 2 + 1], [x])[0]

    graph = _graph(until_large, Tensor("x", (1, 4), "float32"))
    kept, made = _legalise.attempt(_pass("unrolled-loops"), Work(graph, Target("tflite", "int8"), ()))
    assert kept is graph
    assert made is not None and "depends on the input" in made.refused


def test_what_needs_no_rewriting_is_converted_as_it_is(tmp_path):
    """A graph that every converter takes is the very same SavedModel afterwards."""
    x = keras.Input((8,), name="x")
    prepared = _Prepared(keras.Model(x, layers.Dense(4, activation="relu")(x)), tmp_path)
    job = prepared.job("int8")
    assert prepared.legalised(job, "tflite").saved_model == job.saved_model
    assert _made(job) == []


@pytest.mark.parametrize(
    ("prepared", "lacking"),
    [("one query", "BATCH_MATMUL"), ("normalized", "SQUARED_DIFFERENCE"), ("causal", "SELECT_V2")],
    indirect=["prepared"],
)
def test_the_edge_tpu_gets_operations_of_its_table(prepared, lacking):
    """A graph that is converted for the Edge TPU has none of the operations that it or its older runtimes lack."""
    made = []
    for unit in ("", "edgetpu"):
        legal = prepared.legalised(prepared.job("int8"), "tflite", unit)
        made.append(get("tflite").export(legal))
    before, after = ({operation.name for operation in each.operations} for each in made)
    assert lacking in before and lacking not in after
    assert prepared.error("tflite", made[1]) < 0.1
    missing = [len(place_on_edgetpu(read_graph(each.path), None).elsewhere) for each in made]
    assert missing[1] <= missing[0]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("rows", {"convolved-rows"}),
        ("added mask", {"summed-products", "softmax-by-rows", "bounded-masks"}),
        ("causal", {"einsum-products", "convolved-rows", "summed-products", "softmax-by-rows"}),
    ],
)
def test_the_edge_tpu_takes_attention_and_rows_with_ranges_of_their_own(model, names, tmp_path):
    """A graph with ranges, rewritten, is all on the Edge TPU: what a pass puts in between has a range, too."""
    keras.utils.set_random_seed(0)
    prepared = _Prepared(MODELS[model](), tmp_path)
    ranges = Activations().ranges_of(prepared.model, lambda *size: iter([prepared.samples]))
    frozen = freeze(prepared.model, tmp_path / "ranges", ranges)
    made = convert(frozen, "tflite", "int8", tmp_path / "out", prepared.calibration, unit="edgetpu")
    assert made.artifact, made.reason
    assert names <= _names(made.legalised)
    graph = read_graph(made.artifact.path)
    left = [(graph.nodes[entry.node].kind, entry.reason) for entry in _placed(graph) if entry.reason]
    assert left == []
    assert prepared.error("tflite", made.artifact) < 0.1


def _placed(graph):
    return place_on_edgetpu(graph, None).placed


def test_a_dense_layer_over_rows_is_one_convolution(tmp_path):
    """Bias and activation go along; rows that are an image already are not moved, and one row stays a dense layer."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 6, 8), name="x")
    h = layers.Dense(16, activation="relu")(x)
    h = layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Dense(8)(h)))
    prepared = _Prepared(keras.Model(x, h), tmp_path)
    exported = get("tflite").export(prepared.legalised(prepared.job("int8"), "tflite", "edgetpu"))
    counts = {operation.name: operation.count for operation in exported.operations}
    assert counts == {"CONV_2D": 2, "MEAN": 1, "FULLY_CONNECTED": 1}
    assert prepared.error("tflite", exported) < 0.1


@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("sizes", [(1, 3, 4, 5), (2, 3, 4, 5), (2, 1, 4, 5), (2, 3, 4, 1)])
def test_products_of_computed_matrices_are_sums(sizes, flip):
    """Matrices of any count and shape, transposed or not, are multiplied by products of numbers and their sums."""
    matrices, rows, depth, columns = sizes
    left = Tensor("x", (1, matrices, *((depth, rows) if flip[0] else (rows, depth))), "float32")
    right = np.random.default_rng(0).normal(size=(1, matrices, *((columns, depth) if flip[1] else (depth, columns))))

    def multiply(x):
        other = tf.constant(right, tf.float32) + tf.reduce_mean(x)
        return tf.matmul(x, other, transpose_a=flip[0], transpose_b=flip[1])

    graph = _graph(multiply, left)
    samples = _legalise.proving_samples(graph, ())
    rewritten, made = _legalise.attempt(
        _pass("summed-products"), Work(graph, Target("tflite", "int8", "edgetpu"), samples)
    )
    assert made is not None and not made.refused and made.operations == 1
    assert "BatchMatMulV2" not in rewritten.types and "PreventGradient" not in rewritten.types


@pytest.mark.parametrize(
    ("equation", "x", "other"),
    [
        ("abc,cde->abde", (1, 3, 4), (4, 2, 5)),
        ("abcd,cde->abe", (1, 3, 2, 4), (2, 4, 5)),
        ("aecd,abcd->acbe", (1, 3, 2, 4), (1, 5, 2, 4)),
        ("acbe,aecd->abcd", (1, 2, 3, 5), (1, 5, 2, 4)),
        ("ab,cb->ca", (3, 4), (5, 4)),
        ("abc,abd->acd", (2, 3, 4), (2, 3, 5)),
    ],
)
def test_an_einsum_is_a_product_of_matrices(equation, x, other):
    """Whatever the order of rows, columns, what is summed and what is repeated, the result is the same."""
    right = np.random.default_rng(0).normal(size=other).astype("float32")
    graph = _graph(lambda left: tf.einsum(equation, left, right), Tensor("x", x, "float32"))
    assert "Einsum" in graph.types
    samples = _legalise.proving_samples(graph, ())
    rewritten, made = _legalise.attempt(
        _pass("einsum-products"), Work(graph, Target("tflite", "int8", "edgetpu"), samples)
    )
    assert made is not None and not made.refused
    assert "Einsum" not in rewritten.types


def test_a_softmax_over_many_rows_is_left_alone():
    """Up to 64 rows are normalized one by one; more would be more operations than the rest of a graph."""
    for rows, gone in ((64, True), (65, False)):
        graph = _graph(tf.nn.softmax, Tensor("x", (1, rows, 3), "float32"))
        work = Work(graph, Target("tflite", "int8", "edgetpu"), _legalise.proving_samples(graph, ()))
        _, made = _legalise.attempt(_pass("softmax-by-rows"), work)
        assert (made is not None and not made.refused) == gone


@pytest.mark.parametrize("kept", ["", "table"])
def test_an_embeddings_rows_have_the_range_of_the_table(kept, tmp_path):
    """The table has eight bits, and what multiplies its rows computes in integers; not where it stays in float."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x", dtype="int32")
    model = keras.Model(x, layers.Dense(2, name="y")(layers.Embedding(10, 8, name="table")(x)))
    samples = {"x": np.random.default_rng(0).integers(0, 10, (SAMPLES, 6)).astype("int32")}
    prepared = _Prepared(model, tmp_path, samples)
    ranges = Activations(keep_float=kept).ranges_of(model, lambda *size: iter([samples]))
    frozen = freeze(model, tmp_path / "ranges", ranges)
    made = convert(frozen, "tflite", "int8", tmp_path / "out", prepared.calibration)
    assert made.artifact, made.reason
    assert prepared.error("tflite", made.artifact) < 0.05
    in_float = {operation.name for operation in made.artifact.operations if "float32" in operation.dtypes}
    assert ("GATHER" in in_float) == bool(kept)
    assert kept or not in_float


def test_an_unknown_processing_unit_is_refused(tmp_path):
    """A processing unit that nothing is exported for is a usage error."""
    prepared = _Prepared(MODELS["erf"](), tmp_path)
    with pytest.raises(InputError, match="edgetpu, tensorrt, or none. Got: 'abacus'"):
        convert(prepared.frozen, "tflite", "float32", tmp_path / "out", unit="abacus")


def test_a_bundle_tells_what_was_rewritten(tmp_path, monkeypatch):
    """The manifest lists the passes of each artifact; a change of a pass converts again what was converted before."""
    from edgewright import converting

    keras.utils.set_random_seed(0)
    compressed = compress(MODELS["gelu"](), recipe="float32")
    bundle = export(compressed, tmp_path / "bundle", ["onnx"], work=tmp_path / "work")
    (made,) = bundle.manifest["legalised"]["onnx float32"]
    assert made["name"] == "erf-for-erfc" and made["operations"] == 1 and made["difference"] < 1e-5
    assert len(list((tmp_path / "work").iterdir())) == 1
    monkeypatch.setattr(converting, "passes_version", lambda: "changed")
    export(compressed, tmp_path / "changed", ["onnx"], work=tmp_path / "work")
    assert len(list((tmp_path / "work").iterdir())) == 2


def test_a_record_is_plain_data():
    """What came of a pass reads back from JSON."""
    made = _legalise.Legalised("bounded-masks", 2, 1e-7)
    assert _legalise.Legalised(**json.loads(json.dumps(asdict(made)))) == made


def test_a_recipe_for_the_edge_tpu_rewrites_int8_tflite_alone(tmp_path):
    """With unit = "edgetpu" the int8 TFLite file alone is rewritten: the float one is for other devices."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((5,), name="tokens", dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(11, 6)(tokens))
    x = keras.ops.where(np.arange(6) < 3, x, -0.1)
    model = keras.Model(tokens, keras.layers.Dense(3, name="y")(x), name="words")
    data = {"tokens": np.random.default_rng(0).integers(0, 11, (64, 5)).astype("int32")}
    step = "[[steps]]\ntechnique = 'static_int8'\ncalibration = 'min_max'\n"
    recipe = parse_recipe(f"unit = 'edgetpu'\n{step}")
    assert parse_recipe(recipe.to_toml()) == recipe and recipe.sha256 != parse_recipe(step).sha256
    bundle = export(compress(model, data, recipe), tmp_path / "bundle", ["tflite"])
    assert {artifact.name for artifact in bundle.artifacts} == {"tflite float32", "tflite int8"}
    assert {name: [each["name"] for each in made] for name, made in bundle.manifest["legalised"].items()} == {
        "tflite int8": ["multiplied-choices"]
    }
    with pytest.raises(InputError, match="Expected unit = one of edgetpu, tensorrt.*Got: 'tpu'"):
        parse_recipe("unit = 'tpu'")
