"""Which operations of a file run on a device's fast unit, and why the rest does not."""

from collections.abc import Mapping as Facts
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..export._graph import Graph

PREDICTED = "predicted"
# How the reason begins why a conversion of a float input or output is not on the fast unit.
BOUNDARY = "converts a float "
_NAMED = 6


@dataclass(frozen=True)
class Placed:
    """Where one operation runs.

    Attributes:
        node: its place in ``Graph.nodes``; -1 in a group that another program counted.
        unit: such as "Edge TPU" or "CPU".
        reason: why it does not run on the fast unit; empty where it does.
    """

    node: int
    unit: str
    reason: str = ""


@dataclass(frozen=True)
class Group:
    """Operations of one kind that run in one place for one reason."""

    kind: str
    count: int
    unit: str
    reason: str = ""


@dataclass(frozen=True)
class Placement:
    """Where the operations of a file run on a device.

    Attributes:
        unit: the fast unit: "Edge TPU", "TensorRT" or "XNNPACK".
        how: "predicted", or the program that decided, with its version.
        source: of the rules.
        groups: the operations, by kind and reason.
        sentences: what follows from it.
        facts: the numbers behind the sentences.
        placed: each operation; empty where another program decided, which counts by kind alone.
    """

    unit: str
    how: str
    source: str
    groups: tuple[Group, ...]
    sentences: tuple[str, ...] = ()
    facts: Facts[str, Any] = field(default_factory=dict)
    placed: tuple[Placed, ...] = ()

    @property
    def elsewhere(self) -> tuple[Group, ...]:
        """What does not run on the fast unit, but for conversions of float inputs and outputs at its ends."""
        return tuple(
            group for group in self.groups if group.unit != self.unit and not group.reason.startswith(BOUNDARY)
        )

    @property
    def sentence(self) -> str:
        """The mapping in a sentence or two, with what runs elsewhere and why."""
        missing = "; ".join(f"{group.kind} {group.reason}" for group in self.elsewhere[:_NAMED])
        return " ".join([*self.sentences[:1], *([f"Elsewhere: {missing}."] if missing else [])])


def grouped(graph: Graph, placed: Sequence[Placed]) -> tuple[Group, ...]:
    """Return operations by kind, unit and reason, in the order in which each first occurs."""
    counts: dict[tuple[str, str, str], int] = {}
    for entry in placed:
        key = (graph.nodes[entry.node].kind, entry.unit, entry.reason)
        counts[key] = counts.get(key, 0) + 1
    return tuple(Group(kind, count, unit, reason) for (kind, unit, reason), count in counts.items())


def macs_share(graph: Graph, placed: Sequence[Placed], unit: str) -> float | None:
    """Return the share, 0 to 1, of the file's multiply-accumulates that run on a unit; None where it has none."""
    if not graph.macs:
        return None
    there = (graph.nodes[entry.node] for entry in placed if entry.unit == unit)
    return sum((node.macs or 0) * (1 if node.times is None else node.times) for node in there) / graph.macs


def counted(kinds: Sequence[str], most: int = 6) -> str:
    """Return kinds with how often each occurs, as in "2 MUL, GELU".

    >>> counted(["MUL", "GELU", "MUL"])
    '2 MUL, GELU'
    """
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    named = [f"{count} {kind}" if count > 1 else kind for kind, count in counts.items()]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more kinds" if len(named) > most else "")


def mebibytes(count: float) -> str:
    """Return a number of bytes in MiB, KiB or bytes.

    >>> mebibytes(3 * 2**20), mebibytes(2048), mebibytes(5)
    ('3.00 MiB', '2.00 KiB', '5 bytes')
    """
    if count >= 2**20:
        return f"{count / 2**20:.2f} MiB"
    return f"{count / 1024:.2f} KiB" if count >= 1024 else f"{count:.0f} bytes"
