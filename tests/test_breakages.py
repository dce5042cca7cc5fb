"""What converters get wrong, made by them here and held up to the gate: a file that is wrong is never handed over.

Each is what a bare converter makes of a model, without the rewriting that edgewright does first.
"""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import edgewright
from edgewright.attempts import Attempt
from edgewright.checks import Reference, check_all
from edgewright.compress import parse_recipe
from edgewright.export import Artifact, deployables, freeze, read_graph
from edgewright.export._exporter import Job
from edgewright.runtimes import run_artifact
from edgewright.train import Dataset
from edgewright.train._training import outputs_of

from ._broken_exporter import install_broken_exporter

# One process for all: a conversion that raises says what, and one that does not leaves its file to the gate.
CONVERT_ALL = """
import json, pickle, sys
from edgewright.export import get
ended = {}
for name, (format, job) in pickle.load(open(sys.argv[1], "rb")).items():
    try:
        made = get(format).export(job)
        ended[name] = [str(made.path), [str(path) for path in made.companions]]
    except Exception as error:
        ended[name] = str(error)
json.dump(ended, open(sys.argv[2], "w"))
"""


@keras.saving.register_keras_serializable("test_breakages")
class Largest(keras.layers.Layer):
    """Adds the place of the largest number."""

    def call(self, inputs):
        """Map [batch, numbers] to the same shape."""
        return inputs + keras.ops.cast(keras.ops.argmax(inputs, axis=1, keepdims=True), "float32")


@keras.saving.register_keras_serializable("test_breakages")
class Transmittance(keras.layers.Layer):
    """A product of all numbers before each, as along the ray of a radiance field."""

    def call(self, inputs):
        """Map [batch, numbers] to the same shape."""
        return keras.ops.cumprod(inputs, axis=1)


def _exact_gelu():
    x = keras.Input((16,), name="x")
    hidden = keras.layers.Dense(32, activation=lambda t: keras.activations.gelu(t, approximate=False))(x)
    return keras.Model(x, keras.layers.Dense(4, name="y")(hidden))


def _masked_attention():
    x = keras.Input((12, 16), name="x")
    attended = keras.layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    model = keras.Model(x, keras.layers.Dense(4, name="y")(attended))
    for variable in model.trainable_variables:  # weights as large as trained ones
        if variable.path.endswith("kernel"):
            variable.assign(3 * variable)
    return model


