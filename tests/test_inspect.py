"""edgewright inspect: what a file is made of, what loads it, and what a device runs where."""

import json
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import edgewright
from edgewright import devices
from edgewright.cli import app
from edgewright.devices._edgetpu_compiler import compile_here
from edgewright.devices._tensorrt import place_on_tensorrt
from edgewright.devices._versions import loads_on, needed_runtime
from edgewright.devices._xnnpack import place_on_xnnpack
from edgewright.errors import InputError
from edgewright.export import Job, freeze, get, read_graph
from edgewright.export._graph import graph_of
from edgewright.export._work import uncounted

FILES = (
    ("tflite", "float32"),
    ("tflite", "int8"),
    ("tflite", "dynamic_int8"),
    ("tflite", "int8_weights"),
    ("tflite", "int4_weights"),
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    ("openvino", "int8"),
)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A network with convolutions, attention, and dense layers wide enough to be quantized as the model runs."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 16), name="picture")
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(picture)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = keras.layers.Reshape((16, 32))(x)
    x = x + keras.layers.MultiHeadAttention(2, 8)(x, x)
    x = keras.layers.Dense(64, activation="tanh")(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(picture, keras.layers.Dense(3, activation="softmax", name="classes")(x), name="net")
    return freeze(model, tmp_path_factory.mktemp("frozen") / "graph")


@pytest.fixture(scope="module")
def files(frozen, tmp_path_factory):
    """The files that the exporters write of it, by format and precision."""
    folder = tmp_path_factory.mktemp("files")
    samples = folder / "samples.npz"
    np.savez(samples, picture=np.random.default_rng(0).normal(size=(8, 8, 8, 16)).astype("float32"))
    made = {}
    for format, precision in FILES:
        here = folder / format / precision
        here.mkdir(parents=True)
        job = Job(frozen.folder, precision, frozen.inputs, frozen.outputs, samples, here, f"model.{precision}")
        made[format, precision] = get(format).export(job).path
    return made


@pytest.fixture(scope="module")
def graphs(files):
    """What each of them is made of."""
    return {key: get(key[0]).read(path) for key, path in files.items()}


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_the_macs_are_those_of_the_frozen_graph(format, precision, frozen, graphs):
    """Counted in the file, in each format and precision, multiply-accumulates are those of the graph it was made of."""
    assert graphs[format, precision].macs == frozen.macs
    assert not [node for node in graphs[format, precision].nodes if node.macs is None or node.times != 1]


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_a_graph_comes_back_from_json(format, precision, graphs):
    """What the reading child hands over is what it read."""
    graph = graphs[format, precision]
    assert graph_of(json.loads(json.dumps(graph.plain(), allow_nan=False))) == graph


def test_inputs_outputs_types_and_bytes_are_the_files(graphs):
    """Shapes and types are those of the file; its constants take the bytes that narrow types save."""
    for graph in graphs.values():
        ends = [graph.values[place] for place in (*graph.inputs, *graph.outputs)]
        assert [(value.name, value.shape) for value in ends] == [("picture", (1, 8, 8, 16)), ("classes", (1, 3))]
    whole = graphs["tflite", "int8"]
    assert {whole.values[place].dtype for place in (*whole.inputs, *whole.outputs)} == {"int8"}
    kernel = 3 * 3 * 16 * 32
    assert graphs["tflite", "float32"].constant_bytes["float32"] > 4 * kernel
    assert graphs["tflite", "int4_weights"].constant_bytes["int4"] > kernel / 2
    assert all("int8" in graphs[format, "int8"].constant_bytes for format in ("onnx", "openvino"))


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    """A recurrent layer over seven steps, as a frozen graph with a loop in it."""
    keras.utils.set_random_seed(0)
    x = keras.Input((7, 4), name="x")
    return freeze(keras.Model(x, keras.layers.GRU(5, name="y")(x)), tmp_path_factory.mktemp("loop") / "graph")


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_a_loop_counts_as_often_as_it_runs(format, loop, tmp_path):
    """Seven steps are seven times the multiply-accumulates of one, which the file's own counter tells."""
    path = get(format).export(Job(loop.folder, "float32", loop.inputs, loop.outputs, None, tmp_path, "m")).path
    graph = get(format).read(path)
    assert {node.times for node in graph.nodes if node.macs} == {7}
    assert graph.macs == 7 * (4 * 15 + 5 * 15)


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_a_loop_that_a_condition_ends_counts_alike_in_every_format(format, tmp_path):
    """Four turns of keras.ops.while_loop, which counts below a constant, are four times the product in its body."""

    class Turns(keras.layers.Layer):
        """Multiplies by a matrix four times."""

        def call(self, x):
            """Return what comes of it."""
            matrix = np.eye(5, dtype="float32")

            def turn(count, y):
                return count + 1, keras.ops.tanh(keras.ops.matmul(y, matrix))

            return keras.ops.while_loop(lambda count, y: count < 4, turn, (0, x))[1]

    x = keras.Input((5,), name="x")
    frozen = freeze(keras.Model(x, Turns(name="y")(x)), tmp_path / "graph")
    job = Job(frozen.folder, "float32", frozen.inputs, frozen.outputs, None, tmp_path, "m")
    graph = get(format).read(get(format).export(job).path)
    assert graph.macs == 4 * 5 * 5
    assert {node.times for node in graph.nodes if node.macs} == {4}


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_a_norm_counts_nothing_in_every_format(format, tmp_path):
    """Squares that are summed up are no multiply-accumulates, whether a format has a square or multiplies."""
    x = keras.Input((5,), name="x")
    frozen = freeze(keras.Model(x, keras.layers.UnitNormalization(name="y")(x)), tmp_path / "graph")
    job = Job(frozen.folder, "float32", frozen.inputs, frozen.outputs, None, tmp_path, "m")
    assert get(format).read(get(format).export(job).path).macs == frozen.macs == 0


def test_a_users_own_files_take_no_modules_place(tmp_path, monkeypatch):
    """A folder with an onnx.py and a random.py in it is one to work in: children import what is installed."""
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [3]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), tmp_path / "model.onnx")
    for name in ("onnx", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    assert [node.kind for node in read_graph(tmp_path / "model.onnx").nodes] == ["Relu"]


def test_a_fused_product_of_a_turned_matrix_is_counted(tmp_path):
    """ONNX Runtime's FusedMatMul with its first matrix transposed multiplies along that matrix's first axis."""
    sides = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in {"a": [4, 3], "b": [4, 6]}.items()]
    node = onnx.helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", transA=1)
    graph = onnx.helper.make_graph([node], "g", sides, [onnx.helper.make_tensor_value_info("y", 1, [3, 6])])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "fused.onnx")
    assert read_graph(tmp_path / "fused.onnx").macs == 3 * 4 * 6


