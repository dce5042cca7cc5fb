"""Mixed precision: which layers stay in float for the quantized model to decide as the float one does, and why.

Each layer is quantized alone and the outputs compared with the float model's; the layers that disturb them most are
left in float, one after the other, until the rest agrees (the sensitivity analysis of Wu et al., "Integer quantization
for deep learning inference", 2020, arXiv 2004.09602, section 5.1).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..train._agreement import agreement_percent
from ..train._training import as_inputs
from ._activations import Activations, fake_quantizer
from ._points import FIXED_RANGES, run_at_points
from ._samples import Samples
from ._technique import Work
from ._weight_quantizer import WeightQuantizer, kernels, summed_axes

if TYPE_CHECKING:
    import keras


def layers_to_keep(
    work: Work, activations: Activations, samples: Samples, max_disagreement: float
) -> tuple[Activations, tuple[str, ...]]:
    """Return the activations with the layers that stay in float, and a sentence for each that says why.

    Args:
        work: the model.
        activations: how it is quantized otherwise.
        samples: what the models are compared on.
        max_disagreement: in percent; see ``Int8``.
    """
    switched = _SwitchedModel(work.model, activations, samples)
    layers = switched.layers
    wanted = switched.outputs(())
    everything = disagreement_percent(wanted, switched.outputs(layers))
    if everything <= max_disagreement:
        return activations, ()
    alone = {layer: _distance(wanted, switched.outputs((layer,))) for layer in layers}
    ranked = sorted(layers, key=lambda layer: alone[layer], reverse=True)
    kept, left = 0, everything
    while left > max_disagreement and kept < len(ranked) - 1:
        kept += 1
        left = disagreement_percent(wanted, switched.outputs(ranked[kept:]))
    reasons = {
        layer: f"quantized alone it moves the outputs by {100 * alone[layer]:.3g} % of their deviation"
        for layer in ranked[:kept]
    }
    notes = (
        f"{everything:.3g} % disagreement with everything in int8, {left:.3g} % with {kept} of {len(ranked)} layers in "
        f"float (at most {max_disagreement:g} % asked for).",
        *(f"{layer} stays in float: {reason}." for layer, reason in reasons.items()),
    )
    return replace(activations, reasons=reasons), notes


def disagreement_percent(wanted: Iterable[np.ndarray], received: Iterable[np.ndarray]) -> float:
    """Return how far two models' outputs disagree, in percent, at the worst output; see ``agreement_percent``.

    >>> disagreement_percent([np.array([[0.9, 0.1], [0.2, 0.8]])], [np.array([[0.6, 0.4], [0.7, 0.3]])])
    50.0
    """
    return max(100 - agreement_percent(*pair) for pair in zip(wanted, received, strict=True))


def _distance(wanted: Iterable[np.ndarray], received: Iterable[np.ndarray]) -> float:
    """Return the root mean squared difference over the deviation, of the worst output."""
    return max(
        float(np.sqrt(np.mean((np.float64(expected) - output) ** 2)) / max(float(np.std(expected)), 1e-12))
        for expected, output in zip(wanted, received, strict=True)
    )


class _SwitchedModel:
    """A model of which any layers can be quantized, traced once."""

    def __init__(self, model: "keras.Model", activations: Activations, samples: Samples) -> None:
        import keras
        import tensorflow as tf

        from ._variable_paths import layers_of

        points = activations.points_of(model)
        at_point = fake_quantizer(activations.ranges_of(model, samples))
        layer_of = {point.name: point.layer for point in points}
        self.layers = tuple(dict.fromkeys(point.layer for point in points if point.operation not in FIXED_RANGES))
        self._switches = {layer: tf.Variable(False, trainable=False) for layer in self.layers}
        self._batches = [as_inputs(model, batch) for batch in samples()]
        axes = summed_axes(model)
        owners = layers_of(model)
        quantizers = [
            (kernel, WeightQuantizer("mixed", kernel, axes[kernel.path]), self._switches[owners[kernel.path]])
            for kernel in kernels(model)[0]
            if owners[kernel.path] in self._switches
        ]

        def at(name: str, tensor: Any) -> Any:
            switch = self._switches.get(layer_of[name])
            return at_point(name, tensor) if switch is None else tf.where(switch, at_point(name, tensor), tensor)

        @tf.function(autograph=False, reduce_retracing=True)
        def run(inputs: Any) -> Any:
            mapping = [
                (kernel, tf.where(switch, quantizer(kernel.value), kernel.value))
                for kernel, quantizer, switch in quantizers
            ]
            with keras.StatelessScope(state_mapping=mapping):
                return keras.tree.flatten(run_at_points(model, inputs, at, frozenset(layer_of)))

        self._run = run

    def outputs(self, quantized: Iterable[str]) -> list[np.ndarray]:
        """Return the outputs for all samples with some layers quantized, one array for each output."""
        quantized = set(quantized)
        for layer, switch in self._switches.items():
            switch.assign(layer in quantized)
        parts = [[np.asarray(array) for array in self._run(batch)] for batch in self._batches]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
