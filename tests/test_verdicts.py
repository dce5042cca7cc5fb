"""Verdicts on real exports: what each defect of an artifact, a device or a measurement leads to, and the exit code."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import edgewright
from edgewright import devices, kernels
from edgewright.checks import read_check
from edgewright.cli import app
from edgewright.devices import Budget, Evidence, Status
from edgewright.devices._verdict import _judge_metric
from edgewright.emulation import Emulation
from edgewright.export import load_bundle
from edgewright.files import MANIFEST, sha256
from edgewright.report import judge_bundle, table
from edgewright.runtimes._emulator import find_emulator
from edgewright.train import ACCURACY

SHIPPED = devices._profile.resources.files("edgewright.devices.profiles")
NOTHING_ASKED = {"latency_ms": 1e6, "size_bytes": 2**40, "max_drop": 1e6}


@pytest.fixture(scope="module")
def bundle(kinds_bundle):
    """A small classifier as TFLite and ONNX, float32 and int8, with labels that it gets right."""
    return kinds_bundle


def _validate(*arguments):
    done = CliRunner().invoke(app, ["validate", *map(str, arguments), "--no-measure", "--quiet", "--json"])
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.exit_code
    return done.exit_code, document.get("result", document.get("error"))


def _rows(result):
    return {f"{row['format']} {row['precision']}": row["verdict"] for row in result["rows"]}


def _only(bundle, format, folder):
    """Return a copy of the bundle with the artifacts of one format."""
    shutil.copytree(bundle.path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["artifacts"] = [each for each in manifest["artifacts"] if each["format"] == format]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def _profile(name, changes, folder):
    """Return the path of a shipped profile with some of its text replaced."""
    text = (SHIPPED / f"{name}.toml").read_text()
    for old, new in changes.items():
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    (folder / "changed.toml").write_text(text)
    return folder / "changed.toml"


def test_a_file_that_is_too_new_for_the_device_is_unsupported(bundle, tmp_path):
    """For an int8 file TFLite 1.13 is too old, told with the operation and both versions; for float32 it is not."""
    old = {'name = "LiteRT"\nversion = { value = "2.3"': 'name = "TFLite"\nversion = { value = "1.13.0"'}
    text = _profile("raspberry-pi-4b", old, tmp_path).read_text().replace('runtime = "LiteRT"', 'runtime = "TFLite"')
    (tmp_path / "changed.toml").write_text(text)
    _, result = _validate(_only(bundle, "tflite", tmp_path / "tflite"), "--device", tmp_path / "changed.toml")
    rows = _rows(result)
    assert rows["tflite int8"]["status"] == "unsupported" and rows["tflite float32"]["status"] != "unsupported"
    (reason,) = rows["tflite int8"]["reasons"]
    assert (
        "TFLite 1.13.0, too old" in reason and "FULLY_CONNECTED version" in reason and "needs TensorFlow Lite" in reason
    )
    new = _profile("raspberry-pi-4b", {}, tmp_path)
    limits = [text for name, value in NOTHING_ASKED.items() for text in _option(name, value)]
    assert _rows(_validate(bundle.path, "--device", new, *limits)[1])["tflite int8"]["status"] == "pass"


def _option(name, value):
    return (
        f"--max-{name.removeprefix('max_').replace('_', '-')}",
        f"{value:g}" if name != "size_bytes" else str(value),
    )


def test_a_wrong_golden_output_fails(bundle, tmp_path):
    """Golden outputs of another model, in a bundle whose digests are right, fail each artifact that is run on them."""
    _only(bundle, "tflite", tmp_path / "wrong")
    golden = dict(np.load(tmp_path / "wrong" / "golden.npz"))
    outputs = [name for name in golden if "kinds" in name]
    np.savez(
        tmp_path / "wrong" / "golden.npz", **{**golden, **{name: np.roll(golden[name], 3, -1) for name in outputs}}
    )
    with pytest.raises(edgewright.errors.InputError, match=r"golden\.npz"):
        edgewright.validate(tmp_path / "wrong", devices=["raspberry-pi-4b"])
    manifest = json.loads((tmp_path / "wrong" / MANIFEST).read_text())
    manifest["files"]["golden.npz"] = sha256(tmp_path / "wrong" / "golden.npz")
    (tmp_path / "wrong" / MANIFEST).write_text(json.dumps(manifest))
    report = edgewright.validate(tmp_path / "wrong", devices=["raspberry-pi-4b"])
    assert {row.verdict.status for row in report.rows} == {Status.FAIL} and report.exit_code == 1
    assert all("computes something else" in row.verdict.reasons[0] for row in report.rows)


def test_a_size_that_is_missed_by_one_percent_fails(bundle, tmp_path):
    """A budget of the file's own size passes; one that is 1 % smaller fails with both numbers, exit code 1."""
    one = load_bundle(_only(bundle, "tflite", tmp_path / "tflite"))
    smallest = min(each.size_bytes for each in one.deployables)
    asked = ("--device", "raspberry-pi-4b", "--max-latency-ms", 1e6, "--max-drop", 100)
    assert _validate(one.path, *asked, "--max-size-bytes", smallest)[0] == 0
    code, result = _validate(one.path, *asked, "--max-size-bytes", int(smallest / 1.01))
    assert code == 1 and all(row["status"] == "fail" for row in _rows(result).values())
    assert f"{smallest:,} bytes, more than the {int(smallest / 1.01):,} bytes allowed" in str(result["rows"])


