"""Runtimes carried to a device without pip and internet: fetched for its Python, unpacked there whole or not at all."""

import ast
import dataclasses
import getpass
import gzip
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgewright import runtimes
from edgewright.children import run_child
from edgewright.devices import _carried
from edgewright.devices._carried import wheels_for
from edgewright.devices._found import SCRIPT, ask, look, with_runtime
from edgewright.devices._links import Here
from edgewright.devices._runtime_there import UNPACKING, install, provide, remove_unused, runtimes_folder
from edgewright.devices._ssh import Ssh
from edgewright.errors import DeviceError, MissingRequirement
from edgewright.files import MANIFEST, write_json
from edgewright.runtimes import run_artifact
from edgewright.runtimes._client import RUNNER
from edgewright.runtimes._emulated import CORES, PYTHON, QEMU, ROOT, WHEELS, Emulated
from edgewright.runtimes._emulator import build_emulator
from edgewright.runtimes._emulator_parts import missing_tools
from edgewright.runtimes._wheels import WheelTarget, install_wheels, unmet, versions_in

from ._ssh_servers import CUT, SSHD, Line, Server, free_port, make_key
from ._waiting import met

IN_CI = bool(os.environ.get("CI"))
LITERT, TFLITE = runtimes.get("litert"), runtimes.get("tflite_runtime")
NEEDS_NAMESPACES = "this host lets nobody mount something for one command"


class Within(Here):
    """This host, whose commands begin with others: with variables, or with a limit."""

    def __init__(self, *before):
        self.before = before

    def run(self, command, **given):
        """Run a command so."""
        return super().run([*self.before, *command], **given)


@pytest.fixture
def home(tmp_path):
    """A home folder with nothing in it."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def here(home):
    """This host with that home folder."""
    return Within("env", f"HOME={home}")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where the runtimes are kept that the tests share."""
    return tmp_path_factory.mktemp("carried")


@pytest.fixture(scope="session")
def own():
    """The Python that runs the tests, as a device's."""
    return look(Here(), sys.executable).pythons[0]


@pytest.fixture(scope="session")
def litert(own, cache):
    """LiteRT for that Python."""
    return wheels_for(LITERT, None, own.machine, own.libc, own.version, own.implementation, cache)


@pytest.fixture(scope="session")
def small(own, cache):
    """Something small in a runtime's place, which is quick to send: flatbuffers alone."""
    runtime = dataclasses.replace(LITERT, distribution="flatbuffers", needs=("flatbuffers",))
    made = wheels_for(runtime, None, own.machine, own.libc, own.version, own.implementation, cache)
    return dataclasses.replace(made, module="flatbuffers")


def there(home):
    """Return what is in the folder of runtimes."""
    return sorted(path.name for path in Path(runtimes_folder(str(home))).glob("*"))


def test_a_runtime_is_carried_and_runs_with_nothing_else(litert, here, home, own, artifacts, inputs, tmp_path):
    """LiteRT with its NumPy is put there and runs float and int8 files as here; it is found, and not sent again."""
    folder = install(here, litert, str(home), python=sys.executable)
    assert there(home) == [litert.key]
    np.savez(tmp_path / "in.npz", **inputs)
    for precision in ("float32", "int8"):
        artifact = artifacts["tflite", precision]
        command = [sys.executable, "-S", "-s", RUNNER, "--runtime", "litert", "--artifact", artifact]
        command += ["--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"]
        done = run_child(command, time_limit_s=60, environment={"PYTHONPATH": folder})
        assert done.ok, done.stderr
        assert json.loads(done.stdout)["numpy"] == litert.distributions["numpy"]
        expected = run_artifact(artifact, "litert", inputs).outputs
        with np.load(tmp_path / "out.npz") as made:
            assert set(made.files) == set(expected)
            assert all(np.array_equal(made[name], expected[name]) for name in expected)
    found = look(here, sys.executable).pythons
    assert [each.path for each in found] == ["", folder]
    assert found[1].version_of(LITERT) == litert.distributions["ai-edge-litert"] and found[1].home == str(home)
    assert with_runtime(found[1:], LITERT) == found[1] and with_runtime(found[1:], TFLITE) is None
    absent = dataclasses.replace(litert, archive=Path("no-such-archive"))
    assert install(here, absent, str(home), python=sys.executable) == folder


