"""Where the time of an inference goes: each operation's, by the runtime's own profiler, and each Keras layer's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .api import DataLike
from .errors import GateFailed, MissingRequirement
from .export import Bundle, Deployable, Graph, read_graph
from .layer_names import NEIGHBOUR, Origin, known_layers, origins
from .operation_matching import match
from .profile_values import ONLY, GraphTime, OperationProfile, OperationTime, without_profiler
from .runtimes._profile import ProfiledRun, RanGraph, RanOperation, profile_artifact
from .subjects import subjects_of

_SAMPLES = 16


def profile_operations(
    artifact: Bundle | str | Path,
    runtime: str | None = None,
    data: DataLike = None,
    *,
    name: str | None = None,
    threads: int = 1,
    runs: int = 200,
    time_limit_s: float = 120.0,
) -> OperationProfile:
    """Run a file, or an artifact of a bundle, on this host and tell where the time of an inference goes.

    Args:
        artifact: a .tflite, .onnx or OpenVINO .xml file, edgewright's own or not; or a bundle, or its folder.
        runtime: what runs it; by default the first that takes the format.
        data: samples for the model's inputs (the host code's, where there is some), in any form that ``compress``
            takes; by default a bundle's golden inputs, and random ones for a file alone.
        name: of a bundle's artifacts, such as "tflite int8"; by default its first.
        threads: of the runtime.
        runs: answers, at most.
        time_limit_s: of the run, in a child process.

    Raises:
        InputError: no such file, artifact or runtime; a broken file; a runtime of another format or without a profiler;
            data that does not fit.
        MissingRequirement: the runtime is not installed.
        GateFailed: it did not run.
    """
    (subject,) = subjects_of(artifact, name, runtime, data, every=False)
    source, bundle = subject.path, subject.bundle
    chosen, runtime = subject.artifact, subject.runtime
    if isinstance(chosen, Deployable) and chosen.host is not None:
        paths = {part.graph: part.path for part in chosen.artifacts}
    else:
        paths = {ONLY: chosen.artifacts[0].path if isinstance(chosen, Deployable) else chosen}
    graphs = {graph: read_graph(path) for graph, path in paths.items()}
    samples = {key: np.asarray(array[:_SAMPLES]) for key, array in subject.inputs.items()}
    run = profile_artifact(chosen, runtime, samples, threads=threads, runs=runs, time_limit_s=time_limit_s)
    if not run.ok:
        error = MissingRequirement if run.runtime_version is None else GateFailed
        raise error(f"Expected {source} to run in {runtime} with its profiler. Got: {run.reason}.")
    return OperationProfile(
        source=source,
        artifact=chosen.name if isinstance(chosen, Deployable) else next(iter(graphs.values())).format,
        runtime=runtime,
        runtime_version=run.runtime_version,
        threads=threads,
        method=f"{run.how}; of {run.answers} answers",
        inputs=subject.source,
        answer_ms=run.answer_ms,
        graphs=tuple(_graph_time(bundle, graph, paths[graph], read, run) for graph, read in graphs.items()),
        conditions=dict(run.conditions),
        hosted=isinstance(chosen, Deployable) and chosen.host is not None,
    )


def _graph_time(bundle: Bundle | None, name: str, path: Path, graph: Graph, run: ProfiledRun) -> GraphTime:
    ran = run.graphs[name]
    places = match(graph, ran)
    found = _with_inserted(ran.operations, places, _origins(bundle, path, graph))
    corrected, profiler_ms = without_profiler([each.ms for each in ran.operations], ran.ms)
    made = _Made(graph, ran, places, found, corrected)
    return GraphTime(
        name=name,
        path=path,
        calls=ran.calls,
        runs=ran.runs,
        ms=ran.ms,
        profiled_ms=ran.profiled_ms,
        operations=tuple(made.operation(index) for index in range(len(ran.operations))),
        profiler_ms=profiler_ms,
        macs=graph.macs,
    )


def _origins(bundle: Bundle | None, path: Path, graph: Graph) -> tuple[Origin, ...]:
    """Return each operation's origin; a bundle's Keras model and its other files help where a converter lost names."""
    if bundle is None:
        return origins(graph)
    artifact = next(each for each in bundle.artifacts if each.path == path)
    own = bundle.path / "graphs" / f"{artifact.graph}.keras"
    known = known_layers(own if own.is_file() else bundle.path / "model.keras")
    same = [each for each in bundle.artifacts if each.graph == artifact.graph and each.format != artifact.format]
    lost = graph.format == "openvino" and same
    return origins(graph, known, read_graph(same[0].path) if lost else None)


def _with_inserted(
    ran: Sequence[RanOperation], places: Sequence[Sequence[int]], found: Sequence[Origin]
) -> list[list[Origin]]:
    """Return the origins of each operation that ran; of one that the runtime put in, those of what reads it.

    Where the runtime does not tell what reads it, it is the next one's, or the last one's.
    """
    own = [[found[place] for place in each] for each in places]
    named = {each.name: index for index, each in enumerate(ran)}
    made = []
    for index, origins_here in enumerate(own):
        others, seen = [index], {index}
        for each in others:  # it grows: what reads an inserted operation may be inserted too
            readers = [named[name] for name in ran[each].readers if name in named and not own[each]]
            others += [reader for reader in readers if reader not in seen]
            seen.update(readers)
        others += [*range(index + 1, len(own)), *reversed(range(index))]
        near = next((each for other in others for each in own[other] if each.layer), None)
        made.append(origins_here or ([Origin(near.model, near.layer, NEIGHBOUR)] if near else []))
    return made


class _Made:
    """Puts together what is known of each operation that ran."""

    def __init__(
        self,
        graph: Graph,
        ran: RanGraph,
        places: Sequence[tuple[int, ...]],
        found: Sequence[Sequence[Origin]],
        corrected: Sequence[float],
    ) -> None:
        self.graph, self.ran, self.places, self.found, self.corrected = graph, ran, places, found, corrected
        self.readers: dict[int, set[int]] = {}
        for index, node in enumerate(graph.nodes):
            for place in node.inputs:
                self.readers.setdefault(place, set()).add(index)

    def operation(self, index: int) -> OperationTime:
        """Return one of the operations that ran."""
        ran, places, found = self.ran.operations[index], self.places[index], self.found[index]
        nodes = [self.graph.nodes[place] for place in places]
        macs = [(node.macs or 0) * (1 if node.times is None else node.times) for node in nodes]
        # The layer of what multiplies most; then of what was found by name.
        rank = [
            (macs[at] if nodes else 0, origin.how not in ("", NEIGHBOUR), bool(origin.layer), -at)
            for at, origin in enumerate(found)
        ]
        main = found[max(range(len(found)), key=rank.__getitem__)] if found else Origin()
        others = [path for origin in found for path in (origin.layer, *origin.also) if path and path != main.layer]
        return OperationTime(
            name=ran.name,
            kind=ran.kind or ", ".join(node.kind for node in nodes),
            unit=ran.unit,
            ms=self.corrected[index],
            profiled_ms=ran.ms,
            calls=ran.calls,
            layer="/".join(main.layer),
            mapped=main.how if main.layer else "",
            also=tuple(dict.fromkeys("/".join(path) for path in others)),
            operations=tuple(node.kind for node in nodes),
            macs=sum(macs),
            weight_bytes=sum(node.weight_bytes for node in nodes),
            activation_bytes=self._activations(places),
        )

    def _activations(self, places: Sequence[int]) -> int:
        """Return the bytes that cross the border of a set of operations."""
        inside = set(places)
        made = {place for node in places for place in self.graph.nodes[node].outputs}
        read = {place for node in places for place in self.graph.nodes[node].inputs if place >= 0} - made
        kept = {place for place in made if self.readers.get(place, set()) - inside or place in self.graph.outputs}
        values = [self.graph.values[place] for place in read | kept]
        return sum(value.bytes or 0 for value in values if not value.constant)
