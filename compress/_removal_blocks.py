"""Whole blocks: the branch of a residual sum is dropped, ``x + f(x)`` becomes ``x``."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import InputError
from ._removal_rebuild import CannotRemove
from ._removal_trace import functional


@dataclass(frozen=True)
class Block:
    """A branch of a residual sum.

    Attributes:
        sum: the operation that adds it.
        shortcut: which of its inputs stays.
        layers: names of the layers that go with it.
    """

    sum: Any
    shortcut: int
    layers: tuple[str, ...]


def blocks_of(model: keras.Model, scope: str) -> list[Block]:
    """Return a functional model's blocks with a layer with weights in scope.

    A block is a sum of two tensors of one shape, one of which follows from the other. Those stay that make an output,
    or without which an input would decide nothing.
    """
    made_by = {}
    for nodes in functional(model)._nodes_by_depth.values():
        for node in nodes:
            made_by.update({id(tensor): node for tensor in node.outputs})
    kept = {id(tensor) for tensor in functional(model).outputs}
    needed = _needed(model, made_by, None, None)
    inputs = {id(operation) for operation in needed if isinstance(operation, keras.layers.InputLayer)}
    found = []
    for node in dict.fromkeys(made_by.values()):
        added = node.input_tensors
        if type(node.operation).__name__ != "Add" or len(added) != 2 or id(node.outputs[0]) in kept:
            continue
        if not added[0].shape == added[1].shape == node.outputs[0].shape:
            continue
        for shortcut in (0, 1):
            if id(added[shortcut]) in _before(added[1 - shortcut], made_by):
                still = {id(operation) for operation in _needed(model, made_by, node, added[shortcut])}
                gone = [layer for layer in needed if id(layer) not in still]
                weighted = [layer for layer in gone if getattr(layer, "weights", ())]
                if inputs <= still and any(
                    re.search(scope, variable.path) for layer in weighted for variable in layer.weights
                ):
                    found.append(Block(node.operation, shortcut, tuple(layer.name for layer in weighted)))
                break
    return found


def without(model: keras.Model, block: Block) -> keras.Model:
    """Return the model without a block.

    Raises:
        CannotRemove: it cannot be built.
    """
    old_of: dict[int, Any] = {}

    def copied(layer: Any) -> Any:
        new = type(layer).from_config(layer.get_config()) if isinstance(layer, keras.layers.Layer) else layer
        old_of[id(new)] = layer
        return new

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if old_of.get(id(layer)) is block.sum:
            return keras.tree.flatten((args, kwargs))[block.shortcut]
        return layer(*args, **kwargs)

    try:
        made = keras.models.clone_model(model, clone_function=copied, call_function=called)
    except Exception as error:  # layers fail in ways of their own
        raise CannotRemove(str(error)) from error
    values = {variable.path: np.asarray(variable) for variable in model.weights}
    for variable in made.weights:
        variable.assign(values[variable.path])
    return made


def without_least(
    model: keras.Model, count: int, scope: str, batches: Sequence[Any], loss: Callable[[Any], Any]
) -> tuple[keras.Model, list[str]]:
    """Return the model without those blocks whose removal loses least, one after another, and what they were.

    Args:
        model: a functional model.
        count: of blocks.
        scope: regular expression; a block is removed when it is found in the path of one of its variables.
        batches: of samples, of one size, as ``loss`` takes them.
        loss: maps a batch to the model's loss.

    Raises:
        InputError: there are not so many blocks.
        CannotRemove: the model without a block cannot be built.
    """
    blocks = blocks_of(model, scope)
    loss_of = losses_without(blocks, batches, loss)
    removed: list[Block] = []
    small = model
    for _ in range(count):
        if not blocks:
            raise InputError(
                f"Expected {count} residual blocks in the scope {scope!r} to remove: sums of a tensor and of what "
                f"follows from it, with weights in between, that are no outputs and not an input's only way to them. "
                f"Got: {len(removed)} in {model.name}."
            )
        block = min(blocks, key=lambda candidate: loss_of([*removed, candidate]))
        removed.append(block)
        small = without(small, block)
        blocks = blocks_of(small, scope)
    return small, [", ".join(block.layers) for block in removed]


def losses_without(
    blocks: Sequence[Block], batches: Sequence[Any], loss: Callable[[Any], Any]
) -> Callable[[Sequence[Block]], float]:
    """Return what maps some of a model's blocks to the mean loss that the model has without them.

    The model is traced once, with a switch at each sum: building and tracing a model for each candidate takes minutes
    where there are many layers. The blocks asked for may be of a smaller copy: sums are known by their names.
    """
    import tensorflow as tf

    place_of = {block.sum.name: place for place, block in enumerate(blocks)}

    @tf.function(reduce_retracing=True)
    def switched(batch: Any, gone: Any) -> Any:
        with _switches(blocks, gone):
            return loss(batch)

    def loss_of(removed: Sequence[Block]) -> float:
        gone = np.zeros(len(blocks), bool)
        gone[[place_of[block.sum.name] for block in removed]] = True
        return float(np.mean([float(switched(batch, tf.constant(gone))) for batch in batches]))

    return loss_of


@contextmanager
def _switches(blocks: Sequence[Block], gone: Any) -> Iterator[None]:
    """Within, each block's sum is its shortcut where ``gone`` ``[blocks]`` says so."""

    def switch(block: Block, is_gone: Any) -> Callable[..., Any]:
        added = block.sum.call

        def call(*args: Any, **kwargs: Any) -> Any:
            shortcut = keras.tree.flatten((args, kwargs))[block.shortcut]
            return keras.ops.where(is_gone, shortcut, added(*args, **kwargs))

        return call

    try:
        for place, block in enumerate(blocks):
            block.sum.call = switch(block, gone[place])
        yield
    finally:
        for block in blocks:
            block.sum.__dict__.pop("call", None)


def _before(tensor: Any, made_by: dict[int, Any]) -> set[int]:
    """Return the ids of all tensors that a tensor follows from."""
    found: set[int] = set()
    waiting = [tensor]
    while waiting:
        node = made_by.get(id(waiting.pop()))
        for given in node.input_tensors if node else ():
            if id(given) not in found:
                found.add(id(given))
                waiting.append(given)
    return found


def _needed(model: keras.Model, made_by: dict[int, Any], node: Any, shortcut: Any) -> list[Any]:
    """Return the operations that outputs need; where a node is given, once that sum is its shortcut."""
    needed: set[int] = set()
    waiting = list(functional(model).outputs)
    seen: set[int] = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen or id(tensor) not in made_by:
            continue
        seen.add(id(tensor))
        maker = made_by[id(tensor)]
        needed.add(id(maker.operation))
        waiting += [shortcut] if maker is node else maker.input_tensors
    return [operation for operation in functional(model).operations if id(operation) in needed]
