"""What an emulated device that one logs in to needs of this system: namespaces, and ids to map into them."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import MissingRequirement
from ._emulated import QEMU
from ._emulator_parts import missing_tools

# From this Linux on each user namespace has programs of its own that run other architectures' files.
_LINUX = (6, 7)
_TOOLS = {"unshare": "util-linux", "mount": "mount", "bash": "bash", "ldd": "libc-bin", QEMU: "qemu-user"}
_IDS = 65536


def missing_for_login() -> str:
    """Return what this system lacks to run an emulated device with an sshd, as an error says it; empty if nothing."""
    if missing := missing_tools(_TOOLS, pip=False):
        return missing
    if platform.machine() in ("aarch64", "arm64"):
        return "Expected a host of another architecture than the emulated one. Got: aarch64; there it runs as it is."
    if _version(platform.release()) < _LINUX:
        return f"Expected Linux {'.'.join(map(str, _LINUX))} or later, for a binfmt_misc of its own. Got: {_here()}."
    if os.geteuid() != 0:
        if shutil.which("newuidmap") is None:
            return f"Expected root, or newuidmap. Got: {_here()}, without it: apt-get install uidmap"
        for file in ("/etc/subuid", "/etc/subgid"):
            if _range(Path(file)) is None:
                return f"Expected root, or a range of {_IDS} ids in {file}. Got: {_here()}, without one."
    return ""


def map_ids(pid: int) -> None:
    """Map the ids of the user namespace that a process is in: root's own, or this user as root and a range of his.

    Raises:
        MissingRequirement: this is not allowed.
    """
    try:
        if os.geteuid() == 0:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text(f"0 0 {_IDS}", encoding="ascii")
            return
        for program, own, file in (
            ("newuidmap", os.getuid(), "/etc/subuid"),
            ("newgidmap", os.getgid(), "/etc/subgid"),
        ):
            start = _range(Path(file))
            command = [program, str(pid), "0", str(own), "1", "1", str(start), str(_IDS)]
            subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise refused(f"{error.filename}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise refused(error.stderr) from error


def refused(log: str) -> MissingRequirement:
    """Return the error of a system that does not allow it, with the last line that told why."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return MissingRequirement(
        "Expected a system that allows new user, mount and process namespaces, and in them proc, binfmt_misc, overlay "
        f"and tmpfs to be mounted. Got: {_here()}: {lines[-1][:300] if lines else 'no reason was told'}."
    )


def _here() -> str:
    return f"{sys.platform} {platform.release()}, {'root' if os.geteuid() == 0 else f'user {os.geteuid()}'}"


def _version(release: str) -> tuple[int, ...]:
    """Return the numbers that a release of Linux begins with.

    >>> _version("6.12.9-amd64")
    (6, 12)
    """
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _range(file: Path) -> int | None:
    """Return the first id of a range that is large enough and this user's, or None."""
    import pwd  # Linux has it, and nothing else emulates a device

    try:
        names = (pwd.getpwuid(os.getuid()).pw_name, str(os.getuid()))
        rows = [line.strip().split(":") for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, KeyError):
        return None
    found = [int(row[1]) for row in rows if len(row) == 3 and row[0] in names and int(row[2]) >= _IDS]
    return found[0] if found else None
