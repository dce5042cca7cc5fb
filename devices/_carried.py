"""A runtime to carry to a device: its wheels and NumPy's, fetched by this host's pip, as one archive in the cache."""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import MissingRequirement
from ..files import MANIFEST, is_ours, new_folder, new_manifest, sha256, write_json
from ..runtimes import Runtime
from ..runtimes._runner import LOADERS
from ..runtimes._wheels import WheelTarget, install_wheels, versions_in

# In an archive: what it is, and the digests of all other files, as sha256sum prints them.
ABOUT, DIGESTS = "edgewright-runtime.json", "edgewright-sha256"
_ARCHIVE, _PACKAGES = "packages.tar.gz", "packages"
_KIND, _SCHEMA = "carried", 1
_OLDEST_PYTHON = (3, 7)
# Measured of LiteRT: level 6 makes the archive 7 % smaller than level 3 does, in twice the time; xz at its quickest
# 26 % smaller in six times the time, and not every device's Python reads it.
_LEVEL = 3
# A device's file system gives a file whole blocks; and what Python compiles at the first import.
_BLOCK_BYTES, _COMPILED_BYTES = 4096, 8 * 1024**2
# A folder that is being made is no older: pip has less time than that.
_LEFT_S = 3600


@dataclass(frozen=True)
class Carried:
    """A runtime for the Python of a device, with all that it imports but the standard library.

    Attributes:
        folder: the packages, as PYTHONPATH takes them.
        key: its name on a device: the runtime, its version, the Python, the machine, and eight digits of the content.
        runtime: the runtime's name.
        module: what a program imports of it.
        python: the Python that it is for, such as "3.11".
        machine: the machine that it is for.
        distributions: their versions by name.
        size_bytes: of the packages' files.
        room_bytes: what they take on a device's disk, with what Python compiles of them.
        archive: the packages as a .tar.gz.
        archive_bytes: its size.
        digest: the SHA-256 of the list of digests in it.
    """

    folder: Path
    key: str
    runtime: str
    module: str
    python: str
    machine: str
    distributions: dict[str, str]
    size_bytes: int
    room_bytes: int
    archive: Path
    archive_bytes: int
    digest: str

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "folder": str(self.folder), "archive": str(self.archive)}


