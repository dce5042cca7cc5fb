"""A profile as values: what ran and its time, each Keras layer's, each graph's, and of the code around them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .figures import How

# Of the graph of a bundle without host code, and of a file alone.
ONLY = "model"

# Below this for each operation rounding down to whole microseconds is much of a time.
_ROUGH_MS = 0.002


@dataclass(frozen=True)
class OperationTime:
    """What a runtime ran as one piece, and its time in one inference of its graph.

    Attributes:
        name, kind, unit: in the runtime's own terms; see ``RanOperation``.
        ms: its time, without what the profiler itself takes.
        profiled_ms: as the profiler told it.
        calls: how often it runs in one inference.
        layer: the path of the Keras layer that it comes from, such as "encoder/dense"; empty where it is not known.
        mapped: by what the layer was found: "name", "order" or "neighbour"; empty where it is not known.
        also: further layers fused into it.
        operations: kinds of the file's operations in it.
        macs: multiply-accumulates.
        weight_bytes: of the constants that it reads, as stored in the file.
        activation_bytes: of what it reads and writes besides.
    """

    name: str
    kind: str
    unit: str
    ms: float
    profiled_ms: float
    calls: float
    layer: str
    mapped: str
    also: tuple[str, ...]
    operations: tuple[str, ...]
    macs: int
    weight_bytes: int
    activation_bytes: int

    def rates(self) -> tuple[float | None, float | None]:
        """Return 1e9 multiply-accumulates a second, and 1e9 bytes; see ``rate``."""
        return rate(self.macs, self.ms), rate(self.weight_bytes + self.activation_bytes, self.ms)


@dataclass(frozen=True)
class LayerTime:
    """All that a runtime ran of one Keras layer, in one inference of its graph.

    Attributes:
        layer: its path; empty for the operations whose layer is not known.
        ms, operations, macs, weight_bytes, activation_bytes: sums over its operations.
    """

    layer: str
    ms: float
    operations: int
    macs: int
    weight_bytes: int
    activation_bytes: int

    def rates(self) -> tuple[float | None, float | None]:
        """Return 1e9 multiply-accumulates a second, and 1e9 bytes; see ``rate``."""
        moved = self.weight_bytes + self.activation_bytes
        return rate(self.macs, self.ms, self.operations), rate(moved, self.ms, self.operations)


@dataclass(frozen=True)
class GraphTime:
    """One graph of what was profiled.

    Attributes:
        name: the graph's; "model" where there is but one.
        path: the file.
        calls: how often one answer calls it.
        runs: over how many inferences the times are means.
        ms, profiled_ms: one inference without the profiler and with it.
        operations: in the order in which they run; the sum of their ``ms`` is at most the graph's.
        profiler_ms: what the profiler takes in each operation, where the operations' sum is above an inference's time
            without it: subtracted from each.
        macs: of the whole file.
    """

    name: str
    path: Path
    calls: float
    runs: int
    ms: float
    profiled_ms: float
    operations: tuple[OperationTime, ...]
    profiler_ms: float
    macs: int

    @property
    def runtime_ms(self) -> float:
        """What is in no operation: handing over inputs and outputs, dispatch, and what rounding down leaves out."""
        return max(0.0, self.ms - sum(operation.ms for operation in self.operations))

    @property
    def sum_over_whole(self) -> float:
        """The operations' times as the profiler told them, over one inference without the profiler."""
        return sum(operation.profiled_ms for operation in self.operations) / self.ms if self.ms else 0.0

    @property
    def mapped_share(self) -> float:
        """Of the operations' time, 0 to 1: that whose Keras layer was found."""
        total = sum(operation.ms for operation in self.operations)
        return sum(each.ms for each in self.operations if each.layer) / total if total else 0.0

    @property
    def layers(self) -> tuple[LayerTime, ...]:
        """The times by layer, the longest first."""
        groups: dict[str, list[OperationTime]] = {}
        for operation in self.operations:
            groups.setdefault(operation.layer, []).append(operation)
        made = [
            LayerTime(
                layer=layer,
                ms=sum(each.ms for each in group),
                operations=len(group),
                macs=sum(each.macs for each in group),
                weight_bytes=sum(each.weight_bytes for each in group),
                activation_bytes=sum(each.activation_bytes for each in group),
            )
            for layer, group in groups.items()
        ]
        return tuple(sorted(made, key=lambda each: -each.ms))


@dataclass(frozen=True)
class OperationProfile:
    """Where the time of one answer goes.

    Attributes:
        source: the file, or the bundle's folder.
        artifact: the artifact's name, such as "tflite int8"; of a file alone its format.
        runtime, runtime_version, threads: what ran it.
        method: how each operation's time was obtained.
        inputs: what it ran on.
        answer_ms: one answer without the profiler: one inference, or all that the host code does.
        graphs: what was called.
        conditions: of this host.
        hosted: whether host code calls the graphs.
        how: where it was measured.
    """

    source: Path
    artifact: str
    runtime: str
    runtime_version: str | None
    threads: int
    method: str
    inputs: str
    answer_ms: float
    graphs: tuple[GraphTime, ...]
    conditions: dict[str, Any]
    hosted: bool = False
    how: How = How.MEASURED_HERE

    @property
    def host_ms(self) -> float | None:
        """Of an answer, what is in no graph: the host code's; None where there is none."""
        if not self.hosted:
            return None
        return max(0.0, self.answer_ms - sum(graph.ms * graph.calls for graph in self.graphs))

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        graphs = [
            {
                **asdict(graph),
                "path": str(graph.path),
                "runtime_ms": graph.runtime_ms,
                "sum_over_whole": graph.sum_over_whole,
                "mapped_share": graph.mapped_share,
                "operations": [_with_rates(operation) for operation in graph.operations],
                "layers": [_with_rates(layer) for layer in graph.layers],
            }
            for graph in self.graphs
        ]
        return {**asdict(self), "source": str(self.source), "host_ms": self.host_ms, "graphs": graphs}


def _with_rates(time: OperationTime | LayerTime) -> dict[str, Any]:
    gmacs, gbytes = time.rates()
    return {**asdict(time), "gmacs_per_s": gmacs, "gbytes_per_s": gbytes}


def rate(count: float, ms: float, operations: int = 1) -> float | None:
    """Return a count of one inference in 1e9 a second; None for 0, and where whole microseconds tell too little.

    >>> rate(1_000_000, 0.1), rate(1_000_000, 0.001)
    (10.0, None)
    """
    return count / ms / 1e6 if count and ms >= _ROUGH_MS * operations else None


def without_profiler(told_ms: Sequence[float], whole_ms: float) -> tuple[list[float], float]:
    """Return operations' times that add up to at most an inference's, and what was subtracted from each.

    A profiler that takes time within each operation makes their sum longer than an inference without it.

    >>> without_profiler([3.0, 2.0, 0.5], 3.5)
    ([2.25, 1.25, 0.0], 0.75)
    """
    if sum(told_ms) <= whole_ms:
        return list(told_ms), 0.0
    cut, left = 0.0, sorted(told_ms)
    while left:
        cut = (sum(left) - whole_ms) / len(left)
        if left[0] >= cut:
            break
        left.pop(0)
    return [max(0.0, each - cut) for each in told_ms], cut
