"""Latency predicted by what a file's operations do: the counting, the fit, the prediction and its calibration."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from typer.testing import CliRunner

from edgewright import calibrate, devices, predict
from edgewright.cli import app
from edgewright.devices import speeds_of
from edgewright.devices._expected import thread_factors
from edgewright.devices._fitting import NOISE, fit, prior
from edgewright.errors import InputError
from edgewright.export import Graph, read_graph
from edgewright.export._graph import Node, Value
from edgewright.export._precision import precision_of
from edgewright.export._work import COUNTS, DETECTIONS, MULTIPLYING, kind_of, total, work_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
_SIZES = np.array([1e6, 1e6, 1e6, 1e5, 1e5, 1e5, 1e5, 1e4, 1e5, 1e5, 1e5, 1e2, 1e3, 50, 1])


def models(count, seed=0):
    """Return the work of made-up models, [count, len(COUNTS)]."""
    return np.random.default_rng(seed).uniform(0.1, 10, (count, len(COUNTS))) * _SIZES


def _value(name, shape, constant=False, dtype="float32"):
    return Value(name, shape, dtype, 4 * math.prod(shape), constant)


def _node(kind, inputs, outputs, macs=0, **more):
    return Node(kind, 1, "", inputs, outputs, macs, **more)


def _activated(kernel, macs, outputs):
    """Return the graph of a convolution and a Relu."""
    values = (
        _value("x", (1, 3, 8, 8)),
        _value("w", kernel, True),
        _value("y", (1, 4, 8, 8)),
        _value("z", (1, 4, 8, 8)),
    )
    return Graph("onnx", (0,), outputs, values, (_node("Conv", (0, 1), (2,), macs), _node("Relu", (2,), (3,))))


def test_an_activation_after_a_convolution_counts_as_part_of_it():
    """Conv and Relu are one operation, and what both compute is counted once."""
    works = work_of(_activated((4, 3, 3, 3), 6912, outputs=(3,)))
    assert [work.kind for work in works] == ["shallow"]
    assert total(works)["shallow"] == 6912
    assert total(works)["patches"] == 4 * 27 * 64


def test_what_no_cache_holds_of_a_tensor_is_counted_apart():
    """Bytes beyond a tensor's first MiB are streamed, of what multiplies and of what moves, and none is lost."""
    mib = 2**20
    small, large = (1, 1, 2**7, 2**10), (1, 4, 2**10, 2**10)
    values = (_value("x", small), _value("w", (4, 1, 1, 1), True), _value("y", large), _value("z", large))
    nodes = (_node("Conv", (0, 1), (2,), 1), _node("Resize", (2,), (3,)))
    convolution, moving = work_of(Graph("onnx", (0,), (2, 3), values, nodes))
    assert convolution.counts["inputs"] == mib / 2 and convolution.counts["outputs"] == mib
    assert convolution.counts["streamed"] == 15 * mib
    assert moving.counts == {"launches": 1, "moved": 2 * mib, "streamed": 30 * mib}
    joined = replace(values[3], dtype="int8", bytes=4 * mib)
    fused = Graph("onnx", (0,), (3,), (*values[:3], joined), (nodes[0], _node("Clip", (2,), (3,))))
    (both,) = work_of(fused)
    assert both.counts["outputs"] == mib and both.counts["streamed"] == 3 * mib


def test_the_sorting_of_a_detectors_boxes_is_read_and_counted(tmp_path):
    """TFLite's own operation for it counts scores and, for each detection that its options keep, boxes that overlap."""
    path = tmp_path / "detector.tflite"
    told = ((flexbuffers.Dumps({"max_detections": count, "y_scale": 10.0}), max(0, count)) for count in (7, -7))
    for options, detections in (*told, (b"broken", 0)):
        path.write_bytes(_detector(boxes=50, classes=3, options=options))
        (work,) = work_of(read_graph(path))
        assert work.counts["sorting"] == 50 * 3 + 4.5 * detections * 50
        assert not work.counts.get("functions")
        (ours,) = predict(path, "raspberry-pi-4b")
        assert any("TFLite_Detection_PostProcess" in each.name and each.latency_ms > 0 for each in ours.operations)
        # With options that cannot be read nobody knows how many boxes are compared: there is no interval.
        assert (ours.latency_ms.low is None) == (options == b"broken")


