"""One subject at one precision in all formats, exported, run and kept; and the same conversions by bare converters."""

import dataclasses
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _compression_subjects import Subject

import edgewright
from edgewright.checks import Reference, check_all
from edgewright.children import python, run_child
from edgewright.compress import Compressed, load_recipe, parse_recipe
from edgewright.converting import versions
from edgewright.errors import EdgewrightError, GateFailed
from edgewright.export import Bundle, freeze, get, names
from edgewright.files import sha256, write_json
from edgewright.train import Dataset, Task

_OWN_RANGES = "[[steps]]\ntechnique = 'static_int8'\ncalibration = 'min_max'\n"
# By what a table calls it, the recipe.
RECIPES: dict[str, Any] = {
    "float32": "float32",
    "float16": "float16",
    "dynamic int8": "dynamic-int8",
    "int8, converter": "[[steps]]\ntechnique = 'static_int8'\ncalibration = 'converter'\n",
    "int8, one graph": _OWN_RANGES,
    "int8, one graph mse": _OWN_RANGES.replace("min_max", "mse"),
    "int16x8": "int16x8",
    "int4 weights": "int4-weights",
}
_SHORT = {"litert": "LiteRT", "tflite_runtime": "2.14", "onnxruntime": "ORT", "openvino": "OV"}
_BARE = Path(__file__).with_name("_export_bare.py")
_PAIRED = Path(__file__).with_name("_export_paired.py")
_WAYS = ("int8, converter", "int8, one graph")
_RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True)
class Cell:
    """What came of one format at one precision.

    Attributes:
        format, precision: of the artifacts.
        reason: why there are none; empty where they were handed over.
        size_bytes: of all graphs' files together.
        integer_operations, float_operations: by the types of their tensors; what has both counts as float.
        metrics: by runtime, in the metric's unit; empty without labels.
        lost: against the original Keras model, in the worst runtime.
        agreement_percent: with the compressed Keras model, in the worst runtime.
        latencies_ms: the median on this host by runtime, where enough runs were made.
        wall_s, peak_bytes: of the conversions: seconds in all, memory of the largest.
        note: what went wrong in single runtimes.
    """

    format: str
    precision: str
    reason: str = ""
    size_bytes: int = 0
    integer_operations: int = 0
    float_operations: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    lost: float | None = None
    agreement_percent: float = 0.0
    latencies_ms: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    peak_bytes: int = 0
    note: str = ""


def cell_of(subject: Subject, precision: str, out: Path, samples: int, kept: bool) -> list[Cell]:
    """Return the cells of a subject at a precision, computed now unless they were."""
    folder = out / subject.name.replace("/", "-")
    key = {"model": subject.sha256, "recipe": RECIPES[precision], "samples": samples, "versions": versions()}
    if not kept:
        key["allowed"] = _allowed(subject)
    path = folder / f"{precision}.json"
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        if kept or document["key"] == key:
            return [Cell(**cell) for cell in document["cells"]]
    if kept:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    cells = _computed(subject, precision, folder / precision.replace(" ", "-"), samples)
    write_json(path, {"key": key, "cells": [asdict(cell) for cell in cells]})
    return cells


def _computed(subject: Subject, precision: str, folder: Path, samples: int) -> list[Cell]:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        compressed = _compressed(subject, precision, samples)
        bundle = edgewright.export(compressed, folder, deploy=subject.experiment.deploy, name=subject.name)
    except GateFailed as failure:
        return [Cell(name, precision, f"no format: {failure}") for name in names()]
    except EdgewrightError as error:
        return [Cell(name, precision, f"{type(error).__name__}: {error}") for name in names()]
    latencies = _latencies(bundle)
    return [
        _cell(bundle, name, kind, precision, latencies)
        for kind in compressed.precisions
        if kind != "float32" or precision == "float32"
        for name in names()
    ]


def _compressed(subject: Subject, precision: str, samples: int) -> Compressed:
    task = subject.experiment.task()
    few = task.test.at(task.test.evenly(samples)) if len(task.test) > samples else task.test
    task = dataclasses.replace(task, test=few)
    recipe = RECIPES[precision]
    chosen = parse_recipe(recipe) if recipe.startswith("[[") else load_recipe(recipe)
    chosen = dataclasses.replace(chosen, max_drop=_allowed(subject))
    made = edgewright.compress(subject.model(), task, chosen, deploy=subject.experiment.deploy)
    assert isinstance(made.task, Task)
    return made


def _allowed(subject: Subject) -> float:
    """Return what an artifact may lose and be handed over: a point, a percent of what is no share, or half a dB."""
    metric = subject.experiment.task().metric
    return 0.5 if metric is not None and metric.unit == "dB" else 1.0


def _latencies(bundle: Bundle) -> dict[tuple[str, str], float]:
    """Return the median in ms by artifact and runtime, on the golden inputs, one run after the other."""
    inputs, outputs = bundle.golden()
    golden = Reference(Dataset(inputs), None, outputs, outputs)
    checks = check_all(bundle.deployables, golden, True, lambda event: None)
    medians = {(made.artifact, made.runtime): made.measurement.p50_ms for made in checks if made.measurement}
    return {key: median for key, median in medians.items() if median is not None}


