"""A smaller model: the same layers with other numbers in their configurations, and what is left of the weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ._removal_groups import Family
from ._removal_settings import made_with
from ._removal_trace import Trace, functional
from ._variable_paths import name_alike, name_variables

# How far the smaller model may be from the original with silenced units, over the largest output.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Removal:
    """What is removed of one family.

    Attributes:
        family: the family.
        kept: how many of its ``size`` shares stay.
        gone: for each of its groups which units go.
    """

    family: Family
    kept: int
    gone: tuple[np.ndarray, ...]


class CannotRemove(Exception):
    """The smaller model cannot be built, or computes something else."""


def kept_places(trace: Trace, removals: Sequence[Removal]) -> list[list[np.ndarray]]:
    """Return for each axis of each variable which places stay, as booleans."""
    kept = [[np.ones(size, bool) for size in variable.shape] for variable in trace.variables]
    for removal in removals:
        for group, gone in zip(removal.family.groups, removal.gone, strict=True):
            for unit in gone:
                for place, axis, found in group.units[unit]:
                    kept[place][axis][found] = False
    return kept


def sizes_left(trace: Trace, removals: Sequence[Removal]) -> Callable[[np.ndarray], int]:
    """Return a function from an axis' labels to the size that it will have."""
    gone = [
        group.labels[units] for each in removals for group, units in zip(each.family.groups, each.gone, strict=True)
    ]
    labels = np.concatenate([np.zeros(0, int), *gone])
    return lambda axis: int((~np.isin(trace.flow.labels.roots(axis), labels)).sum())


def rebuilt(model: keras.Model, trace: Trace, removals: Sequence[Removal]) -> keras.Model:
    """Return the model without what is removed.

    Raises:
        CannotRemove: the layers do not fit together or have other sizes than expected.
    """
    try:
        return _rebuilt(model, trace, removals, bare=False)
    except CannotRemove:
        return _rebuilt(model, trace, removals, bare=True)


def _rebuilt(model: keras.Model, trace: Trace, removals: Sequence[Removal], bare: bool) -> keras.Model:
    numbers: dict[int, dict[tuple[Any, ...], int]] = {}
    left = sizes_left(trace, removals)
    for removal in removals:
        for setting in removal.family.settings:
            value = setting.value - setting.slope * (len(setting.axis) - left(setting.axis))
            if not np.isclose(value, round(value)):
                raise CannotRemove(f"{setting.path[-1]} of {setting.layer.name} would be {value:.3g}, no whole number")
            numbers.setdefault(id(setting.layer), {})[setting.path] = round(value)
    pairs: list[tuple[Any, Any]] = []

    def smaller(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer) and id(layer) not in numbers:
            return layer  # an operation of keras.ops, which has no state
        if id(layer) in trace.nested:
            return keras.models.clone_model(layer, _inputs(layer, trace.nested[id(layer)], left), smaller)
        pairs.append((layer, made_with(layer, numbers.get(id(layer), {}), bare)))
        return pairs[-1][1]

    try:
        made = keras.models.clone_model(model, clone_function=smaller)
    except Exception as error:  # layers fail in ways of their own
        raise CannotRemove(f"the smaller model cannot be built: {_first_line(error)}") from error
    kept = dict(zip(map(id, trace.variables), kept_places(trace, removals), strict=True))
    pairs = [(old, new) for old, new in pairs if isinstance(old, keras.layers.Layer)]
    for old, new in pairs:
        if len(old.weights) != len(new.weights):
            raise CannotRemove(
                f"{old.name} has {len(new.weights)} variables in the smaller model, not {len(old.weights)}"
            )
        for before, after in zip(old.weights, new.weights, strict=True):
            values = np.asarray(before)
            for axis, places in enumerate(kept[id(before)]):
                values = values.compress(places, axis)
            if values.shape != tuple(after.shape):
                raise CannotRemove(f"{before.path} is {tuple(after.shape)} in the smaller model, not {values.shape}")
            after.assign(values)
    name_variables(made)
    name_alike(pairs)
    return made


def _inputs(model: Any, axes: list[list[np.ndarray]], left: Callable[[np.ndarray], int]) -> Any:
    """Return what a nested model takes when places of its inputs are gone."""
    made = [
        keras.Input(
            [size and left(axis) for size, axis in zip(tensor.shape[1:], own[1:], strict=True)], dtype=tensor.dtype
        )
        for tensor, own in zip(functional(model).inputs, axes, strict=True)
    ]
    return made[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, made)


def check(
    model: keras.Model, trace: Trace, removals: Sequence[Removal], small: keras.Model, inputs: Any, exact: bool = True
) -> None:
    """Prove that a removal did what it should.

    Exactly: the smaller model computes what the model does with the removed units' weights set to zero. Otherwise: the
    model computes the same with the units of a group in another order, so that the places in its variables belong
    together.

    Raises:
        CannotRemove: they differ by more than ``TOLERANCE``.
    """
    if exact:
        with changed(model, _silenced(trace, removals)):
            expected = outputs(model, inputs)
        found, what = outputs(small, inputs), "the original with silenced units"
    else:
        expected = outputs(model, inputs)
        with changed(model, _reordered(trace, removals)):
            found, what = outputs(model, inputs), "the units in another order"
        if not all(np.isfinite(value).all() for value in outputs(small, inputs)):
            raise CannotRemove("the smaller model's outputs are not finite")
    for one, other in zip(expected, found, strict=True):
        apart = np.abs(one - other).max(initial=0) / max(float(np.abs(one).max(initial=0)), 1e-6)
        if not apart <= TOLERANCE:
            raise CannotRemove(f"it would compute something else than {what}: {apart:.2g} of the largest output apart")


def outputs(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    """Return a model's outputs as a list of arrays."""
    return [np.asarray(value, np.float64) for value in keras.tree.flatten(model(inputs, training=False))]


@contextmanager
def changed(model: keras.Model, values: dict[int, np.ndarray]) -> Iterator[None]:
    """Let variables have other values for a while, by their ids."""
    variables = [variable for variable in model.weights if id(variable) in values]
    before = [np.array(variable) for variable in variables]
    try:
        for variable in variables:
            variable.assign(values[id(variable)])
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _silenced(trace: Trace, removals: Sequence[Removal]) -> dict[int, np.ndarray]:
    """Return the trainable variables with zeros in the places that go."""
    values = {}
    for variable, axes in zip(trace.variables, kept_places(trace, removals), strict=True):
        if variable.trainable and not all(places.all() for places in axes):
            value = np.array(variable)
            for axis, places in enumerate(axes):
                np.moveaxis(value, axis, 0)[~places] = 0
            values[id(variable)] = value
    return values


def _reordered(trace: Trace, removals: Sequence[Removal]) -> dict[int, np.ndarray]:
    """Return the variables with the units of each group moved on by one."""
    orders: dict[tuple[int, int], np.ndarray] = {}
    for removal in removals:
        for group in removal.family.groups:
            for unit, other in zip(group.units, [*group.units[1:], group.units[0]], strict=True):
                for (place, axis, to), (_, _, source) in zip(unit, other, strict=True):
                    size = trace.variables[place].shape[axis]
                    orders.setdefault((place, axis), np.arange(size))[to] = source
    values: dict[int, np.ndarray] = {}
    for (place, axis), order in orders.items():
        variable = trace.variables[place]
        values[id(variable)] = np.take(values.get(id(variable), np.asarray(variable)), order, axis)
    return values


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
