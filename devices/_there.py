"""What edgewright finds on a device: one file that is run there by its Python, and prints JSON.

It needs the standard library alone, imports no runtime, and answers on every Python from 2.7 on:

    python3 - DISTRIBUTION... < _there.py

Printed is one document: the Python, the versions of those distributions that it finds by itself, those in each folder
of ~/edgewright/runtimes that was put there for such a Python, what is deployed in ~/edgewright/models, the free space,
and whether the device says that it is emulated.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, check-untyped-defs=False

import glob
import io
import json
import os
import re
import struct
import sys

SCHEMA = 1
ABOUT = "edgewright-runtime.json"
# Written into each device that edgewright emulates.
EMULATED = "/etc/edgewright-emulated"
# Of a 32-bit system on a 64-bit kernel, whose programs are of the smaller machine.
SMALLER = {"aarch64": "armv7l", "x86_64": "i686"}


def machine():
    found = os.uname()[4]
    return SMALLER.get(found, found) if struct.calcsize("P") == 4 else found


def libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError, AttributeError):
        return "musl" if glob.glob("/lib/ld-musl-*") else ""


def implementation():
    name = getattr(sys, "implementation", None)
    found = name.name if name else sys.subversion[0].lower()
    # Its extensions are of another kind.
    return found + " without the global lock" if "t" in getattr(sys, "abiflags", "") else found


def text(path):
    try:
        with io.open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (IOError, OSError):
        return ""


def distributions(folders, names):
    """Return the versions of the distributions of those names, from what pip or the system's packages left."""
    found = {}
    for folder in folders:
        for pattern in ("*.dist-info/METADATA", "*.egg-info/PKG-INFO", "*.egg-info"):
            for path in sorted(glob.glob(os.path.join(glob_escape(folder), pattern))):
                # The folder says the name before the first hyphen: others are not opened, of which there may be many.
                if plain(os.path.relpath(path, folder).split("-")[0].split(".egg-info")[0]) not in names:
                    continue
                head = text(path).split("\n\n", 1)[0]
                name, version = (re.search("^%s: *(.+)$" % field, head, re.M) for field in ("Name", "Version"))
                if name and version:
                    called = plain(name.group(1).strip())
                    if called in names:
                        found.setdefault(called, version.group(1).strip())
    return found


def plain(name):
    return re.sub("[-_.]+", "-", name).lower()


def glob_escape(folder):
    return re.sub(r"([*?[])", r"[\1]", folder)


def carried(names, python, home):
    """Return the folders that were put there for such a Python, and the distributions in each."""
    found = []
    for path in sorted(glob.glob(os.path.join(glob_escape(home), "edgewright", "runtimes", "*", ABOUT))):
        try:
            about = json.loads(text(path))
            same = about["python"] == "%d.%d" % sys.version_info[:2] and about["machine"] == python["machine"]
        except (ValueError, KeyError, TypeError):
            continue
        if same:
            folder = os.path.dirname(path)
            found.append({"folder": folder, "distributions": distributions([folder], names)})
    return found


def models(home):
    """Return by model what the versions that its links name say of themselves."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob_escape(home), "edgewright", "models", "*", ""))):
        links = {}
        for link in ("current", "previous"):
            place = os.path.join(path, link)
            if os.path.islink(place):
                try:
                    links[link] = json.loads(text(os.path.join(place, "deployed.json")))
                except ValueError:
                    links[link] = {"version": os.path.basename(os.readlink(place))}
        found[os.path.basename(os.path.dirname(path))] = links
    return found


def free_bytes(folder):
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def main(names):
    home = os.path.expanduser("~")
    python = {
        "schema": SCHEMA,
        "home": home,
        "executable": sys.executable or "",
        "version": sys.version.split()[0].rstrip("+"),
        "implementation": implementation(),
        "machine": machine(),
        "libc": libc(),
    }
    own = {"folder": "", "distributions": distributions([path for path in sys.path if path], names)}
    python["models"] = models(home)
    python["free_bytes"] = free_bytes(home)
    python["emulated"] = text(EMULATED).strip()
    python["places"] = [own] + carried(names, python, home)
    print(json.dumps(python))


if __name__ == "__main__":
    main(sys.argv[1:])
