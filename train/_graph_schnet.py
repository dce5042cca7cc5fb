"""SchNet's layers, each with a ``forward`` that keeps what its ``backward`` needs: forces without automatic gradients.

Schuett et al., "SchNet: A continuous-filter convolutional neural network for modeling quantum interactions", 2017,
arXiv 1706.08566. A force is the energy's slope, and keras.ops has no gradient: the backward pass is written out here,
so that it trains on every backend and is exported as an ordinary graph.
"""

from typing import Any

import keras
from keras import ops

from ._graph_activations import ACTIVATIONS


class _Block(keras.layers.Layer):
    """A layer with a width and an activation."""

    def __init__(self, units: int, activation: str = "silu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.activation = units, activation

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "units": self.units, "activation": self.activation}


def _backward(gradient: Any, layer: keras.layers.Dense) -> Any:
    """Return the gradient of a Dense layer's inputs."""
    return ops.matmul(gradient, ops.transpose(layer.kernel))


@keras.saving.register_keras_serializable("edgewright")
class ContinuousFilter(_Block):
    """SchNet's filter generator: ``W(d) = (W2 a(W1 e(d) + b1) + b2) f_c(d)``.

    ``(e [batch, N, N, K], f_c [batch, N, N, 1])`` to ``[batch, N, N, units]``. A filter depends on the one number d, so
    its slope is carried along from the inputs' slopes: ``W' = (W2 (a'(.) W1 e')) f_c + (W2 a(.) + b2) f_c'``.
    """

    def build(self, shapes: Any) -> None:
        """Make the two Dense layers."""
        radial = shapes[0]
        self.first = keras.layers.Dense(self.units, name="first")
        self.first.build(radial)
        self.second = keras.layers.Dense(self.units, name="second")
        self.second.build((*radial[:-1], self.units))

    def call(self, inputs: Any) -> Any:
        """Return the filters."""
        radial, cutoff = inputs
        return self.second(ACTIVATIONS[self.activation](self.first(radial))[0]) * cutoff

    def with_slope(self, radial: Any, cutoff: Any, radial_slope: Any, cutoff_slope: Any) -> tuple[Any, Any]:
        """Return the filters and their slopes over the distance."""
        value, slope = ACTIVATIONS[self.activation](self.first(radial))
        filters = self.second(value)
        slopes = ops.matmul(slope * ops.matmul(radial_slope, self.first.kernel), self.second.kernel)
        return filters * cutoff, slopes * cutoff + filters * cutoff_slope


@keras.saving.register_keras_serializable("edgewright")
class Interaction(_Block):
    """SchNet's interaction: ``x_i' = x_i + V2 a(V1 sum_j (U x_j) * W(d_ij) + c1) + c2``.

    ``(x [batch, N, units], W [batch, N, N, units])`` to ``[batch, N, units]``. Messages are multiplied and summed
    over the padded pairs, for gathering and scattering do not convert to int8.
    """

    def build(self, shapes: Any) -> None:
        """Make the three Dense layers."""
        self.senders = keras.layers.Dense(self.units, use_bias=False, name="senders")
        self.first = keras.layers.Dense(self.units, name="first")
        self.second = keras.layers.Dense(self.units, name="second")
        for layer in (self.senders, self.first, self.second):
            layer.build(shapes[0])

    def call(self, inputs: Any) -> Any:
        """Return the atoms' new features."""
        return self.forward(*inputs)[0]

    def forward(self, x: Any, filters: Any) -> tuple[Any, Any]:
        """Return the new features, and what ``backward`` needs."""
        sent = ops.expand_dims(self.senders(x), 1)
        value, slope = ACTIVATIONS[self.activation](self.first(ops.sum(sent * filters, axis=2)))
        return x + self.second(value), (sent, filters, slope)

    def backward(self, gradient: Any, kept: Any) -> tuple[Any, Any]:
        """Return the gradients of the features and of the summed messages, from that of the new features.

        ``backward(x', kept)`` to ``dE/dx_j = dE/dx'_j + U^T sum_i m_i * W_ij`` and ``m_i = V1^T (a'(.) * V2^T
        dE/dx'_i)``.
        """
        _, filters, slope = kept
        messages = ops.expand_dims(_backward(slope * _backward(gradient, self.second), self.first), 2)
        received = ops.sum(messages * filters, axis=1)
        return gradient + _backward(received, self.senders), messages

    def tension(self, messages: Any, slopes: Any, kept: Any) -> Any:
        """Return the energy's slope over the distances by way of the filters, ``t_ij = m_i . ((U x_j) * W'(d_ij))``.

        As a product of matrices: its sum over features is kept in 32 bits, where int8 would round each product. The
        Edge TPU has no such operation: there it runs on the CPU.
        """
        sent, _, _ = kept
        return ops.squeeze(ops.matmul(sent * slopes, ops.swapaxes(messages, 2, 3)), -1)


