"""Profiles of live devices: this host, and copies of the files of boards whose /proc/cpuinfo others recorded."""

import ast
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgewright import devices
from edgewright.cli import app
from edgewright.devices import Unsupported
from edgewright.devices._versions import _in_terms_of
from edgewright.errors import InputError
from edgewright.probing import PROBE, probe
from edgewright.runtimes._emulated import Emulated
from edgewright.runtimes._emulator import find_emulator

# /proc/cpuinfo as recorded in the issues of fastfetch-cli/fastfetch (1529) and hrw/arm-socs-table (96, 17), and
# lscpu in KavrakiLab/vamp (20): features, implementer, variant, part, revision, cores.
PI_4 = ("fp asimd evtstrm crc32 cpuid", "0x41", "0x0", "0xd08", 3, 4)
PI_5 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    *("0x41", "0x4", "0xd0b", 1, 4),
)
ORIN = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat ilrcpc "
    "flagm paca pacg",
    *("0x41", "0x0", "0xd42", 1, 6),
)
RK3328 = ("fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid", "0x41", "0x0", "0xd03", 4, 4)
# Of an Intel Xeon, abridged.
X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
cpu MHz\t\t: 2600.000
flags\t\t: fpu sse2 avx f16c avx2 fma avx_vnni avx512f avx512_vnni

"""
NVPMODEL = """< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=7W >
CPU_ONLINE CORE_0 1
< PM_CONFIG DEFAULT=0 >
"""


def _arm(features, implementer, variant, part, revision, count):
    lines = (
        *(f"Features\t: {features}", f"CPU implementer\t: {implementer}", "CPU architecture: 8"),
        *(f"CPU variant\t: {variant}", f"CPU part\t: {part}", f"CPU revision\t: {revision}"),
    )
    return "".join(f"processor\t: {place}\nBogoMIPS\t: 108.00\n" + "\n".join(lines) + "\n\n" for place in range(count))


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes a copy of a device's files and returns its folder."""

    def make(cpuinfo, model="", max_khz=0, files=()):
        texts = {
            "proc/cpuinfo": cpuinfo,
            "proc/meminfo": "MemTotal:        3884360 kB\nMemFree:          100000 kB\n",
            "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
            **({"proc/device-tree/model": model + "\0"} if model else {}),
            **({"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": f"{max_khz}\n"} if max_khz else {}),
            **dict(files),
        }
        for path, text in texts.items():
            (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / path).write_text(text)
        return tmp_path / "root"

    return make


def test_this_host_becomes_a_profile_that_loads(tmp_path):
    """What is read here loads by its path, with this host's cores and memory, and nothing is written over it."""
    out = tmp_path / "mine.toml"
    done = CliRunner().invoke(app, ["devices", "probe", "--out", str(out)])
    assert done.exit_code == 0, done.output
    profile = devices.get(str(out))
    assert profile.name == "mine" and profile.cpu.count.how == "read"
    assert "/proc/meminfo" in profile.memory.size_bytes.source
    assert "measured on one thread by NumPy" in profile.memory.bandwidth_gbytes_per_s.source
    assert {runtime.name: runtime.version.value for runtime in profile.runtimes}["ONNX Runtime"].startswith("1.")
    assert not isinstance(profile.target("tflite", "int8"), Unsupported)
    before = out.read_text()
    again = CliRunner().invoke(app, ["devices", "probe", "--no-measure", "--out", str(out)])
    assert (again.exit_code, out.read_text()) == (2, before) and "--force" in again.output
    forced = CliRunner().invoke(app, ["devices", "probe", "--no-measure", "--force", "--out", str(out), "--name", "n"])
    assert forced.exit_code == 0 and devices.get(str(out)).name == "n"


def test_a_pi_4_keeps_the_rates_of_its_board_at_its_own_clock(tree):
    """At the clock of the shipped profile rates stay as they are; at 1.5 GHz they are 1.5 / 1.8 of them, derived."""
    shipped = devices.get("raspberry-pi-4b")
    at_18 = probe(root=tree(_arm(*PI_4), "Raspberry Pi 4 Model B Rev 1.5", 1_800_000)).probed
    assert (at_18.board, at_18.same_board) == ("raspberry-pi-4b", True)
    profile = at_18.profile
    assert (profile.cpu.core.value, profile.cpu.isa.value, profile.cpu.clock_ghz.value) == (
        "Cortex-A72",
        "ARMv8.0-A",
        1.8,
    )
    assert profile.memory.size_bytes.value == 3884360 * 1024 and profile.memory.size_bytes.how == "read"
    assert profile.targets == shipped.targets
    slower = probe(root=tree(_arm(*PI_4), "Raspberry Pi 4 Model B Rev 1.1", 1_500_000)).probed.profile
    before, after = (each.target("tflite", "int8") for each in (shipped, slower))
    assert after.effective_gmacs_per_s.value == pytest.approx(before.effective_gmacs_per_s.value * 1.5 / 1.8, rel=1e-3)
    assert after.effective_gmacs_per_s.how == "derived" and after.interval.value == before.interval.value


