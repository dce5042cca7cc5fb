"""What cross-attention on Sort-of-CLEVR is compared with: CNN and MLP, FiLM, and the Relation Network."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ._multimodal_clevr import ANSWERS, BITS, QUESTIONS, SIDE
from ._multimodal_vqa import convolutions, place_tokens

FILTERS = (32, 64)


def cnn_and_mlp(units: int = 256) -> keras.Model:
    """Return the baseline of Santoro et al. (2017): the whole feature map and the question go into one perceptron."""
    image, questions = _inputs()
    x = keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="convolution_3")(
        convolutions(image, FILTERS)
    )
    seen = keras.layers.Dense(units, name="seen")(keras.layers.Flatten(name="flatten")(x))
    asked = keras.layers.Dense(units, use_bias=False, name="asked")(questions)
    # One dense layer on both side by side is the sum of a dense layer on each.
    x = keras.layers.Add(name="joined")([keras.layers.Reshape((1, units), name="for_all")(seen), asked])
    x = keras.layers.ReLU(name="activation_joined")(x)
    x = keras.layers.Dense(units, activation="relu", name="hidden")(x)
    return _answering(image, questions, x, "cnn_mlp")


def normalized_convolutions(image: Any, count: int, filters: int = 24) -> Any:
    """Return features of pictures of 0 to 255 by ``count`` convolutions with stride 2: four to 5 x 5 places.

    As those of Santoro et al. (2017) they have batch normalization, without which the Relation Network answered at
    chance after an epoch, whatever the picture.
    """
    x = keras.layers.Rescaling(1 / 255, name="scaled")(image)
    for number in range(1, count + 1):
        x = keras.layers.Conv2D(
            filters,
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"convolution_{number}",
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"normalized_{number}")(x)
        x = keras.layers.ReLU(name=f"activation_{number}")(x)
    return x


def film(units: int = 32, blocks: int = 2) -> keras.Model:
    """Return FiLM (Perez et al. 2018, arXiv 1709.07871): a question scales and shifts residual channels.

    ``relu(gamma conv(x) + beta)`` inside each block, gamma and beta linear in the question. Batch normalization in the
    convolutions before the blocks alone.
    """
    image, questions = _inputs()
    features = normalized_convolutions(image, 3)
    _, rows, columns, _ = features.shape
    x = keras.layers.ReLU(name="activation_placed")(place_tokens(features, units))
    x = keras.layers.Reshape((1, rows, columns, units), name="for_all")(x)
    for number in range(1, blocks + 1):
        y = keras.layers.Dense(units, activation="relu", name=f"mixed_{number}")(x)
        y = PerQuestion(keras.layers.Conv2D(units, 3, padding="same"), name=f"convolution_film_{number}")(y)
        shape = (QUESTIONS, 1, 1, units)
        scale = keras.layers.Dense(units, bias_initializer="ones", name=f"gamma_{number}")(questions)
        shift = keras.layers.Dense(units, name=f"beta_{number}")(questions)
        y = keras.layers.Multiply(name=f"scaled_{number}")([y, keras.layers.Reshape(shape)(scale)])
        y = keras.layers.Add(name=f"shifted_{number}")([y, keras.layers.Reshape(shape)(shift)])
        y = keras.layers.ReLU(name=f"modulated_{number}")(y)
        x = keras.layers.Add(name=f"added_{number}")([x, y])
    x = keras.layers.Dense(2 * units, activation="relu", name="wide")(x)
    x = keras.layers.Reshape((QUESTIONS, rows * columns, 2 * units), name="flat")(x)
    x = Largest(name="largest")(x)
    return _answering(image, questions, x, "film")


def relation_network(units: int = 32) -> keras.Model:
    """Return the Relation Network (Santoro et al. 2017, equation 1): ``f(sum_{i, j} g(o_i, o_j, q))``.

    The objects are the 5 x 5 places of a feature map; g has three dense layers, the first of which, on three parts side
    by side, is the sum of a dense layer on each. The sum is taken over the 325 pairs i <= j: as g may be any function
    of a pair, what (j, i) would add is in (i, j). It is divided by 25: in a mean, what the few pairs that matter say is
    lost at the start, and a plain sum starts with answers that are far too sure.
    """
    image, questions = _inputs()
    x = place_tokens(normalized_convolutions(image, 4), 2 * units)
    x = keras.layers.Dense(4 * units, activation="relu", name="object")(x)
    count = x.shape[1]
    pairs = count * (count + 1) // 2
    first = EachPair(0, name="first")(keras.layers.Dense(units, name="as_first")(x))
    second = EachPair(1, name="second")(keras.layers.Dense(units, name="as_second")(x))
    related = keras.layers.Reshape((1, pairs, units), name="for_all")(keras.layers.Add(name="related")([first, second]))
    asked = keras.layers.Dense(4 * units, activation="relu", name="question")(questions)
    asked = keras.layers.Dense(units, use_bias=False, name="asked")(asked)
    asked = keras.layers.Reshape((QUESTIONS, 1, units), name="for_pairs")(asked)
    x = keras.layers.ReLU(name="g_1")(keras.layers.Add(name="pairs")([related, asked]))
    x = keras.layers.Dense(units, activation="relu", name="g_2")(x)
    x = keras.layers.Dense(units, activation="relu", name="g_3")(x)
    x = keras.layers.AveragePooling2D((1, pairs), name="over_pairs")(x)
    x = keras.layers.Reshape((QUESTIONS, units), name="mean_pair")(x)
    x = keras.layers.Rescaling(pairs / count, name="related_sum")(x)
    return _answering(image, questions, x, "relation_network")


@keras.saving.register_keras_serializable("edgewright")
class EachPair(keras.layers.Layer):
    """One member, 0 or 1, of each pair i <= j of places: ``[batch, places, units]`` to ``[batch, pairs, units]``."""

    def __init__(self, member: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.member = member

    def call(self, x: Any) -> Any:
        """Return the members, pairs (0, 0), (0, 1), ... in this order."""
        return ops.take(x, np.triu_indices(x.shape[1])[self.member], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same layer again."""
        return {**super().get_config(), "member": self.member}


@keras.saving.register_keras_serializable("edgewright")
class PerQuestion(keras.layers.Wrapper):
    """A layer applied to the picture of each question: ``[batch, questions, ...]``."""

    def build(self, shape: Any) -> None:
        """Build the layer for one question."""
        if not self.layer.built:
            self.layer.build((shape[0], *shape[2:]))

    def call(self, x: Any) -> Any:
        """Return the layer's outputs."""
        count, shape = x.shape[1], x.shape[2:]
        y = self.layer(ops.reshape(x, (-1, *shape)))
        return ops.reshape(y, (-1, count, *y.shape[1:]))


@keras.saving.register_keras_serializable("edgewright")
class Largest(keras.layers.Layer):
    """The maximum over places: ``[batch, questions, places, channels]`` to ``[batch, questions, channels]``."""

    def call(self, x: Any) -> Any:
        """Return the maximum."""
        return ops.max(x, axis=2)


def _inputs() -> tuple[Any, Any]:
    return keras.Input((SIDE, SIDE, 3), name="image"), keras.Input((QUESTIONS, BITS), name="questions")


def _answering(image: Any, questions: Any, x: Any, name: str) -> keras.Model:
    x = keras.layers.Dense(128, activation="relu", name="answering")(x)
    answers = keras.layers.Dense(len(ANSWERS), activation="softmax", name="answers")(x)
    return keras.Model({"image": image, "questions": questions}, answers, name=name)
