"""Quantization-aware training: trained on with rounded kernels and activations, so that the model learns to bear it.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018
(arXiv 1712.05877). The graph that is trained is the one that is deployed: normalizations use their moving statistics
and nothing is dropped out. Any layer is taken, recurrent, attention and custom layers included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ..errors import InputError
from ._calibration import Range, with_zero
from ._fine_tuning import FineTuning, fine_tune
from ._points import Point, run_at_points
from ._quantization import Int8
from ._samples import check_samples, representative
from ._scope import Scope, check_trainable
from ._technique import PRECISION, Parameters, Result, Technique, Work
from ._weight_quantizer import WeightQuantizer, kernels, summed_axes

if TYPE_CHECKING:
    import keras

    from ._activations import Activations

# Of the moving average of the batches' extremes, per step.
_MOMENTUM = 0.99


class QuantizationAwareTraining(FineTuning, Int8):
    """Parameters of quantization-aware training.

    Attributes:
        ranges: of the activations: "learned" by gradient (Jain et al., "Trained quantization thresholds", 2020, arXiv
            1903.08066), "moving_average" of each batch's extremes, or "fixed" as calibrated.
        scope: regular expression over the paths of the kernels that are rounded; all when empty.
        epochs, ...: of the training; see ``FineTuning``.
        calibration, ...: where the ranges begin; see ``Int8``.
    """

    ranges: str = Field("learned", pattern="^(learned|moving_average|fixed)$")
    scope: Scope = ""
    calibration: str = Field("mse", pattern="^(min_max|percentile|mse|entropy)$")
    epochs: int = Field(4, ge=1)
    learning_rate: float = Field(3e-4, gt=0)


class QuantizedRun:
    """Runs a model with its activations fake-quantized, in ranges that are trained along.

    Args:
        points: where activations are quantized.
        ranges: where they begin, by the point's name.
        kind: "learned", "moving_average" or "fixed".
    """

    def __init__(self, points: Sequence[Point], ranges: Mapping[str, Range], kind: str) -> None:
        import keras

        self._kind = kind
        self._fixed = {point.name for point in points if point.fixed}
        self._names = frozenset(point.name for point in points)
        self._ranges = {
            name: keras.Variable(
                np.array(bounds, "float32"), trainable=kind == "learned" and name not in self._fixed, name="range"
            )
            for name, bounds in ranges.items()
        }
        self.variables = list(self._ranges.values())

    def __call__(self, model: "keras.Model", inputs: Any, training: bool) -> Any:
        """Run the model; a function of its own, so that gradients pass through the fake quantization."""
        import tensorflow as tf

        read: dict[str, Any] = {}

        def at(name: str, tensor: Any) -> Any:
            held = read[name]
            if training and self._kind == "moving_average" and name not in self._fixed:
                seen = tf.stack([tf.minimum(tf.reduce_min(tensor), 0.0), tf.maximum(tf.reduce_max(tensor), 0.0)])
                variable = self._ranges[name].value
                held = variable.assign(_MOMENTUM * variable + (1 - _MOMENTUM) * seen)
            low = tf.minimum(held[0], 0.0)
            return finite(tf.quantization.fake_quant_with_min_max_vars(tensor, low, tf.maximum(held[1], low + 1e-6)))

        @tf.custom_gradient
        def finite(tensor: Any) -> Any:
            # Rounding meets poles that the float model keeps clear of: the root's slope at a distance of 0 is infinite.
            return tf.identity(tensor), lambda slope: tf.where(tf.math.is_finite(slope), slope, tf.zeros_like(slope))

        @tf.function(autograph=False)
        def run(inputs: Any) -> Any:
            # Read before any loop: gradients do not pass to variables that are read inside of one.
            read.update({name: tf.convert_to_tensor(held.value) for name, held in self._ranges.items()})
            return run_at_points(model, inputs, at, self._names)

        return run(inputs)

    def found(self) -> dict[str, Range]:
        """Return the ranges as they are now."""
        return {name: with_zero(*np.asarray(held).astype(float).tolist()) for name, held in self._ranges.items()}


def apply(work: Work, parameters: Parameters) -> Result:
    """Train with everything rounded, write the rounded kernels, and keep the ranges for the export.

    Raises:
        InputError: there is nothing to train on or nothing that may be trained, or see ``calibrate``.
    """
    from ._variable_paths import layers_of

    assert isinstance(parameters, QuantizationAwareTraining)
    work = work.own_copy()
    chosen, skipped, activations, notes = _chosen(work, parameters)
    layers = layers_of(work.model)
    for kernel in chosen:
        if activations.stays_float(layers[kernel.path]):
            skipped[kernel.path] = "its layer stays in float"
    chosen = [kernel for kernel in chosen if kernel.path not in skipped]
    axes = summed_axes(work.model)
    quantizers = tuple(WeightQuantizer("quantization_aware_training", kernel, axes[kernel.path]) for kernel in chosen)
    # A table's integers are those of its own quantizer, and what is looked up has them already.
    points = [point for point in activations.points_of(work.model) if not point.looked_up]
    ranges = activations.ranges_of(work.model, representative(work, parameters.samples))
    run = QuantizedRun(points, {point.name: ranges[point.name] for point in points}, parameters.ranges)
    notes += fine_tune(work, parameters, quantizers, run)
    learned = replace(activations, learned=run.found())
    return Result(work.model, tuple(kernel.path for kernel in chosen), skipped, quantizers, notes, learned)


def _chosen(
    work: Work, parameters: Parameters
) -> "tuple[list[keras.Variable], dict[str, str], Activations, tuple[str, ...]]":
    """Return the kernels in scope, why others are left alone, how activations are quantized, and sentences on that.

    Raises:
        InputError: as ``apply``, but for what ``calibrate`` finds.
    """
    assert isinstance(parameters, QuantizationAwareTraining)
    check_samples(work, "to calibrate int8 on")
    check_trainable(work.model)
    chosen, skipped = kernels(work.model, parameters.scope)
    if not chosen:
        raise InputError(f"Expected a scope that matches a kernel of {work.model.name}. Got: {parameters.scope!r}.")
    return chosen, skipped, *parameters.activations(work)


TECHNIQUE = Technique(
    name="quantization_aware_training",
    title="quantization-aware training",
    parameters=QuantizationAwareTraining,
    apply=apply,
    stage=PRECISION,
    precision="int8",
    needs_data=True,
    check=_chosen,
)
