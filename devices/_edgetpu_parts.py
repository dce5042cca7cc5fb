"""Where to cut a TFLite file so that more of it runs on an Edge TPU.

The compiler takes what comes before the first operation that it cannot take, and leaves the rest of a file on the CPU.
So a file that begins with such an operation is cut: into parts that run one after the other, each on one unit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..export._graph import Graph
from ._placement import counted

UNIT, CPU = "Edge TPU", "CPU"
# A head, a body and a tail. Each cut costs a transfer to the Edge TPU or back, and a call of a runtime.
MOST_PARTS = 3
# Shares that differ by less are the same one.
_ROUNDING = 1e-9
# With more stretches than this, pairs of them are not looked at.
_MOST_STRETCHES = 40


@dataclass(frozen=True)
class Part:
    """Operations that go into one file.

    Attributes:
        unit: where all of them run.
        nodes: places in ``Graph.nodes``, in order.
        macs_share: of the graph's multiply-accumulates, 0 to 1.
    """

    unit: str
    nodes: tuple[int, ...]
    macs_share: float


def parts_of(graph: Graph, refused: Sequence[bool], share: float) -> tuple[Part, ...]:
    """Return the parts with the most multiply-accumulates on the Edge TPU, and among those the fewest parts.

    Args:
        graph: a file without loops.
        refused: by node, whether the Edge TPU cannot take it.
        share: of the multiply-accumulates there without a cut; where no cut makes it larger there are no parts.
    """
    before = _before(graph)
    levels = _levels(before, refused)
    stretches = sorted({level for level in levels if level % 2})
    chosen: list[tuple[int, ...]] = [(level,) for level in stretches]
    if len(stretches) <= _MOST_STRETCHES:
        chosen += list(combinations(stretches, 2))
    plans = [_plan(graph, before, refused, levels, bodies) for bodies in chosen]
    plans = [plan for plan in plans if len(plan) <= MOST_PARTS and share_of(plan) > share + _ROUNDING]
    return max(plans, key=lambda plan: (round(share_of(plan) / _ROUNDING), -len(plan)), default=())


def share_of(parts: Iterable[Part]) -> float:
    """Return the share of the multiply-accumulates, 0 to 1, in the parts for the Edge TPU."""
    return sum(part.macs_share for part in parts if part.unit == UNIT)


def crossing(graph: Graph, nodes: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the tensors, as places in ``Graph.values``, that a part reads from outside and that others read of it."""
    part = set(nodes)
    inside = {place for node in nodes for place in graph.nodes[node].outputs}
    read = {place for node in nodes for place in graph.nodes[node].inputs if place >= 0} - inside
    others = [node for place, node in enumerate(graph.nodes) if place not in part]
    wanted = {place for node in others for place in node.inputs} | set(graph.outputs)
    made = {place for node in graph.nodes for place in node.outputs} | set(graph.inputs)
    return sorted(read & made), sorted(inside & wanted)


def parts_text(graph: Graph, parts: Sequence[Part]) -> str:
    """Return the parts in one sentence."""
    texts = [f"{part.unit} ({counted([graph.nodes[place].kind for place in part.nodes])})" for part in parts]
    return (
        f"Cut into {len(parts)} files with edgewright split, {share_of(parts):.1%} of the multiply-accumulates are "
        f"predicted to run on the Edge TPU: {', then '.join(texts)}."
    )


def _before(graph: Graph) -> list[list[int]]:
    """Return for each node those that it reads from."""
    made = {place: node for node, each in enumerate(graph.nodes) for place in each.outputs}
    return [[made[place] for place in node.inputs if place in made] for node in graph.nodes]


def _levels(before: Sequence[Sequence[int]], refused: Sequence[bool]) -> list[int]:
    """Return how often the unit has to change until a node runs: even on the CPU, odd on the Edge TPU."""
    levels: list[int] = []
    for sources, on_cpu in zip(before, refused, strict=True):
        parity = 0 if on_cpu else 1
        levels.append(max((levels[each] + (levels[each] % 2 != parity) for each in sources), default=parity))
    return levels


def _plan(
    graph: Graph, before: Sequence[Sequence[int]], refused: Sequence[bool], levels: Sequence[int], bodies: Sequence[int]
) -> tuple[Part, ...]:
    """Return the parts in which what runs on the Edge TPU begins at some levels.

    Before each of these the CPU computes what is refused below the level, and all that this needs; the Edge TPU then
    computes all that it can.
    """
    done: set[int] = set()
    sets: list[tuple[str, list[int]]] = []
    for level in bodies:
        needed = {node for node, on_cpu in enumerate(refused) if on_cpu and levels[node] < level} - done
        for node in reversed(range(len(before))):
            if node in needed:
                needed.update(each for each in before[node] if each not in done)
        done |= needed
        sets.append((CPU, sorted(needed)))
        taken = list(_ready(before, refused, done))
        done.update(taken)
        sets.append((UNIT, taken))
    sets.append((CPU, [node for node in range(len(before)) if node not in done]))
    return tuple(Part(unit, tuple(nodes), _macs(graph, nodes)) for unit, nodes in sets if nodes)


def _ready(before: Sequence[Sequence[int]], refused: Sequence[bool], done: set[int]) -> Iterator[int]:
    """Yield the nodes, in order, that the Edge TPU can compute once some are done."""
    known = set(done)
    for node, sources in enumerate(before):
        if node not in known and not refused[node] and known.issuperset(sources):
            known.add(node)
            yield node


def _macs(graph: Graph, nodes: Iterable[int]) -> float:
    return sum(graph.nodes[node].macs or 0 for node in nodes) / graph.macs if graph.macs else 0.0
