"""Post-training precisions: every format at every precision, in every runtime; what cannot be is tried and fails."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import edgewright
from edgewright.cells import cells, cells_text
from edgewright.compress import compress, load_recipe, parse_recipe
from edgewright.compress import get as get_technique
from edgewright.compress import names as techniques
from edgewright.errors import InputError
from edgewright.export import Tensor, freeze, get, names
from edgewright.export._exporter import Job
from edgewright.export._onnx_weights import store_float16, store_int4, store_int8
from edgewright.export.onnx import _renamed
from edgewright.files import gzip_bytes
from edgewright.report import judge_bundle, table
from edgewright.runtimes import for_format, run_artifact
from edgewright.runtimes import get as get_runtime
from edgewright.train import Dataset, Task
from edgewright.train._training import outputs_of

PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "int16x8", "int8_weights", "int4_weights")
CELLS = [(name, precision) for name in names() for precision in get(name).precisions]
NEW = [cell for cell in CELLS if cell[1] not in ("float32", "int8")]
# How far an output may lie from Keras', as a share of the output's range on random weights.
TOLERANCE = {"float16": 0.005, "dynamic_int8": 0.06, "int16x8": 0.04, "int8_weights": 0.04, "int4_weights": 0.35}
# What its weights take of those of the float32 file, at most; the rest of a file is its graph.
SHARE = {"float16": 0.55, "dynamic_int8": 0.35, "int16x8": 0.35, "int8_weights": 0.35, "int4_weights": 0.25}
# One process for all conversions: starting TensorFlow takes longer than all of them.
EXPORT_ALL = """
import pickle, sys
from edgewright.export import get
cells = pickle.load(open(sys.argv[1], "rb"))
made = {cell: get(cell[0]).export(job) for cell, job in cells.items()}
pickle.dump(made, open(sys.argv[2], "wb"))
"""
# What the exporters leave out, tried all the same: 16-bit activations in OpenVINO, 4-bit weights in groups in TFLite.
TRY_ALL = """
import json, pickle, sys
import nncf, openvino, numpy as np
from nncf.quantization.advanced_parameters import QuantizationParameters
from ai_edge_quantizer.quantizer import Quantizer
job, tflite, forced = pickle.load(open(sys.argv[1], "rb"))
model = openvino.convert_model(str(job.saved_model), input=[(t.name, list(t.shape)) for t in job.inputs])
wide = nncf.AdvancedQuantizationParameters(activations_quantization_params=QuantizationParameters(num_bits=16))
samples = [dict(sample) for sample in job.samples()]
model = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), advanced_parameters=wide)
layers = openvino.Core().compile_model(model, "CPU").get_runtime_model().get_ordered_ops()
kinds = sorted({str(layer.get_rt_info()["runtimePrecision"].astype(str)) for layer in layers})
weights = {"num_bits": 4, "symmetric": True, "granularity": "BLOCKWISE_32", "dtype": "INT"}
config = {"weight_tensor_config": weights, "compute_precision": "FLOAT", "explicit_dequantize": True,
          "skip_checks": True, "min_weight_elements": 0}
recipe = [{"regex": ".*dense.*", "operation": "FULLY_CONNECTED", "algorithm_key": "min_max_uniform_quantize",
           "op_config": config}]
