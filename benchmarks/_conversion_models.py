"""Small Keras models, one for each kind of operation that users' models hold; what ``conversion_gaps.py`` converts."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

Built = tuple[list[keras.KerasTensor], keras.KerasTensor]


@dataclass(frozen=True)
class Case:
    """One small model: its inputs' shapes and types by name, what it computes, and what its inputs may be.

    Attributes:
        name: what it is about.
        inputs: by name, (shape without batch, dtype).
        call: from the inputs to the output.
        low, high: integers are drawn from [low, high); where ``positive``, floats from (0.1, 1.9), else from N(0, 1).
        positive: see ``low``.
    """

    name: str
    inputs: dict[str, tuple[tuple[int, ...], str]]
    call: Callable[..., keras.KerasTensor]
    low: int = 0
    high: int = 10
    positive: bool = False

    def model(self) -> keras.Model:
        """Return the model, its weights drawn from seed 0."""
        keras.utils.set_random_seed(0)
        tensors = [keras.Input(shape, name=name, dtype=dtype) for name, (shape, dtype) in self.inputs.items()]
        return keras.Model(tensors, self.call(*tensors), name=self.name.replace("-", "_"))

    def samples(self, count: int) -> dict[str, np.ndarray]:
        """Return inputs ``[count, ...]`` by name."""
        random = np.random.default_rng(0)
        arrays = {}
        for name, (shape, dtype) in self.inputs.items():
            if np.issubdtype(np.dtype(dtype), np.integer):
                arrays[name] = random.integers(self.low, self.high, (count, *shape)).astype(dtype)
            elif dtype == "bool":
                mask = random.uniform(size=(count, *shape)) < 0.7
                mask[..., 0] = True
                arrays[name] = mask
            elif self.positive:
                arrays[name] = random.uniform(0.1, 1.9, (count, *shape)).astype(dtype)
            else:
                arrays[name] = random.normal(size=(count, *shape)).astype(dtype)
        return arrays


def _vector(name: str, call: Callable, size: int = 8, positive: bool = False) -> Case:
    return Case(name, {"x": ((size,), "float32")}, call, positive=positive)


def _sequence(name: str, call: Callable) -> Case:
    return Case(name, {"x": ((6, 8), "float32")}, call)


def _image(name: str, call: Callable) -> Case:
    return Case(name, {"x": ((8, 8, 3), "float32")}, call)


def _activated(activation: str) -> Case:
    return _vector(activation, lambda x: layers.Dense(4)(layers.Dense(8, activation=activation)(x)))


def _pointwise(name: str, function: Callable, positive: bool = False) -> Case:
    return _vector(name, lambda x: layers.Dense(4)(function(x)), positive=positive)


class _FractionalCell(layers.Layer):
    """A recurrent cell of a user's own: a leaky integrator."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.state_size = self.output_size = units
        self.mix = layers.Dense(units, activation="tanh")

    def build(self, shape: tuple) -> None:
        self.mix.build((shape[0], shape[-1] + self.state_size))

    def call(self, x, states):
        new = 0.8 * states[0] + 0.2 * self.mix(ops.concatenate([x, states[0]], -1))
        return new, [new]


def _decaying_sum(x):
    """State-space decay: exp of a negated cumulative sum, as linear-attention and liquid models write it."""
    rate = layers.Dense(4, activation="softplus")(x)
    return layers.Dense(2)(ops.exp(-ops.cumsum(rate, axis=1)))


def _transmittance(x):
    """Volume rendering: an exclusive product of what each sample lets pass."""
    alpha = layers.Dense(1, activation="sigmoid")(x)
    left = ops.cumprod(1.0 - alpha + 1e-10, axis=1)
    before = ops.concatenate([ops.ones_like(left[:, :1]), left[:, :-1]], axis=1)
    return ops.sum(before * alpha * layers.Dense(3)(x), axis=1)


def _causal(x):
    return layers.Dense(2)(layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True))


