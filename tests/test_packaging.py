"""The package as a wheel: what is installed is what runs."""

import json
import subprocess
import sys
from pathlib import Path

import edgewright

ROOT = Path(__file__).resolve().parent.parent
ASK = """
import json, edgewright
from edgewright import compress as _  # noqa: F401
from edgewright.train import names as architectures
from edgewright.compress import names as techniques, shipped_recipes
from edgewright.export import names as formats
from edgewright.runtimes import names as runtimes
from edgewright.devices import names as devices, get
[get(name) for name in devices()]
offered = [names() for names in (architectures, techniques, shipped_recipes, formats, runtimes, devices)]
print(json.dumps([edgewright.__file__, *offered]))
"""


def _asked(**environment):
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=False, env=environment or None, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_wheel_holds_what_the_editable_install_holds(tmp_path):
    """A wheel, built and unpacked elsewhere, offers the same plug-ins, recipes and profiles as the working tree."""
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = wheels.glob("edgewright-*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
    file, *offered = _asked(PYTHONPATH=str(target))
    assert Path(file).is_relative_to(target)
    editable, *expected = _asked()
    assert Path(editable) == Path(edgewright.__file__) and Path(editable).is_relative_to(ROOT)
    assert offered == expected
