"""The probe: one file that reads what a device is (cores, clocks, memory, system, runtimes, accelerators) as JSON.

It needs the standard library alone, on Python 3.7 or later, and is copied to devices as it is:

    python3 _probe.py [--root FOLDER] [--no-measure]

Where NumPy is there the memory's bandwidth and the rate of a matrix product are measured, for about a second. With
--root it reads a copy of a device's /proc, /sys and /etc below that folder instead, and measures nothing.

Printed is one document: by name {"value": ..., "source": where it was read}, or null for what is not there to read.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, check-untyped-defs=False

import argparse
import glob
import json
import os
import platform
import re
import sys
import time

SCHEMA = 1
# Distributions of the runtimes, without importing them: onnxruntime alone takes seconds on a small board.
RUNTIMES = ("ai-edge-litert", "tflite-runtime", "tensorflow", "onnxruntime", "onnxruntime-gpu", "openvino")
# USB ids of the Edge TPU: before and after its firmware was loaded.
EDGE_TPU_USB = (("1a6e", "089a"), ("18d1", "9302"))
EDGE_TPU_PCI = ("0x1ac1", "0x089a")
X86_FLAGS = ("avx2", "avx_vnni", "avx512_vnni", "avx512_fp16", "amx_int8")
MEASURE_S = 0.4
# On a device that edgewright emulates; what is timed there says nothing of the real one.
EMULATED = "/etc/edgewright-emulated"


class Tree(object):
    """The files of a device: below "/", or below a folder that holds a copy of them."""

    def __init__(self, root):
        self.root = root

    def at(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path):
        """Return a file's text without zeros and white space at its ends, or an empty string."""
        try:
            with open(self.at(path), "rb") as file:
                return file.read().decode("utf-8", "replace").rstrip("\0").strip()
        except (OSError, ValueError):
            return ""

    def glob(self, pattern):
        """Return the paths that match, as the device names them."""
        start = len(self.root.rstrip("/"))
        return sorted(path[start:] for path in glob.glob(self.at(pattern)))

    def fact(self, *paths):
        """Return the text of the first file that has one, as a fact, or None."""
        for path in paths:
            text = self.text(path)
            if text:
                return fact(text, path)
        return None


def fact(value, source):
    return {"value": value, "source": source}


def cpu(tree):
    """Return the facts of the cores; where there are several kinds, of the fastest."""
    path = "/proc/cpuinfo"
    cores = [_fields(block) for block in re.split(r"\n\s*\n", tree.text(path))]
    cores = [core for core in cores if "processor" in core]
    if not cores:
        return None
    clocks = [_clock_ghz(tree, place) for place in range(len(cores))]
    fastest = max(range(len(cores)), key=lambda place: clocks[place]["value"] if clocks[place] else 0.0)
    core, clock = cores[fastest], clocks[fastest]
    if clock is None and core.get("cpu MHz"):
        clock = fact(float(core["cpu MHz"]) / 1e3, path + ", cpu MHz")
    flags = (core.get("Features") or core.get("flags") or "").split()
    arm = "Features" in core
    known = [flag for flag in X86_FLAGS if flag in flags]
    return {
        "arm": arm,
        "implementer": core.get("CPU implementer"),
        "part": core.get("CPU part"),
        "model_name": core.get("model name"),
        "source": path,
        "count": fact(len(cores), path),
        "kinds": len(set((core.get("CPU part"), core.get("model name")) for core in cores)),
        "clock_ghz": clock,
        "flags": flags if arm else known,
        "dotprod": fact("asimddp" in flags if arm else any(flag.endswith("vnni") for flag in known), path),
        "fp16_arith": fact("asimdhp" in flags if arm else "avx512_fp16" in known, path),
        "i8mm": fact("i8mm" in flags if arm else "amx_int8" in known, path),
        "governor": tree.fact("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor" % fastest),
        "caches": _caches(tree, fastest),
    }


