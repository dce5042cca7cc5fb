"""Paths of variables that tell them apart, and that are the same in every copy of a model.

Keras gives a variable the names that it is built within. In a model within a model those are without the inner model's
name where that was built before it was called, as it is in every file that is loaded, and with it elsewhere: two towers
with layers of the same names have variables of the same paths. In a copy those of a wrapper lack its name, and those of
recurrent cells on top of each other the name of what holds the cells, which no path here has.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from ._layer_graph import is_a_graph


def name_variables(model: keras.Model) -> keras.Model:
    """Set the path of each variable to the names of the models within ``model`` and of the layers that hold it.

    Where a layer of the user's own holds several that have the same path then, the later ones are numbered:
    "block/dense_1/kernel".

    Returns:
        The model.
    """
    if is_a_graph(model):
        _name(model, "", set())
    seen: set[str] = set()
    for variable in model.variables:
        path, number = variable.path, 0
        while path in seen:
            number += 1
            layer, _, name = variable.path.rpartition("/")
            path = f"{layer}_{number}/{name}" if layer else f"{name}_{number}"
        variable._path = path
        seen.add(path)
    return model


def name_alike(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Set the paths of each copy's weights to those of what it is a copy of.

    A layer that makes layers of its own without names gives them other names each time that it is made.
    """
    for one, copy in pairs:
        for variable, same in zip(one.weights, copy.weights, strict=True):
            same._path = variable.path


def layers_of(model: keras.Model) -> dict[str, str]:
    """Return for each variable's path that of the layer which holds it, as points have it.

    Points are named by what Keras says as a layer is called: without the names of models within the model.
    """
    found: dict[str, str] = {}
    for layer in model._flatten_layers():
        path = "/".join(filter(None, (layer._parent_path, layer.name))).removeprefix(f"{model.name}/")
        found |= {variable.path: path for variable in (*layer._trainable_variables, *layer._non_trainable_variables)}
    return found


@contextmanager
def named(model: keras.Model) -> Iterator[None]:
    """Have a model's variables named so as long as it lasts."""
    before = [(variable, variable.path) for variable in model.variables]
    name_variables(model)
    try:
        yield
    finally:
        for variable, path in before:
            variable._path = path


def _name(graph: Any, prefix: str, done: set[int]) -> None:
    for layer in graph.layers:
        if id(layer) in done:
            continue
        done.add(id(layer))
        if is_a_graph(layer):
            _name(layer, f"{prefix}{layer.name}/", done)
            continue
        inner = layer._flatten_layers() if isinstance(layer, keras.Layer) else ()
        unnamed = {each.name for each in inner if isinstance(each, keras.layers.StackedRNNCells)}
        for variable in getattr(layer, "variables", ()):
            names = [name for name in variable.path.split("/") if name not in unnamed]
            if layer.name not in names:
                names.insert(0, layer.name)
            path = "/".join(names)
            if not path.startswith(f"{prefix}{layer.name}/"):
                path = prefix + "/".join(names[names.index(layer.name) :])
            variable._path = path