def _zero_blocks():
    x = keras.Input((64,), name="x")
    hidden = keras.layers.Dense(512, activation="relu", name="wide")(x)
    model = keras.Model(x, keras.layers.Dense(64, name="y")(hidden))
    for variable in model.trainable_variables:
        if variable.path.endswith("kernel"):
            rows, columns = variable.shape
            kept = np.random.default_rng(1).uniform(size=(rows // 4, columns)) < 0.1
            variable.assign(variable * np.repeat(kept, 4, axis=0))
    return model


def _with(layer):
    x = keras.Input((16,), name="x")
    return keras.Model(x, keras.layers.Dense(4, name="y")(layer()(x)))


# By what breaks: the model, the format, the precision, and what the converter or the gate says of it.
BREAKAGES = {
    "an operation that ONNX lacks": (_exact_gelu, "onnx", "float32", "Erfc|invalid"),
    "a mask that takes all of the integers": (_masked_attention, "tflite", "int8", "computes something else"),
    "cumprod in TFLite": (lambda: _with(Transmittance), "tflite", "float32", "Cumprod"),
    "cumprod in OpenVINO": (lambda: _with(Transmittance), "openvino", "float32", "Cumprod|Conversion"),
    "argmax in TFLite": (lambda: _with(Largest), "tflite", "float32", "BitwiseAnd|Bitcast"),
    "argmax in ONNX": (lambda: _with(Largest), "onnx", "float32", "Bitcast"),
    "argmax in OpenVINO": (lambda: _with(Largest), "openvino", "float32", "Bitcast|Conversion"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """For each breakage its job, its samples and answers, and how the bare converter ended."""
    folder = tmp_path_factory.mktemp("breakages")
    jobs, references = {}, {}
    for place, (name, (build, format, precision, _)) in enumerate(BREAKAGES.items()):
        keras.utils.set_random_seed(0)
        model = build()
        x = np.random.default_rng(0).normal(size=(64, *model.inputs[0].shape[1:])).astype("float32")
        here = folder / str(place)
        frozen = freeze(model, here / "graph")
        np.savez(here / "samples.npz", x=x)
        jobs[name] = (
            format,
            Job(frozen.folder, precision, frozen.inputs, frozen.outputs, here / "samples.npz", here, "m"),
        )
        answers = outputs_of(model, Dataset({"x": x}))
        references[name] = Reference(Dataset({"x": x}), None, answers, answers)
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    command = [sys.executable, "-c", CONVERT_ALL, str(folder / "jobs"), str(folder / "ended")]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    ended = json.loads((folder / "ended").read_text())
    return {name: (*jobs[name], references[name], ended[name]) for name in BREAKAGES}


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_a_converter_breaks_is_not_handed_over(broken, name):
    """The converter raises, or what it wrote fails in every runtime that decides; the reason says why."""
    format, job, reference, ended = broken[name]
    if isinstance(ended, str):
        reasons = ended
    else:
        path, companions = ended
        artifact = Artifact(Path(path), format, job.precision, job.inputs, job.outputs, "", 1, 1)
        artifact = replace(artifact, companions=tuple((Path(each), "") for each in companions))
        tried = deployables((artifact,))
        attempt = Attempt((), tried, check_all(tried, reference, False, lambda event: None))
        assert not attempt.right
        reasons = attempt.failures[f"{format} {job.precision}"]
    assert any(word in reasons for word in BREAKAGES[name][3].split("|")), reasons


def test_zeros_in_blocks_with_dynamic_int8_are_not_handed_over(tmp_path):
    """TFLite's converter, asked for both, writes a file that no kernel takes: it fails at the gate, float is right."""
    model = _zero_blocks()
    frozen = freeze(model, tmp_path / "graph")
    script = (
        "import sys, tensorflow as tf\n"
        "converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1], signature_keys=['serving_default'])\n"
        "converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]\n"
        "open(sys.argv[2], 'wb').write(converter.convert())\n"
    )
    path = tmp_path / "model.tflite"
    subprocess.run([sys.executable, "-c", script, str(frozen.folder), str(path)], check=True, capture_output=True)
    x = np.random.default_rng(0).normal(size=(16, 64)).astype("float32")
    answers = outputs_of(model, Dataset({"x": x}))
    tried = deployables((Artifact(path, "tflite", "dynamic_int8", frozen.inputs, frozen.outputs, "", 1, 1),))
    checks = check_all(tried, Reference(Dataset({"x": x}), None, answers, answers), False, lambda event: None)
    failed = {made.runtime: made.reason for made in checks if not made.referee and not made.ok}
    assert "failed to delegate" in failed["litert"]
    assert not Attempt((), tried, checks).right


def test_zeros_in_blocks_that_do_not_divide_a_kernel_stay_right(tmp_path):
    """Kernels with 10 inputs, which TFLite's converter spoils in blocks of 1x4, are stored dense; others are not."""
    x = keras.Input((10,), name="x")
    shared = keras.layers.Dense(10, activation="tanh", name="shared")
    hidden = keras.layers.Dense(32, activation="relu", name="wide")(shared(shared(x)))
    model = keras.Model(x, keras.layers.Dense(8, name="y")(hidden))
    samples = np.random.default_rng(0).normal(size=(16, 10)).astype("float32")
    recipe = (
        '[[steps]]\ntechnique = "magnitude_pruning"\npattern = "1x4"\nsparsity = 0.6\n'
        'schedule = "constant"\nepochs = 0\n'
    )
    compressed = edgewright.compress(model, {"x": samples}, parse_recipe(recipe))
    bundle = edgewright.export(compressed, tmp_path / "bundle", ["tflite"])
    expected = outputs_of(compressed.model, Dataset({"x": samples}))["y"]
    (artifact,) = bundle.artifacts
    run = run_artifact(artifact.path, "litert", {"x": samples})
    np.testing.assert_allclose(run.outputs["y"], expected, atol=1e-5 * np.abs(expected).max())
    weights = [value for value in read_graph(artifact.path).values if value.constant and len(value.shape or ()) == 2]
    assert sorted((value.shape, value.sparse) for value in weights) == [
        ((8, 32), True),
        ((10, 10), False),
        ((32, 10), False),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("return Exported(job.folder / 'none.broken', (), (), (), ())", "left no usable file"),
    ],
)
def test_a_converter_that_breaks_costs_its_own_format_only(body, reason, tmp_path, monkeypatch):
    """Where one converter crashes or returns nothing, the others' files are in the bundle; the manifest says why."""
    install_broken_exporter(tmp_path, body, monkeypatch)
    x = keras.Input((4,), name="x")
    model = keras.Model(x, keras.layers.Dense(2, name="y")(x), name="small")
    compressed = edgewright.compress(model, None, "float32")
    bundle = edgewright.export(compressed, tmp_path / "bundle", ["broken", "onnx"])
    assert [artifact.name for artifact in bundle.artifacts] == ["onnx float32"]
    assert reason in bundle.manifest["failures"]["broken float32"]
