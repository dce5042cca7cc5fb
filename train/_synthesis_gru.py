"""The recurrent baseline: an encoder-decoder of gated recurrent units that attends to the command.

Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014, arXiv 1406.1078), with the attention of
Luong, Pham and Manning (2015, arXiv 1508.04025) after the decoder's unit: ``h_t`` from the token before, then
``tanh(W [h_t; sum_s a_ts m_s])`` with ``a_t = softmax(h_t^T W_a m / sqrt(d))``.
"""

from typing import Any

import keras

from ._synthesis_layers import DotProductAttention
from ._synthesis_transformer import Lengths

EMBEDDING = 64


def training_model(units: int, lengths: Lengths, name: str) -> keras.Model:
    """Return the teacher-forced model: one-hot ``command``, ``actions_in`` to ``logits`` ``[batch, tokens, kinds]``."""
    told = keras.Input((lengths.tokens_in, lengths.kinds_in), name="command")
    given = keras.Input((lengths.tokens_out, lengths.kinds_out), name="actions_in")
    read = keras.layers.GRU(units, return_sequences=True, return_state=True, name="encoder_gru")
    memory, state = read(keras.layers.Dense(EMBEDDING, name="encoder_embedding")(told))
    write = keras.layers.GRU(units, return_sequences=True, name="decoder_gru")
    hidden = write(keras.layers.Dense(EMBEDDING, name="decoder_embedding")(given), initial_state=state)
    keys = keras.layers.Dense(units, use_bias=False, name="attention_keys")(memory)
    seen = DotProductAttention(1, name="attention")(hidden, keys, memory)
    mixed = keras.layers.Dense(units, activation="tanh", name="mixed")(keras.layers.Concatenate()([hidden, seen]))
    logits = keras.layers.Dense(lengths.kinds_out, name="logits")(mixed)
    return keras.Model({"command": told, "actions_in": given}, logits, name=name)


def encoder_graph(model: keras.Model) -> keras.Model:
    """Return the graph from ``command`` to ``memory``, ``keys`` ``[batch, tokens, units]`` and ``state``.

    The recurrence is written out token by token: converters take loops badly.
    """
    layers = _layers(model)
    told = keras.Input(layers["command"].batch_shape[1:], name="command")
    embedded = layers["encoder_embedding"](told)
    states = []
    state = keras.ops.zeros_like(keras.ops.repeat(embedded[:, 0, :1], _units(model), axis=-1))
    for place in range(told.shape[1]):
        state = _stepped(layers["encoder_gru"].cell, embedded[:, place], state)
        states.append(state)
    memory = keras.ops.stack(states, axis=1)
    return keras.Model(
        {"command": told},
        [
            keras.layers.Identity(name="memory")(memory),
            keras.layers.Identity(name="keys")(layers["attention_keys"](memory)),
            keras.layers.Identity(name="state")(state),
        ],
        name="encoder",
    )


def step_graph(model: keras.Model) -> keras.Model:
    """Return the graph of one decoding step.

    Inputs: ``token`` one-hot ``[batch, kinds]``, ``state`` ``[batch, units]``, ``memory``, ``keys``. Outputs:
    ``logits`` ``[batch, kinds]``, ``next_state``.
    """
    layers, units = _layers(model), _units(model)
    token = keras.Input(layers["actions_in"].batch_shape[2:], name="token")
    state = keras.Input((units,), name="state")
    memory, keys = (keras.Input((layers["command"].batch_shape[1], units), name=name) for name in ("memory", "keys"))
    hidden = _stepped(layers["decoder_gru"].cell, layers["decoder_embedding"](token), state)
    seen = layers["attention"](keras.ops.expand_dims(hidden, 1), keys, memory)[:, 0]
    logits = layers["logits"](layers["mixed"](keras.layers.Concatenate()([hidden, seen])))
    return keras.Model(
        {"token": token, "state": state, "memory": memory, "keys": keys},
        [logits, keras.layers.Identity(name="next_state")(hidden)],
        name="step",
    )


def _layers(model: keras.Model) -> dict[str, Any]:
    return {layer.name: layer for layer in model.layers}


def _units(model: keras.Model) -> int:
    return int(model.get_layer("decoder_gru").units)


def _stepped(cell: Any, x: Any, state: Any) -> Any:
    """Return the cell's next state ``[batch, units]``."""
    return cell(x, [state])[0]
