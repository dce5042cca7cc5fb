"""Which units of a model can be removed: groups of like units, and families of groups that share a size.

A unit is one set of labels (see ``_removal_labels``) with all of its places in variables: a channel, a head, a neuron
with its gates. Units with places in the same axes are a group. Groups whose sizes one number in a layer's configuration
sets are a family, and keep the same share of their units. Which number sets which sizes is found out by rebuilding the
layer with another number, so that any layer with a configuration will do.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from ._removal_settings import Setting, axes_set_by, axes_set_by_inputs, numbers_of
from ._removal_trace import Trace, functional

# What a unit holds of an axis of a variable: (the variable's place in the list, axis, places along it).
Part = tuple[int, int, np.ndarray]


@dataclass
class Group:
    """Like units.

    Attributes:
        labels: of the units.
        units: for each of them its parts.
        mixed: why the removal of one changes what the others compute; "" when it does not.
        makers: paths of the variables that make the units, in the order of the model's variables.
    """

    labels: np.ndarray
    units: list[list[Part]]
    mixed: str
    makers: dict[str, None] = field(default_factory=dict)


@dataclass
class Family:
    """Groups that keep the same share of their units.

    Attributes:
        name: the path of the variable that makes the first group.
        groups: at least one.
        settings: what is changed to remove units.
        blocked: why nothing can be removed; "" when it can.
    """

    name: str
    groups: list[Group]
    settings: list[Setting]
    blocked: str = ""

    @property
    def size(self) -> int:
        """Into how many equal shares all groups can be divided."""
        return math.gcd(*(len(group.units) for group in self.groups))

    @property
    def possible(self) -> list[int]:
        """How many of the ``size`` shares may be kept: those for which every setting is a whole number."""
        own = [setting.value for setting in self.settings if not setting.shared]
        return [kept for kept in range(1, self.size + 1) if all(value * kept % self.size == 0 for value in own)]


@dataclass(frozen=True)
class Structure:
    """What can be removed of a model.

    Attributes:
        trace: the model's graph.
        families: what can be removed, and what could be if it were not blocked.
    """

    trace: Trace
    families: list[Family]


def structure(model: keras.Model, trace: Trace) -> Structure:
    """Return a model's families."""
    found = _Families(trace)
    for layer in layers_of(model):
        found.look_at(layer)
    return Structure(trace, found.families())


