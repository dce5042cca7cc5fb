"""Child processes: each way to end is a value, and nothing outlives it."""

import os
import sys
import time

import psutil
import pytest

from edgewright.children import Child, run_child, run_together

MIB = 1024**2


def _python(code, **limits):
    return run_child([sys.executable, "-c", code], **{"time_limit_s": 30, **limits})


def test_a_child_that_ends_well_is_ok():
    """Output, errors and time of a child come back."""
    # It lives long enough to be looked at: its memory is polled.
    child = _python("import sys, time; time.sleep(0.3); print('out'); print('err', file=sys.stderr)")
    assert child.ok and child.ending == "ok"
    assert (child.stdout, child.stderr) == ("out\n", "err\n")
    assert child.wall_s > 0 and child.peak_memory_bytes > MIB


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_signal_is_named(name):
    """A child that dies by a signal says by which, with the last line that it wrote."""
    child = _python(
        f"import os, signal, sys; print('before', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.{name})"
    )
    assert not child.ok
    assert child.reason() == f"killed by {name}: before"


def test_an_exit_status_is_told():
    """A child's own exit status and last line are its reason."""
    assert _python("import sys; print('why', file=sys.stderr); sys.exit(7)").reason() == "exit 7: why"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            'loc(fused["Relu:", "re_lu"]): error: \'tf.Relu\' op is not\n<unknown>:0: error: failed:\n}) : () -> ()',
            "error: 'tf.Relu' op is not",
        ),
        ("ValueError: shapes differ\n\nArguments received:\n  mask=None", "ValueError: shapes differ"),
        ("Error: no room\na hint", "Error: no room"),
        ("E0000 00:00:1 cuda.cc:52] CUDA error: no device\nkilled while converting", "killed while converting"),
        ("a.b.SomeError\nfree text with an Error: in it", "a.b.SomeError"),
    ],
)
def test_a_reason_is_the_line_that_states_an_error(lines, told):
    """What follows an error, and what a library logs that it does without, is not taken for the reason."""
    assert Child("exit 1", "", lines, 0.0, 0).reason() == f"exit 1: {told}"


def test_the_end_of_a_child_is_seen_at_once(monkeypatch):
    """However seldom it is looked at, its end is noticed; one that closes its stderr and goes on is waited for."""
    monkeypatch.setattr("edgewright.children._POLL_S", 30.0)
    assert _python("pass", time_limit_s=60).wall_s < 15
    goes_on = "import os, time; os.close(2); time.sleep(0.3); print('on')"
    assert _python(goes_on, time_limit_s=60).stdout == "on\n"


def test_a_child_that_hangs_is_stopped():
    """At its time limit a child is killed."""
    started = time.monotonic()
    child = _python("import time; time.sleep(60)", time_limit_s=0.5)
    assert child.ending == "time limit of 0.5 s"
    assert time.monotonic() - started < 10


def test_a_child_that_takes_too_much_memory_is_stopped():
    """Above its memory limit a child is killed, long before the host runs out."""
    code = "blocks = []\nwhile True: blocks.append(bytearray(b'x') * (8 * 1024**2))"
    child = _python(code, memory_limit_bytes=256 * MIB)
    assert child.ending == "memory limit of 0.2 GiB"
    assert child.peak_memory_bytes < 4096 * MIB


@pytest.mark.parametrize("ends", ["sys.exit(0)", "time.sleep(60)"])
def test_grandchildren_do_not_outlive_a_child(ends, tmp_path):
    """Processes that a child started are gone when it is, whether it ended or was stopped."""
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time, pathlib\n"
        "process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(process.pid))\n{ends}"
    )
    _python(code, time_limit_s=3)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(pid_file.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_lines_come_while_the_child_runs():
    """Each line of stderr is handed on as it comes."""
    seen = []
    _python("import sys\nfor n in range(3): print(n, file=sys.stderr)", on_line=seen.append)
    assert seen == ["0", "1", "2"]


def test_a_child_does_not_inherit_what_asks_for_keras_2(monkeypatch):
    """TF_USE_LEGACY_KERAS, which importing TF-MOT sets, stays out of children."""
    monkeypatch.setitem(os.environ, "TF_USE_LEGACY_KERAS", "1")
    assert _python("import os; print(os.environ.get('TF_USE_LEGACY_KERAS'))").stdout == "None\n"


def test_a_child_gets_variables_on_top_of_this_process_s():
    """What is set for a child is seen there, beside what it inherits."""
    code = "import os; print(os.environ['EDGEWRIGHT_TEST'], 'PATH' in os.environ)"
    assert _python(code, environment={"EDGEWRIGHT_TEST": "set"}).stdout == "set True\n"


def test_a_long_stderr_keeps_its_end():
    """Of what a child writes to stderr the last 64 KiB are kept, so that the reason is among them."""
    child = _python("import sys\nfor n in range(30000): print(n, file=sys.stderr)\nsys.exit(1)")
    assert child.reason() == "exit 1: 29999"
    assert len(child.stderr) <= 65536


def test_jobs_together_return_in_their_order():
    """Jobs run two at a time, are told as they end, and come back in the order in which they were given."""
    told = []

    def job(seconds):
        return lambda: _python(f"import time; time.sleep({seconds}); print({seconds})").stdout.strip()

    made = run_together([job(1), job(0), job(0.1)], 2, lambda place, answer, done: told.append((answer, done)))
    assert made == ["1", "0", "0.1"]
    assert [done for _, done in told] == [1, 2, 3] and told[-1][0] == "1"


def test_long_jobs_begin_first():
    """What takes long begins before the rest, in its own order; results come in the order of the jobs all the same."""
    begun = []
    jobs = [lambda place=place: begun.append(place) or place for place in range(5)]
    assert run_together(jobs, 1, long=[False, True, False, False, True]) == [0, 1, 2, 3, 4]
    assert begun == [1, 4, 0, 2, 3]


def test_an_interrupt_kills_the_children_of_other_jobs():
    """When the listener is interrupted, a job's child that would run for a minute is killed, and no job follows it."""
    endings = []

    def job(seconds):
        def run():
            endings.append(_python(f"import time; time.sleep({seconds})", time_limit_s=60).ending)

        return run

    def interrupted(*_):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_together([job(0), job(60), job(0), job(60)], 2, interrupted)
    assert time.monotonic() - started < 30
    assert "called off" in endings and endings.count("time limit of 60 s") == 0
