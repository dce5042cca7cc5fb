"""``edgewright profile``: each operation's time, by each runtime's own profiler, and the Keras layer it belongs to."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import edgewright
from edgewright.cli import app
from edgewright.errors import GateFailed, InputError
from edgewright.export import Artifact, Bundle, Graph, Job, Node, Value, freeze, get
from edgewright.export._bundle import HOST, SETTINGS, save_golden
from edgewright.flame import WIDTH, flame_svg
from edgewright.layer_names import Origin, known_layers, origins
from edgewright.operation_matching import match
from edgewright.profile_text import profile_text
from edgewright.profile_values import GraphTime, OperationProfile, OperationTime, without_profiler
from edgewright.profiling import _with_inserted
from edgewright.runtimes import _profile as client
from edgewright.runtimes._profile import RanGraph, RanOperation, profile_artifact
from edgewright.runtimes._runner import _typical

FILES = [(format, precision) for format in ("tflite", "onnx", "openvino") for precision in ("float32", "int8")]
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}
# What the operations' sum, as the profiler tells it, may be of an inference without the profiler. Whole microseconds
# rounded down make it less, the profiler's own work makes it more; and the machine may be busy.
BAND = {"litert": (0.3, 2.0), "onnxruntime": (0.3, 4.0), "openvino": (0.05, 2.0)}
MACS = {"narrow_first": 8 * 8 * 8 * 27, "heavy": 512 * 2048, "last": 2048 * 8}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A lopsided network, nearly all of it in one dense layer, as a bundle of all three formats in float32 and int8."""
    folder = tmp_path_factory.mktemp("bundle")
    keras.utils.set_random_seed(0)
    picture = keras.Input((16, 16, 3), name="picture")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="narrow_first")(picture)
    x = keras.layers.Dense(2048, activation="relu", name="heavy")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(picture, keras.layers.Dense(8, name="last")(x), name="lopsided")
    model.save(folder / "model.keras")
    frozen = freeze(model, folder / "frozen")
    golden = {"picture": np.random.default_rng(0).normal(size=(16, 16, 16, 3)).astype("float32")}
    np.savez(folder / "samples.npz", **golden)
    save_golden(folder, golden, {})
    artifacts = []
    for format, precision in FILES:
        here = folder / format / precision
        here.mkdir(parents=True)
        samples = folder / "samples.npz"
        job = Job(frozen.folder, precision, frozen.inputs, frozen.outputs, samples, here, f"model.{precision}")
        artifacts.append(Artifact(get(format).export(job).path, format, precision, (), (), "", 1, 1))
    return Bundle(folder, tuple(artifacts), {"deployment": {"host": False, "per": "", "calls": {}}})


def path_of(bundle, name):
    """Return the file of an artifact."""
    return next(each.path for each in bundle.artifacts if each.name == name)


@pytest.fixture(scope="module")
def profiles(bundle):
    """Each artifact's profile in its runtime."""
    return {
        (format, precision): edgewright.profile_operations(bundle, name=f"{format} {precision}", runs=100)
        for format, precision in FILES
    }


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_the_times_are_the_runtimes_and_add_up(format, precision, profiles):
    """What ran and what is in no operation add up to an inference, by operation and by layer."""
    profile = profiles[format, precision]
    (graph,) = profile.graphs
    assert (profile.runtime, profile.host_ms, graph.calls) == (RUNTIMES[format], None, 1)
    assert graph.ms > 0 and all(each.ms >= 0 for each in graph.operations)
    assert sum(each.ms for each in graph.operations) + graph.runtime_ms == pytest.approx(graph.ms)
    assert sum(layer.ms for layer in graph.layers) + graph.runtime_ms == pytest.approx(graph.ms)


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_the_sum_of_operations_is_about_an_inference(format, precision, profiles, bundle):
    """The profiler's own sum lies in a stated band around an inference without it; a busy machine is asked again."""
    profile, tries = profiles[format, precision], 3
    low, high = BAND[profile.runtime]
    while not low < profile.graphs[0].sum_over_whole < high and tries:
        profile, tries = edgewright.profile_operations(bundle, name=f"{format} {precision}"), tries - 1
    assert low < profile.graphs[0].sum_over_whole < high


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_each_layer_has_its_keras_name_and_its_macs(format, precision, profiles):
    """Layers that multiply go by their Keras names in every format, with the multiply-accumulates of the graph."""
    (graph,) = profiles[format, precision].graphs
    macs = {layer.layer: layer.macs for layer in graph.layers if layer.macs}
    assert macs == MACS
    assert sum(macs.values()) == graph.macs
    assert graph.mapped_share == pytest.approx(1)


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_the_heaviest_layer_is_found(format, precision, profiles):
    """Of a network whose second layer has nearly all of the multiplications, that one takes longest."""
    (graph,) = profiles[format, precision].graphs
    heaviest = graph.layers[0]
    assert heaviest.layer == "heavy"
    stored = 512 * 2048 * (1 if precision == "int8" else 4)
    assert stored <= heaviest.weight_bytes < 1.1 * stored
    # It reads 512 numbers and writes 2048, in one, two or four bytes each, and what is between in its own operations.
    assert 2560 <= heaviest.activation_bytes <= 2560 * 4 * 4


