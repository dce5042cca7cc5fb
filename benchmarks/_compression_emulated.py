"""Instructions for one answer on emulated Raspberry Pi cores, of what was made of a subject and of its float export.

They are the aarch64 kernels' own, on one thread, and repeat; they are work and no time, which emulation does not tell.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from _compression_cells import again, once
from _compression_judged import Options, Result, graphs_of
from _compression_prepared import Prepared
from _compression_tables import aligned

from edgewright import runtimes
from edgewright.children import run_together
from edgewright.errors import MissingRequirement
from edgewright.export import Deployable
from edgewright.runtimes import run_artifact
from edgewright.runtimes._emulated import CORE_TYPES, Emulated
from edgewright.runtimes._emulator import find_emulator

_INFERENCES = 3  # whose median counts
_TIME_LIMIT_S = 1800.0


def emulated(prepared: Prepared, results: Iterable[Result], options: Options) -> tuple[str, list[dict[str, Any]]]:
    """Count, and return the table and its rows: one for each result and runtime that is on the emulator.

    Args:
        prepared: the subject.
        results: what was made of it; the float export itself is left out.
        options: as of the other sections.

    Raises:
        MissingRequirement: no emulator was built, or none that counts.
    """
    emulator = find_emulator(None)
    if emulator is None or emulator.no_counts:
        got = "none" if emulator is None else emulator.no_counts
        raise MissingRequirement(
            f"Expected an emulator that counts instructions. Got: {got}. edgewright emulator build"
        )
    places = [Emulated(core, emulator.folder) for core in CORE_TYPES]
    rows: list[dict[str, Any]] = []
    for result in results:
        if not result["failed"] and result["peer"] != "float export":
            rows += _of(prepared, result, places, options)
    return _table(rows), rows


def _of(prepared: Prepared, result: Result, places: Sequence[Emulated], options: Options) -> Iterator[dict[str, Any]]:
    """Yield a row for each runtime that the emulator has and that gives answers here."""
    base = prepared.floats(result["format"])
    good = {run["runtime"]: run for run in result["runs"] if not run["failed"]}
    if base is None:
        return
    for runtime in options.runtimes.get(result["format"], ()):
        if runtime not in good or places[0].version(runtimes.get(runtime)) is None:
            continue
        head = {"peer": result["peer"], "point": result["point"], "seed": result.get("seed", 0), "runtime": runtime}
        head |= {"precision": result["precision"], "lost": good[runtime]["lost"]}
        own = _counted(prepared, again(prepared, result), runtime, places, options)
        of_float = _counted(prepared, base, runtime, places, options)
        yield {**head, "own": own, "float": of_float}


def _counted(
    prepared: Prepared, deployable: Deployable, runtime: str, places: Sequence[Emulated], options: Options
) -> dict[str, Any]:
    """Return the instructions of whole answers by core, and of the graphs' calls for one; why not, where it fails."""
    hashes = [artifact.sha256 for artifact in deployable.artifacts]
    versions = [[place.core, place.version(runtimes.get(runtime))] for place in places]

    def make() -> dict[str, Any]:
        inputs = prepared.deployment.task.test.take(1).inputs
        whole = _by_core(deployable, runtime, places, inputs, 1.0)
        parts = [
            _by_core(part, runtime, places, given, calls) for part, given, calls in graphs_of(prepared, deployable)
        ]
        failed = next((each for each in (whole, *parts) if isinstance(each, str)), "")
        if failed:
            return {"failed": failed}
        sums = {place.core: sum(part[place.core] for part in parts) for place in places} if parts else whole
        return {"failed": "", "whole": whole, "graphs": sums}

    place = options.out / prepared.subject.name / "emulated" / f"{runtime} {hashes[0][:16]}.json"
    return once(place, [hashes, versions], make, options) or {"failed": "not counted yet"}


def _by_core(
    deployable: Deployable, runtime: str, places: Sequence[Emulated], inputs: dict[str, np.ndarray], calls: float
) -> Any:
    terms = {"count": _INFERENCES, "time_limit_s": _TIME_LIMIT_S}
    jobs = [partial(run_artifact, deployable, runtime, inputs, place=place, **terms) for place in places]
    found: dict[str, float] = {}
    for place, run in zip(places, run_together(jobs, len(places)), strict=True):
        if not run.ok or run.instructions is None:
            return f"{place.title}: {run.reason or 'no instructions were counted'}"
        found[place.core] = calls * run.instructions.median
    return found


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text: millions of instructions, and how many times fewer than the float export's."""
    heads = [
        "peer",
        "operating point",
        "seed",
        "runtime",
        "core",
        "lost",
        "float, M",
        "now, M",
        "times fewer",
        "graphs alone",
    ]
    lines = [[*heads, "what failed"]]
    for row in rows:
        head = [row["peer"], f"{row['point']}, {row['precision']}", str(row["seed"]), row["runtime"]]
        own, of_float = row["own"], row["float"]
        failed = own["failed"] or of_float["failed"]
        if failed:
            lines.append([*head, *["-"] * 6, failed[:150]])
            continue
        for core, whole in own["whole"].items():
            before = of_float["whole"][core]
            alone = of_float["graphs"][core] / own["graphs"][core]
            cells = [f"{before / 1e6:.3f}", f"{whole / 1e6:.3f}", f"{before / whole:.1f}", f"{alone:.1f}"]
            lines.append([*head, core, f"{row['lost']:+.2f}", *cells, ""])
    return aligned(lines)
