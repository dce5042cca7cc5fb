"""Lean files: what converters write twice or for nobody is taken out, and what is left computes the same bytes."""

import gzip
import shutil

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgewright.children import python, run_child
from edgewright.export import About, Frozen, Tensor, _tflite_flatbuffer, convert, freeze, get, read_graphs
from edgewright.export._tflite_flatbuffer import METADATA, items, packed, text, unpacked
from edgewright.export._tflite_lean import make_lean
from edgewright.layer_names import origins
from edgewright.runtimes import run_artifact

from .conftest import ABSENT

# Writes each file as its converter leaves it, in one process for TensorFlow's start.
_CONVERT = """
import sys
from pathlib import Path

from edgewright.export import Job, Tensor, get

folder = Path(sys.argv[1])
for entry in sys.argv[2:]:
    graph, format, precision = entry.split(",")
    size, names = (8, ("kinds", "values")) if graph == "plain" else (4, ("y",))
    given = Tensor("x", (1, 6, size), "float32")
    made = tuple(Tensor(name, (1, 8), "float32") for name in names)
    job = Job(folder / graph, precision, (given,), made, folder / "samples.npz", folder, f"{graph}.{precision}", 8)
    get(format).export(job)
"""
_SUFFIXES = {"tflite": "tflite", "onnx": "onnx", "openvino": "xml"}
_QUANTIZED = [("tflite", "int8"), ("tflite", "int16x8"), ("tflite", "int4_weights")]
_QUANTIZED += [("onnx", "int8"), ("onnx", "int4_weights"), ("openvino", "int8")]
FILES = [("plain", format, "float32") for format in _SUFFIXES] + [("plain", *cell) for cell in _QUANTIZED]
FILES += [("loop", format, "float32") for format in _SUFFIXES]
TFLITE = [each for each in FILES if each[1] == "tflite"]


def _plain():
    """Dense layers of one width, so that zero points, shapes and constants are alike; products that others follow."""
    x = keras.Input((6, 8), name="x")
    y = x
    for place in range(4):
        y = keras.layers.Dense(8, activation="relu", name=f"dense_{place}")(y)
        y = keras.layers.BatchNormalization(name=f"norm_{place}")(y)
    y = keras.layers.GlobalAveragePooling1D(name="mean")(y)
    heads = [keras.layers.Dense(8, activation="softmax", name="kinds")(y), keras.layers.Dense(8, name="values")(y)]
    return keras.Model(x, heads, name="plain")


def _loop():
    x = keras.Input((6, 4), name="x")
    return keras.Model(x, keras.layers.LSTM(8, name="y")(x), name="loop")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The frozen graphs, their samples, and the files that converters make of them."""
    folder = tmp_path_factory.mktemp("raw")
    keras.utils.set_random_seed(0)
    np.savez(folder / "samples.npz", x=np.random.default_rng(0).normal(size=(16, 6, 8)).astype("float32"))
    freeze(_plain(), folder / "plain")
    freeze(_loop(), folder / "loop")
    entries = [",".join(each) for each in FILES]
    made = run_child(python("-c", _CONVERT, folder, *entries), time_limit_s=300)
    assert made.ok, made.stderr
    return folder


def _both(folder, tmp_path, graph, format, precision):
    """Return a file as its converter leaves it, and the lean one beside what belongs to it."""
    raw = folder / f"{graph}.{precision}.{_SUFFIXES[format]}"
    lean = tmp_path / raw.name
    for suffix in (raw.suffix, ".bin"):
        if raw.with_suffix(suffix).exists():
            shutil.copy(raw.with_suffix(suffix), lean.with_suffix(suffix))
    get(format).lean(lean)
    return raw, lean


def _answers(path, runtime, graph):
    x = np.random.default_rng(1).normal(size=(3, 6, 8 if graph == "plain" else 4)).astype("float32")
    run = run_artifact(path, runtime, {"x": x})
    assert run.ok, run.reason
    return run.outputs


def _runtimes(format, precision):
    """The runtimes that a file is compared in; tflite-runtime 2.14 lacks 4 bits, and in int16x8 differs from itself."""
    if format == "tflite":
        both = precision in ("float32", "int8") and not ABSENT
        return ["litert", "litert_kernels", *(["tflite_runtime"] if both else [])]
    return {"onnx": ["onnxruntime"], "openvino": ["openvino"]}[format]


@pytest.mark.parametrize(("graph", "format", "precision"), FILES)
def test_a_lean_file_is_smaller_and_computes_the_same_bytes(folder, tmp_path, graph, format, precision):
    """In every runtime of its format, the loop's body included; making it leaner once more changes nothing."""
    raw, lean = _both(folder, tmp_path, graph, format, precision)
    content = lean.read_bytes()
    assert len(content) < raw.stat().st_size
    assert len(gzip.compress(content)) < len(gzip.compress(raw.read_bytes()))
    for runtime in _runtimes(format, precision):
        expected, received = _answers(raw, runtime, graph), _answers(lean, runtime, graph)
        for name, array in expected.items():
            np.testing.assert_array_equal(received[name], array)
    get(format).lean(lean)
    assert lean.read_bytes() == content