def test_fused_operations_are_listed_with_the_layer_that_multiplies(profiles):
    """An activation that the runtime runs within a convolution is in its operation, not lost."""
    (graph,) = profiles["onnx", "float32"].graphs
    first = next(each for each in graph.operations if each.macs)
    assert set(first.operations) >= {"Conv", "Relu"}
    everything = [kind for each in graph.operations for kind in each.operations]
    assert len(everything) == len(get("onnx").read(graph.path).nodes)


def test_a_file_alone_runs_on_random_inputs_and_says_so(bundle):
    """Without data the inputs are random and seeded; layers come from the file's own names."""
    profile = edgewright.profile_operations(path_of(bundle, "tflite int8"), runs=20)
    assert "random" in profile.inputs and profile.runtime == "litert"
    assert {layer.layer for layer in profile.graphs[0].layers} == {"narrow_first", "flat", "heavy", "last"}


def test_the_given_data_is_what_runs(bundle, tmp_path):
    """Data is taken by the model's input names; what does not fit is an error."""
    path = path_of(bundle, "onnx float32")
    np.savez(tmp_path / "data.npz", picture=np.zeros((3, 16, 16, 3), "float32"))
    assert edgewright.profile_operations(path, data=tmp_path / "data.npz", runs=10).inputs.startswith("3 samples of ")
    np.savez(tmp_path / "wrong.npz", picture=np.zeros((3, 8, 8, 3), "float32"))
    with pytest.raises(InputError, match="picture"):
        edgewright.profile_operations(path, data=tmp_path / "wrong.npz")


@pytest.mark.parametrize("name", ["litert", "tflite_runtime"])
def test_where_there_is_no_profiler_each_operation_runs_alone(name, bundle, monkeypatch):
    """A TFLite runtime whose profiler cannot be reached runs each operation cut out of the file; the method says so."""
    if get_runtime(name).version() is None:
        pytest.skip(f"{name} has no wheel for this Python")
    monkeypatch.delitem(client.PROFILED, name, raising=False)
    profile = edgewright.profile_operations(bundle, name, name="tflite int8", runs=50)
    assert "cut out and run alone" in profile.method
    (graph,) = profile.graphs
    assert [each.kind for each in graph.operations] == [
        *("CONV_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"),
    ]
    assert {layer.layer: layer.macs for layer in graph.layers if layer.macs} == MACS
    assert graph.layers[0].layer == "heavy"


def get_runtime(name):
    """Return a runtime's adapter."""
    from edgewright import runtimes

    return runtimes.get(name)


HOST_CODE = """
class Host:
    def __init__(self, graphs, settings):
        self.graph, self.times = graphs["model"], settings["times"]

    def run(self, sample):
        for _ in range(self.times):
            answer = self.graph({"picture": sample["picture"][None]})
        return answer
"""


