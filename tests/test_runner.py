"""runtimes/: the runner and its client, in every runtime."""

import ast
import json
import os
import resource
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.children import python, run_child
from edgewright.errors import InputError, MissingRequirement
from edgewright.runtimes import Measurement, Process, Settings, for_format, get, names, run_artifact
from edgewright.runtimes import _client as client
from edgewright.runtimes import _runner as runner

RUNTIMES = [(name, format) for name in names() for format in get(name).formats]


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


def test_every_runtime_has_a_loader_in_the_runner():
    """What has an adapter here can be loaded by the runner, under the same name, and the other way round."""
    assert set(runner.LOADERS) == set(names())


def test_the_runner_runs_alone(artifacts, inputs, tmp_path):
    """Copied to another folder, with nothing of edgewright beside it, the runner answers the same."""
    copied = tmp_path / "runner.py"
    copied.write_bytes(Path(runner.__file__).read_bytes())
    np.savez(tmp_path / "in.npz", **inputs)
    command = [sys.executable, "-I", copied, "--runtime", "litert", "--artifact", artifacts["tflite", "float32"]]
    command += ["--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", "--measure", "--max-runs", "50"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["ok"] and answer["schema"] == 1 and len(answer["samples_ms"]) == 50
    assert {tensor["name"] for tensor in answer["outputs"]} == {"wide", "narrow"}
    assert answer["runtime_version"] == get("litert").version() and answer["non_finite"] == 0
    assert answer["load_ms"] > 0 and answer["first_ms"] > 0 and answer["peak_memory_bytes"] > 1e6
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["wide"].shape == (20, 5)


def _answer_without(package, artifact, folder, *more):
    """Run the runner where a package cannot be imported; return its exit status and stdout."""
    code = f"import runpy, sys; sys.modules[{package!r}] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    code = code.replace("import runpy, sys;", "import runpy, sys; sys.argv = sys.argv[1:];")
    command = [sys.executable, "-c", code, runner.__file__, "--artifact", artifact, "--inputs", folder / "in.npz"]
    command += ["--outputs", folder / "out.npz", *more]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout


def test_the_runner_ends_with_3_without_the_runtime(tmp_path):
    """A runtime that cannot be imported is exit status 3, and the answer names what is missing."""
    status, answer = _answer_without("onnxruntime", tmp_path / "any.onnx", tmp_path, "--runtime", "onnxruntime")
    assert status == 3
    assert not json.loads(answer)["ok"] and "onnxruntime" in json.loads(answer)["message"]


def test_the_runner_ends_with_2_on_wrong_usage(tmp_path):
    """A runtime that the runner does not know is exit status 2, without an answer."""
    assert _answer_without("none", tmp_path / "any.onnx", tmp_path, "--runtime", "onnxruntim") == (2, "")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only: prctl")
def test_the_runner_does_not_outlive_its_parent():
    """When the process that started it is killed, the runner is gone too."""
    child = f"import runpy, time; runpy.run_path({runner.__file__!r})['die_with_parent'](); print('ready', flush=True)"
    parent = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child + '; time.sleep(600)'!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    deadline = time.monotonic() + 10
    while _runs(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(done.stdout))


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("name", "format"), RUNTIMES)
def test_a_runtime_computes_what_numpy_computes(name, format, artifacts, inputs, expected):
    """Inputs and outputs are matched by name, and the numbers are those of the published equation, to 1e-5."""
    run = run_artifact(artifacts[format, "float32"], name, inputs)
    assert run.ok, run.reason
    assert run.runtime_version == get(name).version()
    for output, array in expected.items():
        np.testing.assert_allclose(run.outputs[output], array, atol=1e-5)


@pytest.mark.parametrize("name", for_format("tflite"))
def test_quantized_inputs_and_outputs_are_converted(name, artifacts, inputs, expected):
    """An int8 file takes floats and gives floats, within a few steps of its output scale."""
    run = run_artifact(artifacts["tflite", "int8"], name, inputs)
    assert run.ok, run.reason
    for output, array in expected.items():
        assert run.outputs[output].dtype == "float32"
        step = np.ptp(array) / 255
        assert np.abs(run.outputs[output] - array).max() <= 4 * step


