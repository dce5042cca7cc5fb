"""Power modes: what a profile says of them, a profile in another one, and devices named with @ and a mode."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgewright
from edgewright import devices
from edgewright.cli import app
from edgewright.devices import speeds_of
from edgewright.devices._power_modes import find_mode
from edgewright.devices._toml import profile_toml
from edgewright.errors import InputError
from edgewright.export._work import COUNTS
from edgewright.registering import add, registered

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from _measured_modes import in_modes

JETSONS = tuple(name for name in devices.names() if name.startswith("jetson-"))
_WORK = json.loads((Path(__file__).parents[1] / "benchmarks" / "measured" / "work.json").read_text("utf-8"))
# A network of many small operations, one of few large ones, one whose time is its weights', and detectors.
NETWORKS = ("mobilenet-v2-1.0-224", "resnet50-v1.5", "vgg16", "yolo11n", "yolo11x")


def _counts(network):
    return np.array([_WORK[network].get(name, 0.0) for name in COUNTS])


def _pairs():
    """Yield a device and two of its modes, of which the first caps nothing below the second's caps."""
    for name in JETSONS:
        profile = devices.get(name)
        for high, low in itertools.permutations(profile.power_modes, 2):
            if all(a >= b for a, b in zip(_caps(high), _caps(low), strict=True)):
                yield pytest.param(profile, high.name, low.name, id=f"{name}, {low.name} under {high.name}")


def _caps(mode):
    sourced = (mode.cpu_count, mode.cpu_clock_ghz, mode.gpu_clock_ghz, mode.gpu_tpcs, mode.bandwidth_gbytes_per_s)
    return [each.value for each in sourced]


@pytest.mark.parametrize("name", JETSONS)
def test_every_mode_of_a_jetson_is_told_with_its_sources(name):
    """Each mode that a Jetson has stands with cores, clocks and bandwidth, each from a source, and its own as it is."""
    profile = devices.get(name)
    assert tuple(mode.name for mode in profile.power_modes) == profile.power.modes.value
    for mode in profile.power_modes:
        for each in (mode.cpu_count, mode.cpu_clock_ghz, mode.gpu_clock_ghz, mode.gpu_tpcs):
            assert each.how in ("read", "derived") and len(each.source) > 20
    own = find_mode(profile.power_modes, profile.power.mode.value)
    gpu = profile.accelerator("gpu")
    shown = (profile.cpu.count, profile.cpu.clock_ghz, gpu.clock_ghz, profile.memory.bandwidth_gbytes_per_s)
    stated = (own.cpu_count, own.cpu_clock_ghz, own.gpu_clock_ghz, own.bandwidth_gbytes_per_s)
    assert [each.value for each in shown] == [each.value for each in stated]


@pytest.mark.parametrize("name", JETSONS)
def test_a_profile_in_its_own_mode_is_that_profile(name):
    """Asking for the mode that the rates are of changes nothing."""
    profile = devices.get(name)
    assert profile.in_mode(profile.power.mode.value) is profile


@pytest.mark.parametrize(("profile", "high", "low"), _pairs())
def test_a_lower_mode_never_predicts_a_shorter_latency(profile, high, low):
    """Where a mode caps all that another does and no less, each network takes as long or longer on every target."""
    above, below = profile.in_mode(high), profile.in_mode(low)
    for target, slower in zip(above.targets, below.targets, strict=True):
        fast, slow = speeds_of(above, target), speeds_of(below, slower)
        for network in NETWORKS:
            counts = _counts(network)
            assert slow.latency(counts)[0] >= fast.latency(counts)[0] * (1 - 1e-3)


@pytest.mark.parametrize("name", JETSONS)
def test_no_runtime_has_more_threads_than_cores_are_on(name):
    """Threads, of rates and of what was fitted, are capped by the cores that a mode leaves on; intervals are wider."""
    profile = devices.get(name)
    for mode in profile.power_modes:
        there = profile.in_mode(mode.name)
        assert there.cpu.count.value == mode.cpu_count.value
        for target, own in zip(there.targets, profile.targets, strict=True):
            assert target.threads <= mode.cpu_count.value
            assert target.interval.value.low <= own.interval.value.low
            assert target.interval.value.high >= own.interval.value.high
        assert all(each.threads <= mode.cpu_count.value for each in there.calibrations)