@pytest.mark.parametrize("format", ["tflite", "openvino"])
def test_with_host_code_each_graph_has_its_calls_and_the_host_its_share(format, bundle, tmp_path):
    """A bundle's host code is run; an answer is its graphs' calls and the rest, which is the host's."""
    (tmp_path / HOST).write_text(HOST_CODE)
    (tmp_path / SETTINGS).write_text('{"times": 3}')
    golden, _ = bundle.golden()
    save_golden(tmp_path, golden, {})
    hosted = replace(bundle, path=tmp_path, manifest={"deployment": {"host": True, "per": "", "calls": {"model": 3}}})
    profile = edgewright.profile_operations(hosted, name=f"{format} float32", runs=30)
    (graph,) = profile.graphs
    assert graph.calls == 3
    assert profile.host_ms is not None and 0 <= profile.host_ms < profile.answer_ms
    assert graph.macs == sum(MACS.values())
    assert "(host code)" in profile_text(profile) and "(host code)" in flame_svg(profile)


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """A recurrent layer over seven steps, as a loop in each format's file."""
    folder = tmp_path_factory.mktemp("loop")
    keras.utils.set_random_seed(0)
    x = keras.Input((7, 4), name="x")
    frozen = freeze(keras.Model(x, keras.layers.GRU(5, name="y")(x), name="steps"), folder / "graph")
    made = {}
    for format in RUNTIMES:
        (folder / format).mkdir()
        job = Job(frozen.folder, "float32", frozen.inputs, frozen.outputs, None, folder / format, "m")
        made[format] = get(format).export(job).path
    return made


@pytest.mark.parametrize("format", RUNTIMES)
def test_a_loop_is_counted_once_and_takes_what_is_in_it(format, looped):
    """The time of a loop's body is in the loop's own: it is not added twice, and its multiplications are all there."""
    profile = edgewright.profile_operations(looped[format], runs=50)
    (graph,) = profile.graphs
    assert sum(each.ms for each in graph.operations) <= graph.ms * 1.0001
    assert sum(each.macs for each in graph.operations) == graph.macs == 7 * (4 * 15 + 5 * 15)
    (loop,) = [each for each in graph.operations if each.macs]
    assert loop.kind in ("WHILE", "Loop") and loop.layer == "y/gru_cell"


def test_a_broken_file_is_an_error_with_its_reason(bundle, tmp_path):
    """A truncated file, another suffix and no file at all end with status 2 and say what was expected."""
    whole = path_of(bundle, "tflite float32").read_bytes()
    (tmp_path / "broken.tflite").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.txt").write_text("no model")
    for name, words in (
        ("broken.tflite", "Expected"),
        ("text.txt", "Expected a file that ends in"),
        ("none.onnx", "nothing"),
    ):
        done = CliRunner().invoke(app, ["profile", str(tmp_path / name)])
        assert done.exit_code == 2, done.output
        assert words in done.stderr


def test_a_file_that_reads_but_does_not_run_fails_with_the_runtimes_words(bundle, tmp_path):
    """What the runtime refuses is told in its own words."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path_of(bundle, "onnx float32"))
    model.graph.node[0].domain = "nobody"
    model.opset_import.append(onnx.helper.make_opsetid("nobody", 1))
    onnx.save(model, tmp_path / "refused.onnx")
    with pytest.raises(GateFailed, match="nobody"):
        edgewright.profile_operations(tmp_path / "refused.onnx")


def test_what_cannot_be_profiled_is_refused_with_what_can(bundle):
    """A runtime of another format, a referee, an unknown artifact and one of a file alone are errors."""
    with pytest.raises(InputError, match=r"a runtime here that takes tflite .*Got: openvino"):
        edgewright.profile_operations(bundle, "openvino", name="tflite int8")
    with pytest.raises(InputError, match="onnx_reference, which has none"):
        edgewright.profile_operations(bundle, "onnx_reference", name="onnx float32")
    with pytest.raises(InputError, match=r"Expected an artifact of .*: tflite float32.*Got: 'tflite int3'"):
        edgewright.profile_operations(bundle, name="tflite int3")
    with pytest.raises(InputError, match="Expected a bundle to choose"):
        edgewright.profile_operations(path_of(bundle, "tflite int8"), name="tflite int8")
    with pytest.raises(InputError, match="at least one thread"):
        profile_artifact(path_of(bundle, "tflite int8"), "litert", {}, threads=0)


def test_the_command_prints_tables_or_json_and_writes_the_picture(bundle, tmp_path):
    """People get a table by layer and one by operation, programs the same as JSON, and both a picture."""
    path, picture = str(path_of(bundle, "tflite float32")), tmp_path / "flame.svg"
    done = CliRunner().invoke(app, ["profile", path, "--picture", str(picture), "--runs", "20"])
    assert done.exit_code == 0, done.output
    for words in ("layer", "heavy", "narrow_first", "(runtime)", "XNNPACK", "1,048,576", "random inputs"):
        assert words in done.stdout
    ElementTree.fromstring(picture.read_bytes())
    done = CliRunner().invoke(app, ["profile", path, "--json", "--threads", "2", "--runs", "20"])
    document = json.loads(done.stdout)
    assert (document["command"], document["exit_code"]) == ("profile", 0)
    result = document["result"]
    assert (result["threads"], result["how"], result["host_ms"]) == (2, "measured here", None)
    (graph,) = result["graphs"]
    assert {layer["layer"] for layer in graph["layers"]} == {"narrow_first", "flat", "heavy", "last"}
    told = {"kind", "unit", "ms", "layer", "macs", "weight_bytes", "activation_bytes", "gmacs_per_s", "gbytes_per_s"}
    assert told <= set(graph["operations"][0])
    done = CliRunner().invoke(app, ["profile", path, "--runs", "5", "--picture", str(picture)])
    assert done.exit_code == 0, done.output  # a picture is written over a picture


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/flame.svg", "Expected a folder that exists"),
        ("model.tflite", "Expected a picture whose name ends in .svg"),
        ("drawing.svg", "drawing.svg, something else"),
        ("folder.svg", "folder.svg, something else"),
    ],
)
def test_nothing_but_a_picture_is_written_over(name, message, bundle, tmp_path):
    """A picture's path that is no free .svg, nor a picture written before, is exit code 2, and what is there stays."""
    (tmp_path / "folder.svg").mkdir()
    for other in ("model.tflite", "drawing.svg"):
        (tmp_path / other).write_bytes(b"<svg>mine</svg>")
    path = str(path_of(bundle, "tflite float32"))
    done = CliRunner().invoke(app, ["profile", path, "--runs", "5", "--picture", str(tmp_path / name)])
    assert done.exit_code == 2 and message in done.stderr
    for other in ("model.tflite", "drawing.svg"):
        assert (tmp_path / other).read_bytes() == b"<svg>mine</svg>"


