"""A link: what runs a command on a device. Copying files there and back is written once, on top of that."""

import hashlib
import os
import secrets
import select
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import DeviceError, InputError
from ..files import sha256

# Arguments: the file, a name of its own for the part, its SHA-256, its mode. The part is renamed only when it is whole:
# where the link is cut, what arrived ends early and has another digest, and the device itself removes it.
_PLACE = """
[ -d "$1" ] && { echo "$1 is a folder" >&2; exit 1; }
mkdir -p -- "$(dirname -- "$1")" || exit 1
part="$1.$2"
trap 'rm -f -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat > "$part" || exit 1
digest=$(sha256sum < "$part") || exit 1
[ "${digest%% *}" = "$3" ] || { echo "SHA-256 ${digest%% *}" >&2; exit 1; }
chmod "$4" "$part" || exit 1
sync "$part" 2>/dev/null || sync
mv -f -- "$part" "$1"
"""
# How often the sending of a file is told of.
_TIMES = 10
# What is held ends by itself when it reads the end of its input; after so many seconds it is killed.
ENDING_S = 10.0
_READ = '[ -f "$1" ] || { echo "$1 is no file" >&2; exit 1; }; sha256sum < "$1" && cat < "$1"'


@dataclass(frozen=True)
class Answer:
    """What a command on a device ended with.

    Attributes:
        status: its exit status; that of a signal is negative.
        stdout, stderr: what it printed.
    """

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0."""
        return self.status == 0

    def reason(self) -> str:
        """Return its status and the last line that it printed to stderr, for a message."""
        lines = [line for line in self.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        return f"exit {self.status}{': ' + lines[-1].strip()[:300] if lines else ''}"


class Held(ABC):
    """A command that goes on there until it is ended: it reads nothing until then, and the end of its input at the end.

    Used as a context it is ended at the context's end. Where the link breaks, it reads the end of its input too.
    """

    @abstractmethod
    def line(self, time_limit_s: float = 30) -> str:
        """Return the next line that it prints, without its end; an empty one where it has ended.

        Raises:
            DeviceError: the link broke, or the time ran out.
        """

    @abstractmethod
    def end(self) -> None:
        """Let it read the end of its input; ending twice does nothing more."""

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.end()


class Link(ABC):
    """A way to a device that has a POSIX shell. A new kind of link says how a command runs, and has the rest from here.

    Used as a context: it is open from ``with`` on, and closed at its end.

    Attributes:
        title: the device, for messages.
        on_sent: set for the time of one ``run`` that sends a file: a link that can tell calls it with how many bytes of
            that file it has taken so far.
    """

    title: str
    on_sent: Callable[[int], None] | None = None

    @abstractmethod
    def run(self, command: Sequence[str], *, stdin: bytes | Path = b"", time_limit_s: float = 60) -> Answer:
        """Run a command there to its end.

        Args:
            command: the program and its arguments.
            stdin: what it reads: bytes, or the content of a file of this host.
            time_limit_s: wall-clock seconds.

        Raises:
            DeviceError: the link broke, or the time ran out.
        """

    @abstractmethod
    def hold(self, command: Sequence[str]) -> Held:
        """Begin a command there that goes on while others run; see ``Held``.

        Raises:
            DeviceError: the link broke.
        """

    @abstractmethod
    def close(self) -> None:
        """Close it, and end what it holds; closing twice does nothing more."""

    def __enter__(self) -> Self:
        """Return the link."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @contextmanager
    def telling(self, whole_bytes: int, told: Callable[[int, float], None] | None) -> Iterator[None]:
        """Tell of the one file that the block sends: bytes and share of it, at its begin and at each tenth."""
        last = -1

        def on_sent(sent: int) -> None:
            nonlocal last
            tenth = _TIMES if sent >= whole_bytes else sent * _TIMES // whole_bytes
            if told and tenth > last:
                last = tenth
                told(sent, tenth / _TIMES)

        if told:
            self.on_sent = on_sent
            on_sent(0)
        try:
            yield
        finally:
            self.on_sent = None

    def send(self, source: Path, target: str, *, mode: int = 0o644, time_limit_s: float = 600) -> str:
        """Copy a file of this host to the device: beside ``target``, and renamed when its SHA-256 is right there.

        Whatever happens on the way, ``target`` holds either what it held before or all of ``source``.

        Args:
            source: the file.
            target: its path there; missing folders are made.
            mode: its permissions there.
            time_limit_s: wall-clock seconds.

        Returns:
            Its SHA-256 as 64 hexadecimal digits.

        Raises:
            InputError: ``source`` is no file that can be read.
            DeviceError: the device has no room, refused it, or received something else; the link broke.
        """
        try:
            digest = sha256(source)
        except OSError as error:
            raise InputError(f"Expected a file to copy to {self.title}. Got: {source}: {error.strerror}.") from error
        part = f"part-{secrets.token_hex(4)}"
        command = ["sh", "-c", _PLACE, "sh", target, part, digest, f"{mode:o}"]
        answer = self.run(command, stdin=source, time_limit_s=time_limit_s)
        if not answer.ok:
            raise DeviceError(
                f"Expected {self.title} to keep {source.name}, SHA-256 {digest}, as {target}. Got: {answer.reason()}; "
                "what stood there was left alone."
            )
        return digest

    def read(self, path: str, *, time_limit_s: float = 600) -> bytes:
        """Return the content of a file of the device, whose SHA-256 is that which the device computes.

        Raises:
            DeviceError: there is no such file, it cannot be read, or something else arrived; the link broke.
        """
        answer = self.run(["sh", "-c", _READ, "sh", path], time_limit_s=time_limit_s)
        head, _, content = answer.stdout.partition(b"\n")
        if not answer.ok:
            raise DeviceError(f"Expected a file {path} on {self.title}. Got: {answer.reason()}.")
        told = head.split(b" ")[0].decode("ascii", "replace")
        if hashlib.sha256(content).hexdigest() != told:
            raise DeviceError(f"Expected {path} of {self.title} with SHA-256 {told}. Got: {len(content)} other bytes.")
        return content