def _detector(boxes, classes, options, kind=DETECTIONS):
    """Return a TFLite file of the operation that sorts boxes, or of another of one's own, alone; of none for None."""
    shapes = (("boxes", (1, boxes, 4)), ("scores", (1, boxes, classes)), ("sorted", (1, 7, 4)))
    tensors = []
    for name, shape in shapes:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensors.append(tensor)
    operator, code, subgraph, model = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    operator.inputs, operator.outputs, operator.customOptions = [0, 1], [2], list(options)
    code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode, code.customCode = schema.BuiltinOperator.CUSTOM, kind
    subgraph.tensors, subgraph.inputs, subgraph.outputs = tensors, [0, 1], [2]
    subgraph.operators = [operator] if kind else []
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [subgraph], [code], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_an_activation_that_something_else_needs_the_input_of_is_an_operation():
    """A Relu whose input is a second output runs as an operation of its own."""
    works = work_of(_activated((4, 3, 1, 1), 768, outputs=(2, 3)))
    assert [work.kind for work in works] == ["pointwise", "moved"]


@pytest.mark.parametrize(
    ("kind", "kernel", "settings", "counted"),
    [
        ("CONV_2D", (8, 3, 3, 3), {}, "shallow"),
        ("CONV_2D", (8, 3, 3, 16), {}, "convolution"),
        ("CONV_2D", (8, 1, 1, 16), {}, "pointwise"),
        ("CONV_2D", (8, 1, 1, 3), {}, "pointwise"),
        ("TRANSPOSE_CONV", (3, 3, 3, 16), {}, "convolution"),
        ("CONV_3D", (3, 3, 3, 16, 1), {}, "convolution"),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 16), {}, "depthwise"),
        ("Conv", (8, 3, 3, 3), {}, "shallow"),
        ("Conv", (8, 16, 3, 3), {}, "convolution"),
        ("Conv", (16, 1, 3, 3), {"group": 16}, "depthwise"),
        ("ConvTranspose", (16, 3, 3, 3), {}, "convolution"),
        ("ConvTranspose", (16, 1, 3, 3), {"group": 16}, "depthwise"),
        ("Convolution", (8, 16, 3, 3), {}, "convolution"),
        ("ConvolutionBackpropData", (16, 3, 3, 3), {}, "convolution"),
        ("GroupConvolution", (16, 1, 1, 3, 3), {}, "depthwise"),
        ("GroupConvolution", (2, 8, 8, 3, 3), {}, "convolution"),
    ],
)
def test_a_convolution_is_counted_by_how_many_channels_it_reads(kind, kernel, settings, counted):
    """In each format's layout of kernels, few channels, many, and one of its own are told apart."""
    node = _node(kind, (0, 1), (2,), 100, settings=settings)
    assert kind_of(node, [_value("w", kernel, True)]) == counted


def test_a_loop_counts_as_often_as_it_turns():
    """What stands in a loop's body counts once a turn; a loop of unknown length as often as is assumed."""
    values = (_value("x", (1, 8)), _value("w", (8, 8), True), _value("y", (1, 8)))
    once = Graph("onnx", (0,), (2,), values, (_node("MatMul", (0, 1), (2,), 64, times=5),))
    unknown = Graph("onnx", (0,), (2,), values, (_node("MatMul", (0, 1), (2,), 64, times=None),))
    assert total(work_of(once))["matrix"] == 320
    assert total(work_of(unknown, assumed_turns=7))["matrix"] == 448


def test_all_multiply_accumulates_of_real_files_are_counted(artifacts):
    """In each format the work's multiply-accumulates are the file's, under one kind or another."""
    for path in artifacts.values():
        graph = read_graph(path)
        counts = total(work_of(graph))
        assert sum(counts[name] for name in MULTIPLYING) == graph.macs > 0