def test_what_could_not_be_read_is_told(tree):
    """A copy without clock, Python and runtimes says of each that it is the shipped profile's, in the file too."""
    made = probe(root=tree(_arm(*PI_5), "Raspberry Pi 5 Model B Rev 1.0"))
    told = "\n".join(made.probed.notes)
    for what in ("The clock could not be read", "bandwidth was not measured", "of Python could not be read"):
        assert what in told and what in made.text
    assert "LiteRT is not installed there" in told
    assert made.probed.profile.cpu.dotprod.value and made.probed.profile.cpu.fp16_arith.value


def test_an_edge_tpu_is_found_by_its_usb_ids(tree):
    """A Pi 4 with one is judged as the shipped pair of both; at 480 Mb/s its name says USB 2."""
    folder = "sys/bus/usb/devices/2-1"
    usb = [(f"{folder}/idVendor", "18d1\n"), (f"{folder}/idProduct", "9302\n"), (f"{folder}/speed", "480\n")]
    made = probe(root=tree(_arm(*PI_4), "Raspberry Pi 4 Model B Rev 1.5", 1_800_000, usb)).probed
    assert made.board == "coral-usb-accelerator"
    assert made.profile.accelerators[0].name.value == "Edge TPU on USB 2"
    assert made.profile.target("tflite", "int8").unit == "edgetpu"


def test_a_jetson_tells_its_power_mode_and_tensorrt(tree):
    """The power mode, L4T's release, TensorRT's package and the GPU's clock are read; rates follow the mode."""
    package = "Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\n\n"
    files = [
        ("proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0"),
        ("etc/nvpmodel.conf", NVPMODEL),
        ("var/lib/nvpmodel/status", "pmode:0001"),
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64\n"),
        ("sys/class/devfreq/17000000.gpu/max_freq", "408000000\n"),
        ("var/lib/dpkg/status", package),
    ]
    made = probe(root=tree(_arm(*ORIN[:-1], 4), "NVIDIA Jetson Orin Nano Developer Kit", 960_000, files)).probed
    profile, shipped = made.profile, devices.get("jetson-orin-nano")
    assert made.board == "jetson-orin-nano" and profile.cpu.core.value == "Cortex-A78AE"
    assert (profile.power.mode.value, profile.power.modes.value) == ("7W", ("15W", "7W"))
    assert "L4T 36.4.0" in profile.system.name.value
    version = next(each for each in profile.runtimes if each.format == "onnx").version
    assert (version.value, version.how) == ("TensorRT 10.3", "read")
    slow, fast = (each.target("onnx", "float32").effective_gmacs_per_s.value for each in (profile, shipped))
    assert slow == pytest.approx(fast * 0.408 / 0.625 * 2 / 4, rel=1e-3)  # the mode leaves 2 of 4 TPCs on
    assert profile.target("tflite", "int8").threads == profile.cpu.count.value < shipped.cpu.count.value
    assert [mode.name for mode in profile.power_modes] == ["7W", "15W"]


def test_a_board_with_cores_off_is_predicted_with_those_that_are_on(tree):
    """With two of four cores on, no target has more threads than two, and rates are of two cores."""
    made = probe(root=tree(_arm(*PI_4[:-1], 2), "Raspberry Pi 4 Model B Rev 1.1", 1_800_000)).probed
    mine, theirs = (each.target("tflite", "float32") for each in (made.profile, devices.get("raspberry-pi-4b")))
    assert (made.board, made.profile.cpu.count.value) == ("raspberry-pi-4b", 2)
    assert all(target.threads <= 2 for target in made.profile.targets)
    assert mine.effective_gmacs_per_s.value == pytest.approx(theirs.effective_gmacs_per_s.value / 2)
    assert not made.profile.calibrations


@pytest.mark.parametrize(
    ("cpuinfo", "board", "widest"), [(_arm(*RK3328), "raspberry-pi-3b-plus", 0.5), (X86, "raspberry-pi-5", 0.1)]
)
def test_another_board_gets_the_nearest_core_with_wider_intervals(cpuinfo, board, widest, tree):
    """Without a shipped profile the rates are those of the same core, or of one with the same dot products."""
    made = probe(root=tree(cpuinfo, "Some board", 1_400_000)).probed
    assert (made.board, made.same_board) == (board, False)
    mine, theirs = (each.target("tflite", "float32") for each in (made.profile, devices.get(board)))
    assert mine.interval.value.low == pytest.approx(theirs.interval.value.low * widest)
    assert mine.interval.value.high > theirs.interval.value.high and mine.threads == made.profile.cpu.count.value
    assert made.profile.cpu.dotprod.value is (cpuinfo == X86)