def test_a_transform_without_a_formula_is_told(tmp_path):
    """A Fourier transform of TFLite's is told as not counted, as it is in ONNX and OpenVINO."""
    spec = [tf.TensorSpec([1, 16], name="x")]
    function = tf.function(lambda x: tf.abs(tf.signal.rfft(x)), input_signature=spec).get_concrete_function()
    path = tmp_path / "transform.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
    assert uncounted(read_graph(path)) == ["RFFT2D (no formula for this operation)"]


@pytest.mark.parametrize("precision", ["float32", "int8", "dynamic_int8"])
def test_the_lowest_version_is_what_the_converter_states(precision, graphs):
    """From the operations' versions follows the runtime version that TensorFlow's converter writes into the file."""
    graph = graphs["tflite", precision]
    assert graph.stated_runtime
    assert needed_runtime(graph).version == graph.stated_runtime


def test_versions_follow_from_how_weights_are_stored(files, graphs):
    """A file with 4-bit weights needs 2.18 although its operations say 1, and tflite-runtime 2.14 does refuse it."""
    needed = needed_runtime(graphs["tflite", "int4_weights"])
    assert needed.version == "2.18.0" and "the file says 1" in needed.because
    per_channel = needed_runtime(graphs["tflite", "int8_weights"])
    assert tuple(map(int, per_channel.version.split("."))) >= (2, 7)
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no wheel for this Python")
    # In a process of its own: beside TensorFlow it fails.
    run = "import sys; from tflite_runtime.interpreter import Interpreter; Interpreter(sys.argv[1]).allocate_tensors()"
    for precision, runs in (("int8_weights", True), ("int4_weights", False)):
        command = [sys.executable, "-c", run, str(files["tflite", precision])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == runs, done.stderr


def test_a_device_with_an_old_runtime_does_not_load_a_new_file(graphs):
    """A version is compared with the one in the profile, and an unknown one is not taken for either."""
    board = devices.get("coral-dev-board")
    assert loads_on(board, graphs["tflite", "int8"]).ok
    old = loads_on(board, graphs["tflite", "int4_weights"])
    assert old.ok is False and "2.5.0, too old" in old.sentence and "2.18.0" in old.sentence
    assert loads_on(board, graphs["onnx", "float32"]).ok is False
    pi = devices.get("raspberry-pi-4b")
    assert all(loads_on(pi, graph).ok for graph in graphs.values())
    assert loads_on(devices.get("jetson-orin-nano"), graphs["onnx", "float32"]).ok is None


def _onnx(nodes, inputs, outputs, initializers=(), opset=17, ir=8):
    """Return the graph of an ONNX model of these parts, as it is read from a file."""
    import onnx

    graph = onnx.helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("mine", 1)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=ir)


