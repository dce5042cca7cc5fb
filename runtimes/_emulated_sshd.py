"""An emulated Raspberry Pi that one logs in to: its aarch64 sshd on the loopback address, while it is wanted."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from ..errors import DeviceError, InputError, MissingRequirement
from ..files import MANIFEST
from ._emulated import QEMU, ROOT, WHEELS, Emulated
from ._emulated_inside import INSIDE
from ._emulated_root import HOST_KEY, MOUNT, USER, device_root
from ._emulator import OnStep, build_emulator
from ._emulator_needs import map_ids, missing_for_login, refused

# devices/_probe.py and _there.py look for this file: a time that is taken on an emulated device is no latency.
MARK = "etc/edgewright-emulated"
# The profiles of devices that these are, by core.
PROFILES = {"pi4": "raspberry-pi-4b", "pi5": "raspberry-pi-5"}
_MODELS = {"pi4": "Raspberry Pi 4 Model B Rev 1.1", "pi5": "Raspberry Pi 5 Model B Rev 1.0"}
_MEMORY_KIB = {"pi4": 4 << 20, "pi5": 8 << 20}
_START_S, _END_S, _POLL_S = 60.0, 10.0, 0.05
_PUBLIC_KEY = re.compile(r"((sk-)?(ssh|ecdsa)-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( .*)?")


class EmulatedServer:
    """A running device.

    Attributes:
        core: "pi4" or "pi5".
        port: of its sshd, on 127.0.0.1.
        pid: of the process that ends the device when it is ended.
        host_key: its public host key, in OpenSSH's text form.
        folder: its files, as this host sees them while it runs.
    """

    def __init__(self, core: str, port: int, host_key: str, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        """Remember what was started; ``_started`` fills in the rest."""
        self.core, self.port, self.host_key = core, port, host_key
        self.pid, self.folder = process.pid, Path("/")
        self._process, self._log = process, log

    @property
    def url(self) -> str:
        """Where it is, as ``edgewright devices add`` takes it."""
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"port": self.port, "pid": self.pid, "host_key": self.host_key, "folder": str(self.folder)}

    def log(self) -> str:
        """Return what its sshd has told so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def wait(self) -> None:
        """Return never: wait until the device ends by itself.

        Raises:
            DeviceError: it did.
        """
        self._process.wait()
        raise DeviceError(f"Expected the emulated device to run until it is ended. Got: its end. {_last(self.log())}")


@contextmanager
def emulated_sshd(
    core: str = "pi4",
    key: Path | None = None,
    port: int | None = None,
    bare: bool = False,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    on_step: OnStep | None = None,
) -> Iterator[EmulatedServer]:
    """Run an emulated Raspberry Pi with an sshd for as long as the block; what is not there is built first.

    Every start has the files of a fresh device: what is written there is in memory, and gone at the end, as are all
    processes and mounts. This host sees none of the mounts, and QEMU is not registered with it.

    Args:
        core: "pi4" or "pi5".
        key: the public key that may log in as ``pi``, a .pub file; by default all of ~/.ssh/id_*.pub.
        port: of 127.0.0.1; by default a free one.
        bare: without the runtimes and NumPy, as a fresh Raspberry Pi OS.
        folder: where emulators are kept; see ``runtimes._emulator.emulator_folder``.
        mirror: of Debian, a URL; by default the one that this host's apt uses.
        on_step: called with what is built, and how much was done before it, 0 to 1.

    Raises:
        InputError: no such core; no public key; the port is taken.
        MissingRequirement: this host cannot run it, and why not; a tool is missing; no room, or no right to write.
        DeviceError: what is needed could not be fetched; the sshd did not start.
    """
    keys = _public_keys(key)
    Emulated(core, Path())  # raises where there is no such core
    if missing := missing_for_login():
        raise MissingRequirement(missing)
    port = _port(port)
    device = device_root(folder, mirror=mirror, on_step=on_step)
    wheels = None if bare else build_emulator(folder, mirror=mirror, on_step=on_step).folder / WHEELS
    place = Emulated(core, device)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        with tempfile.TemporaryDirectory(prefix="edgewright-device-") as over:
            _lay_out(Path(over), place, keys, port, bare)
            process = _start(place, Path(over), wheels, log)
            stack.callback(_end, process)
            host_key = (device / f"{HOST_KEY}.pub").read_text(encoding="utf-8").strip()
            server = EmulatedServer(core, port, host_key, process, log)
            _started(server, process, device)
        yield server


def _public_keys(key: Path | None) -> str:
    """Return the lines of the keys that may log in.

    Raises:
        InputError: there is none.
    """
    files = [key.expanduser()] if key else sorted((Path.home() / ".ssh").glob("id_*.pub"))
    lines: list[str] = []
    for file in files:
        try:
            found = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"Expected a public key in {file}. Got: {error}.") from error
        if not found or not all(_PUBLIC_KEY.fullmatch(line) for line in found):
            raise InputError(f"Expected a public key of OpenSSH's in {file}, such as id_ed25519.pub. Got: other text.")
        lines += found
    if not lines:
        raise InputError(
            "Expected a public key to log in with, ~/.ssh/id_*.pub. Got: none. Name one with --key, or make one: "
            "ssh-keygen -t ed25519"
        )
    return "\n".join(lines) + "\n"


