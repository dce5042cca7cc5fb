"""Latency predicted by what a file's operations do: the counting, the fit, and the prediction."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flatbuffers import flexbuffers
from typer.testing import CliRunner

from edgewright import devices, predict
from edgewright.cli import app
from edgewright.devices import speeds_of
from edgewright.devices._expected import thread_factors
from edgewright.devices._fitting import NOISE, fit, prior
from edgewright.export import Graph, read_graph
from edgewright.export._graph import Node, Value
from edgewright.export._precision import precision_of
from edgewright.export._work import COUNTS, MULTIPLYING, kind_of, total, work_of

from ._detectors import detector

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
        path.write_bytes(detector(boxes=50, classes=3, options=options))
        (work,) = work_of(read_graph(path))
        assert work.counts["sorting"] == 50 * 3 + 4.5 * detections * 50
        assert not work.counts.get("functions")
        (ours,) = predict(path, "raspberry-pi-4b")
        assert any("TFLite_Detection_PostProcess" in each.name and each.latency_ms > 0 for each in ours.operations)
        # With options that cannot be read nobody knows how many boxes are compared: there is no interval.
        assert (ours.latency_ms.low is None) == (options == b"broken")


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
    assert kind_of(node, [_value("w", kernel, True)], [_value("y", (1, 4, 4, 8))]) == counted


@pytest.mark.parametrize(
    ("kind", "kernel", "written", "counted"),
    [
        ("FULLY_CONNECTED", (8, 16), (1, 8), "matrix"),
        ("FULLY_CONNECTED", (8, 16), (1, 20, 8), "pointwise"),
        ("FULLY_CONNECTED", (8, 16), (20, 8), "pointwise"),
        ("BATCH_MATMUL", None, (1, 4, 20, 8), "pointwise"),
        ("BATCH_MATMUL", None, (20, 1, 8), "matrix"),
        ("Gemm", (16, 8), (3, 8), "matrix"),
        ("MatMul", (16, 8), (1, 20, 8), "pointwise"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", (8, 16), (1, 20, 8), "matrix"),
    ],
)
def test_a_product_over_rows_is_counted_as_a_convolution_by_one_pixel(kind, kernel, written, counted):
    """Several rows by one matrix are computed by the kernels of a convolution by one pixel, a single row is not."""
    node = _node(kind, (0, 1), (2,), 100)
    stored = [] if kernel is None else [_value("w", kernel, True)]
    assert kind_of(node, stored, [_value("y", written)]) == counted


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
    """Four threads take between a quarter and all of what one takes, no less of main memory, and more to be woken."""
    for precision in ("float32", "int8"):
        two, four = (dict(zip(COUNTS, thread_factors(precision, n, 1), strict=True)) for n in (2, 4))
        assert 1 / 4 < four["pointwise"] < two["pointwise"] < 1
        assert {four[name] for name in ("streamed", "weights")} == {1.0}
        assert 1 < two["launches"] < four["launches"] and 1 < two["inferences"] < four["inferences"]


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
