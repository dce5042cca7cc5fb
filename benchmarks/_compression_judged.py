"""What comes of a cell's files: the metric on the test samples, and the latency beside the float export's."""

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _compression_prepared import Prepared
from _compression_tables import BUSY

from edgewright import runtimes
from edgewright.export import Artifact, Deployable
from edgewright.files import gzip_bytes, sha256
from edgewright.runtimes import run_artifact

Result = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How cells are computed.

    Attributes:
        out: where they are kept.
        runtimes: by format, the runtime that results are run and timed in.
        pairs: how often the float export and the result are timed in turn; 0 times nothing.
        quiet_s: how long to wait for a host that does nothing else before something is timed.
        time_limit_s: of a peer's child.
        recipe_time_limit_s: of a child that trains.
        fresh: compute what was computed before.
        retry: compute what failed before.
        retime: time anew what was computed before.
        kept: compute nothing: take what lies there, whatever made it.
    """

    out: Path
    runtimes: Mapping[str, tuple[str, ...]]
    pairs: int = 3
    quiet_s: float = 5.0
    time_limit_s: float = 600.0
    recipe_time_limit_s: float = 3000.0
    fresh: bool = False
    retry: bool = False
    retime: bool = False
    kept: bool = False


def artifact_of(path: Path, format: str, precision: str, graph: str) -> Artifact:
    """Return a file that a peer wrote as an artifact of one graph."""
    companions = [path.with_suffix(".bin")] if format == "openvino" else []
    files = [path, *companions]
    return Artifact(
        path=path,
        format=format,
        precision=precision,
        inputs=(),
        outputs=(),
        sha256=sha256(path),
        size_bytes=sum(file.stat().st_size for file in files),
        gzip_bytes=sum(gzip_bytes(file) for file in files),
        companions=tuple((file, sha256(file)) for file in companions),
        graph=graph,
    )


def judged(head: Result, prepared: Prepared, deployable: Deployable, options: Options) -> Result:
    """Return a result with what its files weigh, and its runs."""
    runs = [_run(prepared, deployable, name, options) for name in options.runtimes.get(deployable.format, ())]
    files = [[artifact.graph, str(artifact.path)] for artifact in deployable.artifacts]
    sizes = {"size_bytes": deployable.size_bytes, "gzip_bytes": deployable.gzip_bytes}
    return {**head, **sizes, "files": files, "runs": runs}


def _run(prepared: Prepared, deployable: Deployable, runtime: str, options: Options) -> Result:
    test, metric = prepared.deployment.task.test, prepared.deployment.task.metric
    run = run_artifact(deployable, runtime, test.inputs, time_limit_s=options.time_limit_s)
    made: Result = {"runtime": runtime, "version": run.runtime_version, "failed": run.reason}
    if not run.ok:
        return made
    outputs = dict(run.outputs)
    names = prepared.facts["outputs"]
    if len(names) == len(outputs) == 1:  # TF-MOT renames a model's output
        outputs = dict(zip(names, outputs.values(), strict=True))
    if set(outputs) != set(names):
        return {**made, "failed": f"expected outputs {names}, got {sorted(outputs)}"}
    if not all(np.isfinite(array).all() for array in outputs.values()):
        return {**made, "failed": "answers NaN or infinity"}
    value = metric.measure(outputs, test.labels)
    made |= {"metric": float(value), "lost": float(metric.lost(prepared.facts["reference"], value))}
    return {**made, **timed(prepared, deployable, runtime, options)}


def timed(prepared: Prepared, deployable: Deployable, runtime: str, options: Options) -> Result:
    """Return the median latencies, ms, of the float export and of this, taken in turn, each in a fresh process.

    Where there is host code around the graphs, whose time no compression changes, ``graphs_ms`` and
    ``graphs_float_ms`` are what the calls of the graphs for one answer take without it.
    """
    base = prepared.floats(deployable.format)
    if not options.pairs or base is None or runtimes.get(runtime).referee:
        return {}
    itself = [artifact.sha256 for artifact in base.artifacts] == [artifact.sha256 for artifact in deployable.artifacts]
    sides = {"float_ms": base} if itself else {"float_ms": base, "ms": deployable}
    taken: dict[str, list[float]] = {"float_ms": [], "ms": []}
    loads, busy = [], [_wait_for_quiet(options.quiet_s)]
    for _ in range(1 if itself else options.pairs):
        for name, what in sides.items():
            loads.append(os.getloadavg()[0])
            inputs = prepared.deployment.task.test.take(2 if what.host else 16).inputs
            alone = [(f"graphs_{name}", part, given, calls) for part, given, calls in graphs_of(prepared, what)]
            for key, part, given, calls in [(name, what, inputs, 1.0), *([] if itself else alone)]:
                run = run_artifact(part, runtime, given, measure=True, time_limit_s=60)
                if run.measurement is None:
                    return {"untimed": run.reason}
                ms = calls * statistics.median(run.measurement.samples_ms)
                if key == name or part.artifacts[0] is what.artifacts[0]:
                    taken.setdefault(key, []).append(ms)
                else:
                    taken[key][-1] += ms
                busy.append(_busy())
    return {**taken, "load": [min(loads), max(loads)], "busy": max(busy)}


def graphs_of(prepared: Prepared, deployable: Deployable) -> list[tuple[Deployable, dict[str, np.ndarray], float]]:
    """Return the graphs behind host code, each by itself with samples of random numbers and its calls per answer."""
    if deployable.host is None:
        return []
    random, found = np.random.default_rng(0), []
    for artifact in deployable.artifacts:
        # What a peer wrote does not tell its inputs: they are the float graph's.
        shapes = {tensor.name: tensor.shape for tensor in artifact.inputs}
        shapes = shapes or prepared.facts["graphs"][artifact.graph]["inputs"]
        samples = {name: random.random((4, *shape[1:]), np.float32) for name, shape in shapes.items()}
        found.append((Deployable((artifact,)), samples, deployable.calls_of(artifact)))
    return found


def _wait_for_quiet(limit_s: float) -> float:
    """Wait until the host does nothing else, or so long; return how busy it was at last."""
    started = time.monotonic()
    while (share := _busy()) > BUSY and time.monotonic() - started < limit_s:
        time.sleep(0.5)
    return share


def _busy() -> float:
    """Return the share of all cores' time that others use now, over a quarter of a second; 0 where no system tells."""

    def ticks() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    try:
        all_before, idle_before = ticks()
        time.sleep(0.25)
        all_after, idle_after = ticks()
    except (OSError, ValueError, IndexError):
        return 0.0
    return 1 - (idle_after - idle_before) / max(all_after - all_before, 1)
