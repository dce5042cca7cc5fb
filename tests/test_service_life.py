"""A service's life: how it starts, what it does with slow, many and ending clients, how it ends and starts again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgewright.devices import _service as service
from edgewright.devices._links import Here
from edgewright.devices._service_scripts import LOG, RECORD, SOCKET, start_script, status_script, stop_script
from edgewright.runtimes._client import RUNNER

from ._services import FIRST, SERVICE, command, place, request

# A host that takes its time, and says when it begins.
SLOW = """
import time


class Host(object):
    def __init__(self, graphs, settings):
        pass

    def run(self, sample):
        if sample["wait_s"] > 0:
            open("begun", "w").close()
        time.sleep(float(sample["wait_s"]))
        return {"waited_s": sample["wait_s"]}
"""


@pytest.fixture
def slow(serving, artifacts, tmp_path):
    """Return a function that serves a model that answers as late as it is asked to."""
    (tmp_path / "slow_host.py").write_text(SLOW)
    np.savez(tmp_path / "example.npz", wait_s=np.zeros(1, "f4"))
    options = ["--host", tmp_path / "slow_host.py", "--artifact", f"a={artifacts['tflite', 'float32']}"]
    options += ["--example", tmp_path / "example.npz", "--name", "small"]
    return lambda *more: serving("--runtime", "litert", *options, *more)


def test_one_connection_asks_again_and_a_slow_one_blocks_nobody(small, inputs):
    """A connection stays open for more requests; one that sends half a request leaves the others to be answered."""
    body = json.dumps(request(inputs)).encode()
    head = b"POST /v2/models/small/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with small.raw() as half, small.raw() as whole:
        half.sendall(head + body[:-5])
        for _ in range(3):
            whole.sendall(head + body)
            answer = whole.recv(1 << 16)
            while not answer.endswith(b"]}"):
                answer += whole.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200")
        half.sendall(body[-5:])
        assert half.recv(100).startswith(b"HTTP/1.1 200")


def test_a_request_that_does_not_arrive_is_given_up(serving, artifacts):
    """A client that sends a byte now and then gets no more time than the limit, and is told so."""
    options = ["--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--name", "small"]
    running = serving(*options, "--limit-s", "0.5")
    with running.raw() as connection:
        connection.sendall(b"POST /v2/models/small/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        connection.settimeout(0.05)
        started, answer = time.monotonic(), b""
        while not answer and time.monotonic() - started < 4:
            connection.send(b"x")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(1000)
        connection.settimeout(10)
        answer += connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408") and b"Expected 100 bytes within 0.5 s." in answer
    assert running.get("/v2/models/small/stats")[1]["refused"] == 1


def test_who_waits_too_long_for_a_turn_is_told(slow):
    """While one answer takes longer than the limit, another request is HTTP 503, and the health is told meanwhile."""
    running = slow("--limit-s", "0.3")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.ask, running.path, "small", {"wait_s": np.array([1.0], "f4")})
        while not (running.folder / "begun").exists():
            time.sleep(0.01)
        status, answer = running.post({"inputs": [{"name": "wait_s", "datatype": "FP32", "shape": [1], "data": [0]}]})
        assert status == 503 and "Expected the model to be free within 0.3 s." in answer["error"]
        assert running.get("/v2/health/live")[0] == 200
        assert asked.result(10)["waited_s"] == [1.0]


def test_too_many_connections_are_refused(small):
    """Beyond the limit a connection is told so at once; when one closes there is room again."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(small.raw()) for _ in range(service.CONNECTIONS)]
        end = time.monotonic() + 10
        status = 200
        while status == 200 and time.monotonic() < end:  # until all of them have been taken
            status = small.get("/v2/health/live")[0]
        assert status == 503
        held[0].close()
        while small.get("/v2/health/live")[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_sigterm_lets_a_request_finish(slow, tmp_path):
    """What is being answered is answered, an idle connection holds nothing up, the socket is gone, the status is 0."""
    running = slow()
    with ThreadPoolExecutor(1) as pool, running.raw():
        asked = pool.submit(service.ask, running.path, "small", {"wait_s": np.array([1.0], "f4")})
        while not (running.folder / "begun").exists():
            time.sleep(0.01)
        before = time.monotonic()
        assert running.end() == 0
        assert time.monotonic() - before < 5
        assert asked.result(10)["waited_s"] == [1.0]
    assert not (running.folder / SOCKET).exists() and not (running.folder / RECORD).exists()
    assert running.log.rstrip().endswith("small 1 is stopped")


def test_a_socket_in_use_is_refused_and_a_stale_one_replaced(serving, artifacts, inputs, tmp_path):
    """A second service ends with 2 and harms nothing; after kill -9 the socket that was left is replaced."""
    options = ["--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--name", "small"]
    first = serving(*options)
    second = serving(*options, wait=False)
    assert second.process.wait(30) == 2
    assert f"Expected a place for a socket at {SOCKET}. Got: one at which a process answers." in second.log
    assert first.get("/v2/health/ready")[0] == 200
    first.end(signal.SIGKILL)
    assert Path(first.path).is_socket()
    third = serving(*options)
    assert third.get("/v2/health/ready")[0] == 200 and third.facts["pid"] == third.process.pid
    assert third.end() == 0
    Path(third.path).write_text("mine")
    fourth = serving(*options, wait=False)
    assert fourth.process.wait(30) == 2 and Path(third.path).read_text() == "mine"
    assert "Got: another file there." in fourth.log


def test_what_another_service_put_in_the_same_place_is_left_alone(serving, artifacts):
    """Where someone removed the socket and another service took the place, the end of the first takes nothing away."""
    options = ["--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--name", "small"]
    first = serving(*options)
    os.remove(first.path)
    second = serving(*options)
    assert first.end() == 0
    assert second.get("/v2/health/ready")[0] == 200 and second.facts["pid"] == second.process.pid


def test_of_several_that_start_at_once_one_serves(tmp_path):
    """Where a killed service left its socket and several take its place at once, one gets it and others are told."""
    path, together = str(tmp_path / SOCKET), threading.Barrier(8)

    def start(_):
        together.wait()
        try:
            return service.claim(path, "small", "1", 1, 1.0)
        except service.Failed as failed:
            return failed.status

    with ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            made = list(pool.map(start, range(8)))
            assert sorted(map(str, made))[:7] == ["2"] * 7 and os.path.lexists(path)
            (one,) = (each for each in made if each != 2)
            one.server_close()  # which leaves the socket's file, as a killed one does


@pytest.mark.parametrize("path", ["no/such/folder/a.sock", "a" * 120])
def test_a_socket_that_cannot_be_is_refused(path, artifacts, tmp_path):
    """A folder that is not there and a path longer than a socket's are exit status 2, told in a sentence."""
    options = ["--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--socket", path]
    done = subprocess.run(
        [sys.executable, SERVICE, "--runner", RUNNER, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "Expected a place for a socket at" in done.stderr, done.stderr


def _once(*options, folder, without=""):
    """Run the service's file once; return its exit status and what it printed."""
    code = f"import runpy, sys; sys.modules[{without!r}] = None; sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    start = [sys.executable, "-c", code] if without else [sys.executable]
    done = subprocess.run(
        [*start, str(SERVICE), "--runner", str(RUNNER), *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stdout


def test_check_loads_and_answers_once(artifacts, tmp_path):
    """``--check`` prints what the model is and how long it took, and leaves nothing behind."""
    options = ["--runtime", "litert", "--artifact", artifacts["tflite", "int8"], "--name", "small"]
    status, printed = _once("--check", *options, folder=tmp_path)
    answer = json.loads(printed)
    assert status == 0 and answer["ok"] and answer["answered"] and answer["load_ms"] > 0 and answer["first_ms"] > 0
    assert answer["outputs"][0] == {"name": "narrow", "datatype": "FP32", "shape": [-1, 2]}
    assert not list(tmp_path.iterdir())


def test_exit_statuses_are_the_runners(artifacts, tmp_path):
    """3 without the runtime, 1 where the artifact fails, 2 on wrong usage, each with its reason."""
    options = ["--runtime", "litert", "--artifact"]
    status, printed = _once("--check", *options, "any.tflite", folder=tmp_path, without="ai_edge_litert")
    assert status == 3 and "Expected the runtime litert to be installed." in json.loads(printed)["message"]
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    for artifact in ("broken.tflite", "absent.tflite"):
        status, printed = _once("--check", *options, artifact, folder=tmp_path)
        assert status == 1 and f"Expected {artifact[:-7]} to load and to answer." in json.loads(printed)["message"]
    assert _once("--socket", "a.sock", *options, "broken.tflite", folder=tmp_path) == (1, "")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.tflite"]
    np.savez(tmp_path / "example.npz", other=np.zeros((3, 4), "f4"))
    file = artifacts["tflite", "float32"]
    status, printed = _once("--check", *options, file, "--example", "example.npz", folder=tmp_path)
    assert status == 1 and "Expected the inputs first, second. Got: other." in json.loads(printed)["message"]
    assert _once("--check", "--runtime", "litart", "--artifact", "any.tflite", folder=tmp_path) == (2, "")
    assert _once("--check", *options, "any.tflite", "--unit", "GPU", folder=tmp_path) == (2, "")
    assert _once(folder=tmp_path) == (2, "")


def test_ask_needs_nothing_else_on_the_device(small, inputs, expected, tmp_path):
    """``--ask`` sends one file's arrays and writes the answer to another; a refusal is exit status 1."""
    np.savez(tmp_path / "in.npz", **{name: array[:5] for name, array in inputs.items()})
    status, printed = _once("--ask", small.path, "--inputs", "in.npz", "--outputs", "out.npz", folder=tmp_path)
    assert status == 0 and json.loads(printed)["name"] == "small"
    with np.load(tmp_path / "out.npz") as made:
        np.testing.assert_allclose(made["narrow"], expected["narrow"][:5], atol=1e-5)
    np.savez(tmp_path / "bad.npz", first=inputs["first"])
    status, printed = _once("--ask", small.path, "--inputs", "bad.npz", "--outputs", "out2.npz", folder=tmp_path)
    assert status == 1 and json.loads(printed)["message"] == "Expected the inputs first, second. Got: first."
    assert not (tmp_path / "out2.npz").exists()
    assert _once("--ask", "none.sock", "--inputs", "in.npz", "--outputs", "o.npz", folder=tmp_path)[0] == 1


def _script(script, folder, *arguments):
    """Run a script on this host; return its exit status, its JSON and its stderr."""
    done = Here().run(["sh", "-c", script, "sh", str(folder), *map(str, arguments)], time_limit_s=60)
    return done.status, json.loads(done.stdout or "null"), done.stderr.decode()


@pytest.fixture
def plain(artifacts, tmp_path):
    """A folder whose name needs quoting, and the command that serves there; what was started in it is ended."""
    folder = place(tmp_path / "a b'c")
    options = [
        "--runtime",
        "litert",
        "--artifact",
        artifacts["tflite", "float32"],
        "--name",
        "it's 1",
        "--version",
        "v 2",
    ]
    yield folder, [*command(), *map(str, options)]
    _script(stop_script(), folder, 1)


def test_the_scripts_start_tell_and_stop(plain):
    """The service outlives the command that started it, tells what it is, is started once, and ends cleanly."""
    folder, serve = plain
    assert _script(status_script(), folder) == (0, {"running": False, "died": False}, "")
    status, facts, _ = _script(start_script(), folder, 30, *serve)
    assert status == 0 and facts["ready"] and (facts["name"], facts["version"]) == ("it's 1", "v 2")
    assert os.getsid(facts["pid"]) == facts["pid"] and "it's 1 v 2 is ready" in (folder / LOG).read_text()
    assert _script(status_script(), folder) == (0, facts, "")
    assert _script(start_script(), folder, 30, *serve)[:2] == (0, facts)
    assert service.call(str(folder / SOCKET), "GET", "/v2/models/it%27s%201/ready")[0] == 200
    assert _script(stop_script(), folder, 20) == (0, {"running": False, "killed": False}, "")
    assert not _alive(facts["pid"]) and not (folder / SOCKET).exists()
    assert _script(stop_script(), folder, 20)[1] == {"running": False, "killed": False}


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_killed_service_is_told_and_started_again(plain):
    """After kill -9 the status says that it died, and the same script starts it in the same place."""
    folder, serve = plain
    first = _script(start_script(), folder, 30, *serve)[1]
    os.kill(first["pid"], signal.SIGKILL)
    while _alive(first["pid"]):
        time.sleep(0.01)
    assert _script(status_script(), folder)[1] == {"running": False, "died": True}
    second = _script(start_script(), folder, 30, *serve)[1]
    assert second["ready"] and second["pid"] != first["pid"]


def test_a_process_that_was_given_the_number_later_is_left_alone(plain):
    """A record whose process has another start, or is of another boot, is of none that runs: stop ends nobody."""
    folder, serve = plain
    with subprocess.Popen(["sleep", "60"]) as other:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        born = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        for line in (f"{other.pid} {int(born) - 1} {boot}", f"{other.pid} {born} {boot[::-1]}"):
            (folder / RECORD).write_text(line + '\n{"running": true, "ready": true}\n')
            assert _script(status_script(), folder)[1] == {"running": False, "died": True}
            assert _script(stop_script(), folder, 1)[1] == {"running": False, "killed": False}
        assert other.poll() is None
        (folder / RECORD).write_text(f'{other.pid} {born} {boot}\n{{"running": true, "ready": true}}\n')
        assert _script(status_script(), folder)[1] == {"running": True, "ready": True}
        other.kill()


def test_a_service_that_cannot_start_says_why(plain):
    """The end of its own log comes back with exit status 1, not that of an earlier run, and nothing is left running."""
    folder, serve = plain
    (folder / LOG).write_text("of an earlier run\n")
    status, _, said = _script(start_script(), folder, 30, *serve, "--artifact", "absent.tflite", "--artifact", "x")
    assert status == 1 and "several artifacts need --host" in said and "a process that ended" in said
    assert "of an earlier run" not in said
    bad = ["absent.tflite" if str(word).endswith(".tflite") else word for word in serve]
    status, _, said = _script(start_script(), folder, 30, *bad)
    assert status == 1 and "FileNotFoundError" in said
    status, _, said = _script(start_script(), folder, 1, "sh", "-c", "echo $$ > number; exec sleep 60")
    assert status == 1 and "one that is still starting" in said
    end = time.monotonic() + 10
    while _alive(int((folder / "number").read_text())):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert _script(status_script(), folder)[1]["running"] is False
    assert _script(start_script(), folder / "none", 1, "true")[0] == 1


def test_a_service_that_does_not_end_is_killed(slow):
    """Where an inference goes on after SIGTERM for longer than asked, the process is killed, and told so."""
    running = slow()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.ask, running.path, "small", {"wait_s": np.array([60.0], "f4")})
        while not (running.folder / "begun").exists():
            time.sleep(0.01)
        assert _script(stop_script(), running.folder, 1)[1] == {"running": False, "killed": True}
        with pytest.raises(ConnectionError):
            asked.result(10)
    assert not (running.folder / SOCKET).exists() and not (running.folder / RECORD).exists()


def test_the_log_is_turned_over_at_the_start(plain):
    """A log of more than a megabyte is put aside when the service is started."""
    folder, serve = plain
    (folder / LOG).write_bytes(b"old\n" * 300_000)
    assert _script(start_script(), folder, 30, *serve)[0] == 0
    assert (folder / LOG).stat().st_size < 10_000 and (folder / f"{LOG}.1").stat().st_size == 1_200_000


def test_a_client_that_is_refused_for_ever_does_not_fill_the_disk(serving, artifacts):
    """Lines beyond a quarter of a megabyte are left out, and the log says so once."""
    running = serving("--runtime", "litert", "--artifact", artifacts["tflite", "float32"], "--name", "small")
    name = "an input of another model " * 12
    while not running.log.endswith("The log is full: further lines are left out.\n"):
        for _ in range(100):
            assert running.post({"inputs": [{**FIRST, "name": name}]})[0] == 400
    length = len(running.log)
    assert service.LOG_BYTES - 1000 < length < service.LOG_BYTES + 1000
    assert running.post(b"x")[0] == 400 and len(running.log) == length