def test_the_precision_of_real_files_is_read_from_what_they_multiply(artifacts):
    """A file's precision is told without its bundle."""
    for (_, precision), path in artifacts.items():
        assert precision_of(read_graph(path)) == precision


def test_many_rows_find_the_speeds_that_made_them():
    """Latencies made of known speeds give predictions of unseen models within the noise."""
    true = np.exp(np.random.default_rng(1).normal(size=len(COUNTS))) / _SIZES
    rows, unseen = models(60), models(20, seed=2)
    noise = np.exp(np.random.default_rng(3).normal(0, NOISE, len(rows)))
    speeds = fit(prior(1 / _SIZES), rows, rows @ true * noise)
    assert all(abs(speeds.latency(each)[0] / (each @ true) - 1) < 0.1 for each in unseen)


def test_one_row_sets_the_level_of_all_kinds():
    """After one measurement of a device three times slower, everything is predicted slower."""
    expected = prior(1 / _SIZES)
    row = models(1)
    speeds = fit(expected, row, 3 * row @ expected.ms)
    assert np.all(speeds.ms > 1.2 * expected.ms)
    assert speeds.latency(row[0])[0] == pytest.approx(3 * row[0] @ expected.ms, rel=0.05)


def test_what_no_row_has_shown_stays_uncertain():
    """A model of a kind of work that no measurement had keeps a wide interval."""
    rows = models(40)
    rows[:, COUNTS.index("functions")] = 0
    speeds = fit(prior(1 / _SIZES), rows, rows @ (2 / _SIZES))
    plain, strange = models(1, seed=4)[0], np.zeros(len(COUNTS))
    plain[COUNTS.index("functions")] = 0
    strange[COUNTS.index("functions")] = 100
    assert speeds.latency(plain)[1] < 0.1 < 0.5 < speeds.latency(strange)[1]


def test_an_outlier_moves_the_fit_little():
    """One measurement that is ten times too slow leaves the others' predictions where they were."""
    rows = models(40)
    known = rows @ (1 / _SIZES)
    spoilt = known.copy()
    spoilt[7] *= 10
    speeds = fit(prior(1 / _SIZES), rows, spoilt)
    apart = [abs(speeds.latency(each)[0] / latency - 1) for each, latency in zip(rows, known, strict=True)]
    assert np.median(apart) < 0.05


def _width(speeds, row):
    return speeds.latency(row)[1]


def test_rows_that_contradict_each_other_widen_the_interval_however_few_they_are():
    """One model at 1 and at 100 ms leaves its prediction less sure than before; agreeing rows make it surer."""
    row = models(1)
    expected = prior(1 / _SIZES, shared=0.3, own=0.3)
    level = float((row @ expected.ms)[0])
    twice = np.repeat(row, 2, axis=0)
    apart = fit(expected, twice, np.array([level, 100 * level]))
    assert _width(apart, row[0]) > math.log(10) > _width(expected, row[0])
    agreeing = fit(expected, twice, np.array([2.0 * level, 2.02 * level]))
    assert agreeing.spread == 2 * NOISE and _width(agreeing, row[0]) < _width(expected, row[0])
    eight = np.repeat(models(4), 2, axis=0)
    noisy = fit(expected, eight, eight @ expected.ms * np.array([1, 1.5] * 4))
    assert 0.15 < noisy.spread < 0.5


def test_latencies_that_are_not_positive_are_refused():
    """Zero is no latency."""
    with pytest.raises(ValueError, match="positive"):
        fit(prior(1 / _SIZES), models(2), np.array([1.0, 0.0]))


def test_more_threads_are_faster_and_never_more_than_their_number():
    """Four threads take between a quarter and all of what one takes, and no less for what comes from main memory."""
    for precision in ("float32", "int8"):
        two, four = (dict(zip(COUNTS, thread_factors(precision, n, 1), strict=True)) for n in (2, 4))
        assert 1 / 4 < four["pointwise"] < two["pointwise"] < 1
        assert {four[name] for name in ("streamed", "weights", "launches")} == {1.0}


