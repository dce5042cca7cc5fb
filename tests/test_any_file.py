"""Measuring and profiling any file: first sizes other than one, scalars, inputs that cannot be fed, foreign words."""

import json

import numpy as np
import onnx
import openvino
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper
from typer.testing import CliRunner

import edgewright
from edgewright.children import python, run_child
from edgewright.cli import app
from edgewright.cli_options import end
from edgewright.errors import InputError
from edgewright.export._tflite_file import tflite_signature
from edgewright.runtimes import _runner as runner
from edgewright.runtimes import run_artifact
from edgewright.subjects import identity, subjects_of

_MAKE = """
import sys
import tensorflow as tf


@tf.function(input_signature=[tf.TensorSpec([4, 3], name="x"), tf.TensorSpec([3, 2], name="w")])
def serve(x, w):
    return {"y": tf.matmul(x, w)}


tf.saved_model.save(tf.Module(), sys.argv[1] + "/saved", signatures={"serving_default": serve})
with open(sys.argv[1] + "/fixed.tflite", "wb") as file:
    file.write(tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + "/saved").convert())
"""


def _tensor(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def _onnx(path, nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "any", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _product(path, dtype=TensorProto.FLOAT):
    """Write a file that multiplies [4, 3] by [3, 2]."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    inputs = [_tensor("x", [4, 3], dtype), _tensor("w", [3, 2], dtype)]
    return _onnx(path, [node], inputs, [_tensor("y", [4, 2], dtype)])


def _branch(path):
    """Write a file that doubles its input where a scalar condition says so."""
    then = helper.make_graph([helper.make_node("Add", ["x", "x"], ["a"])], "then", [], [_tensor("a", [1, 3])])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "other", [], [_tensor("b", [1, 3])])
    node = helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=other)
    return _onnx(path, [node], [_tensor("x", [1, 3]), _tensor("condition", [], TensorProto.BOOL)], [_tensor("y", None)])


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """A product of [4, 3] and [3, 2], both inputs, in each runtime's format."""
    folder = tmp_path_factory.mktemp("fixed")
    _product(folder / "fixed.onnx")
    openvino.save_model(openvino.convert_model(folder / "fixed.onnx"), folder / "fixed.xml", compress_to_fp16=False)
    made = run_child(python("-c", _MAKE, folder), time_limit_s=300, environment={"TF_CPP_MIN_LOG_LEVEL": "2"})
    assert made.ok, made.stderr
    return {"litert": folder / "fixed.tflite", "onnxruntime": folder / "fixed.onnx", "openvino": folder / "fixed.xml"}


def _run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime", "openvino"])
def test_a_first_size_that_is_fixed_is_fed_whole(runtime, fixed):
    """A file whose first sizes are fixed gets inputs of exactly its shapes, and computes what NumPy does."""
    (subject,) = subjects_of(fixed[runtime], runtime=runtime)
    assert subject.whole and subject.source == "16 random inputs of the file's own shapes, seed 0"
    assert {name: array.shape for name, array in subject.inputs.items()} == {"x": (16, 4, 3), "w": (16, 3, 2)}
    run = run_artifact(subject.artifact, runtime, subject.inputs)
    assert run.ok, run.reason
    expected = subject.inputs["x"] @ subject.inputs["w"]
    np.testing.assert_allclose(run.outputs["y"], expected, rtol=1e-5, atol=1e-6)


def test_a_file_of_fixed_shape_is_measured_and_profiled(fixed):
    """Measuring and profiling such a file is told to be of its own batch, a call being the unit."""
    asked = fixed["onnxruntime"], "--quiet"
    done = _run("measure", *asked, "--processes", 2)
    assert done.exit_code in (0, 5) and "the file's own batch" in done.stdout and "inferences/s" in done.stdout
    assert _run("profile", *asked, "--runs", 10).exit_code == 0


def test_samples_of_a_file_of_fixed_shape_are_calls(fixed, tmp_path):
    """A user's array has the samples first, then the file's whole shape; anything else names both shapes."""
    x, w = np.ones((5, 4, 3), "f4"), np.ones((5, 3, 2), "f4")
    (subject,) = subjects_of(fixed["onnxruntime"], data={"x": x, "w": w})
    assert subject.source == "5 samples of the data given" and subject.inputs["x"].shape == (5, 4, 3)
    np.savez(tmp_path / "one.npz", x=x[0], w=w[0])
    done = _run("measure", fixed["onnxruntime"], "--data", tmp_path / "one.npz", "--quiet")
    assert done.exit_code == 2 and "of shape [samples, 4, 3]. Got: [4, 3]" in done.stderr


def test_an_open_first_size_is_still_a_batch_of_one(tmp_path):
    """Where all first sizes are open or one, the leading axis of the data is the batch, as ever."""
    node = helper.make_node("Add", ["x", "z"], ["y"])
    shapes = [_tensor("x", ["batch", 3]), _tensor("z", [1, 3])]
    path = _onnx(tmp_path / "open.onnx", [node], shapes, [_tensor("y", ["batch", 3])])
    (subject,) = subjects_of(path)
    assert not subject.whole and {array.shape for array in subject.inputs.values()} == {(16, 3)}
    run = run_artifact(path, "onnxruntime", subject.inputs)
    np.testing.assert_allclose(run.outputs["y"], subject.inputs["x"] + subject.inputs["z"], rtol=1e-6)


def test_scalars_are_fed(tmp_path):
    """A condition without dimensions gets a scalar a call, and the branch that it says is what runs."""
    path = _branch(tmp_path / "branch.onnx")
    (subject,) = subjects_of(path)
    assert subject.inputs["condition"].shape == (16,) and subject.inputs["x"].shape == (16, 1, 3)
    run = run_artifact(path, "onnxruntime", subject.inputs)
    assert run.ok, run.reason
    factor = 1 + subject.inputs["condition"][:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(run.outputs["y"], subject.inputs["x"] * factor)


def test_outputs_of_changing_size_are_numbers_in_a_row():
    """An output that is of another size for each sample is flat, and a scalar has one number for each sample."""
    places, count = runner.Tensor("places", (1, 1), "int64"), runner.Tensor("count", (), "int64")
    results = [[np.arange(2)[np.newaxis], np.int64(2)], [np.arange(3)[np.newaxis], np.int64(3)]]
    outputs = runner.collect(results, [places, count], as_whole=True)
    assert outputs["places"].tolist() == [0, 1, 0, 1, 2] and outputs["count"].tolist() == [2, 3]
    batch = runner.collect([[np.ones((1, 2))]] * 3, [runner.Tensor("y", (1, 2), "float32")])
    assert batch["y"].shape == (3, 2)


@pytest.mark.parametrize(("kind", "settings"), [("Cast", {"to": TensorProto.STRING}), ("SplitToSequence", {})])
def test_an_output_that_is_no_tensor_of_numbers_is_named(kind, settings, tmp_path):
    """Text and sequences that a file gives are told by the output's name and its type in ONNX."""
    text = _tensor("said", [1, 3], TensorProto.STRING)
    several = helper.make_tensor_sequence_value_info("said", TensorProto.FLOAT, None)
    output = text if kind == "Cast" else several
    path = _onnx(
        tmp_path / "any.onnx", [helper.make_node(kind, ["x"], ["said"], **settings)], [_tensor("x", [1, 3])], [output]
    )
    done = _run("measure", path, "--quiet")
    assert done.exit_code == 1 and "expected tensors of numbers in and out, got said of " in done.stdout


@pytest.mark.parametrize("command", ["measure", "profile"])
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (("x", [1, 3], TensorProto.BFLOAT16), "Got: input 'x' of bfloat16"),
        (("text", [1], TensorProto.STRING), "Got: input 'text' of string"),
        (("x", None, TensorProto.FLOAT), "Got: input 'x' without a shape"),
    ],
)
def test_an_input_that_cannot_be_fed_is_named(command, inputs, message, tmp_path):
    """An input of a type that NumPy lacks, of text or of unknown rank is exit code 2 with valid JSON."""
    name, shape, dtype = inputs
    node = helper.make_node("Identity", [name], ["y"])
    path = _onnx(tmp_path / "any.onnx", [node], [_tensor(name, shape, dtype)], [_tensor("y", shape, dtype)])
    done = _run(command, path, "--json", "--quiet")
    error = json.loads(done.stdout)["error"]
    assert done.exit_code == 2 and error["type"] == "InputError" and message in error["message"]
    with pytest.raises(InputError, match="cannot be fed at all"):
        subjects_of(path, data={name: np.zeros((2, 3), "f4")})


def test_words_of_others_are_no_markup(capsys):
    """Brackets in a table, such as a shape in a runtime's reason, are printed as they are."""
    from rich.table import Table

    def work():
        table = Table(box=None)
        table.add_column("reason")
        table.add_row("expected x as [samples, 3], got [16] and [/b] :x:")
        return {}, 0, table

    with pytest.raises(SystemExit):
        end("measure", False, work)
    assert "expected x as [samples, 3], got [16] and [/b] :x:" in capsys.readouterr().out


def test_an_open_openvino_file_runs_one_sample_at_a_time(tmp_path):
    """A batch that is open has no size before something is fed: it is one."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    _onnx(tmp_path / "open.onnx", [node], [_tensor("x", ["batch", 3])], [_tensor("y", ["batch", 3])])
    openvino.save_model(openvino.convert_model(tmp_path / "open.onnx"), tmp_path / "open.xml", compress_to_fp16=False)
    (subject,) = subjects_of(tmp_path / "open.xml")
    run = run_artifact(subject.artifact, "openvino", subject.inputs)
    assert run.ok, run.reason
    np.testing.assert_allclose(run.outputs["y"], 2 * subject.inputs["x"])


def _with_data_beside(path):
    """Write a product whose weights lie in a file beside it."""
    kernel = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "any", [_tensor("x", [1, 64])], [_tensor("y", [1, 64])], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    return path


def test_data_beside_an_onnx_file_belongs_to_it(tmp_path):
    """Weights in a file of their own count as its size and are part of what it is; without them it is refused."""
    path = _with_data_beside(tmp_path / "model.onnx")
    weights = tmp_path / "weights.data"
    (found,) = edgewright.inspect(path)
    assert found.size_bytes == path.stat().st_size + weights.stat().st_size
    before = identity(path)
    weights.write_bytes(bytes(weights.stat().st_size))
    assert identity(path) != before
    elsewhere = onnx.load(path, load_external_data=False)
    elsewhere.graph.initializer[0].external_data[0].value = "../weights.data"
    onnx.save(elsewhere, tmp_path / "elsewhere.onnx")
    with pytest.raises(InputError, match=r"in its own folder.*\.\./weights\.data"):
        edgewright.inspect(tmp_path / "elsewhere.onnx")
    weights.write_bytes(bytes(100))
    with pytest.raises(InputError, match=r"weights\.data with at least 16384 bytes beside model\.onnx\. Got: 100 b"):
        edgewright.inspect(path)
    weights.unlink()
    with pytest.raises(InputError, match=r"weights\.data with at least 16384 bytes.*Got: no such file"):
        edgewright.inspect(path)


def test_places_of_one_name_keep_them_apart(tmp_path):
    """Two inputs that differ only behind the colon, as the places of a split do, are fed each its own."""
    node = helper.make_node("Sub", ["parts:0", "parts:1"], ["y"])
    inputs = [_tensor("parts:0", [1, 3]), _tensor("parts:1", [1, 3])]
    path = _onnx(tmp_path / "parts.onnx", [node], inputs, [_tensor("y", [1, 3])])
    openvino.save_model(openvino.convert_model(path), tmp_path / "parts.xml", compress_to_fp16=False)
    for file, runtime in ((path, "onnxruntime"), (tmp_path / "parts.xml", "openvino")):
        (subject,) = subjects_of(file)
        run = run_artifact(subject.artifact, runtime, subject.inputs)
        assert run.ok, run.reason
        first, second = (subject.inputs[name] for name in sorted(subject.inputs))
        np.testing.assert_allclose(run.outputs["y"], first - second)


_SIGNATURES = """
import sys
import tensorflow as tf


class Both(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, 3], name="x")])
    def first(self, x):
        return {"y": x + 1.0}

    @tf.function(input_signature=[tf.TensorSpec([1, 5], name="x")])
    def second(self, x):
        return {"y": x * 3.0}


