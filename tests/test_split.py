"""edgewright split: a TFLite file in parts, so that more of it runs on the Edge TPU, computing the very same bytes."""

import hashlib
import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import edgewright
from edgewright import compress, export, splitting
from edgewright.cli import app
from edgewright.compress import parse_recipe
from edgewright.devices import get, place
from edgewright.errors import GateFailed, InputError
from edgewright.export import Artifact, Deployable, HostCode, read_graph
from edgewright.export._tflite_flatbuffer import items, unpacked
from edgewright.export._tflite_parts import parts_of_file
from edgewright.runtimes import run_artifact
from edgewright.runtimes._chain import compare_chain

BOARD = "coral-dev-board"
KERNELS = np.random.default_rng(0).normal(size=(2, 3, 3, 8, 8)).astype("float32") / 8
TABLE = np.random.default_rng(1).normal(size=(10, 8)).astype("float32")


def _file(path, function, *specs, integers=True):
    """Write what TensorFlow's converter makes of a function; integers in and out where it is quantized."""
    import tensorflow as tf

    signature = [tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in specs]
    concrete = tf.function(function, input_signature=signature, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if integers:
        random = np.random.default_rng(0)
        drawn = [[random.integers(0, 10, shape).astype(dtype) for _, shape, dtype in specs] for _ in range(8)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter(drawn)
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def _convolved(x):
    import tensorflow as tf

    for kernel in KERNELS:
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
    return x


def _with_head_and_tail(ids, x):
    """Rows of a table are looked up, two convolutions follow; the largest values are chosen of their mean."""
    import tensorflow as tf

    mean = tf.reduce_mean(_convolved(tf.gather(TABLE, ids) + x), (1, 2))
    return {"mean": tf.nn.softmax(mean), "largest": tf.math.top_k(mean, 2).values}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An int8 file whose first and last operation the Edge TPU cannot take."""
    path = tmp_path_factory.mktemp("whole") / "net.tflite"
    return _file(path, _with_head_and_tail, ("ids", (1, 6, 6), "int32"), ("x", (1, 6, 6, 8), "float32"))


@pytest.fixture(scope="module")
def made(whole, tmp_path_factory):
    """It in parts."""
    return edgewright.split(whole, BOARD, tmp_path_factory.mktemp("out") / "parts")


def test_a_body_begins_with_what_the_edge_tpu_takes(made):
    """A head and a tail stay on the CPU; the Edge TPU takes the body whole, and all multiply-accumulates with it."""
    assert [part.unit for part in made.parts] == ["CPU", "Edge TPU", "CPU"]
    assert made.macs_share_whole == 0 and made.macs_share == 1
    body = read_graph(made.path / made.parts[1].file)
    assert {entry.unit for entry in place(get(BOARD), body).placed} == {"Edge TPU"}
    biases = made.parts[1].cache_bytes - 2 * KERNELS[0].size
    assert biases in (32, 64)  # eight in 32 bits each; equal ones are stored once
    assert made.cache_bytes == int(7.97 * 2**20)


def test_the_parts_give_the_bytes_of_the_whole(whole, made):
    """Run one after the other by the runner, each fed with what the ones before made, they give the whole's outputs."""
    random = np.random.default_rng(2)
    inputs = {"ids": random.integers(0, 10, (8, 6, 6)), "x": random.normal(size=(8, 6, 6, 8)).astype("float32")}
    expected = run_artifact(whole, "litert", inputs).outputs
    values = dict(inputs)
    for part in made.parts:
        run = run_artifact(made.path / part.file, "litert", {each.name: values[each.name] for each in part.inputs})
        assert run.ok, run.reason
        values |= run.outputs
    for name, array in expected.items():
        np.testing.assert_array_equal(values[name], array)
    assert made.random_samples == 16 and made.golden_samples == 0


def test_what_crosses_stays_as_it_is(whole, made):
    """Tensors between parts keep name, type, shape, scale and zero point; each comes from the part that is named."""
    graph = read_graph(whole)
    known = {value.name: value for value in graph.values}
    given = {graph.values[index].name for index in graph.inputs}
    made_by = {}
    for part in made.parts:
        for each in (*part.inputs, *part.outputs):
            value = known[each.name]
            assert (each.dtype, each.shape) == (value.dtype, value.shape)
            assert (each.scale, each.zero_point) == (value.scale, value.zero_point)
        for each in part.inputs:
            assert each.made_by == ("" if each.name in given else made_by[each.name])
        made_by |= {each.name: part.file for each in part.outputs}
    assert {graph.values[index].name for index in graph.outputs} <= set(made_by)


def test_a_part_holds_nothing_that_it_does_not_use(whole, made):
    """Constants are handed out to the parts that read them, each operation kind to the parts that have it."""
    from ai_edge_litert import schema_py_generated as schema

    parts = [read_graph(made.path / part.file) for part in made.parts]
    assert sum(len(graph.nodes) for graph in parts) == len(read_graph(whole).nodes)
    assert [graph.constant_bytes.get("int8", 0) > KERNELS.size - 1 for graph in parts] == [False, True, False]
    assert parts[0].constant_bytes["int8"] == TABLE.size
    for part, graph in zip(made.parts, parts, strict=True):
        model = schema.Model.GetRootAs((made.path / part.file).read_bytes(), 0)
        assert model.OperatorCodesLength() == len({(node.kind, node.version) for node in graph.nodes})
        sizes = [model.Buffers(index).DataLength() for index in range(model.BuffersLength())]
        assert sizes[0] == 0 and all(sizes[1:])
        for index in range(1, model.BuffersLength()):
            # Where a vector of bytes begins: a runtime maps the file and reads weights in place.
            table = model.Buffers(index)._tab
            assert table.Vector(table.Offset(4)) % 16 == 0


def test_the_record_says_what_was_written(whole, made):
    """split.json has the parts in order with their digests; the folder is one that edgewright may write again."""
    record = json.loads((made.path / "split.json").read_text())
    assert record["source_sha256"] == hashlib.sha256(whole.read_bytes()).hexdigest()
    for part in record["parts"]:
        assert part["sha256"] == hashlib.sha256((made.path / part["file"]).read_bytes()).hexdigest()
    files = {part["file"] for part in record["parts"]}
    assert {path.name for path in made.path.iterdir()} == files | {"split.json", "manifest.json"}
    assert edgewright.split(whole, BOARD, made.path) == made


def test_a_part_that_computes_something_else_is_found(whole, made, tmp_path):
    """One byte of a kernel changed, and the chain's outputs are not those of the whole."""
    content = (made.path / made.parts[1].file).read_bytes()
    place = content.index(max((bytes(items(buffer.data)) for buffer in unpacked(content).buffers), key=len))
    other = tmp_path / "other.tflite"
    other.write_bytes(
        content[:place] + bytes(byte ^ 0x55 for byte in content[place : place + 64]) + content[place + 64 :]
    )
    files = [made.path / part.file for part in made.parts]
    assert compare_chain(whole, files, {})["wrong"] == ""
    assert "differs" in compare_chain(whole, [files[0], other, files[2]], {})["wrong"]
    assert "no part computes the output" in compare_chain(whole, files[:2], {})["wrong"]


HOST = """
class Host:
    def __init__(self, graphs, settings):
        self.look, self.times = graphs["look"], settings["times"]

    def run(self, sample):
        for _ in range(self.times):
            answer = self.look({"ids": sample["ids"][None], "x": sample["x"][None]})
        return answer
"""


def test_with_host_code_the_parts_are_run_on_what_it_calls_the_file_with(whole, made, tmp_path):
    """A bundle's golden inputs are those of its host code, which is run to get the file's."""
    (tmp_path / "host.py").write_text(HOST)
    (tmp_path / "host.json").write_text('{"times": 3}')
    look = Artifact(whole, "tflite", "int8", (), (), "", 1, 1, graph="look")
    deployable = Deployable((look,), HostCode(tmp_path / "host.py", tmp_path / "host.json"))
    files = [made.path / part.file for part in made.parts]
    golden = {"ids": np.ones((2, 6, 6), "int32"), "x": np.zeros((2, 6, 6, 8), "float32")}
    assert compare_chain(whole, files, golden, deployable) == {"given": 6, "random": 16, "wrong": ""}


def test_what_is_not_proven_is_not_written(whole, tmp_path, monkeypatch):
    """Parts that do not compute the whole's bytes are an error, and no folder appears."""

    def in_another_order(source, groups, targets):
        contents = parts_of_file(source.read_bytes(), groups)
        for target, content in zip(targets, (contents[1], contents[0], contents[2]), strict=True):
            target.write_bytes(content)

    monkeypatch.setattr(splitting, "write_parts", in_another_order)
    with pytest.raises(GateFailed, match=r"Expected parts that compute the bytes of .*nothing was written"):
        edgewright.split(whole, BOARD, tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Files that are not to be split, by what is the matter with them."""
    import tensorflow as tf

    folder, image = tmp_path_factory.mktemp("others"), ("x", (1, 6, 6, 8), "float32")

    def loop(x):
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, _convolved(y)), (0, x))[1]

    files = {
        "whole": _file(folder / "whole.tflite", _convolved, image),
        "none": _file(folder / "none.tflite", lambda x: tf.math.top_k(x, 2).values, image),
        "tail": _file(folder / "tail.tflite", lambda x: tf.math.top_k(_convolved(x), 2).values, image),
        "float": _file(folder / "float.tflite", _convolved, image, integers=False),
        "loop": _file(folder / "loop.tflite", loop, image, integers=False),
        "suffix": folder / "model.onnx",
        "broken": folder / "broken.tflite",
        "missing": folder / "missing.tflite",
    }
    files["suffix"].write_bytes(b"")
    files["broken"].write_bytes(files["whole"].read_bytes()[:700])
    return files


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("whole", "all 2 operations are mapped as it is"),
        ("none", "the Edge TPU takes none of its operations"),
        ("tail", "no cut into three parts at most brings more"),
        ("float", r"Expected a file in 8-bit integers.*float32"),
        ("loop", "without loops"),
        ("suffix", "Expected a .tflite file"),
        ("broken", "Expected a whole tflite file"),
        ("missing", "Expected a file at"),
    ],
)
def test_a_file_that_gains_nothing_is_refused(which, message, others, tmp_path):
    """What is mapped whole, not at all, in float, with loops, or no file of its kind is told so; nothing is written."""
    with pytest.raises(InputError, match=message):
        edgewright.split(others[which], BOARD, tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_an_edge_tpu_is_refused(whole, tmp_path):
    """The message names a device that has one."""
    with pytest.raises(
        InputError,
        match="Expected a device with an Edge TPU, such as coral-dev-board, coral-usb-accelerator. Got: rasp",
    ):
        edgewright.split(whole, "raspberry-pi-4b", tmp_path / "parts")


def test_a_folder_with_other_files_is_left_alone(whole, tmp_path):
    """Nothing is written over what edgewright did not write."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="which holds other files"):
        edgewright.split(whole, BOARD, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_splits_and_tells(whole, made, others, tmp_path):
    """It prints the parts, or one JSON document; a refusal ends with exit code 2."""
    text = splitting.split_text(made)
    for part in ("in 3 parts", "100.0% of the multiply-accumulates are predicted", "the same bytes as the whole on 16"):
        assert part in text
    done = CliRunner().invoke(app, ["split", str(whole), "--device", BOARD, "--out", str(tmp_path / "parts"), "--json"])
    assert done.exit_code == 0, done.output
    assert [part["unit"] for part in json.loads(done.stdout)["result"]["parts"]] == ["CPU", "Edge TPU", "CPU"]
    done = CliRunner().invoke(app, ["split", str(others["whole"]), "--out", str(tmp_path / "none")])
    assert done.exit_code == 2 and "mapped as it is" in done.output


def test_an_embeddings_head_is_cut_off_in_a_bundle(tmp_path):
    """The look-up of a Keras model's embedding stays on the CPU; golden inputs prove the parts."""
    keras.utils.set_random_seed(0)
    words = keras.Input((6,), dtype="int32", name="words")
    x = keras.layers.Embedding(10, 8)(words)
    x = keras.layers.Dense(16, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(words, keras.layers.Dense(3, activation="softmax", name="classes")(x))
    data = {"words": np.random.default_rng(0).integers(0, 10, (40, 6)).astype("int32")}
    recipe = parse_recipe('unit = "edgetpu"\n[[steps]]\ntechnique = "static_int8"\ncalibration = "min_max"\n')
    bundle = export(compress(model, data, recipe), tmp_path / "bundle", ["tflite"])
    (artifact,) = (each for each in bundle.artifacts if each.precision == "int8")
    made = edgewright.split(artifact.path, BOARD, tmp_path / "parts")
    assert [part.unit for part in made.parts] == ["CPU", "Edge TPU"]
    assert made.macs_share == 1 and made.golden_samples == len(bundle.golden()[0]["words"])