open(forced, "wb").write(Quantizer(str(tflite), recipe).quantize().quantized_model)
json.dump(kinds, open(sys.argv[2], "w"))
"""


def _in_child(code, given, folder):
    """Run code in a process of its own with a pickled argument; return the file that it wrote."""
    arguments, made = folder / "given.pickle", folder / "made"
    arguments.write_bytes(pickle.dumps(given))
    done = subprocess.run(
        [sys.executable, "-c", code, arguments, made], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:  # no assertion: a test that is expected to fail must fail for its own reason
        raise RuntimeError(done.stderr[-2000:])
    return made


@pytest.fixture(scope="module")
def model():
    """Convolutional, recurrent and dense layers with a few thousand weights."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 3), name="picture")
    steps = keras.Input((3, 8), name="steps")
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(picture)
    x = keras.layers.DepthwiseConv2D(3)(x)
    x = keras.layers.Conv2D(32, 1, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Concatenate()([x, keras.layers.GRU(32, unroll=True)(steps)])
    x = keras.ops.negative(keras.layers.Dense(96, activation="tanh")(x))
    x = keras.layers.Dense(96, activation="tanh")(x)
    answer = keras.layers.Dense(3, name="answer")(x)
    small = keras.Model([picture, steps], answer, name="mixed")
    random = np.random.default_rng(3)
    for variable in small.trainable_variables:
        if variable.path.endswith("bias"):
            variable.assign(random.normal(0, 0.05, variable.shape))
    return small


@pytest.fixture(scope="module")
def inputs():
    """Twenty-four samples for it."""
    random = np.random.default_rng(1)
    return {
        "picture": random.uniform(size=(24, 8, 8, 3)).astype("float32"),
        "steps": random.normal(size=(24, 3, 8)).astype("float32"),
    }


@pytest.fixture(scope="module")
def job(model, inputs, tmp_path_factory):
    """What the exporters are given, but for the precision."""
    folder = tmp_path_factory.mktemp("precisions")
    frozen = freeze(model, folder / "graph")
    np.savez(folder / "samples.npz", **inputs)
    return Job(frozen.folder, "", frozen.inputs, frozen.outputs, folder / "samples.npz", folder, "")


@pytest.fixture(scope="module")
def exported(job):
    """What every exporter returned at every precision."""
    from dataclasses import replace

    cells = {cell: replace(job, precision=cell[1], stem=f"mixed.{cell[1]}") for cell in CELLS if cell[1] != "int8"}
    return pickle.loads(_in_child(EXPORT_ALL, cells, job.folder).read_bytes())


@pytest.fixture(scope="module")
def tried(job, exported, tmp_path_factory):
    """The precisions of OpenVINO's kernels for a model of 16-bit activations; a TFLite file of 4-bit groups."""
    folder = tmp_path_factory.mktemp("tried")
    forced = folder / "forced.tflite"
    kinds = json.loads(_in_child(TRY_ALL, (job, exported["tflite", "float32"].path, forced), folder).read_text())
    return kinds, forced


@pytest.mark.parametrize("format", names())
def test_a_format_writes_a_precision_or_says_why_not(format):
    """Every format states every precision: it writes it, or it has a reason in a sentence."""
    exporter = get(format)
    assert set(exporter.precisions) | set(exporter.unsupported) == set(PRECISIONS)
    assert not set(exporter.precisions) & set(exporter.unsupported)
    assert all(reason.endswith(".") and len(reason) > 30 for reason in exporter.unsupported.values())
    assert exporter.refusal("float32") == ""
    assert "float32" in exporter.refusal("int2")


def test_one_table_has_every_gap_with_its_reason():
    """The printed table has a line for each precision, a column for each runtime, and each reason once."""
    found = cells()
    text = cells_text(found)
    assert {cell.precision for cell in found} == set(PRECISIONS)
    for cell in found:
        lacking = cell.precision in get(cell.format).unsupported or cell.precision in get_runtime(cell.runtime).lacks
        assert bool(cell.reason) == lacking
        assert not cell.reason or text.count(cell.reason) == 1
    assert sum(line.startswith(PRECISIONS) for line in text.splitlines()) == len(PRECISIONS)


@pytest.mark.parametrize(
    ("format", "precision", "runtime"),
    [
        pytest.param(
            *cell,
            runtime,
            marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=get_runtime(runtime).lacks[cell[1]])]
            if cell[1] in get_runtime(runtime).lacks
            else [],
        )
        for cell in NEW
        for runtime in for_format(cell[0])
    ],
)
def test_every_precision_computes_what_keras_computes(format, precision, runtime, exported, model, inputs):
    """A file has the model's names and its numbers in every runtime, but for those that are known to be too old."""
    if get_runtime(runtime).version() is None:
        pytest.skip(f"{runtime} is not installed")
    made = exported[format, precision]
    assert [tensor.name for tensor in made.inputs] == ["picture", "steps"]
    expected = outputs_of(model, Dataset(inputs))["answer"][:8]
    run = run_artifact(made.path, runtime, {name: array[:8] for name, array in inputs.items()})
    assert run.ok, run.reason
    assert run.outputs["answer"].dtype == np.float32
    atol = TOLERANCE[precision] * float(np.ptp(expected))
    np.testing.assert_allclose(run.outputs["answer"], expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("format", "precision"), NEW)
def test_narrow_weights_make_a_small_file(format, precision, exported, model):
    """A zipped file is smaller than the float32 one by what its narrower weights save; scales and nodes cost little."""

    def zipped(which):
        made = exported[format, which]
        return sum(gzip_bytes(file) for file in (made.path, *made.companions))

    saved = zipped("float32") - zipped(precision)
    assert saved > (1 - SHARE[precision]) * 4 * model.count_params() - 12_000


