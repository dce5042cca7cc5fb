"""What the runtimes' aarch64 builds compute on an emulated Raspberry Pi, against the same versions on this host."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import runtimes
from .agreement import agreement, largest_difference
from .children import run_together
from .errors import InputError, MissingRequirement
from .export import Deployable, read_graph
from .export import get as exporter
from .export import names as format_names
from .progress import Event, OnProgress, part
from .runtimes import Run, run_artifact
from .runtimes._emulated import CORE_TYPES, Emulated
from .runtimes._emulated_sshd import EmulatedServer, emulated_sshd
from .runtimes._emulator import Emulator, OnStep, build_emulator, emulator_folder, find_emulator
from .runtimes._instructions import Instructions
from .subjects import bundle_at, random_inputs

# Outputs may differ by this much of the largest value, unless it is told. One step of an int8 output is at least 1/255
# of it and one of an int16 output 1/65535, so those have to be the very same.
_MAX_DIFFERENCE = 1e-6
_RANDOM_SAMPLES = 4
_AT_ONCE = 2
_TIME_LIMIT_S = 1800.0


@dataclass(frozen=True)
class Emulation:
    """An artifact in a runtime on an emulated core, compared with this host.

    Attributes:
        artifact: its format and precision, such as "tflite int8", or the file's name.
        runtime: that ran it.
        core: such as "pi4".
        version, version_here: of the runtime, on the emulator and on this host.
        ok, reason: whether it computes there what it computes here, and needs no more instructions than allowed; why
            not. None where there is nothing to compare it with: this host does not run it either.
        samples: how many were run.
        difference: the largest difference of an output, as a share of that output's largest value; 0 where each output
            is the same to the bit. None where it did not run.
        instructions: per inference; None where they were not counted.
        before: the instructions of the baseline; None without one.
        agreement_percent: how far the outputs agree with this host's (see ``agreement_percent``): of choices, how many
            are the same. None where it did not run.
    """

    artifact: str
    runtime: str
    core: str
    version: str | None
    version_here: str | None
    ok: bool | None
    reason: str = ""
    samples: int = 0
    difference: float | None = None
    instructions: Instructions | None = None
    before: int | None = None
    agreement_percent: float | None = None

    @property
    def growth(self) -> float | None:
        """By what share the instructions grew over the baseline; None without one."""
        return None if self.instructions is None or not self.before else self.instructions.median / self.before - 1

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, with the figure of the instructions and how it was obtained."""
        figure = asdict(self.instructions.figure()) if self.instructions else None
        return {**asdict(self), "instructions_per_inference": figure, "growth": self.growth}


@dataclass(frozen=True)
class Emulations:
    """All that was run, and the emulator that it was run on.

    Attributes:
        rows: one for each artifact, runtime and core.
        emulator: what ran it.
        exit_code: 1 where a row is not as it should be, else 0.
    """

    rows: tuple[Emulation, ...]
    emulator: Emulator

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return 1 if any(row.ok is False for row in self.rows) else 0

    def plain(self) -> dict[str, Any]:
        """Return it as plain data; a later run takes it as its baseline."""
        return {"emulator": self.emulator.plain(), "rows": [row.plain() for row in self.rows]}


def build(folder: Path | None = None, *, mirror: str | None = None, on_progress: OnProgress | None = None) -> Emulator:
    """Build the emulator unless it is there; see ``runtimes._emulator.build_emulator``."""
    return build_emulator(folder, mirror=mirror, on_step=_steps(on_progress))


def emulated_device(
    core: str = "pi4",
    key: Path | None = None,
    port: int | None = None,
    bare: bool = False,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    on_progress: OnProgress | None = None,
) -> AbstractContextManager[EmulatedServer]:
    """Run an emulated Raspberry Pi that one logs in to; see ``runtimes._emulated_sshd.emulated_sshd``."""
    return emulated_sshd(core, key, port, bare, folder=folder, mirror=mirror, on_step=_steps(on_progress))


def _steps(on_progress: OnProgress | None) -> OnStep:
    def on_step(step: str, share: float) -> None:
        if on_progress:
            on_progress(Event("build", (step,), share))

    return on_step


