"""Runs a TFLite file whole and in parts, in a child process, and tells whether the parts compute the very same bytes.

``python -m edgewright.runtimes._chain JOB.json`` answers on stdout with what ``compare_chain`` returns.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..children import python, run_child
from ..export import Deployable
from ..held import temporary_folder
from ._runner import LOADERS, HostProgram, prepare, save

_RUNTIME = "litert"
_RANDOM = 16
# Host code may call a graph often for one answer; these are enough.
_MOST_CALLS = 64
# Integers that are not quantized may be indices of tables: the largest that the file takes are drawn.
_LIMITS = (1000, 100, 10, 2, 1)
_TIME_LIMIT_S = 300.0


def compare_chain(
    whole: Path, parts: Sequence[Path], inputs: Mapping[str, np.ndarray], deployable: Deployable | None = None
) -> dict[str, Any]:
    """Run a file and its parts in LiteRT on random inputs, and on some that are given.

    Args:
        whole: the file.
        parts: files, each after those whose outputs it reads.
        inputs: ``[samples, ...]`` by the name of the file's inputs, or of the host code's; may be empty.
        deployable: what the file is deployed with; with host code, the inputs are those that it calls the file with.

    Returns:
        "given" and "random": on how many inputs they were run; "wrong": what differs, or why a run died, else empty.
    """
    with temporary_folder("chain") as folder:
        job, given = folder / "job.json", folder / "inputs.npz"
        save(str(given), inputs)
        document: dict[str, Any] = {"whole": str(whole), "parts": list(map(str, parts)), "inputs": str(given)}
        if deployable and deployable.host:
            document["host"] = {
                "path": str(deployable.host.path),
                "settings": str(deployable.host.settings),
                "graphs": {artifact.graph: str(artifact.path) for artifact in deployable.artifacts},
                "whole": next(artifact.graph for artifact in deployable.artifacts if artifact.path.samefile(whole)),
            }
        job.write_text(json.dumps(document), encoding="utf-8")
        child = run_child(
            python("-m", __name__, job), time_limit_s=_TIME_LIMIT_S, environment={"TF_CPP_MIN_LOG_LEVEL": "2"}
        )
    try:
        answer = json.loads(child.stdout.strip().splitlines()[-1])
        assert isinstance(answer, dict)
    except (ValueError, IndexError, AssertionError):
        return {"given": 0, "random": 0, "wrong": child.reason()}
    return answer


def main(job_file: str) -> None:
    """Run a job and print the answer."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    load = LOADERS[_RUNTIME][1]
    whole, parts = load(job["whole"]), [load(path) for path in job["parts"]]
    with np.load(job["inputs"], allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    given = _called(job["host"], load, inputs) if "host" in job else prepare(inputs, whole.inputs) if inputs else []
    answer: dict[str, Any] = {"given": len(given), "random": 0, "wrong": ""}
    for sample in given:
        answer["wrong"] = answer["wrong"] or _difference(whole, parts, sample)
    for sample in _drawn(whole):
        answer["random"] += 1
        answer["wrong"] = answer["wrong"] or _difference(whole, parts, sample)
    print(json.dumps(answer))


def _called(host: Mapping[str, Any], load: Any, inputs: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
    """Return what host code calls a graph with, as stored."""
    models = {name: load(path) for name, path in host["graphs"].items()}
    model, calls = models[host["whole"]], []
    run = model.run

    def recorded(arrays: Sequence[np.ndarray]) -> Any:
        calls.append([np.array(array) for array in arrays])
        return run(arrays)

    model.run = recorded
    settings = json.loads(Path(host["settings"]).read_text(encoding="utf-8"))
    program = HostProgram(models, host["path"], settings, "")
    for sample in program.samples(inputs):
        program.run(sample)
        if len(calls) >= _MOST_CALLS:
            break
    return calls[:_MOST_CALLS]


def _difference(whole: Any, parts: Sequence[Any], sample: Sequence[np.ndarray]) -> str:
    """Return which output of the chain is not that of the whole, byte for byte; empty where all are."""
    expected = {tensor.name: np.array(array) for tensor, array in zip(whole.outputs, whole.run(sample), strict=True)}
    values = {tensor.name: array for tensor, array in zip(whole.inputs, sample, strict=True)}
    for part in parts:
        made = part.run([values[tensor.name] for tensor in part.inputs])
        values.update((tensor.name, np.array(array)) for tensor, array in zip(part.outputs, made, strict=True))
    for name, array in expected.items():
        if name not in values:
            return f"no part computes the output {name}"
        if array.dtype != values[name].dtype or array.tobytes() != values[name].tobytes():
            return f"the output {name} differs"
    return ""


def _drawn(whole: Any) -> Iterator[list[np.ndarray]]:
    """Yield random inputs that the file takes."""
    random = np.random.default_rng(0)
    for most in _LIMITS:
        samples = [[_array(tensor, random, most) for tensor in whole.inputs] for _ in range(_RANDOM)]
        try:
            for sample in samples:
                whole.run(sample)
        except (RuntimeError, ValueError):
            continue
        yield from samples
        return


def _array(tensor: Any, random: np.random.Generator, most: int) -> np.ndarray:
    kind = tensor.dtype.kind
    if kind == "b":
        return random.random(tensor.shape) < 0.5
    if kind in "iu":
        limits = np.iinfo(tensor.dtype)
        low, high = (limits.min, limits.max + 1) if tensor.scale else (0, min(most, limits.max))
        return random.integers(low, high, tensor.shape).astype(tensor.dtype)
    return random.standard_normal(tensor.shape).astype(tensor.dtype)


if __name__ == "__main__":
    main(sys.argv[1])