@pytest.mark.parametrize("name", devices.names())
def test_every_target_on_a_processor_predicts_with_an_interval(name):
    """Each processor's or GPU's target of each shipped profile gives a positive latency inside its interval."""
    profile = devices.get(name)
    for target in profile.targets:
        if target.unit != "edgetpu":
            latency, low, high = speeds_of(profile, target).latency(models(1)[0])
            assert 0 < low < latency < high < math.inf


_SMALL = models(1)[0] * 1e-2


def _changed(folder, *changes):
    """Return the Raspberry Pi 4's profile from a copy of its file with texts replaced, and its target for int8."""
    text = (Path(devices.__file__).parent / "profiles/raspberry-pi-4b.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "copy.toml").write_text(text)
    profile = devices.get(str(folder / "copy.toml"))
    return profile, profile.target("tflite", "int8")


_NAMED = ('"raspberry-pi-4b"', '"mine"')
_THIRD = ("clock_ghz = { value = 1.8", "clock_ghz = { value = 0.6")
_ONE_CORE = (("count = { value = 4", "count = { value = 1"), ("threads = 4", "threads = 1"))


def test_a_copy_of_a_shipped_profile_is_predicted_as_the_shipped_one(tmp_path):
    """What was fitted is used for a copy, with more memory or other sources too, which speed does not depend on."""
    shipped = devices.get("raspberry-pi-4b")
    expected = speeds_of(shipped, shipped.target("tflite", "int8"))
    more = ("size_bytes = { value = 4294967296", "size_bytes = { value = 8589934592")
    for changes in ((), (more,), (('source = "stream" }', 'source = "host" }'),)):
        found = speeds_of(*_changed(tmp_path, *changes))
        assert found.latency(_SMALL) == expected.latency(_SMALL) and found.basis == expected.basis


@pytest.mark.parametrize(
    ("changes", "least", "key"),
    [
        ((_THIRD,), 2.0, "cpu.clock_ghz"),
        (_ONE_CORE, 1.5, "cpu.count"),
        ((("value = 19.03", "value = 1.903"),), 4.0, "effective_gmacs_per_s"),
        ((("bandwidth_gbytes_per_s = { value = 5.56", "bandwidth_gbytes_per_s = { value = 0.1"),), 2.0, "bandwidth"),
    ],
)
def test_a_changed_copy_of_a_shipped_profile_is_predicted_by_what_it_says(changes, least, key, tmp_path):
    """A third of the clock, one core, a tenth of the rate or of the bandwidth: slower, and the basis names the key."""
    whole, changed = (speeds_of(*_changed(tmp_path, *each)) for each in ((), changes))
    assert changed.latency(_SMALL)[0] > least * whole.latency(_SMALL)[0]
    assert "not fitted as the shipped raspberry-pi-4b, which has another" in changed.basis and key in changed.basis


@pytest.mark.parametrize("changes", [(_THIRD,), _ONE_CORE, (("threads = 4", "threads = 2"),)])
def test_rates_that_were_copied_are_scaled_to_another_processor(changes, tmp_path):
    """Under a name of its own, a third of the clock, one core or two threads are slower by what datasheets tell."""
    whole, changed = (speeds_of(*_changed(tmp_path, _NAMED, *each)) for each in ((), changes))
    assert changed.latency(_SMALL)[0] > 1.3 * whole.latency(_SMALL)[0]
    assert "scaled from" in changed.basis and "scaled from" not in whole.basis


def test_rates_of_a_profiles_own_are_not_scaled(tmp_path):
    """Rates that no shipped profile states are those of the clock that the profile states."""
    own = ("value = 19.03", "value = 12.5")
    at_both = [speeds_of(*_changed(tmp_path, _NAMED, own, *each)) for each in ((), (_THIRD,))]
    assert at_both[0].latency(_SMALL)[0] == pytest.approx(at_both[1].latency(_SMALL)[0], rel=0.3)
    assert all("scaled from" not in each.basis for each in at_both)


def test_no_more_threads_than_cores_are_predicted_with():
    """Asked for eight threads, four cores are as fast as with four."""
    profile = devices.get("raspberry-pi-4b")
    for precision in ("float32", "float16"):
        target = profile.target("tflite", precision)
        assert speeds_of(profile, target, 8).latency(_SMALL) == speeds_of(profile, target, 4).latency(_SMALL)


def test_each_format_is_predicted_on_a_device(artifacts):
    """A prediction tells latency, memory, energy and the costliest operations, whose times add up."""
    for path in artifacts.values():
        (found,) = predict(path, "raspberry-pi-4b", costliest=1000)
        assert found.latency_ms.low < found.latency_ms.value < found.latency_ms.high
        assert found.memory_bytes.total_bytes.value > 0
        assert found.energy_mj.value > 0
        assert sum(each.share for each in found.operations) == pytest.approx(1)
        assert sum(each.latency_ms for each in found.operations) == pytest.approx(found.latency_ms.value)


def test_what_a_device_does_not_run_has_a_reason_instead(artifacts):
    """A float file on the Edge TPU's board in a format that it lacks is told, not guessed."""
    (found,) = predict(artifacts["openvino", "float32"], "coral-dev-board")
    assert found.latency_ms is None
    assert found.notes


def test_predict_prints_one_document(artifacts):
    """``--json`` gives the interval and how it was obtained."""
    path = artifacts["tflite", "int8"]
    done = CliRunner().invoke(app, ["predict", str(path), "--device", "raspberry-pi-4b", "--threads", "2", "--json"])
    assert done.exit_code == 0
    (found,) = json.loads(done.stdout)["result"]["predictions"]
    assert (found["precision"], found["threads"], found["latency_ms"]["how"]) == ("int8", 2, "predicted")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "raspberry-pi-4"], "raspberry-pi-4b"),
        (["--device", "raspberry-pi-4b", "--threads", "9"], "1 to 4 threads"),
        (["--device", "raspberry-pi-4b", "--runtime", "LiteRTT"], "LiteRT"),
        (["--device", "raspberry-pi-4b", "--operations", "-1"], "zero or more. Got: -1"),
    ],
)
def test_what_cannot_be_predicted_says_what_was_expected(artifacts, arguments, said):
    """A device, runtime, number of threads or of operations that cannot be ends with exit code 2."""
    done = CliRunner().invoke(app, ["predict", str(artifacts["tflite", "float32"]), *arguments])
    assert done.exit_code == 2
    assert said in done.output


