"""Predicted memory: liveness with known answers, the plan against TFLite's own arena, the sum against a run; energy."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.devices import Unsupported, get, predict_energy, predict_memory
from edgewright.devices._memory_plan import (
    ALIGNMENT,
    Life,
    arena_bytes,
    lives,
    peak_of_activations,
    placed_greedily,
    tensor_bytes,
)
from edgewright.devices._profile import parse_profile
from edgewright.errors import InputError
from edgewright.export import read_graph
from edgewright.export._graph import Graph, Node, Value
from edgewright.figures import Figure, How
from edgewright.runtimes._client import RUNNER
from edgewright.runtimes._runner import save

MIB = 2**20


def _graph(sizes, nodes, format="onnx", inputs=(0,), outputs=None, constants=()):
    """A graph whose tensors are ``sizes`` float32 numbers long, and whose nodes are (kind, inputs, outputs[, body])."""
    values = tuple(
        Value(f"t{place}", (size,), "float32", 4 * size, constant=place in constants)
        for place, size in enumerate(sizes)
    )
    made = tuple(Node(node[0], 1, "", node[1], node[2], None, body=node[3] if node[3:] else "") for node in nodes)
    return Graph(format, inputs, outputs or (len(sizes) - 1,), values, made)


def test_a_tensor_is_alive_until_its_last_reader():
    """A tensor that a late operation reads again stays; the peak is where it meets the largest pair."""
    chain = _graph([10, 20, 30, 5], [("MatMul", (0,), (1,)), ("MatMul", (1,), (2,)), ("MatMul", (2,), (3,))])
    assert peak_of_activations(chain) == 4 * (20 + 30)
    skip = _graph([10, 20, 30, 5], [("MatMul", (0,), (1,)), ("MatMul", (1,), (2,)), ("Concat", (2, 0), (3,))])
    assert peak_of_activations(skip) == 4 * (10 + 20 + 30)


def test_elementwise_operations_work_in_place_unless_their_operand_is_read_again():
    """A Relu takes no second buffer; one whose operand is read later does."""
    once = [("MatMul", (0,), (1,)), ("Relu", (1,), (2,)), ("MatMul", (2,), (3,))]
    assert peak_of_activations(_graph([1, 100, 100, 2], once)) == 4 * (100 + 2)
    twice = [("MatMul", (0,), (1,)), ("Relu", (1,), (2,)), ("Concat", (1, 2), (3,))]
    assert peak_of_activations(_graph([1, 100, 100, 2], twice)) == 4 * (100 + 100 + 2)


def test_weights_and_what_follows_from_them_are_no_activations():
    """Constants, and what is computed of constants alone, are left out."""
    nodes = [("Identity", (1,), (2,)), ("MatMul", (0, 2), (3,))]
    assert peak_of_activations(_graph([3, 1000, 1000, 5], nodes, constants=(1,))) == 4 * (3 + 5)


def test_what_stands_between_quantization_and_dequantization_takes_a_byte_a_number():
    """Integer kernels read and write bytes where the file says float32."""
    nodes = [
        ("QuantizeLinear", (0,), (1,)),
        ("DequantizeLinear", (1,), (2,)),
        ("Conv", (2,), (3,)),
        ("QuantizeLinear", (3,), (4,)),
    ]
    graph = _graph([8, 8, 8, 100, 100], nodes)
    assert peak_of_activations(graph, narrow=False) > 4 * 100
    assert peak_of_activations(graph) == 8 + 100 < peak_of_activations(graph, narrow=False)


def test_the_largest_body_of_loops_and_branches_comes_on_top():
    """Of two branches one runs: the larger counts; TFLite keeps an arena for each."""
    nodes = [
        ("If", (0,), (5,)),
        ("MatMul", (0,), (1,), "then"),
        ("MatMul", (1,), (2,), "then"),
        ("MatMul", (0,), (3,), "else"),
        ("MatMul", (3,), (4,), "else"),
    ]
    graph = _graph([1, 10, 20, 30, 40, 1], nodes)
    assert peak_of_activations(graph) == 4 * (1 + 1) + 4 * (30 + 40)
    tflite = _graph([16, 16, 16, 32, 32, 16], nodes, format="tflite")
    alone = [placed_greedily(lives(tflite, body)) for body in ("", "then", "else")]
    assert arena_bytes(tflite) == sum(alone)
    assert min(alone) > 0


_LIVES = st.lists(
    st.builds(
        lambda size, first, length: Life(size, first, first + length),
        st.integers(1, 4000),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=24,
)


@given(_LIVES)
@settings(max_examples=200, deadline=None)
def test_an_arena_holds_what_is_alive_and_no_more_than_everything(buffers):
    """The planned size is at least what is alive at any step and at most all buffers side by side."""
    alive = max(sum(life.bytes for life in buffers if life.first <= step <= life.last) for step in range(20))
    planned = placed_greedily(buffers)
    assert alive <= planned <= sum(-(-life.bytes // ALIGNMENT) * ALIGNMENT for life in buffers)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=16))
@settings(max_examples=200, deadline=None)
def test_the_peak_lies_between_one_operation_and_the_sum_of_all(steps):
    """With buffers used again a graph needs at least its hungriest operation's tensors and at most all of them."""
    sizes, nodes = [7], []
    for size, first, second in steps:
        nodes.append(("Concat", (first % len(sizes), second % len(sizes)), (len(sizes),)))
        sizes.append(size)
    graph = _graph(sizes, nodes)
    hungriest = max(
        sum(tensor_bytes(graph.values[place]) for place in {*node.inputs, *node.outputs}) for node in graph.nodes
    )
    assert hungriest <= peak_of_activations(graph) <= sum(tensor_bytes(value) for value in graph.values)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small convolutional network, and one with a skip and a branch, as TFLite files."""
    import keras
    import tensorflow as tf
    from keras import layers

    folder = tmp_path_factory.mktemp("memory")
    found = []
    for name, filters in (("plain", 8), ("wide", 24)):
        x = inputs = keras.Input((32, 32, 3), batch_size=1)
        kept = x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        for _ in range(3):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.Concatenate()([x, kept]) if name == "wide" else layers.MaxPooling2D()(x)
        model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
        path = folder / f"{name}.tflite"
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        found.append(path)
    return found


_ADDRESSES = """
import json, sys
from ai_edge_litert.interpreter import Interpreter, OpResolverType
made = Interpreter(sys.argv[1], experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
made.allocate_tensors()
found = []
for detail in made.get_tensor_details():
    view = made.tensor(detail["index"])()
    found.append((detail["index"], view.__array_interface__["data"][0], view.nbytes))
    del view
print(json.dumps(found))
"""


def test_the_plan_is_tflites_own(files):
    """Where LiteRT's built-in kernels put tensors and their scratch buffers, the arena is as large as planned."""
    for path in files:
        graph = read_graph(path)
        command = [sys.executable, "-c", _ADDRESSES, str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(answer.splitlines()[-1])
        constants = {place for place, value in enumerate(graph.values) if value.constant}
        arena = [entry for entry in found if entry[0] not in constants]
        real = max(start + size for _, start, size in arena) - min(start for _, start, _ in arena)
        # Kernels ask for scratch buffers in the operations' order, each convolution here for one.
        scratch = [size for place, _, size in arena if place >= len(graph.values)]
        steps = [step for step, node in enumerate(graph.nodes) if node.kind == "CONV_2D"]
        buffers = lives(graph) + [Life(size, step, step) for step, size in zip(steps, scratch, strict=False)]
        assert len(steps) == 4
        assert placed_greedily(buffers) == pytest.approx(real, abs=8 * ALIGNMENT)


def test_a_prediction_is_near_what_a_fresh_process_takes(files, tmp_path):
    """Runtime and model together are within 15 % of the measured peak; the parts add up to the sum."""
    path = files[1]
    graph = read_graph(path)
    given, made = tmp_path / "in.npz", tmp_path / "out.npz"
    save(str(given), {graph.values[graph.inputs[0]].name: np.zeros((1, 32, 32, 3), np.float32)})
    command = [sys.executable, RUNNER, "--runtime", "litert", "--artifact", path, "--inputs", given, "--outputs", made]
    peaks = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["peaks_bytes"]
    assert peaks["python"] < peaks["runtime"] < peaks["loaded"] <= peaks["run"]
    memory = predict_memory(graph, "litert")
    assert sum(part.bytes for part in memory.parts) == memory.total_bytes.value
    assert memory.part("weights") + memory.part("activations") < memory.model_bytes.value < memory.total_bytes.value
    assert memory.total_bytes.value == pytest.approx(peaks["run"] - peaks["python"], rel=0.15)
    assert memory.total_bytes.low < memory.total_bytes.value < memory.total_bytes.high


def test_more_activations_and_more_weights_take_more(files):
    """The wider network takes more in every part that depends on the model."""
    small, large = (predict_memory(read_graph(path), "litert") for path in files)
    for part in ("weights", "activations", "copies"):
        assert small.part(part) < large.part(part)
    assert small.part("runtime") == large.part("runtime")


def test_a_runtime_that_does_not_load_the_file_has_no_memory(files):
    """No number where there is none, with the reason."""
    graph = read_graph(files[0])
    assert "does not load tflite" in predict_memory(graph, "openvino").reason
    assert "expected one of litert" in predict_memory(graph, "litert_kernels").reason
    assert "one thread, 4 are asked for" in predict_memory(graph, "litert", threads=4).total_bytes.basis


def test_energy_is_latency_times_what_the_board_draws():
    """The interval reaches from idle watts at the shortest latency to more than the load at the longest."""
    profile = get("raspberry-pi-4b")
    energy = predict_energy(profile, Figure(10.0, How.PREDICTED, 5.0, 20.0))
    assert energy.how is How.PREDICTED
    assert energy.value == pytest.approx(10 * profile.power.load_w.value)
    assert energy.low == pytest.approx(5 * profile.power.idle_w.value)
    assert energy.high > 20 * profile.power.load_w.value
    measured = predict_energy(profile, Figure(10.0, How.MEASURED_ON_DEVICE))
    assert measured.low < measured.value < measured.high
    assert "measured on the device" in measured.basis


def test_without_a_source_there_is_no_energy():
    """A board whose watts nobody published has no energy, and the reason says so."""
    refused = predict_energy(get("jetson-agx-orin"), Figure(10.0, How.PREDICTED))
    assert isinstance(refused, Unsupported)
    assert "no source for the watts" in refused.reason


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "load_w = { value = 5.4",
            "load_w = { value = 5400",
            "power.load_w.value: expected a number from 0.01 to 1000",
        ),
        (
            "idle_w = { value = 2.2",
            "idle_w = { value = 6.2",
            "expected power.idle_w below power.load_w. Got: 6.2 and 5.4",
        ),
        (
            "idle_w = ",
            'mode = { value = "A", how = "read", source = "power" }\nidle_w = ',
            "power.mode and power.modes together",
        ),
        ("idle_w = ", "idle_watts = ", "expected a known key. Got: power.idle_watts"),
    ],
)
def test_watts_outside_their_limits_are_refused(old, new, message):
    """Milliwatts for watts, idle above load and an unknown key each end in a sentence that says what was expected."""
    text = (Path(__file__).parents[1] / "devices/profiles/raspberry-pi-4b.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        parse_profile(text.replace(old, new))
