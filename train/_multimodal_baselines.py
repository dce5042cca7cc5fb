"""What cross-attention on Sort-of-CLEVR is compared with: CNN and MLP, FiLM, and the Relation Network."""

from typing import Any

import keras
from keras import ops

from ._multimodal_attention import Place
from ._multimodal_clevr import ANSWERS, BITS, QUESTIONS, SIDE
from ._multimodal_vqa import convolutions

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


def film(units: int = 32, blocks: int = 2) -> keras.Model:
    """Return FiLM (Perez et al. 2018, arXiv 1709.07871): a question scales and shifts residual channels.

    ``relu(gamma conv(x) + beta)`` inside each block, gamma and beta linear in the question. Without batch
    normalization.
    """
    image, questions = _inputs()
    features = convolutions(image, FILTERS)
    _, rows, columns, channels = features.shape
    x = keras.layers.Reshape((rows * columns, channels), name="grid")(features)
    x = Place(rows, columns, name="placed")(keras.layers.Dense(units, name="tokens")(x))
    x = keras.layers.ReLU(name="activation_placed")(x)
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
    x = keras.layers.Dense(4 * units, activation="relu", name="wide")(x)
    x = keras.layers.Reshape((QUESTIONS, rows * columns, 4 * units), name="flat")(x)
    x = Largest(name="largest")(x)
    return _answering(image, questions, x, "film")


def relation_network(units: int = 64) -> keras.Model:
    """Return the Relation Network (Santoro et al. 2017, equation 1): ``f(sum_{i, j} g(o_i, o_j, q))``.

    The objects are the 5 x 5 places of a feature map; g has three dense layers, the first of which, on three parts side
    by side, is the sum of a dense layer on each. A mean in place of the sum, which differs by a constant.
    """
    image, questions = _inputs()
    features = keras.layers.Conv2D(units, 3, strides=2, padding="same", activation="relu", name="convolution_3")(
        convolutions(image, FILTERS)
    )
    _, rows, columns, channels = features.shape
    count = rows * columns
    x = keras.layers.Reshape((count, channels), name="grid")(features)
    x = Place(rows, columns, name="placed")(keras.layers.Dense(units, name="tokens")(x))
    first = keras.layers.Reshape((1, count, 1, units), name="first")(keras.layers.Dense(units, name="as_first")(x))
    second = keras.layers.Reshape((1, 1, count, units), name="second")(keras.layers.Dense(units, name="as_second")(x))
    asked = keras.layers.Dense(units, use_bias=False, name="asked")(questions)
    asked = keras.layers.Reshape((QUESTIONS, 1, 1, units), name="for_pairs")(asked)
    x = keras.layers.Add(name="pairs")([keras.layers.Add(name="related")([first, second]), asked])
    x = keras.layers.ReLU(name="g_1")(x)
    x = keras.layers.Dense(units, activation="relu", name="g_2")(x)
    x = keras.layers.Dense(units, activation="relu", name="g_3")(x)
    x = keras.layers.Reshape((QUESTIONS, count * count, units), name="all_pairs")(x)
    x = keras.layers.AveragePooling2D((1, count * count), name="over_pairs")(x)
    x = keras.layers.Reshape((QUESTIONS, units), name="related_sum")(x)
    return _answering(image, questions, x, "relation_network")


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
