"""Whole blocks: the branch of a residual sum is dropped, ``x + f(x)`` becomes ``x``.

The sum may stand in the model, or within a layer of the user's own: a layer whose every output is an input and what is
added to it goes as a whole.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import InputError
from ._removal_rebuild import CannotRemove
from ._removal_trace import functional, shape_of
from ._variable_paths import name_alike, name_variables


@dataclass(frozen=True)
class Block:
    """A branch of a residual sum.

    Attributes:
        sum: the operation that adds it: a sum, or a layer with sums within.
        shortcuts: for each of its outputs, which of its input tensors stays.
        layers: names of the layers that go with it.
    """

    sum: Any
    shortcuts: tuple[int, ...]
    layers: tuple[str, ...]

    def kept(self, args: Any, kwargs: Any) -> Any:
        """Return what stays of the tensors that the operation is called on."""
        given = keras.tree.flatten((args, kwargs))
        tensors = [each for each in given if isinstance(each, keras.KerasTensor) or keras.ops.is_tensor(each)]
        return [tensors[place] for place in self.shortcuts]


def blocks_of(model: keras.Model, scope: str) -> list[Block]:
    """Return a functional model's blocks with a layer with weights in scope.

    A block is a sum of two tensors of one shape, one of which follows from the other, or a layer that adds to what it
    is called on. Those stay that make an output, or without which an input would decide nothing.
    """
    made_by = {}
    for nodes in functional(model)._nodes_by_depth.values():
        for node in nodes:
            made_by.update({id(tensor): node for tensor in node.outputs})
    kept = {id(tensor) for tensor in functional(model).outputs}
    needed = _needed(model, made_by, None, ())
    inputs = {id(operation) for operation in needed if isinstance(operation, keras.layers.InputLayer)}
    found = []
    nodes = list(dict.fromkeys(made_by.values()))
    calls = Counter(id(node.operation) for node in nodes)
    for node in nodes:
        if any(id(output) in kept for output in node.outputs) or calls[id(node.operation)] > 1:
            continue
        shortcuts = _shortcuts(node, made_by)
        if not shortcuts:
            continue
        still = {id(operation) for operation in _needed(model, made_by, node, shortcuts)}
        gone = [layer for layer in needed if id(layer) not in still]
        weighted = [layer for layer in gone if getattr(layer, "weights", ())]
        if inputs <= still and any(re.search(scope, variable.path) for layer in weighted for variable in layer.weights):
            found.append(Block(node.operation, shortcuts, tuple(layer.name for layer in weighted)))
    return found


def _shortcuts(node: Any, made_by: dict[int, Any]) -> tuple[int, ...]:
    """Return which input tensor stays for each output where a block goes; nothing where the operation is none."""
    operation, given = node.operation, node.input_tensors
    if type(operation).__name__ == "Add" and len(given) == 2:
        if given[0].shape == given[1].shape == node.outputs[0].shape:
            for shortcut in (0, 1):
                if id(given[shortcut]) in _before(given[1 - shortcut], made_by):
                    return (shortcut,)
        return ()
    if not isinstance(operation, keras.layers.Layer) or type(operation).__module__.startswith("keras."):
        return ()
    shapes = [tensor.shape for tensor in given]
    if not operation.weights or any(output.shape not in shapes for output in node.outputs):
        return ()
    return _sums_within(node)


def _sums_within(node: Any) -> tuple[int, ...]:
    """Return for each output of a layer which input tensor it is the sum of and of something else, or nothing."""
    import tensorflow as tf

    def called(*tensors: Any) -> Any:
        filled = dict(zip(map(id, node.input_tensors), tensors, strict=True))
        args, kwargs = node.arguments.fill_in(filled)
        return keras.tree.flatten(node.operation(*args, **kwargs))

    def added_to(tensor: Any) -> int | None:
        if tensor.op.type == "Placeholder":
            return places.get(tensor.name)
        for each in tensor.op.inputs if tensor.op.type in ("Identity", "AddV2") else ():
            place = added_to(each)
            if place is not None and each.shape == tensor.shape:
                return place
        return None

    try:
        signature = [tf.TensorSpec(shape_of(tensor), tensor.dtype) for tensor in node.input_tensors]
        graph = tf.function(called, autograph=False).get_concrete_function(*signature)
    except Exception:  # layers fail in ways of their own, on lengths that they were not made for too
        return ()
    places = {tensor.name: place for place, tensor in enumerate(graph.inputs[: len(signature)])}
    found = [added_to(tensor) for tensor in graph.outputs]
    sums = [tensor for tensor in graph.graph.get_operations() if tensor.type == "AddV2"]
    return tuple(place for place in found if place is not None) if sums and None not in found else ()


def without(model: keras.Model, block: Block) -> keras.Model:
    """Return the model without a block.

    Raises:
        CannotRemove: it cannot be built.
    """
    copies: list[tuple[Any, Any]] = []

    def copied(layer: Any) -> Any:
        new = type(layer).from_config(layer.get_config()) if isinstance(layer, keras.layers.Layer) else layer
        copies.append((new, layer))
        return new

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if any(layer is new and old is block.sum for new, old in copies):
            kept = block.kept(args, kwargs)
            return kept[0] if len(kept) == 1 else kept
        return layer(*args, **kwargs)

    try:
        made = keras.models.clone_model(model, clone_function=copied, call_function=called)
    except Exception as error:  # layers fail in ways of their own
        raise CannotRemove(str(error)) from error
    # A block that is a layer is no longer called, and was never built.
    pairs = [(old, new) for new, old in copies if isinstance(old, keras.layers.Layer) and old is not block.sum]
    for old, new in pairs:
        new.set_weights(old.get_weights())
    name_variables(made)
    name_alike(pairs)
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
                f"follows from it, in the model or within a layer, with weights in between, that are no outputs and "
                f"not an input's only way to them. "
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
    """Within, each block's sum is its shortcuts where ``gone`` ``[blocks]`` says so."""

    def switch(block: Block, is_gone: Any) -> Callable[..., Any]:
        added = block.sum.call

        def call(*args: Any, **kwargs: Any) -> Any:
            made, kept = keras.tree.flatten(added(*args, **kwargs)), block.kept(args, kwargs)
            chosen = [keras.ops.where(is_gone, *each) for each in zip(kept, made, strict=True)]
            return chosen[0] if len(chosen) == 1 else chosen

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


def _needed(model: keras.Model, made_by: dict[int, Any], node: Any, shortcuts: Sequence[int]) -> list[Any]:
    """Return the operations that outputs need; where a node is given, once that sum is its shortcuts."""
    needed: set[int] = set()
    waiting = list(functional(model).outputs)
    seen: set[int] = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen or id(tensor) not in made_by:
            continue
        seen.add(id(tensor))
        maker = made_by[id(tensor)]
        if maker is node:
            waiting += [node.input_tensors[place] for place in shortcuts]
        else:
            needed.add(id(maker.operation))
            waiting += maker.input_tensors
    return [operation for operation in functional(model).operations if id(operation) in needed]
