"""Children that are forked from a process with its imports done: they end as those that are begun anew do."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from edgewright import warm
from edgewright.children import inherited, run_together

MIB = 1024**2
# What the programs of these tests call for: something that takes long to import would stand here.
IMPORTS = ("decimal",)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Write a program as a module that children find; return what runs it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))

    def run(body, *arguments, imports=IMPORTS, **limits):
        (tmp_path / "a_program.py").write_text(f"if __name__ == '__main__':\n{textwrap.indent(body, '    ')}\n")
        return warm.run_module(
            "a_program", arguments, imports, **{"time_limit_s": 30, "memory_limit_bytes": 2048 * MIB, **limits}
        )

    return run


TELL = "import json, os, sys; print(json.dumps([os.getppid(), 'decimal' in sys.modules, sys.argv[1:]]))"


def test_children_share_the_imports_of_one_process(program):
    """Two in a row are forked from the same process, which has imported what they ask for, and get their arguments."""
    first, second = (json.loads(program(TELL, "a", "b").stdout) for _ in range(2))
    assert first == second and first[1:] == [True, ["a", "b"]]
    assert first[0] != os.getpid()


def test_a_child_without_imports_of_its_own_is_forked_only_from_what_stands_ready(program):
    """It is begun anew where nothing stands ready, and else forked, so that it costs nobody an import."""
    assert json.loads(program(TELL, imports=()).stdout)[:2] == [os.getpid(), False]
    ready = json.loads(program(TELL).stdout)[0]
    assert json.loads(program(TELL, imports=()).stdout)[:2] == [ready, True]


def test_what_was_made_ready_is_what_children_are_forked_from(program):
    """As many processes begin to import as children are to run at a time; said again, no more of them begin."""
    program("pass", imports=())
    for _ in range(2):
        warm.make_ready(IMPORTS, 2)
    standing = {ready.process.pid for ready in warm._READY if ready.serves(IMPORTS, inherited())}
    told = run_together([lambda: json.loads(program(TELL).stdout)] * 2, 2)
    assert {parent for parent, _, _ in told} <= standing and len(standing) == 2
    assert all(imported for _, imported, _ in told)


def test_other_variables_make_another_process(program, monkeypatch):
    """What is set for a child, or for this process, is so in the child, whatever was forked before."""
    told = "import os; print(os.environ.get('EDGEWRIGHT_TEST'))"
    assert program(told).stdout == "None\n"
    assert program(told, environment={"EDGEWRIGHT_TEST": "set"}).stdout == "set\n"
    monkeypatch.setenv("EDGEWRIGHT_TEST", "here")
    assert program(told).stdout == "here\n"


@pytest.mark.parametrize("imports", [IMPORTS, ()])
def test_temporary_files_are_gone_with_the_child(imports, program):
    """What a child leaves in the folder for temporary files is removed, whether it was forked or begun anew."""
    if not imports:
        warm._end_all()  # nothing is to stand ready
    left = program(
        "import os, signal, tempfile; print(tempfile.mkstemp()[1], flush=True); os.kill(os.getpid(), signal.SIGKILL)",
        imports=imports,
    )
    assert left.ending == "killed by SIGKILL" and os.path.isabs(left.stdout.strip())
    assert not os.path.exists(left.stdout.strip())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import sys; print('why', file=sys.stderr); sys.exit(7)", "exit 7: why"),
        ("import sys; sys.exit('why')", "exit 1: why"),
        ("raise ValueError('why')", "exit 1: ValueError: why"),
        ("import time; time.sleep(60)", "time limit of 1 s"),
        ("blocks = []\nwhile True: blocks.append(bytearray(b'x') * (8 * 1024**2))", "memory limit of 0.4 GiB"),
    ],
)
def test_each_way_to_end_is_told_and_costs_no_other_child(program, body, reason):
    """A crash, an exit, an error and both limits are the reason of that child; the next runs well."""
    program("pass")
    limits = {"time_limit_s": 1} if "sleep" in body else {"memory_limit_bytes": 400 * MIB}
    assert program(body, **limits).reason() == reason
    assert program("print('well')").stdout == "well\n"


def test_grandchildren_do_not_outlive_a_forked_child(program):
    """Processes that a forked child started are gone when it is."""
    body = "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid)"
    pid = int(program(body).stdout)
    deadline = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def test_a_process_that_died_meanwhile_is_replaced(program):
    """Where what stood ready was killed, the child runs all the same."""
    os.kill(json.loads(program(TELL).stdout)[0], signal.SIGKILL)
    assert json.loads(program(TELL, "a").stdout)[2] == ["a"]


def test_an_interrupt_kills_a_forked_child(program):
    """When the listener of jobs is interrupted, a forked child that would run for a minute is killed with them."""
    program("pass")
    endings = []

    def interrupted(*_):
        raise KeyboardInterrupt

    jobs = [
        lambda: time.sleep(1),
        lambda: endings.append(program("import time; time.sleep(60)", time_limit_s=60).ending),
    ]
    with pytest.raises(KeyboardInterrupt):
        run_together(jobs, 2, interrupted)
    assert endings == ["called off"]


def test_nothing_outlives_a_run_that_is_killed(tmp_path, monkeypatch):
    """When the process that asked is killed, the child and what it was forked from end."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    note = tmp_path / "pids"
    (tmp_path / "a_program.py").write_text(
        "import os, pathlib, sys, time\n"
        "if __name__ == '__main__':\n"
        "    pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()} {os.getppid()}')\n"
        "    time.sleep(600)\n"
    )
    asks = (
        "import sys; from edgewright.warm import run_module\n"
        "run_module('a_program', [sys.argv[1]], ('decimal',), time_limit_s=600, memory_limit_bytes=1 << 31)\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", asks, str(note)])
    deadline = time.monotonic() + 30
    while not (note.exists() and len(note.read_text().split()) == 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    asking.kill()
    asking.wait()
    pids = [int(pid) for pid in note.read_text().split()]
    while any(map(_runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_runs, pids))


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
