"""The files of an emulated Raspberry Pi that one logs in to: Debian's userland for arm64, with Python and sshd."""

import hashlib
import json
import time
from pathlib import Path

from ..children import run_child
from ..errors import MissingRequirement
from ..files import MANIFEST, is_ours, new_manifest, write_json
from ._emulated import PYTHON, QEMU, ROOT
from ._emulator import OnStep, build_once, emulator_folder
from ._emulator_parts import SUITE, TIME_LIMIT_S, TRIAL_LIMIT_S, missing_tools, unpack_debian
from ._wheels import readable

# Of what a fresh Raspberry Pi OS has: what logging in, copying, and a deployment's scripts use; and no pip.
PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip", "hostname"),
    *("libc-bin", "libgomp1", "libpython3.11-stdlib", "libstdc++6", "mawk", "openssh-client", "openssh-server"),
    *("openssh-sftp-server", "procps", "python3-minimal", "python3.11-minimal", "sed", "tar", "util-linux"),
)
USER, USER_ID = "pi", 1000
HOST_KEY, MOUNT = "ssh_host_ed25519_key", "mount"
_KIND, _SCHEMA = "emulated-device", 1
_TOOLS = {"mmdebstrap": "mmdebstrap", QEMU: "qemu-user"}
# As on a Raspberry Pi, and before anything is unpacked: /bin, /sbin and /lib are those of /usr.
_MERGED = 'for each in bin sbin lib; do mkdir -p "$1/usr/$each" && ln -s "usr/$each" "$1/$each" || exit 1; done'
# What the scripts of the packages would have done, had they run.
_LINKS = {"bin/sh": "dash", "usr/bin/awk": "mawk", "usr/bin/python3": "python3.11"}
_ACCOUNTS = {
    "passwd": f"sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash\n",
    "group": f"{USER}:x:{USER_ID}:\n",
}


def device_root(folder: Path | None = None, *, mirror: str | None = None, on_step: OnStep | None = None) -> Path:
    """Return the folder with the files of an emulated device, which are fetched unless they are there.

    Debian's packages are unpacked without root and without running any of their scripts; the emulated ``ssh-keygen``
    makes the host key, which shows that it runs here. The folder appears whole or not at all: what a killed build left
    is removed by the next. All starts share it and none writes to it.

    Args:
        folder: where emulators are kept; see ``emulator_folder``.
        mirror: of Debian, a URL; by default the one that this host's apt uses.
        on_step: called with what begins, and how much was done before it, 0 to 1.

    Raises:
        MissingRequirement: a tool is missing; no room, or no right to write; an emulated program does not run here.
        DeviceError: what is needed could not be fetched.
    """
    report = on_step or (lambda step, share: None)
    folder = emulator_folder(folder)
    final = folder / _key()
    if is_ours(final):
        return final
    if missing := missing_tools(_TOOLS, pip=False):
        raise MissingRequirement(missing)
    build_once(final, report, lambda made: _fill(made, mirror, report))
    return final


def _fill(folder: Path, mirror: str | None, report: OnStep) -> None:
    root = folder / ROOT
    report("files of the device", 0.0)
    unpack_debian(root, PACKAGES, mirror, f"--setup-hook={_MERGED}")
    report("accounts and host key", 0.7)
    _finish(root)
    (folder / MOUNT).mkdir()
    keygen = ("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / HOST_KEY))
    _emulate(root, "usr/bin/ssh-keygen", *keygen, time_limit_s=TRIAL_LIMIT_S)
    report("compiled Python", 0.8)
    # The user of the device could not write it, so each start of Python would compile again.
    compiling = ("-S", "-s", "-m", "compileall", "-q", "-s", str(root), "-p", "/", str(root / "usr/lib/python3.11"))
    _emulate(root, PYTHON, *compiling, time_limit_s=TIME_LIMIT_S)
    built = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(folder / MANIFEST, {**new_manifest(_KIND, _SCHEMA), "suite": SUITE, "built": built})


def _finish(root: Path) -> None:
    """Do what the scripts of the packages would have done, and make the user."""
    for name, target in _LINKS.items():
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    for name, lines in _ACCOUNTS.items():
        master = (root / "usr/share/base-passwd" / f"{name}.master").read_text(encoding="utf-8")
        (root / "etc" / name).write_text(master + lines, encoding="utf-8")
    users = [line.split(":")[0] for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines()]
    (root / "etc/shadow").write_text("".join(f"{user}:*:19000:0:99999:7:::\n" for user in users), encoding="utf-8")
    (root / "etc/hostname").write_text("raspberrypi\n", encoding="utf-8")
    (root / "etc/hosts").write_text("127.0.0.1\tlocalhost raspberrypi\n", encoding="utf-8")
    for name in ("run/sshd", "opt/runtimes"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("etc/passwd", "etc/group", "etc/hostname", "etc/hosts", "run/sshd", "opt", "opt/runtimes"):
        (root / name).chmod(0o755 if (root / name).is_dir() else 0o644)  # whatever this user's umask is


def _emulate(root: Path, program: str, *arguments: str, time_limit_s: float) -> None:
    child = run_child(readable([QEMU, "-L", root, root / program, *arguments]), time_limit_s=time_limit_s)
    if not child.ok:
        raise MissingRequirement(f"Expected {QEMU} to run Debian's {program} for arm64. Got: {child.reason()}")


def _key() -> str:
    """Return the name of the folder that these packages make."""
    parts = [_SCHEMA, SUITE, PACKAGES, _MERGED, _LINKS, _ACCOUNTS]
    return f"device-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"
