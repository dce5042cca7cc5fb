"""Importing: float .onnx and .tflite files of a user's, quantized without Keras and judged by themselves."""

import json

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

import edgewright
from edgewright import converting
from edgewright.cli import app
from edgewright.compress import parse_recipe
from edgewright.errors import InputError
from edgewright.export import Job, convert, freeze, get, load_bundle
from edgewright.export._imported import import_file
from edgewright.export._names import plain_name
from edgewright.files import sha256
from edgewright.runtimes import run_artifact
from edgewright.runtimes._runner import _bare

from .conftest import of_runtimes_here


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: a network with two inputs as float files of edgewright's exporters, and samples."""
    folder = tmp_path_factory.mktemp("user")
    keras.utils.set_random_seed(0)
    image, extra = keras.Input((6, 6, 1), name="image"), keras.Input((4,), name="extra")
    x = keras.layers.Flatten()(keras.layers.Conv2D(6, 3, activation="relu")(image))
    x = keras.layers.Dense(24, activation="relu")(keras.layers.Concatenate()([x, extra]))
    wide = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    classes = keras.layers.Dense(3, activation="softmax", kernel_initializer=wide, name="classes")(x)
    model = keras.Model([image, extra], classes, name="mine")
    frozen = freeze(model, folder / "frozen")
    for format in ("onnx", "tflite"):
        get(format).export(Job(frozen.folder, "float32", frozen.inputs, frozen.outputs, None, folder, "mine"))
    random = np.random.default_rng(0)
    data = {
        "image": random.uniform(size=(150, 6, 6, 1)).astype("float32"),
        "extra": random.normal(size=(150, 4)).astype("float32"),
    }
    outputs = model.predict([data["image"], data["extra"]], verbose=0)
    np.savez(folder / "unlabelled.npz", **data)
    np.savez(folder / "labelled.npz", **data, labels=outputs.argmax(axis=1))
    np.save(folder / "outputs.npy", outputs)
    model.export(folder / "saved", verbose=False)
    return folder


@pytest.fixture(scope="module")
def of_onnx(folder):
    """The bundle that the command line makes of the .onnx file, with labels, and what it printed."""
    arguments = ["compress", folder / "mine.onnx", "--data", folder / "labelled.npz", "--out", folder / "of_onnx"]
    done = CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--json")])
    assert done.exit_code == 0, done.stderr
    return folder / "of_onnx", done


def test_an_onnx_file_becomes_a_bundle(folder, of_onnx):
    """From .onnx come ONNX and OpenVINO files in float and int8, with accuracy; TFLite is refused with a reason."""
    path, done = of_onnx
    manifest = json.loads(done.stdout)["result"]["manifest"]
    assert manifest == json.loads((path / "manifest.json").read_text())
    cells = {(artifact["format"], artifact["precision"]) for artifact in manifest["artifacts"]}
    assert cells == {(format, precision) for format in ("onnx", "openvino") for precision in ("float32", "int8")}
    assert set(manifest["failures"]) == {"tflite float32", "tflite int8"}
    assert all("no converter here makes it of .onnx files" in reason for reason in manifest["failures"].values())
    evidence = manifest["evidence"]
    assert evidence["metric"]["name"] == "accuracy" and evidence["original_metric"] == 100.0
    for run in evidence["checks"]:
        assert run["ok"], run["reason"]
        assert run["metric"] >= (100 if run["artifact"].endswith("float32") else 90)
    int8 = next(each for each in manifest["artifacts"] if (each["format"], each["precision"]) == ("onnx", "int8"))
    assert "QuantizeLinear" in {each["name"] for each in int8["operations"]} and int8["macs"] > 0
    assert "converted mine onnx int8" in done.stderr