def measurements(folder, artifacts, factor):
    """Write a table of made-up latencies: the prediction's, times ``factor``."""
    lines = ["file,latency_ms,threads,runtime"]
    for precision in ("float32", "int8"):
        path = artifacts["tflite", precision]
        (found,) = predict(path, "raspberry-pi-4b")
        lines.append(f"{path},{factor * found.latency_ms.value},4,LiteRT 2.3.0")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    return folder / "mine.csv"


def test_a_calibrated_profile_predicts_what_was_measured(artifacts, tmp_path):
    """A device that is half as fast as predicted is predicted so afterwards, in a narrower interval."""
    out = tmp_path / "my-pi.toml"
    calibrate("raspberry-pi-4b", [measurements(tmp_path, artifacts, 2)], out)
    for precision in ("float32", "int8"):
        path = artifacts["tflite", precision]
        (before,), (after,) = predict(path, "raspberry-pi-4b"), predict(path, str(out))
        assert after.latency_ms.value == pytest.approx(2 * before.latency_ms.value, rel=0.15)
        assert after.latency_ms.high / after.latency_ms.low < before.latency_ms.high / before.latency_ms.low
        assert "own measurements" in after.latency_ms.basis
    with pytest.raises(InputError, match="force"):
        calibrate("raspberry-pi-4b", [tmp_path / "mine.csv"], out)