def emulate(
    artifact: str | Path,
    cores: Sequence[str] = tuple(CORE_TYPES),
    chosen: Sequence[str] = (),
    *,
    folder: Path | None = None,
    samples: int = _RANDOM_SAMPLES,
    count: int = 3,
    baseline: Path | None = None,
    max_growth: float = 0.02,
    max_difference: float = _MAX_DIFFERENCE,
    on_progress: OnProgress | None = None,
) -> Emulations:
    """Run an artifact on emulated cores and on this host, compare the outputs, and count instructions per inference.

    Args:
        artifact: a bundle, whose golden inputs are run; or a .tflite, .onnx or .xml file, which gets random inputs.
        cores: "pi4", "pi5".
        chosen: runtimes; by default all that the emulator has, referees left out.
        folder: where emulators are kept; see ``runtimes._emulator.emulator_folder``.
        samples: how many of the golden inputs, or random ones.
        count: of how many inferences the instructions are counted; 0 for none.
        baseline: the JSON of an earlier run, whose instructions are the measure.
        max_growth: by what share they may grow.
        max_difference: by what share of an output's largest value it may differ.
        on_progress: told what begins.

    Raises:
        InputError: no such file, core or runtime; no runtime there takes the artifact; a baseline of something else.
        MissingRequirement: no emulator was built.
    """
    if samples < 1 or count < 0:
        raise InputError(f"Expected at least one sample, and no negative count. Got: {samples} and {count}.")
    emulator = find_emulator(folder)
    if emulator is None:
        raise MissingRequirement(
            f"Expected an emulator in {emulator_folder(folder)}. Got: none. Build it: edgewright emulator build"
        )
    places = [Emulated(core, emulator.folder) for core in cores]
    before = _read_baseline(baseline) if baseline else {}
    units = [
        (name, program, inputs, runtime)
        for name, program, inputs in _programs(Path(artifact), samples)
        for runtime in _runtimes_of(program, chosen, places[0])
    ]
    if not units:
        there = ", ".join(sorted(emulator.wheels))
        raise InputError(f"Expected an artifact that a runtime of the emulator takes ({there}). Got: {artifact}.")
    report = part(on_progress, 0, 1)
    rows: list[Emulation] = []
    for number, (name, program, inputs, runtime) in enumerate(units):
        report(Event("emulate", (name, runtime), number / len(units)))
        here = run_artifact(program, runtime, inputs, time_limit_s=_TIME_LIMIT_S)
        jobs = [
            partial(
                run_artifact,
                program,
                runtime,
                inputs,
                place=place,
                count=0 if place.no_counts else count,
                time_limit_s=_TIME_LIMIT_S,
            )
            for place in places
        ]
        for place, there_ in zip(places, run_together(jobs, _AT_ONCE), strict=True):
            row = _compared(name, place.core, here, there_, len(next(iter(inputs.values()))), max_difference)
            rows.append(_held_to(row, before, max_growth))
    if baseline and not any(row.before for row in rows):
        raise InputError(f"Expected a baseline of this artifact, its runtimes and cores. Got: {baseline}, of none.")
    return Emulations(tuple(rows), emulator)


def _programs(path: Path, samples: int) -> list[tuple[str, Path | Deployable, dict[str, np.ndarray]]]:
    """Return what is run, by name, and on what."""
    bundle = bundle_at(path)
    if bundle is None:
        return [(path.name, path, random_inputs(read_graph(path), samples))]
    golden = {name: array[:samples] for name, array in bundle.golden()[0].items()}
    return [(deployable.name, deployable, golden) for deployable in bundle.deployables]


def _runtimes_of(program: Path | Deployable, chosen: Sequence[str], place: Emulated) -> list[str]:
    suffix = program.suffix if isinstance(program, Path) else ""
    formats = [name for name in format_names() if exporter(name).suffix == suffix]
    if isinstance(program, Deployable):
        formats = [program.format]
    taking = [runtimes.get(name) for format in formats for name in runtimes.for_format(format)]
    for name in chosen:
        runtimes.get(name)
    there = [runtime for runtime in taking if place.version(runtime) is not None]
    return [runtime.name for runtime in there if (runtime.name in chosen if chosen else not runtime.referee)]


def _compared(name: str, core: str, here: Run, there: Run, samples: int, limit: float) -> Emulation:
    row = Emulation(name, there.runtime, core, there.runtime_version, here.runtime_version, None, samples=samples)
    if not here.ok:
        also = "fails there too" if not there.ok else "runs there"
        return replace(row, reason=f"fails on this host ({here.reason}); {also}", instructions=there.instructions)
    if not there.ok:
        return replace(row, ok=False, reason=f"fails there and runs here: {there.reason}")
    difference = largest_difference(here.outputs, there.outputs)
    reason = f"differs by more than {limit:g} of the largest value" if not difference <= limit else ""
    return replace(
        row,
        ok=not reason,
        reason=reason,
        difference=difference,
        agreement_percent=agreement(here.outputs, there.outputs) if math.isfinite(difference) else 0.0,
        instructions=there.instructions,
    )


def _held_to(row: Emulation, before: Mapping[tuple[str, str, str], int], max_growth: float) -> Emulation:
    """Return the row with the baseline's instructions, failed where they grew by more than is allowed."""
    row = replace(row, before=before.get((row.artifact, row.runtime, row.core)))
    if row.growth is None or row.growth <= max_growth or row.ok is False:
        return row
    reason = f"{100 * row.growth:.2f} % more instructions than the baseline, where {100 * max_growth:g} % are allowed"
    return replace(row, ok=False, reason=reason)


def _read_baseline(path: Path) -> dict[tuple[str, str, str], int]:
    """Return the instructions by artifact, runtime and core from what ``emulator run --json`` printed.

    Raises:
        InputError: the file is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document.get("result", document)["rows"]
        return {
            (row["artifact"], row["runtime"], row["core"]): int(row["instructions_per_inference"]["value"])
            for row in rows
            if row["instructions_per_inference"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Expected a baseline that 'edgewright emulator run --json' printed. Got: {path}: "
            f"{type(error).__name__}: {error}"
        ) from error
