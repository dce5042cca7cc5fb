"""The link over SSH, by asyncssh: keys or an agent, never a password, and only a host key that was pinned."""

import asyncio
import base64
import contextlib
import hashlib
import io
import shlex
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DeviceError, InputError, MissingRequirement
from ._links import ENDING_S, Answer, Held, Link, timed_out
from ._ssh_address import Address, parse_ssh_url

T = TypeVar("T")
HostKeys = Mapping[str, Sequence[str]]
_CONNECT_S = 15.0
_KEEPALIVE_S, _KEEPALIVES = 10, 3
# Certificates are left out: what is pinned is a key.
_HOST_KEY_KINDS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)


def import_asyncssh() -> Any:
    """Return asyncssh.

    Raises:
        MissingRequirement: it is not installed.
    """
    try:
        import asyncssh
    except ImportError as error:
        raise MissingRequirement(
            "Expected asyncssh, for devices over SSH. Got: no such package. Install it: pip install 'edgewright[ssh]'"
        ) from error
    return asyncssh


def fingerprint(key: str) -> str:
    """Return ``SHA256:...`` of a public key in OpenSSH's text form, as ssh-keygen -l prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


class HostKeyRefused(DeviceError):
    """A server showed a host key that is not the pinned one; nothing but the key exchange was sent to it.

    Attributes:
        address: the server.
        shown: its key, in OpenSSH's text form.
    """

    def __init__(self, message: str, address: Address, shown: str) -> None:
        super().__init__(message)
        self.address, self.shown = address, shown


class Ssh(Link):
    """A device over SSH.

    Args:
        url: see ``parse_ssh_url``.
        host_keys: the keys that each server on the way may show, by ``Address.known_as``, in OpenSSH's text form.
        key: a private key's file; your agent's keys and those in ~/.ssh by default.
        name: what the device is registered as, for messages.

    Attributes:
        shown: the key that each server did show, by ``Address.known_as``.

    Raises:
        InputError: the URL or the key's file cannot be used.
        MissingRequirement: asyncssh is not installed.
        HostKeyRefused: a server's key is not the pinned one.
        DeviceError: a server does not answer, or does not let us in; the device runs no Linux.
    """

    def __init__(self, url: str, host_keys: HostKeys, *, key: Path | None = None, name: str = "") -> None:
        self._asyncssh = import_asyncssh()
        self._way = parse_ssh_url(url)
        self._host_keys, self._name = dict(host_keys), name
        self.title = f"{name} ({self._way[-1]})" if name else str(self._way[-1])
        self._client_keys = _client_keys(self._asyncssh, key) if key else ()
        self.shown: dict[str, str] = {}
        self._connections: list[Any] = []
        self._runner: asyncio.Runner | None = asyncio.Runner()
        try:
            self._runner.run(self._open())
            self._check_system()
        except BaseException:
            self.close()
            raise

    def run(self, command: Sequence[str], *, stdin: bytes | Path = b"", time_limit_s: float = 60) -> Answer:
        """Run a command in the device's login shell; see ``Link.run``."""
        return self._now(self._run(command, stdin, time_limit_s))

    def hold(self, command: Sequence[str]) -> Held:
        """Begin a command in the device's login shell; see ``Link.hold``."""
        return _HeldThere(self, command, self._now(self._begin(command)))

    def _now(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work on the open link."""
        if self._runner is None:
            work.close()
            raise DeviceError(f"Expected an open link to {self.title}. Got: a closed one.")
        return self._runner.run(work)

    def close(self) -> None:
        """Close the connections, the device's first."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        try:
            runner.run(self._close())
        finally:
            runner.close()

    async def _open(self) -> None:
        for address in self._way:
            connection = await self._connect(address)
            self._connections.append(connection)
            self.shown[address.known_as] = _text_form(connection.get_server_host_key())

    async def _connect(self, address: Address) -> Any:
        ssh = self._asyncssh
        known = self._host_keys.get(address.known_as, ())
        try:
            trusted = [ssh.import_public_key(key) for key in known]
        except ssh.KeyImportError as error:
            raise InputError(
                f"Expected pinned host keys of {address} in OpenSSH's text form. Got: {error}. Pin it anew: edgewright "
                f"devices remove {self._name or 'NAME'}, and add it again."
            ) from error
        shown: list[str] = []

        class Client(ssh.SSHClient):  # type: ignore[name-defined]
            """Asked only for a key that is not trusted: remembers it, and does not trust it."""

            def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
                shown.append(_text_form(key))
                return False

        try:
            return await ssh.connect(
                address.host,
                address.port,
                username=address.user,
                client_factory=Client,
                tunnel=self._connections[-1] if self._connections else (),
                # Always a list, if an empty one: None would turn the check off.
                known_hosts=(trusted, [], []),
                server_host_key_algs=_kinds(trusted),
                client_keys=self._client_keys,
                **({"agent_path": None} if self._client_keys else {}),
                preferred_auth=("publickey",),
                gss_host=None,  # Kerberos' key exchange shows no host key
                config=None,
                connect_timeout=_CONNECT_S,
                login_timeout=_CONNECT_S,
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=_KEEPALIVES,
            )
        except ssh.HostKeyNotVerifiable as error:
            if not shown:
                raise DeviceError(f"Expected a host key of {address}. Got: {error}.") from error
            raise HostKeyRefused(self._refusal(address, known, shown[0]), address, shown[0]) from error
        except ssh.PermissionDenied as error:
            raise DeviceError(
                f"Expected {address} to let us in by a key{_of(self._client_keys)}. Got: permission denied. "
                "Put the public key into its ~/.ssh/authorized_keys, or name another private one with --key; "
                "edgewright asks for no password."
            ) from error
        except ssh.ChannelOpenError as error:
            raise DeviceError(f"Expected {self._way[0]} to lead on to {address}. Got: {error}.") from error
        except TimeoutError as error:
            raise DeviceError(f"Expected {address} to answer within {_CONNECT_S:g} s. Got: nothing.") from error
        except (OSError, ssh.Error) as error:
            raise DeviceError(f"Expected an SSH server at {address}. Got: {_text(error)}.") from error

    def _refusal(self, address: Address, known: Sequence[str], shown: str) -> str:
        got = f"Got: {fingerprint(shown)}"
        if not known:
            return (
                f"Expected a known host key of {address}. {got}, which nobody has accepted; nothing was sent. Compare "
                "it with what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the device (the file of its "
                "kind), and then add the device with --accept-key."
            )
        return (
            f"Expected the host key {' or '.join(map(fingerprint, known))} of {address}. {got}; nothing was sent. "
            "Either the system there was set up anew, or something else answers at its address. If you know that it is "
            f"the device: edgewright devices remove {self._name or 'NAME'}, and add it again with --accept-key."
        )

    async def _begin(self, command: Sequence[str]) -> Any:
        ssh = self._asyncssh
        try:
            return await self._process(command, stderr=ssh.DEVNULL)
        except (OSError, ssh.Error) as error:
            raise DeviceError(f"Expected {self.title} to run {command[0]}. Got: {_text(error)}.") from error

    async def _run(self, command: Sequence[str], stdin: bytes | Path, time_limit_s: float) -> Answer:
        ssh = self._asyncssh
        given: dict[str, Any] = {"stdin": ssh.DEVNULL}
        if stdin:
            given = {"stdin": _Counted(stdin, self.on_sent)} if isinstance(stdin, Path) else {"input": stdin}
        process = None
        try:
            process = await self._process(command, **given)
            stdout, stderr = await asyncio.wait_for(process.communicate(), time_limit_s)
        except TimeoutError:
            raise timed_out(self.title, command, time_limit_s) from None
        except (OSError, ssh.Error) as error:
            raise DeviceError(f"Expected {self.title} to run {command[0]}. Got: {_text(error)}.") from error
        finally:
            if process is not None and process.returncode is None:
                _kill(process)
        if process.returncode is None:
            during = f"while {stdin.name} was sent" if isinstance(stdin, Path) else "in the middle of a command"
            raise DeviceError(f"Expected the link to {self.title} to last. Got: it was cut {during}.")
        return Answer(process.returncode, stdout, stderr)

    async def _process(self, command: Sequence[str], **given: Any) -> Any:
        """Begin a command there, in the login shell.

        Until a connection's first command runs, sshd leaves Nagle's algorithm on: its answer waits until what it said
        before is acknowledged, and Linux puts that off for 40 ms unless it is told not to, after each thing sent.
        """
        process = self._connections[-1].create_process(shlex.join(command), encoding=None, **given)
        begun = asyncio.ensure_future(process)
        await asyncio.sleep(0)  # it is asked for
        line = self._connections[0].get_extra_info("socket")
        if line is not None and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):  # the link is gone: the command tells
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return await begun

    def _check_system(self) -> None:
        answer = self.run(["uname", "-s"])
        system = answer.stdout.decode("utf-8", "replace").strip()
        before, _, last = system.rpartition("\n")
        if answer.ok and before and last == "Linux":
            raise DeviceError(
                f"Expected a login shell on {self.title} that prints nothing of its own. Got: {before[:80]!r} before "
                "what a command printed. Have ~/.bashrc there, or what it reads, print in a terminal alone, [ -t 1 ]."
            )
        if not answer.ok or system != "Linux":
            told = system[:80] or answer.reason()
            raise DeviceError(f"Expected Linux on {self.title}, by what 'uname -s' prints there. Got: {told}.")

    async def _close(self) -> None:
        for connection in reversed(self._connections):
            connection.close()
            try:
                await asyncio.wait_for(connection.wait_closed(), 2)
            except TimeoutError:
                connection.abort()