def carried_folder() -> Path:
    """Return where runtimes to carry are kept: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "edgewright" / "carried"


def wheels_for(
    runtime: Runtime,
    version: str | None,
    machine: str,
    libc: str,
    python: str,
    implementation: str = "cpython",
    cache: Path | None = None,
    on_wheel: Callable[[str], None] | None = None,
) -> Carried:
    """Return a runtime for a Python elsewhere, fetched unless the cache has it; it appears whole or not at all.

    Args:
        runtime: which.
        version: of its distribution; by default the newest up to the one that is installed here.
        machine: as the programs there are built for: x86_64, aarch64, armv7l.
        libc: "glibc 2.36".
        python: the version there, such as "3.11.2".
        implementation: what ``sys.implementation.name`` is there.
        cache: where runtimes to carry are kept; see ``carried_folder``.
        on_wheel: told which wheel is being fetched; see ``install_wheels``.

    Raises:
        MissingRequirement: there is no such wheel; no room here, or no right to write.
        DeviceError: the package index cannot be reached.
    """
    target = _target(runtime, machine, libc, python, implementation)
    requirements = _requirements(runtime, version)
    asked = {"schema": _SCHEMA, "requirements": requirements, "options": target.options(), "level": _LEVEL}
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    cache = cache or carried_folder()
    final = cache / f"{runtime.name}-{target.name}-{name}"
    if not _whole(final):
        for left in cache.glob(f".{runtime.name}-*"):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
        with new_folder(final) as made:
            _fill(made, runtime, requirements, target, on_wheel)
    return _read(final)


def _target(runtime: Runtime, machine: str, libc: str, python: str, implementation: str) -> WheelTarget:
    found = re.fullmatch(r"(\d+)\.(\d+)(\..*)?", python)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < _OLDEST_PYTHON:
        raise MissingRequirement(f"Expected Python 3.7 or later, to install {runtime.title} for. Got: {python}.")
    if implementation != "cpython":
        raise MissingRequirement(f"Expected CPython, which {runtime.title} has wheels for. Got: {implementation}.")
    glibc = re.fullmatch(r"glibc (\d+)\.(\d+)", libc)
    if not glibc:
        raise MissingRequirement(
            f"Expected a system with glibc, which the wheels of {runtime.title} are built for. Got: "
            f"{libc or 'another C library'}."
        )
    return WheelTarget(machine, (int(glibc[1]), int(glibc[2])), version)


def _requirements(runtime: Runtime, version: str | None) -> list[str]:
    here = runtime.version()
    bound = f"=={version}" if version else f"<={here}" if here else ""
    return [f"{runtime.distribution}{bound}", *(runtime.needs or ("numpy",))]


def _fill(
    folder: Path,
    runtime: Runtime,
    requirements: list[str],
    target: WheelTarget,
    on_wheel: Callable[[str], None] | None,
) -> None:
    packages = folder / _PACKAGES
    install_wheels(packages, requirements, target, on_wheel=on_wheel)
    _drop_programs(packages)
    distributions = versions_in(packages)
    about = {"runtime": runtime.name, "python": "{}.{}".format(*target.python), "machine": target.machine}
    about["libc"] = "glibc {}.{}".format(*target.glibc)
    write_json(packages / ABOUT, {**new_manifest(_KIND, _SCHEMA), **about, "distributions": distributions})
    files = sorted(path.relative_to(packages).as_posix() for path in packages.rglob("*") if path.is_file())
    listed = "".join(f"{sha256(packages / name)}  {name}\n" for name in files).encode()
    digest = hashlib.sha256(listed).hexdigest()
    _pack(packages, files, listed, folder / _ARCHIVE)
    sizes = [(packages / name).stat().st_size for name in files]
    blocks = sum(-(-size // _BLOCK_BYTES) for size in sizes)
    carried = Carried(
        folder=Path(_PACKAGES),
        key=f"{runtime.name}-{_version_of(runtime, distributions)}-{target.name}-{digest[:8]}",
        runtime=runtime.name,
        module=LOADERS[runtime.name][0],
        python=about["python"],
        machine=target.machine,
        distributions=distributions,
        size_bytes=sum(sizes),
        room_bytes=blocks * _BLOCK_BYTES + _COMPILED_BYTES,
        archive=Path(_ARCHIVE),
        archive_bytes=(folder / _ARCHIVE).stat().st_size,
        digest=digest,
    )
    archive = {"sha256": sha256(folder / _ARCHIVE)}
    write_json(folder / MANIFEST, {**new_manifest(_KIND, _SCHEMA), **archive, "carried": carried.plain()})


def _version_of(runtime: Runtime, distributions: dict[str, str]) -> str:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    return next(version for name, version in distributions.items() if plain(name) == plain(runtime.distribution))


def _drop_programs(packages: Path) -> None:
    """Remove the commands of the distributions: their first line is the path of a Python of this host."""
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for record in packages.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        record.write_text("".join(line for line in lines if not line.startswith("../../bin/")), encoding="utf-8")


def _pack(packages: Path, files: list[str], listed: bytes, archive: Path) -> None:
    """Write the archive: the list of digests, and then the files in its order; the same files make the same bytes."""
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, content in _members(packages, files, listed):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))


def _members(packages: Path, files: list[str], listed: bytes) -> Iterator[tuple[str, bytes]]:
    yield DIGESTS, listed
    for name in files:
        yield name, (packages / name).read_bytes()


def _whole(folder: Path) -> bool:
    """Return whether a finished one stands there, whose archive is what was written."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return is_ours(folder) and sha256(folder / _ARCHIVE) == document["sha256"]
    except (OSError, ValueError, KeyError):
        return False


def _read(folder: Path) -> Carried:
    document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["carried"]
    return replace(Carried(**document), folder=folder / _PACKAGES, archive=folder / _ARCHIVE)
