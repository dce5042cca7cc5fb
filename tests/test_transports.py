"""The worked transport of docs/boards/transports.md is taken out of that page and used, over a program called adb."""

import re
import sys
import tomllib
from pathlib import Path

import keras
import pytest

import edgewright
from edgewright.deploying import deploy
from edgewright.device_status import device_status
from edgewright.devices import _registered, _transports
from edgewright.devices._lease import DeviceBusy, lease
from edgewright.errors import DeviceError, InputError, MissingRequirement
from edgewright.probing import probe
from edgewright.registering import add, open_link

PAGE = Path(__file__).resolve().parent.parent / "docs" / "boards" / "transports.md"
SERIAL = "0123456789ABCDEF"
# As adb does, it joins what follows and gives it to a shell as one text. While the file "cut" is there, the line ends
# after ten bytes, and adb, as if all were well, with 0.
FAKE_ADB = f"""#!/bin/sh
[ "$1 $2 $3 $4" = "-s {SERIAL} shell -T" ] || {{ echo "adb: device '$2' not found" >&2; exit 1; }}
shift 4
cut="$(dirname "$0")/cut"
[ -e "$cut" ] || exec sh -c "$*"
sh -c "$*" 2>/dev/null | head -c 10
"""

pytestmark = pytest.mark.usefixtures("home")


def _block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return found


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program called adb, first on PATH; returns its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "adb").write_text(FAKE_ADB)
    (folder / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """The page's distribution, as pip would install it: the module, and the entry points of its pyproject.toml."""
    folder = tmp_path / "site-packages"
    project = tomllib.loads(_block("toml"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    points = "".join(f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in each.items()) for group, each in groups)
    (info / "entry_points.txt").write_text(points)
    (folder / "edgewright_adb.py").write_text(_block("python"))
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("edgewright_adb", None)


@pytest.fixture
def phone(program, plug_in, tmp_path):
    """A registered device whose folder is one of this host; returns that folder."""
    folder = tmp_path / "data local"
    folder.mkdir()
    probe(tmp_path / "this-host.toml", measure=False)
    add("phone", f"adb://{SERIAL}{folder}", str(tmp_path / "this-host.toml"), python=sys.executable)
    return folder


def test_the_pages_transport_runs_sends_reads_and_holds(phone, tmp_path):
    """Bytes of all values and odd arguments come back as they were, exit statuses too, and the lease is exclusive."""
    assert _transports.names() == ("adb", "here", "ssh")
    assert _registered.get("phone").host_keys == {}
    content = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(content)
    odd = ["a b", "it's", '"', "$HOME", "\\", "*", ""]
    with open_link("phone") as link, open_link("phone") as other:
        answer = link.run(["sh", "-c", 'printf "%s|" "$@"; echo no >&2; exit 7', "sh", *odd])
        assert (answer.status, answer.stdout.decode(), answer.stderr) == (7, "".join(f"{x}|" for x in odd), b"no\n")
        assert link.run(["cat"], stdin=content).stdout == content
        link.send(tmp_path / "file", f"{phone}/there/file")
        assert (phone / "there" / "file").read_bytes() == link.read(f"{phone}/there/file") == content
        with lease(link, "measure"), pytest.raises(DeviceBusy, match="to measure"), lease(other, "deploy"):
            pass
        with lease(other, "deploy") as held:
            assert held.folder == f"{phone}/edgewright"
        with pytest.raises(DeviceError, match=r"within 0\.2 s"):
            link.run(["sleep", "2"], time_limit_s=0.2)


def test_a_bundle_is_deployed_over_the_pages_transport(phone, tmp_path):
    """The artifact becomes current there, the same to the bit as here, and its status is read back."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    model = keras.Model(x, keras.layers.Dense(4, activation="softmax")(x), name="kinds")
    data = {"x": keras.random.normal((32, 8), seed=0)}
    bundle = edgewright.export(edgewright.compress(model, data, "float16"), tmp_path / "bundle", ["tflite"])
    made = deploy(bundle, "phone")
    assert made.golden.bit_exact and (phone / "edgewright/models/kinds/current").resolve().name == made.version
    (there,) = device_status("phone").models
    assert (there.name, there.whole, there.current["version"]) == ("kinds", True, made.version)


def test_a_line_that_is_cut_is_an_error_and_never_an_end(phone, program, tmp_path):
    """While adb loses the line and ends with 0 even so, running, sending, reading and opening anew raise."""
    (tmp_path / "file").write_bytes(b"new" * 1000)
    with open_link("phone") as link:
        (program / "cut").touch()
        for work in (
            lambda: link.run(["echo", "x"]),
            lambda: link.send(tmp_path / "file", f"{phone}/file"),
            lambda: link.read(f"{phone}/file"),
        ):
            with pytest.raises(DeviceError, match="to its end"):
                work()
    with pytest.raises(DeviceError), open_link("phone"):
        pass


def test_what_cannot_be_reached_is_not_registered(program, plug_in, tmp_path, monkeypatch):
    """Another serial number, a key, a URL without one and a host without adb are refused, each with its exit code."""
    probe(tmp_path / "this-host.toml", measure=False)
    profile = str(tmp_path / "this-host.toml")
    with pytest.raises(DeviceError, match="device 'FEDC' not found"):
        add("phone", "adb://FEDC", profile)
    with pytest.raises(InputError, match="no key"):
        add("phone", f"adb://{SERIAL}", profile, key=tmp_path / "key")
    with pytest.raises(InputError, match="SERIAL"):
        add("phone", "adb://", profile)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirement, match="adb"):
        add("phone", f"adb://{SERIAL}", profile)
    assert _registered.names() == ()
