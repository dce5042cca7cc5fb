"""Links to devices: this host, and real SSH servers on the loopback address, with bad keys and broken lines."""

import getpass
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time

import psutil
import pytest
from typer.testing import CliRunner

from edgewright import devices
from edgewright.cli import app
from edgewright.devices import _registered, _transports
from edgewright.devices import _service as service
from edgewright.devices._links import Here
from edgewright.devices._service_scripts import SOCKET, start_script, status_script, stop_script
from edgewright.devices._ssh import Ssh
from edgewright.devices._ssh_address import parse_ssh_url
from edgewright.errors import DeviceError, InputError
from edgewright.registering import add, open_link, registered, remove

from ._services import command, place
from ._ssh_servers import CUT, FREEZE, Line, free_port, make_key, needs_ssh

needs_ssh()

pytestmark = pytest.mark.usefixtures("home")
PROFILE = "raspberry-pi-4b"


@pytest.fixture(params=["here", "ssh"])
def link(request):
    """An open link of each kind."""
    if request.param == "here":
        yield Here()
        return
    one, _ = request.getfixturevalue("server")()
    add("board", one.url, PROFILE, accept_key=True)
    with open_link("board") as link:
        yield link


def test_a_command_gets_bytes_and_its_status_comes_back(link):
    """Arguments arrive as they are, whatever a shell makes of them; so do stdin, both outputs and the status."""
    awkward = ["a b", "$HOME", "it's", "*", "", "ä\n"]
    assert link.run(["printf", "%s|", *awkward]).stdout.decode() == "".join(f"{each}|" for each in awkward)
    content = bytes(range(256)) * 1000
    assert link.run(["cat"], stdin=content).stdout == content
    assert link.run(["cat"]).stdout == b""
    failed = link.run(["sh", "-c", "echo no >&2; exit 7"])
    assert (failed.status, failed.ok, failed.reason()) == (7, False, "exit 7: no")
    assert link.run(["edgewright-no-such-command"]).status == 127


def test_a_command_that_hangs_is_a_device_error_and_the_link_goes_on(link):
    """Past its time limit a command raises; the next one runs."""
    with pytest.raises(DeviceError, match="within 0.3 s"):
        link.run(["sleep", "30"], time_limit_s=0.3)
    assert link.run(["echo", "on"]).stdout == b"on\n"