def test_only_int16x8_in_tflite_has_integer_inputs_and_outputs(exported):
    """Integer inputs and outputs come with a scale, 16 bits wide and symmetric; all others are float."""
    for (format, precision), made in exported.items():
        tensors = (*made.inputs, *made.outputs)
        if (format, precision) == ("tflite", "int16x8"):
            assert {tensor.dtype for tensor in tensors} == {"int16"}
            assert all(tensor.scale and tensor.zero_point == 0 for tensor in tensors)
        else:
            assert {tensor.dtype for tensor in tensors} == {"float32"}


def test_what_has_no_16_bit_kernel_stays_in_float(exported):
    """TFLite has no NEG of 16 bits: at int16x8 it runs in float between its neighbours, which run in integers."""
    kinds = {operation.name: operation.dtypes for operation in exported["tflite", "int16x8"].operations}
    assert kinds["NEG"] == ("float32",)
    assert kinds["FULLY_CONNECTED"] == kinds["CONV_2D"] == ("int16",)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason=get("openvino").unsupported["int16x8"])
def test_openvino_computes_in_16_bit_integers(tried):
    """OpenVINO runs a model of 16-bit activations in 16-bit integers."""
    assert {"i16", "u16"} & set(tried[0])


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="TFLite ignores the groups of 4-bit weights")
def test_tflite_widens_4_bit_weights_in_groups(tried, model, inputs):
    """A TFLite file whose 4-bit weights have a scale for each group computes what the model computes."""
    expected = outputs_of(model, Dataset(inputs))["answer"][:8]
    run = run_artifact(tried[1], "litert", {name: array[:8] for name, array in inputs.items()})
    atol = TOLERANCE["int4_weights"] * float(np.ptp(expected))
    np.testing.assert_allclose(run.outputs["answer"], expected, rtol=0, atol=atol)


def _onnx_model(weights, nodes, length, width):
    """A model of given initializers and nodes from an input x [1, length] to an output y [1, width]."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def _run_onnx(made, x):
    return ReferenceEvaluator(made).run(None, {"x": x})


def test_weights_on_the_grid_of_integers_are_stored_exactly():
    """Weights that already are multiples of a scale, as rounding leaves them, come back unchanged from 8 and 4 bits."""
    random = np.random.default_rng(0)
    kernel = (random.integers(-7, 8, (70, 5)) * 0.25).astype("float32")
    kernel[[0, 32, 64]] = 1.75  # each group reaches the end of its grid
    x = random.normal(size=(1, 70)).astype("float32")
    for store in (store_int8, lambda made: store_int4(made, 32)):
        made = _onnx_model({"kernel": kernel}, [helper.make_node("MatMul", ["x", "kernel"], ["y"])], 70, 5)
        if store is store_int8:
            kernel = np.where(kernel == 1.75, np.float32(127 * 0.25), kernel)
            made = _onnx_model({"kernel": kernel}, [helper.make_node("MatMul", ["x", "kernel"], ["y"])], 70, 5)
        store(made)
        onnx.checker.check_model(made, full_check=True)
        np.testing.assert_allclose(_run_onnx(made, x)[0], x @ kernel, rtol=1e-5, atol=1e-5)
        kernel = np.where(kernel > 1.75, np.float32(1.75), kernel)


def test_smaller_groups_round_less():
    """Where the weights' size changes along a column, a scale for each group errs less than one for all."""
    random = np.random.default_rng(0)
    kernel = (random.normal(size=(256, 8)) * np.geomspace(0.01, 1, 256)[:, np.newaxis]).astype("float32")
    x = (random.normal(size=(1, 256)) / np.geomspace(0.01, 1, 256)).astype("float32")
    errors = []
    for group in (16, 64, 256):
        made = _onnx_model({"kernel": kernel}, [helper.make_node("MatMul", ["x", "kernel"], ["y"])], 256, 8)
        store_int4(made, group)
        errors.append(float(np.abs(_run_onnx(made, x)[0] - x @ kernel).mean()))
    assert errors[0] < errors[1] < errors[2]