def _masked(x, keep):
    return layers.Dense(2)(layers.MultiHeadAttention(2, 4)(x, x, attention_mask=ops.expand_dims(keep, 1)))


def _added_mask(x):
    """Attention as many write it by hand: -1e9 added where a token may not look."""
    query, key, value = (layers.Dense(8)(x) for _ in range(3))
    mask = np.triu(np.full((6, 6), -1e9, "float32"), 1)
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / math.sqrt(8) + mask
    return layers.Dense(2)(ops.matmul(ops.softmax(scores), value))


def _added_padding(x, keep):
    """Padding masked by a product: (1 - keep) * -1e9."""
    query, key, value = (layers.Dense(8)(x) for _ in range(3))
    mask = (1.0 - ops.expand_dims(ops.cast(keep, "float32"), 1)) * -1e9
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / math.sqrt(8) + mask
    return layers.Dense(2)(ops.matmul(ops.softmax(scores), value))


def _filled_mask(x):
    """Attention with ``where(mask, scores, -inf)``."""
    query, key, value = (layers.Dense(8)(x) for _ in range(3))
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / math.sqrt(8)
    scores = ops.where(np.tril(np.ones((6, 6), bool)), scores, -np.inf)
    return layers.Dense(2)(ops.matmul(ops.softmax(scores), value))


def _one_query(x):
    query = layers.Dense(8)(x[:, -1:])
    scores = ops.matmul(query, ops.transpose(layers.Dense(8)(x), (0, 2, 1)))
    return layers.Dense(2)(ops.matmul(ops.softmax(scores), layers.Dense(8)(x)))


def _high_rank(x):
    folded = ops.reshape(layers.Dense(16)(x), (-1, 3, 2, 2, 2, 4))
    return layers.Dense(2)(ops.sum(ops.transpose(folded, (0, 2, 1, 4, 3, 5)) * 0.5, axis=(1, 2, 4)))


def _windows(x):
    """Windows of a picture, as a Swin transformer parts them: a transposition of six dimensions."""
    parts = ops.transpose(ops.reshape(layers.Dense(4)(x), (-1, 2, 4, 2, 4, 4)), (0, 1, 3, 2, 4, 5))
    return layers.Dense(2)(ops.mean(ops.reshape(parts, (-1, 4, 16, 4)), axis=2))


def _einsums(equation: str) -> Callable:
    return lambda x: layers.Dense(2)(ops.einsum(equation, layers.Dense(8)(x), layers.Dense(8)(x)))


_TOKENS = {"x": ((6,), "int32")}
_KEEP = {"x": ((6, 8), "float32"), "keep": ((6,), "bool")}
_VOLUME = {"x": ((4, 4, 4, 2), "float32")}


