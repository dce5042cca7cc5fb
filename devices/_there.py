"""What edgewright finds on a device: one file, run there by its Python, that prints JSON.

It needs the standard library alone, on Python 3.5 or later, and is fed to the device's Python:

    python3 - FOLDER < _there.py

FOLDER is where edgewright's files lie. Printed are the Python, the runtimes that it has, those in FOLDER/runtimes,
what is deployed in FOLDER/models, and the free space there.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, check-untyped-defs=False

import glob
import json
import os
import platform
import re
import sys

SCHEMA = 1
DISTRIBUTIONS = (
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
    "tensorflow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
)
EMULATED = "/etc/edgewright-emulated"


def distributions(folders):
    """Return the versions of what is installed in folders, from what pip left there; the first of a name counts."""
    found = {}
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.dist-info", "METADATA"))):
            head = text(path).split("\n\n", 1)[0]
            fields = dict(re.findall(r"^(Name|Version): *(.*)$", head, re.M))
            name = re.sub(r"[-_.]+", "-", fields.get("Name", "")).lower()
            if name in DISTRIBUTIONS:
                found.setdefault(name, fields.get("Version", ""))
    return found


def text(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def models(folder):
    """Return by model the versions that its links name, and what each says of itself."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "models", "*", ""))):
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


def libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return ""


def free_bytes(folder):
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def main(folder):
    carried = sorted(glob.glob(os.path.join(glob.escape(folder), "runtimes", "*", "")))
    print(
        json.dumps(
            {
                "schema": SCHEMA,
                "python": platform.python_version(),
                "implementation": platform.python_implementation(),
                "machine": platform.machine(),
                "libc": libc(),
                "distributions": distributions(path for path in sys.path if path),
                "runtimes": {path.rstrip("/"): distributions([path]) for path in carried},
                "models": models(folder),
                "free_bytes": free_bytes(folder),
                "emulated": text(EMULATED).strip(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
