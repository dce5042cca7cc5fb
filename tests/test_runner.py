"""runtimes/: the runner and its client, in every runtime."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import InputError
from edgewright.export import convert, freeze
from edgewright.runtimes import Measurement, for_format, get, names, run_artifact
from edgewright.runtimes import _client as client
from edgewright.runtimes import _runner as runner

FORMATS = ("tflite", "onnx", "openvino")
RUNTIMES = [(name, format) for name in names() for format in get(name).formats]


@pytest.fixture(scope="module")
def model():
    """Two dense inputs, two outputs: small enough for NumPy."""
    keras.utils.set_random_seed(0)
    second, first = keras.Input((3,), name="second"), keras.Input((4,), name="first")
    x = keras.layers.Concatenate()([second, first])
    wide = keras.layers.Dense(5, activation="relu", name="wide")(x)
    narrow = keras.layers.Dense(2, name="narrow")(wide)
    return keras.Model([second, first], [wide, narrow], name="small")


@pytest.fixture(scope="module")
def inputs():
    """Twenty samples."""
    random = np.random.default_rng(0)
    return {"first": random.normal(size=(20, 4)).astype("f4"), "second": random.normal(size=(20, 3)).astype("f4")}


@pytest.fixture(scope="module")
def expected(model, inputs):
    """The outputs, computed in NumPy from the weights."""
    (kernel, bias), (kernel_2, bias_2) = (model.get_layer(name).get_weights() for name in ("wide", "narrow"))
    wide = np.maximum(np.concatenate([inputs["second"], inputs["first"]], axis=1) @ kernel + bias, 0)
    return {"wide": wide, "narrow": wide @ kernel_2 + bias_2}


@pytest.fixture(scope="module")
def artifacts(model, inputs, tmp_path_factory):
    """The model in each format as float32, and TFLite as int8."""
    folder = tmp_path_factory.mktemp("artifacts")
    np.savez(folder / "samples.npz", **inputs)
    frozen = freeze(model, folder / "frozen")
    cells = [(format, "float32") for format in FORMATS] + [("tflite", "int8")]
    made = {cell: convert(frozen, *cell, folder / "-".join(cell), folder / "samples.npz") for cell in cells}
    return {cell: conversion.artifact for cell, conversion in made.items()}


def test_the_runner_is_python_3_7():
    """The runner parses as Python 3.7 and imports only the standard library and NumPy before it is told a runtime."""
    tree = ast.parse(Path(runner.__file__).read_text(encoding="utf-8"), feature_version=(3, 7))
    imported = {
        name.split(".")[0]
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names) | {"numpy"}


def test_the_runner_runs_alone(artifacts, inputs, tmp_path):
    """Copied to another folder, with nothing of edgewright beside it, the runner answers the same."""
    copied = tmp_path / "runner.py"
    copied.write_bytes(Path(runner.__file__).read_bytes())
    np.savez(tmp_path / "in.npz", **inputs)
    command = [sys.executable, "-I", copied, "--runtime", "litert", "--artifact", artifacts["tflite", "float32"].path]
    command += ["--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", "--measure", "--max-runs", "50"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["ok"] and answer["schema"] == 1 and len(answer["samples_ms"]) == 50
    assert {tensor["name"] for tensor in answer["outputs"]} == {"wide", "narrow"}
    assert answer["load_ms"] > 0 and answer["first_ms"] > 0 and answer["peak_memory_bytes"] > 1e6
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["wide"].shape == (20, 5)


@pytest.mark.parametrize(("name", "format"), RUNTIMES)
def test_a_runtime_computes_what_numpy_computes(name, format, artifacts, inputs, expected):
    """Inputs and outputs are matched by name, and the numbers are those of the published equation, to 1e-5."""
    run = run_artifact(artifacts[format, "float32"].path, name, inputs)
    assert run.ok, run.reason
    assert run.runtime_version == get(name).version()
    for output, array in expected.items():
        np.testing.assert_allclose(run.outputs[output], array, atol=1e-5)


@pytest.mark.parametrize("name", for_format("tflite"))
def test_quantized_inputs_and_outputs_are_converted(name, artifacts, inputs, expected):
    """An int8 file takes floats and gives floats, within a few steps of its output scale."""
    artifact = artifacts["tflite", "int8"]
    run = run_artifact(artifact.path, name, inputs)
    assert run.ok, run.reason
    for tensor in artifact.outputs:
        assert np.abs(run.outputs[tensor.name] - expected[tensor.name]).max() <= 4 * tensor.scale


@pytest.mark.parametrize("name", [name for name in names() if not get(name).referee])
def test_latencies_come_with_their_conditions(name, artifacts, inputs):
    """A measurement keeps every sample, and says how it was obtained."""
    artifact = artifacts[get(name).formats[0], "float32"]
    measurement = run_artifact(artifact.path, name, inputs, measure=True).measurement
    assert len(measurement.samples_ms) >= 200 and min(measurement.samples_ms) > 0
    figure = measurement.latency()
    assert figure.how == "measured here" and figure.low <= figure.value <= figure.high
    assert measurement.conditions["cpu"] and measurement.warmup_runs >= 5


@pytest.mark.parametrize(("name", "format"), RUNTIMES)
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
def test_a_damaged_artifact_is_a_reason(name, format, damage, artifacts, inputs, tmp_path):
    """A file that is cut, overwritten, empty or missing is a failed run with a reason, whatever the runtime does."""
    if name == "tensorflow_lite" and damage != "truncated":
        pytest.skip("its start takes seconds, and it is LiteRT's loader")
    whole = artifacts[format, "float32"].path
    path = tmp_path / whole.name
    content = {
        "truncated": whole.read_bytes()[: whole.stat().st_size // 2],
        "garbage": os.urandom(2000),
        "empty": b"",
        "missing": None,
    }[damage]
    if content is not None:
        path.write_bytes(content)
    run = run_artifact(path, name, inputs, time_limit_s=60)
    assert not run.ok and run.reason and not run.outputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inputs: {"first": inputs["first"]}, r"expected inputs \['first', 'second'\], got \['first'\]"),
        (lambda inputs: {**inputs, "third": inputs["first"]}, r"got \['first', 'second', 'third'\]"),
        (lambda inputs: {**inputs, "first": inputs["first"][:, :2]}, r"expected first as \[samples, \[4\]\]"),
        (lambda inputs: {**inputs, "first": inputs["first"][:5]}, "as many samples"),
        (lambda inputs: {name: array[:0] for name, array in inputs.items()}, "at least one"),
    ],
)
@pytest.mark.parametrize("name", ["litert", "onnxruntime", "openvino"])
def test_inputs_that_do_not_fit_print_both_sides(name, change, message, artifacts, inputs):
    """Missing, further or misshapen inputs say what was expected and what came."""
    run = run_artifact(artifacts[get(name).formats[0], "float32"].path, name, change(inputs))
    assert not run.ok
    pytest.raises(InputError, _raise, run.reason).match(message)


def _raise(reason):
    raise InputError(reason)


def test_a_runtime_that_is_not_installed_says_what_to_install(artifacts, inputs, monkeypatch):
    """Without its distribution a runtime is a failed run that names the package."""
    monkeypatch.setattr("edgewright.runtimes._runtime.metadata.version", _not_found)
    run = run_artifact(artifacts["tflite", "float32"].path, "tflite_runtime", inputs)
    assert not run.ok and "pip install tflite-runtime" in run.reason


def _not_found(name):
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import time; time.sleep(60)", "time limit of 2 s"),
        ("x = []\nwhile True: x.append(bytearray(b'x') * (8 * 1024**2))", "memory limit of 0.2 GiB"),
        ("print('nonsense')", "gave no answer"),
        ("print('{\"ok\": true}')", "left no outputs"),
    ],
)
def test_a_runner_that_dies_is_a_reason(body, reason, inputs, tmp_path, monkeypatch):
    """Death by signal, hanging, exhausting memory or answering nonsense is a failed run, never an exception."""
    program = tmp_path / "runner.py"
    program.write_text(body)
    monkeypatch.setattr(client, "RUNNER", program)
    run = run_artifact(tmp_path / "any", "litert", inputs, time_limit_s=2, memory_limit_bytes=256 * 1024**2)
    assert not run.ok and reason in run.reason


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20),
    st.floats(1e-3, 10),
    st.integers(-128, 127),
    st.sampled_from(["int8", "uint8", "int16"]),
)
def test_quantization_is_exact_to_half_a_step(values, scale, zero_point, dtype):
    """Quantized and back, a value within the range is at most half a step away, and one outside is at its end."""
    limits = np.iinfo(dtype)
    zero_point = int(np.clip(zero_point, limits.min, limits.max))
    stored = runner.quantize(values, scale, zero_point, dtype)
    back = runner.dequantize(stored, scale, zero_point).astype("f8")
    low, high = scale * (limits.min - zero_point), scale * (limits.max - zero_point)
    wanted = np.clip(values, low, high)
    assert stored.dtype == dtype
    np.testing.assert_allclose(back, wanted, atol=scale / 2 + 1e-3 * scale + 1e-6 * np.abs(wanted).max() + 1e-9)


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=20), st.floats(1e-3, 10), st.integers(-128, 127))
def test_stored_integers_survive_a_round_trip(stored, scale, zero_point):
    """Dequantized and quantized again, every int8 value is itself."""
    real = runner.dequantize(np.array(stored, "int8"), scale, zero_point)
    np.testing.assert_array_equal(runner.quantize(real, scale, zero_point, "int8"), stored)


@pytest.mark.parametrize(("percent", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_is_withheld_without_enough_samples(percent, needed):
    """Below MLPerf's minimum for a percentile there is none."""

    def measurement(count):
        return Measurement(tuple(np.linspace(1, 2, count)), 1, 1, 5, 1, "litert", "2", None)

    assert measurement(needed - 1).percentile_ms(percent) is None
    assert measurement(needed).percentile_ms(percent) == pytest.approx(1 + percent / 100)
    assert measurement(10).latency() is None
