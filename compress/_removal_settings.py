"""Which numbers in a layer's configuration set which sizes: the layer is built again with other numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

# Numbers in configurations that are no sizes.
_NO_SIZES = ("kernel_size", "strides", "dilation_rate", "pool_size", "axis", "seed", "implementation")
# Longer lists hold data: wirings, bearings, vocabularies.
_LONGEST = 16
_NO_SETTINGS = ("initializer", "regularizer", "constraint", "dtype", "activation", "policy", "build_config")


@dataclass(frozen=True)
class Setting:
    """A number in a layer's configuration that sets sizes.

    Attributes:
        layer: the layer.
        path: the keys and indices that lead to it.
        value: what it is.
        axis: the labels of an axis whose size it sets.
        slope: by how much it changes for each place of that axis.
        shared: whether families share it.
    """

    layer: keras.layers.Layer
    path: tuple[Any, ...]
    value: int
    axis: np.ndarray
    slope: float
    shared: bool


def numbers_of(layer: Any) -> list[tuple[tuple[Any, ...], int]]:
    """Return the numbers of a layer's configuration that may be sizes, with the keys that lead to them."""
    try:
        config = layer.get_config()
    except (NotImplementedError, TypeError, ValueError):
        return []

    def walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
        if isinstance(value, bool | np.bool_):
            return
        if isinstance(value, int | np.integer) and value > 1:
            yield path, int(value)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if key not in _NO_SIZES and not any(word in str(key) for word in _NO_SETTINGS):
                    yield from walk(inner, (*path, key))
        elif isinstance(value, list | tuple) and len(value) <= _LONGEST:
            for place, inner in enumerate(value):
                yield from walk(inner, (*path, place))

    return list(walk(config, ()))


def with_numbers(config: Any, values: Mapping[tuple[Any, ...], int]) -> Any:
    """Return a configuration in which some numbers are others."""
    for (key, *rest), value in values.items():
        copy: Any = list(config) if isinstance(config, list | tuple) else dict(config)
        copy[key] = with_numbers(copy[key], {tuple(rest): value}) if rest else value
        config = tuple(copy) if isinstance(config, tuple) else copy
    return config


def made_with(layer: Any, values: Mapping[tuple[Any, ...], int], bare: bool = True) -> Any:
    """Return a layer of the same configuration but for some numbers.

    Args:
        layer: the layer.
        values: the numbers, by the keys that lead to them.
        bare: leave the shapes out that layers in a wrapper's configuration were built for. They would be built anew,
            which gives their variables other paths.
    """

    def unbuilt(config: Any) -> Any:
        if isinstance(config, Mapping):
            return {key: unbuilt(value) for key, value in config.items() if key != "build_config"}
        return type(config)(map(unbuilt, config)) if type(config) in (list, tuple) else config

    config = with_numbers(layer.get_config(), values)
    return type(layer).from_config(unbuilt(config) if bare else config)


def axes_set_by(layer: Any, path: tuple[Any, ...], value: int) -> set[tuple[int, int]]:
    """Return which axes (variable, axis) of a layer's weights have another size with another number."""
    other = value // 2 if value % 2 == 0 else value - 1
    return _changed(layer, {path: other}, layer.get_build_config())


def axes_set_by_inputs(layer: Any, sizes: set[int]) -> Iterator[set[tuple[int, int]]]:
    """Return for each size of an input which axes of a layer's weights have another size with another one."""
    config = layer.get_build_config() or {}

    def walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, int) and any(size % value == 0 or value % size == 0 for size in sizes if value > 1):
            yield path
        elif isinstance(value, Mapping | list | tuple):
            for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
                yield from walk(inner, (*path, key))

    for path in walk(config, ()):
        value: Any = config
        for key in path:
            value = value[key]
        other = value // 2 if value % 2 == 0 else value - 1
        axes = _changed(layer, {}, with_numbers(config, {path: other}))
        if axes:
            yield axes


def _changed(layer: Any, numbers: Mapping[tuple[Any, ...], int], build_config: Any) -> set[tuple[int, int]]:
    """Return which axes of a layer's weights have another size when it is built in another way; none if it cannot."""
    try:
        probe = made_with(layer, numbers)
        probe.build_from_config(build_config)
    except Exception:  # a configuration that makes no sense fails in the layer's own way
        return set()
    if len(probe.weights) != len(layer.weights):
        return set()
    return {
        (which, axis)
        for which, (one, other) in enumerate(zip(layer.weights, probe.weights, strict=True))
        for axis, (before, after) in enumerate(zip(one.shape, other.shape, strict=True))
        if before != after
    }
