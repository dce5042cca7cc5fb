"""A copy of a model in which other layers, in a row or none, stand in the place of some of its layers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from ..errors import InputError
from ..train._rebuilding import why_not
from ._layer_graph import is_a_graph
from ._variable_paths import name_alike, name_variables


def layers_in_graph(model: keras.Model) -> Iterator[Any]:
    """Yield the layers that can be replaced: those of the graph, of models within it too, but not inside of a layer."""
    seen: set[int] = set()
    for layer in model.layers if is_a_graph(model) else ():
        for each in layers_in_graph(layer) if is_a_graph(layer) else (layer,):
            if id(each) not in seen:
                seen.add(id(each))
                yield each


def with_rows(model: keras.Model, rows: Mapping[int, Sequence[Any]], purpose: str) -> keras.Model:
    """Return a copy of the model with its weights, in which rows of layers take the place of some layers.

    Args:
        model: a functional or sequential model; it is left unchanged.
        rows: by the id of a layer of ``layers_in_graph``, new layers that are called one after the other; none where
            what the layer is given is handed on. Their weights are theirs to set.
        purpose: what the copy is for, as an error says it.

    Raises:
        InputError: Keras cannot rebuild the model's layers.
    """
    copies: dict[int, tuple[Any, Any]] = {}
    # By the id of the layer that Keras asks for and calls, the row that is called.
    called: dict[int, Sequence[Any]] = {}

    def copy(layer: Any) -> Any:
        row = rows.get(id(layer))
        if row:
            called[id(row[-1])] = row
            return row[-1]
        if id(layer) not in copies:
            made = again(layer) if is_a_graph(layer) else type(layer).from_config(layer.get_config())
            copies[id(layer)] = (layer, made)
            if row is not None:
                called[id(made)] = row
        return copies[id(layer)][1]

    def call(layer: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        row = called.get(id(layer), (layer,))
        for each in row[:-1]:
            value = each(value)
        return row[-1](value, *args, **kwargs) if row else value

    def again(graph: keras.Model) -> keras.Model:
        if not isinstance(graph, keras.Sequential):
            return keras.models.clone_model(graph, clone_function=copy, call_function=call)
        made = [each for layer in graph.layers for each in (rows[id(layer)] if id(layer) in rows else (copy(layer),))]
        tensor = graph.inputs[0]
        entry = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        return keras.Sequential([entry, *made], name=graph.name, trainable=graph.trainable)

    try:
        made = again(model)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"Expected a model whose layers Keras can copy, {purpose}. Got: {model.name}: "
            f"{why_not(model, error)} Use a recipe that only quantizes, such as int8."
        ) from error
    pairs = [
        (old, new)
        for old, new in copies.values()
        if id(old) not in rows and not is_a_graph(old) and isinstance(old, keras.Layer)
    ]
    for old, new in pairs:
        new.set_weights(old.get_weights())
    name_variables(made)
    name_alike(pairs)
    return made
