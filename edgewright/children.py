"""A child process with limits, whose death is a value and never the end of the run."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

import psutil

T = TypeVar("T")

GIB = 1024**3
# What a child may not inherit: importing TF-MOT sets it, and it would turn a child's Keras 3 into Keras 2.
_NOT_INHERITED = ("TF_USE_LEGACY_KERAS",)
# A line such as "ValueError: text" or "error: text". Neither a library's log of what it did without, which begins with
# a letter and the date, nor a line that announces others.
_STATES_AN_ERROR = re.compile(r"^(?![IWE]\d{4} )([\w.]*(Error|Exception)(:.*)?|(.*\s)?error:.*)(?<!:)$")
# Where in a graph MLIR found an error: longer than the error.
_LOCATION = re.compile(r"<unknown>:0: |loc\(.*\): ")
_POLL_S = 0.05
# After a process has closed its stderr, as each does that ends; few go on after that.
_ENDING_S = 0.005
# Finding a child's own children reads all of /proc: done at every so many polls.
_FAMILY_POLLS = 5
# Of a thread of ``run_together``: the event that ends its child.
_THREAD = threading.local()


@dataclass(frozen=True)
class Child:
    """How a child process ended.

    Attributes:
        ending: "ok", "exit 3", "killed by SIGSEGV", "time limit of 60 s", "memory limit of 2.0 GiB" or "called off".
        stdout, stderr: what it printed, the last 64 KiB of stderr.
        wall_s: seconds it ran.
        peak_memory_bytes: largest resident set seen of it and its children, polled every 50 ms (its children's, every
            quarter of a second).
    """

    ending: str
    stdout: str
    stderr: str
    wall_s: float
    peak_memory_bytes: int

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit status 0."""
        return self.ending == "ok"

    def reason(self) -> str:
        """Return the ending and the last line of stderr that states an error, else the last line, for a report."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        stated = [line for line in lines if _STATES_AN_ERROR.search(line)]
        told = _LOCATION.sub("", (stated or lines or [""])[-1])[:300]
        return f"{self.ending}: {told}" if told else self.ending


def run_child(
    command: Sequence[str | Path],
    *,
    time_limit_s: float,
    memory_limit_bytes: int = 8 * GIB,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Child:
    """Run a command to its end or to its limits and say how it ended.

    It gets a session of its own, so that its own children die with it (but for one that starts a session itself), and
    no standard input.

    Args:
        command: the program and its arguments.
        time_limit_s: wall-clock seconds after which it is killed.
        memory_limit_bytes: resident bytes, its children included, above which it is killed.
        environment: variables set on top of this process's.
        on_line: called with each line of stderr as it comes, from another thread (for progress).
    """

    def begin(out: IO[bytes]) -> Begun:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            env=inherited(environment),
            start_new_session=True,
        )

    return watched(begin, time_limit_s, memory_limit_bytes, on_line)


class Begun(Protocol):
    """A process that was begun: what ``watched`` asks of ``subprocess.Popen`` and the like.

    Attributes:
        pid: its own and its group's, or that of the process that is about to begin it.
        stderr: what it writes there, to be read.
        returncode: as ``subprocess.Popen`` has it; None while it runs.
    """

    pid: int
    stderr: IO[bytes] | None
    returncode: int | None

    def poll(self) -> int | None:
        """Return ``returncode`` after looking."""

    def wait(self) -> int:
        """Return ``returncode`` when it has ended."""
        ...


def watched(
    begin: Callable[[IO[bytes]], Begun],
    time_limit_s: float,
    memory_limit_bytes: int,
    on_line: Callable[[str], None] | None = None,
) -> Child:
    """Begin a process, given the file for its standard output, and see it to its end or to its limits."""
    with tempfile.TemporaryFile() as out:
        started = time.monotonic()
        process = begin(out)
        assert process.stderr is not None
        errors: list[bytes] = []
        reader = threading.Thread(target=_read_lines, args=(process.stderr, errors, on_line), daemon=True)
        reader.start()
        called_off: threading.Event | None = getattr(_THREAD, "called_off", None)
        stopped, peak = "", 0
        family: list[psutil.Process] = []
        try:
            for poll in itertools.count():
                if process.poll() is not None:
                    break
                if poll % _FAMILY_POLLS == 0:
                    family = _family(process.pid)
                peak = max(peak, _resident_bytes(family))
                if peak > memory_limit_bytes:
                    stopped = f"memory limit of {memory_limit_bytes / GIB:.1f} GiB"
                elif time.monotonic() - started > time_limit_s:
                    stopped = f"time limit of {time_limit_s:g} s"
                elif called_off and called_off.is_set():
                    stopped = "called off"
                if stopped:
                    break
                _pause(reader)
        finally:
            _kill_group(process)
        wall_s = time.monotonic() - started
        reader.join(timeout=5)
        out.seek(0)
        return Child(
            ending=stopped or _ending(process.returncode or 0),
            stdout=out.read().decode("utf-8", "replace"),
            stderr=b"".join(errors)[-65536:].decode("utf-8", "replace"),
            wall_s=wall_s,
            peak_memory_bytes=peak,
        )


def run_together(
    jobs: Sequence[Callable[[], T]],
    at_once: int,
    on_done: Callable[[int, T, int], None] | None = None,
    long: Sequence[bool] = (),
) -> list[T]:
    """Run jobs, each of which waits for children of its own, some at a time; return what they return, in their order.

    When a job raises or this thread is interrupted, no further job begins and the children of the others are killed.

    Args:
        jobs: what to run.
        at_once: how many at a time.
        on_done: called in this thread with (a finished job's place, what it returned, how many are done).
        long: of each job, whether it takes long: these begin first, for one begun last would run alone at the end.
    """
    turns = sorted(range(len(jobs)), key=lambda place: not long[place]) if long else range(len(jobs))
    called_off = threading.Event()

    def begin() -> None:
        _THREAD.called_off = called_off

    with ThreadPoolExecutor(at_once, initializer=begin) as pool:
        running: dict[Future[T], int] = {}
        try:
            for place in turns:
                running[pool.submit(jobs[place])] = place
            for count, future in enumerate(as_completed(running), 1):
                made = future.result()
                if on_done:
                    on_done(running[future], made, count)
        except BaseException:
            called_off.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in sorted(running, key=lambda future: running[future])]


def python(*arguments: str | Path) -> list[str | Path]:
    """Return the command that runs this interpreter with ``arguments``.

    A module (``-m``) is looked for where packages are installed and not in the folder that one works in, where files
    such as onnx.py or random.py may stand.
    """
    return [sys.executable, *(["-P"] if arguments[:1] == ("-m",) else []), *arguments]


def inherited(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that a child gets: this process's, and ``more`` on top of them."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED} | dict(more or {})


def _ending(returncode: int) -> str:
    if returncode == 0:
        return "ok"
    if returncode < 0:
        number = -returncode
        return f"killed by {signal.Signals(number).name if number in set(signal.Signals) else f'signal {number}'}"
    return f"exit {returncode}"


def _pause(reader: threading.Thread) -> None:
    """Wait until it is time to look at a process again: at once when it ends, which closes what ``reader`` reads."""
    if reader.is_alive():
        reader.join(_POLL_S)
    else:
        time.sleep(_ENDING_S)


def _kill_group(process: Begun) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _resident_bytes(family: Sequence[psutil.Process]) -> int:
    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _read_lines(stream: object, into: list[bytes], on_line: Callable[[str], None] | None) -> None:
    for line in stream:  # type: ignore[attr-defined]
        into.append(line)
        if len(into) > 20000:
            del into[:10000]
        if on_line:
            on_line(line.decode("utf-8", "replace").rstrip("\n"))
