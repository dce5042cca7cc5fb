"""Measuring: artifacts timed in several fresh processes, in turn where they are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..export import Deployable
from ._client import Run, run_artifact
from ._measurement import Measurement
from ._place import HERE, Place
from ._settings import Settings, Timing

# At least so many fresh processes: between them the median moves up to 9 %, within one far less.
PROCESSES = 5
# Of each of several processes: together they have enough samples for p90, and for p99 where an inference is fast.
SHORT = Timing(warmup_s=0.1, min_runs=20, min_time_s=0.15, max_runs=1000)
_REPEATS = 30
# The first process runs all samples, for their answers; the others only as many as make the timed inputs varied.
_VARIED = 32


@dataclass(frozen=True)
class Measured:
    """What is measured.

    Attributes:
        artifact: the file, or all that is deployed together.
        runtime: a runtime's name.
        inputs: ``[samples, ...]`` by input name.
        settings: how the runtime runs it.
        place: where it runs; where all of them do when None.
    """

    artifact: Path | Deployable
    runtime: str
    inputs: Mapping[str, np.ndarray]
    settings: Settings = Settings()
    place: Place | None = None


def measure_artifact(
    artifact: Path | Deployable,
    runtime: str,
    inputs: Mapping[str, np.ndarray],
    settings: Settings | None = None,
    *,
    processes: int = PROCESSES,
    timing: Timing = SHORT,
    place: Place = HERE,
    time_limit_s: float = 120,
) -> Run:
    """Run an artifact on every sample, and time it in fresh processes, the first of which loads it from the disk.

    Args:
        artifact: the file, or all that is deployed together, with the host code around it.
        runtime: a runtime's name.
        inputs: ``[samples, ...]`` by the name of the model's, or the host code's, input.
        settings: how the runtime runs it; one thread when None.
        processes: how many.
        timing: how long each is timed.
        place: where it runs.
        time_limit_s: of each process.

    Returns:
        The first process' run, with the measurement of all of them. Where one of them fails, a run that failed.

    Raises:
        InputError: there is no such runtime; no process at all.
    """
    measured = Measured(artifact, runtime, inputs, settings or Settings())
    turns = measure_in_turn([measured], processes=processes, timing=timing, place=place, time_limit_s=time_limit_s)
    *_, (last,) = turns
    return last


def measure_in_turn(
    measured: Sequence[Measured],
    *,
    processes: int = PROCESSES,
    timing: Timing = SHORT,
    place: Place = HERE,
    time_limit_s: float = 120,
    enough: Callable[[tuple[Run, ...]], bool] | None = None,
) -> Iterator[tuple[Run, ...]]:
    """Time several artifacts in turn, each time in a fresh process: A B, B A, A B, ...

    What slows the host down for a while slows all of them alike, and none is always the first.

    Args:
        measured: what is timed.
        processes: how many of each at most.
        timing: how long each is timed.
        place: where those run that name no place of their own.
        time_limit_s: of each process.
        enough: told all runs so far after each round; when it says so, no further round begins.

    Yields:
        After each round the runs so far, each with the measurement of all of its processes. What failed once is not
        run again.

    Raises:
        InputError: there is no such runtime; no process at all.
    """
    if processes < 1:
        raise InputError(f"Expected at least one process. Got: {processes}.")
    runs: list[Run | None] = [None] * len(measured)
    for turn in range(processes):
        order = range(len(measured)) if turn % 2 == 0 else reversed(range(len(measured)))
        first = turn == 0
        for number in order:
            what, before = measured[number], runs[number]
            if before is not None and not before.ok:
                continue
            inputs = what.inputs if first else {name: array[:_VARIED] for name, array in what.inputs.items()}
            run = run_artifact(
                what.artifact,
                what.runtime,
                inputs,
                settings=what.settings,
                measure=replace(timing, cold=first, repeats=_REPEATS if first else 0),
                place=what.place or place,
                time_limit_s=time_limit_s,
            )
            runs[number] = run if before is None else joined(before, run)
        done = tuple(run for run in runs if run is not None)
        yield done
        if not any(run.ok for run in done) or (enough and enough(done)):
            return


def joined(before: Run, after: Run) -> Run:
    """Return a run whose measurement has one process more; the failed run when one of them failed."""
    if not (before.ok and after.ok):
        return after if before.ok else before
    assert before.measurement is not None and after.measurement is not None
    (process,) = after.measurement.processes
    wrong = _difference(before, after)
    process = replace(process, at_speed=_worst(process.at_speed, wrong))
    measurement: Measurement = replace(before.measurement, processes=(*before.measurement.processes, process))
    return replace(before, measurement=measurement)


def _difference(before: Run, after: Run) -> Mapping[str, float]:
    """Return how far a further process' answers lie from those of the first, which the accuracy is taken from."""
    most, largest = 0.0, 0.0
    for name, array in after.outputs.items():
        expected = before.outputs[name][: len(array)]
        off = np.abs(np.subtract(expected, array, dtype=np.float64))
        most = max(most, float(np.max(np.where(expected == array, 0.0, off), initial=0.0)))
        largest = max(largest, float(np.max(np.abs(np.nan_to_num(expected)), initial=0.0)))
    compared = next((len(array) for array in after.outputs.values()), 0)
    return {"compared": compared, "max_difference": most, "largest": largest}


def _worst(one: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    shares = [each["max_difference"] / max(each["largest"], 1e-30) for each in (one, other)]
    worse = one if shares[0] > shares[1] else other
    return {**worse, "compared": one["compared"] + other["compared"]}