def _fields(text):
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _clock_ghz(tree, place):
    """Return the most that a core may be clocked at: what it can, within what a power mode or a governor allows."""
    folder = "/sys/devices/system/cpu/cpu%d/cpufreq/" % place
    found = [(tree.text(folder + name), folder + name) for name in ("cpuinfo_max_freq", "scaling_max_freq")]
    found = [(int(text) / 1e6, path) for text, path in found if text.isdigit()]
    return fact(*min(found)) if found else None


def _caches(tree, place):
    found = []
    for folder in tree.glob("/sys/devices/system/cpu/cpu%d/cache/index*" % place):
        size = re.match(r"(\d+)K$", tree.text(folder + "/size"))
        if size:
            kind, level = tree.text(folder + "/type"), tree.text(folder + "/level")
            found.append({"level": int(level or 0), "type": kind, "bytes": int(size.group(1)) * 1024, "source": folder})
    return found


def memory(tree):
    size = re.search(r"^MemTotal:\s*(\d+) kB", tree.text("/proc/meminfo"), re.M)
    return {"size_bytes": fact(int(size.group(1)) * 1024, "/proc/meminfo, MemTotal") if size else None}


def system(tree, live):
    """Return the names of the system and of NVIDIA's release of it, and the version of Python."""
    release = re.search(r'^PRETTY_NAME="?([^"\n]*)"?', tree.text("/etc/os-release"), re.M)
    l4t = re.search(r"# R(\d+) .*REVISION: ([\d.]+)", tree.text("/etc/nv_tegra_release"))
    python = fact("%d.%d" % sys.version_info[:2], "the Python that ran the probe") if live else None
    for path in () if live else tree.glob("/usr/bin/python3.*"):
        version = re.match(r".*/python(3\.\d+)$", path)
        python = fact(version.group(1), path) if version else python
    return {
        "name": fact(release.group(1), "/etc/os-release") if release else None,
        "l4t": fact("%s.%s" % l4t.groups(), "/etc/nv_tegra_release") if l4t else None,
        "jetpack": _package(tree, "nvidia-jetpack"),
        "tensorrt": _package(tree, r"libnvinfer\d+"),
        "python": python,
    }


def _package(tree, pattern):
    """Return the version of an installed Debian package, without the revision."""
    path = "/var/lib/dpkg/status"
    found = re.search(r"^Package: %s\n(?:.+\n)*?Version: ([\d.]+)" % pattern, tree.text(path) + "\n", re.M)
    return fact(found.group(1), path) if found else None