both = Both()
signatures = {"another": both.first, "serving_default": both.second}
tf.saved_model.save(both, sys.argv[1] + "/saved", signatures=signatures)
converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + "/saved", signature_keys=list(signatures))
with open(sys.argv[1] + "/both.tflite", "wb") as file:
    file.write(converter.convert())
"""


def test_of_several_signatures_the_first_subgraphs_is_run(tmp_path):
    """What is counted, fed and run is the first subgraph, whatever other entry points are called."""
    made = run_child(python("-c", _SIGNATURES, tmp_path), time_limit_s=300, environment={"TF_CPP_MIN_LOG_LEVEL": "2"})
    assert made.ok, made.stderr
    (subject,) = subjects_of(tmp_path / "both.tflite", runtime="litert")
    run = run_artifact(subject.artifact, "litert", subject.inputs)
    assert run.ok, run.reason
    interpreter = Interpreter(str(tmp_path / "both.tflite"))
    here, there = tflite_signature(interpreter), runner.tflite_signature(interpreter)  # a file of its own, for devices
    assert here[0] == there[0]
    for side, other in zip(here[1:], there[1:], strict=True):
        assert {name: each["index"] for name, each in side.items()} == {n: each["index"] for n, each in other.items()}
    given = subject.inputs["x"]
    np.testing.assert_allclose(run.outputs["y"], given + 1 if given.shape[-1] == 3 else 3 * given, rtol=1e-6)


def test_what_nothing_is_fed_to_is_refused(tmp_path):
    """A file without inputs, one whose samples fit into no memory, and one that reads what nothing makes, are told."""
    made = helper.make_node("ConstantOfShape", ["size"], ["y"])
    size = onnx.numpy_helper.from_array(np.array([1, 3]), "size")
    graph = helper.make_graph([made], "any", [], [_tensor("y", [1, 3])], [size])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    huge = [_tensor("x", [1, 2**20, 2**20])]
    _onnx(tmp_path / "b.onnx", [helper.make_node("Relu", ["x"], ["y"])], huge, [_tensor("y", [1, 2**20, 2**20])])
    lost = helper.make_node("Relu", ["lost"], ["y"])
    _onnx(tmp_path / "c.onnx", [lost], [_tensor("x", [1, 3])], [_tensor("y", [1, 3])])
    for name, message in {
        "a": "takes inputs. Got: one without any",
        "b": "fit into this host's memory",
        "c": "'lost', which Relu reads and nothing makes",
    }.items():
        done = _run("measure", tmp_path / f"{name}.onnx", "--quiet")
        assert done.exit_code == 2 and message in " ".join(done.stderr.split())


def test_a_size_of_zero_is_zero(tmp_path):
    """An input without elements is fed none, and what is joined to it stays as it is."""
    node = helper.make_node("Concat", ["x", "none"], ["y"], axis=1)
    path = _onnx(tmp_path / "a.onnx", [node], [_tensor("x", [1, 3]), _tensor("none", [1, 0])], [_tensor("y", [1, 3])])
    (subject,) = subjects_of(path)
    run = run_artifact(path, "onnxruntime", subject.inputs)
    assert run.ok, run.reason
    np.testing.assert_allclose(run.outputs["y"], subject.inputs["x"])