@pytest.mark.parametrize("name", [name for name in names() if not get(name).referee])
def test_latencies_come_with_their_conditions(name, artifacts, inputs):
    """A measurement keeps every sample, and says how it was obtained."""
    artifact = artifacts[get(name).formats[0], "float32"]
    measurement = run_artifact(artifact, name, inputs, measure=True).measurement
    assert len(measurement.samples_ms) >= 200 and min(measurement.samples_ms) > 0
    figure = measurement.latency()
    assert figure.how == "measured here" and figure.low <= figure.value <= figure.high
    (process,) = measurement.processes
    assert process.warmup_runs >= 5 and measurement.peak_memory_bytes > 1e6
    assert measurement.conditions["cpu"] and measurement.conditions["cores"] >= 1
    assert {"settings", "ran", "affinity", "python", "numpy", "kernel"} <= set(measurement.conditions)
    for when in ("before", "after"):
        assert {"clock_khz", "governor", "temperature_c", "throttled", "power_mw", "load"} <= set(
            process.telemetry[when]
        )


@pytest.mark.parametrize(("name", "format"), RUNTIMES)
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
def test_a_damaged_artifact_is_a_reason(name, format, damage, artifacts, inputs, tmp_path):
    """A file that is cut, overwritten, empty or missing is a failed run with a reason, whatever the runtime does."""
    whole = artifacts[format, "float32"]
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
        (
            lambda inputs: {**inputs, "first": inputs["first"][:, :2]},
            r"expected first as \[samples, 4\], got \[20, 2\]",
        ),
        (lambda inputs: {**inputs, "first": inputs["first"][:5]}, "as many samples"),
        (lambda inputs: {name: array[:0] for name, array in inputs.items()}, "at least one"),
    ],
)
@pytest.mark.parametrize("name", names())
def test_inputs_that_do_not_fit_print_both_sides(name, change, message, artifacts, inputs):
    """Missing, further or misshapen inputs say what was expected and what came."""
    run = run_artifact(artifacts[get(name).formats[0], "float32"], name, change(inputs))
    assert not run.ok
    pytest.raises(InputError, _raise, run.reason).match(message)


def _raise(reason):
    raise InputError(reason)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.5]]), "expected indices as int32, got float64 with values that are lost in it"),
        (np.array([[2**40]]), "expected indices as int32, got int64"),
        (np.array([[np.nan]]), "expected indices as int32"),
        (np.array([["a"]]), "expected numbers in indices, got <U1"),
    ],
)
def test_values_that_an_integer_input_cannot_hold_are_refused(array, message):
    """Nothing is cut off or wrapped around on its way into an integer tensor."""
    with pytest.raises(runner.InputsError, match=message):
        runner.as_stored(array, runner.Tensor("indices", (1, 1), "int32"))


def test_integers_pass_into_an_integer_input_as_they_are():
    """Indices reach a tensor that is not quantized unchanged, from any integer or whole float type."""
    for dtype in ("int8", "int64", "float32"):
        stored = runner.as_stored(np.array([[1, 100]], dtype), runner.Tensor("indices", (1, 2), "int32"))
        assert stored.dtype == "int32" and stored.tolist() == [[1, 100]]


def test_pictures_of_bytes_are_quantized_like_any_number():
    """For a quantized tensor 0 to 255 are real numbers, not stored ones that would wrap around in int8."""
    pixels = runner.Tensor("pixels", (1, 3), "int8", 1.0, -128)
    assert runner.as_stored(np.array([[0, 128, 255]], "uint8"), pixels).tolist() == [[-128, 0, 127]]
    with pytest.raises(runner.InputsError, match="got NaN"):
        runner.as_stored(np.array([[np.nan]]), pixels)