ODD = "λ <b>&\"'`\x00\x1b ]]>"


@pytest.fixture
def odd():
    """A profile whose names hold quotes, brackets, control characters and letters beyond ASCII."""
    one = OperationTime(ODD, ODD, ODD, 1.0, 1.0, 1.0, f"{ODD}/dense", "name", (ODD,), (ODD,), 10, 4, 8)
    other = replace(one, layer="", mapped="", ms=0.5, also=())
    graph = GraphTime(ODD, Path(f"{ODD}.tflite"), 2.0, 10, 2.0, 2.5, (one, other), 0.0, 20)
    return OperationProfile(Path(ODD), ODD, ODD, "1", 1, ODD, ODD, 5.0, (graph,), {}, hosted=True)


def rectangles(svg):
    """Return (title, x, y, width) of the picture's cells."""
    found = []
    for group in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        title, rectangle = group[0].text, group[1]
        found.append((title, *(float(rectangle.get(name)) for name in ("x", "y", "width"))))
    return found


def test_odd_names_are_escaped_in_the_picture(odd):
    """Whatever stands in names, the picture is XML, without scripts, and shows what may be shown."""
    svg = flame_svg(odd)
    titles = [title for title, *_ in rectangles(svg)]
    assert any("λ <b>&\"'`\ufffd\ufffd ]]>/dense" in title for title in titles)
    assert any("(not mapped)" in title for title in titles)
    assert "<b>" not in svg and "\x00" not in svg
    assert "(not mapped)" in profile_text(odd)


def test_the_pictures_widths_are_times(odd):
    """Each row splits the one above, cells do not overlap, and what ends the columns is as wide as the whole."""
    cells = rectangles(flame_svg(odd))
    top = cells[0]
    by_row = {}
    for title, x, y, width in cells:
        by_row.setdefault(y, []).append((x, width, title))
    for row in by_row.values():
        row.sort()
        assert all(x + width <= after[0] + 0.01 for (x, width, _), after in zip(row, row[1:], strict=False))
    # 5 ms: two calls of 2 ms, of which 1 ms, 0.5 ms and the runtime's 0.5 ms; and 1 ms of the host's.
    host = next(width for title, _, _, width in cells if title.startswith("(host code)"))
    assert host == pytest.approx(top[3] / 5, abs=0.01)
    assert top[3] == pytest.approx(WIDTH - 24)
    kinds = [width for title, _, y, width in cells if "MACs" in title]
    runtime = [width for title, _, _, width in cells if title.startswith("(runtime)")]
    assert sum(kinds) + sum(runtime) + host == pytest.approx(top[3], abs=0.05)