def _port(wanted: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"Expected a port that is free on 127.0.0.1. Got: {wanted}: {reason}.") from error
        return probe.getsockname()[1]


def _lay_out(over: Path, place: Emulated, keys: str, port: int, bare: bool) -> None:
    """Write the files of this start, which are laid over those that all starts share."""
    settings = [f"Port {port}", "ListenAddress 127.0.0.1", "HostKey /etc/ssh/host_key", "PidFile none", "UsePAM no"]
    settings += ["PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin no"]
    settings += [f"AllowUsers {USER}", "PrintMotd no", "Subsystem sftp /usr/lib/openssh/sftp-server"]
    settings += [f"SetEnv QEMU_CPU={place.type.cpu} LANG=C.UTF-8"]
    model, size = f"{_MODELS[place.core]} (emulated)", _MEMORY_KIB[place.core]
    memory = {"MemTotal": size * 95 // 100, "MemFree": size // 2, "MemAvailable": size * 3 // 4}
    memory |= {"Buffers": 0, "Cached": size // 4, "SwapTotal": 0, "SwapFree": 0}
    built = json.loads((place.folder / MANIFEST).read_text(encoding="utf-8"))["built"]
    texts = {
        "etc/ssh/sshd_config": "\n".join(settings) + "\n",
        f"home/{USER}/.ssh/authorized_keys": keys,
        MARK: json.dumps({"core": place.core, "built": built}) + "\n",
        # QEMU shows the cores and the memory of this host.
        "etc/emulated/cpuinfo": f"{place.type.cpuinfo()}\nModel\t\t: {model}\n",
        "etc/emulated/meminfo": "".join(f"{name}:{value:>16} kB\n" for name, value in memory.items()),
        "sys/firmware/devicetree/base/model": f"{model}\0",
        **{f"sys/devices/system/cpu/{name}": "0-3\n" for name in ("online", "possible", "present")},
    }
    if not bare:
        texts["usr/lib/python3/dist-packages/edgewright-runtimes.pth"] = "/opt/runtimes\n"
    for name, text in texts.items():
        (over / name).parent.mkdir(parents=True, exist_ok=True)
        (over / name).write_text(text, encoding="utf-8")
    # The kernel looks up the libraries of a QEMU that is not static where the program runs: among the device's files.
    for library in _libraries(_qemu()):
        merged = Path("usr", *library.parts[1:]) if library.parts[1] == "lib" else Path(*library.parts[1:])
        (over / merged).parent.mkdir(parents=True, exist_ok=True)
        (over / merged).symlink_to(library)
    for path in over.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)  # whatever this user's umask is
    (over / f"home/{USER}/.ssh").chmod(0o700)
    (over / "etc/ssh/host_key").symlink_to(place.folder / HOST_KEY)


def _libraries(program: str) -> list[Path]:
    """Return the shared libraries of a program and its loader; none where it is static."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", told)]


def _qemu() -> str:
    return str(Path(shutil.which(QEMU) or QEMU).resolve())


def _start(place: Emulated, over: Path, wheels: Path | None, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Begin the namespaces with the script in them, and map their ids.

    Raises:
        MissingRequirement: this system does not allow it.
    """
    arguments = [place.folder / ROOT, place.folder / MOUNT, over, _qemu(), place.type.cpu, wheels or ""]
    flags = ("--user", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "private")
    process = subprocess.Popen(
        ["unshare", *flags, "bash", "-c", INSIDE, "edgewright", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # an interrupt of the keyboard is for edgewright, which then ends this
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise refused(os.pread(log.fileno(), 4096, 0).decode("utf-8", "replace"))
        map_ids(process.pid)
        process.stdin.write(b"go\n")
        process.stdin.flush()
    except BaseException:
        _end(process)
        raise
    return process


def _started(server: EmulatedServer, process: "subprocess.Popen[bytes]", device: Path) -> None:
    """Wait until the sshd listens, and find its first process.

    Raises:
        MissingRequirement: this system does not allow what the script does.
        DeviceError: the sshd did not start.
    """
    deadline = time.monotonic() + _START_S
    while f"Server listening on 127.0.0.1 port {server.port}." not in server.log():
        if process.poll() is not None or time.monotonic() > deadline:
            if re.search(r"^(mount|unshare|hostname|edgewright|chown|chroot): ", server.log(), re.MULTILINE):
                raise refused(server.log())
            raise DeviceError(f"Expected the emulated sshd to listen on port {server.port}. Got: {_last(server.log())}")
        time.sleep(_POLL_S)
    server.pid = psutil.Process(process.pid).children()[0].pid
    server.folder = Path(f"/proc/{server.pid}/root{device / MOUNT / 'root'}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the device: its first process ends as its standard input does, and all others with it."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        family = psutil.Process(process.pid).children()
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
        process.kill()
        process.wait()
        psutil.wait_procs(family, timeout=_END_S)


def _last(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was told"
