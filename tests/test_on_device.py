"""Measuring on a registered device: this host behind a real SSH server, with a small network in each format."""

import os
import sys

import keras
import numpy as np
import pytest
from rich.console import Console

import edgewright
from edgewright.kept import kept_of
from edgewright.measuring_there import measure_there
from edgewright.probing import probe
from edgewright.registering import add
from edgewright.sweep_text import sweep_text
from edgewright.sweeping import sweep

from ._ssh_servers import SSHD, Server, free_port, make_key

IN_CI = bool(os.environ.get("CI"))
if not IN_CI and SSHD is None:
    pytest.skip("these tests start a real SSH server: apt-get install openssh-server", allow_module_level=True)
if not IN_CI:
    pytest.importorskip("asyncssh", reason="these tests log in over SSH: pip install 'edgewright[ssh]'")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small classifier as TFLite, float32 and int8, with labels that it gets right."""
    keras.utils.set_random_seed(0)
    x = keras.Input((16,), name="x")
    hidden = keras.layers.Dense(32, activation="relu")(x)
    model = keras.Model(x, keras.layers.Dense(10, activation="softmax", name="kinds")(hidden), name="kinds")
    samples = np.random.default_rng(0).normal(size=(200, 16)).astype("float32")
    labels = model.predict(samples, verbose=0).argmax(axis=1)
    compressed = edgewright.compress(model, edgewright.train.Dataset({"x": samples}, labels), "int8")
    return edgewright.export(compressed, tmp_path_factory.mktemp("measured") / "bundle", ["tflite"])


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """A profile of this host."""
    path = tmp_path_factory.mktemp("profile") / "this-host.toml"
    probe(path, measure=False)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An SSH server on this host, whose user's home is the test's."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "home").mkdir()
    key = folder / "id_ed25519"
    one = Server(folder / "sshd", free_port(), make_key(key), f"SetEnv HOME={folder}/home")
    one.start()
    yield one, key
    one.stop()


@pytest.fixture
def device(server, profile, tmp_path, monkeypatch):
    """The server as the registered device "desk", with this Python; nothing was measured on it so far."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    one, key = server
    add("desk", one.url, str(profile), key=key, accept_key=True, python=sys.executable)
    return "desk"


def test_what_is_measured_there_says_so(device, bundle):
    """Each artifact is measured on the device in each runtime that it has, in its own processes there."""
    made = measure_there(bundle.path, device, processes=2)
    names = {row.subject.name for row in made.rows if row.measurement}
    assert "bundle tflite int8 in litert" in names and made.exit_code in (0, 5)
    for row in made.rows:
        assert row.measurement.how == "measured on the device" and row.measurement.conditions["device"] == device
        assert len(row.measurement.processes) == 2


def test_a_sweep_measures_all_ways_and_is_kept(device, bundle):
    """Threads and XNNPACK are swept for each artifact, answers are golden, and a second sweep has all of it."""
    made = sweep(bundle, device, runtime="litert", threads=(1,), processes=1)
    assert {(row.artifact, row.settings.xnnpack) for row in made.rows} == {
        (f"tflite {precision}", xnnpack) for precision in ("float32", "int8") for xnnpack in (True, False)
    }
    assert all(row.measurement and row.agreement_percent > 90 and not row.wrong for row in made.rows), made.rows
    assert sorted(kept_of(device), key=lambda row: row.name) == sorted(made.rows, key=lambda row: row.name)
    again = sweep(bundle, device, runtime="litert", threads=(1,), processes=1)
    assert again.rows == made.rows and len(again.taken_before) == 4
    text = _text(sweep_text(again))
    assert "measured on the device" in text and "4 of 4 rows were kept" in text and "predicted" in text
    assert "throttled" in text


def _text(shown):
    console = Console(width=220)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()