@pytest.mark.parametrize(
    ("option", "limit"),
    [("--max-latency-ms", -1), ("--max-latency-ms", "nan"), ("--max-size-bytes", 0), ("--max-drop", -5)],
)
def test_a_limit_that_is_none_is_no_failed_gate(bundle, option, limit):
    """A limit that nothing can keep is a usage error, 2, which says what a limit is, and not a verdict."""
    code, result = _validate(bundle.path, "--device", "raspberry-pi-4b", option, limit)
    assert code == 2
    assert "number from" in str(result)


def test_a_predicted_latency_decides_only_beyond_its_interval(bundle):
    """Within the interval a limit is inconclusive, 5; 1 % below its lower end it fails, 1; above it passes."""
    path, device = bundle.path, ("--device", "raspberry-pi-4b", "--max-drop", 100)
    latency = _rows(_validate(path, *device)[1])["tflite int8"]["latency"]

    def status(limit):
        code, result = _validate(path, *device, "--max-latency-ms", limit)
        return _rows(result)["tflite int8"]["status"], code

    assert status(latency["value"])[0] == "inconclusive"
    assert status(latency["low"] / 1.01)[0] == "fail"
    assert status(latency["high"] * 1.0001) == ("pass", 0)
    every = [row["latency"] for row in _rows(_validate(path, *device)[1]).values()]
    assert all(each["basis"].startswith("per operation") for each in every)
    assert status(min(each["low"] for each in every) / 1.01) == ("fail", 1)
    within = max(min(each["low"] for each in every) * 1.01, 0.001)
    assert status(within)[1] == 5


@pytest.mark.parametrize(("before", "after", "limit"), [(95.9, 95.8, 0.1), (95.9, 95.6, 0.3)])
def test_a_loss_of_just_the_limit_passes(before, after, limit):
    """A metric that lost what is allowed is within the limit, though the difference of two floats is a little more."""
    lost = ACCURACY.lost(before, after)
    assert lost == limit < before - after
    evidence = Evidence(before, after, lost, 0.99, "litert")
    assert _judge_metric(evidence, Budget(max_drop=limit))[0][0] is Status.PASS
    unlabelled = replace(evidence, metric_lost=None, agreement=1 - limit / 100)
    assert _judge_metric(unlabelled, Budget(max_drop=limit))[0][0] is Status.PASS


def test_what_is_to_be_deployed_is_known_to_be_fast(bundle):
    """Among artifacts that pass, one whose latency is not known is not called the fastest; deploy says the same."""
    report = edgewright.validate(bundle, devices=["raspberry-pi-4b"], measure=False)
    first, *others = report.rows
    unknown = replace(first, verdict=replace(first.verdict, status=Status.PASS, latency=None))
    passing = [replace(row, verdict=replace(row.verdict, status=Status.PASS)) for row in others]
    assert replace(report, rows=(unknown, *passing)).best(first.model, first.device) in passing
    assert replace(report, rows=(unknown,)).best(first.model, first.device) is unknown


def test_a_bundle_without_a_format_for_the_device_is_unsupported(bundle, tmp_path):
    """ONNX alone on the Coral Dev Board: each cell is unsupported with its reason, and the gate fails with 1."""
    code, result = _validate(_only(bundle, "onnx", tmp_path / "onnx"), "--device", "coral-dev-board")
    assert code == 1 and result["summary"][0]["deploy"] is None
    assert {row["status"] for row in _rows(result).values()} == {"unsupported"}
    assert all("no provider for the Edge TPU" in row["reasons"][0] for row in _rows(result).values())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("clock_ghz = { value = 1.8", "clock_ghz = { value = 1800", "from 0.01 to 10. Got: 1800"),
        ("max_drop = 1.0\n", "max_drop = -1\n", "from 0 to 1e+06. Got: -1"),
        ('title = "Raspberry Pi 4 Model B"\n', "", "expected the key title"),
    ],
)
def test_an_absurd_profile_is_refused_by_the_command(old, new, expected, bundle, tmp_path):
    """A value outside its limits, or none, ends with 2 and names the key, its limits and what came."""
    code, error = _validate(bundle.path, "--device", _profile("raspberry-pi-4b", {old: new}, tmp_path))
    assert code == 2 and expected in error["message"] and "changed.toml" in error["message"]


