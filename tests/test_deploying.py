"""Deploying to real SSH servers: what becomes current and when, what stays, and what is told."""

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgewright import deploying, devices
from edgewright.cli import app
from edgewright.deploying import deploy
from edgewright.deploying_text import deployed_text, fleet_text
from edgewright.device_status import device_status
from edgewright.devices import _deployment, _registered, load_profile
from edgewright.devices._found import look
from edgewright.devices._lease import DeviceBusy, lease, release
from edgewright.devices._links import Link
from edgewright.devices._on_device import OnDevice
from edgewright.devices._registered import Registered
from edgewright.devices._toml import profile_toml
from edgewright.errors import DeviceError, GateFailed, InputError, MissingRequirement
from edgewright.export import load_bundle
from edgewright.fleet import Fleet, Row, deploy_fleet
from edgewright.registering import add, open_link
from edgewright.rolling_back import roll_back
from edgewright.ways_to_run import on_cores

from ._bundles import with_golden
from ._ssh_servers import CUT, Line, needs_ssh
from ._waiting import met

needs_ssh()

pytestmark = pytest.mark.usefixtures("home")


def _current(there):
    return (there / "edgewright/models/kinds/current").resolve()


def _parts(there):
    return [path for path in (there / "edgewright").rglob("*") if path.name.startswith(".part-")]


def test_what_is_deployed_answers_there_as_here_and_goes_back(board, small_bundle):
    """The int8 file is the same to the bit, its files are whole there, and rollback brings the one before."""
    there = board()
    first = deploy(small_bundle, "board", artifact="tflite float32")
    second = deploy(small_bundle, "board", artifact="tflite int8")
    assert second.golden.bit_exact and second.golden.samples == 16 and second.golden.agreement_percent == 100
    assert (second.before, second.runtime, second.emulated) == (first.version, "litert", False)
    assert _current(there).name == second.version
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=_current(there), check=True)
    status = device_status("board")
    (model,) = status.models
    assert (model.name, model.whole, model.current["version"]) == ("kinds", True, second.version)
    assert (model.previous["version"], status.holder, status.exit_code) == (first.version, None, 0)
    assert roll_back("board").version == first.version == _current(there).name
    assert roll_back("board").version == second.version == _current(there).name
    again = deploy(small_bundle, "board", artifact="tflite int8")
    assert again.size_bytes == 0 and _current(there).name == second.version
    assert not _parts(there) and not (there / "edgewright/scratch").exists()


def test_a_bundle_that_is_named_from_where_one_stands_is_copied_once(board, small_bundle, monkeypatch):
    """The golden inputs run in the version that was copied, by a relative path too: no file goes there twice."""
    board()
    monkeypatch.chdir(small_bundle.path.parent)
    sent = []
    monkeypatch.setattr(Link, "send", lambda link, source, *rest, **options: sent.append(source))
    assert deploy(small_bundle.path.name, "board", artifact="tflite int8").golden.bit_exact and not sent


def test_how_much_of_a_larger_version_was_copied_is_told(board, small_bundle, monkeypatch):
    """At each tenth, of a version of more than 1 MB, here of 1 kB, in the order of the whole deploy."""
    board()
    monkeypatch.setattr(deploying, "_MB", 1000)
    events = []
    deploy(small_bundle, "board", artifact="tflite int8", on_progress=events.append)
    copied = [event.text() for event in events if event.stage == "copy"]
    assert "0.0 of" in copied[1] and re.search(r"copy tflite int8 to board, ([1-9].*) of .* MB", copied[-1])
    assert [event.share for event in events] == sorted(event.share for event in events)


def test_what_was_changed_there_is_seen_and_not_gone_back_to(board, small_bundle):
    """Status ends with 1 where a current file changed, a changed previous version stays previous, and none is told."""
    there = board()
    first = deploy(small_bundle, "board", artifact="tflite float32")
    with pytest.raises(InputError, match="Expected a previous version of kinds on board"):
        roll_back("board")
    with pytest.raises(InputError, match="deployed on board: kinds. Got: 'other'"):
        roll_back("board", "other")
    second = deploy(small_bundle, "board", artifact="tflite int8")
    (artifact,) = (there / "edgewright/models/kinds/versions" / first.version / "artifacts").iterdir()
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"x")
    with pytest.raises(GateFailed, match="as they were deployed. Got: others"):
        roll_back("board")
    assert _current(there).name == second.version
    (artifact,) = (_current(there) / "artifacts").iterdir()
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"x")
    done = CliRunner().invoke(app, ["status", "board"])
    assert done.exit_code == 1 and "FILES CHANGED" in done.stdout
    # A version that was changed there is copied again.
    assert deploy(small_bundle, "board", artifact="tflite int8").size_bytes > 0
    assert device_status("board").exit_code == 0


