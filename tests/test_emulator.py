"""The emulated Raspberry Pi: its building, and what the runtimes' aarch64 builds compute there."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from edgewright.agreement import largest_difference
from edgewright.children import python, run_child
from edgewright.cli import app
from edgewright.emulation import Emulation, Emulations, emulate
from edgewright.emulation_text import emulations_text
from edgewright.errors import DeviceError, InputError, MissingRequirement
from edgewright.runtimes import Settings, run_artifact
from edgewright.runtimes._emulated import CORE_TYPES, Emulated
from edgewright.runtimes._emulator import Emulator, build_emulator, find_emulator
from edgewright.runtimes._emulator_parts import PLUGIN_SOURCE, _debian_lines, missing_tools
from edgewright.runtimes._instructions import Instructions, read_instructions

NOWHERE = "http://127.0.0.1:9/debian"
needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools() or "the tools are there")

# Makes float32 and int8 files of a small convolutional network in each format; a process of its own, for TensorFlow.
MAKE = """
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

folder = Path(sys.argv[1])
samples = np.load(folder / "samples.npz")["picture"]
random = np.random.default_rng(1)
kernel, dense = (random.normal(size=size).astype("f4") / 8 for size in ((3, 3, 16, 32), (32, 10)))


@tf.function(input_signature=[tf.TensorSpec([1, 10, 10, 16], name="picture")])
def serve(picture):
    x = tf.nn.relu(tf.nn.conv2d(picture, kernel, 1, "VALID"))
    return {"y": tf.matmul(tf.reduce_mean(x, [1, 2]), dense)}


tf.saved_model.save(tf.Module(), folder / "saved", signatures={"serving_default": serve})
for precision in ("float32", "int8"):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({"picture": sample[None]} for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / f"{precision}.tflite").write_bytes(converter.convert())

nodes = [
    helper.make_node("Transpose", ["picture"], ["x"], perm=[0, 3, 1, 2]),
    helper.make_node("Conv", ["x", "kernel"], ["c"]),
    helper.make_node("Relu", ["c"], ["r"]),
    helper.make_node("GlobalAveragePool", ["r"], ["p"]),
    helper.make_node("Flatten", ["p"], ["f"]),
    helper.make_node("Gemm", ["f", "dense"], ["y"]),
]
tensors = {"kernel": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), "dense": dense}
graph = helper.make_graph(
    nodes,
    "small",
    [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 10, 10, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
    [numpy_helper.from_array(array, name) for name, array in tensors.items()],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), folder / "float32.onnx")


class Samples(CalibrationDataReader):
    rows = iter(samples)

    def get_next(self):
        sample = next(self.rows, None)
        return None if sample is None else {"picture": sample[None]}


quantize_static(
    folder / "float32.onnx",
    folder / "int8.onnx",
    Samples(),
    quant_format=QuantFormat.QDQ,
    weight_type=QuantType.QInt8,
    activation_type=QuantType.QUInt8,
)
for precision in ("float32", "int8"):
    model = openvino.convert_model(folder / f"{precision}.onnx")
    openvino.save_model(model, folder / f"{precision}.xml", compress_to_fp16=False)