def test_a_file_is_copied_whole_with_its_digest_and_read_back(link, tmp_path):
    """What is sent comes back the same, from a folder that was made, with its mode, and nothing is left beside it."""
    source, target = tmp_path / "model", tmp_path / "new folder" / "it's a model"
    source.write_bytes(os.urandom(3_000_001))
    digest = link.send(source, str(target), mode=0o600)
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert target.read_bytes() == source.read_bytes() == link.read(str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    source.write_bytes(b"")
    link.send(source, str(target))
    assert link.read(str(target)) == b""


def test_what_cannot_be_copied_or_read_is_told_and_changes_nothing(link, tmp_path):
    """A folder in the way, a target below a file, and a missing file are errors that name them."""
    source, folder = tmp_path / "model", tmp_path / "folder"
    source.write_bytes(b"new")
    folder.mkdir()
    with pytest.raises(DeviceError, match="is a folder"):
        link.send(source, str(folder))
    assert not list(folder.iterdir())
    with pytest.raises(DeviceError, match="was left alone"):
        link.send(source, str(source / "below"))
    with pytest.raises(DeviceError, match="is no file"):
        link.read(str(tmp_path / "missing"))
    with pytest.raises(InputError, match="missing"):
        link.send(tmp_path / "missing", str(tmp_path / "target"))


def test_a_device_that_receives_something_else_keeps_the_old_file(tmp_path):
    """Where bytes were lost on the way the device's digest differs: the old file stays, and no part of the new one."""

    class Lossy(Here):
        def run(self, command, *, stdin=b"", time_limit_s=60):
            return super().run(command, stdin=stdin.read_bytes()[:-1], time_limit_s=time_limit_s)

    source, target = tmp_path / "model", tmp_path / "there" / "model"
    target.parent.mkdir()
    source.write_bytes(b"new content")
    target.write_bytes(b"old")
    with pytest.raises(DeviceError, match="SHA-256"):
        Lossy().send(source, str(target))
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == {"model": b"old"}


def test_a_service_outlives_the_connection_that_started_it(server, artifacts, tmp_path):
    """Started over SSH, a service runs on when that connection is closed; another one finds it and stops it."""
    one, _ = server()
    add("board", one.url, PROFILE, accept_key=True)
    folder = str(place(tmp_path / "service"))
    serve = [*command(), "--runtime", "litert", "--artifact", str(artifacts["tflite", "float32"]), "--name", "small"]
    with open_link("board") as link:
        started = link.run(["sh", "-c", start_script(), "sh", folder, "30", *serve])
    assert started.ok, started.stderr
    with open_link("board") as link:
        assert link.run(["sh", "-c", status_script(), "sh", folder]).stdout == started.stdout
        assert service.call(f"{folder}/{SOCKET}", "GET", "/v2/health/ready")[0] == 200
        assert json.loads(link.run(["sh", "-c", stop_script(), "sh", folder, "20"]).stdout)["killed"] is False
        assert json.loads(link.run(["sh", "-c", status_script(), "sh", folder]).stdout)["running"] is False
    assert SOCKET not in os.listdir(folder)


@pytest.mark.parametrize("then", [CUT, FREEZE])
def test_a_line_that_breaks_in_the_middle_of_a_copy_leaves_the_old_file(server, tmp_path, then):
    """Cut or frozen after 1 MB of 8, the copy is a device error, and the device has the old file and no part."""
    one, _ = server()
    line = Line(one.port, 1 << 20, then)
    add("first", one.url, PROFILE, accept_key=True)
    # The same server at the line's port, with the key that was pinned at its own.
    first = _registered.get("first")
    url = one.url.replace(str(one.port), str(line.port))
    keys = {f"[127.0.0.1]:{line.port}": first.host_keys[one.known_as]}
    _registered.save(_registered.Registered("board", url, PROFILE, None, keys))
    source, target = tmp_path / "model", tmp_path / "there" / "model"
    target.parent.mkdir()
    source.write_bytes(os.urandom(8 << 20))
    target.write_bytes(b"old")
    with open_link("board") as link, pytest.raises(DeviceError, match="board"):
        link.send(source, str(target), time_limit_s=2)
    line.close()
    end = time.monotonic() + 10
    while len(list(target.parent.iterdir())) > 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == {"model": b"old"}


def test_an_unknown_host_key_is_refused_before_anything_is_sent(server):
    """Without --accept-key the fingerprint is told with exit code 4, nothing is written, and no login was tried."""
    import asyncssh

    one, host_key = server()
    shown = asyncssh.import_public_key(host_key).get_fingerprint("sha256")
    arguments = ["devices", "add", "board", one.url, "--profile", PROFILE, "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 4
    message = json.loads(done.stdout)["error"]["message"]
    assert shown in message and "--accept-key" in message
    assert registered() == ((), {}) and "userauth-request" not in one.log
    done = CliRunner().invoke(app, [*arguments, "--accept-key"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)["result"]
    assert result["fingerprints"] == {one.known_as: shown}
    assert result["device"]["host_keys"] == {one.known_as: host_key}
    assert "userauth-request" in one.log


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_a_changed_host_key_is_refused_before_anything_is_sent(server, kind):
    """A server set up anew, with a key of the same kind or of another, is refused with both keys and what to do."""
    one, before = server()
    add("board", one.url, PROFILE, accept_key=True)
    one.stop()
    (one.folder / "log").unlink()
    after = one.start(kind)
    with pytest.raises(DeviceError, match="devices remove board") as raised:
        open_link("board")
    import asyncssh

    for key in (before, after):
        assert asyncssh.import_public_key(key).get_fingerprint("sha256") in str(raised.value)
    assert "userauth-request" not in one.log
    remove("board")
    add("board", one.url, PROFILE, accept_key=True)
    open_link("board").close()


def test_a_key_in_the_users_known_hosts_is_pinned_without_asking(server, home):
    """What OpenSSH knows of this very port is enough, of whatever kind and beside lines that cannot be read."""
    one, host_key = server(kind="ecdsa-sha2-nistp256")
    (home / ".ssh" / "known_hosts").write_text(f"# mine\nnonsense\n{one.known_as} {host_key} a comment\n")
    assert add("board", one.url, PROFILE).device.host_keys == {one.known_as: host_key}


@pytest.mark.parametrize("entry", ["{place} {other}", "@revoked {place} {real}"])
def test_a_key_against_the_users_known_hosts_is_refused_even_when_accepting(server, home, tmp_path, entry):
    """A server that shows another key than OpenSSH knows, or a revoked one, is not added by --accept-key."""
    one, host_key = server()
    text = entry.format(place=one.known_as, other=make_key(tmp_path / "other"), real=host_key)
    (home / ".ssh" / "known_hosts").write_text(text + "\n")
    with pytest.raises(DeviceError, match="ssh-keygen -R"):
        add("board", one.url, PROFILE, accept_key=True)
    assert registered() == ((), {}) and "userauth-request" not in one.log


def test_a_key_that_is_known_of_port_22_says_nothing_of_another_port(server, home):
    """An entry without the port is of another server."""
    one, host_key = server()
    (home / ".ssh" / "known_hosts").write_text(f"127.0.0.1 {host_key}\n")
    with pytest.raises(DeviceError, match="--accept-key"):
        add("board", one.url, PROFILE)


def test_a_refused_user_key_is_a_device_error(server, tmp_path):
    """A key that the device does not let in ends with exit code 4, no password is asked, and nothing is registered."""
    one, _ = server("KbdInteractiveAuthentication yes")
    make_key(tmp_path / "stranger")
    with pytest.raises(DeviceError, match="permission denied.*authorized_keys"):
        add("board", one.url, PROFILE, key=tmp_path / "stranger", accept_key=True)
    assert registered() == ((), {}) and "method password" not in one.log


def test_a_named_key_is_used_and_one_with_a_passphrase_is_told(server, home, tmp_path):
    """--key is what logs in; a locked key and a file that is no key are usage errors."""
    one, _ = server()
    (home / ".ssh" / "id_ed25519").rename(tmp_path / "mine")
    with pytest.raises(DeviceError, match="permission denied"):
        add("board", one.url, PROFILE, accept_key=True)
    add("board", one.url, PROFILE, key=tmp_path / "mine", accept_key=True)
    with open_link("board") as link:
        assert link.run(["id", "-un"]).stdout.decode().strip() == getpass.getuser()
    locked = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "locked")]
    subprocess.run(locked, check=True)
    with pytest.raises(InputError, match="ssh-add"):
        add("other", one.url, PROFILE, key=tmp_path / "locked", accept_key=True)
    (tmp_path / "text").write_text("no key")
    with pytest.raises(InputError, match="private key"):
        add("other", one.url, PROFILE, key=tmp_path / "text", accept_key=True)


def test_a_key_that_only_the_agent_has_logs_in(server, home, monkeypatch):
    """Without any key's file the agent's keys are tried; --key tries that key alone."""
    one, _ = server()
    socket_path = home / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not socket_path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
        subprocess.run(["ssh-add", "-q", str(home / ".ssh" / "id_ed25519")], check=True)
        (home / ".ssh" / "id_ed25519").unlink()
        make_key(home / "stranger")
        with pytest.raises(DeviceError, match="permission denied"):
            add("board", one.url, PROFILE, key=home / "stranger", accept_key=True)
        add("board", one.url, PROFILE, accept_key=True)
        with open_link("board") as link:
            assert link.run(["echo", "in"]).stdout == b"in\n"
    finally:
        agent.terminate()
        agent.wait(timeout=10)


def test_a_device_behind_a_jump_host_is_reached_through_it(server):
    """Both servers' keys are pinned, each its own, and checked again; the jump host carries the connection."""
    jump, jump_key = server()
    one, host_key = server()
    url = f"{one.url}?via={getpass.getuser()}@127.0.0.1:{jump.port}"
    with pytest.raises(DeviceError, match=str(jump.port)):
        add("board", url, PROFILE)
    pinned = add("board", url, PROFILE, accept_key=True).device.host_keys
    assert pinned == {jump.known_as: jump_key, one.known_as: host_key}
    with open_link("board") as link:
        assert link.run(["echo", "there"]).stdout == b"there\n"
    assert "direct-tcpip" in jump.log and "direct-tcpip" not in one.log
    one.stop()
    with pytest.raises(DeviceError, match="to lead on to"):
        open_link("board")
    one.start()
    with pytest.raises(DeviceError, match="devices remove board"):
        open_link("board")


def test_no_answer_is_a_device_error(server, monkeypatch):
    """A closed port, a port that never answers, one that speaks something else, and a name that is none."""
    from edgewright.devices import _ssh

    monkeypatch.setattr(_ssh, "_CONNECT_S", 0.5)
    with pytest.raises(DeviceError, match="[Rr]efused|Connect call failed"):
        add("board", f"ssh://me@127.0.0.1:{free_port()}", PROFILE, accept_key=True)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeviceError, match="within 0.5 s"):
        add("board", f"ssh://me@127.0.0.1:{silent.getsockname()[1]}", PROFILE, accept_key=True)
    with pytest.raises(DeviceError, match="no-such-host.invalid"):
        add("board", "ssh://me@no-such-host.invalid", PROFILE, accept_key=True)
    assert registered() == ((), {})