def test_what_is_carried_is_the_same_bytes_and_names_nothing_of_this_host(small, litert, cache, tmp_path):
    """Packing the same packages gives the same archive, without programs, compiled files and paths of this host."""
    files = sorted(path.relative_to(small.folder).as_posix() for path in small.folder.rglob("*") if path.is_file())
    listed = "".join(f"{hashlib.sha256((small.folder / name).read_bytes()).hexdigest()}  {name}\n" for name in files)
    _carried._pack(small.folder, files, listed.encode(), tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == small.archive.read_bytes()
    assert hashlib.sha256(listed.encode()).hexdigest() == small.digest and small.key.endswith(small.digest[:8])
    assert str(cache).encode() not in gzip.decompress(small.archive.read_bytes())
    names = [path.relative_to(litert.folder) for path in litert.folder.rglob("*")]
    assert not any(name.suffix == ".pyc" or name.parts[0] == "bin" for name in names)
    assert not any("../../bin/" in path.read_text() for path in litert.folder.glob("*.dist-info/RECORD"))
    assert litert.key.startswith(f"litert-{litert.distributions['ai-edge-litert']}-cp")
    assert litert.archive_bytes < litert.size_bytes / 2 < litert.room_bytes / 2


def test_without_network_what_is_in_the_cache_is_carried_and_else_it_is_told(small, own, cache, monkeypatch):
    """A runtime of the cache needs no index; a damaged one is fetched again; no answer is an error of the network."""
    for name, value in {"CONFIG_FILE": os.devnull, "INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("FIND_LINKS", "EXTRA_INDEX_URL"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    runtime = dataclasses.replace(LITERT, distribution="flatbuffers", needs=("flatbuffers",))
    asked = (own.machine, own.libc, own.version, own.implementation, cache)
    again = wheels_for(runtime, None, *asked)
    assert dataclasses.replace(again, module=small.module) == small
    whole = small.archive.read_bytes()
    small.archive.write_bytes(whole[:-1])
    try:
        with pytest.raises(DeviceError, match="no answer from the package index"):
            wheels_for(runtime, None, *asked)
        assert small.archive.parent.is_dir() and not list(cache.glob(".*"))
    finally:
        small.archive.write_bytes(whole)


@pytest.mark.parametrize(
    ("runtime", "version", "changed", "told"),
    [
        (LITERT, None, {"libc": "musl"}, "Expected a system with glibc.*Got: musl"),
        (LITERT, None, {"libc": ""}, "Got: another C library"),
        (LITERT, None, {"python": "3.6.15"}, "Expected Python 3.7 or later.*Got: 3.6.15"),
        (LITERT, None, {"implementation": "pypy"}, "Expected CPython.*Got: pypy"),
        (LITERT, "9.9", {}, r"Got: no ai-edge-litert==9.9, only 2\.\d+"),
        (
            LITERT,
            None,
            {"machine": "riscv64"},
            r"no wheel of ai-edge-litert for riscv64 .*, for any Python",
        ),
        (TFLITE, None, {"python": "3.13"}, r"no wheel of tflite-runtime for that Python; there are for .*3\.10, 3\.11"),
    ],
)
def test_what_there_are_no_wheels_for_is_told_with_what_there_are(runtime, version, changed, told, tmp_path):
    """Each is an error of the environment that names what was asked, and nothing is left in the cache."""
    asked = {"machine": "x86_64", "libc": "glibc 2.36", "python": "3.11.2", "implementation": "cpython", **changed}
    with pytest.raises(MissingRequirement, match=told):
        wheels_for(runtime, version, **asked, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_conditions_in_requirements_are_those_of_the_device(tmp_path):
    """What a Python needs that this one does not is fetched for it too, though pip judges by its own."""
    target = WheelTarget("aarch64", (2, 31), (3, 10))
    install_wheels(tmp_path / "packages", ["asgiref"], target)
    assert set(versions_in(tmp_path / "packages")) == {"asgiref", "typing_extensions"}
    assert not unmet(tmp_path / "packages", target)
    info = tmp_path / "other" / "one-1.0.dist-info"
    info.mkdir(parents=True)
    needs = ['two>=3; python_version < "3.11"', 'three; platform_machine == "x86_64"', 'four; extra == "more"']
    (info / "METADATA").write_text(
        "\n".join(["Name: one", "Version: 1.0", *(f"Requires-Dist: {one}" for one in needs)])
    )
    assert unmet(tmp_path / "other", target) == ["two>=3"]
    assert unmet(tmp_path / "other", WheelTarget("x86_64", (2, 36), (3, 11))) == ["three"]


def test_pip_is_told_each_name_of_a_glibc():
    """Wheels for every glibc up to the device's are taken, by the old names too, the newest first."""
    options = WheelTarget("x86_64", (2, 17), (3, 7)).options()
    platforms = [value for name, value in zip(options, options[1:], strict=False) if name == "--platform"]
    assert platforms[:3] == ["manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_16_x86_64"]
    assert {"manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"} <= set(platforms)
    assert "cp37m" in options and "cp38m" not in WheelTarget("x86_64", (2, 17), (3, 8)).options()


def test_a_devices_python_is_told_without_importing_what_it_has(own, here, home, tmp_path):
    """Version, machine and C library are Python's own words; packages of Debian and of pip count; none is no Python."""
    assert (own.version, own.machine) == (platform.python_version(), platform.machine())
    assert own.libc == " ".join(platform.libc_ver()) and own.implementation == "cpython" and not own.too_old
    assert own.version_of(LITERT) == LITERT.version() and own.numpy == np.__version__
    for name, version, place in [
        ("numpy", "1.24.2", "numpy-1.24.2.egg-info/PKG-INFO"),
        ("tflite_runtime", "2.5.0.post1", "tflite_runtime-2.5.0.post1.egg-info"),
        ("onnxruntime-gpu", "1.16", "onnxruntime_gpu-1.16.dist-info/METADATA"),
    ]:
        path = tmp_path / "packages" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: 9\n")
    link = Within("env", f"HOME={home}", f"PYTHONPATH={tmp_path / 'packages'}")
    (found,) = look(link, sys.executable).pythons
    assert found.numpy == "1.24.2" and found.version_of(TFLITE) == "2.5.0.post1"
    assert found.distributions["onnxruntime-gpu"] == "1.16"
    jetson = dataclasses.replace(found, distributions={"onnxruntime-gpu": "1.16", "numpy": "1.24.2"})
    assert jetson.version_of(runtimes.get("onnxruntime")) == "1.16"
    assert ask(here, "no-such-python") is None
    with pytest.raises(DeviceError, match="Expected false on this host to say what it is. Got: 'exit 1'"):
        ask(here, "false")


def test_an_old_python_is_told_as_one(own):
    """What asks is a program of Python 3.4 already; what does not run the runner says so."""
    ast.parse(SCRIPT.read_text(), feature_version=(3, 4))
    ast.parse(UNPACKING.read_text(), feature_version=(3, 7))
    for name in ("python2.7", "python3.5", "python3.6", "python3.7", "python3.8"):
        if subprocess.run([shutil.which(name) or "false", "-c", ""], capture_output=True, check=False).returncode == 0:
            (found,) = ask(Here(), name).pythons
            assert f"python{found.version}".startswith(name) and found.too_old == (name < "python3.7")
    old = [dataclasses.replace(own, version=version).too_old for version in ("2.7.18", "3.5.2", "3.6.15", "3.7.3")]
    assert old == [True, True, True, False]
    assert with_runtime([dataclasses.replace(own, version="3.6.15")], LITERT) is None


def test_what_does_not_import_there_is_removed_again(small, here, home):
    """The error ends with Python's last line, and nothing of it stays."""
    with pytest.raises(DeviceError, match="ai_edge_litert: ModuleNotFoundError: .*; nothing of it was left there"):
        install(here, dataclasses.replace(small, module="ai_edge_litert"), str(home), python=sys.executable)
    assert there(home) == []


def test_a_disk_without_room_is_told_before_anything_is_sent(small, here, home):
    """Needed and free are named; nothing stays."""
    with pytest.raises(DeviceError, match=rf"Got: \d+ MiB free in {home}.*, where it takes 1048576 MiB"):
        install(here, dataclasses.replace(small, room_bytes=1 << 40), str(home), python=sys.executable)
    assert there(home) == []


def test_a_disk_that_is_full_in_the_middle_keeps_nothing(litert, small, home):
    """On a disk of 5 MiB, too little is told before, and running out on the way is told with the file; none stays."""
    mounted = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=5m none "$0" && exec "$@"', str(home))
    if not Here().run([*mounted, "true"]).ok:
        pytest.skip(NEEDS_NAMESPACES)
    with pytest.raises(DeviceError, match="Got: [45] MiB free"):
        install(Within(*mounted), litert, str(home), python=sys.executable)
    report = 'status=0; "$@" || status=$?; ls -A "$0/edgewright/runtimes" >&2; exit $status'
    looked = (*mounted, "sh", "-c", report, str(home))
    command = [sys.executable, "-I", "-c", UNPACKING.read_text(), runtimes_folder(str(home)), litert.key, litert.digest]
    answer = Here().run([*looked, *command, "0", litert.module], stdin=litert.archive)
    # The last line would be what ``ls`` still finds there.
    assert answer.status == 1 and answer.reason().endswith("No space left on device"), answer
    assert Here().run([*looked, "true"]).ok


def test_a_file_that_cannot_be_written_to_its_end_keeps_nothing(litert, home):
    """Where writing fails in the middle of a file, the error is the system's, and nothing stays."""
    link = Within("sh", "-c", 'ulimit -f 1000; exec "$@"', "sh")
    with pytest.raises(DeviceError, match="File too large; nothing of it was left there"):
        install(link, litert, str(home), python=sys.executable)
    assert there(home) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "another"])
def test_a_damaged_archive_is_not_kept(damage, small, here, home, tmp_path):
    """Cut, empty, with other bytes, or of other packages: refused, and nothing stays."""
    whole = small.archive.read_bytes()
    changed = gzip.compress(gzip.decompress(whole).replace(b"def ", b"dxf "))
    content = {"cut": whole[: len(whole) // 2], "empty": b"", "changed": changed, "another": whole}[damage]
    (tmp_path / "archive").write_bytes(content)
    digest = "0" * 64 if damage == "another" else small.digest
    told = {"another": "another archive", "changed": "another .*py than was sent"}.get(damage, "ends early|ends before")
    with pytest.raises(DeviceError, match=told):
        sent = dataclasses.replace(small, archive=tmp_path / "archive", digest=digest)
        install(here, sent, str(home), python=sys.executable)
    assert there(home) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_a_killed_unpacking_leaves_is_removed_by_the_next(number, small, here, home):
    """Ended by a signal it cleans up itself; killed outright, the next one does, and is whole."""
    arguments = [runtimes_folder(str(home)), small.key, small.digest, "0", small.module]
    command = [sys.executable, "-I", "-c", UNPACKING.read_text(), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(small.archive.read_bytes()[:15000])
    process.stdin.flush()
    assert met(lambda: any(Path(runtimes_folder(str(home))).glob(".part-*/*")) or process.poll() is not None)
    process.send_signal(number)
    process.wait(timeout=20)
    process.stdin.close()
    assert (there(home) == []) == (number != signal.SIGKILL)
    install(here, small, str(home), python=sys.executable)
    assert there(home) == [small.key]


def test_two_at_once_are_both_right(small, here, home):
    """Two that put the same runtime there at the same time both find it whole."""
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(install(here, small, str(home), python=sys.executable)))
        for _ in range(2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert made == [f"{runtimes_folder(str(home))}/{small.key}"] * 2 and there(home) == [small.key]


def test_runtimes_that_nothing_needs_are_removed(small, here, home):
    """Those of other keys go, what somebody else put there stays, and where there is no folder nothing happens."""
    assert remove_unused(here, str(home), []) == ()
    install(here, small, str(home), python=sys.executable)
    (Path(runtimes_folder(str(home))) / "mine").mkdir()
    assert remove_unused(here, str(home), [small.key]) == ()
    assert remove_unused(here, str(home), ["another"]) == (small.key,)
    assert there(home) == ["mine"]


@pytest.mark.parametrize("after_bytes", [12_000, 18_000, 26_000])
def test_a_line_that_is_cut_leaves_nothing_half(after_bytes, small, home, tmp_path):
    """Over SSH, a line that is cut while the archive is sent is an error; nothing half stays; the next try works."""
    if not IN_CI and SSHD is None:
        pytest.skip("this test starts a real SSH server: apt-get install openssh-server")
    server = Server(tmp_path / "server", free_port(), make_key(tmp_path / "key"))
    host_key = server.start()
    line = Line(server.port, after_bytes, CUT)
    try:
        user = getpass.getuser()
        cut = Ssh(f"ssh://{user}@127.0.0.1:{line.port}", {f"[127.0.0.1]:{line.port}": [host_key]}, key=tmp_path / "key")
        with cut, pytest.raises(DeviceError):
            install(cut, small, str(home), python=sys.executable)
        assert met(lambda: there(home) == [])
        with Ssh(server.url, {server.known_as: [host_key]}, key=tmp_path / "key") as link:
            install(link, small, str(home), python=sys.executable)
        assert there(home) == [small.key]
    finally:
        line.close()
        server.stop()


def test_an_archive_that_stops_arriving_is_given_up(small, home):
    """Where a link carries nothing more and is not cut either, the unpacking ends by itself and leaves nothing."""
    source = UNPACKING.read_text().replace("SILENCE_S, IMPORT_S = 120,", "SILENCE_S, IMPORT_S = 1,")
    arguments = [runtimes_folder(str(home)), small.key, small.digest, "0", small.module]
    command = [sys.executable, "-I", "-c", source, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(small.archive.read_bytes()[:15000])
    process.stdin.flush()
    assert process.wait(timeout=30) == 1 and process.stderr.read() == b"nothing came for 1 s\n"
    process.stdin.close()
    process.stderr.close()
    assert there(home) == []


class Pi(Here):
    """The emulated Raspberry Pi, whose programs start programs: for the time of a command its kernel knows QEMU."""

    title = "the emulated Pi"
    _MAGIC = (
        r":pi:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
    )
    _KNOWN = (
        "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && "
        'printf %s "$0" > /proc/sys/fs/binfmt_misc/register && exec "$@"'
    )

    def __init__(self, folder, home):
        self.python = str(folder / ROOT / PYTHON)
        settings = {"HOME": home, "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": 1}
        settings |= {"QEMU_LD_PREFIX": folder / CORES / "cortex-a72", "QEMU_CPU": "cortex-a72"}
        magic = f"{self._MAGIC}{shutil.which(QEMU)}:OP"
        self.before = ["unshare", "-rm", "sh", "-c", self._KNOWN, magic, "env", "-i"]
        self.before += [f"{name}={value}" for name, value in settings.items()]

    def run(self, command, **given):
        """Run a command there."""
        there = [self.python if part == "python3" else str(part) for part in command]
        return super().run([*self.before, *there], **given)


@pytest.fixture(scope="session")
def emulator():
    """The emulated Pi, built unless it is in the cache."""
    if missing_tools():
        pytest.skip(missing_tools())
    try:
        return build_emulator().folder
    except DeviceError as error:
        pytest.skip(f"the emulator cannot be fetched: {error}")


@pytest.fixture(scope="session")
def for_the_pi(emulator, cache, tmp_path_factory):
    """tflite-runtime for the emulated Pi, by what its Python says of itself."""
    folder = tmp_path_factory.mktemp("facts")
    command = Emulated("pi4", emulator).command(["-", "numpy"], folder)
    facts = json.loads(Here().run([str(part) for part in command], stdin=SCRIPT).stdout)
    assert (facts["machine"], facts["libc"], facts["version"][:4]) == ("aarch64", "glibc 2.36", "3.11")
    return wheels_for(TFLITE, "2.14.0", facts["machine"], facts["libc"], facts["version"], cache=cache)


def test_what_is_carried_for_a_raspberry_pi_runs_there(emulator, for_the_pi, artifacts, inputs, tmp_path):
    """tflite-runtime with a NumPy below 2, for the emulated Pi's Python, computes there what LiteRT does here."""
    assert for_the_pi.distributions["numpy"].startswith("1.")
    bare = tmp_path / "pi"
    bare.mkdir()
    for name, path in {ROOT: emulator / ROOT, CORES: emulator / CORES, WHEELS: for_the_pi.folder}.items():
        (bare / name).symlink_to(path)
    write_json(bare / MANIFEST, {"wheels": for_the_pi.distributions, "no_counts": ""})
    two = {name: array[:2] for name, array in inputs.items()}
    run = run_artifact(artifacts["tflite", "int8"], "tflite_runtime", two, place=Emulated("pi4", bare))
    assert run.ok and run.runtime_version == "2.14.0", run.reason
    expected = run_artifact(artifacts["tflite", "int8"], "litert", two).outputs
    assert all(np.array_equal(run.outputs[name], expected[name]) for name in expected)


def test_a_bare_raspberry_pi_is_given_a_runtime(emulator, for_the_pi, cache, home):
    """The emulated Pi has Python alone; what is carried is unpacked and imported by that, and then found there."""
    pi = Pi(emulator, home)
    if not pi.run(["true"]).ok:
        pytest.skip(NEEDS_NAMESPACES)
    (bare,) = look(pi, "python3").pythons
    assert (bare.machine, bare.libc, bare.distributions) == ("aarch64", "glibc 2.36", {})
    made = provide(pi, bare, TFLITE, "2.14.0", cache)
    assert there(home) == [for_the_pi.key] and made.path.endswith(for_the_pi.key)
    assert made.distributions == {"numpy": made.numpy, "tflite-runtime": "2.14.0"} and made.machine == "aarch64"
    assert with_runtime(look(pi, "python3").pythons, TFLITE) == made
