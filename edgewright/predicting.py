"""What a file would take on a device: its latency with an interval, operation by operation, its memory and energy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import devices
from .device_names import profile_of
from .devices import Memory, Placement, Profile, Target, Unsupported, loads_on, predict_energy, predict_memory
from .devices._profile import ADAPTERS
from .errors import InputError, nearest
from .export import Artifact, Graph, read_graph
from .export._artifact import Operation
from .export._beside import files_beside
from .export._graph import elements
from .export._precision import precision_of
from .export._work import COUNTS, Work, of_unknown_size, total, uncounted, work_of
from .figures import Figure
from .subjects import bundle_at

_BEYOND = "(an inference, whatever its operations)"


@dataclass(frozen=True)
class Costly:
    """An operation and what it is predicted to take.

    Attributes:
        name: its kind and the tensor that it writes; one entry is what an inference takes beyond all of them.
        latency_ms: of all its runs in one inference.
        share: of the whole, 0 to 1.
    """

    name: str
    latency_ms: float
    share: float


@dataclass(frozen=True)
class Prediction:
    """What a file would take on a device.

    Attributes:
        path: the file.
        device, title: of the profile.
        format, precision: of the file.
        runtime, unit, threads: what would run it there.
        latency_ms: of one inference; None where the device does not run it, without an interval where an operation's
            work could not be counted: that comes on top.
        memory_bytes: at its peak, by parts; None where no formula is known for the runtime.
        energy_mj: of one inference; None where no source tells what the board draws.
        operations: those that take longest, first.
        macs: multiply-accumulates of one inference.
        notes: what else is to be known, as sentences: why something is None, what does not run where it should.
    """

    path: Path
    device: str
    title: str
    format: str
    precision: str
    runtime: str
    unit: str
    threads: int
    latency_ms: Figure | None
    memory_bytes: Memory | None
    energy_mj: Figure | None
    operations: tuple[Costly, ...]
    macs: int
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {**asdict(self), "path": str(self.path)}


def predict(
    artifact: str | Path,
    device: str,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    costliest: int = 10,
) -> tuple[Prediction, ...]:
    """Predict what a file, or each file of a bundle, takes on a device, at a batch of 1. Nothing is measured.

    Args:
        artifact: a .tflite, .onnx or OpenVINO .xml file, edgewright's own or not, or the folder of a bundle.
        device: the name or file of a device profile, or the name of a registered device.
        runtime: one of the device's; by default the one that its profile runs the format in.
        threads: of the runtime; the profile's own when None.
        costliest: how many operations to list.

    Raises:
        InputError: no such file, device or runtime; a file that is broken; a number of operations below zero.
    """
    if costliest < 0:
        raise InputError(f"Expected a number of operations to list, zero or more. Got: {costliest}.")
    path = Path(artifact)
    profile = profile_of(device)
    runtime = None if runtime is None else _runtime_of(profile, runtime)
    if threads is not None and not 1 <= threads <= profile.cpu.count.value:
        raise InputError(f"Expected 1 to {profile.cpu.count.value} threads on {profile.title}. Got: {threads}.")
    bundle = bundle_at(path)
    known = {entry.path: entry for entry in bundle.artifacts} if bundle else {}
    return tuple(_predicted(file, profile, known.get(file), runtime, threads, costliest) for file in known or (path,))


def _runtime_of(profile: Profile, asked: str) -> str:
    """Return a runtime of a device as its profile calls it; it may be asked for as other commands do, as "litert"."""
    names = sorted({each.name for each in profile.runtimes} | {target.runtime for target in profile.targets})
    for name in names:
        if asked.casefold() in (name.casefold(), ADAPTERS.get(name)):
            return name
    hint = nearest(asked, names)
    raise InputError(f"Expected a runtime of {profile.title}: {', '.join(names)}. Got: {asked!r}.{hint}")


def _predicted(
    path: Path, profile: Profile, entry: Artifact | None, runtime: str | None, threads: int | None, costliest: int
) -> Prediction:
    graph = read_graph(path)
    precision = entry.precision if entry else precision_of(graph)
    found = profile.target(graph.format, precision)
    refused = _refused(profile, graph, found, runtime)
    target = found if isinstance(found, Target) and not refused else None
    works = work_of(graph)
    notes = [refused] if refused else _doubts(profile, graph)
    unknown = uncounted(graph)
    notes += [f"Not counted: {name}." for name in unknown]
    lost = of_unknown_size(graph)
    if lost:
        notes.append(f"Of sizes that nothing tells before, and counted as nothing: {', '.join(lost)}.")
    opened = [value.name for value in (graph.values[place] for place in graph.inputs) if value.stated is not None]
    if opened:
        notes.append(f"The file leaves the batch open, axis 0 of {', '.join(opened)}: all figures are those of 1.")
    if any(node.times is None for node in graph.nodes):
        notes.append("A loop's length or a branch is decided as it runs; the operations within are counted once.")
    latency: Figure | None = None
    operations: tuple[Costly, ...] = ()
    if target is not None:
        placement = devices.place(profile, graph, path)
        described = _as_artifact(path, graph, precision, works)
        latency, operations, more = _latency(profile, target, described, works, placement, threads, costliest)
        notes += more
    memory = predict_memory(graph, ADAPTERS.get(target.runtime, target.runtime)) if target else None
    energy = predict_energy(profile, latency) if latency else None
    notes += [each.reason for each in (memory, energy) if isinstance(each, Unsupported)]
    if (unknown or lost) and latency:
        # How much comes on top nothing tells: no interval would hold.
        latency = replace(latency, low=None, high=None)
        energy = replace(energy, low=None, high=None) if isinstance(energy, Figure) else energy
    has_bytes = profile.memory.size_bytes.value
    if isinstance(memory, Memory) and memory.total_bytes.value > has_bytes:
        notes.append(f"That is more memory than {profile.title} has, {has_bytes / 2**20:,.0f} MiB in all.")
    return Prediction(
        path=path,
        device=profile.name,
        title=profile.title,
        format=graph.format,
        precision=precision,
        runtime=target.runtime if target else "",
        unit=target.unit if target else "",
        threads=(threads or target.threads) if target else 0,
        latency_ms=latency,
        memory_bytes=None if isinstance(memory, Unsupported) else memory,
        energy_mj=None if isinstance(energy, Unsupported) else energy,
        operations=operations,
        macs=graph.macs,
        notes=tuple(notes),
    )


def _refused(profile: Profile, graph: Graph, target: Target | Unsupported, runtime: str | None) -> str:
    """Return why the device does not run the file; empty where it does."""
    if isinstance(target, Unsupported):
        return target.reason
    if runtime not in (None, target.runtime):
        return (
            f"{profile.title} runs {target.format} {target.precision} in {target.runtime}; its profile says nothing of "
            f"{runtime} for it."
        )
    loads = loads_on(profile, graph)
    return loads.sentence if loads.ok is False else ""


def _doubts(profile: Profile, graph: Graph) -> list[str]:
    """Return what is not known of whether the device's runtime loads the file."""
    loads = loads_on(profile, graph)
    return [loads.sentence] if loads.ok is None else []