def test_a_calibration_of_another_version_is_refused_with_what_makes_a_new_one(artifacts, tmp_path):
    """A profile whose speeds lack a kind of work names its key and the command, in a few lines."""
    (tmp_path / "mine.csv").write_text(f"file,latency_ms\n{artifacts['tflite', 'float32']},0.5\n")
    calibrate("raspberry-pi-4b", [tmp_path / "mine.csv"], tmp_path / "mine.toml")
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "mine.toml").write_text("\n".join(line for line in text.split("\n") if "streamed" not in line))
    with pytest.raises(InputError, match="calibrations.*edgewright devices calibrate") as caught:
        predict(artifacts["tflite", "float32"], str(tmp_path / "mine.toml"))
    assert "mine.toml" in str(caught.value) and len(str(caught.value)) < 600


def test_calibration_reads_what_measure_prints(artifacts, tmp_path):
    """The JSON of ``edgewright measure`` on the device is a table of measurements."""
    path = artifacts["tflite", "float32"]
    row = {
        "name": "float32.tflite in litert", "file": str(path), "latency_ms": {"value": 0.5},
        "measurement": {"threads": 1, "runtime": "LiteRT", "runtime_version": "2.3.0"},
    }  # fmt: skip
    (tmp_path / "measured.json").write_text(json.dumps({"rows": [row, {**row, "measurement": None}]}))
    made = calibrate("raspberry-pi-4b", [tmp_path / "measured.json"])
    (calibration,) = made.profile.calibrations
    assert (calibration.threads, calibration.measured_with, calibration.rows) == (1, "LiteRT 2.3.0", 1)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,latency_ms\nnone.tflite,-3\n", "line 2"),
        ("file,latency\nnone.tflite,3\n", "latency_ms"),
        ("file,latency_ms\nnone.tflite,3\n", "none.tflite"),
        ("file,latency_ms\n", "latency_ms|at least one"),
    ],
)
def test_a_bad_table_of_measurements_says_where(tmp_path, table, said):
    """A latency below zero, a column or file that is missing: the error names it, and nothing is written."""
    (tmp_path / "bad.csv").write_text(table)
    with pytest.raises(InputError, match=said):
        calibrate("raspberry-pi-4b", [tmp_path / "bad.csv"], tmp_path / "out.toml")
    assert not (tmp_path / "out.toml").exists()


def _of_custom(folder, name, kind):
    """Write a TFLite file of one operation of the user's own, which nobody can count unless it sorts boxes."""
    path = folder / name
    path.write_bytes(_detector(boxes=50, classes=3, options=flexbuffers.Dumps({"max_detections": 7}), kind=kind))
    return path


def _table(folder, *lines):
    path = folder / "mine.csv"
    path.write_text("\n".join(["file,latency_ms,threads,runtime", *lines]) + "\n")
    return path


def _calibrating(*arguments):
    return CliRunner().invoke(app, ["devices", "calibrate", "raspberry-pi-4b", *map(str, arguments)])


def test_contradicting_measurements_are_told_and_make_the_prediction_less_sure(artifacts, tmp_path):
    """1 and 100 ms of one file: a wider interval than before, and each row that the other does not predict is named."""
    file, out = artifacts["tflite", "float32"], tmp_path / "mine.toml"
    done = _calibrating(_table(tmp_path, f"{file},0.01,4,LiteRT", f"{file},1,4,LiteRT"), "--out", out)
    assert done.exit_code == 0
    assert "line 2: 0.01 ms is outside" in done.output and "line 3: 1 ms is outside" in done.output
    (before,), (after,) = predict(file, "raspberry-pi-4b"), predict(file, str(out))
    assert after.latency_ms.high / after.latency_ms.low > before.latency_ms.high / before.latency_ms.low
    agreeing = _calibrating(_table(tmp_path, f"{file},0.02,4,LiteRT", f"{file},0.0201,4,LiteRT"))
    assert agreeing.exit_code == 0 and "Warning" not in agreeing.output


def test_a_measurement_far_from_what_was_predicted_is_told(artifacts, tmp_path):
    """A latency in another unit is a thousand times off: the output says so."""
    file = artifacts["tflite", "float32"]
    (before,) = predict(file, "raspberry-pi-4b")
    done = _calibrating(_table(tmp_path, f"{file},{35000 * before.latency_ms.value},4,LiteRT"))
    assert done.exit_code == 0
    assert "35,000 times apart: look whether it is in ms" in done.output


