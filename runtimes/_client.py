"""The runner's client on this host: an artifact run in a child process, whatever becomes of it."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..children import GIB, Child
from ..errors import EdgewrightError, GateFailed, InputError, MissingRequirement
from ..export import Deployable
from ..export import get as get_exporter
from ..export import names as format_names
from ..files import check_room
from ..held import temporary_folder
from ._instructions import Instructions, read_instructions
from ._measurement import Measurement, Process
from ._place import HERE, RUNNER, Named, Place
from ._runner import save
from ._runtime import Runtime
from ._settings import Settings, Timing

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
        instructions: per unit of work; None unless counted.
        error: of a run that failed, what kind of error that is: the artifact's, the user's, or something is lacking.
    """

    artifact: Path
    runtime: str
    runtime_version: str | None
    ok: bool
    reason: str = ""
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    measurement: Measurement | None = None
    ending: str = ""
    instructions: Instructions | None = None
    error: type[EdgewrightError] = GateFailed


def run_artifact(
    artifact: Path | Deployable,
    runtime: str,
    inputs: Mapping[str, np.ndarray] | Path,
    *,
    settings: Settings | None = None,
    measure: bool | Timing = False,
    place: Place = HERE,
    count: int = 0,
    time_limit_s: float = 120,
    memory_limit_bytes: int = 4 * GIB,
) -> Run:
    """Run an artifact on every sample in a child process, and measure it when asked.

    Args:
        artifact: the file, or all that is deployed together, with the host code around it.
        runtime: a runtime's name.
        inputs: ``[samples, ...]`` by the name of the model's, or the host code's, input; or a bundle's golden.npz.
        settings: how the runtime runs it; one thread when None.
        measure: also take latencies, in this one process; how long, where it is a Timing.
        place: where it runs.
        count: of how many inferences of the first sample the instructions are counted, where the place counts them.
        time_limit_s, memory_limit_bytes: of the child.

    Returns:
        What came of it. A child that dies, hangs, exhausts memory or answers nonsense is a run with its reason.

    Raises:
        InputError: there is no such runtime; latencies are asked for where time is none, or instructions where they are
            not counted or on more than one thread.
    """
    from . import get

    adapter = get(runtime)
    settings = settings or Settings()
    _check_place(place, bool(measure), bool(count), settings.threads)
    version = place.version(adapter)
    file = artifact.artifacts[0].path if isinstance(artifact, Deployable) else artifact
    refusal = _refusal(adapter, file, place)
    if refusal:
        kind: type[EdgewrightError] = MissingRequirement if version is None else InputError
        return Run(file, runtime, version, ok=False, reason=refusal, error=kind)
    assert version is not None
    conditions = place.conditions() if measure else {}
    with temporary_folder("run") as folder:
        golden = isinstance(inputs, Path)
        given = inputs if isinstance(inputs, Path) else folder / "inputs.npz"
        made, counts = folder / "outputs.npz", folder / "counts.json"
        try:
            if not isinstance(inputs, Path):
                save(str(given), inputs)
        except (OSError, ValueError) as error:  # a full disk, an array of objects
            check_room(folder, str(error))
            return Run(file, runtime, version, ok=False, reason=f"the inputs could not be written: {error}")
        arguments: list[str | Path | Named] = [RUNNER, "--runtime", runtime, *_program(artifact)]
        arguments += ["--inputs", given, *(["--golden"] if golden else []), "--outputs", made, *settings.arguments()]
        if measure:
            timing = measure if isinstance(measure, Timing) else Timing()
            arguments += timing.arguments(min(_MEASURING_S, _MEASURING_SHARE * time_limit_s))
        arguments += ["--count", str(count)] if count else []
        child = place.run(
            arguments,
            folder,
            counts if count else None,
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
        )
        answer, reason = _answer(child)
        try:
            if reason:
                raise _Missing(reason)
            outputs = _outputs(made)
            measurement = _measurement(artifact, answer, version, place, conditions) if measure else None
            instructions = _instructions(counts, answer, place, runtime, version) if count else None
        except _Missing as missing:
            check_room(folder)
            kind = _ERRORS.get(child.ending, GateFailed)
            return Run(file, runtime, version, ok=False, reason=str(missing), ending=child.ending, error=kind)
    return Run(file, runtime, version, True, "", outputs, measurement, child.ending, instructions)