def test_what_a_board_draws_is_kept_of_that_board_alone(tree):
    """A Raspberry Pi 4 has the shipped profile's watts; another board with its core has none."""
    ours, other = ("Raspberry Pi 4 Model B Rev 1.5", "Some board")
    kept = probe(root=tree(_arm(*PI_4), ours, 1_800_000)).probed.profile.power
    assert kept == devices.get("raspberry-pi-4b").power and kept.load_w is not None
    assert probe(root=tree(_arm(*PI_4), other, 1_800_000)).probed.profile.power is None


@pytest.mark.parametrize("record", ["2.3.0.dist-info/METADATA", "2.3.0.egg-info/PKG-INFO", "2.3.0.egg-info"])
def test_installed_versions_are_compared_as_those_of_shipped_profiles(record, tree):
    """Pip's and apt's records of a runtime are its version; one with a patch number is known by its release."""
    record = f"usr/lib/python3/dist-packages/ai_edge_litert-{record}"
    files = [(record, "Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.3.0\n\nText.\n")]
    profile = probe(root=tree(_arm(*PI_5), "Raspberry Pi 5 Model B Rev 1.0", 2_400_000, files)).probed.profile
    assert profile.runtimes[0].version.value == "2.3.0" and profile.runtimes[0].version.how == "read"
    assert _in_terms_of("TensorFlow Lite", "LiteRT", "2.3.0") == _in_terms_of("TensorFlow Lite", "LiteRT", "2.3") != ""


def test_what_another_device_printed_is_read(tmp_path, tree):
    """The probe alone, run as a file of its own, prints what becomes a profile elsewhere."""
    root = tree(_arm(*PI_4), "Raspberry Pi 4 Model B Rev 1.5", 1_800_000)
    done = subprocess.run(
        [sys.executable, "-I", PROBE, "--root", root], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    (tmp_path / "facts.json").write_text(done.stdout)
    made = probe(facts=tmp_path / "facts.json")
    assert made.probed.profile.name == "raspberry-pi-4-model-b-rev-1-5"
    assert devices.parse_profile(made.text).cpu == made.probed.profile.cpu


@pytest.mark.parametrize("what", ["no copy", "other JSON", "no JSON", "not TOML", "no cores"])
def test_bad_input_is_refused(what, tmp_path, tree):
    """What is no copy of a device, no answer of the probe or no name of a profile is a usage error."""
    (tmp_path / "other.json").write_text('{"schema": 7}')
    (tmp_path / "no.json").write_text("<html>")
    asked = {
        "no copy": {"root": tmp_path},
        "other JSON": {"facts": tmp_path / "other.json"},
        "no JSON": {"facts": tmp_path / "no.json"},
        "not TOML": {"out": tmp_path / "profile.json"},
        "no cores": {"root": tree("")},
    }[what]
    with pytest.raises(InputError, match="Expected .* Got: "):
        probe(**asked)


def test_the_probe_is_valid_python_3_7_and_needs_the_standard_library_alone():
    """It is copied to devices: its syntax is 3.7's, and only NumPy is imported beyond the standard library."""
    parsed = ast.parse(PROBE.read_text(), feature_version=(3, 7))
    imported = {name.name for node in ast.walk(parsed) if isinstance(node, ast.Import) for name in node.names}
    assert {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"numpy"}
    assert not [node for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom)]


@pytest.mark.parametrize(("core", "name"), [("pi4", "Cortex-A72"), ("pi5", "Cortex-A76")])
def test_the_probe_runs_on_an_emulated_pi(core, name, tmp_path):
    """There it reads the emulated core and the aarch64 wheels; memory and caches are this host's, which QEMU shows."""
    emulator = find_emulator()
    if emulator is None:
        pytest.skip("no emulator was built")
    (tmp_path / "_probe.py").write_text(PROBE.read_text())
    command = Emulated(core, emulator.folder).command([tmp_path / "_probe.py", "--no-measure"], tmp_path)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    (tmp_path / "facts.json").write_text(done.stdout)
    made = probe(facts=tmp_path / "facts.json")
    assert made.probed.profile.cpu.core.value == name
    assert made.probed.profile.cpu.dotprod.value is (core == "pi5")
    assert json.loads(done.stdout)["runtimes"]["ai-edge-litert"]["value"] == emulator.wheels["ai-edge-litert"]
