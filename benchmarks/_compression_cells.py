"""Cells: what one peer, or one recipe of edgewright, makes of one subject; kept as JSON and not computed again.

A cell has a result for each file that came out, and one with the reason where none did. A result has a run for each
runtime: the metric on the test samples, and the latency beside the float export's, taken in turn in fresh processes.
"""

import importlib
import inspect
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _compression_judged import Options, Result, artifact_of, judged, timed
from _compression_peers import Point
from _compression_prepared import Prepared, installed

from edgewright.children import GIB, Child, python, run_child
from edgewright.export import Deployable, load_bundle
from edgewright.files import sha256, write_json
from edgewright.stages import digest

CHILD = Path(__file__).with_name("_compression_child.py")
TWIN = Path(__file__).with_name("_compression_twin.py")
MEMORY_LIMIT_BYTES = 12 * GIB


def once(place: Path, key: Any, make: Callable[[], Any], options: Options) -> Any | None:
    """Return what ``make`` returns, from ``place`` where it was made with the same key; None with ``kept`` and none."""
    if place.exists() and not options.fresh:
        document = json.loads(place.read_text(encoding="utf-8"))
        known = document["key"] == digest(key) and not (options.retry and _failed(document["results"]))
        if options.kept or known:
            return document["results"]
    if options.kept:
        return None
    print(f"{place.parent.parent.name}: {place.stem}", file=sys.stderr, flush=True)
    made = make()
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, {"key": digest(key), "results": made})
    return made


def _cell(prepared: Prepared, name: str, key: Any, make: Callable[[], list[Result]], options: Options) -> list[Result]:
    """Return the results of a cell; those that were computed before are timed anew where that is asked for."""
    place = options.out / prepared.subject.name / "cells" / f"{name}.json"
    new = []

    def note() -> list[Result]:
        new.append(True)
        return make()

    results: list[Result] = once(place, key, note, options) or []
    if options.retime and not options.kept and not new:
        print(f"{prepared.subject.name}: timing {name}", file=sys.stderr, flush=True)
        for result in results:
            for run in result["runs"]:
                if not run["failed"]:
                    run.update(timed(prepared, again(prepared, result), run["runtime"], options))
        write_json(place, {"key": digest(key), "results": results})
    return results


def again(prepared: Prepared, result: Result) -> Deployable:
    """Return what a result is of, from its files."""
    if result["peer"] == "float export":
        found = prepared.floats(result["format"])
        assert found is not None
        return found
    if "bundle" in result:
        name = f"{result['format']} {result['precision']}"
        return next(each for each in load_bundle(Path(result["bundle"])).deployables if each.name == name)
    made = [artifact_of(Path(path), result["format"], result["precision"], graph) for graph, path in result["files"]]
    return prepared.deployable(made)


def _failed(results: Any) -> bool:
    """Tell whether something failed in a cell, in a result or in one of its runs."""
    listed = results if isinstance(results, list) else [results]
    return any(each["failed"] or any(run["failed"] for run in each.get("runs", ())) for each in listed)


def float_cell(prepared: Prepared, format: str, options: Options) -> list[Result]:
    """Return the float export in a format: what the others are compared with."""

    def make() -> list[Result]:
        head = _head("float export", format, format, "float32")
        deployable = prepared.floats(format)
        if deployable is None:
            return [{**head, "failed": prepared.facts["failures"][format]}]
        return [judged(head, prepared, deployable, options)]

    return _cell(prepared, f"float {format}", [prepared.subject.sha256, installed(), _terms(options)], make, options)


def peer_cell(prepared: Prepared, point: Point, options: Options) -> list[Result]:
    """Return what a peer makes of the subject at one of its operating points."""
    name = f"{point.peer} {point.name}"
    key = [prepared.subject.sha256, name, code_of(point.run), installed(), _terms(options)]

    def make() -> list[Result]:
        head = _head(point.peer, point.name, point.format, point.name)
        folder = empty(options.out / prepared.subject.name / "files" / name)
        artifacts, wall_s, peak = [], 0.0, 0
        for graph in prepared.graphs:
            child = run_child(
                python(CHILD, _peer_job(prepared, point, graph, folder)),
                time_limit_s=options.time_limit_s,
                memory_limit_bytes=MEMORY_LIMIT_BYTES,
                environment={"TF_CPP_MIN_LOG_LEVEL": "2"},
            )
            wall_s, peak = wall_s + child.wall_s, max(peak, child.peak_memory_bytes)
            made = folder / graph / "made.json"
            if not child.ok or not made.exists():
                graph_name = "" if graph == "model" else f"{graph}: "
                return [{**head, "failed": f"{graph_name}{reason_of(child)}", "wall_s": wall_s}]
            artifacts.append(artifact_of(Path(json.loads(made.read_text())["path"]), point.format, point.name, graph))
        head |= {"wall_s": wall_s, "peak_memory_bytes": peak}
        return [judged(head, prepared, prepared.deployable(artifacts), options)]

    return _cell(prepared, name, key, make, options)