@pytest.mark.parametrize(("graph", "format", "precision"), FILES)
def test_a_lean_file_reads_as_the_same_graph(folder, tmp_path, graph, format, precision):
    """Operations, shapes, scales, products, inputs and outputs are the same, and so is the layer of each product."""
    paths = _both(folder, tmp_path, graph, format, precision)
    raw, lean = read_graphs(paths).values()
    for before, after in zip(raw.nodes, lean.nodes, strict=True):
        assert (before.kind, before.version, before.macs, before.times) == (
            after.kind,
            after.version,
            after.macs,
            after.times,
        )
        values = [[*each.inputs_of(node), *each.outputs_of(node)] for each, node in ((raw, before), (lean, after))]
        for one, other in zip(*values, strict=True):
            assert (one.shape, one.dtype, one.scale, one.zero_point, one.numbers) == (
                other.shape,
                other.dtype,
                other.scale,
                other.zero_point,
                other.numbers,
            )
    for places in ("inputs", "outputs"):
        names = [[each.values[place].name for place in getattr(each, places)] for each in (raw, lean)]
        assert names[0] == names[1]
    layers = [
        [found.layer for node, found in zip(each.nodes, origins(each), strict=True) if node.macs]
        for each in (raw, lean)
    ]
    assert layers[0] == layers[1] and all(layers[0])
    if lean.format == "onnx" and graph == "plain":
        assert not any("ReadVariableOp" in value.name for value in lean.values)


def _vectors(content):
    """Yield (what an element takes, content, place) of each vector of numbers and each string of a TFLite file."""

    def vector(table, slot, size):
        offset = table._tab.Offset(slot)
        if offset:
            place = table._tab.Vector(offset)
            yield size, content[place : place + size * table._tab.VectorLen(offset)], place

    model = schema.Model.GetRootAs(content, 0)
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        for tensor in (graph.Tensors(index) for index in range(graph.TensorsLength())):
            for slot, size in ((4, 4), (10, 1), (18, 4)):
                yield from vector(tensor, slot, size)
            if quantization := tensor.Quantization():
                for slot, size in ((4, 4), (6, 4), (8, 4), (10, 8)):
                    yield from vector(quantization, slot, size)
        for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
            for slot in (6, 8):
                yield from vector(operator, slot, 4)
    for buffer in (model.Buffers(index) for index in range(model.BuffersLength())):
        yield from vector(buffer, 4, 1)


@pytest.mark.parametrize(("graph", "format", "precision"), TFLITE)
def test_a_tflite_file_holds_no_vector_of_numbers_twice(folder, tmp_path, graph, format, precision):
    """Zero points, scales, shapes, names and constants stand in it once; converters write many of them again."""
    raw, lean = _both(folder, tmp_path, graph, format, precision)
    repeats = []
    for path in (raw, lean):
        places = {}
        for size, data, place in _vectors(path.read_bytes()):
            places.setdefault((size, data), set()).add(place)
        repeats.append(sum(len(found) - 1 for found in places.values()))
    assert repeats[0] > 0 and repeats[1] == 0


@pytest.mark.parametrize(("graph", "format", "precision"), TFLITE)
def test_a_tflite_file_holds_nothing_that_it_does_not_use(folder, tmp_path, graph, format, precision):
    """Each buffer but the first has a content that something refers to, in place; no two names become one."""
    _, lean = _both(folder, tmp_path, graph, format, precision)
    model, root = unpacked(lean.read_bytes()), schema.Model.GetRootAs(lean.read_bytes(), 0)
    used = {tensor.buffer for each in model.subgraphs for tensor in each.tensors}
    used |= {entry.buffer for entry in items(model.metadata)}
    assert used | {0} == set(range(len(model.buffers)))
    assert [len(items(buffer.data)) > 0 for buffer in model.buffers] == [
        place > 0 for place in range(len(model.buffers))
    ]
    for buffer in (root.Buffers(index) for index in range(1, root.BuffersLength())):
        assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0, "a runtime reads weights where they stand"
    codes = {operator.opcodeIndex for each in model.subgraphs for operator in each.operators}
    assert codes == set(range(len(model.operatorCodes)))
    assert [text(entry.name) for entry in model.metadata] == ["min_runtime_version"]
    for each in model.subgraphs:
        names = [text(tensor.name) for tensor in each.tensors]
        assert len(set(names)) == len(names)
        assert all(tensor.quantization is None or len(tensor.quantization.scale) for tensor in each.tensors)


def test_joined_names_that_would_become_one_stay_two(folder):
    """Of a joined name one part for each layer is left; inputs and outputs keep theirs."""
    model = unpacked((folder / "plain.float32.tflite").read_bytes())
    (graph,) = model.subgraphs
    given = graph.inputs[0]
    inner = [place for place in range(len(graph.tensors)) if place not in (*graph.inputs, *graph.outputs)][:2]
    graph.tensors[inner[0]].name = "net/dense/BiasAdd;net/dense/MatMul;net/norm/mul"
    graph.tensors[inner[1]].name = "net/dense/MatMul;net/norm/mul;net/norm/add"
    graph.tensors[given].name = "in/a;in/b"
    make_lean(model)
    assert [text(graph.tensors[place].name) for place in (*inner, given)] == [
        "net/dense/MatMul;net/norm/mul",
        "net/dense/MatMul;net/norm/mul_1",
        "in/a;in/b",
    ]