def test_a_file_that_does_no_work_is_refused_by_its_row(tmp_path):
    """A latency of a file without a counted operation tells nothing, which is said with exit code 2."""
    (tmp_path / "view.tflite").write_bytes(_detector(boxes=1, classes=1, options=b"", kind=None))
    done = _calibrating(_table(tmp_path, "view.tflite,3,4,LiteRT"))
    assert done.exit_code == 2
    assert "mine.csv, line 2: expected a file that does some work" in done.output and "view.tflite" in done.output


def test_a_file_that_is_not_counted_in_full_is_left_out_of_a_calibration(artifacts, tmp_path):
    """An operation that nobody can count moves no prediction: its row is named, and alone it is an error."""
    path, file = _of_custom(tmp_path, "custom.tflite", "Mine"), artifacts["tflite", "float32"]
    alone = _calibrating(_table(tmp_path, f"{path},3,4,LiteRT"))
    assert alone.exit_code == 2 and "that are not counted: Mine (no formula" in alone.output
    made = calibrate("raspberry-pi-4b", [_table(tmp_path, f"{path},3,4,LiteRT", f"{file},0.02,4,LiteRT")])
    assert [each.rows for each in made.refitted] == [1]
    assert "line 2" in made.left_out[0] and "custom.tflite" in made.left_out[0]
    detector = _of_custom(tmp_path, "detector.tflite", DETECTIONS)
    assert not calibrate("raspberry-pi-4b", [_table(tmp_path, f"{detector},0.02,4,LiteRT")]).left_out


def test_the_profiles_runtime_goes_before_another_of_the_same_table(artifacts, tmp_path):
    """Of rows in TFLite and in LiteRT, in either order, those in LiteRT are predicted by, and the others are named."""
    file = artifacts["tflite", "float32"]
    for lines in ((f"{file},1,4,TFLite", f"{file},0.02,4,litert 2.2"), (f"{file},0.02,4,LiteRT", f"{file},1,4,TFLite")):
        made = calibrate("raspberry-pi-4b", [_table(tmp_path, *lines)], tmp_path / "mine.toml", force=True)
        (found,) = predict(file, str(tmp_path / "mine.toml"))
        assert found.latency_ms.value == pytest.approx(0.02, rel=0.1)
        assert len(made.left_out) == 1 and "it was run in TFLite" in made.left_out[0]
    made = calibrate("raspberry-pi-4b", [_table(tmp_path, f"{file},0.02,4,tflite-runtime 2.14")])
    assert made.refitted[0].name.endswith("TFLite 2.14") and "Measured in TFLite" in made.refitted[0].warnings[0]


def test_versions_of_one_runtime_are_fitted_together(artifacts, tmp_path):
    """Rows of two versions make one calibration that names both."""
    file = artifacts["tflite", "float32"]
    table = _table(tmp_path, f"{file},0.02,4,LiteRT 2.3", f"{file},0.021,4,LiteRT 2.2", f"{file},0.02,,")
    (calibration,) = [
        each for each in calibrate("raspberry-pi-4b", [table]).profile.calibrations if each.whose == "own"
    ]
    assert (calibration.measured_with, calibration.rows) == ("LiteRT 2.2 and 2.3", 3)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("4,Banana", ("LiteRT, TFLite", "Banana")),
        ("4,OpenVINO", ("LiteRT, TFLite", "OpenVINO")),
        ("4,LiteRTT", ("Did you mean 'LiteRT'",)),
        ("8,LiteRT", ("1 to 4 threads on Raspberry Pi 4 Model B", "8")),
    ],
)
def test_a_row_of_what_the_device_cannot_be_is_refused(artifacts, tmp_path, end, said):
    """A runtime that does not run the file, and more threads than cores, are named with what was expected."""
    done = _calibrating(_table(tmp_path, f"{artifacts['tflite', 'float32']},3,{end}"))
    assert done.exit_code == 2
    for part in ("mine.csv, line 2", *said):
        assert part in done.output