def recipe_cell(prepared: Prepared, recipe: str, seed: int, options: Options) -> list[Result]:
    """Return what a recipe of edgewright makes of the subject: a result for each format and precision."""
    name = f"edgewright {Path(recipe).stem} seed {seed}"
    text = Path(recipe).read_text(encoding="utf-8") if Path(recipe).is_file() else recipe

    def make() -> list[Result]:
        head = {**_head("edgewright", Path(recipe).stem, "", ""), "seed": seed}
        folder = empty(options.out / prepared.subject.name / "files" / name)
        job = {"kind": "recipe", "subject": prepared.subject.name, "out": str(options.out), "recipe": recipe}
        job |= {"seed": seed, "formats": list(prepared.facts["floats"]), "folder": str(folder)}
        child = training_child(CHILD, folder, job, options)
        if not child.ok:
            return [{**head, "failed": reason_of(child), "wall_s": child.wall_s}]
        bundle = load_bundle(folder / "bundle")
        facts = {"wall_s": child.wall_s, "peak_memory_bytes": child.peak_memory_bytes, "bundle": str(bundle.path)}
        compressed = [each for each in bundle.deployables if each.precision != "float32"]
        results = [
            judged({**head, **facts, "format": each.format, "precision": each.precision}, prepared, each, options)
            for each in compressed or bundle.deployables
        ]
        for what, reason in bundle.manifest["failures"].items():
            format, _, rest = what.partition(" ")
            if rest and rest != "float32":
                results.append({**head, **facts, "format": format, "precision": rest, "failed": reason})
        return results

    key = [prepared.subject.sha256, text, seed, own_code(), installed(), _terms(options)]
    return _cell(prepared, name, key, make, options)


def twin_cell(prepared: Prepared, point: str, seed: int, options: Options) -> list[Result]:
    """Return what TF-MOT makes of the subject's tf_keras twin: see ``_compression_twin``."""
    from _compression_twin import job_of

    name = f"TF-MOT {point} seed {seed}"

    def make() -> list[Result]:
        head = {**_head("TF-MOT", point, "tflite", point), "seed": seed}
        folder = empty(options.out / prepared.subject.name / "files" / name)
        child = training_child(TWIN, folder, job_of(prepared, point, seed, folder), options, legacy=True)
        if not child.ok:
            return [{**head, "failed": reason_of(child), "wall_s": child.wall_s}]
        facts = json.loads((folder / "made.json").read_text())
        head |= {"wall_s": child.wall_s, "zeros": facts["zeros"], "keras": keras_metric(prepared, folder)}
        artifact = artifact_of(folder / "model.tflite", "tflite", point, "model")
        return [judged(head, prepared, prepared.deployable([artifact]), options)]

    key = [
        prepared.subject.sha256,
        repr(prepared.subject.budget),
        TWIN.read_text(),
        point,
        seed,
        installed(),
        _terms(options),
    ]
    return _cell(prepared, name, key, make, options)


def training_child(
    program: Path, folder: Path, job: Mapping[str, Any], options: Options, legacy: bool = False
) -> Child:
    """Run a program of the benchmark on a job, with the limits of what trains."""
    write_json(folder / "job.json", job)
    return run_child(
        python(program, folder / "job.json"),
        time_limit_s=options.recipe_time_limit_s,
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
        environment={"TF_CPP_MIN_LOG_LEVEL": "2", **({"TF_USE_LEGACY_KERAS": "1"} if legacy else {})},
    )


def reason_of(child: Child) -> str:
    """Return how a child ended, with the line of its errors that names one; converters go on talking after it."""
    named = [line.strip() for line in child.stderr.splitlines() if re.search(r"(?i)error:|exception:|fatal", line)]
    return f"{child.ending}: {named[-1][:300]}" if named and child.ending.startswith("exit") else child.reason()


def keras_metric(prepared: Prepared, folder: Path) -> float:
    """Return the metric of the answers that a child left of its Keras model, on the experiment's own test samples."""
    task = prepared.subject.experiment.task()
    with np.load(folder / "outputs.npz") as arrays:
        return task.metric.measure({name: arrays[name] for name in arrays.files}, task.test.labels)


def empty(folder: Path) -> Path:
    """Return the folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def code_of(function: Callable[..., Any]) -> str:
    """Return the source of a function, and of the functions of its module that it calls."""
    code = inspect.getsource(function)
    for name in function.__code__.co_names:
        called = function.__globals__.get(name)
        if inspect.isfunction(called) and called.__module__ == function.__module__ and called is not function:
            code += code_of(called)
    return code


def own_code() -> str:
    """Return a digest of the code that compresses and exports: a result is of the code that made it."""
    # Functions of the same names stand at the front door.
    packages = [importlib.import_module(f"edgewright.{name}") for name in ("compress", "export")]
    folders = [Path(folder) for package in packages for folder in package.__path__]
    files = [file for folder in folders for file in sorted(folder.rglob("*.*"))]
    return digest([[file.name, sha256(file)] for file in files if file.suffix in (".py", ".toml")])


def _head(peer: str, point: str, format: str, precision: str) -> Result:
    return {"peer": peer, "point": point, "format": format, "precision": precision, "seed": 0, "failed": "", "runs": []}


def _terms(options: Options) -> Any:
    return [{format: list(names) for format, names in options.runtimes.items()}, options.pairs]


def _peer_job(prepared: Prepared, point: Point, graph: str, folder: Path) -> Path:
    place = folder / graph
    place.mkdir()
    floats = {format: prepared.floats(format) for format in prepared.facts["floats"]}
    paths = {
        format: str(artifact.path)
        for format, deployable in floats.items()
        for artifact in deployable.artifacts
        if artifact.graph == graph
    }
    job = {
        "saved_model": str(prepared.folder / "frozen" / graph),
        "keras_file": str(prepared.folder / "graphs" / f"{graph}.keras"),
        "calibration": str(prepared.folder / "calibration" / f"{graph}.npz"),
        "floats": paths,
        "inputs": prepared.facts["graphs"][graph]["inputs"],
        "folder": str(place),
        "graph": graph,
    }
    document = {"kind": "peer", "module": point.run.__module__, "function": point.run.__name__, "job": job}
    write_json(place / "job.json", document)
    return place / "job.json"