def _floats(name, *shape):
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _read_onnx(model, folder):
    import onnx

    path = folder / "made.onnx"
    onnx.save(model, path)
    return get("onnx").read(path)


@pytest.mark.parametrize(
    ("opset", "ir", "version"),
    [
        (12, 7, "1.3"),
        (17, 8, "1.12"),
        (17, 9, "1.16"),
        (21, 10, "1.18"),
        (23, 11, "1.23"),
        (28, 14, "1.32"),
        (99, 8, ""),
    ],
)
def test_an_onnx_file_needs_the_release_with_its_operation_set_and_ir(opset, ir, version, tmp_path):
    """The first release that has both is named; beyond the table none is, and the message says what is beyond it."""
    from onnx.helper import make_node

    model = _onnx([make_node("Relu", ["x"], ["y"])], [_floats("x", 1, 4)], [_floats("y", 1, 4)], opset=opset, ir=ir)
    needed = needed_runtime(_read_onnx(model, tmp_path))
    assert needed.version == version
    assert bool(needed.unknown) == (not version)


def test_the_last_row_of_the_table_is_what_the_installed_onnx_runtime_does():
    """ONNX Runtime here loads the table's last operation set and IR version, and neither one more."""
    import onnxruntime
    from onnx.helper import make_node

    release, opset, ir = devices._versions._table("runtime_versions.json")["onnx"]["releases"][-1]
    assert onnxruntime.__version__.startswith(release + ".")
    for more_opset, more_ir, loads in ((0, 0, True), (1, 0, False), (0, 1, False)):
        model = _onnx(
            [make_node("Relu", ["x"], ["y"])],
            *([_floats("x", 1)], [_floats("y", 1)]),
            opset=opset + more_opset,
            ir=ir + more_ir,
        )
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            loaded = True
        except Exception:
            loaded = False
        assert loaded == loads, (more_opset, more_ir)


def _with_version(path, kind, version):
    """Return a TFLite file's bytes with another version of one operation."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    code = next(code for code in model.operatorCodes if code.builtinCode == getattr(schema.BuiltinOperator, kind))
    code.version = version
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "CONV_2D", "ADD"])
def test_litert_has_the_last_operation_versions_of_the_table(kind, files, tmp_path):
    """The installed LiteRT starts on the table's last version of an operation, and not on a hundredth."""
    from ai_edge_litert.interpreter import Interpreter

    last = len(devices._versions._table("tflite_versions.json")["operations"][kind])
    path = files["tflite", "float32"]
    assert Interpreter(model_content=_with_version(path, kind, last))
    with pytest.raises(ValueError, match="Didn't find op"):
        Interpreter(model_content=_with_version(path, kind, 100))
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(_with_version(path, kind, 100))
    assert needed_runtime(get("tflite").read(changed)).unknown == (f"{kind} version 100",)