def _holds(script):
    """Run lines beside the benchmarks, whose modules are imported by their own names; they end in what has to hold."""
    script = f"import sys; sys.path.insert(0, sys.argv[1]); {script}"
    done = subprocess.run([sys.executable, "-c", script, BENCHMARKS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_shipped_speeds_are_those_that_the_script_fits():
    """speeds.json holds what benchmarks/fit_speeds.py finds in the rows that are kept beside it."""
    script = (
        "import fit_speeds as f;"
        "from edgewright.devices._fitted import document;"
        "s = [e for e in f.all_series() if f.on_processor(e)]; factors = f.pooled(f.general(s));"
        "pairs = list(zip(f.WANTED, document()['speeds'], strict=True));"
        "made = [(f._named(f.speeds_for(w, s, factors)[1].ms), e['calibration']['ms']) for w, e in pairs];"
        "assert all(abs(m[k] / e[k] - 1) < 0.01 for m, e in made for k in e), made"
    )
    _holds(script)


def test_what_is_expected_comes_of_the_same_kernels_where_two_cores_ran_them():
    """XNNPACK's rows stand for themselves once they are of two cores; before, other kernels' rows join them."""
    script = (
        "import _fitted as f; import fit_speeds as s;"
        "known = [e for e in s.general(f.all_series()) if e.kind == 'float32' and len(e.models) >= 6];"
        "own = f._of_kernels(known, 'xnnpack');"
        "assert {e.kernels for e in own} == {'xnnpack'} and len({f._core(e) for e in own}) >= 2;"
        "one = [e for e in known if e.kernels != 'xnnpack' or e.device == 'Raspberry Pi 5'];"
        "joined = f._of_kernels(one, 'xnnpack');"
        "assert {e.kernels for e in joined} == {'xnnpack', 'others'};"
        "assert all(e.kernels == 'xnnpack' for e in joined if e.device == 'Raspberry Pi 5')"
    )
    _holds(script)


def test_no_row_does_more_than_its_threads_can():
    """Products that no kernel saves take a row at least what the vector units of its cores take for them."""
    script = (
        "import numpy as np; import _fitted as f;"
        "from edgewright.devices._speeds import _IRREDUCIBLE as kinds;"
        "at = [f.COUNTS.index(kind) for kind in kinds];"
        "series = [e for e in f.all_series() if f.on_processor(e)];"
        "least = [np.max(e.counts[:, at] @ f.datasheet(e)[at] / e.latency_ms) for e in series];"
        "assert 0.5 < max(least) < 1, series[int(np.argmax(least))].title"
    )
    _holds(script)


def test_what_a_model_does_on_narrower_numbers_streams_less():
    """A network's bytes at int8 are a quarter, and of a tensor of four MiB at float32 nothing is streamed any more."""
    script = (
        "import numpy as np; import _fitted as f; at = f.COUNTS.index;"
        "moving = [at(name) for name in ('inputs', 'outputs', 'moved', 'streamed')];"
        "wide, half, narrow = (f.counts_of('mobilenet-v1-1.0-224', kind) for kind in ('fp32', 'fp16', 'int8'));"
        "total = wide[moving].sum();"
        "np.testing.assert_allclose([half[moving].sum(), narrow[moving].sum()], [total / 2, total / 4]);"
        "assert wide[at('streamed')] > 4 * half[at('streamed')] > narrow[at('streamed')] == 0;"
        "assert wide[at('pointwise')] == narrow[at('pointwise')]"
    )
    _holds(script)


def test_no_row_of_a_model_that_is_left_out_is_fitted():
    """Leaving a family out takes every row of it, in every series, its duplicates in other sources included."""
    script = (
        "import prediction as p;"
        "out = p._is_of('mobilenet-v2'); series = p.general(p.all_series());"
        "left = p._without(series, out);"
        "had = [m for e in series for m in e.models]; has = [m for e in left for m in e.models];"
        "assert any(map(out, had)) and not any(map(out, has));"
        "assert all(len(e.models) == len(e.counts) == len(e.latency_ms) for e in left)"
    )
    _holds(script)
