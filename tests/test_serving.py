"""The service of a deployed model over real SSH: it answers, follows what is deployed, and survives what fails."""

import os
import shlex
import signal
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from edgewright import serving
from edgewright.cli import app
from edgewright.deploying import deploy
from edgewright.devices._lease import lease
from edgewright.devices._service import ask
from edgewright.errors import DeviceError, GateFailed, InputError
from edgewright.registering import open_link
from edgewright.rolling_back import roll_back
from edgewright.runtimes import run_artifact

from ._ssh_servers import needs_ssh
from ._waiting import met

needs_ssh()

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def served(board, small_bundle, monkeypatch):
    """A device that serves the float32 version; the folder of its model. Whatever becomes of it, it is stopped."""
    there = board() / "edgewright/models/kinds"
    deploy(small_bundle, "board", artifact="tflite float32")
    serving.start("board", "kinds")
    # A short path to the socket, which a long one would not fit.
    monkeypatch.chdir(there)
    yield there
    serving.stop("board", "kinds")


def _answers(small_bundle):
    inputs, _ = small_bundle.golden()
    return ask("service.sock", "kinds", inputs)["kinds"]


def _expected(small_bundle, precision):
    (deployable,) = (each for each in small_bundle.deployables if each.precision == precision)
    return run_artifact(deployable, "litert", small_bundle.golden()[0]).outputs["kinds"]


def test_a_service_answers_and_follows_deploys_and_rollbacks(served, small_bundle):
    """It outlives the login, and after a deploy and a rollback it answers with that version, bit for bit."""
    assert np.array_equal(_answers(small_bundle), _expected(small_bundle, "float32"))
    first = serving.state("board", "kinds")
    assert (first.running, first.by, first.died) == (True, "process", False)
    made = deploy(small_bundle, "board", artifact="tflite int8")
    assert made.served and serving.state("board", "kinds").version == made.version
    assert np.array_equal(_answers(small_bundle), _expected(small_bundle, "int8"))
    assert roll_back("board").served and serving.state("board", "kinds").version == first.version
    assert np.array_equal(_answers(small_bundle), _expected(small_bundle, "float32"))


def test_a_version_that_cannot_be_served_is_taken_back(served, small_bundle, tmp_path, monkeypatch):
    """Where the service does not start with a new version, the one before is current and served; its log is told."""
    before = serving.state("board", "kinds").version
    (tmp_path / "broken.py").write_text("raise SystemExit('this service is broken')\n")
    monkeypatch.setattr(serving, "SERVICE", tmp_path / "broken.py")
    with pytest.raises(GateFailed, match="this service is broken.*served again"):
        deploy(small_bundle, "board", artifact="tflite int8")
    state = serving.state("board", "kinds")
    assert state.running and state.version == before == (served / "current").resolve().name
    assert np.array_equal(_answers(small_bundle), _expected(small_bundle, "float32"))


def _links(folder):
    return {name: (folder / name).resolve().name for name in ("current", "previous") if (folder / name).exists()}


def test_what_could_be_gone_back_to_still_can_be_after_a_version_that_is_not_served(
    served, small_bundle, tmp_path, monkeypatch
):
    """A deploy and a rollback that the service does not start with leave current and previous what they were."""
    with monkeypatch.context() as changed:
        (tmp_path / "broken.py").write_text("raise SystemExit('this service is broken')\n")
        changed.setattr(serving, "SERVICE", tmp_path / "broken.py")
        with pytest.raises(GateFailed, match="served again"):
            deploy(small_bundle, "board", artifact="tflite int8")
    assert list(_links(served)) == ["current"]

    deploy(small_bundle, "board", artifact="tflite int8")
    before = _links(served)
    assert len(before) == 2
    with monkeypatch.context() as changed:
        changed.setattr(serving, "SERVICE", tmp_path / "broken.py")
        with pytest.raises(GateFailed, match="served again"):
            deploy(small_bundle, "board", artifact="tflite float32")
        assert _links(served) == before and not (served / ".before").is_symlink()
        assert roll_back("board").served
        assert _links(served) == {"current": before["previous"], "previous": before["current"]}

        serving.stop("board", "kinds")
        deploy(small_bundle, "board", artifact="tflite float32")
        assert roll_back("board").version == before["previous"]
        before = _links(served)
        serving.start("board", "kinds")
        with pytest.raises(GateFailed, match="served again"):
            roll_back("board")
    assert _links(served) == before and serving.state("board", "kinds").version == before["current"]
    assert {path.name for path in (served / "versions").iterdir()} == set(before.values())


def test_a_service_follows_a_deploy_that_was_killed_once_it_is_repeated(served, small_bundle, monkeypatch):
    """Killed after the switch, the service answers with the version before; the same deploy again has it follow."""
    old = serving.state("board", "kinds").version
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(serving, "follow", _killed)
        deploy(small_bundle, "board", artifact="tflite int8")
    assert serving.state("board", "kinds").version == old
    again = deploy(small_bundle, "board", artifact="tflite int8")
    assert again.served and again.size_bytes == 0 and not (served / ".before").is_symlink()
    serves = serving.state("board", "kinds")
    assert serves.version == again.version != old
    assert deploy(small_bundle, "board", artifact="tflite int8").served
    assert serving.state("board", "kinds").facts["pid"] == serves.facts["pid"]


def _killed(*_, **__):
    raise KeyboardInterrupt


def test_of_a_service_that_died_nothing_is_kept(served, small_bundle):
    """A deploy while the service is dead leaves the current and the previous version alone, as without a service."""
    deploy(small_bundle, "board", artifact="tflite int8")
    os.kill(serving.state("board", "kinds").facts["pid"], signal.SIGKILL)
    met(lambda: serving.state("board", "kinds").died)
    assert not deploy(small_bundle, "board", artifact="tflite float32").served
    assert {path.name for path in (served / "versions").iterdir()} == set(_links(served).values())
    assert len(_links(served)) == 2 and not (served / ".before").is_symlink()
    assert _links(served)["current"].startswith(serving.start("board", "kinds").version)


def test_what_is_to_be_typed_is_quoted(served):
    """The line that asks a service by hand names its socket as one word of the shell's, wherever that lies."""
    told = serving.service_text(replace(serving.state("board", "kinds"), socket="/home/a b/service.sock"))
    line = next(line for line in told.splitlines() if "curl" in line)
    assert "/home/a b/service.sock" in shlex.split(line)


def test_the_commands_tell_whether_it_runs(served):
    """Status ends with 0 while it runs and 1 after it was stopped; stopping twice and starting twice are no errors."""

    def command(*arguments):
        return CliRunner().invoke(app, ["service", *arguments, "board", "kinds"])

    assert command("start").exit_code == 0
    told = command("status")
    assert told.exit_code == 0 and "curl --unix-socket" in told.stdout
    assert command("stop").exit_code == 0 and command("stop").exit_code == 0
    assert command("status").exit_code == 1
    assert not (served / "service.sock").exists()


def test_what_cannot_be_served_is_told(board, small_bundle):
    """A model that is not there, a device that somebody uses, and a system without the user's systemd."""
    board()
    deploy(small_bundle, "board", artifact="tflite int8")
    with pytest.raises(InputError, match="deployed on board: kinds. Got: 'kind'"):
        serving.start("board", "kind")
    with open_link("board") as link, lease(link, "measure"), pytest.raises(DeviceError, match="measure"):
        serving.start("board", "kinds")
    with pytest.raises(DeviceError, match="systemctl --user daemon-reload.*plain process"):
        serving.start("board", "kinds", systemd=True)
    assert not serving.state("board", "kinds").running
