"""Measuring: several fresh processes, what held the device back, answers at speed, and comparisons."""

import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgewright
from edgewright.cli import app
from edgewright.errors import GateFailed, InputError, MissingRequirement
from edgewright.export import Artifact, Deployable, HostCode
from edgewright.measuring import Measurements, Row
from edgewright.runtimes import (
    Guard,
    Measured,
    Measurement,
    Process,
    Settings,
    Timing,
    compare,
    measure_artifact,
    measure_in_turn,
    read_measurement,
    run_artifact,
)
from edgewright.runtimes import _runner as runner
from edgewright.runtimes._comparison import LEVEL, location
from edgewright.runtimes._measurement import throttled
from edgewright.runtimes._measuring import joined
from edgewright.subjects import Subject

QUICK = Timing(warmup_s=0.02, min_runs=20, min_time_s=0.02, max_runs=200)


def _hosted(artifacts, folder, body):
    """Return the small model with a host whose method ``run`` has this body."""
    host = folder / "host.py"
    host.write_text(
        "import time\nimport numpy as np\n\n\nclass Host(object):\n"
        "    def __init__(self, graphs, settings):\n"
        "        self.graph, self.calls, self.last, self.settings = graphs['model'], 0, None, settings\n\n"
        "    def run(self, sample):\n"
        "        self.calls += 1\n"
        "        inputs = {name: array[np.newaxis] for name, array in sample.items()}\n" + body
    )
    (folder / "host.json").write_text("{}")
    artifact = Artifact(artifacts["tflite", "float32"], "tflite", "float32", (), (), "", 1, 1)
    return Deployable((artifact,), HostCode(host, folder / "host.json"), unit="token", units=3)


HONEST = "        return {name: array[0] for name, array in self.graph(inputs).items()}\n"


def test_a_measurement_is_of_fresh_processes_the_first_of_them_cold(artifacts, inputs):
    """Five processes are timed; loading from the disk, loading again, and the spread between processes are told."""
    run = measure_artifact(artifacts["tflite", "float32"], "litert", inputs, timing=QUICK)
    assert run.ok, run.reason
    measured = run.measurement
    assert [process.cold for process in measured.processes] == [True, False, False, False, False]
    assert measured.load_cold_ms == measured.processes[0].load_ms and measured.load_ms > 0
    medians = [process.median_ms for process in measured.processes]
    assert measured.p50_ms == np.median(medians) and len(measured.samples_ms) >= 100
    latency = measured.latency()
    assert min(medians) <= latency.low <= latency.value <= latency.high <= max(medians)
    assert "5 processes" in latency.basis and len(run.outputs["wide"]) == 20
    assert measured.difference_at_speed() == 0 and measured.kept_answers() is not None
    assert read_measurement(json.loads(json.dumps(asdict(measured)))) == measured


