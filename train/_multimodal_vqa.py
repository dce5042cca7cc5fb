"""The cross-attention model: questions gather what they need from a picture's tokens, in a few hops."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from ._multimodal_attention import Attend, AttendOnce, NormalizedChannels, Place, SplitHeads
from ._multimodal_clevr import ANSWERS, BITS, QUESTIONS, SIDE


@dataclass(frozen=True)
class Shape:
    """How large the model is.

    Attributes:
        filters: of the convolutions; the first has stride 4, each other one stride 2.
        units: width of tokens and queries.
        heads, hops: of the attention.
    """

    filters: tuple[int, ...] = (32, 64)
    units: int = 64
    heads: int = 4
    hops: int = 3


def cross_attention(shape: Shape) -> keras.Model:
    """Return the model: ``image`` ``[75, 75, 3]`` and ``questions`` ``[20, 11]`` to ``answers`` ``[20, 10]``.

    The picture is looked at once for all of its questions; no question sees another one.
    """
    image = keras.Input((SIDE, SIDE, 3), name="image")
    questions = keras.Input((QUESTIONS, BITS), name="questions")
    tokens = place_tokens(convolutions(image, shape.filters), shape.units)
    x = keras.layers.Dense(shape.units, name="question_token")(questions)
    for number in range(1, shape.hops + 1):
        x = hop(x, tokens, shape, number)
    x = NormalizedChannels(name="before_answer")(x)
    x = keras.layers.Dense(shape.units, activation="relu", name="answering")(x)
    answers = keras.layers.Dense(len(ANSWERS), activation="softmax", name="answers")(x)
    return keras.Model({"image": image, "questions": questions}, answers, name="cross_attention")


def convolutions(image: Any, filters: Sequence[int]) -> Any:
    """Return features ``[batch, rows, columns, filters[-1]]`` of pictures of 0 to 255; two convolutions make 10 x 10.

    The convolutions start from He's initialisation and have no normalization: BatchNormalization's moving statistics
    fail here in the middle of a training, and what normalizes over pixels is coarse in eight bits.
    """
    x = keras.layers.Rescaling(1 / 255, name="scaled")(image)
    for number, count in enumerate(filters, start=1):
        x = keras.layers.Conv2D(
            count,
            5 if number == 1 else 3,
            strides=4 if number == 1 else 2,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"convolution_{number}",
        )(x)
    return x


def place_tokens(features: Any, units: int) -> Any:
    """Return one token for each place of a feature map, which knows where it is: ``[batch, places, units]``."""
    _, rows, columns, channels = features.shape
    x = keras.layers.Reshape((rows * columns, channels), name="grid")(features)
    x = keras.layers.Dense(units, name="tokens")(x)
    x = Place(rows, columns, name="placed")(x)
    return NormalizedChannels(name="normalized_tokens")(x)


def hop(x: Any, tokens: Any, shape: Shape, number: int) -> Any:
    """Return the queries ``[batch, queries, units]`` after one pre-LN block of attention to tokens and a dense pair."""
    asked = NormalizedChannels(name=f"before_query_{number}")(x)
    asked = keras.layers.Dense(shape.units, name=f"query_{number}")(asked)
    keys = keras.layers.Dense(shape.units, name=f"key_{number}")(tokens)
    values = keras.layers.Dense(shape.units, name=f"value_{number}")(tokens)
    found = Attend(name=f"attend_{number}")(
        [
            SplitHeads(shape.heads, name=f"queries_{number}")(asked),
            SplitHeads(shape.heads, name=f"keys_{number}")(keys),
            SplitHeads(shape.heads, name=f"values_{number}")(values),
        ]
    )
    found = keras.layers.Dense(shape.units, name=f"found_{number}")(found)
    x = keras.layers.Add(name=f"told_{number}")([x, found])
    thought = NormalizedChannels(name=f"before_thought_{number}")(x)
    thought = keras.layers.Dense(2 * shape.units, activation="relu", name=f"thought_{number}")(thought)
    thought = keras.layers.Dense(shape.units, name=f"concluded_{number}")(thought)
    return keras.layers.Add(name=f"wiser_{number}")([x, thought])


def look_and_ask(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return the graphs of a device: ``image`` to what questions need of it, and that with a question to ``answer``.

    The first gives the keys and values of each hop, ``[heads, places, width]``: they are the same for every question.
    The second takes one question, ``[1, 11]``, and attends in the form of ``AttendOnce``. Both share the weights.
    """
    hops = [layer.name.rpartition("_")[2] for layer in model.layers if isinstance(layer, Attend)]
    seen = {name: model.get_layer(name).output for number in hops for name in (f"keys_{number}", f"values_{number}")}
    look = keras.Model({"image": model.input["image"]}, list(seen.values()), name="look")
    asked = model.input["questions"]
    # Keras, building a model from tensors in between, takes an input's history for its own, and cannot save the first.
    history = asked._keras_history
    questions = keras.Model([asked, *seen.values()], model.output)
    asked._keras_history = history
    inputs = [keras.Input((1, BITS), name="question")]
    inputs += [keras.Input(tensor.shape[1:], name=name) for name, tensor in seen.items()]
    one = keras.models.clone_model(questions, inputs, clone_function=_for_one_query)
    answer = keras.layers.Reshape((len(ANSWERS),), name="answer")(one.output)
    return look, keras.Model({tensor.name: tensor for tensor in inputs}, answer, name="ask")


def _for_one_query(layer: Any) -> Any:
    return AttendOnce(name=layer.name) if isinstance(layer, Attend) else layer