def power(tree):
    """Return a Jetson's power mode and modes, as nvpmodel has them."""
    conf, status = "/etc/nvpmodel.conf", "/var/lib/nvpmodel/status"
    modes = dict(re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", tree.text(conf), re.M))
    if not modes:
        return None
    now = re.search(r"pmode:0*(\d+)", tree.text(status))
    default = re.search(r"PM_CONFIG\s+DEFAULT=(\d+)", tree.text(conf))
    chosen, source = (now, status) if now else (default, conf)
    mode = modes.get(chosen.group(1)) if chosen else None
    return {"mode": fact(mode, source) if mode else None, "modes": fact(list(modes.values()), conf)}


def accelerators(tree):
    found = []
    for path in tree.glob("/sys/bus/usb/devices/*/idVendor"):
        folder = os.path.dirname(path)
        if (tree.text(path), tree.text(folder + "/idProduct")) in EDGE_TPU_USB:
            speed = tree.text(folder + "/speed")
            usb = "USB 2" if speed and float(speed) < 5000 else "USB 3"
            found.append({"unit": "edgetpu", "name": "Edge TPU on " + usb, "bus": "usb", "source": folder})
    for path in tree.glob("/sys/bus/pci/devices/*/vendor"):
        folder = os.path.dirname(path)
        if (tree.text(path), tree.text(folder + "/device")) == EDGE_TPU_PCI:
            found.append({"unit": "edgetpu", "name": "Edge TPU on PCIe", "bus": "pci", "source": folder})
    compatible = tree.text("/proc/device-tree/compatible")
    if "nvidia,tegra" in compatible:
        chip = re.search(r"nvidia,(tegra\d+)", compatible)
        clock = [
            fact(int(tree.text(path)) / 1e9, path)
            for path in tree.glob("/sys/class/devfreq/*/max_freq")
            if re.search(r"gpu|gv11b|ga10b|gp10b|gm20b", path) and tree.text(path).isdigit()
        ]
        found.append(
            {
                "unit": "gpu",
                "name": "GPU of NVIDIA " + (chip.group(1) if chip else "Tegra"),
                "bus": "",
                "source": "/proc/device-tree/compatible",
                "clock_ghz": clock[0] if clock else None,
            }
        )
    return found


def runtimes(tree, live):
    """Return the versions of the installed distributions that run models, read from what pip left beside them."""
    folders = sys.path if live else []
    for pattern in () if live else ("/usr/lib/python3*/*-packages", "/usr/local/lib/python3*/*-packages"):
        folders = folders + tree.glob(pattern)
    found = {}
    for folder in folders:
        # pip's, and those of the system's own packages.
        patterns = ("/*.dist-info/METADATA", "/*.egg-info/PKG-INFO", "/*.egg-info")
        for path in [path for pattern in patterns for path in tree.glob(folder.rstrip("/") + pattern)]:
            # The first lines of these names: NumPy's licence, in the same head, has more of them.
            head = [re.search(r"^%s: *(.*)" % each, tree.text(path), re.M) for each in ("Name", "Version")]
            name, version = [each.group(1).strip() if each else "" for each in head]
            name = re.sub(r"[-_.]+", "-", name).lower()
            if name in RUNTIMES + ("numpy",):
                found.setdefault(name, fact(version, "/".join(path.split("/")[-3:])))
    return found


def measured(memory_bytes, cache_bytes):
    """Return what NumPy measures on one thread, or None without it.

    bandwidth: of copying an array beyond the caches, its bytes read and written once each, as STREAM counts them.
    product: of a float32 matrix product by the BLAS that NumPy has: what the cores can, not what a network reaches.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    try:
        import numpy as np
    except ImportError:
        return None
    size = int(min(max(64 << 20, 2 * cache_bytes), (memory_bytes or 512 << 20) // 16))
    source, target = np.ones(size // 8), np.zeros(size // 8)
    copy_s = _best_s(lambda: np.copyto(target, source))
    one = np.ones((512, 512), np.float32)
    product_s = _best_s(lambda: one.dot(one))
    how = "measured on one thread by NumPy %s: the best of %.1f s of " % (np.__version__, MEASURE_S)
    return {
        "bandwidth_gbytes_per_s": fact(2 * size / copy_s / 1e9, how + "copying %d MiB" % (size >> 20)),
        "product_gmacs_per_s": fact(512**3 / product_s / 1e9, how + "products of 512 x 512 float32"),
    }


def _best_s(work):
    work()
    best, end = float("inf"), time.perf_counter() + MEASURE_S
    while time.perf_counter() < end:
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def probe(root="/", measure=True):
    """Return all facts as plain data."""
    tree, live = Tree(root), os.path.realpath(root) == "/"
    found = {
        "schema": SCHEMA,
        "model": tree.fact("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"),
        "product": tree.fact("/sys/class/dmi/id/product_name"),
        "host": platform.node() if live else "",
        "date": time.strftime("%Y-%m-%d"),
        "emulated": tree.fact(EMULATED),
        "cpu": cpu(tree),
        "memory": memory(tree),
        "system": system(tree, live),
        "power": power(tree),
        "accelerators": accelerators(tree),
        "runtimes": runtimes(tree, live),
    }
    size, caches = found["memory"]["size_bytes"], (found["cpu"] or {}).get("caches", [])
    largest = max([cache["bytes"] for cache in caches], default=0)
    timed = live and measure and not found["emulated"]
    found["measured"] = measured(size and size["value"], largest) if timed else None
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", default="/")
    parser.add_argument("--no-measure", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(probe(arguments.root, not arguments.no_measure), indent=1))


if __name__ == "__main__":
    main()