@pytest.mark.parametrize(("format", "precision"), [("tflite", "int8"), ("onnx", "float32"), ("openvino", "int8")])
def test_a_truncated_file_is_refused(format, precision, files, tmp_path):
    """A file cut off anywhere is an InputError that names it, whichever way its reader ends."""
    whole = files[format, precision].read_bytes()
    cut = tmp_path / files[format, precision].name
    for length in (0, 7, len(whole) // 2):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"Expected.*\n?.*Got"):
            read_graph(cut)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_file_cut_at_any_length_reads_as_it_is_or_raises(format, files):
    """No length makes the reader hang or report another model than the whole file's."""
    path = files[format, "float32"]
    whole = path.read_bytes()
    macs = get(format).read(path).macs
    cut = path.with_name(f"cut{path.suffix}")
    for length in np.linspace(1, len(whole) - 1, 40, dtype=int):
        cut.write_bytes(whole[:length])
        try:
            read = get(format).read(cut)
        except Exception:
            continue
        assert read.macs == macs, length
    cut.unlink()


def test_weights_that_are_missing_or_too_short_are_refused(files, tmp_path):
    """An OpenVINO file whose .bin is not there, or ends early, says how many bytes were expected."""
    (tmp_path / "m.xml").write_bytes(files["openvino", "int8"].read_bytes())
    with pytest.raises(InputError, match=r"Expected m.bin with at least \d+ bytes. Got: no such file"):
        get("openvino").read(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(b"short")
    with pytest.raises(InputError, match="Got: 5 bytes"):
        get("openvino").read(tmp_path / "m.xml")


def test_an_empty_constant_of_openvino_is_read(tmp_path):
    """OpenVINO stores a constant of no elements in one byte; it is read, and has no numbers."""
    import openvino
    from openvino import opset8

    x = opset8.parameter([1, 4], np.float32, name="x")
    joined = opset8.concat(
        [openvino.op.Constant(openvino.Type.i32, openvino.Shape([0]), []), opset8.constant(np.array([1, 4], np.int32))],
        0,
    )
    model = openvino.Model([opset8.reshape(x, joined, False)], [x], "m")
    openvino.save_model(model, tmp_path / "m.xml")
    graph = get("openvino").read(tmp_path / "m.xml")
    assert [node.kind for node in graph.nodes] == ["Concat", "Reshape"]
    assert [value.numbers for value in graph.values if value.constant] == [None, (1, 4)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tflite", b"PK\3\4 a zip and no model", "Expected a TFLite file"),
        ("a.xml", b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><net><layers/></net>", "without a DTD"),
        ("a.xml", b"<html><body/></html>", "a file of <html>"),
        ("a.onnx", b"\x08\x08", "Expected an ONNX file with a graph"),
        ("a.pt", b"", r"ends in .onnx, .tflite, .xml. Got: .*a.pt\.$"),
        ("a.keras", b"", r"Got: .*a.keras\. A Keras model is exported first, as by: edgewright compress"),
    ],
)
def test_another_kind_of_file_is_refused(name, content, message, tmp_path):
    """What is no model, or a model of a format that has no reader, is refused with what was expected."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_graph(tmp_path / name)


def test_a_converters_own_file_is_read(tmp_path):
    """A file that edgewright did not write is read: an open batch, a signature's loop and its types are told."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 12), tf.float32, name="anything")])
    def theirs(anything):
        kernel = tf.reshape(tf.range(60, dtype=tf.float32), (12, 5))
        return tf.nn.relu(tf.matmul(anything, kernel))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([theirs.get_concrete_function()])
    path = tmp_path / "theirs.tflite"
    path.write_bytes(converter.convert())
    (inspection,) = edgewright.inspect(path)
    graph = inspection.graph
    given = graph.values[graph.inputs[0]]
    assert given.stated == (-1, 12) and given.shape == (1, 12) and given.static and not given.fixed
    assert [node.kind for node in graph.nodes] == ["FULLY_CONNECTED"]
    assert graph.macs == 60 and uncounted(graph) == []
    assert inspection.size_bytes == path.stat().st_size


def test_without_the_compiler_nothing_is_run(files, monkeypatch):
    """Where edgetpu_compiler is not on the path, the prediction stands."""
    monkeypatch.setenv("PATH", "")
    assert compile_here(files["tflite", "int8"]) is None


def _quantized(dtype, zero_point=0, scales=1, moving=True):
    """Return an ONNX model that quantizes a tensor and multiplies what comes of it."""
    import onnx
    from onnx.helper import make_node, make_tensor

    def constant(name, kind, values, shape=()):
        return make_tensor(name, kind, shape, values)

    kind = getattr(onnx.TensorProto, dtype)
    shape = () if scales == 1 else (scales,)
    nodes = [make_node("Relu", ["x"], ["r"])]
    if moving:
        nodes += [
            make_node("QuantizeLinear", ["r", "scale", "zero"], ["q"]),
            make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        ]
    nodes += [
        make_node("DequantizeLinear", ["w8", "ws"], ["w"], axis=1),
        make_node("MatMul", ["d" if moving else "r", "w"], ["y"]),
    ]
    initializers = [
        constant("scale", onnx.TensorProto.FLOAT, [0.1] * scales, shape),
        constant("zero", kind, [zero_point] * scales, shape),
        constant("w8", onnx.TensorProto.INT8, [1] * 12, (4, 3)),
        constant("ws", onnx.TensorProto.FLOAT, [0.1] * 3, (3,)),
    ]
    opset = 21 if dtype == "INT16" else 17
    return _onnx(nodes, [_floats("x", 1, 4)], [_floats("y", 1, 3)], initializers, opset=opset, ir=8)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({}, ""),
        ({"zero_point": 3}, "zero point that is not zero"),
        ({"dtype": "UINT8"}, "quantizes to uint8"),
        ({"dtype": "INT16"}, "quantizes to int16"),
        ({"scales": 4}, "4 scales for an activation"),
    ],
)
def test_tensorrt_takes_symmetric_int8_with_one_scale(form, reason, tmp_path):
    """QuantizeLinear and DequantizeLinear of another type, zero point or granularity are left to other providers."""
    graph = _read_onnx(_quantized(**{"dtype": "INT8", **form}), tmp_path)
    placement = place_on_tensorrt(graph, "TensorRT 10.3")
    refused = {graph.nodes[entry.node].kind: entry.reason for entry in placement.placed if entry.reason}
    assert set(refused) == ({"QuantizeLinear", "DequantizeLinear"} if reason else set())
    assert all(reason in text for text in refused.values())
    assert any("run in float: MatMul" in sentence for sentence in placement.sentences) == bool(reason)
    assert placement.facts["macs_share_in_int8"] == (0.0 if reason else 1.0)