@pytest.mark.parametrize(
    ("forced", "told"), [("echo Darwin", "Darwin"), ("echo no uname here >&2; exit 1", "no uname")]
)
def test_a_device_that_is_not_linux_is_told(server, forced, told):
    """What answers 'uname -s' with something else, or not at all, is refused with what it said."""
    one, _ = server(f"ForceCommand {forced}")
    with pytest.raises(DeviceError, match=f"Expected Linux.*{told}"):
        add("board", one.url, PROFILE, accept_key=True)
    assert registered() == ((), {})


def test_a_login_shell_that_prints_is_told(server):
    """Text that the login shell puts before a command's is told with what to do, for it would be in every answer."""
    one, _ = server('ForceCommand echo Welcome to my board; eval "$SSH_ORIGINAL_COMMAND"')
    with pytest.raises(DeviceError, match=r"prints nothing of its own. Got: 'Welcome to my board' before.*\.bashrc"):
        add("board", one.url, PROFILE, accept_key=True)
    assert registered() == ((), {})


def test_a_registered_device_is_probed_over_its_link(server, tmp_path):
    """The probe runs there, and what it read becomes a profile that loads, under the device's name."""
    one, _ = server()
    add("board", one.url, PROFILE, accept_key=True)
    out = tmp_path / "read.toml"
    done = CliRunner().invoke(app, ["devices", "probe", "board", "--out", str(out), "--no-measure", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["result"]["facts"]["host"] == socket.gethostname()
    count = devices.get(str(out)).cpu.count
    assert (count.value, count.how) == (psutil.cpu_count(), "read")
    done = CliRunner().invoke(app, ["devices", "probe", "bord"])
    assert done.exit_code == 2 and "Did you mean 'board'?" in done.stderr


def test_a_device_without_python_is_told(server):
    """Where python3 does not run there the probe ends with exit code 4 and what the device said."""
    command = 'case "$SSH_ORIGINAL_COMMAND" in uname*) uname -s;; *) echo python3: not found >&2; exit 127;; esac'
    one, _ = server(f"ForceCommand {command}")
    add("board", one.url, PROFILE, accept_key=True)
    done = CliRunner().invoke(app, ["devices", "probe", "board"])
    assert done.exit_code == 4 and "python3: not found" in done.stderr


def test_devices_are_listed_and_forgotten(tmp_path):
    """What was added stands in the list with its profile; what was removed does not; a name is taken once."""
    run = CliRunner().invoke
    assert "none" in run(app, ["devices", "list"]).stdout
    assert "Registered" not in run(app, ["devices"]).stdout
    profile = tmp_path / "mine.toml"
    assert run(app, ["devices", "probe", "--no-measure", "--out", str(profile)]).exit_code == 0
    assert run(app, ["devices", "add", "me", "here://", "--profile", str(profile)]).exit_code == 0
    listed = json.loads(run(app, ["devices", "list", "--json"]).stdout)["result"]["registered"]
    assert [(each["name"], each["url"], each["profile"]) for each in listed] == [("me", "here://", str(profile))]
    shown = run(app, ["devices"]).stdout
    assert PROFILE in shown and shown.rstrip().endswith(f"me                       here://, {profile}")
    assert len(json.loads(run(app, ["devices", "--json"]).stdout)["result"]["registered"]) == 1
    with open_link("me") as link:
        assert link.run(["echo", "here"]).stdout == b"here\n"
    assert run(app, ["devices", "add", "me", "here://", "--profile", PROFILE]).exit_code == 2
    assert run(app, ["devices", "remove", "me"]).exit_code == 0
    assert run(app, ["devices", "remove", "me"]).exit_code == 2
    assert registered() == ((), {})


@pytest.mark.parametrize(
    ("name", "url", "profile", "told"),
    [
        ("../x", "here://", PROFILE, "small letters"),
        ("Board", "here://", PROFILE, "small letters"),
        (PROFILE, "here://", PROFILE, "no device profile has"),
        ("board", "here://", "raspbery-pi-4b", "Did you mean"),
        ("board", "shh://me@host", PROFILE, "Did you mean 'ssh'"),
        ("board", "10.0.0.7", PROFILE, "ssh://"),
        ("board", "ssh://me:secret@host", PROFILE, "no password"),
        ("board", "ssh://me@host:99999", PROFILE, "Expected ssh://"),
        ("board", "ssh://me@host/folder", PROFILE, "Expected ssh://"),
        ("board", "ssh://me@-oProxyCommand=x", PROFILE, "Expected ssh://"),
        ("board", "ssh://me@host?port=3", PROFILE, "Expected ssh://"),
        ("board", "ssh://me@host?via=a&via=b", PROFILE, "one host to jump over"),
    ],
)
def test_what_cannot_be_registered_is_a_usage_error(name, url, profile, told):
    """Names, URLs and profiles that are none are refused before anything is reached, and no secret is repeated."""
    with pytest.raises(InputError, match=told) as raised:
        add(name, url, profile, accept_key=True)
    assert "secret" not in str(raised.value) and registered() == ((), {})


def test_urls_say_whom_where_and_over_what():
    """User, host and port have OpenSSH's defaults; an address of version 6 stands in brackets."""
    me = getpass.getuser()
    ways = {
        "ssh://host": [f"{me}@host"],
        "ssh://pi@10.0.0.7:2222": ["pi@[10.0.0.7]:2222"],
        "ssh://pi@[fe80::1]:2222": ["pi@[fe80::1]:2222"],
        "ssh://pi@board?via=me@gate": ["me@gate", "pi@board"],
    }
    assert {url: [str(each) for each in parse_ssh_url(url)] for url in ways} == ways


def test_a_damaged_device_file_is_told(tmp_path):
    """A file that edgewright did not write is a usage error with its path, never a traceback."""
    add("me", "here://", PROFILE)
    path = tmp_path / "config" / "devices" / "me.json"
    whole = json.loads(path.read_text())
    damaged = [{}, [], {"schema": 2}, {"schema": 1, "name": "me"}, {**whole, "url": 3}]
    damaged += [{**whole, "host_keys": keys} for keys in ([], {"me": "none"}, {"me": "ssh-ed25519 A"})]
    for text in ("", *map(json.dumps, damaged)):
        path.write_text(text)
        with pytest.raises(InputError, match=r"me\.json.*edgewright devices remove me"):
            open_link("me")


def test_a_damaged_device_file_leaves_the_others_listed(tmp_path):
    """What can be read is listed, what cannot is told with what to do, and the exit code is that of a usage error."""
    for name in ("me", "you"):
        add(name, "here://", PROFILE)
    (tmp_path / "config" / "devices" / "me.json").write_text('{"schema": 1')
    for listing in (["devices", "list"], ["devices"]):
        done = CliRunner().invoke(app, listing)
        assert done.exit_code == 2 and "you                      here://" in done.stdout
        assert re.search(r"me  +cannot be read\. Expected .*me\.json.*edgewright devices remove me", done.stdout)
        told = json.loads(CliRunner().invoke(app, [*listing, "--json"]).stdout)["result"]
        assert [device["name"] for device in told["registered"]] == ["you"] and list(told["damaged"]) == ["me"]


def test_a_device_file_that_was_copied_is_another_device(tmp_path):
    """A device's name is its file's, whatever the file says."""
    path = add("me", "here://", PROFILE).path
    path.with_name("you.json").write_text(path.read_text())
    assert [device.name for device in registered()[0]] == ["me", "you"]


def test_a_pinned_key_that_is_cut_short_is_told(server):
    """What stands in a device's file as its key and is none is a usage error, before anything is sent."""
    one, _ = server()
    with pytest.raises(InputError, match="Expected pinned host keys of .*edgewright devices remove board"):
        Ssh(one.url, {one.known_as: ["ssh-ed25519 AAAA"]}, name="board")
    assert "Accepted publickey" not in one.log


def test_without_asyncssh_the_extra_is_named(tmp_path):
    """Where asyncssh is not installed, adding a device over SSH ends with exit code 3 and how to install it."""
    code = (
        "import sys; sys.modules['asyncssh'] = None; from edgewright.cli import main\n"
        f"sys.argv = ['edgewright', 'devices', 'add', 'board', 'ssh://me@host', '--profile', '{PROFILE}']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "edgewright[ssh]" in done.stderr


def test_another_distribution_adds_a_transport_by_entry_point(tmp_path, monkeypatch):
    """A transport that only says how a command runs has copying and reading from us, under its URL's scheme."""
    (tmp_path / "their_transport.py").write_text(
        "from edgewright.devices._links import Here\n"
        "from edgewright.devices._transports import Transport\n"
        "class Shell(Here):\n"
        "    title = 'theirs'\n"
        "    def run(self, command, **given):\n"
        "        return super().run(['env', 'THEIRS=1', *command], **given)\n"
        "class Theirs(Transport):\n"
        "    name, title = 'theirs', 'theirs'\n"
        "    def introduce(self, url, key, accept, name):\n"
        "        return {}\n"
        "    def open(self, device):\n"
        "        return Shell()\n"
        "TRANSPORT = Theirs()\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgewright.links]\ntheirs = their_transport\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _transports.names() == ("here", "ssh", "theirs")
    add("phone", "theirs://serial", PROFILE)
    (tmp_path / "model").write_bytes(b"content")
    with open_link("phone") as link:
        link.send(tmp_path / "model", str(tmp_path / "copy"))
        assert link.read(str(tmp_path / "copy")) == b"content"
        assert link.run(["sh", "-c", "echo $THEIRS"]).stdout == b"1\n"