# What the runner's exit statuses say; any other way to end is the artifact's failure.
_ERRORS: Mapping[str, type[EdgewrightError]] = {"exit 2": InputError, "exit 3": MissingRequirement}


class _Missing(Exception):
    """Something that the runner was asked for is not there."""


def _check_place(place: Place, measured: bool, counted: bool, threads: int) -> None:
    if measured and not place.timed:
        raise InputError(f"Expected a place where time is a latency, to measure it. Got: {place.title}.")
    if counted and (threads > 1 or place.no_counts):
        waiting = f"{threads} threads, which wait for each other by executing more"
        got = waiting if threads > 1 else place.no_counts
        raise InputError(f"Expected one thread where instructions are counted. Got: {got}.")


def _outputs(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _Missing(f"the runner left no outputs: {error}") from error


def _instructions(path: Path, answer: dict[str, Any], place: Place, runtime: str, version: str) -> Instructions:
    try:
        return read_instructions(path, answer["counted_units"], place.title, runtime, version)
    except (OSError, KeyError, ValueError) as error:
        raise _Missing(f"no instructions were counted: {error}") from error


def _program(artifact: Path | Deployable) -> list[str | Path | Named]:
    """Return the runner's arguments that say what to run."""
    if isinstance(artifact, Path):
        return ["--artifact", artifact.absolute()]
    if artifact.host is None:
        (only,) = artifact.artifacts
        return ["--artifact", only.path.absolute()]
    host, settings = artifact.host.path.absolute(), artifact.host.settings.absolute()
    arguments: list[str | Path | Named] = ["--host", host, "--settings", settings]
    arguments += ["--per", artifact.host.per] if artifact.host.per else []
    return arguments + [
        each for part in artifact.artifacts for each in ("--artifact", Named(part.graph, part.path.absolute()))
    ]


def _refusal(runtime: Runtime, artifact: Path, place: Place) -> str:
    """Return why a runtime is not even started, or an empty string."""
    if place.version(runtime) is None:
        return f"not installed{f': pip install {runtime.distribution}' if place is HERE else f' on the {place.title}'}"
    suffixes = [get_exporter(format).suffix for format in runtime.formats if format in format_names()]
    if suffixes and artifact.suffix not in suffixes:
        return f"expected a file that {runtime.title} takes ({', '.join(suffixes)}), got {artifact.name}"
    return ""


def _answer(child: Child) -> tuple[dict[str, Any], str]:
    """Return the runner's answer, and why it is none."""
    # Of wrong usage there is an answer, unless the command line itself was wrong.
    if child.ending not in ("ok", "exit 1", "exit 2", "exit 3") or (child.ending == "exit 2" and not child.stdout):
        return {}, child.reason()
    try:
        answer = json.loads(child.stdout)
        if not answer["ok"]:
            return answer, " ".join(f"{answer['error']}: {answer['message']}".split())[:500]
    except (ValueError, KeyError, TypeError):
        return {}, f"the runner gave no answer: {child.reason()}"
    return answer, "" if child.ok else child.reason()


def _measurement(
    artifact: Path | Deployable, answer: dict[str, Any], version: str, place: Place, conditions: dict[str, Any]
) -> Measurement:
    told = ("settings", "ran", "affinity", "python", "numpy", "kernel", "libc", "machine")
    unit, units = (artifact.unit, artifact.units) if isinstance(artifact, Deployable) else ("inference", 1.0)
    try:
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
        threads, runtime = answer["threads"], answer["runtime"]
    except (KeyError, TypeError) as error:
        raise _Missing(f"the runner gave no measurement: {type(error).__name__}: {error}") from error
    return Measurement(
        processes=(process,),
        threads=threads,
        runtime=runtime,
        runtime_version=version,
        how=place.how,
        conditions={**conditions, **{name: answer.get(name) for name in told}},
        unit=unit,
        units=units,
    )
