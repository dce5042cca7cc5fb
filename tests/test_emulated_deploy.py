"""An emulated Raspberry Pi from the first login to a rollback: aarch64 sshd, Python and runtimes, all real."""

import numpy as np
import pytest

from edgewright import serving
from edgewright.deploying import deploy
from edgewright.deploying_text import deployed_text
from edgewright.device_status import device_status
from edgewright.devices._found import look
from edgewright.errors import GateFailed, MissingRequirement
from edgewright.figures import How
from edgewright.fleet import deploy_fleet
from edgewright.measured_latency import kept_for
from edgewright.registering import open_link
from edgewright.rolling_back import roll_back
from edgewright.sweeping import sweep

from ._bundles import with_golden
from ._emulated_pi import IN_CI, bare_pi, emulated_pi  # noqa: F401
from ._ssh_servers import SSHD

pytestmark = pytest.mark.usefixtures("home")


def test_a_raspberry_pi_gets_an_artifact_serves_it_and_goes_back(emulated_pi, small_bundle):  # noqa: F811
    """The int8 file answers there as here, to the bit; it is profiled, served and rolled back there."""
    emulated_pi.add("pi")
    first = deploy(small_bundle, "pi", artifact="tflite float32")
    made = deploy(small_bundle, "pi", artifact="tflite int8")
    assert made.emulated and "its times say nothing" in deployed_text(made)
    assert made.runtime == "litert" and made.before == first.version
    assert made.golden.difference is not None and made.golden.agreement_percent == 100
    assert made.golden.bit_exact, made.golden
    rows = sweep(small_bundle, "pi", artifact="tflite int8", runtime="litert", threads=(1,), processes=1).rows
    assert all(row.measurement.latency().how is How.EMULATED and row.agreement_percent == 100 for row in rows)
    assert not kept_for(small_bundle.deployables, ["pi"])
    service = serving.start("pi", "kinds")
    assert service.version == made.version
    inputs, _ = small_bundle.golden()
    with open_link("pi") as link:
        # The service's own client there, for its socket is the device's.
        folder = f"{look(link, 'python3').pythons[0].home}/edgewright/models/kinds"
        asked = ["sh", "-c", 'cd "$1" && python3 current/service.py --ask service.sock --inputs "$2" --outputs out.npz']
        link.run(["mkdir", "-p", f"{folder}/asked"])
        one = {name: array[:1] for name, array in inputs.items()}
        answer = link.run([*asked, "sh", folder, _placed(link, one, f"{folder}/asked/in.npz")])
        assert answer.ok, answer.reason()
    assert roll_back("pi").version == first.version
    assert serving.state("pi", "kinds").version == first.version
    assert not serving.stop("pi", "kinds").running
    assert device_status("pi").exit_code == 0


def _placed(link, arrays, path):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "in.npz", **arrays)
        link.send(Path(folder) / "in.npz", path)
    return path


def test_a_raspberry_pi_without_a_runtime_is_given_one(bare_pi, small_bundle):  # noqa: F811
    """Without NumPy and runtimes it is told so; with --install-runtime the aarch64 wheels are carried and used."""
    bare_pi.add("bare")
    with pytest.raises(MissingRequirement, match="Expected a runtime on bare: LiteRT.*--install-runtime"):
        deploy(small_bundle, "bare", artifact="tflite int8")
    told = []
    made = deploy(small_bundle, "bare", artifact="tflite int8", install_runtime=True, on_progress=told.append)
    assert made.golden.bit_exact and made.runtime == "litert"
    # Each tenth of the archive, and the end, after the wheels, of which some may be in the cache of this host.
    steps = [event.text() for event in told if event.stage == "install"]
    assert sum("install on bare: carry litert, " in text for text in steps) == 10
    assert steps[-1] == "install on bare: unpack and import it there"
    assert [event.share for event in told] == sorted(event.share for event in told)
    # What was carried is found there, and not fetched again.
    again = deploy(small_bundle, "bare", artifact="tflite float32")
    assert again.runtime_version == made.runtime_version
    status = device_status("bare")
    assert status.exit_code == 0 and not status.runtimes


@pytest.fixture
def other(emulated_pi, board):  # noqa: F811
    """The emulated Pi as ``canary``, and beside it an SSH server of this host as ``other``, whose home is returned."""
    if not IN_CI and SSHD is None:
        pytest.skip("this test starts a real SSH server: apt-get install openssh-server")
    emulated_pi.add("canary")
    return board("other")


def test_a_fleet_of_two_kinds_of_machines_follows_its_canary(other, small_bundle, tmp_path):
    """One bundle goes to an aarch64 and an x86-64 host; where the canary answers wrongly the other is left alone."""
    names, options = ["canary", "other"], {"artifact": "tflite int8", "model": "two-kinds"}
    stages = []
    fleet = deploy_fleet(small_bundle.path, names, on_progress=lambda event: stages.append(event.text()), **options)
    assert fleet.exit_code == 0, fleet.rows
    on_pi, here = (row.deployed for row in fleet.rows)
    assert (on_pi.emulated, here.emulated) == (True, False) and on_pi.version == here.version
    assert on_pi.golden.bit_exact and here.golden.bit_exact
    assert stages.index("deployed canary") < stages.index("connect other")

    _, outputs = small_bundle.golden()
    wrong = with_golden(small_bundle, tmp_path / "wrong", **{"output/kinds": np.roll(outputs["kinds"], 3, axis=1)})
    stopped = deploy_fleet(wrong, names, **options)
    assert stopped.exit_code == 1 and isinstance(stopped.rows[0].error, GateFailed)
    assert "tflite int8 on canary" in str(stopped.rows[0].error)
    assert stopped.rows[1].state == "not tried: another device failed before"
    with open_link("canary") as link:
        on_it = look(link, "python3").models["two-kinds"]
    assert on_it["current"]["version"] == on_pi.version and "previous" not in on_it
    assert len(list((other / "edgewright/models/two-kinds/versions").iterdir())) == 1
