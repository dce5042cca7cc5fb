"""What goes to a device together: the artifacts of one format and precision, one a graph, and the code around them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ._artifact import Artifact


@dataclass(frozen=True)
class HostCode:
    """The NumPy-only code that turns one sample into one answer by calling the graphs.

    Attributes:
        path: a Python file with the class ``Host(graphs, settings)``.
        settings: a JSON file.
        per: the graph whose calls latency is counted by; the answer when empty.
    """

    path: Path
    settings: Path
    per: str = ""


@dataclass(frozen=True)
class Deployable:
    """All that a device needs to run a model in one format at one precision.

    Attributes:
        artifacts: one for each graph.
        host: the code around them; None where the one graph's outputs are the answer.
        calls: by graph, how often it is called for one answer, or for one call of ``host.per``; 1 where not given.
        unit, units: what a user counts in one answer, or in one call of ``host.per``, and how many of them that is.
    """

    artifacts: tuple[Artifact, ...]
    host: HostCode | None = None
    calls: Mapping[str, float] = field(default_factory=dict)
    unit: str = "inference"
    units: float = 1.0

    @property
    def name(self) -> str:
        """Its format and precision, such as "tflite int8"."""
        return self.artifacts[0].name

    @property
    def format(self) -> str:
        """The format of all of its artifacts."""
        return self.artifacts[0].format

    @property
    def precision(self) -> str:
        """The precision of all of its artifacts."""
        return self.artifacts[0].precision

    @property
    def size_bytes(self) -> int:
        """Of all its artifacts together."""
        return sum(artifact.size_bytes for artifact in self.artifacts)

    @property
    def gzip_bytes(self) -> int:
        """Of all its artifacts together."""
        return sum(artifact.gzip_bytes for artifact in self.artifacts)

    @property
    def macs(self) -> float:
        """Multiply-accumulates for one answer, or for one call of ``host.per``."""
        return sum(artifact.macs * self.calls_of(artifact) for artifact in self.artifacts)

    def calls_of(self, artifact: Artifact) -> float:
        """Return how often an artifact is called for one answer, or for one call of ``host.per``."""
        return self.calls.get(artifact.graph, 1.0)


def deployables(
    artifacts: tuple[Artifact, ...],
    host: HostCode | None = None,
    calls: Mapping[str, float] | None = None,
    unit: str = "inference",
    units: float = 1.0,
) -> tuple[Deployable, ...]:
    """Return the artifacts together with those of their format and precision, in their order."""
    groups: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        groups.setdefault(artifact.name, []).append(artifact)
    return tuple(Deployable(tuple(group), host, dict(calls or {}), unit, units) for group in groups.values())