def _with_weights_behind(content):
    """Return a file as AI Edge Quantizer writes some: the largest buffer stands behind the flatbuffer."""
    model = unpacked(content)
    largest = max(model.buffers, key=lambda buffer: len(items(buffer.data)))
    data, largest.data = bytes(largest.data), None
    largest.size, largest.offset = len(data), len(content)  # a place of as many digits as the one to come
    room = len(packed(model)) + 16
    largest.offset = room
    return packed(model).ljust(room, b"\0") + data


def test_weights_behind_a_small_flatbuffer_come_into_it(folder, tmp_path):
    """Where all of a file has room in one flatbuffer it is one, which computes the same bytes."""
    raw, path = folder / "plain.float32.tflite", tmp_path / "behind.tflite"
    path.write_bytes(_with_weights_behind(raw.read_bytes()))
    expected = _answers(path, "litert", "plain")
    get("tflite").lean(path)
    assert all(buffer.offset == buffer.size == 0 for buffer in unpacked(path.read_bytes()).buffers)
    for name, array in _answers(path, "litert", "plain").items():
        np.testing.assert_array_equal(expected[name], array)


def test_what_stands_behind_a_flatbuffer_stays_there(folder, tmp_path, monkeypatch):
    """A file with metadata may have a zip of labels behind it, and one that is too large has its weights there."""
    monkeypatch.setattr(_tflite_flatbuffer, "_MOST_BYTES", 100)
    content = (folder / "plain.int8.tflite").read_bytes()
    described = unpacked(content)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, 0
    described.metadata.append(entry)
    for place, whole in enumerate((packed(described) + b"PK", _with_weights_behind(content))):
        path = tmp_path / f"{place}.tflite"
        path.write_bytes(whole)
        get("tflite").lean(path)
        get("tflite").describe(path, About("plain"))
        assert path.read_bytes() == whole


def test_what_is_converted_is_lean(folder, tmp_path):
    """A conversion ends in a lean file."""
    made = tuple(Tensor(name, (1, 8), "float32") for name in ("kinds", "values"))
    frozen = Frozen(folder / "plain", (Tensor("x", (1, 6, 8), "float32"),), made, 0, 0)
    artifact = convert(frozen, "tflite", "int8", tmp_path / "made", folder / "samples.npz").artifact
    content = artifact.path.read_bytes()
    get("tflite").lean(artifact.path)
    assert artifact.path.read_bytes() == content
    assert artifact.size_bytes < (folder / "plain.int8.tflite").stat().st_size


def test_an_onnx_file_does_not_depend_on_the_order_that_a_converter_wrote_constants_in():
    """Constants in another order, weights that name layers and few numbers among them, give the same bytes."""
    from onnx import TensorProto, helper, numpy_helper

    from edgewright.export import _onnx_lean

    made = set()
    for turn in (1, -1):
        numbers = {"net/first/MatMul": (4, 9), "net/dense/MatMul": (9, 9), "one": (1,), "two": (1,)}
        random = np.random.default_rng(0)
        arrays = {name: random.normal(size=shape).astype("float32") for name, shape in numbers.items()}
        constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()][::turn]
        nodes = [
            helper.make_node("MatMul", ["x", "net/first/MatMul"], ["a"]),
            helper.make_node("MatMul", ["a", "net/dense/MatMul"], ["b"]),
            helper.make_node("Add", ["b", "two"], ["c"]),
            helper.make_node("Mul", ["c", "one"], ["y"]),
        ]
        ends = [
            [helper.make_tensor_value_info(*each)]
            for each in (("x", TensorProto.FLOAT, [1, 4]), ("y", TensorProto.FLOAT, [1, 9]))
        ]
        model = helper.make_model(helper.make_graph(nodes, "graph", *ends, constants))
        _onnx_lean.make_lean(model)
        assert "net/dense/MatMul" in {tensor.name for tensor in model.graph.initializer}
        made.add(model.SerializeToString(deterministic=True))
    assert len(made) == 1


def test_one_model_gives_the_same_onnx_file_each_time(tmp_path):
    """What is converted twice, in two processes, has the same bytes: attention, whose constants are merged, too."""
    given = keras.Input((6, 8))
    inner = keras.layers.MultiHeadAttention(2, 4)(given, given)
    model = keras.Model(given, keras.layers.Dense(3)(keras.layers.LayerNormalization()(given + inner)))
    frozen = freeze(model, tmp_path / "frozen")
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        assert not convert(frozen, "onnx", "float32", tmp_path / place).reason
    first, second = ((tmp_path / place / "model.float32.onnx").read_bytes() for place in ("first", "second"))
    assert first == second
