"""PaiNN's layers: messages that carry vectors, which turn as the molecule turns.

Schuett, Unke and Gastegger, "Equivariant message passing for the prediction of tensorial properties and molecular
spectra", 2021, arXiv 2102.03150. An atom has features ``s_i`` and, for each of x, y and z, features of their own. The
three are kept as three tensors: int8 runtimes multiply four dimensions, and one tensor of all would have five.
"""

from typing import Any

import keras
from keras import ops

from ._graph_activations import silu

EPSILON = 1e-8


class _Block(keras.layers.Layer):
    """A layer with a width."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("edgewright")
class VectorMessage(_Block):
    """PaiNN's message block, equations 7 and 8.

    With ``phi(s) = W2 silu(W1 s + b1) + b2`` and ``W(d) = (F e(d) + b) f_c(d)``, both split in three by features::

        s_i' = s_i + sum_j phi_1(s_j) * W_1(d_ij)
        v_i' = v_i + sum_j v_j * phi_2(s_j) * W_2(d_ij) + sum_j phi_3(s_j) * W_3(d_ij) (r_i - r_j) / d_ij

    ``(s, e [batch, N, N, K], f_c [batch, N, N, 1], directions [batch, N, N, 3], v_x, v_y, v_z)`` to ``(s, v_x, v_y,
    v_z)``, each ``[batch, N, units]``. The first block is called without vectors, which are zero there, and has no
    weights for phi_2 and W_2.
    """

    def build(self, shapes: Any) -> None:
        """Make the three Dense layers."""
        self.first = keras.layers.Dense(self.units, activation=silu, name="first")
        self.first.build(shapes[0])
        parts = 3 if len(shapes) > 4 else 2
        self.second = keras.layers.Dense(parts * self.units, name="second")
        self.second.build(shapes[0])
        self.filters = keras.layers.Dense(parts * self.units, name="filters")
        self.filters.build(shapes[1])

    def call(self, inputs: Any) -> Any:
        """Return the new features and vectors."""
        s, radial, cutoff, directions, *vectors = inputs
        sent = ops.expand_dims(self.second(self.first(s)), 1)
        messages = sent * (self.filters(radial) * cutoff)
        of_features, *of_vectors, of_directions = ops.split(messages, 3 if vectors else 2, axis=-1)
        made = []
        for axis in range(3):
            message = of_directions * directions[..., axis : axis + 1]
            if vectors:
                message = message + of_vectors[0] * ops.expand_dims(vectors[axis], 1)
            received = ops.sum(message, axis=2)
            made.append(vectors[axis] + received if vectors else received)
        return (s + ops.sum(of_features, axis=2), *made)


@keras.saving.register_keras_serializable("edgewright")
class VectorUpdate(_Block):
    """PaiNN's update block, equations 9 and 10.

    With ``a = W2 silu(W1 [s, |V v|] + b1) + b2``, split in three along the features::

        s_i' = s_i + a_ss + a_sv * <U v_i, V v_i>
        v_i' = v_i + a_vv * U v_i

    ``(s, v_x, v_y, v_z)`` to the same, each ``[batch, N, units]``. U and V mix features, never axes. With ``last`` only
    ``(s,)`` comes out, and there are no weights for a_vv: what reads out features needs no vectors.
    """

    def __init__(self, units: int, last: bool = False, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.last = last

    def build(self, shapes: Any) -> None:
        """Make the four Dense layers."""
        self.left = keras.layers.Dense(self.units, use_bias=False, name="left")
        self.right = keras.layers.Dense(self.units, use_bias=False, name="right")
        self.first = keras.layers.Dense(self.units, activation=silu, name="first")
        self.second = keras.layers.Dense((2 if self.last else 3) * self.units, name="second")
        for layer in (self.left, self.right, self.second):
            layer.build(shapes[0])
        self.first.build((*shapes[0][:-1], 2 * self.units))

    def call(self, inputs: Any) -> Any:
        """Return the new features and vectors."""
        s, *vectors = inputs
        left = [self.left(vector) for vector in vectors]
        right = [self.right(vector) for vector in vectors]
        squares = right[0] * right[0] + right[1] * right[1] + right[2] * right[2]
        product = left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
        norms = ops.sqrt(squares + EPSILON)
        mixed = self.second(self.first(ops.concatenate([s, norms], axis=-1)))
        *of_vectors, of_product, of_features = ops.split(mixed, 2 if self.last else 3, axis=-1)
        made = [vector + part * lengths for lengths in of_vectors for vector, part in zip(vectors, left, strict=True)]
        return (s + of_features + of_product * product, *made)

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "last": self.last}
