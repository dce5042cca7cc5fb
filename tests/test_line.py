"""The line: the main job as a user runs it, on real data, through every converter and runtime."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.main_job import DEFAULTS

from .conftest import of_runtimes_here

DEVICES = ("coral-dev-board", "jetson-orin-nano", "raspberry-pi-4b")


FEW = ("sparse", "liquid")


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.slow)])
def job(request, tmp_path_factory):
    """The main job: a plain network and one with host code, killed once and started again; or all, run once."""
    out = tmp_path_factory.mktemp("run") / "out"
    command = [str(Path(sys.executable).with_name("edgewright")), "run", "--out", str(out)]
    if request.param == "few":
        command += [text for name in FEW for text in ("--architecture", name)]
        _killed(command, f"converted {FEW[1]}")
    left = {
        name: json.loads((found / "checked.json").read_text())["checks"]
        for name in FEW
        for found in (out / "work" / name).glob("checked-*")
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=2400, check=False)
    return out, done, json.loads((out / "report.json").read_text()), left


def _killed(command, when):
    """Run a command until its progress says something, and kill it."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if when in line:
                process.kill()
                return
    raise AssertionError(f"it ended before it said {when!r}")


def models_of(job):
    """The names of the models that the job ran."""
    names = set(job[2]["models"])
    assert names in (set(FEW), {default.architecture for default in DEFAULTS})
    return names


def test_the_matrix_is_complete(job):
    """Every model x three formats x two precisions x three devices has a row, or a reason in the failures."""
    rows = job[2]["rows"]
    cells = {(row["model"], row["format"], row["precision"], row["device"]) for row in rows}
    failed = {(name, cell) for name, facts in job[2]["models"].items() for cell in facts["failures"]}
    assert cells | {
        (model, *cell.split()[:2], device) for model, cell in failed for device in DEVICES if cell.split()[1:]
    } == {
        (model, format, precision, device)
        for model in models_of(job)
        for format in ("tflite", "onnx", "openvino")
        for precision in ("float32", "int8")
        for device in DEVICES
    }


def test_every_model_can_be_deployed_to_every_device(job):
    """The job ends with exit code 0, and each device has an artifact that passes for a plain and for a looped model."""
    assert job[1].returncode == 0, job[1].stderr
    assert all(cell["deploy"] for cell in job[2]["summary"] if cell["model"] in FEW)


def test_the_metric_holds_in_every_runtime(job):
    """On the deployment's test set every artifact loses at most what is allowed, and a float one is Keras' equal."""
    allowed = {default.architecture: default.max_drop or 1.0 for default in DEFAULTS}
    for name, facts in job[2]["models"].items():
        for made in of_runtimes_here(facts["checks"]):
            assert made["ok"], made
            if not made["referee"]:
                assert made["samples"] == facts["evidence"]["samples"]
                assert made["metric_lost"] <= allowed[name], made
            if made["artifact"].endswith("float32"):
                assert made["agreement_keras_percent"] > 99.99


def test_the_sparse_network_is_sparse(job):
    """Nine tenths of the sparse network's kernels are zero, which gzip sees and the raw file does not."""
    out, report = job[0], job[2]
    manifest = json.loads((out / "sparse" / "manifest.json").read_text())
    pruned = [variable for variable in manifest["variables"] if variable["applied"]]
    assert len(pruned) == 3 and all(abs(variable["sparsity"] - 0.9) < 1e-3 for variable in pruned)
    sizes = {(row["format"], row["precision"]): row for row in report["rows"] if row["model"] == "sparse"}
    assert sizes["tflite", "int8"]["size_bytes"] < 0.3 * sizes["tflite", "float32"]["size_bytes"]
    assert sizes["tflite", "float32"]["gzip_bytes"] < 0.25 * sizes["tflite", "float32"]["size_bytes"]


def test_no_number_stands_without_its_origin(job):
    """Latencies of devices are predicted with an interval; those of this host are measured here, and kept apart."""
    for row in job[2]["rows"]:
        assert row["latency_here_ms"]["how"] == "measured here"
        latency = row["verdict"]["latency"]
        if row["verdict"]["status"] == "unsupported":
            assert row["verdict"]["reasons"]
        elif latency is None:  # the rates of int8 say nothing of integers that TensorRT refuses
            assert (row["format"], row["precision"], row["device"]) == ("onnx", "int8", "jetson-orin-nano")
            assert "TensorRT computes none of its products in int8" in " ".join(row["verdict"]["reasons"])
        else:
            assert latency["how"] == "predicted" and latency["low"] < latency["high"]


def test_cells_that_make_no_sense_say_why(job):
    """OpenVINO on the Edge TPU is unsupported, with the reason."""
    rows = [row for row in job[2]["rows"] if (row["format"], row["device"]) == ("openvino", "coral-dev-board")]
    assert len(rows) == 2 * len(models_of(job))
    for row in rows:
        assert row["verdict"]["status"] == "unsupported"
        assert "Edge TPU" in " ".join(row["verdict"]["reasons"])


def test_the_table_shows_what_the_report_holds(job):
    """The table on stdout has a line for each row, what to deploy where, and stays plain without a terminal."""
    text = job[1].stdout
    for device in DEVICES:
        assert f"sparse on {device}: deploy" in text
    assert "predicted" in text and "Measured here, on this host" in text
    assert "\x1b" not in text


def test_host_code_hands_real_numbers_to_int8_graphs(job):
    """TFLite int8 graphs that host code calls take and give floats, which is twice as fast; others take integers."""
    for name, dtype in (("liquid", "float32"), ("sparse", "int8")):
        manifest = json.loads((job[0] / name / "manifest.json").read_text())
        (made,) = [each for each in manifest["artifacts"] if (each["format"], each["precision"]) == ("tflite", "int8")]
        assert {tensor["dtype"] for tensor in made["inputs"] + made["outputs"]} == {dtype}
        assert any("int8" in operation["dtypes"] for operation in made["operations"])


UNITS = {
    "sparse": "inference",
    "convolutional": "inference",
    "liquid": "step",
    "graph": "molecule",
    "program_synthesis": "token",
    "nerf": "view of 100 x 100 rays",
    "multimodal": "question",
}


def test_throughput_is_told_in_what_a_user_counts(job):
    """Each model's latencies are of its own unit, from five fresh processes, and the table tells units a second."""
    for name in models_of(job):
        facts = job[2]["models"][name]
        assert facts["deployment"]["unit"] == UNITS[name]
        measured = [check["measurement"] for check in facts["checks"] if check["measurement"]]
        assert measured and {each["unit"] for each in measured} == {UNITS[name]}
        assert {len(each["processes"]) for each in measured} == {5}
    assert " steps/s" in job[1].stdout


def test_finished_stages_are_removed(job):
    """When all is done, only the bundles, the report and the manifest are left."""
    assert {path.name for path in job[0].iterdir()} == models_of(job) | {"report.json", "manifest.json"}


def test_a_killed_job_goes_on_where_it_stopped(job):
    """What was done when it was killed is not done again: its measurements are the report's, and it is told so."""
    if not job[3]:
        pytest.skip("the job that runs all is not killed")
    first, second = FEW
    assert set(job[3]) == {first}
    assert job[2]["models"][first]["checks"] == job[3][first]
    progress, _, end = job[1].stderr.rpartition("wrote ")
    assert f" {second}" in progress and f" {first}" not in progress
    assert f"{first} " in end and f"{second} " in end