class _Counted(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, told: Callable[[int], None] | None) -> None:
        super().__init__(path)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        made = super().read(size)
        if self._told:
            self._told(self.tell())
        return made or b""


class _HeldThere(Held):
    """A command of a device over SSH that goes on."""

    def __init__(self, link: Ssh, command: Sequence[str], process: Any) -> None:
        self._link, self._command, self._process = link, command, process

    def line(self, time_limit_s: float = 30) -> str:
        read = self._link._now(self._read(time_limit_s))
        return read.decode("utf-8", "replace").rstrip("\n")

    def end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(DeviceError):  # closed already, and the command with it
            self._link._now(self._end(process))

    async def _read(self, time_limit_s: float) -> bytes:
        try:
            read: bytes = await asyncio.wait_for(self._process.stdout.readline(), time_limit_s)
        except TimeoutError:
            raise timed_out(self._link.title, self._command, time_limit_s) from None
        except (OSError, self._link._asyncssh.Error) as error:
            raise DeviceError(f"Expected {self._link.title} to run {self._command[0]}. Got: {_text(error)}.") from error
        return read

    async def _end(self, process: Any) -> None:
        with contextlib.suppress(OSError, self._link._asyncssh.Error, TimeoutError):
            process.stdin.write_eof()
            await asyncio.wait_for(process.wait_closed(), ENDING_S)
        process.close()


