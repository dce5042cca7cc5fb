"""edgewright/: what cannot be done is refused before work begins, in one sentence."""

import pytest
from typer.testing import CliRunner

import edgewright
from edgewright.cli import app
from edgewright.devices import _registered
from edgewright.errors import InputError
from edgewright.export import load_bundle
from edgewright.files import new_manifest, write_json
from edgewright.main_job import defaults_of, run
from edgewright.training import train_experiment


def test_a_device_of_the_main_job_is_looked_up_before_it_begins(tmp_path):
    """A device that does not exist is refused before anything is written."""
    with pytest.raises(InputError, match="Expected a device"):
        run(tmp_path / "out", defaults_of(["sparse"]), ("nope",))
    assert not (tmp_path / "out").exists()


def test_a_repeated_architecture_runs_once():
    """An architecture that is named twice is one default."""
    assert len(defaults_of(["sparse", "liquid", "sparse"])) == 2


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5])
def test_a_seed_out_of_range_is_refused_everywhere(seed, tmp_path):
    """Compressing, quantizing, training and the main job have one range of seeds."""
    for use in (
        lambda: edgewright.compress(tmp_path / "model.keras", seed=seed),
        lambda: edgewright.quantize(tmp_path / "model.onnx", seed=seed),
        lambda: train_experiment("sparse", seed=seed, out=tmp_path / "out"),
        lambda: run(tmp_path / "out", defaults_of(["sparse"]), seed=seed),
    ):
        with pytest.raises(InputError, match="Expected a seed from 0 to 4294967295. Got:"):
            use()
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_trained_writes_nothing(tmp_path):
    """A size that an experiment does not have is refused before its folder is made."""
    with pytest.raises(InputError, match="Expected a size of digits"):
        train_experiment("sparse", size="huge", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_finished_training_is_not_replaced_by_another_that_was_to_go_on(tmp_path):
    """Resuming in the folder of a finished training returns it, or tells what is there and what was asked."""
    write_json(tmp_path / "manifest.json", new_manifest("training", 1))
    record = {"architecture": "sparse", "experiment": "digits", "size": "edge", "seed": 0}
    write_json(tmp_path / "trained.json", record)
    (tmp_path / "model.keras").touch()
    assert train_experiment("sparse", out=tmp_path, resume=True).record == record
    with pytest.raises(InputError, match=r"Expected .*seed 3 in .* Got: .*seed 0, which is finished\."):
        train_experiment("sparse", seed=3, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    "arguments",
    [["measure"], ["profile"], ["inspect"], ["compare", "{here}"], ["predict", "--device", "jetson-orin-nano"]],
)
def test_a_path_with_nothing_there_is_told(arguments, tmp_path):
    """The message says that nothing is there, and that a bundle's folder would do."""
    given = [each.format(here=tmp_path / "nope") for each in arguments]
    done = CliRunner().invoke(app, [*given, str(tmp_path / "nope")])
    assert done.exit_code == 2
    assert f"or a bundle's folder. Got: nothing at {tmp_path / 'nope'}." in done.stderr


@pytest.mark.parametrize("arguments", [["measure", "x.onnx", "--on", "nope"], ["devices", "remove", "nope"]])
def test_a_device_that_is_not_registered_is_told_with_those_that_are(arguments, home):
    """Only registered devices are listed, and how one is registered is told only where one is wanted."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "Expected a registered device. Got: 'nope', and none is registered." in done.stderr
    assert ("edgewright devices add NAME" in done.stderr) == (arguments[0] == "measure")
    assert "raspberry-pi" not in done.stderr


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "1e300"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(wait, home):
    """Every command that can wait for a device refuses it with status 2."""
    _registered.save(_registered.Registered("desk", "here://", "raspberry-pi-4b"))
    for arguments in (
        ["measure", "x.onnx", "--on", "desk"],
        ["rollback", "desk"],
        ["deploy", "x", "desk"],
        ["service", "stop", "desk", "model"],
    ):
        done = CliRunner().invoke(app, [*arguments, f"--wait={wait}"])
        assert done.exit_code == 2 and "Expected seconds to wait" in done.stderr, (arguments, done.output)


def test_a_format_is_looked_up_before_samples_are_missed(tmp_path):
    """With no data and a wrong format, the format is what is told."""
    done = CliRunner().invoke(app, ["compress", "model.keras", "--format", "tflit", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and "Did you mean 'tflite'?" in done.stderr


@pytest.mark.parametrize(
    ("made", "what"), [("", "does not exist"), ("file", "is a file"), ("folder", "has no manifest")]
)
def test_what_is_no_bundle_is_told_from_one(made, what, tmp_path):
    """Opening what is no bundle says whether nothing is there, a file, or a folder without a manifest."""
    path = tmp_path / "bundle"
    if made == "file":
        path.write_text("model")
    elif made == "folder":
        path.mkdir()
    with pytest.raises(
        InputError, match=f"Expected a bundle that edgewright wrote, a folder. Got: .*bundle, which {what}"
    ):
        load_bundle(path)
