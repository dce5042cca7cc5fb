"""Measuring and profiling any file: first sizes other than one, scalars, inputs that cannot be fed, foreign words."""

import json

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from edgewright.children import python, run_child
from edgewright.cli import app
from edgewright.cli_options import end
from edgewright.errors import InputError
from edgewright.runtimes import _runner as runner
from edgewright.runtimes import run_artifact
from edgewright.subjects import subjects_of

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