def _kinds(trusted: Sequence[Any]) -> list[str]:
    """Return the kinds of host keys to ask for: the pinned one's first, so that a changed kind is told as a key."""
    first = [kind.decode() for key in trusted for kind in key.sig_algorithms if kind.decode() in _HOST_KEY_KINDS]
    return [*first, *(kind for kind in _HOST_KEY_KINDS if kind not in first)]


def _text_form(key: Any) -> str:
    """Return a key as authorized_keys and known_hosts have it, without a comment."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def _client_keys(ssh: Any, key: Path) -> list[Any]:
    try:
        return [ssh.read_private_key(str(key))]
    except ssh.KeyEncryptionError as error:
        raise _locked(key) from error
    except ssh.KeyImportError as error:
        if any(word in str(error).lower() for word in ("passphrase", "encrypt")):
            raise _locked(key) from error
        raise InputError(f"Expected a private key in OpenSSH's or PEM form in {key}. Got: {error}.") from error
    except OSError as error:
        raise InputError(f"Expected a private key in {key}. Got: {error.strerror}.") from error


def _locked(key: Path) -> InputError:
    return InputError(
        f"Expected a private key that needs no passphrase. Got: {key}, which does. Add it to your agent with "
        "ssh-add, and leave --key out."
    )


def _of(client_keys: Sequence[Any]) -> str:
    return "" if client_keys else " of your agent or in ~/.ssh"


def _kill(process: Any) -> None:
    """End what runs there, where the server takes signals, and the channel in any case."""
    with contextlib.suppress(OSError):  # the link is gone, and the channel with it
        process.kill()
    process.close()


def _text(error: BaseException) -> str:
    told = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    return str(told).rstrip(".")