def _latency(
    profile: Profile,
    target: Target,
    artifact: Artifact,
    works: Sequence[Work],
    placement: Placement | None,
    threads: int | None,
    costliest: int,
) -> tuple[Figure | None, tuple[Costly, ...], list[str]]:
    """Return the latency, the costliest operations, and what else is to be known."""
    figure = devices.predict_latency(profile, artifact, placement, threads)
    if isinstance(figure, Unsupported):
        return None, (), [figure.reason]
    notes = [placement.sentence] if placement else []
    if target.unit == "edgetpu":
        return (
            figure,
            (),
            [*notes, "On an Edge TPU the kinds of work are priced, not the single operations: none are listed."],
        )
    known = devices.speeds_of(profile, target, threads)
    ms = known.ms_of(devices.vector(artifact.work))
    each = [(work.name, float(ms @ devices.vector(work.counts))) for work in works]
    each.append((_BEYOND, known.fixed_ms + float(ms[COUNTS.index("inferences")])))
    whole = sum(value for _, value in each) or 1.0
    first = sorted(each, key=lambda item: -item[1])[:costliest]
    if threads is None and target.unit == "cpu" and target.threads > 1:
        alone = devices.predict_latency(profile, artifact, placement, 1)
        if isinstance(alone, Figure) and alone.value < figure.value:
            notes.append(f"On one thread it is predicted to take less, {alone.value:.3g} ms: --threads 1.")
    return figure, tuple(Costly(name, value, value / whole) for name, value in first), notes


def _as_artifact(path: Path, graph: Graph, precision: str, works: Sequence[Work]) -> Artifact:
    """Return what the prediction needs to know of a file, whoever wrote it."""
    kinds = Counter((node.kind, graph.dtypes_of(node)) for node in graph.nodes)
    return Artifact(
        path=path,
        format=graph.format,
        precision=precision,
        inputs=(),
        outputs=(),
        sha256="",
        size_bytes=sum(file.stat().st_size for file in (path, *files_beside(path))),
        gzip_bytes=0,
        macs=graph.macs,
        parameters=sum(elements(value.shape) or 0 for value in graph.values if value.constant and value.bytes),
        operations=tuple(Operation(name, dtypes, count) for (name, dtypes), count in kinds.items()),
        work=total(works),
    )
