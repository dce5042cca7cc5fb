"""edgewright/: the command line and the Python API on a user's own model, and what bad input does."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import edgewright
from edgewright import runtimes
from edgewright.checks import Reference, check
from edgewright.cli import app
from edgewright.devices import names as device_names
from edgewright.errors import GateFailed, InputError, MissingRequirement
from edgewright.export import load_bundle
from edgewright.files import check_output_folder, new_folder
from edgewright.stages import Stages

from .conftest import ABSENT, of_runtimes_here

COMMAND = [str(Path(sys.executable).with_name("edgewright"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: a model with two inputs, its data with and without labels."""
    folder = tmp_path_factory.mktemp("user")
    keras.utils.set_random_seed(0)
    left, right = keras.Input((6,), name="left"), keras.Input((4, 4, 1), name="right")
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(right))
    x = keras.layers.Dense(8, activation="relu", name="beside")(left)
    x = keras.layers.Dense(16, activation="relu", name="hidden")(keras.layers.Concatenate()([x, y]))
    model = keras.Model([left, right], keras.layers.Dense(3, activation="softmax", name="classes")(x), name="mine")
    model.save(folder / "mine.keras")
    random = np.random.default_rng(0)
    data = {
        "left": random.normal(size=(120, 6)).astype("float32"),
        "right": random.uniform(size=(120, 4, 4, 1)).astype("float32"),
    }
    np.savez(folder / "unlabelled.npz", **data)
    labels = model.predict([data["left"], data["right"]], verbose=0).argmax(axis=1)
    np.savez(folder / "labelled.npz", **data, labels=labels)
    return folder


def _run(*arguments, **more):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=500, check=False, **more
    )


