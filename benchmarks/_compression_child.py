"""The child process of the compression benchmark: one peer, recipe or training, described by a JSON file.

``python benchmarks/_compression_child.py JOB.json`` leaves what it made in the job's folder; how it ends is the
parent's to report.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main(job_file: str) -> None:
    """Do what the job says."""
    document = json.loads(Path(job_file).read_text(encoding="utf-8"))
    {"peer": _peer, "recipe": _recipe, "pruned": _pruned, "cost": _cost}[document.pop("kind")](**document)


def _peer(module: str, function: str, job: dict[str, Any]) -> None:
    """Let a peer write one graph's file; its path goes to made.json."""
    from _compression_peers import Job

    paths = {name: Path(job[name]) for name in ("saved_model", "keras_file", "calibration", "folder")}
    floats = {format: Path(path) for format, path in job["floats"].items()}
    inputs = {name: tuple(shape) for name, shape in job["inputs"].items()}
    made = getattr(importlib.import_module(module), function)(
        Job(**paths, floats=floats, inputs=inputs, graph=job["graph"])
    )
    (paths["folder"] / "made.json").write_text(json.dumps({"path": str(made)}), encoding="utf-8")


def _recipe(subject: str, out: str, recipe: str, seed: int, formats: list[str], folder: str) -> None:
    """Compress by a recipe of edgewright and write the bundle."""
    import edgewright

    chosen = _subject(subject, out)
    compressed = edgewright.compress(
        chosen.model(), chosen.experiment.task(), recipe, seed=seed, deploy=chosen.experiment.deploy
    )
    edgewright.export(compressed, Path(folder) / "bundle", formats, deploy=chosen.experiment.deploy)


def _pruned(subject: str, out: str, recipe: str, seed: int, folder: str) -> None:
    """Compress by a recipe and leave what the Keras model answers to the test samples, and its share of zeros."""
    import numpy as np

    import edgewright
    from edgewright.train._training import outputs_of

    chosen = _subject(subject, out)
    task = chosen.experiment.task()
    compressed = edgewright.compress(chosen.model(), task, recipe, seed=seed)
    np.savez(Path(folder) / "outputs.npz", **outputs_of(compressed.model, task.test))
    kernels = [np.asarray(each) for each in compressed.model.trainable_variables if len(each.shape) > 1]
    zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels) / sum(kernel.size for kernel in kernels)
    (Path(folder) / "made.json").write_text(json.dumps({"zeros": zeros}), encoding="utf-8")


def _cost(subject: str, out: str, recipe: str, folder: str) -> None:
    """Train for some short epochs, by a recipe or plainly, and leave when each ended."""
    import time

    from edgewright.compress import compress, load_recipe
    from edgewright.train import Schedule
    from edgewright.train._training import fit

    chosen = _subject(subject, out)
    model, task = chosen.model(), chosen.experiment.task()
    ends: list[float] = []

    def note(*progress: Any) -> None:
        ends.append(time.perf_counter())

    if recipe:
        compress(model, task, load_recipe(recipe), on_step=note)
    else:
        schedule = Schedule(**json.loads((Path(folder) / "schedule.json").read_text()))
        fit(model, task, schedule, 0, note)
    (Path(folder) / "made.json").write_text(json.dumps({"ends": ends}), encoding="utf-8")


def _subject(name: str, out: str) -> Any:
    from _compression_subjects import subject_of

    from edgewright.cli import _import_tensorflow

    _import_tensorflow()
    return subject_of(name, Path(out))


if __name__ == "__main__":
    main(sys.argv[1])