class _Families:
    """Groups on their way to families.

    Args:
        trace: of the model.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.groups, self.group_of = _groups(trace)
        self.joined = list(range(len(self.groups)))
        self.settings: list[tuple[Setting, set[int]]] = []
        self.blocked: dict[int, str] = {}
        self._places = {id(variable): place for place, variable in enumerate(trace.variables)}

    def look_at(self, layer: Any) -> None:
        """Find out which groups' sizes a layer sets, and join those that it sets together."""
        own = [self._places[id(variable)] for variable in getattr(layer, "weights", ())]
        axes = {
            (which, axis): labels
            for which, place in enumerate(own)
            for axis, labels in enumerate(self.trace.axes[place])
        }
        live = {key: labels for key, labels in axes.items() if self.of(labels)}
        made = [labels for labels in self.trace.layer_axes.get(id(layer), []) if self.of(labels)]
        sizes = {len(labels) for labels in (*live.values(), *made)}
        set_by: set[tuple[int, int]] = set()
        why_not: dict[tuple[int, int], str] = {}
        for path, value in numbers_of(layer) if sizes else ():
            if not any(size % value == 0 or value % size == 0 for size in sizes):
                continue
            driven = axes_set_by(layer, path, value) if live else set()
            reason = next((self.why(axes[key]) for key in driven if key not in live), "")
            if reason:
                why_not.update(dict.fromkeys(driven, f"{path[-1]} of {layer.name} also sets a size that {reason}"))
                continue
            set_by |= driven
            # A setting of a recurrent layer also sets what the layer takes in: makers are those with units at the end.
            ends = {key for key in driven if key[1] == len(layer.weights[key[0]].shape) - 1}
            for which, axis in sorted(ends or driven):
                for member in self.of(axes[which, axis]):
                    self.groups[member].makers[layer.weights[which].path] = None
            self._set(layer, path, value, [axes[key] for key in driven] or [n for n in made if len(n) == value])
        if isinstance(layer, keras.layers.Bidirectional):  # whose output Keras takes to be twice the forward layer's
            self._join([setting.axis for setting, _ in self.settings if setting.layer is layer])
        for driven in axes_set_by_inputs(layer, sizes) if live else ():
            set_by |= driven
            reason = next((self.why(axes[key]) for key in driven if key not in live), "")
            for member in self._join([axes[key] for key in driven]) if reason else ():
                self.blocked.setdefault(member, f"what {layer.name} takes also sets a size that {reason}")
            self._join([axes[key] for key in driven if key in live])
        for key in set(live) - set_by:
            reason = why_not.get(key, f"no number in the configuration of {layer.name} sets its size")
            for member in self.of(live[key]):
                self.blocked.setdefault(member, reason)

    def of(self, labels: np.ndarray) -> dict[int, float]:
        """Return the groups that an axis has places of, each with its share of all of them."""
        counts: dict[int, int] = {}
        for root in self.trace.flow.labels.roots(labels).ravel().tolist():
            if root in self.group_of:
                counts[self.group_of[root]] = counts.get(self.group_of[root], 0) + 1
        total = sum(counts.values())
        return {group: count / total for group, count in counts.items()}

    def why(self, labels: np.ndarray) -> str:
        """Return why an axis keeps its size."""
        return next(filter(None, map(self.trace.flow.labels.why_fixed, labels.ravel().tolist())), "stays")

    def _set(self, layer: Any, path: tuple[Any, ...], value: int, arrays: list[np.ndarray]) -> None:
        if arrays:
            whole = [labels for labels in arrays if set(self.trace.flow.labels.roots(labels)) <= set(self.group_of)]
            members = self._join(arrays)
            axis = (whole or arrays)[0]
            shared = len({self.joined[member] for member in members}) > 1
            self.settings.append(
                (Setting(layer, path, value, axis, value / len(axis) if whole else 1.0, shared), members)
            )

    def _join(self, arrays: list[np.ndarray]) -> set[int]:
        """Join the groups of several axes, unless all axes are made of the same groups in the same proportions."""
        found = [self.of(labels) for labels in arrays]
        members: set[int] = set().union(*found) if found else set()
        if any(shares != found[0] for shares in found):
            for member in members:
                old, new = self.joined[member], self.joined[min(members)]
                self.joined = [new if each == old else each for each in self.joined]
        return members

    def families(self) -> list[Family]:
        """Return the families."""
        made: list[Family] = []
        for first in dict.fromkeys(self.joined):
            members = [place for place, each in enumerate(self.joined) if each == first]
            groups = [self.groups[place] for place in members]
            settings = [setting for setting, touched in self.settings if touched & set(members)]
            reason = next((self.blocked[place] for place in members if place in self.blocked), "")
            makers: Iterable[str] = groups[0].makers or [self.trace.variables[groups[0].units[0][0][0]].path]
            taken = [family.name for family in made]
            name = next((path for path in makers if path not in taken), f"{next(iter(makers))} ({len(made)})")
            family = Family(name, groups, settings, reason)
            if family.size == 1:
                family.blocked = "there is one unit alone, or the groups have no common measure"
            made.append(family)
        return made


def layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Return the layers and operations of a functional model, those of nested models in their place."""
    for layer in functional(model).operations:
        if isinstance(layer, keras.Model) and hasattr(functional(layer), "_run_through_graph"):
            yield from layers_of(layer)
        else:
            yield layer


def _groups(trace: Trace) -> tuple[list[Group], dict[int, int]]:
    """Return the groups, and by a unit's label the place of its group."""
    units: dict[int, list[Part]] = {}
    for place, axes in enumerate(trace.axes):
        for axis, labels in enumerate(axes):
            roots = trace.flow.labels.roots(labels)
            for root in np.unique(roots).tolist():
                if not trace.flow.labels.why_fixed(root):
                    units.setdefault(root, []).append((place, axis, np.flatnonzero(roots == root)))
    alike: dict[tuple[tuple[int, int, int], ...], list[int]] = {}
    for root, parts in units.items():
        alike.setdefault(tuple((place, axis, len(found)) for place, axis, found in parts), []).append(root)
    groups: list[Group] = []
    of_label: dict[int, int] = {}
    for members in alike.values():
        of_label.update(dict.fromkeys(members, len(groups)))
        mixed = next(filter(None, map(trace.flow.labels.why_mixed, members)), "")
        groups.append(Group(np.array(members), [units[root] for root in members], mixed))
    return groups, of_label