"""


@pytest.fixture(scope="session")
def inputs():
    """Eight random pictures."""
    return {"picture": np.random.default_rng(0).normal(size=(8, 10, 10, 16)).astype("f4")}


@pytest.fixture(scope="session")
def artifacts(inputs, tmp_path_factory):
    """The folder with float32 and int8 files of one network in each format."""
    folder = tmp_path_factory.mktemp("emulated")
    np.savez(folder / "samples.npz", **inputs)
    made = run_child(python("-c", MAKE, folder), time_limit_s=300, environment={"TF_CPP_MIN_LOG_LEVEL": "2"})
    assert made.ok, made.stderr
    return folder


@pytest.fixture(scope="session")
def rows(emulator, artifacts):
    """Return what ``emulate`` says of a file in a runtime by core, each asked for once."""
    known = {}

    def ask(file, runtime, cores=("pi4", "pi5")):
        if (file, runtime) not in known:
            made = emulate(artifacts / file, cores, (runtime,), samples=2, count=3)
            known[file, runtime] = {row.core: row for row in made.rows}
        return known[file, runtime]

    return ask


def test_int8_is_bit_exact_and_needs_fewer_instructions_with_dot_products(rows):
    """LiteRT's int8 is the same to the bit on both cores; the Pi 5's SDOT kernels take less work than the Pi 4's."""
    found = rows("int8.tflite", "litert")
    assert all(row.ok and row.difference == 0 for row in found.values()), found
    pi4, pi5 = (found[core].instructions for core in ("pi4", "pi5"))
    assert pi5.median < 0.8 * pi4.median
    assert pi5.classes["dot_product"] > 1000 and pi4.classes["dot_product"] == 0
    assert pi4.classes["vector_integer_multiply"] > pi5.classes["vector_integer_multiply"]


def test_float_differs_by_no_more_than_a_millionth(rows):
    """LiteRT's float32 stays within 1e-6 of the largest value on both cores, and multiplies in floats."""
    found = rows("float32.tflite", "litert")
    assert all(row.ok and row.difference <= 1e-6 for row in found.values()), found
    assert all(row.instructions.classes["fused_multiply_add"] > 1000 for row in found.values())


def test_the_limit_of_a_difference_is_the_users(emulator, artifacts):
    """A float model that is held to no difference at all fails with that limit, and the exit code is 1."""
    made = emulate(artifacts / "float32.tflite", ("pi5",), ("litert",), samples=2, count=0, max_difference=0.0)
    assert made.rows[0].difference > 0
    assert (made.rows[0].reason, made.exit_code) == ("differs by more than 0 of the largest value", 1)


def test_onnx_runtime_computes_the_same_int8(rows):
    """ONNX Runtime's int8 stays within the limit on both cores, and chooses the Pi 5's dot products there."""
    found = rows("int8.onnx", "onnxruntime")
    assert all(row.ok for row in found.values()), found
    assert found["pi5"].instructions.classes["dot_product"] > 1000 > found["pi4"].instructions.classes["dot_product"]


def test_openvino_computes_the_same_int8(rows):
    """OpenVINO's int8 stays within the limit on the Pi 5."""
    assert rows("int8.xml", "openvino", ("pi5",))["pi5"].ok, rows("int8.xml", "openvino")


def test_instructions_repeat(rows, emulator, artifacts, inputs):
    """LiteRT takes the very same number of instructions in another process; the figure says that it is emulated."""
    before = rows("int8.tflite", "litert")["pi5"].instructions
    place = Emulated("pi5", emulator.folder)
    again = emulate(artifacts / "int8.tflite", ("pi5",), ("litert",), samples=2, count=3).rows[0].instructions
    assert again == before
    figure = again.figure()
    assert figure.how == "emulated" and figure.basis.startswith("instructions") and place.title in figure.basis


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "runtime"),
    [
        ("int8.tflite", "tflite_runtime"),
        ("float32.tflite", "tflite_runtime"),
        ("float32.onnx", "onnxruntime"),
        ("float32.xml", "openvino"),
    ],
)
def test_every_runtime_computes_the_same(file, runtime, rows):
    """Each runtime computes the same on both cores as on this host."""
    found = rows(file, runtime)
    assert set(found) == {"pi4", "pi5"} and all(row.ok for row in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "runtime", "share"), [("int8.onnx", "onnxruntime", 0), ("int8.xml", "openvino", 0.004)]
)
def test_instructions_repeat_in_other_runtimes(file, runtime, share, emulator, artifacts):
    """ONNX Runtime takes the very same number of instructions again, and OpenVINO the same within 0.4 %."""
    one, other = (
        emulate(artifacts / file, ("pi4",), (runtime,), samples=1, count=3).rows[0].instructions.median
        for _ in range(2)
    )
    assert abs(one - other) <= share * one


