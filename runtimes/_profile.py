"""The runner's profile of an artifact on this host: where each graph's time goes, by the runtime's own profiler."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..children import GIB, python, run_child
from ..errors import InputError
from ..export import Deployable, read_graph
from ..export._tflite_parts import write_parts
from ..held import temporary_folder
from ._client import _answer, _program, _refusal
from ._place import HERE, QUIET, RUNNER
from ._runner import PROFILED, save

# Runtimes of TFLite files: where their profiler cannot be reached, each operation is cut out and run alone.
_ALONE = ("litert", "litert_kernels", "tflite_runtime")
_NO_PROFILER = "NoProfiler"
# Of an inference; below it a profiler that rounds down to whole microseconds is taken to be too coarse for a file.
_SEEN = 0.25


@dataclass(frozen=True)
class RanOperation:
    """What a runtime ran as one piece: an operation of the file, several of them, or one that the runtime put in.

    Attributes:
        name: as the runtime has it; of XNNPACK's operators, which have none, PART.PLACE.
        kind: in the runtime's own terms, such as "Convolution (NHWC, QC8) IGEMM" or "QLinearConv"; empty where it is
            one of the file's operations, run alone.
        unit: what ran it: an execution provider, a kernel, XNNPACK or the interpreter.
        node: its place in the runtime's graph; None where the runtime does not tell.
        ms: mean time in one inference.
        calls: how often it runs in one inference.
        made_of: the names of the file's operations in it, where the runtime tells.
        readers: the names of those that read what it computes, likewise.
    """

    name: str
    kind: str
    unit: str
    node: int | None
    ms: float
    calls: float
    made_of: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True)
class RanGraph:
    """One graph's time.

    Attributes:
        calls: how often one answer calls it.
        runs: over how many inferences its operations' times are means.
        ms, profiled_ms: mean of one inference, without the profiler and with it.
        partitions: the places of the file's operations that each delegate runs, in the delegates' order.
        operations: in the order in which they run.
    """

    calls: float
    runs: int
    ms: float
    profiled_ms: float
    partitions: tuple[tuple[int, ...], ...]
    operations: tuple[RanOperation, ...]


@dataclass(frozen=True)
class ProfiledRun:
    """What came of profiling an artifact.

    Attributes:
        runtime, runtime_version: what ran it.
        ok, reason: whether there is a profile; why not.
        how: how each operation's time was obtained.
        answers: over how many answers ``answer_ms`` is a mean.
        answer_ms: of one answer without the profiler: one inference, or all that the host code does.
        graphs: by name; "model" where there is but one.
        conditions: of this host; see ``Measurement``.
    """

    runtime: str
    runtime_version: str | None
    ok: bool
    reason: str = ""
    how: str = ""
    answers: int = 0
    answer_ms: float = 0.0
    graphs: Mapping[str, RanGraph] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)


def profile_artifact(
    artifact: Path | Deployable,
    runtime: str,
    inputs: Mapping[str, np.ndarray],
    *,
    threads: int = 1,
    runs: int = 200,
    time_limit_s: float = 120,
    memory_limit_bytes: int = 4 * GIB,
) -> ProfiledRun:
    """Profile an artifact in a child process: the samples run with the profiler and without it, in turn.

    Where a TFLite runtime's profiler cannot be reached, or its whole microseconds are too coarse for operations this
    small, each operation is cut out and run alone; ``how`` says so.

    Args:
        artifact: the file, or all that is deployed together, with the host code around it.
        runtime: a runtime's name.
        inputs: ``[samples, ...]`` by the name of the model's, or the host code's, input.
        threads: of the runtime.
        runs: answers, at most; fewer where they take more than an eighth of ``time_limit_s``.
        time_limit_s, memory_limit_bytes: of the child.

    Returns:
        What came of it. A child that dies, hangs or exhausts memory is a profile that is not there, with its reason.

    Raises:
        InputError: there is no such runtime, or it has no profiler; a file that cannot be cut where it has to be.
    """
    from . import get

    adapter = get(runtime)
    _check(runtime, threads, runs)
    version = adapter.version()
    paths = [each.path for each in artifact.artifacts] if isinstance(artifact, Deployable) else [artifact]
    refusal = _refusal(adapter, paths[0], HERE)
    if refusal:
        return ProfiledRun(runtime, version, ok=False, reason=refusal)
    with temporary_folder("profile") as folder:
        given, made = folder / "inputs.npz", folder / "outputs.npz"
        try:
            save(str(given), inputs)
        except (OSError, ValueError) as error:  # a full disk, an array of objects
            return ProfiledRun(runtime, version, ok=False, reason=f"the inputs could not be written: {error}")
        program = map(str, _program(artifact))
        command = python(RUNNER, "--runtime", runtime, *program, "--inputs", given, "--outputs", made)
        command += ["--threads", str(threads), "--profile", "--profile-runs", str(runs)]
        command += ["--profile-time-s", str(time_limit_s / 8)]

        def answered(more: list[str]) -> tuple[dict[str, Any], str]:
            child = run_child(
                [*command, *more],
                time_limit_s=time_limit_s,
                memory_limit_bytes=memory_limit_bytes,
                environment=QUIET,
            )
            return _answer(child)

        answer, reason = _profiled(runtime, answered, lambda: _cut(paths, folder))
    if reason:
        return ProfiledRun(runtime, version, ok=False, reason=reason)
    told = answer["profile"]
    return ProfiledRun(
        runtime=runtime,
        runtime_version=version,
        ok=True,
        how=told["how"],
        answers=told["answers"],
        answer_ms=told["answer_ms"],
        graphs={name: _graph(graph) for name, graph in told["graphs"].items()},
        conditions={**HERE.conditions(), "threads": threads, "settings": answer.get("settings", {})},
    )


def _check(runtime: str, threads: int, runs: int) -> None:
    if runtime not in PROFILED and runtime not in _ALONE:
        raise InputError(
            f"Expected a runtime with a profiler that can be reached: {', '.join(sorted({*PROFILED, *_ALONE}))}. "
            f"Got: {runtime}, which has none."
        )
    if threads < 1 or runs < 1:
        raise InputError(f"Expected at least one thread and one run. Got: {threads} and {runs}.")


def _profiled(
    runtime: str, answered: Callable[[list[str]], tuple[dict[str, Any], str]], cut: Callable[[], list[str]]
) -> tuple[dict[str, Any], str]:
    """Return the runner's answer, with its profiler or of each operation alone, and why there is none.

    Args:
        runtime: a runtime's name.
        answered: runs the runner with further arguments.
        cut: cuts the files and returns the arguments that say where the parts are.

    Raises:
        InputError: a file that has to be cut cannot be.
    """
    answer: dict[str, Any] = {}
    reason = _NO_PROFILER
    if runtime in PROFILED:
        answer, reason = answered([])
    # LiteRT's profiler is reached by way of its library: another build of it may lack it, or end the process.
    if runtime in _ALONE and reason.startswith((_NO_PROFILER, "killed by SIG")):
        return answered(cut())
    if runtime in _ALONE and not reason and _too_coarse(answer):
        with suppress(InputError):  # a file that cannot be cut
            alone, why = answered(cut())
            if not why:
                alone["profile"]["how"] += "; whole microseconds of its profiler are too coarse here"
                return alone, ""
    return answer, reason


def _too_coarse(answer: Mapping[str, Any]) -> bool:
    """Whether rounding down to whole microseconds left less than a quarter of some graph's time."""
    graphs = answer["profile"]["graphs"].values()
    return any(sum(each["ms"] for each in graph["operations"]) < _SEEN * graph["ms"] for graph in graphs)


def _cut(paths: Sequence[Path], folder: Path) -> list[str]:
    """Cut each TFLite file into a file an operation; return the runner's arguments that say where they are.

    Raises:
        InputError: a file that cannot be cut.
    """
    arguments = []
    for number, path in enumerate(paths):
        parts = folder / f"parts-{number}"
        parts.mkdir()
        places = range(len(read_graph(path).nodes))
        write_parts(path, [[place] for place in places], [parts / f"{place}.tflite" for place in places])
        arguments += ["--parts", str(parts)]
    return arguments


def _graph(told: Mapping[str, Any]) -> RanGraph:
    operations = tuple(
        RanOperation(**{**each, "made_of": tuple(each["made_of"]), "readers": tuple(each["readers"])})
        for each in told["operations"]
    )
    partitions = tuple(tuple(part) for part in told["partitions"])
    return RanGraph(**{**told, "partitions": partitions, "operations": operations})
