"""The pre-LN encoder-decoder, wired twice from the same layers: for training, and as the graphs that a device runs.

For training it is teacher-forced: ``command`` and ``actions_in`` to ``logits``. For a device it is the graph
``encoder``, which turns the command into the keys and values that the decoder looks at, and the graph ``step``, which
takes one token and the keys and values of those before it. The host keeps that cache: it writes the step's new row into
it. So the graph needs no scatter, and rounding does not add up over steps.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from ._synthesis_layers import DotProductAttention, FoldExamples, IntegerFeatures, LayerNorm, PoolExamples, Positions

Layers = Mapping[str, keras.layers.Layer]
_BOTH = ("keys", "values")


@dataclass(frozen=True)
class Shape:
    """How large the transformer is.

    Attributes:
        units: features of a token; heads: among which they are divided; hidden: units between the dense layers.
        encoder, decoder: how many layers.
    """

    units: int
    heads: int
    hidden: int
    encoder: int
    decoder: int


@dataclass(frozen=True)
class Lengths:
    """What goes in and out.

    Attributes:
        tokens_in, kinds_in: of the command, padding counted as a kind; of an example (integer, type) where there are
            ``examples``.
        tokens_out, kinds_out: of the program with its end; the end of the program also stands for its beginning.
        examples: of a program that is told by examples of integers instead of a command; 0 for a command.
        periods: of the integers' features.
    """

    tokens_in: int
    kinds_in: int
    tokens_out: int
    kinds_out: int
    examples: int = 0
    periods: tuple[int, ...] = ()


def training_model(shape: Shape, lengths: Lengths, name: str) -> keras.Model:
    """Return the teacher-forced model: ``command``, ``actions_in`` (one-hot) to ``logits`` ``[batch, tokens, kinds]``.

    With examples their integers and types, ``examples`` ``[batch, examples, tokens, 2]``, are in the command's place.
    """
    layers = {layer.name: layer for layer in _layers(shape, lengths)}
    if lengths.examples:
        told = keras.Input((lengths.examples, lengths.tokens_in, lengths.kinds_in), name="examples")
        memory = _encode(layers, layers["features"](told))
    else:
        told = keras.Input((lengths.tokens_in, lengths.kinds_in), name="command")
        memory = _encode(layers, told)
    given = keras.Input((lengths.tokens_out, lengths.kinds_out), name="actions_in")
    x = layers["decoder_positions"](layers["decoder_embedding"](given))
    for place in _stack(layers, "decoder"):
        own = layers[f"{place}_self_norm"](x)
        parts = [layers[f"{place}_self_{part}"](own) for part in ("query", "key", "value")]
        attend = DotProductAttention(_heads(layers), causal=True, name=f"{place}_self_attention")
        x = x + layers[f"{place}_self_output"](attend(*parts))
        x = _look(layers, place, x, *_seen(layers, place, memory))
        x = _think(layers, place, x)
    return keras.Model(_named(told, given), layers["logits"](layers["decoder_norm"](x)), name=name)


def encoder_graph(model: keras.Model) -> keras.Model:
    """Return the graph from the command to ``cross_keys_1``, ``cross_values_1``, ... ``[batch, tokens, units]``.

    Its input is ``command`` as in training, or ``examples`` with the integers' features, which the host makes.
    """
    layers = {layer.name: layer for layer in model.layers}
    given = _told(model)
    features = layers["features"].features if "features" in layers else given.shape[-1]
    told = keras.Input((*given.shape[1:-1], features), name=given.name)
    memory = _encode(layers, told)
    outputs = []
    for number, place in enumerate(_stack(layers, "decoder", "cross_key"), start=1):
        keys, values = _seen(layers, place, memory)
        outputs.append(keras.layers.Identity(name=f"cross_keys_{number}")(keys))
        outputs.append(keras.layers.Identity(name=f"cross_values_{number}")(values))
    return keras.Model(_named(told), outputs, name="encoder")


def step_graph(model: keras.Model) -> keras.Model:
    """Return the graph of one decoding step.

    Inputs: ``token`` and ``position`` one-hot ``[batch, 1, ...]``; ``mask`` ``[batch, 1, slots + 1]``, 0 for a cache
    slot in use and for the last place, which is the token itself, else ``MASKED``; for each decoder layer ``keys_1``,
    ``values_1`` (the cache, ``[batch, slots, units]``), ``cross_keys_1``, ``cross_values_1``. Outputs: ``logits``
    ``[batch, 1, kinds]`` and for each layer the rows ``key_1``, ``value_1`` ``[batch, 1, units]`` for the cache.
    """
    layers = {layer.name: layer for layer in model.layers}
    given = next(tensor.shape for tensor in model.inputs if tensor.name == "actions_in")
    slots, looked_at = given[1] - 1, _told(model).shape[-2]
    token = keras.Input((1, given[2]), name="token")
    position = keras.Input((1, given[1]), name="position")
    mask = keras.Input((1, slots + 1), name="mask")
    inputs: list[Any] = [token, position, mask]
    rows: list[Any] = []
    x = layers["decoder_positions"](layers["decoder_embedding"](token), position)
    for place in _stack(layers, "decoder"):
        if f"{place}_self_key" in layers:
            number = len(rows) // 2 + 1
            units = layers[f"{place}_self_key"].units, layers[f"{place}_self_value"].units
            past = [keras.Input((slots, n), name=f"{part}_{number}") for part, n in zip(_BOTH, units, strict=True)]
            inputs += past
            own = layers[f"{place}_self_norm"](x)
            query, key, value = (layers[f"{place}_self_{part}"](own) for part in ("query", "key", "value"))
            rows.append(keras.layers.Identity(name=f"key_{number}")(key))
            rows.append(keras.layers.Identity(name=f"value_{number}")(value))
            keys, values = (
                keras.layers.Concatenate(axis=1)([old, new]) for old, new in zip(past, (key, value), strict=True)
            )
            # The layer that is trained is causal, which one query is not; it has as many heads as are left of it.
            heads = layers[f"{place}_self_attention"].heads
            x = x + layers[f"{place}_self_output"](DotProductAttention(heads)(query, keys, values, mask))
        if f"{place}_cross_key" in layers:
            number = _stack(layers, "decoder", "cross_key").index(place) + 1
            units = layers[f"{place}_cross_key"].units, layers[f"{place}_cross_value"].units
            seen = [
                keras.Input((looked_at, n), name=f"cross_{part}_{number}") for part, n in zip(_BOTH, units, strict=True)
            ]
            inputs += seen
            x = _look(layers, place, x, *seen)
        x = _think(layers, place, x)
    return keras.Model(_named(*inputs), [layers["logits"](layers["decoder_norm"](x)), *rows], name="step")


def _told(model: keras.Model) -> Any:
    return next(tensor for tensor in model.inputs if tensor.name != "actions_in")


def _named(*inputs: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in inputs}


def _layers(shape: Shape, lengths: Lengths) -> list[keras.layers.Layer]:
    dense = keras.layers.Dense
    made = [
        dense(shape.units, name="encoder_embedding"),
        Positions(lengths.tokens_in, name="encoder_positions"),
        LayerNorm(name="encoder_norm"),
        dense(shape.units, name="decoder_embedding"),
        Positions(lengths.tokens_out, name="decoder_positions"),
        LayerNorm(name="decoder_norm"),
        dense(lengths.kinds_out, name="logits"),
    ]
    if lengths.examples:
        made += [
            IntegerFeatures(lengths.periods, name="features"),
            FoldExamples(name="fold"),
            PoolExamples(lengths.examples, name="pool"),
        ]
    stacks = (("encoder", shape.encoder, ("self",)), ("decoder", shape.decoder, ("self", "cross")))
    for stack, count, attentions in stacks:
        for number in range(1, count + 1):
            place = f"{stack}_{number}"
            for attention in attentions:
                made += [
                    dense(shape.units, use_bias=part != "key", name=f"{place}_{attention}_{part}")
                    for part in ("query", "key", "value", "output")
                ]
                made.append(LayerNorm(name=f"{place}_{attention}_norm"))
                if attention == "cross" or stack == "encoder":
                    made.append(DotProductAttention(shape.heads, name=f"{place}_{attention}_attention"))
            made += [
                LayerNorm(name=f"{place}_dense_norm"),
                dense(shape.hidden, activation="relu", name=f"{place}_dense_1"),
                dense(shape.units, name=f"{place}_dense_2"),
            ]
    return made


def _encode(layers: Layers, told: Any) -> Any:
    x = layers["fold"](told) if "fold" in layers else told
    x = layers["encoder_positions"](layers["encoder_embedding"](x))
    for place in _stack(layers, "encoder"):
        if f"{place}_self_key" in layers:
            own = layers[f"{place}_self_norm"](x)
            parts = [layers[f"{place}_self_{part}"](own) for part in ("query", "key", "value")]
            x = x + layers[f"{place}_self_output"](layers[f"{place}_self_attention"](*parts))
        x = _think(layers, place, x)
    memory = layers["encoder_norm"](x)
    return layers["pool"](memory) if "pool" in layers else memory


def _seen(layers: Layers, place: str, memory: Any) -> tuple[Any, Any]:
    return layers[f"{place}_cross_key"](memory), layers[f"{place}_cross_value"](memory)


def _look(layers: Layers, place: str, x: Any, keys: Any, values: Any) -> Any:
    query = layers[f"{place}_cross_query"](layers[f"{place}_cross_norm"](x))
    return x + layers[f"{place}_cross_output"](layers[f"{place}_cross_attention"](query, keys, values))


def _think(layers: Layers, place: str, x: Any) -> Any:
    if f"{place}_dense_1" not in layers:
        return x
    return x + layers[f"{place}_dense_2"](layers[f"{place}_dense_1"](layers[f"{place}_dense_norm"](x)))


def _stack(layers: Layers, stack: str, part: str = "") -> list[str]:
    """Return the layers of a stack, "encoder_1", ..., which have a part; a smaller model may lack some."""
    found = (re.match(rf"{stack}_(\d+)_{part}", name) for name in layers)
    return [f"{stack}_{number}" for number in sorted({int(match[1]) for match in found if match})]


def _heads(layers: Layers) -> int:
    return int(layers["decoder_1_cross_attention"].heads)
