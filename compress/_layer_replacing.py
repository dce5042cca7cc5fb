"""A copy of a model in which some layers are replaced by two in a row."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras.src.models.functional import Functional

from ..errors import InputError


def layers_in_graph(model: keras.Model) -> Iterator[Any]:
    """Yield the layers that can be replaced: those of the graph, of models within it too, but not inside of a layer."""
    seen: set[int] = set()
    for layer in model.layers if _is_a_graph(model) else ():
        for each in layers_in_graph(layer) if _is_a_graph(layer) else (layer,):
            if id(each) not in seen:
                seen.add(id(each))
                yield each


def with_pairs(model: keras.Model, pairs: Mapping[int, tuple[Any, Any]]) -> keras.Model:
    """Return a copy of the model with its weights, in which the two layers of a pair take a layer's place.

    Args:
        model: a functional or sequential model; it is left unchanged.
        pairs: by the id of a layer of ``layers_in_graph``, two new layers. Their weights are theirs to set.

    Raises:
        InputError: Keras cannot rebuild the model's layers.
    """
    copies: dict[int, tuple[Any, Any]] = {}

    def copy(layer: Any) -> Any:
        if id(layer) in pairs:
            return pairs[id(layer)][1]
        if id(layer) not in copies:
            made = again(layer) if _is_a_graph(layer) else type(layer).from_config(layer.get_config())
            copies[id(layer)] = (layer, made)
        return copies[id(layer)][1]

    firsts = {id(second): first for first, second in pairs.values()}

    def call(layer: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in firsts:
            value = firsts[id(layer)](value)
        return layer(value, *args, **kwargs)

    def again(graph: keras.Model) -> keras.Model:
        if not isinstance(graph, keras.Sequential):
            return keras.models.clone_model(graph, clone_function=copy, call_function=call)
        made = [each for layer in graph.layers for each in pairs.get(id(layer)) or (copy(layer),)]
        tensor = graph.inputs[0]
        entry = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        return keras.Sequential([entry, *made], name=graph.name, trainable=graph.trainable)

    try:
        made = again(model)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"Expected a model whose layers Keras can copy, to replace some. Got: {model.name}: "
            f"{str(error).strip().splitlines()[0]} Use a recipe that only quantizes, such as int8."
        ) from error
    for old, new in copies.values():
        if not _is_a_graph(old) and isinstance(old, keras.Layer):
            new.set_weights(old.get_weights())
    return made


def _is_a_graph(layer: Any) -> bool:
    return isinstance(layer, keras.Sequential | Functional)
