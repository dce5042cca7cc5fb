"""An emulated Raspberry Pi from the first login to a rollback: aarch64 sshd, Python and runtimes, all real."""

import numpy as np
import pytest

from edgewright import serving
from edgewright.deploying import deploy
from edgewright.deploying_text import deployed_text
from edgewright.device_status import device_status
from edgewright.devices._found import look
from edgewright.errors import MissingRequirement
from edgewright.figures import How
from edgewright.measured_latency import kept_for
from edgewright.registering import open_link
from edgewright.rolling_back import roll_back
from edgewright.sweeping import sweep

from ._emulated_pi import bare_pi, emulated_pi  # noqa: F401

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
    made = deploy(small_bundle, "bare", artifact="tflite int8", install_runtime=True)
    assert made.golden.bit_exact and made.runtime == "litert"
    # What was carried is found there, and not fetched again.
    again = deploy(small_bundle, "bare", artifact="tflite float32")
    assert again.runtime_version == made.runtime_version
    status = device_status("bare")
    assert status.exit_code == 0 and not status.runtimes
