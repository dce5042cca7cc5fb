"""What a transformer is made of besides Keras' dense layers: normalization, positions, dot-product attention."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

MASKED = -30.0  # what is added to a masked logit: exp(-30) is below float32's resolution, and int8 can hold it


@keras.saving.register_keras_serializable("edgewright")
class LayerNorm(keras.layers.Layer):
    """Layer normalization: ``gain (x - mean) / sqrt(variance + epsilon) + shift`` over the last axis.

    Ba, Kiros and Hinton, "Layer normalization" (2016, arXiv 1607.06450). Written with ``c * c`` because Keras' own
    layer converts to int8 with a negation and a square that stay float.

    Args:
        epsilon: below the root.
    """

    def __init__(self, epsilon: float = 1e-5, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.epsilon = epsilon

    def build(self, shape: Any) -> None:
        """Make gain and shift ``[features]``."""
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")
        self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros", name="shift")

    def call(self, x: Any) -> Any:
        """Map ``[..., features]`` to the same shape."""
        centred = x - keras.ops.mean(x, axis=-1, keepdims=True)
        variance = keras.ops.mean(centred * centred, axis=-1, keepdims=True)
        return centred * keras.ops.rsqrt(variance + self.epsilon) * self.gain + self.shift

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("edgewright")
class Positions(keras.layers.Layer):
    """Adds learned position vectors: ``x_t + P_t``, with P begun as the sinusoids of Vaswani et al. (2017, 3.5).

    Args:
        length: positions that it knows.
    """

    def __init__(self, length: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.length = length

    def build(self, shape: Any) -> None:
        """Make the table ``[length, features]``."""
        features = shape[-1]
        self.table = self.add_weight(
            shape=(self.length, features),
            initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(sinusoids(*shape), dtype),
            name="table",
        )

    def call(self, x: Any, places: Any = None) -> Any:
        """Map ``[batch, length, features]`` to the same shape; or ``[batch, 1, features]`` at one-hot ``places``.

        Args:
            x: token vectors.
            places: ``[batch, tokens, length]`` one-hot; the first, second, ... position when None.
        """
        return x + (self.table if places is None else keras.ops.matmul(places, self.table))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return {**super().get_config(), "length": self.length}


@keras.saving.register_keras_serializable("edgewright")
class DotProductAttention(keras.layers.Layer):
    """Attention in several heads: ``softmax(Q K^T / sqrt(d) + mask) V`` in each (Vaswani et al. 2017, equation 1).

    It has no weights: the projections around it are dense layers.

    Args:
        heads: the features are divided among them.
        causal: let no query see a later key.
    """

    def __init__(self, heads: int, causal: bool = False, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.heads = heads
        self.causal = causal

    def call(self, query: Any, key: Any, value: Any, mask: Any = None) -> Any:
        """Return ``[batch, queries, features]``.

        Args:
            query: ``[batch, queries, features]``.
            key, value: ``[batch, keys, features]``.
            mask: ``[batch, queries, keys]``, added to the logits: 0, or ``MASKED`` where a key is not to be seen.
        """
        features = query.shape[-1]
        query = self._split(query * (1 / math.sqrt(features // self.heads)))
        logits = keras.ops.matmul(query, keras.ops.transpose(self._split(key), (0, 1, 3, 2)))
        if mask is not None:
            logits = logits + keras.ops.expand_dims(mask, 1)
        if self.causal:
            length = logits.shape[-1]
            logits = logits + MASKED * np.triu(np.ones((length, length), np.float32), 1)
        mixed = keras.ops.matmul(keras.ops.softmax(logits, axis=-1), self._split(value))
        return keras.ops.reshape(keras.ops.transpose(mixed, (0, 2, 1, 3)), (-1, mixed.shape[2], features))

    def _split(self, x: Any) -> Any:
        """Map ``[batch, tokens, features]`` to ``[batch, heads, tokens, features / heads]``."""
        tokens, features = x.shape[1:]
        parted = keras.ops.reshape(x, (-1, tokens, self.heads, features // self.heads))
        return keras.ops.transpose(parted, (0, 2, 1, 3))

    def compute_output_shape(self, query: Any, *others: Any, **keywords: Any) -> Any:
        """Return the shape of the query."""
        return query

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return {**super().get_config(), "heads": self.heads, "causal": self.causal}


@keras.saving.register_keras_serializable("edgewright")
class IntegerFeatures(keras.layers.Layer):
    """Tells integers to a network: ``sin 2 pi v / p`` and ``cos 2 pi v / p`` for several periods p, scale, sign, type.

    The host code of the list programs has the same features for the device (``_synthesis_list_host.features``).

    Args:
        periods: the p.
        integer, sequence: the types, as numbers, that a value can be of; any other type is an empty slot.
    """

    def __init__(self, periods: Sequence[int], integer: int = 1, sequence: int = 2, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.periods, self.integer, self.sequence = tuple(periods), integer, sequence
        self.features = 2 * len(self.periods) + 4

    def call(self, slots: Any) -> Any:
        """Map ``[..., 2]`` (value, type) to ``[..., features]``."""
        value, kind = slots[..., :1], slots[..., 1:]
        angles = value * (2 * np.pi / np.array(self.periods, np.float32))
        negative = keras.ops.cast(value < 0, slots.dtype)
        told = [keras.ops.sin(angles), keras.ops.cos(angles), value / 256, negative]
        there = keras.ops.cast(kind > 0, slots.dtype)
        types = [keras.ops.cast(kind == own, slots.dtype) for own in (self.integer, self.sequence)]
        return keras.ops.concatenate([keras.ops.concatenate(told, axis=-1) * there, *types], axis=-1)

    def compute_output_shape(self, shape: Any) -> Any:
        """Return ``[..., features]``."""
        return (*shape[:-1], self.features)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        told = {"periods": list(self.periods), "integer": self.integer, "sequence": self.sequence}
        return {**super().get_config(), **told}


@keras.saving.register_keras_serializable("edgewright")
class FoldExamples(keras.layers.Layer):
    """Makes each example a sample: ``[batch, examples, tokens, ...]`` to ``[batch * examples, tokens, ...]``."""

    def call(self, x: Any) -> Any:
        """Return the folded tensor."""
        return keras.ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the folded shape."""
        return (None, *shape[2:])


@keras.saving.register_keras_serializable("edgewright")
class PoolExamples(keras.layers.Layer):
    """The maximum over a sample's examples: ``[batch * examples, tokens, features]`` to ``[batch, tokens, features]``.

    Late pooling over the examples of a program: Devlin et al., "RobustFill" (2017, arXiv 1703.07469), section 4.2.

    Args:
        examples: of one sample.
    """

    def __init__(self, examples: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.examples = examples

    def call(self, x: Any) -> Any:
        """Return the maximum, token by token and feature by feature."""
        return keras.ops.max(keras.ops.reshape(x, (-1, self.examples, *x.shape[1:])), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return {**super().get_config(), "examples": self.examples}


def sinusoids(length: int, features: int) -> np.ndarray:
    """Return ``[length, features]``: ``sin(t / 10000^(2i / features))`` in the first half, cosines in the second.

    >>> sinusoids(2, 4).round(2).tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.8399999737739563, 0.009999999776482582, 0.5400000214576721, 1.0]]
    """
    angles = np.arange(length)[:, None] / 10000.0 ** (2 * np.arange(features // 2) / features)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