def test_an_array_without_samples_is_refused():
    """A single number is not taken for an array of samples."""
    with pytest.raises(runner.InputsError, match=r"expected x as \[samples\], got \[\]"):
        runner.prepare({"x": np.float32(1)}, [runner.Tensor("x", (1,), "float32")])


def test_arrays_of_any_name_are_saved_and_objects_are_not(tmp_path):
    """Arrays named "file" or with a slash come back; an array of Python objects is refused, never pickled."""
    arrays = {"file": np.arange(3), "block/dense:0": np.float32([[1, 2]]), "turned": np.ones((2, 3)).T}
    runner.save(str(tmp_path / "arrays.npz"), arrays)
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as loaded:
        assert set(loaded.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array)
    with pytest.raises(ValueError, match="[Oo]bject"):
        runner.save(str(tmp_path / "objects.npz"), {"x": np.array([object()])})
    assert not (tmp_path / "objects.npz").exists()


class _WithoutSignature:
    """An interpreter of a TFLite file that has no signature."""

    def __init__(self, model_path, num_threads):
        """Take what the runner gives."""

    def allocate_tensors(self):
        """Do nothing."""

    def get_signature_list(self):
        """Return none."""
        return {}

    def get_input_details(self):
        """Return two inputs with the names that TensorFlow gives them."""
        plain = {"shape": np.array([1, 2]), "dtype": np.float32, "quantization": (0.0, 0)}
        return [{**plain, "name": f"serving_default_{name}:0", "index": index} for index, name in enumerate("ba")]

    def get_output_details(self):
        """Return one quantized output."""
        detail = {"shape": np.array([1, 2]), "dtype": np.int8, "quantization": (0.5, -3)}
        return [{**detail, "name": "StatefulPartitionedCall:0", "index": 7}]


def test_a_tflite_file_without_signature_goes_by_its_tensors():
    """Inputs and outputs are then named as their tensors are, without what the converter put around the names."""
    model = runner.TFLite(types.SimpleNamespace(Interpreter=_WithoutSignature), "any", runner.Settings())
    assert [(tensor.name, tensor.key) for tensor in model.inputs] == [("a", 1), ("b", 0)]
    assert [tensor.plain() for tensor in model.outputs] == [
        {"name": "StatefulPartitionedCall", "shape": [1, 2], "dtype": "int8", "scale": 0.5, "zero_point": -3}
    ]


class _Slow:
    """A model whose inference takes a while; it counts the samples that it got."""

    def __init__(self, seconds):
        self.seconds, self.seen = seconds, []

    def run(self, arrays):
        """Take the time."""
        self.seen.append(arrays)
        time.sleep(self.seconds)
        return [np.zeros(1)]

    def units(self):
        """Each answer is one inference."""
        return 1


def test_bfloat16_of_an_openvino_file_is_not_read_as_float16(tmp_path):
    """A file that takes and gives bfloat16, which NumPy lacks, is fed float32 and answers in it."""
    openvino = pytest.importorskip("openvino")
    x = openvino.opset13.parameter([1, 3], openvino.Type.bf16, name="x")
    y = openvino.opset13.result(openvino.opset13.add(x, x))
    model = openvino.Model([y], [x], "doubled")
    model.inputs[0].get_tensor().set_names({"x"})
    model.outputs[0].get_tensor().set_names({"y"})
    openvino.save_model(model, str(tmp_path / "doubled.xml"), compress_to_fp16=False)
    run = run_artifact(tmp_path / "doubled.xml", "openvino", {"x": np.float32([[1, -1.4140625, 0.5]])})
    assert run.ok, run.reason
    np.testing.assert_array_equal(run.outputs["y"], np.float32([[2, -2.828125, 1]]))