def test_only_what_is_multiplied_or_looked_up_is_quantized():
    """A mask that is added stays in float at 8 bits, and so does what half precision cannot hold."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(256, 256)).astype("float32"),
        "mask": np.where(random.uniform(size=(1, 256)) < 0.5, np.float32(-1e9), np.float32(0.123456)),
    }
    nodes = [helper.make_node("MatMul", ["x", "kernel"], ["h"]), helper.make_node("Add", ["h", "mask"], ["y"])]
    for store, stored in ((store_int8, TensorProto.INT8), (store_float16, TensorProto.FLOAT16)):
        made = _onnx_model(weights, nodes, 256, 256)
        store(made)
        kinds = {initializer.name: initializer.data_type for initializer in made.graph.initializer}
        assert kinds["mask"] == TensorProto.FLOAT
        assert "kernel" not in kinds and stored in kinds.values()
        x = random.normal(size=(1, 256)).astype("float32")
        received = _run_onnx(made, x)[0]
        np.testing.assert_allclose(received, x @ weights["kernel"] + weights["mask"], atol=0.5)


def test_weights_inside_a_branch_are_stored_too():
    """Weights that belong to an inner graph, such as a loop's body, are quantized there; those of the outer one too."""
    random = np.random.default_rng(0)
    inner, outer = (random.normal(size=(16, 16)).astype("float32") for _ in range(2))
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["h"]), helper.make_node("MatMul", ["h", "outer"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(inner, "inner")],
    )
    node = helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)
    made = _onnx_model({"outer": outer, "always": np.array(True)}, [node], 16, 16)
    store_int8(made)
    onnx.checker.check_model(made)
    assert b"inner/int8" in made.SerializeToString() and b"outer/int8" in made.SerializeToString()
    x = random.normal(size=(1, 16)).astype("float32")
    np.testing.assert_allclose(_run_onnx(made, x)[0], x @ inner @ outer, atol=0.5)


def _loop(kernel):
    """A model that multiplies a state by a kernel three times, which the loop carries as in a recurrent layer."""
    state, carried = ([1, len(kernel)], list(kernel.shape))
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "carried"], ["product"]),
            helper.make_node("Add", ["product", "x"], ["next"]),
            helper.make_node("Identity", ["carried"], ["same"]),
            helper.make_node("Identity", ["go"], ["goes"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, carried),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, carried),
        ],
    )
    weights = {
        "kernel": kernel,
        "start": np.zeros(state, "float32"),
        "times": np.array(3, np.int64),
        "always": np.array(True),
    }
    node = helper.make_node("Loop", ["times", "always", "start", "kernel"], ["y", "unused"], body=body)
    return _onnx_model(weights, [node], len(kernel), len(kernel))


def test_weights_that_a_loop_carries_are_stored_too():
    """A kernel that a loop is given and multiplies with is quantized; the state that it starts from stays in float."""
    random = np.random.default_rng(0)
    kernel = (0.1 * random.normal(size=(130, 130))).astype("float32")
    x = random.normal(size=(1, 130)).astype("float32")
    expected = (x @ kernel + x) @ kernel + x
    for store, tolerance in ((store_int8, 0.05), (lambda made: store_int4(made, 32), 0.8)):
        made = _loop(kernel)
        before = len(made.SerializeToString())
        store(made)
        onnx.checker.check_model(made, full_check=True)
        assert len(made.SerializeToString()) < 0.3 * before
        assert "start" in {initializer.name for initializer in made.graph.initializer}
        np.testing.assert_allclose(_run_onnx(made, x)[0], expected, atol=tolerance)


def test_a_rolled_recurrent_layer_after_a_table_is_quantized_dynamically(tmp_path):
    """ONNX in dynamic int8: operations stand before the loop whose body reads them, and ONNX Runtime does not die."""
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = keras.layers.GRU(5)(keras.layers.Embedding(7, 4)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2, name="y")(x), name="recurrent")
    samples = np.random.default_rng(0).integers(0, 7, (16, 6)).astype("int32")
    compressed = edgewright.compress(model, {"tokens": samples}, "dynamic-int8")
    bundle = edgewright.export(compressed, tmp_path / "bundle", ["onnx"])
    assert not bundle.manifest["failures"]
    (artifact,) = (each for each in bundle.artifacts if each.precision == "dynamic_int8")
    received = run_artifact(artifact.path, "onnxruntime", {"tokens": samples}).outputs["y"]
    expected = outputs_of(model, Dataset({"tokens": samples}))["y"]
    np.testing.assert_allclose(received, expected, atol=0.05 * np.abs(expected).max())