def test_tensorrt_says_what_it_cannot_take(graphs, tmp_path):
    """Open sizes and an unread operation set refuse a whole file; with weights alone in int8 it runs in float."""
    from onnx import TensorProto
    from onnx.helper import make_node, make_tensor

    relu = [make_node("Relu", ["x"], ["y"])]
    open_batch = _read_onnx(_onnx(relu, [_floats("x", "n", 4)], [_floats("y", "n", 4)]), tmp_path)
    assert place_on_tensorrt(open_batch, "TensorRT 10.3").placed[0].unit == "TensorRT"  # built for what comes first
    open_sizes = _read_onnx(_onnx(relu, [_floats("x", 1, "n")], [_floats("y", 1, "n")]), tmp_path)
    assert "fixed ones: x" in place_on_tensorrt(open_sizes, "TensorRT 10.3").placed[0].reason
    new = _read_onnx(_onnx(relu, [_floats("x", 1)], [_floats("y", 1)], opset=26), tmp_path)
    assert "operation set 26" in place_on_tensorrt(new, "TensorRT 10.3").placed[0].reason
    bias = [make_node("DequantizeLinear", ["b32", "scale"], ["b"]), make_node("Add", ["x", "b"], ["y"])]
    stored = [make_tensor("b32", TensorProto.INT32, (4,), [1] * 4), make_tensor("scale", TensorProto.FLOAT, (), [0.1])]
    graph = _read_onnx(_onnx(bias, [_floats("x", 1, 4)], [_floats("y", 1, 4)], stored), tmp_path)
    assert "a bias in int32" in place_on_tensorrt(graph, "TensorRT 10.3").placed[0].reason
    weights = place_on_tensorrt(_read_onnx(_quantized("INT8", moving=False), tmp_path), "TensorRT 10.3")
    assert all(entry.unit == "TensorRT" for entry in weights.placed)
    assert any("run in float: MatMul" in sentence for sentence in weights.sentences)
    own = place_on_tensorrt(graphs["onnx", "float32"], "TensorRT 10.3")
    assert own.facts["macs_share"] == 1.0 and {entry.unit for entry in own.placed} == {"TensorRT"}