def test_artifacts_are_timed_in_turn_and_a_failed_one_is_left_out(artifacts, inputs, tmp_path):
    """Each round adds a process of every artifact that runs; what failed keeps its reason and stops nobody."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"nonsense")
    measured = [Measured(path, "litert", inputs) for path in (artifacts["tflite", "int8"], broken)]
    rounds = list(measure_in_turn(measured, processes=3, timing=QUICK))
    assert [len(good.measurement.processes) for good, _ in rounds] == [1, 2, 3]
    assert all(not bad.ok and bad.reason for _, bad in rounds)
    with pytest.raises(InputError, match="at least one process. Got: 0"):
        list(measure_in_turn(measured, processes=0))


def test_answers_that_change_under_load_are_found(artifacts, inputs, tmp_path):
    """A program that answers right until it is timed is caught by comparing the timed answers (MLPerf's TEST01)."""
    run = measure_artifact(_hosted(artifacts, tmp_path, HONEST), "litert", inputs, processes=2, timing=QUICK)
    assert run.ok and run.measurement.difference_at_speed() == 0
    assert sum(process.at_speed["compared"] for process in run.measurement.processes) >= 32
    cheat = "        fast = self.calls > 25\n        answer = self.graph(inputs)\n"
    cheat += "        return {name: array[0] * (0 if fast else 1) for name, array in answer.items()}\n"
    run = measure_artifact(_hosted(artifacts, tmp_path, cheat), "litert", inputs, processes=2, timing=QUICK)
    assert run.ok and run.measurement.difference_at_speed() == pytest.approx(1)


def test_further_processes_that_answer_otherwise_are_found(artifacts, inputs):
    """What a later process answers is compared with what the first did, which the accuracy is taken from."""
    one, two = (
        run_artifact(artifacts["tflite", "float32"], "litert", given, measure=QUICK)
        for given in (inputs, {name: array + 1 for name, array in inputs.items()})
    )
    assert joined(one, one).measurement.difference_at_speed() == 0
    assert joined(one, two).measurement.difference_at_speed() > 0.1


def test_answers_that_are_kept_are_found(artifacts, inputs, tmp_path):
    """A program that is faster on a sample it has just seen is told apart from one that is not (MLPerf's TEST04)."""
    wait = "        time.sleep(0.002)\n" + HONEST
    run = measure_artifact(_hosted(artifacts, tmp_path, wait), "litert", inputs, processes=1, timing=QUICK)
    assert run.measurement.kept_answers() < 1.5
    kept = "        key = sample['first'].tobytes()\n        if key != self.last:\n            time.sleep(0.01)\n"
    kept += "        self.last = key\n" + HONEST
    run = measure_artifact(_hosted(artifacts, tmp_path, kept), "litert", inputs, processes=1, timing=QUICK)
    assert run.measurement.kept_answers() > 5
    assert any("answers are kept" in warning for warning in run.measurement.warnings())


def test_throughput_is_told_in_the_unit_of_the_deployment(artifacts, inputs, tmp_path):
    """Of an answer that is three tokens, three times as many tokens a second are told as answers."""
    run = run_artifact(_hosted(artifacts, tmp_path, HONEST), "litert", inputs, measure=QUICK)
    latency, rate = run.measurement.latency(), run.measurement.rate()
    assert run.measurement.unit == "token" and rate.value == pytest.approx(3000 / latency.value)
    assert rate.low <= rate.value <= rate.high


@pytest.mark.parametrize(
    ("runtime", "format", "settings", "reason"),
    [
        ("litert", "tflite", Settings(delegates=("libnone.so",)), "expected a TFLite delegate.*libnone.so"),
        ("tflite_runtime", "tflite", Settings(delegates=("libnone.so,a=b",)), "expected a TFLite delegate"),
        ("litert", "tflite", Settings(delegates=("libnone.so,a",)), "expected a TFLite delegate as .*got libnone.so,a"),
        ("onnxruntime", "onnx", Settings(providers=("cuda",)), "this ONNX Runtime has.*CUDAExecutionProvider"),
        ("onnxruntime", "onnx", Settings(providers=("TensorrtExecutionProvider",)), "this ONNX Runtime has"),
        ("onnxruntime", "onnx", Settings(providers=("Cudda",)), "that ONNX Runtime knows .cpu, cuda.*, got Cudda"),
        ("openvino", "openvino", Settings(unit="NPU"), "expected a device that OpenVINO finds here .*CPU.*, got NPU"),
        ("openvino", "openvino", Settings(unit="XPU"), "one of OpenVINO's units .CPU, GPU, NPU., got XPU"),
        ("openvino", "openvino", Settings(providers=("cuda",)), "openvino does not heed --provider"),
        ("onnxruntime", "onnx", Settings(xnnpack=False), "onnxruntime does not heed --no-xnnpack"),
        ("litert", "tflite", Settings(cores=(4096,)), r"cores that this machine lets it use .0.*\), got 4096"),
        ("litert", "tflite", Settings(cores=(0, 4096)), r"cores that this machine lets it use .0.*\), got 4096"),
    ],
)
def test_what_a_runtime_does_not_have_is_a_reason(runtime, format, settings, reason, artifacts, inputs):
    """A missing delegate, provider, device or core fails the run; what exists nowhere is usage, all else is lacking."""
    run = run_artifact(artifacts[format, "float32"], runtime, inputs, settings=settings)
    assert not run.ok
    pytest.raises(InputError, _raise, run.reason).match(reason)
    usage = any(words in run.reason for words in ("UsageError: ", "does not heed"))
    assert run.error is (InputError if usage else MissingRequirement) and (usage or "SettingsError: " in run.reason)


def _raise(reason):
    raise InputError(reason)


def test_what_actually_ran_is_told(artifacts, inputs):
    """The settings that were asked for and what they led to are kept with the measurement."""
    for xnnpack in (True, False):
        run = run_artifact(
            artifacts["tflite", "float32"],
            "litert",
            inputs,
            settings=Settings(threads=2, cores=(0,), xnnpack=xnnpack),
            measure=QUICK,
        )
        told = run.measurement.conditions
        assert told["affinity"] == [0] and run.measurement.threads == 2
        assert told["settings"]["xnnpack"] is xnnpack
        assert (told["ran"]["delegated"] > 0) is xnnpack and bool(told["ran"]["interpreted"]) is not xnnpack
    run = run_artifact(
        artifacts["openvino", "float32"], "openvino", inputs, settings=Settings(precision="f16"), measure=QUICK
    )
    assert run.measurement.conditions["ran"]["EXECUTION_DEVICES"] == ["CPU"]
    run = run_artifact(artifacts["onnx", "float32"], "onnxruntime", inputs, measure=QUICK)
    assert run.measurement.conditions["ran"] == {"providers": ["CPUExecutionProvider"]}
    with pytest.raises(InputError, match="numbered from 0. Got: -1"):
        Settings(cores=(-1,))


def _write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_telemetry_of_a_raspberry_pi(tmp_path):
    """Clocks, governor, temperature and the firmware's flags are read from sysfs, raw."""
    _write(
        tmp_path / "sys",
        {
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            "devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "600000\n",
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "61835\n",
            "devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        },
    )
    found = runner.telemetry(str(tmp_path), commands=())
    assert found["clock_khz"] == {"cpu0": 1500000, "cpu1": 600000} and found["governor"] == ["ondemand"]
    assert found["temperature_c"] == {"thermal_zone0 cpu-thermal": 61.835}
    assert found["throttled"] == {"get_throttled": 0x50005}
    assert throttled({"before": found, "after": found}) == (
        "the Raspberry Pi says: under-voltage",
        "the Raspberry Pi says: throttled",
    )
    past = {"throttled": {"get_throttled": 0x50000}}
    assert throttled({"before": past, "after": past}) == ()


def test_telemetry_of_a_jetson_with_an_edge_tpu(tmp_path):
    """Power rails of INA sensors, over-current counters and the Edge TPU's temperature are read where they are."""
    rail = "class/hwmon/hwmon3"
    _write(
        tmp_path / "sys",
        {
            f"{rail}/name": "ina3221\n",
            f"{rail}/in1_label": "VDD_IN\n",
            f"{rail}/in1_input": "5016\n",
            f"{rail}/curr1_input": "984\n",
            "class/hwmon/hwmon1/name": "soctherm_oc\n",
            "class/hwmon/hwmon1/oc1_event_cnt": "7\n",
            "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN\n",
            "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "2545\n",
            "class/apex/apex_0/temp": "48300\n",
        },
    )
    found = runner.telemetry(str(tmp_path), commands=())
    assert found["power_mw"] == {"VDD_IN": pytest.approx(4935.7, abs=0.1), "POM_5V_IN": 2545}
    assert found["temperature_c"] == {"apex_0": 48.3}
    counter = "class/hwmon/hwmon1/oc1_event_cnt"
    assert found["throttled"] == {counter: 7}
    later = {"throttled": {counter: 9.0}}
    assert throttled({"before": found, "after": later}) == (f"throttled 2 times while it was measured ({counter})",)
    assert throttled({"before": found, "after": found}) == ()


def test_telemetry_of_commands(tmp_path, monkeypatch):
    """Where the kernel does not tell, vcgencmd is asked; of tegrastats, which never ends, one line is read."""
    scripts = {
        "vcgencmd": "#!/bin/sh\necho throttled=0x4\n",
        "tegrastats": "#!/bin/sh\nwhile true; do echo 'RAM 1/2MB CPU@40C'; sleep 0.01; done\n",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = runner.telemetry(str(tmp_path / "nothing"))
    assert found["throttled"] == {"get_throttled": 4}
    assert found["tegrastats"]["temperature_c"] == {"CPU": 40.0} and found["tegrastats"]["memory_mb"] == [1, 2]


@pytest.mark.parametrize(
    ("line", "temperature", "power", "gpu"),
    [
        (  # JetPack 4, Jetson Nano
            "RAM 1766/3964MB (lfb 197x4MB) SWAP 0/2048MB (cached 0MB) CPU [24%@1224,15%@1224,13%@1224,10%@1224] "
            "EMC_FREQ 0% GR3D_FREQ 0% PLL@21C CPU@25C PMIC@100C GPU@23.5C AO@33.5C thermal@24.5C "
            "POM_5V_IN 2545/2547 POM_5V_GPU 0/0 POM_5V_CPU 549/529",
            ("GPU", 23.5),
            {"POM_5V_IN": 2545, "POM_5V_GPU": 0, "POM_5V_CPU": 549},
            0,
        ),
        (  # JetPack 6, Jetson Orin Nano
            "12-23-2024 22:54:11 RAM 3162/7620MB (lfb 4x2MB) SWAP 0/3810MB (cached 0MB) "
            "CPU [1%@729,0%@729,0%@729,0%@729,off,off] GR3D_FREQ 1% cpu@62.843C soc2@61.968C gpu@61.687C tj@62.843C "
            "VDD_IN 3913mW/3922mW VDD_CPU_GPU_CV 598mW/598 VDD_SOC 1238mW/1237mW",
            ("gpu", 61.687),
            {"VDD_IN": 3913, "VDD_CPU_GPU_CV": 598, "VDD_SOC": 1238},
            1,
        ),
    ],
)
def test_lines_of_tegrastats_are_read(line, temperature, power, gpu):
    """Temperatures, the rails' present power and the GPU's load are read from either form of the line."""
    found = runner.parse_tegrastats(line)
    assert found["temperature_c"][temperature[0]] == temperature[1]
    assert found["power_mw"] == power and found["gr3d_freq_percent"] == gpu


def test_warm_up_ends_when_latency_has_come_to_rest_or_patience_has(monkeypatch):
    """A steady program is warm soon; one that grows ever slower is given up after a while, and that is told."""

    class Program:
        now = calls = growth = 0

        def run(self, arrays):
            self.calls += 1
            self.now += 1_000_000 + self.growth * self.calls

        def units(self):
            return 1

    steady, rising = Program(), Program()
    monkeypatch.setattr(runner.time, "perf_counter_ns", lambda: steady.now)
    assert runner.warm_up(steady, [0], 0.03, 5.0) == (30, True)
    rising.growth = 1_000_000
    monkeypatch.setattr(runner.time, "perf_counter_ns", lambda: rising.now)
    runs, stable = runner.warm_up(rising, [0], 0.05, 5.0)
    assert not stable and 0.25 <= rising.now / 1e9 < 0.3
    assert runner.warm_up(rising, [0], 5.0, 0.1)[1] is False and rising.now / 1e9 < 0.6


def _measurement(medians, telemetry=None):
    processes = tuple(Process((median,) * 20, 1.0, 1.0, telemetry=telemetry or {}) for median in medians)
    return Measurement(processes, 1, "litert", "2")


@pytest.mark.parametrize(
    ("factor", "found", "guard"),
    [(1.0, "not distinguishable", Guard.PASS), (1.03, "slower", Guard.PASS), (0.8, "faster", Guard.PASS)]
    + [(1.1, "slower", Guard.FAIL), (1.05, "slower", Guard.INCONCLUSIVE)],
)
def test_a_comparison_says_what_the_interval_allows(factor, found, guard):
    """Faster, slower or not distinguishable follows from 1, and the guard's verdict from the limit."""
    wobble = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0, 1.008, 0.992, 1.0, 1.0]
    made = compare(_measurement([2.0] * 10), _measurement([2.0 * factor * each for each in wobble]))
    assert made.found == found and made.ratio.value == pytest.approx(factor, rel=0.01)
    assert made.guard(0.05) == guard


def test_a_throttled_device_decides_nothing():
    """However clear the ratio is, a guard is inconclusive when the device was held back, and says by what."""
    telemetry = {"before": {"throttled": {"x": 1.0}}, "after": {"throttled": {"x": 3.0}}}
    made = compare(_measurement([1.0] * 8), _measurement([2.0] * 8, telemetry))
    assert made.guard(0.05) == Guard.INCONCLUSIVE
    assert made.after.inconclusive() == ("throttled 2 times while it was measured (x)",)


def test_a_noisy_measurement_is_inconclusive():
    """When the interval of the median reaches too far, the figure says that it decides nothing."""
    assert _measurement([1.0, 1.01, 0.99, 1.0, 1.0]).inconclusive() == ()
    (reason,) = _measurement([1.0, 1.6, 0.7, 1.3, 0.8]).inconclusive()
    assert "too noisy" in reason
    (reason,) = Measurement((Process((1.0,) * 5, 1, 1),), 1, "litert", "2").inconclusive()
    assert "too few" in reason


@given(st.lists(st.floats(-10, 10), min_size=7, max_size=12))
def test_the_location_is_the_median_of_all_means_of_two(values):
    """The estimate is that of Hodges and Lehmann, within its interval, and moves with the values."""
    middle, low, high = location(values)
    means = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)]
    assert middle == pytest.approx(float(np.median(means))) and low <= middle <= high
    moved = location([value + 3 for value in values])
    assert moved == pytest.approx((middle + 3, low + 3, high + 3))


