"""Models of every kind of layer, whose units structured pruning removes."""

import functools

import keras
import numpy as np

from edgewright.train import ACCURACY, Dataset, Task

layers = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Mixing(layers.Layer):
    """A custom layer whose outputs are as many as its inputs: no number of its own sets a size."""

    def build(self, shape):
        """Make the kernel."""
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")

    def call(self, inputs):
        """Multiply by it."""
        return keras.ops.matmul(inputs, self.kernel)


@keras.saving.register_keras_serializable(package="tests")
class Wired(layers.Layer):
    """A custom layer with a constant of the size of its inputs."""

    def call(self, inputs):
        """Multiply by it."""
        return inputs * np.linspace(0, 1, inputs.shape[-1], dtype="float32")


@keras.saving.register_keras_serializable(package="tests")
class Rooted(layers.Layer):
    """A custom layer that divides by the root of the number of its inputs."""

    def call(self, inputs):
        """Divide."""
        return inputs / inputs.shape[-1] ** 0.5


@keras.saving.register_keras_serializable(package="tests")
class Spectrum(layers.Layer):
    """A custom layer with operations that removal does not follow, and shapes that depend on values."""

    def call(self, inputs):
        """Return the real part of the spectrum, times how many inputs are positive."""
        import tensorflow as tf

        positive = tf.cast(tf.shape(tf.where(inputs > 0))[0], inputs.dtype)
        return keras.ops.real(tf.signal.fft(tf.cast(inputs, tf.complex64))) * positive

    def compute_output_shape(self, shape):
        """Return the same shape."""
        return shape