@keras.saving.register_keras_serializable("edgewright")
class AtomEnergy(_Block):
    """The readout of an energy: ``E = sum_i mask_i (w2 a(w1 x_i + b1))``; ``(x, mask)`` to ``[batch, 1]``."""

    def build(self, shapes: Any) -> None:
        """Make the two Dense layers."""
        self.first = keras.layers.Dense(self.units, name="first")
        self.first.build(shapes[0])
        self.second = keras.layers.Dense(1, use_bias=False, name="second")
        self.second.build((*shapes[0][:-1], self.units))

    def call(self, inputs: Any) -> Any:
        """Return the energy."""
        return self.forward(*inputs)[0]

    def forward(self, x: Any, mask: Any) -> tuple[Any, Any]:
        """Return the energy, and what ``backward`` needs."""
        value, slope = ACTIVATIONS[self.activation](self.first(x))
        return ops.sum(self.second(value) * mask, axis=1), (slope, mask)

    def backward(self, kept: Any) -> Any:
        """Return the energy's gradient by the features."""
        slope, mask = kept
        return _backward(slope * mask * ops.transpose(self.second.kernel), self.first)


@keras.saving.register_keras_serializable("edgewright")
class SchNetPotential(_Block):
    """An energy and its slope over every distance, ``t_ij = dE/dd_ij``: SchNet forward, then backward.

    ``(atoms [batch, N, T], mask [batch, N, 1], e [batch, N, N, K], e', f_c [batch, N, N, 1], f_c')`` to the energy
    ``[batch, 1]`` and, for each interaction, what t has by its filters, ``[batch, N, N]``: t is the sum. All are in
    units of ``scale``. Each order of a pair has its own t.
    """

    def __init__(
        self, units: int, interactions: int, scale: float = 1.0, activation: str = "silu", **kwargs: Any
    ) -> None:
        super().__init__(units, activation, **kwargs)
        self.interactions, self.scale = interactions, scale

    def build(self, shapes: Any) -> None:
        """Make the embedding, the filters, the interactions and the readout."""
        atoms, _, radial, _, cutoff, _ = shapes
        features, filters = (*atoms[:-1], self.units), (*radial[:-1], self.units)
        self.embedding = keras.layers.Dense(self.units, use_bias=False, name="embedding")
        self.embedding.build(atoms)
        self.filters, self.layers = [], []
        for number in range(1, self.interactions + 1):
            self.filters.append(ContinuousFilter(self.units, self.activation, name=f"filter_{number}"))
            self.filters[-1].build([radial, cutoff])
            self.layers.append(Interaction(self.units, self.activation, name=f"interaction_{number}"))
            self.layers[-1].build([features, filters])
        self.readout = AtomEnergy(self.units // 2, self.activation, name="readout")
        self.readout.build([features, (*atoms[:-1], 1)])

    def call(self, inputs: Any) -> Any:
        """Return the energy, and its slopes over the distances by each interaction's filters."""
        atoms, mask, radial, radial_slope, cutoff, cutoff_slope = inputs
        x = self.embedding(atoms)
        kept, slopes = [], []
        for make_filters, layer in zip(self.filters, self.layers, strict=True):
            filters, slope = make_filters.with_slope(radial, cutoff, radial_slope, cutoff_slope)
            x, needed = layer.forward(x, filters)
            kept.append(needed)
            slopes.append(slope)
        energy, needed = self.readout.forward(x, mask)
        gradient = self.readout.backward(needed)
        tensions = []
        for layer, needed, slope in zip(reversed(self.layers), reversed(kept), reversed(slopes), strict=True):
            gradient, messages = layer.backward(gradient, needed)
            tensions.append(layer.tension(messages, slope, needed) * self.scale)
        return energy * self.scale, *reversed(tensions)

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is rebuilt from."""
        return {**super().get_config(), "interactions": self.interactions, "scale": self.scale}


@keras.saving.register_keras_serializable("edgewright")
class PairForces(keras.layers.Layer):
    """Forces from the energy's slopes over the distances: ``F_i = -sum_j (t_ij + t_ji) (r_i - r_j) / d_ij``.

    ``(t [batch, N, N], directions [batch, N, N, 3])`` to ``[batch, N, 3]``. They add up to zero by construction.
    """

    def call(self, inputs: Any) -> Any:
        """Return the forces."""
        tension, directions = inputs
        both = ops.expand_dims(tension + ops.transpose(tension, (0, 2, 1)), -1)
        return -ops.sum(both * directions, axis=2)