@pytest.mark.parametrize("count", [7, 10, 20])
def test_the_interval_covers_as_often_as_it_says(count):
    """Of 2,000 draws from a distribution with heavy tails, the interval holds its middle as often as its level."""
    draws = np.random.default_rng(0).standard_t(2, (2000, count))
    held = sum(low <= 0 <= high for _, low, high in (location(draw.tolist()) for draw in draws))
    assert held / 2000 > LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / 2000)


def test_pairs_that_are_too_few_are_refused(artifacts):
    """Fewer pairs than can be certain of anything are an error that says how many it takes."""
    with pytest.raises(ValueError, match="at least 7. Got: 3 and 3"):
        compare(_measurement([1.0] * 3), _measurement([1.0] * 3))
    path = artifacts["tflite", "float32"]
    with pytest.raises(InputError, match="at least 7 pairs of processes.*Got: 3"):
        edgewright.compare(path, path, pairs=3)


def _run_cli(*arguments):
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_measure_tells_and_gates(artifacts):
    """A file without data is fed random inputs, which is told; the exit code follows the limit."""
    done = _run_cli(
        "measure", artifacts["tflite", "int8"], "--processes", 2, "--json", "--quiet", "--runtime", "litert"
    )
    document = json.loads(done.stdout)
    (row,) = document["result"]["rows"]
    assert row["inputs"] == "16 random inputs, seed 0" and row["latency_ms"]["how"] == "measured here"
    assert row["load_cold_ms"] > 0 and row["measurement"]["processes"][0]["samples_ms"]
    for limit, decided, verdict in ((1e-9, 1, "not met"), (1e4, 0, "met")):
        asked = "measure", artifacts["tflite", "int8"], "--runtime", "litert", "--quiet", "--max-latency-ms", limit
        told = _run_cli(*asked)
        noisy = "inconclusive: " in told.stdout  # a busy machine's figures decide nothing
        assert told.exit_code == (5 if noisy else decided) and "p50" in told.stdout
        assert f"at most {limit:g} ms: {'not certain' if noisy else verdict}\n" in told.stdout