def test_time_under_emulation_is_no_latency(emulator, artifacts, inputs):
    """Latencies are refused there, instructions here and on several threads; what is not there is a reason."""
    place, file = Emulated("pi4", emulator.folder), artifacts / "int8.tflite"
    with pytest.raises(InputError, match="where time is a latency.*Got: emulated Raspberry Pi 4"):
        run_artifact(file, "litert", inputs, measure=True, place=place)
    with pytest.raises(InputError, match="under emulation alone, not on this host"):
        run_artifact(file, "litert", inputs, count=1)
    with pytest.raises(InputError, match="Got: 2 threads"):
        run_artifact(file, "litert", inputs, count=1, settings=Settings(threads=2), place=place)
    run = run_artifact(artifacts / "float32.onnx", "onnx_reference", inputs, place=place)
    assert not run.ok and run.reason == "not installed on the emulated Raspberry Pi 4"


def test_a_damaged_file_fails_here_and_there(emulator, artifacts, inputs, tmp_path):
    """A file that neither side loads is no difference; the reason is told."""
    (tmp_path / "cut.tflite").write_bytes((artifacts / "int8.tflite").read_bytes()[:2000])
    run = run_artifact(tmp_path / "cut.tflite", "litert", inputs, place=Emulated("pi4", emulator.folder))
    assert not run.ok and run.reason and not run.outputs


def test_the_command_guards_a_baseline(emulator, artifacts, tmp_path):
    """``emulator run --json`` is a baseline for later runs: no growth passes, more than is allowed is exit code 1."""
    command = ["emulator", "run", str(artifacts / "int8.tflite"), "--core", "pi5", "--runtime", "litert", "--quiet"]
    command += ["--samples", "1", "--count", "1"]
    first = CliRunner().invoke(app, [*command, "--json"])
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    (row,) = document["result"]["rows"]
    assert row["ok"] and row["difference"] == 0 and row["instructions_per_inference"]["how"] == "emulated"
    row["instructions_per_inference"]["value"] *= 0.9
    (tmp_path / "less.json").write_text(json.dumps(document))
    grown = CliRunner().invoke(app, [*command, "--baseline", str(tmp_path / "less.json"), "--max-growth", "5%"])
    assert grown.exit_code == 1 and "more instructions than the baseline, where 5 % are allowed" in grown.stdout


def test_a_bundles_rows_are_told_as_a_table():
    """The table names equal and different rows, the growth over a baseline, and that instructions are no latency."""
    counted = Instructions((1000, 1010, 1020), {"integer": 10, "dot_product": 1000}, "emulated", "litert", "2.3.0")
    row = Emulation("tflite int8", "litert", "pi5", "2.3.0", "2.3.0", True, "", 4, 0.0, counted, 1000)
    wrong = Emulation("tflite float32", "litert", "pi5", "2.3.0", "2.3.0", False, "differs", 4, 0.25, None, None)
    made = Emulations((row, wrong), Emulator(Path("pi-0"), {}, "", ("litert is 2.2 in the emulator and 2.3 here",)))
    text = emulations_text(made)
    assert made.exit_code == 1 and "identical" in text and "2.5e-01 of the largest value" in text
    assert "1,010 (+1.00 %)" in text and "1,000 dot products" in text and "no latency" in text
    assert "litert is 2.2 in the emulator" in text


@pytest.mark.parametrize(
    ("found", "share"),
    [
        ({"y": [1.0, -2.0]}, 0.0),
        ({"y": [1.0, -1.0]}, 0.5),
        ({"y": [1.0, np.nan]}, np.inf),
        ({"y": [1.0]}, np.inf),
        ({"z": [1.0, -2.0]}, np.inf),
    ],
)
def test_differences_are_shares_of_the_largest_value(found, share):
    """The same is 0; another name, shape, or a number that is none is infinite."""
    arrays = {name: np.array(values, "f4") for name, values in found.items()}
    assert largest_difference({"y": np.array([1.0, -2.0], "f4")}, arrays) == share


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{}]}', '{"result": {"rows": 3}}'])
def test_another_file_is_no_baseline(content, tmp_path):
    """A file that holds something else is refused, and named."""
    from edgewright.emulation import _read_baseline

    (tmp_path / "base.json").write_text(content)
    with pytest.raises(InputError, match="Expected a baseline.*base.json"):
        _read_baseline(tmp_path / "base.json")


