"""Real SSH servers on the loopback address, for the tests of links: their keys, their logs, and lines that break."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
CUT, FREEZE = "cut", "freeze"


def needs_ssh():
    """Skip a module where no SSH server can be started; never in CI."""
    if os.environ.get("CI"):
        return
    if SSHD is None:
        pytest.skip("these tests start a real SSH server: apt-get install openssh-server", allow_module_level=True)
    pytest.importorskip("asyncssh", reason="these tests log in over SSH: pip install 'edgewright[ssh]'")


def free_port():
    """Return a port of the loopback address that nothing listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def make_key(path, kind="ssh-ed25519"):
    """Write a private key and return its public one in OpenSSH's text form, without a comment."""
    import asyncssh

    key = asyncssh.generate_private_key(kind)
    path.write_bytes(key.export_private_key())
    path.chmod(0o600)
    return " ".join(key.export_public_key().decode().split()[:2])


@dataclass
class Server:
    """One sshd, whose only way in is one user key."""

    folder: Path
    port: int
    user_key: str
    settings: str = ""
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def known_as(self):
        return f"[127.0.0.1]:{self.port}"

    @property
    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def start(self, kind="ssh-ed25519"):
        """Start it with a new host key, which is returned."""
        self.folder.mkdir(exist_ok=True)
        host_key = make_key(self.folder / "host_key", kind)
        (self.folder / "authorized_keys").write_text(self.user_key + "\n")
        (self.folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPermitRootLogin prohibit-password\nLogLevel DEBUG1\n{self.settings}\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd of root wants to be
        (self.folder / "log").touch()
        arguments = ["-D", "-f", str(self.folder / "config"), "-E", str(self.folder / "log")]
        self.process = subprocess.Popen([SSHD, *arguments], stdin=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return host_key
            time.sleep(0.02)
        raise AssertionError(self.log)

    def stop(self):
        """End it, and leave its port free."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)


class Line:
    """A line to a server that is cut, or carries nothing more, once so many bytes have gone to the server."""

    def __init__(self, port, after_bytes, then):
        self._port, self._left, self._then = port, after_bytes, then
        self.sent = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            ours, _ = self._listener.accept()
            theirs = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [ours, theirs]
            threading.Thread(target=self._carry, args=(theirs, ours), daemon=True).start()
            while self._left > 0 and (data := ours.recv(min(65536, self._left))):
                self._left -= len(data)
                self.sent += len(data)
                theirs.sendall(data)
            if self._then == CUT:
                self.close()

    def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def close(self):
        """Cut it."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