@pytest.mark.parametrize(
    ("median_ms", "limit", "code"),
    [
        ([2.0] * 5, 1.9, 1),
        ([2.0] * 5, 2.1, 0),
        ([1.9, 2.0, 2.0, 2.0, 2.1], 2.0, 5),
        ([1.0, 3.0, 0.7, 2.0, 9.0], 20.0, 5),
        (None, 20.0, 1),
    ],
)
def test_a_limit_gates_by_the_interval(median_ms, limit, code):
    """Above the limit is 1, within it 0; an interval on both sides of it, or noise however low, is 5."""
    measured = _measurement(median_ms) if median_ms else None
    row = Row(Subject(Path("a.tflite"), Path("a.tflite"), "litert", {}, "none"), "", measured)
    assert Measurements((row,), limit).exit_code == code and Measurements((row, row), limit).exit_code == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runtime", "litertt"), "Did you mean 'litert'"),
        (("--runtime", "openvino"), "a runtime here that takes tflite"),
        (("--cores", "one"), "cores such as 0,2-3. Got: 'one'"),
        (("--cores", "3-0"), "cores such as 0,2-3. Got: '3-0'"),
        (("--cores", "4096"), "expected cores that this machine lets it use (0"),
        (("--provider", "cuda"), "does not heed --provider"),
        (("--precision", "f33"), "f32, f16 or bf16. Got: 'f33'"),
        (("--threads", "0"), "at least one thread"),
        (("--data", "nowhere.npz"), "nowhere.npz"),
        (("--max-latency-ms", "nan"), "a positive number that is finite for max_latency_ms. Got: nan"),
        (("--max-latency-ms", "inf"), "Got: inf"),
        (("--max-latency-ms", "0"), "Got: 0"),
        (("--max-latency-ms", "-1"), "Got: -1"),
    ],
)
def test_measure_says_what_is_wrong(arguments, message, artifacts):
    """What cannot be measured is exit code 2 with what was expected."""
    done = _run_cli("measure", artifacts["tflite", "float32"], "--quiet", *arguments)
    assert done.exit_code == 2 and message in done.output


