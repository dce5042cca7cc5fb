"""Random small Keras models, for what no list of operations holds: which operations stand beside each other."""

import random
from collections.abc import Iterator

import keras
from _conversion_models import Case
from keras import layers, ops

# fmt: off
_ACTIVATIONS = (
    None, None, "relu", "relu", "relu", "relu6", "sigmoid", "tanh", "gelu", "silu", "elu", "selu", "softplus", "mish",
    "softsign", "hard_sigmoid", "hard_silu", "leaky_relu", "exponential", "softmax", "log_softmax", "celu",
    "squareplus", "hard_tanh", "soft_shrink", "hard_shrink", "tanh_shrink", "sparse_plus", "log_sigmoid",
)
# fmt: on
Tensor = keras.KerasTensor


def random_cases(seed: int, count: int) -> Iterator[Case]:
    """Yield models, each of a seed of its own: of pictures, sequences, tokens or vectors, one to four steps deep."""
    for each in range(seed, seed + count):
        kind = random.Random(each).choice(("picture", "picture", "sequence", "sequence", "tokens", "vector"))
        shape = {"picture": (7, 8, 3), "sequence": (6, 6), "tokens": (8,), "vector": (12,)}[kind]
        dtype = "int32" if kind == "tokens" else "float32"
        yield Case(f"{kind}-{each}", {"x": (shape, dtype)}, _Steps(each), high=30)


class _Steps:
    """What a model computes: drawn anew from its seed at each call."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, x: Tensor) -> Tensor:
        draw = random.Random(self._seed)
        draw.random()
        if x.dtype == "int32":
            x = layers.Embedding(30, 8, embeddings_initializer="random_normal")(x)
        step = {4: _picture, 3: _sequence, 2: _vector}[len(x.shape)]
        for _ in range(draw.randint(1, 4)):
            x = step(x, draw)
        if draw.random() < 0.35:
            return x
        if len(x.shape) > 2 and draw.random() < 0.5:
            x = ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))
        return layers.Dense(5, **_drawn(draw))(x if len(x.shape) == 2 else layers.Flatten()(x))


def _drawn(draw: random.Random) -> dict:
    """Return an activation and biases that are not zero, as trained ones are not."""
    return {
        "activation": draw.choice(_ACTIVATIONS),
        "bias_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=draw.randint(0, 999)),
    }


def _picture(x: Tensor, draw: random.Random) -> Tensor:
    size, width, more = draw.choice((4, 8, 12)), x.shape[-1], _drawn(draw)
    steps = [
        lambda: layers.Conv2D(size, 3, padding="same", **more)(x),
        lambda: layers.Conv2D(size, 1, strides=2, **more)(x),
        lambda: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, **more)(x),
        lambda: layers.SeparableConv2D(size, 3, padding="same", **more)(x),
        lambda: layers.Conv2DTranspose(size, 3, 2, padding="same", **more)(x),
        lambda: layers.Conv2D(size, 3, padding="same", dilation_rate=2, **more)(x),
        lambda: layers.BatchNormalization(moving_mean_initializer="random_normal")(layers.Conv2D(size, 3)(x)),
        lambda: layers.LayerNormalization()(x),
        lambda: x + layers.Conv2D(width, 3, padding="same", **more)(x),
        lambda: ops.concatenate([x, layers.Conv2D(size, 3, padding="same", **more)(x)], -1),
        lambda: x * layers.Dense(width, activation="sigmoid")(ops.mean(x, (1, 2), keepdims=True)),
        lambda: layers.MaxPooling2D(padding="same")(x),
        lambda: layers.AveragePooling2D(2, padding="same")(x),
        lambda: layers.UpSampling2D(interpolation=draw.choice(("nearest", "bilinear")))(x),
        lambda: layers.ZeroPadding2D()(x),
        lambda: x - layers.Conv2D(width, 1, **more)(x),
        lambda: ops.maximum(x, layers.Conv2D(width, 1, **more)(x)),
        lambda: layers.PReLU("random_normal", shared_axes=(1, 2))(x),
        lambda: ops.clip(x, -0.5, 0.7) + layers.Conv2D(width, 1, **more)(x),
    ]
    return draw.choice(steps)() if x.shape[1] > 2 and x.shape[1] < 20 else layers.Dense(size, **more)(x)


def _sequence(x: Tensor, draw: random.Random) -> Tensor:
    size, width, more = draw.choice((4, 8, 16)), x.shape[-1], _drawn(draw)
    steps = [
        lambda: layers.Conv1D(size, 3, padding=draw.choice(("same", "causal")), **more)(x),
        lambda: layers.LSTM(size, return_sequences=True)(x),
        lambda: layers.GRU(size, return_sequences=True)(x),
        lambda: layers.SimpleRNN(size, return_sequences=True)(x),
        lambda: layers.Bidirectional(layers.LSTM(size, return_sequences=True))(x),
        lambda: layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x)),
        lambda: layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True),
        lambda: layers.EinsumDense("abc,cd->abd", (None, size), bias_axes="d", **more)(x),
        lambda: x + layers.Dense(width)(layers.Dense(2 * width, **more)(x)),
        lambda: layers.SeparableConv1D(size, 3, padding="same", **more)(x),
        lambda: layers.Conv1DTranspose(size, 3, padding="same", **more)(x),
        lambda: layers.Permute((2, 1))(layers.Dense(x.shape[1], **more)(layers.Permute((2, 1))(x))),
        lambda: layers.MaxPooling1D(padding="same")(x),
        lambda: ops.concatenate([x, layers.Dense(size, **more)(x)], -1),
        lambda: x - ops.mean(x, draw.choice((1, 2)), keepdims=True),
        lambda: ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) * 0.3), x),
    ]
    return draw.choice(steps)()


def _vector(x: Tensor, draw: random.Random) -> Tensor:
    size, width, more = draw.choice((4, 8, 32)), x.shape[-1], _drawn(draw)
    steps = [
        lambda: layers.Dense(size, **more)(x),
        lambda: x + layers.Dense(width, **more)(x),
        lambda: layers.LayerNormalization()(x),
        lambda: ops.concatenate([x, layers.Dense(size, **more)(x)], -1),
        lambda: x * layers.Dense(width, activation="sigmoid")(x),
        lambda: ops.minimum(x, layers.Dense(width, **more)(x)),
        lambda: ops.where(x > 0, x, layers.Dense(width, **more)(x)),
    ]
    return draw.choice(steps)()