def test_measuring_a_slow_model_ends_in_time():
    """At its time limit measuring stops with the few samples that it has, at least one."""
    for max_time_s in (0.2, 0.0):
        started = time.perf_counter()
        latencies, _ = runner.measure(_Slow(0.02), ["a"], 1000, 0.1, 5000, max_time_s)
        assert 1 <= len(latencies) <= 11 and time.perf_counter() - started < 5
        assert min(latencies) >= 20


def test_measuring_takes_varied_samples_until_runs_and_time_are_enough():
    """Each sample has its turn, and both the fewest runs and the shortest time are kept."""
    model = _Slow(0.0)
    latencies, _ = runner.measure(model, ["a", "b", "c"], 30, 0.0, 5000, 30.0)
    assert len(latencies) == 30 and model.seen == ["a", "b", "c"] * 10
    assert len(runner.measure(_Slow(0.001), ["a"], 1, 0.1, 5000, 30.0)[0]) > 10
    assert len(runner.measure(_Slow(0.0), ["a"], 100, 10.0, 40, 30.0)[0]) == 40


def test_a_format_that_a_runtime_does_not_take_is_a_reason(artifacts, inputs):
    """A file of another format is not even tried."""
    run = run_artifact(artifacts["onnx", "float32"], "litert", inputs)
    assert not run.ok and run.ending == ""
    assert run.reason == "expected a file that LiteRT takes (.tflite), got float32.onnx"


def test_what_the_caller_gets_wrong_is_an_input_error(tmp_path):
    """An unknown runtime and no threads at all are errors of the call, not of the artifact."""
    with pytest.raises(InputError, match="Did you mean 'litert'"):
        run_artifact(tmp_path / "any.tflite", "litertt", {})
    with pytest.raises(InputError, match="at least one thread. Got: 0"):
        run_artifact(tmp_path / "any.tflite", "litert", {}, settings=Settings(threads=0))


def test_inputs_that_cannot_be_written_are_a_reason(tmp_path):
    """An array of Python objects is a failed run with its reason."""
    run = run_artifact(tmp_path / "any.tflite", "litert", {"x": np.array([object()])})
    assert not run.ok and "the inputs could not be written" in run.reason


def test_a_runtime_that_is_not_installed_says_what_to_install(artifacts, inputs, monkeypatch):
    """Without its distribution a runtime is a failed run that names the package."""
    monkeypatch.setattr("edgewright.runtimes._runtime.metadata.version", _not_found)
    run = run_artifact(artifacts["tflite", "float32"], "tflite_runtime", inputs)
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
        ("print('[]')", "gave no answer"),
        ("print('{\"ok\": true}')", "left no outputs"),
        (
            "import sys; open(sys.argv[sys.argv.index('--outputs') + 1], 'wb').write(b'PK\\x03\\x04 nonsense')\n"
            "print('{\"ok\": true}')",
            "left no outputs",
        ),
        ("import sys; print('{\"ok\": true}'); sys.exit(1)", "exit 1"),
        ("import sys; print('usage', file=sys.stderr); sys.exit(2)", "exit 2: usage"),
    ],
)
def test_a_runner_that_dies_is_a_reason(body, reason, inputs, tmp_path, monkeypatch):
    """Death by signal, hanging, exhausting memory or answering nonsense is a failed run, never an exception."""
    program = tmp_path / "runner.py"
    program.write_text(body)
    monkeypatch.setattr(client, "RUNNER", program)
    run = run_artifact(tmp_path / "any.tflite", "litert", inputs, time_limit_s=2, memory_limit_bytes=256 * 1024**2)
    assert not run.ok and reason in run.reason


def test_an_answer_without_latencies_is_a_reason(inputs, tmp_path, monkeypatch):
    """Where latencies were asked for, an answer that has none is a failed run."""
    program = tmp_path / "runner.py"
    program.write_text(
        "import sys, numpy\nnumpy.savez(sys.argv[sys.argv.index('--outputs') + 1], y=1)\nprint('{\"ok\": true}')"
    )
    monkeypatch.setattr(client, "RUNNER", program)
    assert run_artifact(tmp_path / "any.tflite", "litert", inputs).ok
    run = run_artifact(tmp_path / "any.tflite", "litert", inputs, measure=True)
    assert not run.ok and "no measurement" in run.reason and run.measurement is None