def test_the_reference_is_the_file_itself(folder, of_onnx):
    """The bundle holds the file that was imported and names it, in its runtime, as what all else is compared with."""
    path, _ = of_onnx
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["evidence"]["reference"].startswith("the imported file (onnxruntime 1.")
    assert manifest["imported"]["made_of"] == "mine.onnx"
    assert manifest["imported"]["made_of_sha256"] == sha256(folder / "mine.onnx") == manifest["files"]["model.onnx"]
    inputs, outputs = load_bundle(path).golden()
    again = run_artifact(path / "model.onnx", "onnxruntime", inputs)
    np.testing.assert_array_equal(again.outputs["classes"], outputs["classes"])


def test_validate_judges_it_on_the_evidence_and_on_other_data(folder, of_onnx):
    """Verdicts come from the evidence, and with data from the imported file in the bundle; no figure is by Keras."""
    path, _ = of_onnx
    done = CliRunner().invoke(app, ["validate", str(path), "--device", "raspberry-pi-4b", "--no-measure"])
    assert "agrees with ref." in done.stdout and "the reference is the imported file" in done.stdout
    assert "with Keras" not in done.stdout and "in Keras" not in done.stdout
    report = edgewright.validate(path, folder / "labelled.npz", ["raspberry-pi-4b"], measure=False)
    assert len(report.rows) == 4
    assert all(row.check.ok and row.check.metric >= 90 and row.check.metric_reference == 100 for row in report.rows)


def test_a_tflite_file_becomes_a_bundle(folder, tmp_path):
    """From .tflite come int8 files of all formats, without labels, which agree with it; a killed export goes on."""
    model = edgewright.quantize(folder / "mine.tflite", dict(np.load(folder / "unlabelled.npz")))
    bundle = edgewright.export(model, tmp_path / "bundle", work=tmp_path / "work")
    assert len(bundle.artifacts) == 6 and bundle.manifest["failures"] == {}
    evidence = bundle.manifest["evidence"]
    assert evidence["metric"] is None and evidence["reference"].startswith("the imported file (litert 2.")
    for run in of_runtimes_here(evidence["checks"]):
        assert run["ok"], run["reason"]
        if run["artifact"].endswith("float32"):
            assert run["max_difference"] < 1e-5
        else:
            assert run["agreement_keras_percent"] == run["agreement_original_percent"] >= 90
    int8 = next(artifact for artifact in bundle.artifacts if artifact.name == "tflite int8")
    assert [tensor.dtype for tensor in (*int8.inputs, *int8.outputs)] == ["int8"] * 3
    golden_inputs, golden_outputs = bundle.golden()
    images = np.load(folder / "unlabelled.npz")["image"]
    places = [int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in golden_inputs["image"]]
    np.testing.assert_allclose(golden_outputs["classes"], np.load(folder / "outputs.npy")[places], atol=1e-5)
    assert [each.graph.format for each in edgewright.inspect(bundle.path)].count("tflite") == 2


def test_finished_conversions_are_kept(folder, tmp_path, monkeypatch):
    """An export that was killed after its conversions converts nothing again."""
    model = edgewright.quantize(folder / "mine.onnx", folder / "unlabelled.npz", "float32")
    first = edgewright.export(model, tmp_path / "first", ["onnx"], work=tmp_path / "work")
    monkeypatch.setattr(converting, "convert", None)
    again = edgewright.export(model, tmp_path / "again", ["onnx"], work=tmp_path / "work")
    assert [each.sha256 for each in again.artifacts] == [each.sha256 for each in first.artifacts]


def _run(path, runtime, folder):
    """Return what a file answers to the samples."""
    run = run_artifact(path, runtime, dict(np.load(folder / "unlabelled.npz")))
    assert run.ok, run.reason
    (outputs,) = run.outputs.values()
    return outputs


@pytest.fixture(scope="module")
def imported(folder, tmp_path_factory):
    """The .tflite file as what converters start from."""
    return import_file(folder / "mine.tflite", tmp_path_factory.mktemp("imported"))


def test_a_float_file_is_handed_on_as_it_is(imported, tmp_path):
    """What a user's own file is made of is the user's: as float32 of its format it is that file."""
    made = convert(imported.frozen, "tflite", "float32", tmp_path / "made")
    assert made.artifact.path.read_bytes() == imported.frozen.folder.read_bytes()