def test_names_inside_a_loop_follow_those_outside():
    """Where inputs and outputs get the Keras model's names, the body of a loop that reads them does too."""
    kernel = np.eye(4, dtype="float32")
    asked = [Tensor("carried", (1, 4), "float32"), Tensor("step", (1, 4), "float32")]
    made = _renamed(_loop(kernel), Job(Path(), "float32", tuple(asked[:1]), tuple(asked[1:]), None, Path(), ""))
    onnx.checker.check_model(made, full_check=True)
    assert [value.name for value in (*made.graph.input, *made.graph.output)] == ["carried", "step"]
    x = np.arange(4, dtype="float32")[np.newaxis]
    np.testing.assert_array_equal(ReferenceEvaluator(made).run(None, {"carried": x})[0], 3 * x)


def test_the_runner_feeds_half_precision(tmp_path):
    """A file whose own inputs and outputs are float16 is fed with what floats are nearest."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "x"], ["y"])],
        "square",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "half.onnx"
    )
    run = run_artifact(tmp_path / "half.onnx", "onnxruntime", {"x": np.array([[1.5, -2.0, 3.0]])})
    assert run.ok, run.reason
    np.testing.assert_array_equal(run.outputs["y"], [[2.25, 4.0, 9.0]])


def test_a_skipped_precision_is_a_reason_in_bundle_and_report(tmp_path):
    """Int16x8 goes to ONNX; that OpenVINO has none stands in the manifest and in the report, and nothing crashes."""
    from rich.console import Console

    from edgewright.devices import get as get_device

    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    tiny = keras.Model(x, keras.layers.Dense(3, name="y")(x), name="tiny")
    data = {"x": np.random.default_rng(0).normal(size=(32, 8)).astype("float32")}
    bundle = edgewright.export(edgewright.compress(tiny, data, "int16x8"), tmp_path / "bundle", ("openvino",))
    assert bundle.manifest["failures"] == {"openvino int16x8": get("openvino").unsupported["int16x8"]}
    report = judge_bundle(bundle, bundle.deployables, (), [get_device("raspberry-pi-4b")], {})
    with open(tmp_path / "report.txt", "w", encoding="utf-8") as file:
        Console(file=file, width=400).print(table(report))
    text = (tmp_path / "report.txt").read_text()
    assert f"not exported: openvino int16x8: {get('openvino').unsupported['int16x8']}" in text


def test_the_group_size_of_the_recipe_reaches_the_file(tmp_path):
    """4-bit weights have a scale for each group of the size that the recipe asks for."""
    keras.utils.set_random_seed(0)
    x = keras.Input((64,), name="x")
    tiny = keras.Model(x, keras.layers.Dense(24, name="y")(x), name="tiny")
    data = {"x": np.random.default_rng(0).normal(size=(8, 64)).astype("float32")}
    recipe = parse_recipe('[[steps]]\ntechnique = "weight_only_int4"\ngroup_size = 16\n')
    bundle = edgewright.export(edgewright.compress(tiny, data, recipe), tmp_path / "bundle", ("openvino",))
    text = (bundle.path / "artifacts" / "model.int4_weights.xml").read_text()
    assert 'element_type="i4" shape="24, 4, 16"' in text


def test_each_precision_has_a_technique_and_a_recipe():
    """Every precision but float32 is what some technique sets, and a recipe that needs no training ships for it."""
    set_by = {get_technique(name).precision for name in techniques()}
    assert set(PRECISIONS) - {"float32"} <= set_by
    for name in ("float16", "dynamic-int8", "int8", "int16x8", "int8-weights", "int4-weights"):
        (step,) = load_recipe(name).steps
        assert get_technique(step.technique).precision == name.replace("-", "_")


def test_int16x8_without_samples_is_refused():
    """Int16x8 asks for samples to calibrate on; weights alone need none."""
    x = keras.Input((4,), name="x")
    tiny = keras.Model(x, keras.layers.Dense(2)(x))
    nothing = Dataset({"x": np.zeros((0, 4), "float32")})
    task = Task("none", nothing, nothing, None, None)
    with pytest.raises(InputError, match="calibrate int16x8"):
        compress(tiny, task, load_recipe("int16x8"))
    assert compress(tiny, task, load_recipe("int4-weights")).precisions == ("float32", "int4_weights")


@pytest.mark.parametrize("size", [0, 24, "many"])
def test_an_odd_group_size_is_refused(size):
    """A group size that no kernel knows names those that they know."""
    with pytest.raises(InputError, match=r"group_size: expected .*16, 32, 64, 128 or 256"):
        parse_recipe(f'[[steps]]\ntechnique = "weight_only_int4"\ngroup_size = {json.dumps(size)}\n')
