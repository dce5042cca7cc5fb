"""The emulated Raspberry Pi that one logs in to: real aarch64 programs behind a real SSH connection."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from edgewright.cli import app
from edgewright.devices._found import look
from edgewright.devices._links import Here
from edgewright.errors import DeviceError, InputError, MissingRequirement
from edgewright.measuring_there import measure_there
from edgewright.registering import open_link
from edgewright.runtimes import _emulator_needs
from edgewright.runtimes._emulated_root import device_root
from edgewright.runtimes._emulated_sshd import emulated_sshd
from edgewright.runtimes._emulator import emulator_folder, find_emulator

from ._emulated_pi import IN_CI, Pi, bare_pi, emulated_pi, key_pair  # noqa: F401

if not IN_CI:
    pytest.importorskip("asyncssh", reason="these tests log in over SSH: pip install 'edgewright[ssh]'")

NOWHERE = "http://127.0.0.1:9/debian"


@pytest.fixture(scope="module")
def pi(emulated_pi, tmp_path_factory):  # noqa: F811
    """The device with the runtimes, registered as ``pi`` in settings of our own."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        (home / ".ssh").mkdir()
        patch.setenv("EDGEWRIGHT_EMULATOR", str(emulator_folder()))
        patch.setenv("HOME", str(home))
        patch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path_factory.mktemp("config")))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        emulated_pi.add("pi")
        yield emulated_pi


@pytest.fixture(scope="module")
def link(pi):
    """An open link to it."""
    with open_link("pi") as link:
        yield link


def _told(link, script):
    answer = link.run(["sh", "-c", script])
    assert answer.ok, answer.reason()
    return answer.stdout.decode().strip()


def test_one_logs_in_to_another_machine(link):
    """It is an aarch64 machine with a name, a user and processes of its own, and Python 3.11 without pip."""
    assert _told(link, "uname -m; hostname; id -un; pwd").split() == ["aarch64", "raspberrypi", "pi", "/home/pi"]
    assert "python" not in _told(link, "ps -eo args")
    assert "No module named pip" in link.run(["python3", "-m", "pip"]).stderr.decode()
    assert not link.run(["sh", "-c", "echo x > /etc/hostname"]).ok


def test_a_file_is_sent_and_read_back(link, pi, tmp_path):
    """A file arrives whole with its mode, where the host finds it among the device's files."""
    source = tmp_path / "model"
    source.write_bytes(os.urandom(300_001))
    link.send(source, "/home/pi/models/it's a model", mode=0o600)
    assert link.read("/home/pi/models/it's a model") == source.read_bytes()
    assert (pi.server.folder / "home/pi/models/it's a model").read_bytes() == source.read_bytes()
    assert _told(link, "stat -c '%a %U' ~/models/*") == "600 pi"


def test_a_lock_holds_between_logins(link):
    """What one login holds with flock, in a session that outlives the command, another login does not get."""
    holder = _told(link, "setsid flock /tmp/lock sleep 60 >/dev/null 2>&1 & echo $!")
    with open_link("pi") as other:
        for _ in range(50):
            taken = other.run(["flock", "-n", "/tmp/lock", "true"]).status
            if taken == 1:
                break
        assert taken == 1
        _told(other, f"kill -- -{holder}")
    assert link.run(["flock", "-w", "10", "/tmp/lock", "true"]).ok