CASES: tuple[Case, ...] = (
    _vector("gelu-exact", lambda x: layers.Dense(4)(ops.gelu(layers.Dense(8)(x), approximate=False))),
    _vector("gelu-tanh", lambda x: layers.Dense(4)(ops.gelu(layers.Dense(8)(x), approximate=True))),
    _pointwise("erf", ops.erf),
    _vector("erfinv", lambda x: layers.Dense(4)(ops.erfinv(ops.tanh(x) * 0.9))),
    _sequence("cumsum", lambda x: layers.Dense(2)(ops.cumsum(x, axis=1))),
    _sequence("cumsum-last-axis", lambda x: layers.Dense(2)(ops.cumsum(x, axis=-1))),
    _sequence("cumsum-reverse", lambda x: layers.Dense(2)(ops.flip(ops.cumsum(ops.flip(x, 1), axis=1), 1))),
    _sequence("cumprod", lambda x: layers.Dense(2)(ops.cumprod(x, axis=1))),
    _sequence("transmittance", _transmittance),
    _sequence("decaying-sum", _decaying_sum),
    _sequence("attention", lambda x: layers.Dense(2)(layers.MultiHeadAttention(2, 4)(x, x))),
    _sequence("attention-causal", _causal),
    Case("attention-masked", _KEEP, _masked),
    _sequence("attention-added-mask", _added_mask),
    Case("attention-added-padding", _KEEP, _added_padding),
    _sequence("attention-where-inf", _filled_mask),
    _sequence("attention-flash-op", lambda x: layers.Dense(2)(layers.Attention()([x, x]))),
    _sequence("attention-additive", lambda x: layers.Dense(2)(layers.AdditiveAttention()([x, x]))),
    _sequence("attention-grouped", lambda x: layers.Dense(2)(layers.GroupQueryAttention(4, 4, 2)(x, x))),
    _sequence("attention-one-query", _one_query),
    _pointwise("negative", lambda x: -layers.Dense(8)(x)),
    _pointwise("where", lambda x: ops.where(x > 0.2, x, x * 0.1 - 0.3)),
    _pointwise("select-of-two", lambda x: ops.where(x > 0, ops.sin(x), -1.0)),
    _sequence("lstm", lambda x: layers.Dense(2)(layers.LSTM(4)(x))),
    _sequence("lstm-sequences", lambda x: layers.Dense(2)(layers.LSTM(4, return_sequences=True)(x))),
    _sequence("lstm-backwards", lambda x: layers.Dense(2)(layers.LSTM(4, go_backwards=True)(x))),
    _sequence("gru", lambda x: layers.Dense(2)(layers.GRU(4)(x))),
    _sequence("gru-unrolled", lambda x: layers.Dense(2)(layers.GRU(4, unroll=True)(x))),
    _sequence("simple-rnn", lambda x: layers.Dense(2)(layers.SimpleRNN(4)(x))),
    _sequence("custom-rnn", lambda x: layers.Dense(2)(layers.RNN(_FractionalCell(4))(x))),
    _sequence("bidirectional", lambda x: layers.Dense(2)(layers.Bidirectional(layers.LSTM(4))(x))),
    Case("lstm-masked", _TOKENS, lambda x: layers.Dense(2)(layers.LSTM(4)(layers.Embedding(10, 8, mask_zero=True)(x)))),
    Case("conv-lstm", {"x": ((3, 6, 6, 2), "float32")}, lambda x: layers.ConvLSTM2D(3, 3)(x)),
    Case("embedding", _TOKENS, lambda x: layers.Dense(2)(layers.Embedding(10, 8)(x))),
    Case(
        "embedding-masked-mean",
        _TOKENS,
        lambda x: layers.GlobalAveragePooling1D()(layers.Embedding(10, 8, mask_zero=True)(x)),
    ),
    _sequence("take", lambda x: layers.Dense(2)(ops.take(x, np.array([0, 3, 5]), axis=1))),
    Case("one-hot", _TOKENS, lambda x: layers.Dense(2)(ops.one_hot(x, 10))),
    _sequence("layer-norm", lambda x: layers.Dense(2)(layers.LayerNormalization()(x))),
    _sequence("rms-norm", lambda x: layers.Dense(2)(layers.RMSNormalization()(x))),
    _image("group-norm", lambda x: layers.Conv2D(2, 3)(layers.GroupNormalization(2)(layers.Conv2D(4, 3)(x)))),
    _image("batch-norm", lambda x: layers.Conv2D(2, 3)(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))),
    _sequence("unit-norm", lambda x: layers.Dense(2)(layers.UnitNormalization()(x))),
    _image("spectral-norm", lambda x: layers.SpectralNormalization(layers.Conv2D(2, 3))(x)),
    _vector("one-dimension", lambda x: ops.squeeze(layers.Dense(1)(x), -1)),
    _vector("one-unit", lambda x: layers.Dense(1)(x)),
    _sequence("high-rank", _high_rank),
    _image("windows", _windows),
    _sequence("einsum-batched", _einsums("bij,bkj->bik")),
    _sequence("einsum-outer", _einsums("bij,bik->bijk")),
    _sequence("einsum-sum", _einsums("bij,bij->bi")),
    _sequence("einsum-dense", lambda x: layers.Dense(2)(layers.EinsumDense("abc,cde->abde", (None, 2, 4))(x))),
    _sequence("conv1d", lambda x: layers.Conv1D(4, 3, activation="relu")(x)),
    _sequence("conv1d-causal-dilated", lambda x: layers.Conv1D(4, 2, padding="causal", dilation_rate=2)(x)),
    _sequence("conv1d-transpose", lambda x: layers.Conv1DTranspose(4, 3, strides=2)(x)),
    _sequence("depthwise-conv1d", lambda x: layers.DepthwiseConv1D(3)(x)),
    _image("conv2d-transpose", lambda x: layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)),
    _image("conv2d-groups", lambda x: layers.Conv2D(4, 3, groups=2)(layers.Conv2D(4, 1)(x))),
    _image("conv2d-dilated", lambda x: layers.Conv2D(4, 3, dilation_rate=2)(x)),
    _image("separable-conv", lambda x: layers.SeparableConv2D(4, 3)(x)),
    Case("conv3d", _VOLUME, lambda x: layers.Conv3D(4, 2)(x)),
    Case("conv3d-transpose", _VOLUME, lambda x: layers.Conv3DTranspose(4, 2)(x)),
    Case("pool3d", _VOLUME, lambda x: layers.Dense(2)(layers.MaxPooling3D(2)(x))),
    Case("average-pool3d", _VOLUME, lambda x: layers.Dense(2)(layers.AveragePooling3D(2)(x))),
    _image("upsampling-nearest", lambda x: layers.Conv2D(2, 3)(layers.UpSampling2D(2)(x))),
    _image("upsampling-bilinear", lambda x: layers.Conv2D(2, 3)(layers.UpSampling2D(2, interpolation="bilinear")(x))),
    _image("upsampling-bicubic", lambda x: layers.Conv2D(2, 3)(layers.UpSampling2D(2, interpolation="bicubic")(x))),
    _image("resizing", lambda x: layers.Conv2D(2, 3)(layers.Resizing(12, 10)(x))),
    _image("cropping-padding", lambda x: layers.Conv2D(2, 3)(layers.ZeroPadding2D(1)(layers.Cropping2D(1)(x)))),
    _image("reflect-padding", lambda x: layers.Conv2D(2, 3)(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"))),
    _image("global-max-pool", lambda x: layers.Dense(2)(layers.GlobalMaxPooling2D()(x))),
    _image("average-pool", lambda x: layers.Dense(2)(layers.AveragePooling2D(2)(x))),
    _image("adaptive-pool", lambda x: layers.Dense(2)(layers.AdaptiveAveragePooling2D(3)(x))),
    _image(
        "depth-to-space",
        lambda x: ops.reshape(
            ops.transpose(ops.reshape(layers.Conv2D(8, 1)(x), (-1, 8, 8, 2, 2, 2)), (0, 1, 3, 2, 4, 5)), (-1, 16, 16, 2)
        ),
    ),
    _vector("argmax", lambda x: ops.argmax(layers.Dense(5)(x), -1)),
    _vector("top-k", lambda x: ops.top_k(layers.Dense(5)(x), 2)[0]),
    _vector("sort", lambda x: layers.Dense(2)(ops.sort(x, -1))),
    _vector("logsumexp", lambda x: ops.logsumexp(layers.Dense(5)(x), axis=-1, keepdims=True)),
    _vector("log-softmax", lambda x: ops.log_softmax(layers.Dense(5)(x))),
    *(
        _activated(name)
        for name in (
            "elu",
            "selu",
            "mish",
            "silu",
            "hard_silu",
            "hard_sigmoid",
            "softplus",
            "softsign",
            "relu6",
            "leaky_relu",
            "celu",
            "hard_tanh",
            "log_sigmoid",
            "sparse_plus",
            "squareplus",
            "tanh_shrink",
            "exponential",
        )
    ),
    _vector("prelu", lambda x: layers.Dense(4)(layers.PReLU()(layers.Dense(8)(x)))),
    _pointwise("exp", ops.exp),
    _pointwise("log", ops.log, positive=True),
    _pointwise("log1p", ops.log1p, positive=True),
    _pointwise("expm1", ops.expm1),
    _pointwise("sqrt", ops.sqrt, positive=True),
    _pointwise("rsqrt", ops.rsqrt, positive=True),
    _pointwise("sin", ops.sin),
    _pointwise("cos", ops.cos),
    _pointwise("arctan2", lambda x: ops.arctan2(x, x + 3.0)),
    _pointwise("power", lambda x: ops.power(x, 1.7), positive=True),
    _pointwise("reciprocal", ops.reciprocal, positive=True),
    _pointwise("floor-mod", lambda x: ops.mod(x, 0.7)),
    _pointwise("floor", ops.floor),
    _pointwise("round", ops.round),
    _pointwise("sign", ops.sign),
    _pointwise("clip", lambda x: ops.clip(x, -0.5, 0.5)),
    _vector("norm", lambda x: ops.norm(layers.Dense(5)(x), axis=-1, keepdims=True)),
    _sequence("variance", lambda x: layers.Dense(2)(ops.var(x, axis=1))),
    _sequence("product", lambda x: layers.Dense(2)(ops.prod(x, axis=1))),
    _sequence("roll", lambda x: layers.Dense(2)(ops.roll(x, 2, axis=1))),
    _sequence("flip", lambda x: layers.Dense(2)(ops.flip(x, axis=1))),
    _sequence("tile", lambda x: layers.Dense(2)(ops.tile(x, (1, 2, 1)))),
    _sequence("repeat", lambda x: layers.Dense(2)(ops.repeat(x, 2, axis=1))),
    Case("cast-int", {"x": ((8,), "int32")}, lambda x: layers.Dense(2)(ops.cast(x, "float32") / 10.0)),
    Case(
        "uint8-image",
        {"x": ((8, 8, 3), "uint8")},
        lambda x: layers.Conv2D(2, 3)(layers.Rescaling(1 / 255)(x)),
        high=256,
    ),
    Case("int64-tokens", {"x": ((6,), "int64")}, lambda x: layers.Dense(2)(layers.Embedding(10, 8)(x))),
    Case("bool-input", {"keep": ((6,), "bool")}, lambda keep: layers.Dense(2)(ops.cast(keep, "float32"))),
    Case("category-encoding", {"x": ((1,), "int32")}, lambda x: layers.Dense(2)(layers.CategoryEncoding(10)(x))),
    Case(
        "discretization",
        {"x": ((8,), "float32")},
        lambda x: layers.Dense(2)(ops.cast(layers.Discretization([-1.0, 0.0, 1.0])(x), "float32")),
    ),
    _image("rescaling", lambda x: layers.Conv2D(2, 3)(layers.Rescaling(0.5, 0.1)(x))),
    _vector("normalization", lambda x: layers.Dense(2)(layers.Normalization(mean=[0.5] * 8, variance=[2.0] * 8)(x))),
    _vector("dropouts", lambda x: layers.Dense(2)(layers.GaussianNoise(0.1)(layers.Dropout(0.5)(x)))),
    _vector("float-output-bool", lambda x: ops.cast(layers.Dense(3)(x) > 0, "float32")),
    _sequence("time-distributed", lambda x: layers.TimeDistributed(layers.Dense(3))(x)),
    _vector("glu", lambda x: layers.Dense(4)(ops.glu(layers.Dense(8)(x)))),
    _sequence("spectrum", lambda x: layers.Dense(2)(ops.fft((x, ops.zeros_like(x)))[0])),
    _vector("triangular", lambda x: layers.Dense(2)(ops.reshape(ops.tril(ops.reshape(x, (-1, 2, 4))), (-1, 8)))),
    _vector(
        "segments",
        lambda x: layers.Dense(2)(
            ops.transpose(ops.segment_sum(ops.transpose(x), np.array([0, 0, 1, 1, 2, 2, 3, 3]), 4))
        ),
    ),
)