def test_by_itself_the_artifact_that_is_predicted_to_be_fastest_is_taken(board, small_bundle):
    """Of float32 and int8 the float file of so small a network goes to this host, and the text says why."""
    board()
    done = CliRunner().invoke(app, ["deploy", str(small_bundle.path), "board", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "tflite float32 in litert" in done.stdout and "predicted to be the fastest of 2" in done.stdout


def test_a_line_that_is_cut_anywhere_leaves_the_old_version_live(board, small_bundle):
    """Cut at ten places from login to switch, the old version is current and whole, and the next deploy works."""
    there = board()
    old = deploy(small_bundle, "board", artifact="tflite float32").version
    known = _registered.get("board")
    port = int(known.url.rsplit(":", 1)[1])

    def over(line):
        keys = {f"[127.0.0.1]:{line.port}": next(iter(known.host_keys.values()))}
        url = known.url.replace(str(port), str(line.port))
        _registered.save(Registered("cut", url, known.profile, None, keys, known.python))

    whole = Line(port, 1 << 30, CUT)
    over(whole)
    new = deploy(small_bundle, "cut", artifact="tflite int8").version
    whole.close()
    roll_back("board")
    shutil.rmtree((there / "edgewright/models/kinds/previous").resolve())
    (there / "edgewright/models/kinds/previous").unlink()
    told = set()
    for place in range(10):
        line = Line(port, max(1, whole.sent * (2 * place + 1) // 20), CUT)
        over(line)
        with pytest.raises(DeviceError) as raised:
            deploy(small_bundle, "cut", artifact="tflite int8")
        told.add(str(raised.value).partition(" Got: ")[2])
        line.close()
        assert _current(there).name == old
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=_current(there), check=True)
    assert any(re.fullmatch(r"it was cut while .*\.(tar|tflite) was sent\.", each) for each in told), told
    assert deploy(small_bundle, "board", artifact="tflite int8", wait_s=20).version == new == _current(there).name
    assert not _parts(there)


def test_two_deployers_never_meet(board, small_bundle):
    """While one holds the lease the other is told who, for what and how long, with exit code 4; then it may."""
    there = board()
    with open_link("board") as link, lease(link, "profile other"):
        done = CliRunner().invoke(app, ["deploy", str(small_bundle.path), "board", "--quiet", "--json"])
        assert done.exit_code == 4
        message = json.loads(done.stdout)["error"]["message"]
        assert "profile other" in message and "@" in message and "seconds" in message
        assert device_status("board").holder.why == "profile other"
        assert not (there / "edgewright/models").exists()
    assert deploy(small_bundle, "board").version


def test_of_many_deployers_at_once_each_finds_a_whole_version(board, small_bundle):
    """Four that deploy two artifacts at the same time, and wait, leave one of them current and the other previous."""
    there = board()
    made = []
    names = ["tflite float32", "tflite int8"] * 2
    threads = [
        threading.Thread(target=lambda name=name: made.append(deploy(small_bundle, "board", artifact=name, wait_s=60)))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert made[-1].version == json.loads((_current(there) / "deployed.json").read_text())["version"]
    assert not _parts(there)


def test_a_lease_that_was_ended_by_another_switches_nothing(board, small_bundle):
    """Whoever lost the lease cannot make anything current, and the release says who held it."""
    there = board()
    old = deploy(small_bundle, "board", artifact="tflite float32").version
    with open_link("board") as link, lease(link, "deploy kinds") as held:
        done = CliRunner().invoke(app, ["devices", "release", "board"])
        assert done.exit_code == 0 and "deploy kinds" in done.stdout
        with pytest.raises(DeviceError, match="ended by somebody else"):
            _deployment.roll_back(link, f"{held.folder}/models/kinds", held)
    assert _current(there).name == old
    with open_link("board") as link:
        assert release(link) is None


def test_nothing_runs_under_a_lease_that_was_ended(board, tmp_path):
    """What runs as somebody else ends the lease is killed, and that told; nothing begins later."""
    board()
    limits = {"time_limit_s": 60, "memory_limit_bytes": 1 << 30}
    with open_link("board") as link, lease(link, "measure kinds") as held:
        place = OnDevice(link, held, look(link, sys.executable).pythons[0], "board")

        def end():
            with open_link("board") as other:
                met(lambda: (Path(held.folder) / "running").exists())
                release(other)

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(end)
            with pytest.raises(DeviceError, match="hold the lease on board.*one that somebody else ended"):
                place.run(["-c", "import time; time.sleep(50)"], tmp_path, **limits)
            ended.result()
        with pytest.raises(DeviceError, match="one that somebody else ended"):
            place.run(["-c", ""], tmp_path, **limits)


def test_what_is_only_there_under_a_lease_goes_with_it(board):
    """A run's files and a version that is not current yet are gone at its end, or, after a power cut, at its begin."""
    home = board() / "edgewright"
    folders = [home / "scratch/one", home / "models/kinds/versions/.part-1"]
    for way in ("a power cut", "an end"):
        with open_link("board") as link, contextlib.ExitStack() as stack:
            if way == "an end":
                stack.enter_context(lease(link, "deploy kinds"))
            for each in folders:
                each.mkdir(parents=True)
                (each / "half").touch()
            if way == "a power cut":
                stack.enter_context(lease(link, "deploy kinds"))
                assert not any(each.exists() for each in folders)
        assert not any(each.exists() for each in folders) and (home / "models/kinds/versions").exists()


def test_how_long_a_lease_is_held_does_not_go_by_the_devices_clock(board, tmp_path):
    """A board begins in 1970, until the network sets its clock: a lease that is held meanwhile is seconds old."""
    date = tmp_path / "bin/date"
    date.parent.mkdir()
    date.write_text(f"#!/bin/sh\nset -C\n(: > {tmp_path}/asked) 2>/dev/null && echo 10 || echo 2000000000\n")
    date.chmod(0o755)
    board(variables=f"PATH={date.parent}:{os.defpath}")
    with open_link("board") as link, lease(link, "profile other"):
        with pytest.raises(DeviceBusy, match=r"has held for \d+ seconds to profile other"), lease(link, "deploy kinds"):
            pass
        done = CliRunner().invoke(app, ["status", "board"])
        assert re.search(r"has used it for \d+ seconds to profile other", done.stdout)
        assert 0 <= device_status("board").holder.for_s < 60


def test_a_device_without_flock_is_used_by_nobody(board, small_bundle, tmp_path):
    """It takes no deploy, which says what lacks there, and its status tells of no user."""
    flock = tmp_path / "bin/flock"
    flock.parent.mkdir()
    flock.write_text("#!/bin/sh\nexit 127\n")
    flock.chmod(0o755)
    board(variables=f"PATH={flock.parent}:{os.defpath}")
    with pytest.raises(DeviceError, match="Expected to hold the lease on board.*no flock"):
        deploy(small_bundle, "board")
    assert device_status("board").holder is None


def test_why_a_lease_cannot_be_held_is_told(board, small_bundle):
    """What the device says of its home comes with the error: a full disk and a read-only one are told apart."""
    (board() / "edgewright").touch()
    with pytest.raises(DeviceError, match="Expected to hold the lease on board.*File exists"):
        deploy(small_bundle, "board")


def test_what_a_power_cut_left_running_is_no_stranger_later(board):
    """Of what ran under a lease, the next holder ends what outlived a killed one, and no process of another boot."""
    there = board()
    home = there / "edgewright"
    home.mkdir(exist_ok=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for told, ends in (("an-earlier-boot", False), ("", False), (boot, True)):
        with subprocess.Popen(["sleep", "600"], start_new_session=True) as one:
            (home / "running").write_text(f"{one.pid} {told}\n")
            with open_link("board") as link, lease(link, "look"):
                pass
            try:
                assert (one.wait(0.5) if ends else one.poll()) == (-signal.SIGKILL if ends else None)
            finally:
                one.kill()
        assert not (home / "running").exists()


def test_what_computes_something_else_there_never_becomes_current(board, small_bundle, tmp_path):
    """Against golden outputs that are another model's the deploy fails the gate, and the old version is current."""
    there = board()
    old = deploy(small_bundle, "board", artifact="tflite float32").version
    _, outputs = small_bundle.golden()
    other = with_golden(small_bundle, tmp_path / "other", **{"output/kinds": np.roll(outputs["kinds"], 3, axis=1)})
    with pytest.raises(GateFailed, match=f"agree with the golden outputs.*version {old} is current still"):
        deploy(other, "board", artifact="tflite int8")
    assert _current(there).name == old and not _parts(there)


def test_a_full_disk_there_leaves_the_old_version(board, small_bundle, tmp_path):
    """Without room for the files, known before or found out while they are written, the old version is current."""
    there = tmp_path / "small"
    there.mkdir()
    with _file_system(there, "4m"):
        board(there=there)
        old = deploy(small_bundle, "board", artifact="tflite float32").version
        (there / "filler").write_bytes(bytes(2 << 20))
        with pytest.raises(DeviceError, match="free bytes.*nothing was copied"):
            deploy(small_bundle, "board", artifact="tflite int8")
        (there / "rest").write_bytes(bytes(_room(there) - 200_000))
        files = {"large": tmp_path / "large"}
        files["large"].write_bytes(os.urandom(1 << 20))
        with open_link("board") as link, lease(link, "deploy") as held, pytest.raises(DeviceError, match="; 0 kB free"):
            folder = f"{held.folder}/models/kinds"
            _, sums = _deployment.version_of(files)
            _deployment.send_version(link, folder, ".part-1", files, sums, {}, tmp_path / "packed")
        assert _current(there).name == old and not _parts(there)
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=_current(there), check=True)


def _room(folder):
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def _file_system(folder, size):
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this host lets this user mount nothing")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_device_without_python_or_runtime_is_told(board, small_bundle, tmp_path):
    """No Python, one that is too old, and one without a runtime: exit code 3, with what is there and what to do."""
    board("none", python="/no/such/python3")
    with pytest.raises(MissingRequirement, match="Expected Python 3.7.*no command /no/such/python3.*--python"):
        deploy(small_bundle, "none")
    # What Python 3.5 on Debian 9 prints for the script, which it can run.
    facts = {"schema": 1, "version": "3.5.3", "implementation": "cpython", "machine": "x86_64", "libc": "glibc 2.24"}
    facts |= {"home": "/root", "places": [{"folder": "", "distributions": {}}]}
    facts |= {"models": {}, "free_bytes": 1 << 30, "emulated": ""}
    old = tmp_path / "python3.5"
    old.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(facts)}'\n")
    old.chmod(0o755)
    board("old", python=old)
    with pytest.raises(MissingRequirement, match="Expected Python 3.7.*3.5.3"):
        deploy(small_bundle, "old")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    board("bare", python=tmp_path / "bare/bin/python")
    with pytest.raises(MissingRequirement, match="Expected a runtime on bare: LiteRT.*none"):
        deploy(small_bundle, "bare")


def test_status_tells_the_runtimes_that_were_carried_there(board):
    """What a deploy put beside the device's Python counts as there: a version may run in that alone."""
    folder = board() / "edgewright/runtimes/litert"
    (folder / "ai_edge_litert-9.8.dist-info").mkdir(parents=True)
    (folder / "ai_edge_litert-9.8.dist-info/METADATA").write_text("Name: ai-edge-litert\nVersion: 9.8\n\n")
    about = {"python": "{}.{}".format(*sys.version_info[:2]), "machine": platform.machine()}
    (folder / "edgewright-runtime.json").write_text(json.dumps(about))
    told = CliRunner().invoke(app, ["status", "board"]).stdout.splitlines()[0]
    assert told.endswith("; carried there: ai-edge-litert 9.8")


def test_a_bundle_that_was_changed_never_leaves_this_host(board, small_bundle, tmp_path):
    """A file with another SHA-256 is an input error, before the device is reached."""
    there = board()
    copy = tmp_path / "copy"
    shutil.copytree(small_bundle.path, copy)
    (copy / "golden.npz").write_bytes(b"other")
    with pytest.raises(InputError, match="golden.npz"):
        deploy(copy, "board")
    assert not (there / "edgewright").exists()


def test_a_bundle_with_nothing_for_the_device_says_why(board, small_bundle, tmp_path):
    """A device whose profile runs none of the bundle's formats fails the gate with the profile's own reasons."""
    board()
    profile = load_profile(Path(_registered.get("board").profile))
    others = tuple(target for target in profile.targets if target.format != "tflite")
    assert len(others) < len(profile.targets)
    (tmp_path / "other.toml").write_text(profile_toml(profile.model_copy(update={"targets": others})))
    known = _registered.get("board")
    _registered.save(Registered(known.name, known.url, str(tmp_path / "other.toml"), None, known.host_keys))
    with pytest.raises(GateFailed, match="Expected an artifact.*tflite int8"):
        deploy(small_bundle, "board")


def test_another_machine_than_registered_is_told(server, small_bundle):
    """A server of this host that was added as a Raspberry Pi gets nothing."""
    one, _ = server()
    add("pi", one.url, "raspberry-pi-4b", accept_key=True, python=sys.executable)
    with pytest.raises(InputError, match="Expected pi to be Raspberry Pi 4.*devices probe pi"):
        deploy(small_bundle, "pi")


def test_a_fleet_begins_with_its_canary_and_stops_at_a_failure(board, small_bundle):
    """Three devices get it; where the canary fails the others are not tried; the exit code is the failure's."""
    homes = {name: board(name) for name in ("one", "two", "three")}
    fleet = deploy_fleet(small_bundle.path, ["one", "two", "three"], artifact="tflite float32")
    assert [row.state for row in fleet.rows] == ["deployed"] * 3 and fleet.exit_code == 0
    old = {name: _current(there).name for name, there in homes.items()}
    with open_link("two") as link, lease(link, "measure"):
        arguments = ["deploy", str(small_bundle.path), "two", "one", "three", "--artifact", "tflite int8", "--json"]
        done = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert done.exit_code == 4
    rows = json.loads(done.stdout)["result"]["rows"]
    assert [row["state"].split(":")[0] for row in rows] == ["failed", "not tried", "not tried"]
    assert rows[0]["error"]["type"] == DeviceBusy.__name__
    assert {name: _current(there).name for name, there in homes.items()} == old
    with pytest.raises(InputError, match="once"):
        deploy_fleet(small_bundle.path, ["one", "one"])


def test_on_a_board_with_an_edge_tpu_it_is_told_that_the_cores_run_it(board, small_bundle, tmp_path):
    """A bundle's file is not compiled: it runs on all cores, and the commands that compile and measure it are told."""
    there = board("coral")
    text = (Path(devices.__file__).parent / "profiles/coral-dev-board.toml").read_text()
    known = _registered.get("coral")
    isa = devices.load_profile(Path(known.profile)).cpu.isa.value
    (tmp_path / "coral.toml").write_text(text.replace('"ARMv8.0-A"', f'"{isa}"'))
    _registered.save(replace(known, profile=str(tmp_path / "coral.toml")))
    bundle = load_bundle(shutil.copytree(small_bundle.path, tmp_path / "my bundle"))
    made = deploy(bundle, "coral", artifact="tflite int8", runtime="litert")
    (file,) = (each.path for each in bundle.artifacts if each.precision == "int8")
    assert f"edgetpu_compiler '{file}', and" in made.note
    assert f"measure {file.stem}_edgetpu.tflite --on coral --runtime litert --delegate libedgetpu.so.1" in made.note
    assert made.note in deployed_text(made) and f"coral: {made.note}" in fleet_text(Fleet((Row("coral", made),)))
    assert json.loads((_current(there) / "deployed.json").read_text())["threads"] == 4
    # In float32 it would run on the cores in any case, and there is nothing to be told.
    assert not deploy(small_bundle, "coral", artifact="tflite float32", runtime="litert").note


def test_as_a_bundle_runs_on_it_a_board_has_no_edge_tpu():
    """Its targets on the Edge TPU become the cores', by which an artifact is chosen; other boards are the same."""
    coral = devices.get("coral-dev-board")
    before, after = (each.target("tflite", "int8") for each in (coral, on_cores(coral)))
    assert (before.unit, after.unit, after.threads, after.runtime) == ("edgetpu", "cpu", 4, before.runtime)
    assert after.effective_gmacs_per_s == before.fallback.effective_gmacs_per_s and not on_cores(coral).accelerators
    assert on_cores(coral).target("tflite", "float32") == coral.target("tflite", "float32")
    for name in ("raspberry-pi-4b", "jetson-orin-nano"):
        assert on_cores(devices.get(name)) == devices.get(name)