@pytest.mark.parametrize("precision", ["float16", "dynamic_int8", "int16x8", "int8_weights", "int4_weights"])
def test_a_tflite_file_is_stored_in_each_precision(folder, imported, tmp_path, precision):
    """AI Edge Quantizer makes a smaller file of each other precision, which computes nearly the same."""
    made = convert(imported.frozen, "tflite", precision, tmp_path / "made", folder / "unlabelled.npz")
    assert made.artifact, made.reason
    assert made.artifact.size_bytes < 0.8 * (folder / "mine.tflite").stat().st_size
    received = _run(made.artifact.path, "litert", folder)
    agreed = np.mean(received.argmax(axis=1) == np.load(folder / "outputs.npy").argmax(axis=1))
    assert agreed > (0.7 if precision == "int4_weights" else 0.95)


def test_a_tflite_file_without_a_signature_and_with_an_open_batch_is_taken(folder, tmp_path):
    """Old converters name no signature: plain names are found, the batch is fixed, and int8 is calibrated."""
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(
        bytearray(tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert())
    )
    model.signatureDefs = None
    (tmp_path / "old.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    (tmp_path / "fixed").mkdir()
    imported = import_file(tmp_path / "old.tflite", tmp_path / "fixed")
    assert {tensor.name: tensor.shape for tensor in imported.frozen.inputs} == {"image": (1, 6, 6, 1), "extra": (1, 4)}
    assert imported.frozen.macs > 0 and imported.activation == "softmax" and "fixed to 1" in imported.notes[0]
    content = imported.frozen.folder.read_bytes()
    assert len(content) == (tmp_path / "old.tflite").stat().st_size
    assert schema.Model.GetRootAs(content, 0).SignatureDefsLength() == 0
    made = convert(imported.frozen, "tflite", "int8", tmp_path / "made", folder / "unlabelled.npz")
    assert made.artifact, made.reason
    difference = np.abs(_run(made.artifact.path, "litert", folder) - np.load(folder / "outputs.npy"))
    assert 0 < difference.max() < 0.2


def _graph(nodes, inputs, outputs, initializers=(), opset=17, ir_version=8):
    """Return an ONNX model; inputs and outputs are shapes by name, of floats."""

    def values(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), list(initializers))
    domains = {node.domain for node in nodes} | {""}
    opsets = [helper.make_opsetid(domain, opset if domain == "" else 1) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _dense(batch, opset=17):
    """Return a dense layer with its weights as a Constant and as an input too, as old exporters wrote them."""
    random = np.random.default_rng(0)
    kernel = onnx.numpy_helper.from_array(random.normal(size=(32, 16)).astype("float32"), "kernel")
    bias = onnx.numpy_helper.from_array(random.normal(size=16).astype("float32"), "bias")
    nodes = [
        helper.make_node("Constant", [], ["kernel"], value=kernel),
        helper.make_node("MatMul", ["x:0", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["y:0"]),
    ]
    inputs = {"x:0": [batch, 32], "bias": [16]}
    return _graph(nodes, inputs, {"y:0": [batch, 16]}, [bias], opset, ir_version=3 if opset < 13 else 8)


def test_an_old_onnx_file_is_taken(tmp_path):
    """Opset 11, weights in a Constant node, initializers as inputs, names with a colon, an open batch: int8 too."""
    onnx.save(_dense("N", opset=11), tmp_path / "old.onnx")
    (tmp_path / "fixed").mkdir()
    imported = import_file(tmp_path / "old.onnx", tmp_path / "fixed")
    assert [(tensor.name, tensor.shape) for tensor in imported.frozen.inputs] == [("x", (1, 32))]
    assert [(tensor.name, tensor.shape) for tensor in imported.frozen.outputs] == [("y", (1, 16))]
    samples = {"x": np.random.default_rng(1).normal(size=(64, 32)).astype("float32")}
    np.savez(tmp_path / "samples.npz", **samples)
    expected = run_artifact(imported.frozen.folder, "onnxruntime", samples).outputs["y"]
    for format, precision in (("onnx", "int8"), ("onnx", "int8_weights"), ("openvino", "float32")):
        made = convert(imported.frozen, format, precision, tmp_path / format / precision, tmp_path / "samples.npz")
        assert made.artifact, made.reason
        runtime = {"onnx": "onnxruntime", "openvino": "openvino"}[format]
        received = run_artifact(made.artifact.path, runtime, samples).outputs["y"]
        error = np.abs(received - expected).max() / np.abs(expected).max()
        assert error < 1e-6 if precision == "float32" else 0 < error < 0.05


def test_data_beside_an_onnx_file_goes_into_the_bundle(tmp_path):
    """Weights in a file of their own are read from there, and the imported file is one file."""
    onnx.save(_dense(1), tmp_path / "parts.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "whole").mkdir()
    imported = import_file(tmp_path / "parts.onnx", tmp_path / "whole")
    (tmp_path / "weights.bin").unlink()
    samples = {"x": np.ones((2, 32), np.float32)}
    assert run_artifact(imported.frozen.folder, "onnxruntime", samples).ok
    (tmp_path / "again").mkdir()
    with pytest.raises(InputError, match=r"weights\.bin with at least \d+ bytes beside parts\.onnx\. Got: no such"):
        import_file(tmp_path / "parts.onnx", tmp_path / "again")


def test_an_operation_that_one_converter_lacks_is_a_failure_with_its_reason(tmp_path):
    """ONNX Runtime's own operations run in ONNX; OpenVINO's converter names the one that it does not know."""
    nodes = [
        helper.make_node("QuickGelu", ["x"], ["z"], domain="com.microsoft"),  # not taken for a quantized one by its Q
        helper.make_node("Inverse", ["z"], ["y"], domain="com.microsoft"),
    ]
    onnx.save(_graph(nodes, {"x": ["N", 3, 3]}, {"y": ["N", 3, 3]}), tmp_path / "inverse.onnx")
    samples = {"x": np.eye(3, dtype=np.float32) + np.random.default_rng(0).uniform(size=(20, 3, 3)) / 9}
    model = edgewright.quantize(tmp_path / "inverse.onnx", samples, "float32")
    bundle = edgewright.export(model, tmp_path / "bundle")
    assert [artifact.name for artifact in bundle.artifacts] == ["onnx float32"]
    assert "Inverse" in bundle.manifest["failures"]["openvino float32"]


def test_what_of_a_recipe_is_done_in_another_way_is_told(folder):
    """Ranges of edgewright's own and rewrites for a unit need a Keras model: the bundle's notes say what is done."""
    recipe = parse_recipe("unit = 'edgetpu'\n[[steps]]\ntechnique = 'static_int8'\ncalibration = 'mse'\n")
    notes = edgewright.quantize(folder / "mine.tflite", folder / "unlabelled.npz", recipe).notes
    assert "each format's own quantizer finds the ranges" in notes[0] and "'mse'" in notes[0]
    assert "unit = 'edgetpu'" in notes[1]


def _bad_files(folder, imported, tmp_path):
    """Yield for each kind of bad file its path and what the message says."""
    files = {"text.onnx": b"no model", "empty.tflite": b""}
    for name in ("mine.onnx", "mine.tflite"):
        whole = (folder / name).read_bytes()
        files[f"cut.{name}"] = whole[: len(whole) // 2]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        yield tmp_path / name, f"Expected a.*{name}"
    (tmp_path / "tflite.onnx").write_bytes((folder / "mine.tflite").read_bytes())
    yield tmp_path / "tflite.onnx", "whole onnx file"
    yield tmp_path / "nowhere.onnx", "Got: nothing"
    yield tmp_path / "model.pt", "ends in .onnx or .tflite"
    made = convert(imported.frozen, "tflite", "dynamic_int8", tmp_path / "dynamic")
    yield made.artifact.path, "quantized already: operation 0, CONV_2D, has .*int8"
    scale = onnx.numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    zero = onnx.numpy_helper.from_array(np.array(0, np.int8), "zero")
    pair = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="first"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    texts = _graph(_relu("Identity"), {"x": [1, 4]}, {"y": [1, 4]})
    texts.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    models = {
        "pair": (_graph(pair, {"x": [1, 4]}, {"y": [1, 4]}, [scale, zero]), "operation 0, QuantizeLinear 'first', has"),
        "steps": (_graph(_relu(), {"x": ["N", "T", 4]}, {"y": ["N", "T", 4]}), r"input 'x'.*\[\?, \?, 4\].*axis 1"),
        "batch": (_graph(_relu(), {"x": [8, 4]}, {"y": [8, 4]}), r"axis 0 of input 'x'.*Got: \[8, 4\]"),
        "texts": (texts, "numbers in input 'x'.*string"),
        "scalar": (_graph(_relu("ReduceSum", keepdims=0), {"x": [1, 4]}, {"y": []}), "axis 0, in output 'y'"),
        "custom": (_graph(_relu("Mine", domain="my.own"), {"x": [1, 4]}, {"y": [1, 4]}), "ONNX Runtime runs.*my.own"),
    }
    for name, (model, message) in models.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
        yield tmp_path / f"{name}.onnx", message


def _relu(kind="Relu", **more):
    return [helper.make_node(kind, ["x"], ["y"], **more)]


def test_a_bad_file_is_refused_with_the_reason(folder, imported, tmp_path):
    """Truncated, of another format, quantized already, open or foreign: each file is refused by name."""
    for path, message in _bad_files(folder, imported, tmp_path):
        data = {"x": np.ones((4, 4), np.float32), "labels": np.zeros(4, int)}
        with pytest.raises(InputError, match=message):
            edgewright.export(edgewright.quantize(path, data, "int8"), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_data_that_does_not_fit_is_refused(folder):
    """Names, shapes and labels are checked against the file's inputs and outputs, as those of Keras models are."""
    data = dict(np.load(folder / "labelled.npz"))
    wrong = {
        "missing: image": {"extra": data["extra"], "picture": data["image"]},
        r"shape \[samples, 6, 6, 1\]": data | {"image": data["image"][:, 1:]},
        "labels from 0 to 2": data | {"labels": data["labels"] + 7},
    }
    for message, given in wrong.items():
        with pytest.raises(InputError, match=message):
            edgewright.quantize(folder / "mine.onnx", given)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[[steps]]\ntechnique = 'magnitude_pruning'\nsparsity = 0.5\n", "Got: magnitude_pruning .*Keras model"),
        ("[[steps]]\ntechnique = 'quantization_aware_training'\n", "Got: quantization_aware_training .*Keras model"),
        ("[[steps]]\ntechnique = 'static_int8'\nkeep_float = 'dense'\n", "without keep_float"),
        ("[[steps]]\ntechnique = 'static_int8'\n", "samples for static_int8"),
    ],
)
def test_a_recipe_that_needs_more_is_refused_before_the_file_is_opened(tmp_path, steps, message):
    """A step that needs a Keras model, or samples that were not given, ends with exit code 2; nothing is written."""
    (tmp_path / "recipe.toml").write_text(steps)
    (tmp_path / "broken.onnx").write_bytes(b"never opened")
    arguments = ["compress", tmp_path / "broken.onnx", "--recipe", tmp_path / "recipe.toml", "--out", tmp_path / "out"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    with pytest.raises(InputError, match=message):
        edgewright.quantize(tmp_path / "broken.onnx", None, tmp_path / "recipe.toml")


@pytest.mark.parametrize("name", ["image", "serving_default_image:0", "StatefulPartitionedCall:1", "a/b"])
def test_plain_names_are_the_runners(name):
    """The exporters and the runner, which is a file of its own, take the same off a name."""
    assert plain_name(name) == _bare(name)
