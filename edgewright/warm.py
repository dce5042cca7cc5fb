"""Children forked from a process that has imported what they need: TensorFlow alone takes a child seconds.

Each runs a module as ``python -m`` would, with limits as ``children.run_child`` sets them. What they are forked from,
``python -m edgewright.warm CHANNEL MODULE...``, computes nothing itself; it is kept for the next, and ends when nothing
was asked of it for five minutes, or with the process that began it.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .children import Child, inherited, python, run_child, watched
from .held import temporary_folder

_IDLE_S = 300.0
_POLL_S = 0.02
_MESSAGE_BYTES = 1 << 16
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
_READY: "list[_Warm]" = []
_LOCK = threading.Lock()


def run_module(
    module: str,
    arguments: Sequence[str | Path],
    imports: Sequence[str],
    *,
    time_limit_s: float,
    memory_limit_bytes: int,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Run a module as the main program in a child, forked where the system can and else begun anew.

    Args:
        module: its whole name; what begins its work stands below ``if __name__ == "__main__"``.
        arguments: of the program.
        imports: modules that it needs and that take long to import. Without any it is forked only from a process that
            stands ready, whatever that has imported.
        time_limit_s, memory_limit_bytes, environment: see ``children.run_child``.
    """
    begun: list[_Forked] = []
    warm = _taken(imports, inherited(environment)) if sys.platform == "linux" else None
    with temporary_folder("child") as temporary:  # converters leave files, and all do that are killed
        if warm:

            def begin(out: IO[bytes]) -> _Forked:
                begun.append(_Forked(warm, module, [str(each) for each in arguments], temporary, out))
                return begun[0]

            child = watched(begin, time_limit_s, memory_limit_bytes)
            _given_back(warm)
            if not begun[0].refused:
                return child
        return run_child(
            python("-m", module, *arguments),
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            environment={**(environment or {}), "TMPDIR": str(temporary)},
        )


def make_ready(imports: Sequence[str], count: int, environment: Mapping[str, str] | None = None) -> None:
    """Begin processes to fork from, where the system can, so that they have imported when a child is asked for.

    Args:
        imports: what children need; nothing is begun without any.
        count: how many children are going to run at a time.
        environment: theirs, as for ``run_module``.
    """
    if sys.platform == "linux" and imports:
        variables = inherited(environment)
        with _LOCK:
            standing = sum(warm.serves(imports, variables) for warm in _READY)
            _READY.extend(_Warm(imports, variables) for _ in range(standing, count))


class _Warm:
    """A process that children are forked from, one at a time, and what it was begun with."""

    def __init__(self, imports: Sequence[str], environment: Mapping[str, str]) -> None:
        self.imports, self.environment, self.folder = frozenset(imports), dict(environment), os.getcwd()
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [str(each) for each in python("-m", __name__, str(theirs.fileno()), *imports)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def serves(self, imports: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Tell whether a child of it is as one that is begun now with these imports."""
        same = self.environment == environment and self.folder == os.getcwd()
        return same and self.imports >= set(imports) and self.process.poll() is None

    def end(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


class _Forked:
    """A child of a warm process, as ``children.Begun``; until it is forked the warm process stands for it."""

    def __init__(self, warm: _Warm, module: str, arguments: Sequence[str], temporary: Path, out: IO[bytes]) -> None:
        self.pid = warm.process.pid
        self.returncode: int | None = None
        self.refused = False
        self._warm, self._forked = warm, False
        reading, writing = os.pipe()
        self.stderr: IO[bytes] | None = os.fdopen(reading, "rb")
        request = json.dumps({"module": module, "arguments": arguments, "temporary": str(temporary)}).encode()
        try:
            socket.send_fds(warm.channel, [request], [out.fileno(), writing])
        except OSError:  # it ended just now
            self.refused, self.returncode = True, 1
        finally:
            os.close(writing)

    def poll(self) -> int | None:
        while self.returncode is None and select.select([self._warm.channel], [], [], 0)[0]:
            self._hear()
            self.refused = self.returncode is not None and not self._forked
        return self.returncode

    def wait(self) -> int:
        while self.returncode is None:
            self._hear()
        return self.returncode

    def _hear(self) -> None:
        try:
            message = self._warm.channel.recv(_MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:
            self.returncode = self._warm.process.wait()
            return
        told = json.loads(message)
        if "pid" in told:
            self.pid, self._forked = told["pid"], True
        else:
            self.returncode = told["status"]


def _taken(imports: Sequence[str], environment: Mapping[str, str]) -> _Warm | None:
    """Return a process to fork from, which is nobody else's until it is given back; None where none is worth it."""
    with _LOCK:
        for warm in list(_READY):
            _READY.remove(warm)
            if warm.serves(imports, environment):
                return warm
            warm.end()
    return _Warm(imports, environment) if imports else None


def _given_back(warm: _Warm) -> None:
    if warm.process.poll() is None:
        with _LOCK:
            _READY.append(warm)
    else:
        warm.end()


@atexit.register
def _end_all() -> None:
    while _READY:
        _READY.pop().end()


def serve(channel: socket.socket, imports: Sequence[str]) -> None:
    """Fork a child for each request that comes, until none comes for long or who asks is gone."""
    for name in imports:
        _import(name)
    while select.select([channel], [], [], _IDLE_S)[0]:
        message, files, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
        if not message:
            return
        request = json.loads(message)
        if package := request["module"].rpartition(".")[0]:
            _import(package)
        gc.freeze()  # of what a child begins with nothing is garbage
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(request["module"], request["arguments"], request["temporary"], *files)
        with contextlib.suppress(OSError):  # the child does so too: whoever is first
            os.setpgid(pid, pid)
        for file in files:
            os.close(file)
        channel.send(json.dumps({"pid": pid}).encode())
        channel.send(json.dumps({"status": _ended(pid, channel)}).encode())


def _ended(pid: int, channel: socket.socket) -> int:
    """Wait for a child and return its status; end with it when who asked is gone."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([channel], [], [], _POLL_S)[0]:  # nothing is asked meanwhile: it was closed
            os.killpg(pid, signal.SIGKILL)
            sys.exit()


def _import(name: str) -> None:
    with contextlib.suppress(ImportError):  # the child says so, where it needs it
        importlib.import_module(name)


def _become(module: str, arguments: list[str], temporary: str, out: int, errors: int) -> None:
    """Run the module that is asked for in this process, as the main program, and end it."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.dup2(out, 1)
    os.dup2(errors, 2)
    os.close(out)
    os.close(errors)
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    status: object = 1
    try:
        sys.argv = [module, *arguments]
        importlib.invalidate_caches()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        status = 0 if ended.code is None else ended.code
    except BaseException:
        traceback.print_exc()
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
