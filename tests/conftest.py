"""What all tests share: a small model in every format, services, and what is skipped where there is no wheel."""

import signal
import sys

import hypothesis
import numpy as np
import pytest

from edgewright.children import python, run_child

from ._services import Running
from ._ssh_servers import Server, free_port, make_key

# A busy machine is no failure of a property.
hypothesis.settings.register_profile("edgewright", deadline=None)
hypothesis.settings.load_profile("edgewright")

ABSENT = {"tflite_runtime"} if sys.version_info >= (3, 12) else set()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of one runtime where that runtime does not exist for this Python."""
    name = getattr(item, "callspec", None) and item.callspec.params.get("name")  # type: ignore[attr-defined]
    if name in ABSENT and item.module.__name__.endswith("test_runner"):  # type: ignore[attr-defined]
        pytest.skip(f"{name} has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}")


def of_runtimes_here(checks):
    """Return the checks of the runtimes that exist for this Python."""
    return [made for made in checks if made["runtime"] not in ABSENT]


# Makes the files: run in a process of its own, for TensorFlow's start, with the folder as its argument.
_MAKE = """
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

folder = Path(sys.argv[1])
weights, samples = dict(np.load(folder / "weights.npz")), dict(np.load(folder / "samples.npz"))
sizes = {"second": 3, "first": 4}, {"wide": 5, "narrow": 2}


@tf.function(input_signature=[tf.TensorSpec([1, size], name=name) for name, size in sizes[0].items()])
def serve(second, first):
    wide = tf.nn.relu(tf.matmul(tf.concat([second, first], 1), weights["kernel"]) + weights["bias"])
    return {"wide": wide, "narrow": tf.matmul(wide, weights["kernel_2"]) + weights["bias_2"]}


tf.saved_model.save(tf.Module(), folder / "saved", signatures={"serving_default": serve})
for precision in ("float32", "int8"):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {name: array[place : place + 1] for name, array in samples.items()} for place in range(20)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / f"{precision}.tflite").write_bytes(converter.convert())

inputs, outputs = (
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in side.items()] for side in sizes
)
nodes = [
    helper.make_node("Concat", ["second", "first"], ["x"], axis=1),
    helper.make_node("Gemm", ["x", "kernel", "bias"], ["h"]),
    helper.make_node("Relu", ["h"], ["wide"]),
    helper.make_node("Gemm", ["wide", "kernel_2", "bias_2"], ["narrow"]),
]
constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), folder / "float32.onnx")
openvino.save_model(openvino.convert_model(folder / "float32.onnx"), folder / "float32.xml", compress_to_fp16=False)
"""


@pytest.fixture(scope="session")
def emulator():
    """The emulator of the runtimes installed here, built unless it is in the cache."""
    from edgewright.errors import DeviceError
    from edgewright.runtimes._emulator import build_emulator
    from edgewright.runtimes._emulator_parts import missing_tools

    if missing_tools():
        pytest.skip(missing_tools())
    try:
        return build_emulator()
    except DeviceError as error:
        pytest.skip(f"the emulator cannot be fetched: {error}")


@pytest.fixture(scope="session")
def weights():
    """Those of two dense layers, small enough for NumPy."""
    random = np.random.default_rng(1)
    shapes = {"kernel": (7, 5), "bias": (5,), "kernel_2": (5, 2), "bias_2": (2,)}
    return {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def inputs():
    """Twenty samples of two inputs whose alphabetical order is not the model's."""
    random = np.random.default_rng(0)
    return {"first": random.normal(size=(20, 4)).astype("f4"), "second": random.normal(size=(20, 3)).astype("f4")}


@pytest.fixture(scope="session")
def expected(weights, inputs):
    """The two outputs, computed in NumPy."""
    x = np.concatenate([inputs["second"], inputs["first"]], axis=1)
    wide = np.maximum(x @ weights["kernel"] + weights["bias"], 0)
    return {"wide": wide, "narrow": wide @ weights["kernel_2"] + weights["bias_2"]}


@pytest.fixture(scope="session")
def artifacts(weights, inputs, tmp_path_factory):
    """The model's file in each format as float32, and as int8 in TFLite."""
    folder = tmp_path_factory.mktemp("artifacts")
    np.savez(folder / "weights.npz", **weights)
    np.savez(folder / "samples.npz", **inputs)
    made = run_child(python("-c", _MAKE, folder), time_limit_s=300, environment={"TF_CPP_MIN_LOG_LEVEL": "2"})
    assert made.ok, made.stderr
    suffixes = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
    files = {(format, "float32"): folder / f"float32{suffix}" for format, suffix in suffixes.items()}
    return {**files, ("tflite", "int8"): folder / "int8.tflite"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of our own: no keys, no agent, no known hosts, no devices but the test's."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


@pytest.fixture
def user_key(home):
    """The user's key, where OpenSSH has it, and its public half."""
    return make_key(home / ".ssh" / "id_ed25519")


@pytest.fixture
def server(tmp_path, user_key):
    """Return a function that starts one more server and returns it with its host key."""
    started = []

    def start(settings="", kind="ssh-ed25519"):
        started.append(Server(tmp_path / f"server{len(started)}", free_port(), user_key, settings))
        return started[-1], started[-1].start(kind)

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def small(artifacts, tmp_path_factory):
    """The small float model, served."""
    options = ["--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--name", "small", "--version", "7"]
    running = Running(tmp_path_factory.mktemp("small"), *options)
    yield running
    assert running.end() == 0


@pytest.fixture
def serving(tmp_path):
    """Return a function that serves in the test's folder, once or again."""
    started = []

    def start(*options, **how):
        started.append(Running(tmp_path / "service", *options, **how))
        return started[-1]

    yield start
    for each in started:
        each.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def host_profile(tmp_path_factory):
    """A profile of this host, which the servers are on."""
    from edgewright.probing import probe

    path = tmp_path_factory.mktemp("profile") / "this-host.toml"
    probe(path, measure=False)
    return str(path)


def _classifier(folder, activation, formats):
    """Export a small classifier of 16 numbers, named kinds, with labels that it gets right."""
    import keras

    import edgewright

    keras.utils.set_random_seed(0)
    x = keras.Input((16,), name="x")
    hidden = keras.layers.Dense(32, activation="relu")(x)
    model = keras.Model(x, keras.layers.Dense(10, activation=activation, name="kinds")(hidden), name="kinds")
    samples = np.random.default_rng(0).normal(size=(200, 16)).astype("float32")
    labels = model.predict(samples, verbose=0).argmax(axis=1)
    compressed = edgewright.compress(model, edgewright.train.Dataset({"x": samples}, labels), "int8")
    return edgewright.export(compressed, folder / "bundle", formats)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    """A small classifier as TFLite, float32 and int8, whose int8 is the same to the bit on every core."""
    return _classifier(tmp_path_factory.mktemp("small"), None, ["tflite"])


@pytest.fixture(scope="session")
def kinds_bundle(tmp_path_factory):
    """The same with a softmax, as TFLite and ONNX."""
    return _classifier(tmp_path_factory.mktemp("kinds"), "softmax", ["tflite", "onnx"])


@pytest.fixture
def board(server, host_profile, tmp_path):
    """Return a function that registers one more device, whose home is a folder of its own, and returns that folder."""
    from edgewright.registering import add

    def start(name="board", there=None, python=sys.executable, settings="", variables=""):
        there = there or tmp_path / f"home-of-{name}"
        there.mkdir(exist_ok=True)
        one, _ = server(f"SetEnv HOME={there} {variables}\n{settings}")
        add(name, one.url, host_profile, accept_key=True, python=str(python))
        return there

    return start