def test_the_probe_reads_a_raspberry_pi_and_measures_nothing(pi, tmp_path):
    """The probe finds the Pi 4's model, cores and memory, knows that it is emulated, and takes no time there."""
    out = tmp_path / "read.toml"
    done = CliRunner().invoke(app, ["devices", "probe", "pi", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)["result"]
    facts = result["facts"]
    assert facts["model"]["value"] == "Raspberry Pi 4 Model B Rev 1.1 (emulated)"
    assert (facts["cpu"]["count"]["value"], facts["cpu"]["dotprod"]["value"]) == (4, False)
    assert 3.5e9 < facts["memory"]["size_bytes"]["value"] < 4.3e9
    assert json.loads(facts["emulated"]["value"])["core"] == "pi4" and facts["measured"] is None
    assert (result["board"], result["same_board"]) == ("raspberry-pi-4b", True)
    assert facts["runtimes"]["numpy"]["value"] == find_emulator().wheels["numpy"]
    assert "The device is an emulated one: nothing was measured." in out.read_text()


def test_an_emulated_device_is_known_over_its_link(link):
    """The device says that it is emulated, and this host that it is not."""
    assert look(link, "python3").emulated and not look(Here(), sys.executable).emulated


def test_the_runtimes_are_there(link):
    """Python finds the aarch64 wheels of this host's versions, loads their libraries, and cannot change them."""
    code = "import numpy, ai_edge_litert.interpreter as litert; print(numpy.__version__, litert.__file__)"
    version, file = _told(link, f"python3 -c '{code}'").split()
    assert version == find_emulator().wheels["numpy"] and file.startswith("/opt/runtimes/")
    assert "Read-only" in link.run(["touch", "/opt/runtimes/x"]).stderr.decode()


def test_a_bare_device_has_no_runtimes_and_files_of_its_own(link, pi, bare_pi):  # noqa: F811
    """Without the runtimes there is no NumPy either; what is written on one device is not on the other."""
    _told(link, "echo one > ~/mine")
    with bare_pi.open("bare") as bare:
        assert "No module named 'numpy'" in bare.run(["python3", "-c", "import numpy"]).stderr.decode()
        assert _told(bare, "ls /opt/runtimes; ls ~; cat /etc/edgewright-emulated").startswith('{"core": "pi4"')
        assert look(bare, "python3").emulated


def test_ended_is_ended(pi, tmp_path):
    """At the end no process, port, mount or file is left, a command that runs included; a stranger's key is no key."""
    key, others = tmp_path / "key", tmp_path.parents[1]
    before = _traces(others)
    with emulated_sshd("pi5", key_pair(key), bare=True) as server:
        with Pi(server, key).open("pi5") as link:
            assert _told(link, "grep -c asimddp /proc/cpuinfo; setsid sleep 300 >/dev/null 2>&1 &") == "4"
            assert '"pi5"' in _told(link, "cat /etc/edgewright-emulated")
        with pytest.raises(DeviceError):
            Pi(server, pi.key).add("stranger")
        running = psutil.Process(server.pid)
        family = [running, *running.children(recursive=True)]
        assert any("sleep" in each.cmdline() for each in family) and _traces(others) == before
    assert not [each for each in family if each.is_running()] and _traces(others) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def _traces(others):
    """Return what a start could leave on this host: mounts, registered programs, files beside the shared ones.

    What is mounted below ``others`` is that of tests that run beside this one.
    """
    device = device_root()
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {others}/" not in line]
    files = [*(device / "mount").iterdir(), *(device / "root/home").iterdir(), *(device / "root/dev").iterdir()]
    formats = Path("/proc/sys/fs/binfmt_misc")
    return sorted(mounts), sorted(files), sorted(formats.iterdir()) if formats.is_dir() else []


def test_a_private_umask_locks_nobody_out(pi, tmp_path):
    """Where this user's files are for him alone, the device's are readable there all the same, and its keys private."""
    key, mask = tmp_path / "key", os.umask(0o077)
    try:
        with emulated_sshd("pi4", key_pair(key), bare=True) as server, Pi(server, key).open("private") as link:
            assert _told(link, "stat -c %a / /etc /lib64 /etc/passwd ~/.ssh /tmp").split() == [
                *("755", "755", "755", "644", "700", "1777")
            ]
            assert not link.run(["cat", "/etc/ssh/host_key"]).ok
    finally:
        os.umask(mask)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_the_command_runs_until_it_is_interrupted(number, code, pi):
    """``emulator ssh --json`` tells one line when it is ready; however it is ended, the device ends with it."""
    command = [sys.executable, "-m", "edgewright.cli", "emulator", "ssh", "--bare", "--json", "--key", f"{pi.key}.pub"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        assert set(ready) == {"port", "pid", "host_key", "folder"} and ready["host_key"].startswith("ssh-ed25519 ")
        with socket.create_connection(("127.0.0.1", ready["port"])) as connection:
            assert connection.recv(8).startswith(b"SSH-2.0-")
        process.send_signal(number)
        assert process.wait(timeout=20) == code, process.stderr.read()
    for _ in range(100):
        if not psutil.pid_exists(ready["pid"]):
            break
        time.sleep(0.05)
    assert not psutil.pid_exists(ready["pid"])


def test_a_device_that_ends_by_itself_is_told(pi):
    """Where someone else ends the device, waiting for it is a device error."""
    with emulated_sshd("pi4", Path(f"{pi.key}.pub"), bare=True) as server:
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(DeviceError, match="to run until it is ended"):
            server.wait()


def test_what_cannot_be_used_is_told_before_anything_is_built(tmp_path, monkeypatch):
    """No public key, a private one in its place, and an unknown core are usage errors that build nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"~/\.ssh/id_\*\.pub. Got: none. Name one with --key"):
        emulated_sshd(folder=tmp_path / "none").__enter__()
    private = tmp_path / "id"
    public = key_pair(private)
    with pytest.raises(InputError, match="Expected a public key of OpenSSH's in .*/id, such as.*Got: other text"):
        emulated_sshd(key=private, folder=tmp_path / "none").__enter__()
    with pytest.raises(InputError, match="Expected a public key in .*No such file"):
        emulated_sshd(key=tmp_path / "missing.pub", folder=tmp_path / "none").__enter__()
    with pytest.raises(InputError, match="Did you mean 'pi5'"):
        emulated_sshd("pi55", public, folder=tmp_path / "none").__enter__()
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_told(pi):
    """A port that something listens on is a usage error that names it."""
    with pytest.raises(InputError, match=f"free on 127.0.0.1. Got: {pi.server.port}: Address already in use"):
        emulated_sshd(key=Path(f"{pi.key}.pub"), port=pi.server.port).__enter__()


def test_a_system_that_forbids_namespaces_is_told(pi):
    """Where no more namespaces may be made the error says what is needed and what the system said, with exit code 3."""
    command = [sys.executable, "-m", "edgewright.cli", "emulator", "ssh", "--bare", "--key", f"{pi.key}.pub"]
    forbidding = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", forbidding, "sh", *command]
    done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "Expected a system that allows new user, mount and process namespaces" in done.stderr
    assert "unshare" in done.stderr.split("Got:")[1]


def test_missing_tools_and_an_old_linux_are_told(monkeypatch, tmp_path):
    """What is missing is named with its Debian package; an old Linux with the version that it takes."""
    monkeypatch.setattr(_emulator_needs.platform, "release", lambda: "6.1.0-44-amd64")
    if all(shutil.which(name) for name in _emulator_needs._TOOLS):
        assert "Expected Linux 6.7 or later" in _emulator_needs.missing_for_login()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _emulator_needs.missing_for_login().endswith("apt-get install util-linux mount bash libc-bin qemu-user")
    with pytest.raises(MissingRequirement, match="apt-get install mmdebstrap qemu-user"):
        device_root(tmp_path / "none")


@pytest.mark.slow
def test_a_killed_build_leaves_no_half_device(pi, tmp_path):
    """What a killed build left is removed by the next; without network that is a network error and leaves nothing."""
    (tmp_path / ".device-0.partial-x").mkdir()
    with pytest.raises(DeviceError, match="no answer from the mirror"):
        device_root(tmp_path, mirror=NOWHERE)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_is_measured_there_is_emulated(pi, artifacts):
    """A measurement runs the artifact there and says emulated; no limit is met by it, and nothing is calibrated."""
    file = artifacts["tflite", "int8"]
    made = measure_there(file, "pi", runtime="litert", processes=1, max_latency_ms=1e6)
    (row,) = made.rows
    assert row.measurement is not None, row.reason
    assert row.measurement.how == "emulated" and row.measurement.conditions["machine"] == "aarch64"
    assert made.exit_code == 5
    command = ["measure", str(file), "--on", "pi", "--runtime", "litert", "--processes", "1", "--quiet"]
    assert "Emulated, so that no time is a latency" in CliRunner().invoke(app, command).stdout
