"""What a legalisation pass is: a rewrite of a frozen graph for the converters and devices that need it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ._frozen_graph import FrozenGraph, Replace

# The precisions whose activations are integers of fixed scales.
INTEGER = frozenset({"int8", "int16x8"})


@dataclass(frozen=True)
class Target:
    """What a graph is converted for.

    Attributes:
        format, precision: as for ``convert``.
        unit: a kind of processing unit whose operations are fewer than the format's; empty for none.
    """

    format: str
    precision: str
    unit: str = ""


@dataclass(frozen=True)
class Work:
    """A graph that is to be rewritten, what for, and samples of its inputs, each ``[1, ...]`` by name.

    Attributes:
        samples: that graphs are compared on, random ones among them.
        recorded: from the representative dataset, which ranges are found on.
    """

    graph: FrozenGraph
    target: Target
    samples: tuple[Mapping[str, np.ndarray], ...]
    recorded: tuple[Mapping[str, np.ndarray], ...] = ()


@dataclass(frozen=True)
class Pass:
    """One rewrite. The graph has to compute the same afterwards, which is proven on samples, or the pass is not used.

    Attributes:
        name: such as "unrolled-loops".
        why: what goes wrong without it, as a sentence.
        types: it looks for operations of these types; a graph without any is left alone.
        replacing: returns, for a graph, what takes the place of each operation; see ``Replace``.
        formats, precisions, units: it is for these alone; for all where empty.
        counted: the types of which it tells how many it replaced; ``types`` where empty.
    """

    name: str
    why: str
    types: frozenset[str]
    replacing: Callable[[Work], Replace]
    formats: frozenset[str] = field(default=frozenset())
    precisions: frozenset[str] = field(default=frozenset())
    units: frozenset[str] = field(default=frozenset())
    counted: frozenset[str] = field(default=frozenset())

    def requires(self, target: Target, types: Iterable[str]) -> bool:
        """Tell whether the pass is for a target, and there may be something for it in a graph of these operations."""
        wanted = (
            (self.formats, target.format),
            (self.precisions, target.precision),
            (self.units, target.unit),
        )
        return all(not only or value in only for only, value in wanted) and bool(self.types & set(types))


class Inapplicable(Exception):
    """A graph that a pass cannot rewrite, with the reason as a sentence."""