def test_what_the_machine_lacks_is_exit_code_3(artifacts):
    """An execution provider or a unit that is not here ends with 3, and with 2 where no machine has it."""
    asked = [("onnx", "--provider", "cuda", 3), ("onnx", "--provider", "cudda", 2)]
    for format, option, value, code in [*asked, ("openvino", "--unit", "NPU", 3), ("openvino", "--unit", "XPU", 2)]:
        done = _run_cli("measure", artifacts[format, "float32"], option, value, "--json", "--quiet")
        document = json.loads(done.stdout)
        assert done.exit_code == code == document["exit_code"]
        assert value in document["result"]["rows"][0]["reason"].replace("CUDAExecutionProvider", "cuda")
    path = artifacts["onnx", "float32"]
    done = _run_cli("measure", path, "--provider", "cuda", "--max-latency-ms", 1, "--quiet")
    assert done.exit_code == 3 and "at most 1 ms: not measured" in done.stdout
    with pytest.raises(InputError, match=r"cores that this machine lets it use .*got 4096"):
        edgewright.compare(path, path, settings=Settings(cores=(4096,)))


@pytest.mark.parametrize(
    ("errors", "code"),
    [((GateFailed,), 1), ((MissingRequirement, GateFailed), 3), ((GateFailed, MissingRequirement, InputError), 2)],
)
def test_usage_comes_before_what_is_lacking_before_what_failed(errors, code):
    """Of several artifacts that did not run, the exit code is that of the error to be mended first."""
    subject = Subject(Path("a.tflite"), Path("a.tflite"), "litert", {}, "none")
    rows = (Row(subject, "no", None, error=error) for error in errors)
    assert Measurements((*rows, Row(subject, "", _measurement([2.0] * 5)))).exit_code == code