def test_a_gpu_is_as_much_slower_as_its_clock_and_its_processors():
    """On an Orin Nano 7 W halves the GPU's processors: rates fall by both, the start of an operation by the clock."""
    full, low = devices.get("jetson-orin-nano"), devices.get("jetson-orin-nano@7W")
    before, after = full.target("onnx", "float16"), low.target("onnx", "float16")
    rate = before.effective_gmacs_per_s.value * 0.408 / 0.625 * 2 / 4
    assert after.effective_gmacs_per_s.value == pytest.approx(rate, rel=1e-3)
    assert after.per_operation_ms.value == pytest.approx(before.per_operation_ms.value * 0.625 / 0.408, rel=1e-2)
    assert after.effective_gmacs_per_s.how == "derived" and "the mode 7 W" in after.effective_gmacs_per_s.source


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_one_module_in_one_mode_predicts_alike_by_both_its_profiles(precision):
    """The Orin Nano's own 15 W, whose launches follow the cores' clock, and the Super's 15 W are not far apart."""
    plain, super_ = devices.get("jetson-orin-nano"), devices.get("jetson-orin-nano-super@15W")
    both = [speeds_of(each, each.target("onnx", precision)).latency(_counts("yolo11n"))[0] for each in (plain, super_)]
    assert both[0] < both[1] < 1.5 * both[0]


@pytest.mark.parametrize("unit", ["gpu", "cpu"])
def test_measured_lower_modes_are_nearer_scaled_than_taken_as_they_are(unit):
    """Where networks were measured in two modes, scaling is off by less than half of what leaving it out is."""
    rows = [row for row in in_modes() if row.unit == unit]
    scaled, same = (np.mean(np.abs(each)) for each in zip(*((row.error, row.same_error) for row in rows), strict=True))
    assert len(rows) >= 8 and scaled < 0.5 * same
    assert np.mean([row.held for row in rows]) >= 0.9


def test_what_was_fitted_in_one_mode_is_scaled_and_says_so():
    """An AGX Orin's fitted speeds follow to another mode with a wider spread, and the basis names both modes."""
    full, low = devices.get("jetson-agx-orin"), devices.get("jetson-agx-orin@30W")
    for each in low.calibrations:
        assert "in the mode MAXN, scaled to 30 W" in each.measured_with
    before, after = (speeds_of(each, each.target("tflite", "float32")) for each in (full, low))
    assert "scaled to 30 W" in after.basis and "scaled" not in before.basis
    assert after.speeds.spread > before.speeds.spread


def test_what_the_board_draws_in_another_mode_is_not_known():
    """Watts are of one mode: a profile in another has none, and no energy."""
    full, low = devices.get("jetson-orin-nano"), devices.get("jetson-orin-nano@7w")
    assert full.power.load_w is not None and low.power.load_w is None and low.power.idle_w is None
    assert low.power.mode.value == "7 W" and low.name == "jetson-orin-nano@7W"


@pytest.mark.parametrize("written", ["MODE_30W", "30w", "30 W", "mode-30-w"])
def test_a_mode_is_told_by_its_letters_and_digits(written):
    """A mode may be written as the profile, the shell's quoting or nvpmodel.conf has it."""
    assert devices.get(f"jetson-agx-orin@{written}").name == "jetson-agx-orin@30W"


def test_an_unknown_mode_is_refused_with_the_nearest():
    """The modes that the device has are named, and the nearest of them."""
    with pytest.raises(InputError, match=r"7 W, 15 W, 25 W, MAXN_SUPER\. Got: 'maxn'\. Did you mean 'maxnsuper'\?"):
        devices.get("jetson-orin-nano-super@maxn")
    with pytest.raises(InputError, match=r"Got: ''\."):
        devices.get("jetson-agx-orin@")
    with pytest.raises(InputError, match="Did you mean 'jetson-nano'"):
        devices.get("jetson-nanno@5W")


def test_a_device_without_modes_refuses_one():
    """A board whose profile knows no modes takes no @."""
    with pytest.raises(InputError, match=r"raspberry-pi-5 without @.*Got: 'raspberry-pi-5@7W'"):
        devices.get("raspberry-pi-5@7W")


