"""The service of a deployed model as a unit of a real systemd: it is kept running, follows deploys, and ends."""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewright import serving
from edgewright.deploying import deploy
from edgewright.devices._service import ask
from edgewright.errors import GateFailed
from edgewright.rolling_back import roll_back
from edgewright.runtimes import run_artifact
from edgewright.serving import service_text

from ._ssh_servers import needs_ssh
from ._waiting import met

needs_ssh()

SYSTEMD = Path("/lib/systemd/systemd")
# A user's systemd starts only where this says that the system was booted with one.
BOOTED = Path("/run/systemd/system")

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(not SYSTEMD.exists() or not shutil.which("systemctl"), reason="apt-get install systemd"),
    pytest.mark.skipif(not BOOTED.exists() and os.getuid() != 0, reason="no systemd runs, and only root pretends it"),
]


@pytest.fixture
def board_with_systemd(board, tmp_path):
    """A board over SSH whose user's systemd runs; its folder there and the variables that reach that systemd."""
    booted = BOOTED.exists()
    BOOTED.mkdir(parents=True, exist_ok=True)
    # A short path, for the sockets in it.
    runtime = Path(tempfile.mkdtemp(prefix="xdg-", dir="/tmp"))
    there = board(variables=f"XDG_RUNTIME_DIR={runtime}")
    variables = {**os.environ, "HOME": str(there), "XDG_RUNTIME_DIR": str(runtime)}
    variables.pop("DBUS_SESSION_BUS_ADDRESS", None)
    with (tmp_path / "systemd.log").open("w") as log:
        manager = subprocess.Popen(
            [SYSTEMD, "--user"], env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        if not met(lambda: _systemctl(variables, "is-system-running").stdout.strip() in ("running", "degraded")):
            pytest.skip(f"no user's systemd starts here: {(tmp_path / 'systemd.log').read_text()[-300:]}")
        yield there, variables
    finally:
        serving.stop("board", "kinds")
        manager.terminate()
        manager.wait(20)
        if not booted:
            BOOTED.rmdir()
        shutil.rmtree(runtime, ignore_errors=True)


def _systemctl(variables, *arguments):
    command = ["systemctl", "--user", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=30, check=False)


def test_systemd_keeps_the_service_running(board_with_systemd, small_bundle, tmp_path, monkeypatch):
    """It answers as a unit, is started again when it is killed, follows a deploy and a rollback, and is stopped."""
    there, variables = board_with_systemd
    model = there / "edgewright/models/kinds"
    inputs, _ = small_bundle.golden()
    expected = {
        each.precision: run_artifact(each, "litert", inputs).outputs["kinds"]
        for each in small_bundle.deployables
        if each.format == "tflite"
    }
    float32 = deploy(small_bundle, "board", artifact="tflite float32")
    # Over the plain process, which ends: one service, not two.
    assert serving.start("board", "kinds").by == "process"
    begun = serving.start("board", "kinds", systemd=True)
    assert (begun.by, begun.version) == ("systemd", float32.version)
    monkeypatch.chdir(model)  # a short path to the socket
    assert np.array_equal(ask("service.sock", "kinds", inputs)["kinds"], expected["float32"])

    os.kill(begun.facts["pid"], signal.SIGKILL)
    assert met(lambda: serving.state("board", "kinds").facts.get("pid") not in (None, begun.facts["pid"]), 30)
    assert met(lambda: serving.state("board", "kinds").by == "systemd", 30)

    assert deploy(small_bundle, "board", artifact="tflite int8").served
    assert np.array_equal(ask("service.sock", "kinds", inputs)["kinds"], expected["int8"])
    assert roll_back("board").served and serving.state("board", "kinds").version == float32.version

    (tmp_path / "broken.py").write_text("raise SystemExit('this service is broken')\n")
    monkeypatch.setattr(serving, "SERVICE", tmp_path / "broken.py")
    with pytest.raises(GateFailed, match="served again"):
        deploy(small_bundle, "board", artifact="tflite int8")
    assert np.array_equal(ask("service.sock", "kinds", inputs)["kinds"], expected["float32"])
    assert serving.state("board", "kinds").by == "systemd"

    told = replace(serving.state("board", "kinds"), lingers=False)  # no logind is here, which would tell
    assert "by systemd" in service_text(told) and "loginctl enable-linger" in service_text(told)
    ended = serving.stop("board", "kinds")
    assert not ended.running and not (model / "service.sock").exists()
    assert _systemctl(variables, "is-enabled", "edgewright-kinds.service").stdout.strip() in (
        "disabled",
        "not-found",
        "",
    )