def test_compare_finds_what_is_slower(artifacts, inputs, tmp_path):
    """Of two programs of which one waits longer, the ratio is found, and the guard's exit code follows."""
    programs = []
    for name, wait in (("a", 0.002), ("b", 0.006)):
        (tmp_path / name).mkdir()
        programs.append(_hosted(artifacts, tmp_path / name, f"        time.sleep({wait})\n" + HONEST))
    rounds = list(measure_in_turn([Measured(each, "litert", inputs) for each in programs], processes=7, timing=QUICK))
    made = compare(*(run.measurement for run in rounds[-1]))
    assert made.found == "slower" and made.ratio.value > 1.5 and made.guard(0.05) == Guard.FAIL


def test_compare_as_a_command(artifacts):
    """Float against int8 in one runtime is told with its interval, and a limit far off is met."""
    files = artifacts["tflite", "float32"], artifacts["tflite", "int8"]
    done = _run_cli("compare", *files, "--pairs", 7, "--runtime", "litert", "--max-regression", "900%", "--quiet")
    assert done.exit_code == 0, done.output
    assert "times as long as the first" in done.stdout and "at most 900 % slower: pass" in done.stdout
    for wrong in ("lots", "nan", "inf", "-5%"):
        done = _run_cli("compare", *files, "--max-regression", wrong, "--quiet")
        assert done.exit_code == 2 and "such as 5% or 0.05" in done.output
    with pytest.raises(InputError, match="zero or a positive number that is finite for max_regression. Got: nan"):
        edgewright.compare(*files, max_regression=math.nan)