class _Echo:
    """A model of one int8 input that returns it as stored."""

    inputs = outputs = [runner.Tensor("x", (1, 3), "int8", 0.5, 1)]

    def run(self, arrays):
        """Return what came."""
        return arrays


def test_a_host_may_write_into_what_it_passes():
    """What is the same as in the last call is not quantized again; what the host has changed in place is."""
    graph = runner.Graph("echo", _Echo())
    x = np.array([[1.0, 2.0, 3.0]], "float32")
    for changed in (None, 1.0, np.float32(-4.0)):
        if changed is not None:
            x[0, 1] = changed
        for _ in range(2):
            np.testing.assert_array_equal(graph({"x": x})["x"], x)
    np.testing.assert_array_equal(graph({"x": x.astype("int32")})["x"], x)


@settings(deadline=None)  # other work may hold a core
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


@settings(deadline=None)  # other work may hold a core
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=20), st.floats(1e-3, 10), st.integers(-128, 127))
def test_stored_integers_survive_a_round_trip(stored, scale, zero_point):
    """Dequantized and quantized again, every int8 value is itself."""
    real = runner.dequantize(np.array(stored, "int8"), scale, zero_point)
    np.testing.assert_array_equal(runner.quantize(real, scale, zero_point, "int8"), stored)


@pytest.mark.parametrize(("percent", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_is_withheld_without_enough_samples(percent, needed):
    """Below MLPerf's minimum for a percentile there is none."""

    def measurement(count):
        return Measurement((Process(tuple(np.linspace(1, 2, count)), 1, 1),), 1, "litert", "2")

    assert measurement(needed - 1).percentile_ms(percent) is None
    assert measurement(needed).percentile_ms(percent) == pytest.approx(1 + percent / 100)
    assert measurement(10).latency() is None
    assert (measurement(63).p90_ms, measurement(661).p99_ms) == (None, None)
    assert measurement(662).p50_ms < measurement(662).p90_ms < measurement(662).p99_ms


def test_the_interval_of_the_median_is_the_same_every_time():
    """The bootstrap is seeded: one measurement has one interval, and it holds the median."""
    samples = tuple(np.random.default_rng(3).lognormal(size=200))
    measurement = Measurement((Process(samples, 1, 1),), 1, "litert", "2")
    first, second = measurement.latency(), measurement.latency()
    assert first == second and first.low < first.value < first.high
    assert first.value == np.median(samples) and "200 runs" in first.basis and "1 thread," in first.basis
    most = np.sort(samples)[:198]  # the slowest hundredth is left out
    assert measurement.coefficient_of_variation == pytest.approx(np.std(most) / np.mean(most))


def test_the_runner_finds_packages_through_a_link_to_its_folder(artifacts, inputs, tmp_path):
    """Reached by another path than its own, it still does not take the adapters beside it for the packages."""
    (tmp_path / "linked").symlink_to(client.RUNNER.parent, target_is_directory=True)
    np.savez(tmp_path / "inputs.npz", **inputs)
    options = ("--runtime", "onnxruntime", "--artifact", artifacts["onnx", "float32"])
    files = ("--inputs", tmp_path / "inputs.npz", "--outputs", tmp_path / "outputs.npz")
    child = run_child(python(tmp_path / "linked" / client.RUNNER.name, *options, *files), time_limit_s=60)
    assert child.ok, child.reason()


def test_inputs_that_there_is_no_room_for_are_no_fault_of_the_artifact(artifacts, inputs):
    """Where the inputs cannot be written for want of room, that is an error of the environment and no failed run."""
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, allowed[1]))
    try:
        with pytest.raises(MissingRequirement, match="Expected room to write .* File too large"):
            run_artifact(artifacts["tflite", "float32"], "litert", inputs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