def test_a_profile_in_a_mode_is_written_and_read_again(tmp_path):
    """Its file loads as the same profile, and takes a mode too."""
    profile = devices.get("jetson-agx-orin@30W")
    file = tmp_path / "mine.toml"
    file.write_text(profile_toml(profile), encoding="utf-8")
    again = devices.get(str(file))
    assert again.model_copy(update={"sources": {}}) == profile.model_copy(update={"sources": {}})
    assert devices.get(f"{file}@15W").cpu.count.value == 4


def test_modes_that_power_does_not_list_are_refused():
    """A mode of a profile is one of power.modes, and stands once."""
    text = profile_toml(devices.get("jetson-nano"))
    for broken in (text.replace('name = "5 W"', 'name = "6 W"'), text.replace('name = "5 W"', 'name = "MAXN"')):
        with pytest.raises(InputError, match=r"each \[\[power_modes\]\] once, with a name of power.modes"):
            devices.parse_profile(broken)


@pytest.fixture
def onnx_file(tmp_path):
    """A dense network as .onnx."""
    from onnx import TensorProto, helper, save

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy")
    weights = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], np.ones(64 * 64, "float32"))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "dense", [x], [y], [weights])
    path = tmp_path / "dense.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_latency_is_predicted_in_a_mode_from_the_command_line(onnx_file):
    """``predict --device jetson-orin-nano@7W`` names the mode and predicts a longer latency than the device's own."""
    found = {}
    for name in ("jetson-orin-nano", "jetson-orin-nano@7W"):
        result = CliRunner().invoke(app, ["predict", str(onnx_file), "--device", name, "--json"])
        assert result.exit_code == 0, result.output
        found[name] = json.loads(result.stdout)["result"]["predictions"][0]
    own, low = found.values()
    assert (own["device"], low["device"]) == ("jetson-orin-nano", "jetson-orin-nano@7W")
    assert low["latency_ms"]["value"] > own["latency_ms"]["value"]
    assert low["latency_ms"]["basis"] == own["latency_ms"]["basis"] + ", scaled from the mode 15 W"
    assert CliRunner().invoke(app, ["predict", str(onnx_file), "--device", "jetson-orin-nano@70W"]).exit_code == 2


def test_inspect_takes_a_mode(onnx_file):
    """``inspect --device`` tells what runs where in a mode by the device's name there."""
    result = CliRunner().invoke(app, ["inspect", str(onnx_file), "--device", "jetson-orin-nano@7w", "--json"])
    assert result.exit_code == 0 and "jetson-orin-nano@7W" in result.stdout


def test_validate_judges_two_modes_of_a_board_side_by_side(small_bundle):
    """Each mode is a device of its own in a report, and no file is quicker in the lower one."""
    names = ("jetson-orin-nano", "jetson-orin-nano@7W")
    report = edgewright.validate(small_bundle, devices=list(names), measure=False)
    own, low = ([row for row in report.rows if row.device == name] for name in names)
    assert [row.verdict.artifact for row in own] == [row.verdict.artifact for row in low]
    figures = ((fast.verdict.latency, slow.verdict.latency) for fast, slow in zip(own, low, strict=True))
    both = [pair for pair in figures if all(pair)]
    assert both and all(slow.value > fast.value for fast, slow in both)


def test_a_registered_device_may_be_in_a_mode(home):
    """A device that is registered with a mode keeps it: its profile is the one in that mode."""
    add("nano", "here://", "jetson-nano@5W")
    assert devices.get(registered()[0][0].profile).power.mode.value == "5 W"


def test_devices_show_lists_the_modes():
    """``devices show`` lists each mode's cores and clocks, and whether rates are fitted in it or scaled."""
    shown = CliRunner().invoke(app, ["devices", "show", "jetson-agx-orin"]).stdout.splitlines()
    lines = {line.split("  ")[2].strip(): line for line in shown if " cores at " in line}
    assert set(lines) == {"15 W", "30 W", "50 W", "MAXN"}
    assert "4 cores at 1.1136 GHz, GPU 3 TPCs at 0.408 GHz" in lines["15 W"] and "scaled" in lines["15 W"]
    assert "some fitted in it" in lines["MAXN"]
    shown = CliRunner().invoke(app, ["devices", "show", "jetson-agx-orin@30w"]).stdout
    assert "the rates below, scaled from MAXN" in shown
