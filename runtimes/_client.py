"""The runner's client on this host: an artifact run in a child process, whatever becomes of it."""

import json
import os
import platform
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..children import GIB, Child, python, run_child
from ..export import Deployable
from ..export import get as get_exporter
from ..export import names as format_names
from ._measurement import Measurement, Process
from ._runner import save
from ._runtime import Runtime
from ._settings import Settings, Timing

RUNNER = Path(__file__).with_name("_runner.py")
# Of a run's time limit, this much may go to timing, and never more than this many seconds: a slow model then has few
# samples, with the percentiles that they allow, rather than none.
_MEASURING_SHARE, _MEASURING_S = 0.25, 30.0


@dataclass(frozen=True)
class Run:
    """What came of running an artifact.

    Attributes:
        artifact: the file, or the first of the files.
        runtime, runtime_version: what ran it; the version is None when it is not installed.
        ok, reason: whether all samples ran; why not.
        outputs: ``[samples, ...]`` by output name, dequantized.
        measurement: None unless asked for.
        ending: how the child process ended.
    """

    artifact: Path
    runtime: str
    runtime_version: str | None
    ok: bool
    reason: str = ""
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    measurement: Measurement | None = None
    ending: str = ""


def run_artifact(
    artifact: Path | Deployable,
    runtime: str,
    inputs: Mapping[str, np.ndarray],
    *,
    settings: Settings | None = None,
    measure: bool | Timing = False,
    time_limit_s: float = 120,
    memory_limit_bytes: int = 4 * GIB,
) -> Run:
    """Run an artifact on every sample in a child process, and measure it when asked.

    Args:
        artifact: the file, or all that is deployed together, with the host code around it.
        runtime: a runtime's name.
        inputs: ``[samples, ...]`` by the name of the model's, or the host code's, input.
        settings: how the runtime runs it; one thread when None.
        measure: also take latencies, in this one process; how long, where it is a Timing.
        time_limit_s, memory_limit_bytes: of the child.

    Returns:
        What came of it. A child that dies, hangs, exhausts memory or answers nonsense is a run with its reason.

    Raises:
        InputError: there is no such runtime.
    """
    from . import get

    adapter = get(runtime)
    version = adapter.version()
    program = _program(artifact)
    whole = artifact
    artifact = artifact.artifacts[0].path if isinstance(artifact, Deployable) else artifact
    refusal = _refusal(adapter, artifact)
    if refusal:
        return Run(artifact, runtime, version, ok=False, reason=refusal)
    assert version is not None
    before = host_conditions()
    with tempfile.TemporaryDirectory(prefix="edgewright-run-") as folder:
        given, made = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        try:
            save(str(given), inputs)
        except (OSError, ValueError) as error:  # a full disk, an array of objects
            return Run(artifact, runtime, version, ok=False, reason=f"the inputs could not be written: {error}")
        command = python(RUNNER, "--runtime", runtime, *program, "--inputs", given, "--outputs", made)
        command += (settings or Settings()).arguments()
        if measure:
            timing = measure if isinstance(measure, Timing) else Timing()
            command += timing.arguments(min(_MEASURING_S, _MEASURING_SHARE * time_limit_s))
        child = run_child(
            command,
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            environment={"TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        answer, reason = _answer(child)
        outputs: dict[str, np.ndarray] = {}
        if not reason:
            try:
                with np.load(made, allow_pickle=False) as arrays:
                    outputs = {name: arrays[name] for name in arrays.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                reason = f"the runner left no outputs: {error}"
    measurement = None
    if measure and not reason:
        try:
            measurement = _measurement(whole, answer, version, before)
        except (KeyError, TypeError) as error:
            reason = f"the runner gave no measurement: {type(error).__name__}: {error}"
    if reason:
        return Run(artifact, runtime, version, ok=False, reason=reason, ending=child.ending)
    return Run(artifact, runtime, version, True, outputs=outputs, measurement=measurement, ending=child.ending)


def _program(artifact: Path | Deployable) -> list[str]:
    """Return the runner's arguments that say what to run."""
    if isinstance(artifact, Path):
        return ["--artifact", str(artifact)]
    if artifact.host is None:
        (only,) = artifact.artifacts
        return ["--artifact", str(only.path)]
    arguments = ["--host", str(artifact.host.path), "--settings", str(artifact.host.settings)]
    arguments += ["--per", artifact.host.per] if artifact.host.per else []
    return arguments + [text for part in artifact.artifacts for text in ("--artifact", f"{part.graph}={part.path}")]


def _refusal(runtime: Runtime, artifact: Path) -> str:
    """Return why a runtime is not even started, or an empty string."""
    if runtime.version() is None:
        return f"not installed: pip install {runtime.distribution}"
    suffixes = [get_exporter(format).suffix for format in runtime.formats if format in format_names()]
    if suffixes and artifact.suffix not in suffixes:
        return f"expected a file that {runtime.title} takes ({', '.join(suffixes)}), got {artifact.name}"
    return ""


def _answer(child: Child) -> tuple[dict[str, Any], str]:
    """Return the runner's answer, and why it is none."""
    if child.ending not in ("ok", "exit 1", "exit 3"):
        return {}, child.reason()
    try:
        answer = json.loads(child.stdout)
        if not answer["ok"]:
            return answer, " ".join(f"{answer['error']}: {answer['message']}".split())[:500]
    except (ValueError, KeyError, TypeError):
        return {}, f"the runner gave no answer: {child.reason()}"
    return answer, "" if child.ok else child.reason()


def _measurement(
    artifact: Path | Deployable, answer: dict[str, Any], version: str, conditions: dict[str, Any]
) -> Measurement:
    told = ("settings", "ran", "affinity", "python", "numpy", "kernel", "libc", "machine")
    unit, units = (artifact.unit, artifact.units) if isinstance(artifact, Deployable) else ("inference", 1.0)
    process = Process(
        samples_ms=tuple(answer["samples_ms"]),
        load_ms=answer["load_ms"],
        first_ms=answer["first_ms"],
        warmup_runs=answer["warmup_runs"],
        warmup_stable=answer["warmup_stable"],
        cold=answer.get("evicted", False),
        peak_memory_bytes=answer["peak_memory_bytes"],
        telemetry=answer["telemetry"],
        at_speed=answer["at_speed"],
        repeated_ms=tuple(answer.get("repeated_ms", ())),
        among_others_ms=tuple(answer.get("among_others_ms", ())),
    )
    return Measurement(
        processes=(process,),
        threads=answer["threads"],
        runtime=answer["runtime"],
        runtime_version=version,
        conditions={**conditions, **{name: answer.get(name) for name in told}},
        unit=unit,
        units=units,
    )


def host_conditions() -> dict[str, Any]:
    """Return what latencies on this host depend on and what does not move, as far as the system tells."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "governor": next(iter(_lines(governor)), None),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