def convolutional():
    """A residual sum, a concatenation, depthwise, separable, transposed and dilated convolutions, pools, flattening."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    inner = layers.Conv2D(6, 1, activation="relu", name="narrow")(x)
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", name="wide")(inner)])
    x = layers.Concatenate()([x, layers.Conv2D(4, 1, name="beside")(x)])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.MaxPooling2D()(layers.SeparableConv2D(10, 3, name="separable")(x))
    x = layers.ZeroPadding2D()(layers.UpSampling2D()(layers.Conv2DTranspose(6, 2, strides=2, name="up")(x)))
    x = layers.Conv2D(5, 3, dilation_rate=2, name="dilated")(x)
    flat = layers.Dense(7, activation="gelu", name="hidden")(layers.Flatten()(x))
    x = layers.PReLU()(layers.Concatenate()([layers.GlobalAveragePooling2D()(x), flat]))
    return keras.Model(image, layers.Dense(3, name="out")(x))


def sequence():
    x = sequence = keras.Input((20, 4))
    x = layers.Conv1D(8, 3, padding="causal", name="first")(x)
    x = layers.GroupNormalization(2)(layers.Conv1D(8, 3, dilation_rate=2, padding="causal", name="second")(x))
    x = layers.GlobalMaxPooling1D()(layers.AveragePooling1D(2)(x))
    return keras.Model(sequence, layers.Dense(3)(layers.LeakyReLU()(x)))


def attention_model(kind, **parameters):
    tokens = keras.Input((6, 8))
    x = layers.Dense(12, name="embedding")(tokens)
    own = layers.LayerNormalization()(x)
    x = x + getattr(layers, kind)(**parameters, name="attention")(own, own)
    return keras.Model(tokens, layers.Dense(2)(layers.Dense(10, activation="silu", name="hidden")(x)))


def einsum():
    tokens = keras.Input((6, 8))
    x = layers.EinsumDense("abc,cde->abde", (None, 4, 5), bias_axes="de", activation="relu", name="apart")(tokens)
    x = layers.EinsumDense("abde,def->abf", (None, 6), bias_axes="f", name="together")(x)
    return keras.Model(tokens, layers.Dense(2)(x))


def recurrent(kind, **parameters):
    sequence = keras.Input((9, 4))
    x = getattr(layers, kind)(6, return_sequences=True, name="first", **parameters)(sequence)
    return keras.Model(sequence, layers.Dense(2)(getattr(layers, kind)(5, name="second", **parameters)(x)))


def both_ways():
    sequence = keras.Input((9, 4))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="first")(sequence)
    x = layers.Bidirectional(layers.GRU(4), merge_mode="sum", name="second")(x)
    return keras.Model(sequence, layers.Dense(2)(x))


def embedded():
    tokens = keras.Input((7,), dtype="int32")
    x = layers.GRU(6, return_sequences=True, name="recurrent")(layers.Embedding(20, 8, mask_zero=True)(tokens))
    x = layers.GlobalAveragePooling1D()(layers.TimeDistributed(layers.Dense(4, name="each"))(x))
    return keras.Model(tokens, layers.Dense(2)(x))


def nested():
    features, between = keras.Input((8,)), keras.Input((6,))
    first = keras.Sequential(
        [keras.Input((8,)), layers.Dense(10, activation="relu", name="one"), layers.Dense(6, name="two")]
    )
    second = keras.Model(between, layers.Dense(5, name="three")(between))
    return keras.Model(features, layers.Dense(2)(second(first(features))))


def operations():
    """Functions of keras.ops between layers: a gate made of two halves, reshaping."""
    features = keras.Input((8,))
    value, gate = keras.ops.split(layers.Dense(12, name="gated")(features), 2, axis=-1)
    x = keras.ops.reshape(value * keras.ops.sigmoid(gate), (-1, 6))
    return keras.Model(features, layers.Dense(2)(Mixing(name="mixing")(x)))


def liquid_model(cell):
    from edgewright.train import _liquid_cfc, _liquid_ltc, _liquid_mmrnn
    from edgewright.train._liquid_network import classifier

    cells = {
        "cfc": lambda: _liquid_cfc.CfCCell(8, (6,)),
        "pure": lambda: _liquid_cfc.CfCCell(8, (), "pure"),
        "ltc": lambda: _liquid_ltc.LTCCell(6),
        "mmrnn": lambda: _liquid_mmrnn.MixedMemoryCell(8, (6,)),
    }
    return classifier(cells[cell](), 5, 3, 3, readout="mean", noise=0.1, dropout=0.1, seed=0)


def graph_model(kind):
    from edgewright.train._graph_forces import force_model
    from edgewright.train._graph_gap import gap_model

    return force_model(8, 2, 6, 4.0) if kind == "forces" else gap_model(kind, 8, 2, 6, 4.0)


def transformer():
    from edgewright.train._synthesis_transformer import Lengths, Shape, training_model

    return training_model(Shape(8, 4, 12, 1, 1), Lengths(5, 6, 7, 4), "small")


# Each with the units of the groups that can go exactly, by the path of what makes them.
KINDS = {
    "convolutional": (
        convolutional,
        {"stem": 8, "narrow": 6, "beside": 4, "separable": 10, "up": 6, "dilated": 5, "hidden": 7},
    ),
    "sequence": (sequence, {"first": 8, "second": 2}),
    "attention": (
        functools.partial(attention_model, "MultiHeadAttention", num_heads=4, key_dim=5, value_dim=3),
        {"attention": 4, "hidden": 10},
    ),
    "grouped attention": (
        functools.partial(attention_model, "GroupQueryAttention", head_dim=4, num_query_heads=4, num_key_value_heads=2),
        {"attention": 2, "hidden": 10},
    ),
    "einsum": (einsum, {"apart": 4, "together": 6}),
    "GRU": (functools.partial(recurrent, "GRU"), {"first": 6, "second": 5}),
    "GRU of 2014": (functools.partial(recurrent, "GRU", reset_after=False), {"first": 6, "second": 5}),
    "LSTM": (functools.partial(recurrent, "LSTM"), {"first": 6, "second": 5}),
    "simple recurrent": (functools.partial(recurrent, "SimpleRNN"), {"first": 6, "second": 5}),
    "both ways": (both_ways, {"first": 6, "second": 4}),
    "embedded": (embedded, {"embedding": 8, "recurrent": 6, "time_distributed": 4}),
    "nested": (nested, {"one": 10, "two": 6, "three": 5}),
    "operations": (operations, {"gated": 6}),
    "CfC": (functools.partial(liquid_model, "cfc"), {"cf_c_cell/f": 8, "cf_c_cell/backbone_0": 6}),
    "pure CfC": (functools.partial(liquid_model, "pure"), {"cf_c_cell": 8}),
    "LTC": (functools.partial(liquid_model, "ltc"), {"ltc_cell": 6}),
    "mmRNN": (functools.partial(liquid_model, "mmrnn"), {"cfc/f": 8, "cfc/backbone_0": 6}),
    "SchNet": (functools.partial(graph_model, "schnet"), {"embedding": 8, "atomwise": 8, "molecule": 8}),
    "PaiNN": (functools.partial(graph_model, "painn"), {"embedding": 8, "atomwise": 8, "molecule": 8}),
    "forces": (functools.partial(graph_model, "forces"), {"potential/embedding": 4}),
    "transformer": (
        transformer,
        {
            "encoder_1_self_query": 4,
            "encoder_1_dense_1": 12,
            "decoder_1_self_query": 4,
            "decoder_1_cross_query": 4,
            "decoder_1_dense_1": 12,
        },
    ),
}


def with_random_weights(model, seed=0):
    """No weight is near zero, so that a place taken for another one shows."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        values = random.uniform(0.3, 1, variable.shape)
        signs = random.choice([-1, 1], variable.shape)
        variable.assign(values if not variable.trainable or variable.constraint else values * signs)
    return model


def task_for(model, labelled=False, samples=64):
    """A task of random samples for a model with one output of classes."""
    random = np.random.default_rng(0)
    inputs = {
        tensor.name: random.normal(size=(samples, *tensor.shape[1:])).astype("float32") for tensor in model.inputs
    }
    labels = random.integers(0, 2, samples) if labelled else None
    data = Dataset(inputs, labels)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if labelled else None
    return Task("random", data, data, loss, ACCURACY if labelled else None)
