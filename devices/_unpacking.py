"""The unpacking of a carried runtime: one file that is run on a device, with the archive as its standard input.

It needs the standard library alone, on Python 3.7 or later, and neither pip nor the internet:

    python3 -c SOURCE FOLDER KEY DIGEST ROOM MODULE < packages.tar.gz

Each file is compared with its SHA-256 as it is written, in a folder beside; the runtime is imported there once; then
the folder is renamed to FOLDER/KEY. Whatever happens on the way, that is whole or not there. What a killed run left is
removed by the next one. Exit status: 0 done, 1 with the reason as the last line of stderr.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, check-untyped-defs=False

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zlib

DIGESTS = "edgewright-sha256"
PART = ".part-"
# A link that is cut ends the archive early; one that is frozen ends nothing.
SILENCE_S, IMPORT_S = 120, 600
CHUNK = 1 << 20
MIB = 1 << 20


class Refused(Exception):
    """Why the runtime is not there, as a sentence."""


class Arriving(object):
    """The archive as it arrives, of which something has to come every so often."""

    def __init__(self, stream):
        self._stream = stream

    def read(self, size):
        signal.alarm(SILENCE_S)
        try:
            return self._stream.read(size)
        finally:
            signal.alarm(0)


def interrupted(number, frame):
    raise Refused("nothing came for %d s" % SILENCE_S if number == signal.SIGALRM else "signal %d" % number)


def remove_left(folder):
    """Remove what runs left that are no more."""
    for name in os.listdir(folder):
        owner = re.match(re.escape(PART) + r"(\d+)-", name)
        if owner and not alive(int(owner.group(1))):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def check_room(folder, needed):
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise Refused("%d MiB free in %s, where it takes %d MiB" % (free // MIB, folder, -(-needed // MIB)))


def unpack(stream, folder, digest):
    """Write the files of an archive below ``folder``; its first one lists their digests, and has ``digest`` itself."""
    with tarfile.open(fileobj=stream, mode="r|gz") as tar:
        members = iter(tar)
        first = next(members, None)
        listed = tar.extractfile(first).read() if first is not None and first.name == DIGESTS else b""
        if hashlib.sha256(listed).hexdigest() != digest:
            raise Refused("another archive than was sent")
        expected = {}
        for line in listed.decode("utf-8").splitlines():
            each, _, name = line.partition("  ")
            expected[name] = each
        for member in members:
            path = os.path.join(folder, member.name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if write(tar.extractfile(member), path) != expected.pop(member.name, None):
                raise Refused("another %s than was sent" % member.name)
    if expected:
        raise Refused("an archive that ends before its last %d files" % len(expected))


def write(source, path):
    """Copy a file and return its SHA-256."""
    made = hashlib.sha256()
    with open(path, "wb") as target:
        while True:
            chunk = source.read(CHUNK)
            if not chunk:
                return made.hexdigest()
            made.update(chunk)
            target.write(chunk)


def prove(folder, module):
    """Import the runtime with nothing but what is in ``folder``."""
    command = [sys.executable, "-S", "-s", "-c", "import " + module]
    surroundings = dict(os.environ, PYTHONPATH=folder)
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run(
        command, cwd=folder, env=surroundings, stdin=nothing, stdout=nothing, stderr=pipe, timeout=IMPORT_S
    )
    if done.returncode:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        how = "exit %d" % done.returncode if done.returncode > 0 else "killed by signal %d" % -done.returncode
        raise Refused("import %s: %s" % (module, lines[-1].strip() if lines else how))


def install(folder, key, digest, room, module, stream):
    os.makedirs(folder, exist_ok=True)
    remove_left(folder)
    final = os.path.join(folder, key)
    if os.path.isdir(final):
        return
    check_room(folder, room)
    part = tempfile.mkdtemp(prefix="%s%d-" % (PART, os.getpid()), dir=folder)
    try:
        unpack(Arriving(stream), part, digest)
        prove(part, module)
        os.chmod(part, 0o755)
        os.sync()
        os.rename(part, final)
    except OSError:
        if not os.path.isdir(final):  # or another run was the first
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def main(arguments):
    folder, key, digest, room, module = arguments
    for number in (signal.SIGALRM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        install(folder, key, digest, int(room), module, sys.stdin.buffer)
    except Refused as error:
        return str(error)
    except (EOFError, tarfile.TarError, zlib.error) as error:
        return "an archive that ends early, or is damaged: %s" % error
    except OSError as error:
        return "%s: %s" % (error.filename or folder, error.strerror or error)
    except subprocess.TimeoutExpired:
        return "import %s: no end within %d s" % (module, IMPORT_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