def test_an_unknown_device_names_the_nearest(bundle):
    """A mistyped device ends with 2 and the name that was meant."""
    code, error = _validate(bundle.path, "--device", "raspbery-pi-5")
    assert code == 2 and "Did you mean 'raspberry-pi-5'?" in error["message"]


def test_each_accuracy_names_its_kernels(bundle):
    """A Pi's own runtime in this host's build, and what stands in for the Edge TPU and TensorRT, are told apart."""
    devices_ = ["raspberry-pi-4b", "coral-dev-board", "jetson-orin-nano"]
    report = edgewright.validate(bundle, devices=devices_, measure=False)
    found = {(row.device, row.format, row.precision): row.computed for row in report.rows}
    pi = found["raspberry-pi-4b", "tflite", "int8"]
    assert (
        pi.kernels == "same runtime"
        and "LiteRT 2." in pi.sentence
        and bundle.manifest["host"]["machine"] in pi.sentence
    )
    for device, format, has in (("coral-dev-board", "tflite", "edgetpu"), ("jetson-orin-nano", "onnx", "TensorRT")):
        computed = found[device, format, "int8"]
        assert computed.kernels == "stand-in" and has in computed.sentence
    plain = report.plain()["rows"][0]
    assert plain["computed"]["sentence"] and plain["computed"]["kernels"] in ("same runtime", "stand-in")
    assert "computed on" in _text(report) and "stand-in: another runtime" in _text(report)


def _text(report):
    from rich.console import Console

    console = Console(width=220)
    with console.capture() as captured:
        console.print(table(report))
    return captured.get()


def test_what_an_emulated_core_says_against_an_artifact_counts():
    """What fails there fails; what differs there is inconclusive; what was not compared leaves the evidence alone."""
    good = Evidence(0.98, 0.979, 0.1, 0.995, "LiteRT 2.3")
    row = Emulation("tflite int8", "litert", "pi4", "2.3", "2.3", False, "fails there and runs here: killed")
    assert "On an emulated Raspberry Pi 4 it fails there" in kernels.emulated_evidence(good, row).reason
    differs = replace(row, reason="differs by more than 1e-06", difference=0.1)
    assert not kernels.emulated_evidence(good, replace(differs, agreement_percent=12.0)).ok
    doubted = kernels.emulated_evidence(good, replace(differs, agreement_percent=87.5))
    assert doubted.ok and "agrees with this host to 87.5 %" in doubted.doubt
    step = replace(differs, difference=0.004, agreement_percent=100.0)
    for unseen in (None, replace(row, ok=None), replace(row, ok=True, difference=0.0), step):
        assert kernels.emulated_evidence(good, unseen) == good


def test_an_emulated_difference_makes_a_verdict_inconclusive(bundle):
    """In the report of real artifacts, a difference on the device's core outweighs a pass and is the first reason."""
    checks = tuple(read_check(each) for each in bundle.manifest["evidence"]["checks"])
    row = Emulation("tflite int8", "litert", "pi4", "2.3", "2.3", False, "differs", 16, 0.1, agreement_percent=90)
    report = judge_bundle(
        bundle,
        bundle.deployables,
        checks,
        [devices.get("raspberry-pi-4b")],
        NOTHING_ASKED,
        emulated={("tflite int8", "litert", "pi4"): row},
    )
    found = {f"{each.format} {each.precision}": each.verdict for each in report.rows}
    assert found["tflite int8"].status is Status.INCONCLUSIVE and "emulated" in found["tflite int8"].reasons[0]
    assert found["tflite float32"].status is Status.PASS


def test_golden_inputs_run_on_the_emulated_core(bundle, tmp_path):
    """--emulate names the emulated core of a Raspberry Pi as what computed; other devices are refused or told apart."""
    code, error = _validate(bundle.path, "--device", "coral-dev-board", "--emulate")
    assert code == 2 and "cortex-a72" in error["message"] and "Cortex-A53" in error["message"]
    if find_emulator() is None:
        pytest.skip("no emulator was built")
    one = _only(bundle, "tflite", tmp_path / "tflite")
    _, result = _validate(one, "--device", "raspberry-pi-4b", "--device", "coral-dev-board", "--emulate")
    computed = {(row["device"], row["precision"]): row["computed"] for row in result["rows"]}
    pi = computed["raspberry-pi-4b", "int8"]
    assert pi["kernels"] == "emulated" and "on an emulated Raspberry Pi 4 (cortex-a72)" in pi["sentence"]
    assert computed["coral-dev-board", "int8"]["kernels"] == "stand-in"