def _delegated(path):
    """Return for each operation whether LiteRT hands it to XNNPACK: it lies between a delegate's inputs and outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    operations = interpreter._get_ops_details()
    plain = [operation for operation in operations if operation["op_name"] != "DELEGATE"]
    made_by = {int(index): place for place, operation in enumerate(plain) for index in operation["outputs"]}
    taken: set[int] = set()
    for delegate in operations[len(plain) :]:
        ends = {int(index) for index in delegate["inputs"]}
        waiting = [int(index) for index in delegate["outputs"]]
        while waiting:
            index = waiting.pop()
            if index not in ends and index in made_by and made_by[index] not in taken:
                taken.add(made_by[index])
                waiting += [int(other) for other in plain[made_by[index]]["inputs"] if other >= 0]
    return [place in taken for place in range(len(plain))]


@pytest.mark.parametrize("precision", ["float32", "int8", "dynamic_int8", "int8_weights", "int4_weights"])
def test_xnnpack_takes_what_litert_hands_to_it(precision, files, graphs):
    """What the table says of each operation is what the installed LiteRT does with it."""
    graph = graphs["tflite", precision]
    predicted = [entry.unit == "XNNPACK" for entry in place_on_xnnpack(graph).placed]
    actual = _delegated(files["tflite", precision])
    pairs = zip(graph.nodes, predicted, actual, strict=True)
    assert [node.kind for node, expected, seen in pairs if expected != seen] == []
    assert any(actual)


def test_xnnpack_leaves_what_it_lacks_to_the_built_in_kernels(tmp_path):
    """Joins of six tensors, POW, CUMSUM and slices with strides stay outside, in LiteRT as in the table."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 4), tf.float32, name="x")])
    def mixed(x):
        joined = tf.concat([x * float(factor + 2) for factor in range(6)], axis=-1)
        return tf.cumsum(tf.pow(tf.abs(joined[:, ::2]) + 1.0, 2.5), axis=1), tf.exp(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([mixed.get_concrete_function()])
    path = tmp_path / "mixed.tflite"
    path.write_bytes(converter.convert())
    graph = get("tflite").read(path)
    placement = place_on_xnnpack(graph)
    assert [entry.unit == "XNNPACK" for entry in placement.placed] == _delegated(path)
    outside = {graph.nodes[entry.node].kind for entry in placement.placed if entry.unit != "XNNPACK"}
    assert outside == {"CONCATENATION", "STRIDED_SLICE", "POW", "CUMSUM"}


@pytest.fixture
def bundle(files, tmp_path):
    """A bundle of two of the files."""
    import shutil

    from edgewright.export import Artifact
    from edgewright.export._bundle import bundle_manifest, files_of
    from edgewright.files import MANIFEST, write_json

    folder = tmp_path / "bundle"
    (folder / "artifacts").mkdir(parents=True)
    artifacts = []
    for format, precision in (("tflite", "int8"), ("openvino", "float32")):
        path = files[format, precision]
        for file in path.parent.glob(f"{path.stem}.*"):
            shutil.copy(file, folder / "artifacts")
        artifacts.append(Artifact(folder / "artifacts" / path.name, format, precision, (), (), "", 1, 1))
    document = bundle_manifest(tuple(artifacts), model="net")
    write_json(folder / MANIFEST, {**document, "files": files_of(folder)})
    return folder


def test_the_command_inspects_each_file_of_a_bundle(bundle):
    """Every artifact is told of in turn: what it needs, its operations with their shapes, and where they run."""
    done = CliRunner().invoke(app, ["inspect", str(bundle), "--device", "coral-dev-board", "--all"])
    assert done.exit_code == 0, done.output
    for text in ("model.int8.tflite", "model.float32.xml", "TensorFlow Lite 2.", "OpenVINO 2022.1", "predicted"):
        assert text in done.output
    assert "[1 x 8 x 8 x 16] int8" in done.output
    assert "has no runtime for openvino" in done.output


def test_the_command_prints_json(files):
    """One JSON document has the graph, the version, and each operation's place and reason."""
    path = files["tflite", "int8"]
    done = CliRunner().invoke(app, ["inspect", str(path), "--device", "raspberry-pi-4b", "--json"])
    document = json.loads(done.stdout)
    (file,) = document["result"]["files"]
    assert (document["command"], document["exit_code"], done.exit_code) == ("inspect", 0, 0)
    assert file["needed"]["version"] and file["macs"] and file["constant_bytes"]["int8"]
    assert len(file["on_device"]["placement"]["placed"]) == len(file["graph"]["nodes"])
    assert file["on_device"]["loads"]["ok"] is True


@pytest.mark.parametrize("what", ["nothing there", "a folder", "no device", "broken"])
def test_bad_input_ends_with_exit_code_2(what, files, tmp_path):
    """A missing file, another folder, an unknown device and a broken file are usage errors with a sentence."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(files["tflite", "int8"].read_bytes()[:400])
    arguments = {
        "nothing there": [str(tmp_path / "no.tflite")],
        "a folder": [str(tmp_path)],
        "no device": [str(files["tflite", "int8"]), "--device", "coral-dev-bord"],
        "broken": [str(broken)],
    }[what]
    done = CliRunner().invoke(app, ["inspect", *arguments])
    assert done.exit_code == 2
    assert "edgewright inspect: Expected" in done.output and "Got: " in done.output