def test_instructions_are_read_between_marks(tmp_path):
    """What marking takes is subtracted, units of work divide, and marks of something else are refused."""
    path = tmp_path / "counts.json"
    marks = [(0, 0), (1, 10), (0, 15), (1, 225), (0, 300), (1, 910)]
    path.write_text("\n".join(json.dumps({"mark": mark, "load": count, "branch": 0}) for mark, count in marks))
    made = read_instructions(path, [1, 2], "emulated", "litert", "1")
    assert made.samples == (200, 300) and made.median == 200 and made.classes == {"load": 200, "branch": 0}
    with pytest.raises(ValueError, match="expected marks before and after 3 inferences, got 6"):
        read_instructions(path, [1, 1, 1], "emulated", "litert", "1")


ENCODINGS = {
    "integer": [0x91000421, 0x8B020020, 0x9B020C20, 0xD2800008],  # add, add, madd, movz
    "branch": [0x14000001, 0x54000040, 0xD65F03C0, 0xB4000040, 0x36000040],  # b, b.eq, ret, cbz, tbz
    "system": [0xD4000001, 0xD503201F, 0xD53BD040, 0x00000000],  # svc, nop, mrs, udf
    "load": [
        0xF9400020,
        0xA9400820,
        0x58000040,
        0x39800020,
        0xC85F7C20,
        0xF8E20020,
    ],  # ldr, ldp, ldrsb, ldxr, ldaddal
    "store": [0xF9000020, 0xA9000820, 0xC8027C20, 0x38001420],  # str, stp, stxr, strb
    "vector_load": [0x3DC00020, 0xAD400820, 0x4C407020, 0x4D40C820, 0xBC404420],  # ldr q, ldp q, ld1, ld1r, ldr s
    "vector_store": [0x3D800020, 0xAD000820, 0x4C007020, 0x3C810420],  # str q, stp q, st1, str q
    "fused_multiply_add": [
        0x4E22CC20,
        0x4F821020,
        0x1F020C20,
        0x4E420C20,
        0x4EA2CC20,
    ],  # fmla, fmadd, fmls
    "dot_product": [0x4E829420, 0x6E829420, 0x4F82E020, 0x6F82E020],  # sdot, udot, by element
    "vector_integer_multiply": [
        0x0E628020,
        0x4E22C020,
        0x0F422020,
        0x4EA29420,
        0x4EA29C20,
        0x6EA2B420,
    ],  # smlal, mul
    "other_vector_and_float": [0x4E22D420, 0x4EA28420, 0x1E622820, 0x6E22DC20, 0x0F08A420, 0x4E040C20],  # fadd ... dup
}


@needs_tools
def test_instructions_are_told_apart(tmp_path):
    """The plugin puts instructions of known encoding into the class that the architecture's manual gives them."""
    library = tmp_path / "instructions.so"
    subprocess.run(
        ["gcc", "-Werror", "-Wall", "-DINTERFACE=1", "-fPIC", "-shared", "-o", library, PLUGIN_SOURCE], check=True
    )
    plugin = ctypes.CDLL(str(library), mode=os.RTLD_LAZY)
    plugin.edgewright_class_name.restype = ctypes.c_char_p
    for name, words in ENCODINGS.items():
        for word in words:
            assert plugin.edgewright_class_name(plugin.edgewright_class(word)).decode() == name, hex(word)