def test_a_real_profiles_picture_ends_in_as_much_as_it_begins_with(profiles):
    """In each runtime the operations and the runtime's share are together as wide as the model."""
    for profile in profiles.values():
        cells = rectangles(flame_svg(profile))
        ends = [width for title, _, _, width in cells if "MACs" in title or title.startswith("(runtime)")]
        assert sum(ends) == pytest.approx(cells[0][3], abs=0.1)


# Times in ms, to the nanosecond: profilers count no finer.
_TIMES = st.integers(0, 10**8).map(lambda ns: ns / 1e6)


@given(st.lists(_TIMES, min_size=1, max_size=30), _TIMES.map(lambda ms: 10 * ms))
def test_what_the_profiler_takes_is_taken_from_each_alike(told, whole):
    """Corrected times are not negative and add up to an inference; where they are below it anyway, they stay."""
    corrected, taken = without_profiler(told, whole)
    assert all(0 <= each <= before for each, before in zip(corrected, told, strict=True))
    if sum(told) > whole:
        assert sum(corrected) == pytest.approx(whole, abs=1e-6)
        assert taken > 0
    else:
        assert (corrected, taken) == (told, 0)


def test_outliers_do_not_count():
    """A typical time is the mean between the quartiles."""
    assert _typical([1.0, 3.0] * 4 + [500.0, 500.0, 0.0, 0.0]) == 2.0
    assert _typical([3.0]) == 3.0


def graph_of(format, nodes, values, outputs=()):
    """Return a graph of (kind, name, inputs, outputs, macs), its values by name; those that end in ! are constants."""
    places = {name: place for place, name in enumerate(values)}
    made = [Value(name.rstrip("!"), (4,), "float32", 16, constant=name.endswith("!")) for name in values]
    nodes = [
        Node(kind, 1, name, tuple(places[each] for each in read), tuple(places[each] for each in written), macs)
        for kind, name, read, written, macs in nodes
    ]
    return Graph(format, (0,), tuple(places[each] for each in outputs), tuple(made), tuple(nodes))


def ran(*operations, partitions=()):
    """Return what a runtime ran: (name, kind, node) each."""
    return RanGraph(1, 1, 1.0, 1.0, partitions, tuple(RanOperation(a, b, "", c, 0.1, 1) for a, b, c in operations))


def test_operators_of_xnnpack_are_aligned_with_the_files_operations():
    """Kinds are aligned in order in each partition; what XNNPACK puts in is none, what it fuses is its neighbour's."""
    names = ["x", "a", "b", "c", "d", "e", "f"]
    kinds = ["CONV_2D", "RELU", "RESHAPE", "SOFTMAX", "FULLY_CONNECTED", "LOGISTIC"]
    nodes = [
        (kind, "", [names[place]], [names[place + 1]], 9 * (kind in ("CONV_2D", "FULLY_CONNECTED")))
        for place, kind in enumerate(kinds)
    ]
    graph = graph_of("tflite", nodes, names, ["f"])
    found = match(
        graph,
        ran(
            ("0.0", "Convolution (NHWC, F32) IGEMM", None),
            ("0.1", "Static Reshape (NC)", None),
            ("", "SOFTMAX", 3),
            ("1.0", "Static Reshape (NC)", None),
            ("1.1", "Fully Connected (NC, F32) GEMM", None),
            ("1.2", "Sigmoid (NC, F32)", None),
            partitions=((0, 1, 2), (4, 5)),
        ),
    )
    assert found == [(0, 1), (2,), (3,), (), (4,), (5,)]


def test_rewritten_names_and_places_lead_to_the_files_operations():
    """ONNX Runtime's names of fused operations, and its places, lead back; a multiplication is never lost."""
    nodes = [
        ("DequantizeLinear", "w_dq", ["w!"], ["w_real"], 0),
        ("Conv", "Conv__1", ["x", "w_real"], ["c"], 9),
        ("Relu", "act/Relu", ["c"], ["act/Relu:0"], 0),
        ("MatMul", "m", ["act/Relu:0"], ["y"], 5),
    ]
    graph = graph_of("onnx", nodes, ["x", "w!", "w_real", "c", "act/Relu:0", "y"], ["y"])
    fused = ran(("ReorderInput", "ReorderInput", 9), ("act/Relu:0_nchwc", "Conv", 12), ("m", "MatMul", 3))
    assert match(graph, fused) == [(), (0, 1, 2), (3,)]
    quantized = ran(("Conv__1_token_17", "QLinearConv", 41), ("renamed", "MatMul", 3))
    assert match(graph, quantized) == [(0, 1, 2), (3,)]
    prefixed = ran(("fused Conv__1", "FusedConv", 8), ("m", "MatMul", 3))
    assert match(graph, prefixed) == [(0, 1, 2), (3,)]