@pytest.fixture(scope="module")
def bundle(folder):
    """The bundle that the command line makes of the model, and what it printed."""
    done = _run(
        *("compress", folder / "mine.keras", "--data", folder / "labelled.npz", "--recipe", "int8"),
        *("--out", folder / "bundle", "--json"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "bundle", done


def test_compress_writes_a_bundle_with_its_evidence(bundle):
    """The bundle has every format and precision, digests, signature with scales, recipe, seed, versions, evidence."""
    path, done = bundle
    document = json.loads(done.stdout)
    assert (document["schema"], document["command"], document["exit_code"]) == ("edgewright/1", "compress", 0)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest == document["result"]["manifest"]
    cells = {(artifact["format"], artifact["precision"]) for artifact in manifest["artifacts"]}
    assert cells == {
        (format, precision) for format in ("tflite", "onnx", "openvino") for precision in ("float32", "int8")
    }
    assert manifest["failures"] == {}
    assert all(len(digest) == 64 for digest in manifest["files"].values())
    assert {"golden.npz", "recipe.toml", "model.keras"} <= set(manifest["files"])
    tflite = next(a for a in manifest["artifacts"] if (a["format"], a["precision"]) == ("tflite", "int8"))
    assert [tensor["name"] for tensor in tflite["inputs"]] == ["left", "right"]
    assert all(tensor["scale"] > 0 for tensor in tflite["inputs"])
    assert manifest["seed"] == 0 and manifest["versions"]["keras"] and manifest["recipe"]["sha256"]
    assert manifest["evidence"]["original_metric"] == 100.0


def test_every_runtime_agrees_with_the_original(bundle):
    """Float artifacts agree with the original to 1e-4 in every runtime; int8 ones in nearly all decisions."""
    checks = json.loads((bundle[0] / "manifest.json").read_text())["evidence"]["checks"]
    assert {made["runtime"] for made in checks if made["ok"]} == set(runtimes.names()) - ABSENT
    for made in of_runtimes_here(checks):
        assert made["ok"], made["reason"]
        if made["artifact"].endswith("float32"):
            assert made["max_difference"] < 1e-4
        else:
            assert made["agreement_original_percent"] >= 85
        assert made["metric"] is not None


def test_progress_goes_to_stderr_in_plain_lines(bundle):
    """Without a terminal, progress is plain lines on stderr: stage, model, format, time left; no control codes."""
    lines = bundle[1].stderr
    assert "converted mine tflite int8" in lines
    assert "left)" in lines
    assert "\x1b" not in lines


def test_validate_judges_the_bundle(bundle):
    """Each artifact gets a verdict for each device, with a figure that says how it was obtained, and an exit code."""
    done = _run("validate", bundle[0], "--json")
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == document["result"]["exit_code"]
    rows = document["result"]["rows"]
    assert len(rows) == 6 * 3
    for row in rows:
        verdict = row["verdict"]
        if verdict["status"] == "unsupported":
            assert verdict["reasons"]
        elif verdict["latency"] is None:
            assert (row["format"], row["precision"], row["device"]) == ("onnx", "int8", "jetson-orin-nano")
            assert any("TensorRT computes none of its products in int8" in reason for reason in verdict["reasons"])
        else:
            assert verdict["latency"]["how"] == "predicted"
            assert verdict["latency"]["low"] < verdict["latency"]["value"] < verdict["latency"]["high"]
        assert row["latency_here_ms"]["how"] == "measured here"


def test_validate_with_an_impossible_budget_fails_the_gate(bundle):
    """A budget that nothing meets ends with exit code 1 and a reason with both numbers."""
    done = _run("validate", bundle[0], "--device", "raspberry-pi-4b", "--max-size-bytes", "10", "--no-measure")
    assert done.returncode == 1, done.stderr
    assert "10" in done.stdout and "fail" in done.stdout


def test_validate_with_data_compares_with_the_bundled_model(bundle, folder):
    """Given data, accuracy is taken anew on it."""
    report = edgewright.validate(bundle[0], folder / "labelled.npz", ["raspberry-pi-4b"], measure=False)
    for row in report.rows:
        assert row.check.ok and row.check.samples > 0 and row.check.metric >= 80


def test_the_python_api_does_the_same_without_labels(folder, tmp_path):
    """From Python, with unlabelled arrays: agreement takes the place of accuracy, and values are frozen."""
    model = keras.saving.load_model(folder / "mine.keras")
    arrays = dict(np.load(folder / "unlabelled.npz"))
    compressed = edgewright.compress(model, arrays, "int8")
    made = edgewright.export(compressed, tmp_path / "bundle", ["openvino", "openvino"])  # taken once
    assert [artifact.name for artifact in made.artifacts] == ["openvino float32", "openvino int8"]
    evidence = made.manifest["evidence"]
    assert evidence["metric"] is None and evidence["original_metric"] is None
    assert all(check["agreement_original_percent"] > 80 for check in evidence["checks"])
    with pytest.raises(AttributeError):
        made.path = tmp_path
    with pytest.raises(InputError, match=r"Expected what edgewright.compress .* the class Functional\."):
        edgewright.export(model, tmp_path / "other")


def test_an_artifact_that_computes_something_else_is_not_handed_over(tmp_path):
    """A model whose int8 form OpenVINO can get wrong on one thread: it is right, or it is not in the bundle."""
    keras.utils.set_random_seed(0)
    left, right = keras.Input((6,), name="left"), keras.Input((4, 4, 1), name="right")
    x = keras.layers.Concatenate()([left, keras.layers.Flatten()(keras.layers.Conv2D(3, 3)(right))])
    x = keras.layers.Dense(16, activation="relu")(x)
    model = keras.Model([left, right], keras.layers.Dense(3, activation="softmax", name="classes")(x))
    random = np.random.default_rng(0)
    data = {"left": random.normal(size=(120, 6)), "right": random.uniform(size=(120, 4, 4, 1))}
    made = edgewright.export(edgewright.compress(model, data, "int8"), tmp_path / "bundle", ["openvino"])
    handed_over = {artifact.name for artifact in made.artifacts}
    for run in made.manifest["evidence"]["checks"]:
        if run["artifact"] in handed_over:
            assert run["agreement_keras_percent"] >= 85
        else:
            assert "computes something else" in made.manifest["failures"][run["artifact"]]
    assert len(handed_over) + len(made.manifest["failures"]) == 2


def test_a_saved_model_is_quantized_and_exported(folder, tmp_path):
    """The graph of a SavedModel becomes int8 artifacts; the bundle says that its Keras model is not in it."""
    keras.saving.load_model(folder / "mine.keras").export(tmp_path / "exported", verbose=False)
    compressed = edgewright.compress(tmp_path / "exported", folder / "labelled.npz", "int8")
    made = edgewright.export(compressed, tmp_path / "bundle", ["tflite"])
    assert [artifact.name for artifact in made.artifacts] == ["tflite float32", "tflite int8"]
    assert made.manifest["notes"] and set(made.manifest["failures"]) == {"model.keras"}
    assert all(run["ok"] for run in of_runtimes_here(made.manifest["evidence"]["checks"]))
    with pytest.raises(InputError, match="kernel|copy"):
        edgewright.compress(tmp_path / "exported", folder / "labelled.npz", "sparse-90-int8")


def test_a_file_of_keras_2_is_compressed(tmp_path):
    """A Keras 2 file that Keras 3 refuses goes all the way, with a note of how it came over."""
    import tf_keras

    image = tf_keras.Input((8, 8, 2), name="image")
    y = tf_keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(image)
    y = tf_keras.layers.Dense(3, activation="softmax", name="out")(tf_keras.layers.Flatten()(y))
    tf_keras.Model(image, y, name="old").save(tmp_path / "old.h5")
    data = {"image": np.random.default_rng(0).uniform(size=(60, 8, 8, 2)).astype("float32")}
    compressed = edgewright.compress(tmp_path / "old.h5", data, "int8")
    made = edgewright.export(compressed, tmp_path / "bundle", ["tflite"])
    assert any("Keras 2" in note for note in made.manifest["notes"])
    assert all(run["ok"] for run in of_runtimes_here(made.manifest["evidence"]["checks"]))
    report = edgewright.validate(made, data, ["coral-dev-board"], measure=False)
    assert {row.verdict.status for row in report.rows} <= {"pass", "inconclusive"}


def test_a_wrong_output_fails_the_check(bundle):
    """Compared with other outputs than its own model's, an artifact fails, with the agreement as the reason."""
    opened = load_bundle(bundle[0])
    inputs, outputs = opened.golden()
    wrong = {name: -array for name, array in outputs.items()}
    made = check(opened.deployables[0], "onnxruntime", Reference(edgewright.Dataset(inputs), None, wrong, wrong))
    assert not made.ok and "computes something else" in made.reason


def test_dry_run_prints_the_resolved_recipe(folder, tmp_path):
    """--dry-run prints every parameter of the recipe and writes nothing."""
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["compress", str(folder / "mine.keras"), "--recipe", "sparse-90-int8", "--out", str(out), "--dry-run"]
    )
    assert done.exit_code == 0
    assert "sparsity = 0.9" in done.stdout and 'schedule = "cubic"' in done.stdout
    assert not out.exists()


def _bad_inputs(folder, tmp_path):
    (tmp_path / "text.keras").write_text("not a model")
    whole = (folder / "mine.keras").read_bytes()
    (tmp_path / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("keep me")
    (tmp_path / "recipe.toml").write_text('[[steps]]\ntechnique = "magnitude_pruning"\nsparcity = 0.5\n')
    data = dict(np.load(folder / "unlabelled.npz"))
    np.savez(tmp_path / "names.npz", left=data["left"], wrong=data["right"])
    np.savez(tmp_path / "shapes.npz", left=data["left"][:, :5], right=data["right"])
    np.savez(tmp_path / "nan.npz", left=np.full_like(data["left"], np.nan), right=data["right"])
    np.savez(tmp_path / "empty.npz", left=data["left"][:0], right=data["right"][:0])
    good, labelled = str(folder / "mine.keras"), str(folder / "unlabelled.npz")
    out = ["--out", str(tmp_path / "out")]
    return {
        "missing model": ([str(tmp_path / "nowhere.keras"), "--data", labelled, *out], "nowhere.keras"),
        "not a model": ([str(tmp_path / "text.keras"), "--data", labelled, *out], "text.keras"),
        "truncated model": ([str(tmp_path / "truncated.keras"), "--data", labelled, *out], "truncated.keras"),
        "wrong names": ([good, "--data", str(tmp_path / "names.npz"), *out], "wrong"),
        "wrong shapes": ([good, "--data", str(tmp_path / "shapes.npz"), *out], "5"),
        "nan": ([good, "--data", str(tmp_path / "nan.npz"), *out], "NaN"),
        "empty": ([good, "--data", str(tmp_path / "empty.npz"), *out], "empty"),
        "no data": ([good, *out], "representative dataset"),
        "unknown recipe key": (
            [good, "--data", labelled, "--recipe", str(tmp_path / "recipe.toml"), *out],
            "Did you mean 'sparsity'",
        ),
        "unknown recipe": ([good, "--data", labelled, "--recipe", "int9", *out], "Did you mean 'int8'"),
        "unknown format": ([good, "--data", labelled, "--format", "onxx", *out], "Did you mean 'onnx'"),
        "foreign folder": ([good, "--data", labelled, "--out", str(tmp_path / "other")], "holds other files"),
        "file in the way": ([good, "--data", labelled, "--out", str(tmp_path / "recipe.toml")], "a file or a link"),
    }


def test_bad_input_is_a_clear_error_and_leaves_nothing(folder, tmp_path):
    """Each kind of bad input ends with exit code 2, says where it is, and writes nothing."""
    for kind, (arguments, message) in _bad_inputs(folder, tmp_path).items():
        done = CliRunner().invoke(app, ["compress", *arguments])
        assert done.exit_code == 2, (kind, done.stdout, done.stderr, done.exception)
        assert message in done.stderr, (kind, done.stderr)
        assert not (tmp_path / "out").exists(), kind
        assert not list(tmp_path.glob(".out*")), kind
    assert (tmp_path / "other" / "precious.txt").read_text() == "keep me"


def test_what_cannot_be_exported_is_not_trained_first(tmp_path, monkeypatch):
    """A length that is not fixed is refused before the recipe begins; from Python such a model may be compressed."""
    x = keras.Input((None, 4), name="sequence")
    keras.Model(x, keras.layers.Dense(2)(x)).save(tmp_path / "open.keras")
    np.savez(tmp_path / "data.npz", sequence=np.zeros((20, 5, 4), "float32"))
    with monkeypatch.context() as patched:
        patched.setattr("edgewright.api.apply_recipe", lambda *given: pytest.fail("the recipe began"))
        given = [str(tmp_path / "open.keras"), "--data", str(tmp_path / "data.npz"), "--recipe", "float32"]
        done = CliRunner().invoke(app, ["compress", *given, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2, (done.stderr, done.exception)
    assert "Expected fixed dimensions besides the batch in input 'sequence'" in done.stderr
    assert edgewright.compress(tmp_path / "open.keras", tmp_path / "data.npz", "float32").model


def test_an_error_is_a_json_document_too(tmp_path):
    """With --json an error is one document on stdout, with its type, message and exit code."""
    done = CliRunner().invoke(app, ["validate", str(tmp_path), "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == document["exit_code"] == 2
    assert document["error"]["type"] == "InputError" and "manifest.json" in document["error"]["message"]


def test_a_bug_is_no_verdict(monkeypatch):
    """An exception that nobody thought of ends with 70 and a traceback, and with --json with one document too."""

    def broken(name):
        raise KeyError("forgotten")

    monkeypatch.setattr(importlib.import_module("edgewright.compress"), "load_recipe", broken)
    done = CliRunner().invoke(app, ["recipes", "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == document["exit_code"] == 70
    assert document["error"] == {"type": "KeyError", "message": "'forgotten'"}
    assert "Traceback" in done.stderr and "a bug of edgewright" in done.stderr


def test_a_full_disk_is_no_bug(monkeypatch):
    """Whatever a command writes where there is no room ends with 3 and says where, and not as a bug of ours."""

    def writes(name):
        with open("/dev/full", "w") as full:
            full.write("x")

    monkeypatch.setattr(importlib.import_module("edgewright.compress"), "load_recipe", writes)
    done = CliRunner().invoke(app, ["recipes", "--json"])
    assert done.exit_code == 3
    assert "Expected room and the right to write. Got: No space left" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("command", ["recipes", "techniques", "devices"])
def test_lists_print_as_text_and_json(command):
    """What comes with edgewright is listed with a sentence each, or as JSON."""
    text, document = (CliRunner().invoke(app, [command, *more]) for more in ([], ["--json"]))
    assert text.exit_code == document.exit_code == 0
    entries = [line for line in text.stdout.splitlines() if not line.startswith(" ")]
    assert len(entries) == len(json.loads(document.stdout)["result"][command])


@pytest.mark.parametrize("name", device_names())
def test_a_profile_is_shown_with_its_sources(name):
    """Each value of a device is told with how it was obtained, each format with its rate or the reason against it."""
    shown = CliRunner().invoke(app, ["devices", "show", name])
    document = json.loads(CliRunner().invoke(app, ["devices", "show", name, "--json"]).stdout)["result"]["profile"]
    assert shown.exit_code == 0 and shown.stdout.startswith(f"{name}: {document['title']}")
    core = document["cpu"]["core"]
    assert f"{core['value']} ({core['how']}: {core['source']})" in shown.stdout
    for target in document["targets"]:
        assert f"{target['format']} {target['precision']}" in shown.stdout
    for refusal in document["unsupported"]:
        assert refusal["reason"] in shown.stdout


def test_a_device_that_does_not_exist_names_the_nearest():
    """A name that is almost a device's is answered with that device, and exit code 2."""
    done = CliRunner().invoke(app, ["devices", "show", "raspbery-pi-4b"])
    assert done.exit_code == 2 and "Did you mean 'raspberry-pi-4b'" in done.output


def test_a_usage_error_has_exit_code_2():
    """An unknown option ends with exit code 2."""
    assert CliRunner().invoke(app, ["compress", "--nonsense"]).exit_code == 2


def _not_as_root():
    """Root may write anywhere: file permissions cannot be tested with it."""
    return os.geteuid() == 0


@pytest.mark.skipif(
    _not_as_root(), reason="root may write read-only folders; the full disk below is tested as root too"
)
def test_a_read_only_folder_is_an_environment_error(tmp_path):
    """An output below a read-only folder is refused before anything is done."""
    tmp_path.chmod(0o500)
    with pytest.raises(MissingRequirement, match="can be written"):
        check_output_folder(tmp_path / "out")


def test_a_read_only_file_system_is_an_environment_error():
    """An output on a file system that takes no files is refused before anything is done."""
    with pytest.raises(MissingRequirement, match="can be written"):
        check_output_folder(Path("/proc/edgewright-out"))


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    """When the disk fills up while a folder is written, the old folder still stands and nothing new is left."""
    with new_folder(tmp_path / "out") as folder:
        (folder / "manifest.json").write_text('{"made_by": "edgewright"}')
    with pytest.raises(MissingRequirement, match="No space left"), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("half")
        with open("/dev/full", "w") as full:
            full.write("x" * 100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    """An exception of any kind leaves neither a half-written folder nor a missing old one."""
    with pytest.raises(GateFailed), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("half")
        raise GateFailed("no")
    assert not list(tmp_path.iterdir())


def test_a_finished_stage_is_not_made_again(tmp_path):
    """A stage is made once for a key; another key, or a changed or damaged file, makes it anew; errors leave none."""
    stages, made = Stages(tmp_path), []

    def make(folder):
        made.append(folder)
        (folder / "result").write_text("result")

    def fail(folder):
        raise InputError("no")

    first = stages.once("work", {"a": 1}, make)
    assert stages.once("work", {"a": 1}, make) == first and len(made) == 1
    stages.once("work", {"a": 2}, make)
    assert len(made) == 2
    (first / "result").write_text("spoilt")
    stages.once("work", {"a": 1}, make)
    assert len(made) == 3 and (first / "result").read_text() == "result"
    for damaged in ("", "[]", '{"made_by": "edgewright"}', '{"made_by": "edgewright", "files": [1]}'):
        (first / "manifest.json").write_text(damaged)
        before = len(made)
        stages.once("work", {"a": 1}, make)
        assert len(made) == before + 1, damaged
    with pytest.raises(InputError):
        stages.once("other", {}, fail)
    assert not list(tmp_path.glob("other*"))


def test_a_killed_compress_goes_on_where_it_stopped(folder, tmp_path):
    """Killed after the first conversion, a second run reuses it, and leaves only the bundle."""
    arguments = ["compress", folder / "mine.keras", "--data", folder / "unlabelled.npz", "--out", tmp_path / "out"]
    work = tmp_path / ".out.work"
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while not list(work.glob("convert-*/manifest.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in work.glob("convert-*/manifest.json")}
    assert finished and not (tmp_path / "out").exists()
    kept = tmp_path / "kept"
    shutil.copytree(work, kept, copy_function=shutil.copy2)
    done = _run(*arguments)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    times = {made["artifact"]: made["wall_s"] for made in manifest["conversions"]}
    for path in kept.glob("convert-*/conversion.json"):
        before = json.loads(path.read_text())
        assert times[f"{before['format']} {before['precision']}"] == round(before["wall_s"], 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "out"]


def test_an_interrupt_ends_with_130(folder, tmp_path):
    """Ctrl-C ends the command with exit code 130 and leaves no output folder."""
    arguments = ["compress", folder / "mine.keras", "--data", folder / "unlabelled.npz", "--out", tmp_path / "out"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What a shell begins in the background ignores it, and so would these tests' children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"convert" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("compress",), "Missing argument"), (("predict", "any.tflite", "--device", "x", "--threads", "y"), "--threads")],
)
def test_a_misspelt_command_prints_one_document_too(arguments, said):
    """What the command line's parser refuses ends with 2 and, asked for JSON, prints a document that says why."""
    done = _edgewright(*arguments, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["command"]) == (2, 2, arguments[0])
    assert said in document["error"]["message"]


@pytest.mark.parametrize("arguments", [("recipes",), ("formats", "--json"), ("--help",)])
def test_output_that_cannot_be_written_is_no_failed_gate(arguments):
    """A full disk behind stdout ends with 3 and a sentence; a reader that has gone ends as a signal would."""
    with open("/dev/full", "w") as full:
        done = _edgewright(*arguments, stdout=full)
    assert done.returncode == 3
    assert done.stderr.endswith("could not write the output: No space left on device\n")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = _edgewright(*arguments, stdout=gone)
    assert (done.returncode, done.stderr) == (141, "")


def _edgewright(*arguments, stdout=subprocess.PIPE):
    """Run the command as it is installed."""
    command = [sys.executable, "-m", "edgewright.cli", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