def _cell(bundle: Bundle, format: str, kind: str, precision: str, latencies: dict[tuple[str, str], float]) -> Cell:
    name = f"{format} {kind}"
    failures = {key: why for key, why in bundle.manifest["failures"].items() if key.startswith(name)}
    chosen = [artifact for artifact in bundle.artifacts if artifact.name == name]
    if not chosen:
        return Cell(format, precision, "; ".join(f"{key}: {why}" for key, why in failures.items())[:300] or "none made")
    checks = [made for made in bundle.manifest["evidence"]["checks"] if made["artifact"] == name]
    good = [made for made in checks if made["ok"] and not made["referee"]]
    operations = [operation for artifact in chosen for operation in artifact.operations]
    floats = [each for each in operations if any(kind.startswith(("float", "bfloat")) for kind in each.dtypes)]
    conversions = [made for made in bundle.manifest["conversions"] if made["artifact"].startswith(name)]
    return Cell(
        format,
        precision,
        size_bytes=sum(artifact.size_bytes for artifact in chosen),
        integer_operations=sum(each.count for each in operations) - sum(each.count for each in floats),
        float_operations=sum(each.count for each in floats),
        metrics={_SHORT.get(made["runtime"], made["runtime"]): made["metric"] for made in good if made["metric"]},
        lost=max((made["metric_lost"] for made in good if made["metric_lost"] is not None), default=None),
        agreement_percent=min(made["agreement_keras_percent"] for made in good),
        latencies_ms={
            _SHORT.get(runtime, runtime): value for (which, runtime), value in latencies.items() if which == name
        },
        wall_s=sum(made["wall_s"] for made in conversions),
        peak_bytes=max((made["peak_memory_bytes"] for made in conversions), default=0),
        note="; ".join(f"{made['runtime']}: {made['reason']}" for made in checks if not made["ok"])[:200],
    )


def ways_of(subject: Subject, out: Path, kept: bool) -> list[str]:
    """Return lines on how fast int8 of one graph is beside each format's own quantizer, timed in turn.

    Both are taken from the cells, which have to be there.
    """
    folder = out / subject.name.replace("/", "-")
    path = folder / "ways.json"
    if not kept:
        write_json(path, _ways(folder))
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    head = "int8 of one graph beside the format's own quantizer (seconds of the processor, ratio, half of the rounds):"
    return [head, *(f"  {line}" for line in found)] if found else ["ways to int8: not computed"]


def _ways(folder: Path) -> list[str]:
    places = [folder / way.replace(" ", "-") / "artifacts" for way in _WAYS]
    lines = []
    for format, runtime in _RUNTIMES.items():
        suffix = get(format).suffix
        for first in sorted(places[0].glob(f"*.int8{suffix}")):
            second = places[1] / first.name
            if not second.exists():
                lines.append(f"{format:9} {first.name}: one graph was not handed over")
                continue
            child = run_child(python(_PAIRED, runtime, first, second), time_limit_s=300)
            if not child.ok:
                lines.append(f"{format:9} {first.name}: {child.reason()}")
                continue
            theirs, ours = (np.array(each) for each in json.loads(child.stdout))
            low, ratio, high = np.percentile(ours / theirs, [25, 50, 75])
            lines.append(
                f"{format:9} {first.name:22} {np.median(theirs) * 1e3:.4g} ms, {np.median(ours) * 1e3:.4g} ms: "
                f"{ratio:.2f} ({low:.2f} to {high:.2f})"
            )
    return lines


def overhead_of(subject: Subject, out: Path, kept: bool) -> list[str]:
    """Return lines on how long edgewright and the bare converters take for float32 in all formats."""
    folder = out / subject.name.replace("/", "-") / "overhead"
    path = folder / "overhead.json"
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(path, _overhead(subject, folder))
    if not path.exists():
        return ["overhead: not computed"]
    found = json.loads(path.read_text(encoding="utf-8"))
    bare = sum(each["wall_s"] for each in found["bare"])
    lines = [
        f"overhead, {found['graphs']} graphs, float32 in {', '.join(names())}; load average {found['load']:.2f}:",
        f"  bare converters, one after the other: {bare:.1f} s, "
        f"largest {max(each['peak_memory_bytes'] for each in found['bare']) / 1e6:.0f} MB",
        f"  edgewright.export: {found['export_s']:.1f} s, {found['export_s'] / bare:.2f} of them; its conversions "
        f"{found['conversions_s']:.1f} s, {found['conversions_s'] / bare:.2f}; largest "
        f"{found['peak_bytes'] / 1e6:.0f} MB, "
        f"{found['peak_bytes'] / max(each['peak_memory_bytes'] for each in found['bare']):.2f}",
    ]
    return lines


def _overhead(subject: Subject, folder: Path) -> dict[str, Any]:
    compressed = _compressed(subject, "float32", 64)
    start = time.perf_counter()
    bundle = edgewright.export(compressed, folder / "bundle", deploy=subject.experiment.deploy, name=subject.name)
    took = time.perf_counter() - start
    graphs = subject.experiment.deployment(subject.model()).graphs
    bare = []
    for name, graph in graphs.items():
        frozen = freeze(graph, folder / "frozen" / name)
        for format in names():
            child = run_child(
                python(_BARE, format, frozen.folder, folder / f"{name}.{format}"),
                time_limit_s=600,
                memory_limit_bytes=12 << 30,
            )
            bare.append(
                {"graph": name, "format": format, "ok": child.ok, "wall_s": child.wall_s}
                | {"peak_memory_bytes": child.peak_memory_bytes}
            )
    conversions = bundle.manifest["conversions"]
    return {
        "graphs": len(graphs),
        "load": os.getloadavg()[0],
        "export_s": took,
        "conversions_s": sum(made["wall_s"] for made in conversions),
        "peak_bytes": max(made["peak_memory_bytes"] for made in conversions),
        "bare": bare,
        "model": sha256(subject.checkpoint),
    }
