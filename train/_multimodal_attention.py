"""Cross-attention: what one modality asks, the tokens of another answer.

The projections are plain Dense layers around these layers, which have no weights, so that the form for training, many
queries at once by matrix products, and the form for devices, one query by products and sums, share them.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("edgewright")
class SplitHeads(keras.layers.Layer):
    """``[batch, tokens, heads * width]`` to ``[batch, heads, tokens, width]``."""

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, x: Any) -> Any:
        """Return the heads apart."""
        tokens, units = x.shape[1:]
        return ops.transpose(ops.reshape(x, (-1, tokens, self.heads, units // self.heads)), (0, 2, 1, 3))

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same layer again."""
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("edgewright")
class Attend(keras.layers.Layer):
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1).

    ``softmax(Q K^T / sqrt(width)) V`` for queries ``[batch, heads, queries, width]``, keys and values
    ``[batch, heads, tokens, width]``; the heads of a query come out side by side: ``[batch, queries, heads * width]``.
    """

    def call(self, inputs: Any) -> Any:
        """Return what the queries gather."""
        queries, keys, values = inputs
        _, heads, count, width = queries.shape
        weights = ops.softmax(ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2))) / math.sqrt(width))
        gathered = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        return ops.reshape(gathered, (-1, count, heads * width))


@keras.saving.register_keras_serializable("edgewright")
class AttendOnce(keras.layers.Layer):
    """``Attend`` for one query, without matrix products between activations, which an Edge TPU has not.

    ``a = softmax(sum(K * q) / sqrt(width))``, then ``sum(V * a)``; shapes as those of ``Attend`` with one query.
    """

    def call(self, inputs: Any) -> Any:
        """Return what the query gathers."""
        query, keys, values = inputs
        _, heads, count, width = query.shape
        if count != 1:
            raise ValueError(f"Expected one query, [batch, heads, 1, width]. Got: {tuple(query.shape)}.")
        weights = ops.softmax(ops.sum(keys * (query * (1 / math.sqrt(width))), axis=-1))
        gathered = ops.sum(values * ops.expand_dims(weights, -1), axis=2)
        return ops.reshape(gathered, (-1, 1, heads * width))


@keras.saving.register_keras_serializable("edgewright")
class Place(keras.layers.Layer):
    """Tells tokens ``[batch, rows * columns, units]`` where on the grid they are, by the channels x, y, x^2 and y^2.

    Appending the four channels to the tokens and then mapping them linearly is ``W_token token + W_place place + b``.
    The first and the last term are a Dense layer before this one; this one adds the second, a constant. x and y run
    from -1 to 1; with the squares, a product of query and key can be the squared distance between two places.
    """

    def __init__(self, rows: int, columns: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def build(self, shape: Any) -> None:
        """Make the linear map of the place."""
        self.kernel = self.add_weight(shape=(4, shape[-1]), initializer="glorot_uniform", name="kernel")

    def call(self, tokens: Any) -> Any:
        """Return the tokens with their places."""
        return tokens + ops.matmul(
            ops.convert_to_tensor(places(self.rows, self.columns), self.kernel.dtype), self.kernel
        )

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same layer again."""
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}


@keras.saving.register_keras_serializable("edgewright")
class NormalizedChannels(keras.layers.Layer):
    """Layer normalization over the last axis (Ba, Kiros and Hinton 2016, arXiv 1607.06450, equation 4).

    ``gamma (x - m) / sqrt(v + epsilon) + beta``, m and v the mean and the variance of a token's channels. Keras' own
    layer computes ``x s + (beta - m s)``, whose negation TFLite has in float alone; this one is integers throughout.
    """

    EPSILON = 1e-5

    def build(self, shape: Any) -> None:
        """Make gamma and beta."""
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x: Any) -> Any:
        """Return the normalized tokens."""
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        return centred * ops.rsqrt(variance + self.EPSILON) * self.gamma + self.beta


def places(rows: int, columns: int) -> np.ndarray:
    """Return x, y, x^2 and y^2 of each place of a grid, row by row: ``[rows * columns, 4]``."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.stack([x, y, x * x, y * y], axis=-1).reshape(-1, 4).astype(np.float32)