@needs_tools
def test_the_plugin_compiles_for_later_versions_of_qemu(tmp_path):
    """The plugin is C for each version of QEMU's interface."""
    for interface in (2, 3):
        command = ["gcc", "-Werror", "-Wall", f"-DINTERFACE={interface}", "-fsyntax-only", str(PLUGIN_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_a_core_looks_as_linux_shows_it():
    """Both boards have four cores; the Pi 5's tell of dot products, which the Pi 4's lack."""
    pi4, pi5 = (CORE_TYPES[name].cpuinfo() for name in ("pi4", "pi5"))
    assert pi4.count("processor\t:") == pi5.count("processor\t:") == 4
    assert "asimddp" in pi5 and "asimddp" not in pi4
    assert "CPU part\t: 0xd08" in pi4 and "CPU part\t: 0xd0b" in pi5
    with pytest.raises(InputError, match="Expected a core: pi4, pi5. Got: 'pi6'"):
        Emulated("pi6", Path("."))


def test_the_mirror_is_the_one_of_apt():
    """Of what apt fetches here, Debian's own mirrors are taken, with the Pi's release; without one that is an error."""
    targets = "Packages main trixie http://a/debian/\nPackages main trixie-updates http://a/debian/\n"
    targets += "Packages main trixie-security http://b/debian-security/\nPackages main trixie http://c/other/\n"
    assert _debian_lines(targets + "Translations main trixie http://d/debian/\n") == [
        "deb http://a/debian/ bookworm main",
        "deb http://b/debian-security/ bookworm-security main",
    ]
    with pytest.raises(MissingRequirement, match="Got: none. Name one with --mirror"):
        _debian_lines("Packages main noble http://a/ubuntu/")


def test_missing_tools_are_named_with_what_to_install(monkeypatch, tmp_path):
    """Without the programs, building is an error of the environment that names each Debian package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirement, match="apt-get install mmdebstrap qemu-user gcc") as raised:
        build_emulator(tmp_path / "emulator")
    assert raised.value.exit_code == 3 and not (tmp_path / "emulator").exists()


def test_without_an_emulator_the_commands_say_how_to_build_one(tmp_path):
    """``emulator status`` and ``emulator run`` end with 3 and name the command that builds."""
    for command in (["status"], ["run", str(tmp_path / "any.tflite")]):
        ended = CliRunner().invoke(app, ["emulator", *command, "--folder", str(tmp_path / "none")])
        assert ended.exit_code == 3 and "edgewright emulator build" in ended.output
    ended = CliRunner().invoke(app, ["emulator", "run", "x.tflite", "--max-growth", "much"])
    assert ended.exit_code == 2 and "such as 5% or 0.05" in ended.output


@needs_tools
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """Where the cache cannot be made, the error names the folder and how to name another."""
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingRequirement, match=r"file/emulator: Not a directory. Name another with --folder"):
        build_emulator(tmp_path / "file" / "emulator")


@needs_tools
def test_a_killed_build_leaves_no_half_emulator(tmp_path):
    """What a killed build left is no emulator; the next build removes it, and without network it is a network error."""
    code = (
        "from pathlib import Path; from edgewright.runtimes._emulator import build_emulator; "
        f"build_emulator(Path({str(tmp_path)!r}), mirror={NOWHERE!r})"
    )
    building = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".pi-*/root")) and time.monotonic() < deadline:
        time.sleep(0.02)
    begun = psutil.Process(building.pid).children(recursive=True)
    building.send_signal(signal.SIGKILL)
    building.wait()
    assert list(tmp_path.glob(".pi-*")) and find_emulator(tmp_path) is None
    for child in begun:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(begun, timeout=10)
    with pytest.raises(DeviceError, match="no answer from the mirror.*Failed to fetch") as raised:
        build_emulator(tmp_path, mirror=NOWHERE)
    assert raised.value.exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_built_emulator_is_found_and_not_built_again(emulator):
    """A second build is the first one's; its runtimes are the versions installed here."""
    started = time.monotonic()
    again = build_emulator()
    assert again == emulator == find_emulator() and time.monotonic() - started < 10
    assert not emulator.differs and emulator.wheels["ai-edge-litert"]
    assert not emulator.no_counts or shutil.which("qemu-aarch64")
