"""Cross-layer equalization: the channels between two layers are scaled so that none has tiny weights beside large ones.

Nagel, van Baalen, Blankevoort and Welling, "Data-free quantization through weight equalization and bias correction",
2019 (arXiv 1906.04721). The model computes what it computed, which is proved on samples; batch normalizations are
folded first. It needs no data.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ._scope import Scope
from ._technique import Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras

# How far the outputs may move by other rounding in 32 bits, over the largest.
_TOLERANCE = 1e-5


class CrossLayerEqualization(Parameters):
    """Parameters of cross-layer equalization.

    Attributes:
        scope: regular expression; a pair of layers is scaled when it is found in the paths of both kernels.
        proof: on how many samples the outputs are compared; without data, on as many random inputs.
    """

    scope: Scope = "kernel$"
    proof: int = Field(16, ge=1)


def apply(work: Work, parameters: Parameters) -> Result:
    """Fold normalizations and scale the channels of each pair of layers; the model's outputs stay.

    Raises:
        InputError: Keras cannot copy the model.
    """
    import re

    from ._channel_scales import equalize, kernels_of, pairs_of
    from ._folded_normalization import folded
    from ._holding import holds_masks_alone

    assert isinstance(parameters, CrossLayerEqualization)
    work = work.own_copy()
    held = {
        variable.path for variable in work.model.trainable_variables if not holds_masks_alone(variable, work.transforms)
    }
    model, stay = folded(work.model, held, {transform.path for transform in work.transforms})
    if model is work.model:
        model = _copy(model)
    notes = [f"{name} is not folded: it {reason}." for name, reason in stay.items()]
    pairs, reasons = pairs_of(model)
    skipped = {
        variable.path: reasons.get(variable.path, "is no kernel of a dense layer or a convolution in the model's graph")
        for variable in model.trainable_variables
        if len(variable.shape) > 1
    }
    chosen = []
    for pair in pairs:
        paths = [pair.first.kernel.path, pair.second.kernel.path]
        if not all(re.search(parameters.scope, path) for path in paths):
            skipped[paths[0]] = f"out of the scope {parameters.scope!r}"
        elif held & set(paths):
            skipped[paths[0]] = "it or the next kernel is held to values by an earlier step"
        else:
            chosen.append(pair)
    equalize(chosen)
    moved = _largest_change(work, model, parameters.proof)
    if not moved <= _TOLERANCE:
        reason = f"is left as it was: scaling moved the model's outputs by {moved:.1g} of the largest"
        return Result(work.model, (), {variable.path: reason for variable in kernels_of(chosen)}, notes=tuple(notes))
    applied = tuple(variable.path for variable in kernels_of(chosen))
    notes.append(
        f"{len(chosen)} pairs of layers are scaled; the outputs moved by {moved:.1g} of the largest."
        if chosen
        else "No two layers' channels can be scaled."
    )
    skipped = {path: reason for path, reason in skipped.items() if path not in applied}
    return Result(model, applied, skipped, notes=tuple(notes))


def _copy(model: "keras.Model") -> "keras.Model":
    import keras

    from ._variable_paths import name_alike, name_variables

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    name_alike([(model, name_variables(copy))])
    return copy


def _largest_change(work: Work, model: "keras.Model", samples: int) -> float:
    """Return how far the outputs of two models are apart at most, over the largest of each output."""
    import keras

    from ..train._training import as_inputs, input_of
    from ._samples import representative

    if len(work.task.train):
        inputs = next(iter(representative(work, samples)()))
    else:
        random = np.random.default_rng(work.seed)
        inputs = {
            tensor.name: random.normal(size=(samples, *(size or 8 for size in tensor.shape[1:]))).astype(tensor.dtype)
            for tensor in keras.tree.flatten(input_of(work.model))
        }
    one, other = (
        [np.asarray(each, np.float64) for each in keras.tree.flatten(each(as_inputs(each, inputs), training=False))]
        for each in (work.model, model)
    )
    return max(
        float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30)) if a.size else 0.0
        for a, b in zip(one, other, strict=True)
    )


TECHNIQUE = Technique(
    name="cross_layer_equalization",
    title="cross-layer equalization",
    parameters=CrossLayerEqualization,
    apply=apply,
)
