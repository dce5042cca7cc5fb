"""Several graphs and the host code around them: the same code drives Keras, every runtime, and calibration."""

import ast
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import edgewright
import edgewright.train
from edgewright.devices import get as get_device
from edgewright.devices import predict_deployable, predict_latency
from edgewright.errors import InputError
from edgewright.export import Deployable
from edgewright.hosting import answers_of, calibration_of
from edgewright.runtimes import for_format, run_artifact
from edgewright.train import Dataset, Deployment, Metric, Task

STEPS, WIDTH = 5, 3

# A filter: one graph scales a sequence's steps, the other mixes each into a state; the answer is the last state.
HOST = """
import numpy as np


class Host(object):
    def __init__(self, graphs, settings):
        self.graphs = graphs
        self.start = np.full((1, settings["width"]), settings["start"], np.float32)

    def run(self, sample):
        if not np.isfinite(sample["steps"]).all():
            raise ValueError("expected finite steps")
        scaled = self.graphs["scale"]({"all": sample["steps"][np.newaxis]})["scaled"]
        state = self.start
        for step in scaled[0]:
            state = self.graphs["mix"]({"step": step[np.newaxis], "state": state})["next"]
        return {"state": state[0]}
"""


def _deployment(folder: Path, model: keras.Model) -> Deployment:
    """The filter's deployment: two graphs that share the model's layers."""
    host = folder / "filter_host.py"
    host.write_text(HOST)
    every = keras.Input((STEPS, WIDTH), name="all")
    scaled = keras.layers.Identity(name="scaled")(model.get_layer("gain")(every))
    step, state = keras.Input((WIDTH,), name="step"), keras.Input((WIDTH,), name="state")
    mixed = model.get_layer("mix")(keras.layers.Concatenate()([step, state]))
    graphs = {
        "scale": keras.Model(every, scaled, name="scale"),
        "mix": keras.Model([step, state], keras.layers.Identity(name="next")(mixed), name="mix"),
    }
    return Deployment(graphs, _task(model), host, {"width": WIDTH, "start": 0.5}, per="mix")


def _expected(model: keras.Model, steps: np.ndarray) -> np.ndarray:
    gain, gain_bias = (np.asarray(weight) for weight in model.get_layer("gain").weights)
    kernel, bias = (np.asarray(weight) for weight in model.get_layer("mix").weights)
    state = np.full((len(steps), WIDTH), 0.5)
    for place in range(STEPS):
        state = np.tanh(np.concatenate([steps[:, place] @ gain + gain_bias, state], axis=1) @ kernel + bias)
    return state


def _task(model: keras.Model) -> Task:
    random = np.random.default_rng(0)
    train, test = (random.normal(size=(count, STEPS, WIDTH)).astype("float32") for count in (40, 20))
    metric = Metric("error", "", "lower", lambda outputs, labels: float(np.abs(outputs - labels).mean()))
    return Task(
        "filter",
        Dataset({"steps": train}, _expected(model, train)),
        Dataset({"steps": test}, _expected(model, test)),
        "mean_squared_error",
        metric,
    )


@pytest.fixture(scope="module")
def model():
    """The trained form: only its layers matter here."""
    keras.utils.set_random_seed(0)
    x = keras.Input((STEPS, WIDTH), name="steps")
    y = keras.layers.Dense(WIDTH, name="gain")(x)
    last = keras.layers.Lambda(lambda y: y[:, -1], output_shape=(WIDTH,))(y)
    both = keras.layers.Concatenate()([last, last])
    return keras.Model(x, keras.layers.Dense(WIDTH, activation="tanh", name="mix")(both), name="filter")


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    """Its bundle in TFLite and ONNX."""
    folder = tmp_path_factory.mktemp("hosting")
    compressed = edgewright.compress(model, _task(model), "int8")
    return edgewright.export(
        compressed, folder / "bundle", ["tflite", "onnx"], deploy=lambda model: _deployment(folder, model)
    )


def test_keras_graphs_answer_what_the_equations_say(model, tmp_path):
    """The host code around the Keras graphs gives what NumPy gives, and the calls of each graph are counted."""
    deployment = _deployment(tmp_path, model)
    answers, calls = answers_of(deployment, deployment.task.test)
    np.testing.assert_allclose(answers["state"], _expected(model, deployment.task.test.inputs["steps"]), atol=1e-5)
    assert calls == {"scale": 1 / STEPS, "mix": 1.0}


def test_each_graph_is_calibrated_on_what_the_host_feeds_it(model, tmp_path):
    """A representative dataset for each graph is recorded in the samples' order; frequent calls are drawn from."""
    deployment = _deployment(tmp_path, model)
    recorded = calibration_of(deployment, 12, seed=0)
    train = deployment.task.train
    np.testing.assert_array_equal(recorded["scale"]["all"], train.at(train.evenly(12)).inputs["steps"])
    assert recorded["mix"]["state"].shape == (12, WIDTH)
    assert len(np.unique(recorded["mix"]["state"], axis=0)) > 6