class Here(Link):
    """This host, as a device."""

    title = "this host"

    def __init__(self) -> None:
        self._held: list[Held] = []

    def run(self, command: Sequence[str], *, stdin: bytes | Path = b"", time_limit_s: float = 60) -> Answer:
        """Run a command in a session of its own; see ``Link.run``."""
        content = stdin.read_bytes() if isinstance(stdin, Path) else stdin
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            # A shell's answer to a program that is not there, or may not be run.
            status = 127 if isinstance(error, FileNotFoundError) else 126
            return Answer(status, b"", f"{command[0]}: {error.strerror}".encode())
        try:
            stdout, stderr = process.communicate(content, timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            raise timed_out(self.title, command, time_limit_s) from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return Answer(process.returncode, stdout, stderr)

    def hold(self, command: Sequence[str]) -> Held:
        """Begin a command in a session of its own; see ``Link.hold``."""
        self._held.append(_HeldHere(command))
        return self._held[-1]

    def close(self) -> None:
        """End what it holds."""
        while self._held:
            self._held.pop().end()


class _HeldHere(Held):
    """A command of this host that goes on."""

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._command = command
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def line(self, time_limit_s: float = 30) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], time_limit_s)
        if not ready:
            raise timed_out(Here.title, self._command, time_limit_s)
        return self._process.stdout.readline().decode("utf-8", "replace").rstrip("\n")

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()


def timed_out(title: str, command: Sequence[str], time_limit_s: float) -> DeviceError:
    """Return the error of a command that took too long."""
    return DeviceError(
        f"Expected {command[0]} to end on {title} within {time_limit_s:g} s. Got: a command that still runs."
    )