def test_what_a_runtime_puts_in_belongs_to_what_reads_it():
    """An operation that is none of the file's has the layer of its reader where that is told, else of the next one."""
    found = [Origin("net", ("first",), "name"), Origin("net", ("second",), "name"), Origin("net", ("third",), "name")]
    names = ("a", "in 1", "in 2", "b", "in 3", "c")
    operations = ran(*((name, "X", None) for name in names)).operations
    reads = {"in 1": ("in 2",), "in 2": ("c",)}
    operations = tuple(replace(each, readers=reads.get(each.name, ())) for each in operations)
    made = _with_inserted(operations, [(0,), (), (), (1,), (), (2,)], found)
    layers = [origins_here[0].layer[0] for origins_here in made]
    assert layers == ["first", "third", "third", "second", "third", "third"]
    assert [origins_here[0].how == "neighbour" for origins_here in made] == [False, True, True, False, True, False]


def test_layers_come_from_the_names_that_converters_keep():
    """TensorFlow's own names within a layer are none; a number behind each part is edgewright's freezing."""
    names = ["net_1/block_1/dense_2_1/Tensordot/MatMul;net_1/block_1/dense_2_1/BiasAdd;net_1/act_1/Relu", "out"]
    nodes = [("FULLY_CONNECTED", "", ["x"], [names[0]], 9), ("SOFTMAX", "", [names[0]], [names[1]], 0)]
    first, last = origins(graph_of("tflite", nodes, ["x", *names], ["out"]), frozenset({"net", "dense_2", "act"}))
    assert (first.model, first.layer, first.also, first.how) == ("net", ("block", "dense_2"), (("act",),), "name")
    assert (last.layer, last.how) == (("block", "dense_2"), "neighbour")


def test_layers_of_files_that_others_made_are_read_too():
    """Names of other converters, with no number behind them, tell layers as they stand."""
    names = ["model/dense/MatMul;model/dense/BiasAdd", "model/dense_1/MatMul", "model/dense_1/Softmax"]
    nodes = [("X", "", [before], [name], 0) for before, name in zip(["x", *names], names, strict=False)]
    found = origins(graph_of("tflite", nodes, ["x", *names]))
    assert [origin.layer for origin in found] == [("dense",), ("dense_1",), ("dense_1",)]
    names = ["/conv1/Conv_output_0", "/layer1/block/conv/Conv_output_0"]
    nodes = [("Conv", name.removesuffix("_output_0"), ["x"], [name], 1) for name in names]
    assert [each.layer for each in origins(graph_of("onnx", nodes, ["x", *names]))] == [
        ("conv1",),
        ("layer1", "block", "conv"),
    ]


def test_multiplications_without_names_are_found_by_their_order_in_another_file():
    """Where a converter lost the names, another file of the same graph with the same multiplications has them."""
    names = ["net_1/first_1/Conv2D", "net_1/second_1/MatMul"]
    other = graph_of("tflite", [("A", "", ["x"], [names[0]], 7), ("B", "", [names[0]], [names[1]], 5)], ["x", *names])
    lost = graph_of("openvino", [("C", "T_1", ["x"], ["a"], 7), ("M", "T_2", ["a"], ["b"], 5)], ["x", "a", "b"])
    assert [(each.layer, each.how) for each in origins(lost, other=other)] == [
        (("first",), "order"),
        (("second",), "order"),
    ]
    differs = graph_of("openvino", [("C", "T_1", ["x"], ["a"], 6), ("M", "T_2", ["a"], ["b"], 5)], ["x", "a", "b"])
    assert not any(each.layer for each in origins(differs, other=other))


def test_the_keras_file_tells_its_layers_names(bundle, tmp_path):
    """A .keras file's layers are read without Keras; another file has none."""
    assert {"lopsided", "picture", "narrow_first", "heavy", "last"} <= known_layers(bundle.path / "model.keras")
    (tmp_path / "model.keras").write_bytes(b"no archive")
    assert known_layers(tmp_path / "model.keras") == known_layers(tmp_path / "none.keras") == frozenset()