def test_what_a_host_feeds_is_recorded_as_it_was_then(model, tmp_path):
    """A host that writes each new state into the array that it fed is calibrated on every state, not on the last."""
    deployment = _deployment(tmp_path, model)
    apart = calibration_of(deployment, 12, seed=0)
    in_place = HOST.replace("state = self.start\n", "state = self.start.copy()\n").replace(
        "state = self.graphs", "state[:] = self.graphs"
    )
    deployment.host.write_text(in_place)
    assert in_place != HOST
    np.testing.assert_array_equal(calibration_of(deployment, 12, seed=0)["mix"]["state"], apart["mix"]["state"])


def test_every_runtime_drives_both_graphs(bundle):
    """Each artifact in each runtime, in its own process, answers as Keras does: floats to 1e-5, int8 nearly so."""
    checks = bundle.manifest["evidence"]["checks"]
    assert [(made["artifact"], made["runtime"]) for made in checks] == [
        (f"{format} {precision}", runtime)
        for format in ("tflite", "onnx")
        for precision in ("float32", "int8")
        for runtime in for_format(format)
    ]
    for made in checks:
        if made["runtime_version"] is None:
            continue
        assert made["ok"], made
        assert made["max_difference"] < (1e-5 if made["artifact"].endswith("float32") else 0.2), made


def test_the_bundle_holds_all_that_the_device_needs(bundle):
    """Both graphs in each format and precision, the host code and its settings lie in the bundle and are checked."""
    assert len(bundle.artifacts) == 8 and len(bundle.deployables) == 4
    for deployable in bundle.deployables:
        assert {artifact.graph for artifact in deployable.artifacts} == {"scale", "mix"}
        assert deployable.size_bytes == sum(artifact.path.stat().st_size for artifact in deployable.artifacts)
    assert {"host.py", "host.json", "graphs/mix.keras", "model.keras"} <= set(bundle.manifest["files"])
    assert not bundle.manifest["failures"]
    assert json.loads((bundle.path / "host.json").read_text()) == {"width": WIDTH, "start": 0.5}


def test_latency_is_counted_by_the_step(bundle):
    """Measured and predicted latencies are those of one step: five of them are one answer."""
    inputs, _ = bundle.golden()
    deployable = bundle.deployables[0]
    by_step = run_artifact(deployable, "litert", inputs, measure=True)
    assert by_step.ok, by_step.reason
    whole = Deployable(deployable.artifacts, type(deployable.host)(deployable.host.path, deployable.host.settings))
    by_answer = run_artifact(whole, "litert", inputs, measure=True)
    assert 2 < by_answer.measurement.p50_ms / by_step.measurement.p50_ms < 12
    profile = get_device("raspberry-pi-4b")
    parts = {artifact.graph: predict_latency(profile, artifact).value for artifact in deployable.artifacts}
    figure = predict_deployable(profile, deployable)
    assert figure.value == pytest.approx(parts["mix"] + parts["scale"] / STEPS)
    assert "mix x 1" in figure.basis and figure.low < figure.value < figure.high


def test_the_bundle_is_judged_on_other_samples(bundle):
    """Data for the host code are taken by validate, and each device gets a verdict for each artifact."""
    random = np.random.default_rng(5)
    data = {"steps": random.normal(size=(10, STEPS, WIDTH)).astype("float32")}
    report = edgewright.validate(bundle.path, data, ["raspberry-pi-4b"], measure=False)
    assert len(report.rows) == 4
    assert all(row.check.ok and row.check.agreement_keras_percent > 90 for row in report.rows)
    with pytest.raises(InputError, match="steps"):
        edgewright.validate(bundle.path, {"other": data["steps"]}, ["raspberry-pi-4b"], measure=False)


def test_bad_host_code_is_told(model, tmp_path, bundle):
    """Host code that feeds a graph something else, or raises, is an error that says where."""
    deployment = _deployment(tmp_path, model)
    deployment.host.write_text(HOST.replace('"step": step', '"stop": step'))
    with pytest.raises(InputError, match="'step'.*graph 'mix'.*'stop'"):
        answers_of(deployment, deployment.task.test)
    run = run_artifact(bundle.deployables[0], "litert", {"steps": np.full((1, STEPS, WIDTH), np.nan, "float32")})
    assert not run.ok and "expected finite steps" in run.reason


@pytest.mark.parametrize(
    "path", sorted(Path(edgewright.train.__file__).parent.glob("_*_host.py")), ids=lambda p: p.stem
)
def test_host_code_runs_on_a_device(path):
    """Every host file is Python 3.7, imports NumPy and the standard library alone, and defines Host."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert imported <= {"numpy"} | sys.stdlib_module_names
    assert "Host" in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
