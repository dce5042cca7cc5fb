"""Magnitude pruning: the smallest weights, blocks or groups become zero, a few more at a time, while the rest trains.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017
(arXiv 1710.01878). The schedules are TF-MOT's; the mapped model brings them to Keras 3 layers.

What it makes faster: with blocks, dense layers in float32 TFLite files that are converted with
``tf.lite.Optimize.EXPERIMENTAL_SPARSITY``. Three of 512 x 512 with 90 % zeros in blocks of 1x4, 4x4 or 1x16, measured
on one x86 core: 16 us instead of 122 in LiteRT 2.3, 34 instead of 121 in tflite-runtime 2.14. In int8 they are no
faster sparse (LiteRT: 7 us dense, 23 sparse, and 1x4 and 4x4 do not load). Single zeros make no runtime here faster,
and N:M none on a CPU; both make a file smaller once it is zipped.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from ..errors import InputError
from ._fine_tuning import FineTuning, fine_tune
from ._kernels import NO_VECTOR, Axes, axes_of
from ._magnitude_mask import GlobalRanking, Mask
from ._masks import Pattern, pattern_of
from ._scope import Scope, in_scope
from ._technique import Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras


class MagnitudePruning(FineTuning):
    """Parameters of magnitude pruning.

    Attributes:
        sparsity: share of zeros to reach, 0 to below 1; N:M has its own, and needs none.
        scope: regular expression; a variable is pruned when it is found in the variable's path.
        pattern: "unstructured"; blocks of outputs x inputs, such as "1x4", "4x4" or "1x16"; or N weights kept of every
            M inputs of an output, such as "2:4" or "4:8".
        ranking: "layer" gives every kernel the sparsity; "global" ranks the weights of all kernels together, and leaves
            each at least a tenth of the density asked for.
        sensitivity: whether kernels get the sparsities that a scan finds to cost least; it takes six passes over 256
            samples for every kernel.
        schedule: how sparsity rises: "constant" prunes at once, the others by a polynomial of power 1, 2 or 3.
        ramp: the share of the training steps after which the final sparsity is reached.
        epochs, batch_size, learning_rate, ...: of the fine-tuning; see ``FineTuning``.
    """

    sparsity: float = Field(ge=0, lt=1)
    scope: Scope = "kernel$"
    pattern: str = "unstructured"
    ranking: str = Field("layer", pattern="^(layer|global)$")
    sensitivity: bool = False
    schedule: str = Field("cubic", pattern="^(constant|linear|polynomial|cubic)$")
    ramp: float = Field(0.6, gt=0, le=1)

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            pattern_of(pattern)
        except InputError as error:
            expected = str(error).removeprefix("Expected ").partition(" Got:")[0]
            raise ValueError(expected) from error
        return pattern

    @model_validator(mode="before")
    @classmethod
    def _of_n_and_m(cls, values: Any) -> Any:
        """N:M says its own sparsity."""
        if isinstance(values, dict) and re.fullmatch(r"\d+:\d+", str(values.get("pattern", ""))):
            kept, group = map(int, values["pattern"].split(":"))
            # Of what is no pattern that is said, not that there is no sparsity.
            return {"sparsity": 1 - kept / group if 0 < kept < group else 0.0, **values}
        return values

    @model_validator(mode="after")
    def _agree(self) -> "MagnitudePruning":
        own = pattern_of(self.pattern).sparsity
        if own and abs(self.sparsity - own) > 1e-6:
            raise ValueError(f"sparsity = {own:g}, or none, with the pattern {self.pattern}, not {self.sparsity:g}")
        if own and (self.ranking == "global" or self.sensitivity):
            raise ValueError(
                f'ranking = "layer" and no sensitivity scan with the pattern {self.pattern}, which gives every kernel '
                f"the same sparsity"
            )
        if self.sensitivity and not self.sparsity:
            raise ValueError("a sparsity above 0 with the sensitivity scan, which allots it")
        if self.sensitivity and self.ranking == "global":
            raise ValueError('either ranking = "global" or sensitivity = true: each of them allots the sparsities')
        return self


def apply(work: Work, parameters: Parameters) -> Result:
    """Prune the variables in scope, fine-tuning in between, and write the zeros into them.

    Raises:
        InputError: the scope matches no variable, none has room for the pattern, or the sparsity would empty one.
    """
    assert isinstance(parameters, MagnitudePruning)
    work = work.own_copy()
    pattern = pattern_of(parameters.pattern)
    axes = axes_of(work.model)
    pruned, skipped = _fitting(*in_scope(work.model, parameters.scope, NO_VECTOR), axes, pattern, parameters)
    masks = [Mask(variable, axes[variable.path], pattern, parameters) for variable in pruned]
    notes = []
    if parameters.sensitivity:
        notes.append(_allot(work, parameters, masks))
    ranking = GlobalRanking(masks, pattern, parameters) if parameters.ranking == "global" else None
    notes += fine_tune(work, parameters, masks)
    if ranking and ranking.at_floor:
        more = f" and {len(ranking.at_floor) - 3} more" if len(ranking.at_floor) > 3 else ""
        notes.append(
            f"One threshold over all kernels would have left less than a tenth of the density asked for in "
            f"{', '.join(ranking.at_floor[:3])}{more}: they keep that tenth."
        )
    return Result(
        work.model,
        tuple(variable.path for variable in pruned),
        skipped,
        tuple(masks),
        (*notes, speed_note(parameters.pattern)),
    )


def speed_note(pattern: str = "unstructured") -> str:
    """Return a sentence on where a pattern of zeros makes inference faster."""
    if pattern == "unstructured":
        return "Single zeros make no runtime here faster; they make the files smaller once zipped."
    if ":" in pattern:
        return f"{pattern} makes no runtime faster on a CPU; it takes an accelerator that skips zeros in groups."
    return (
        f"Blocks of {pattern} make dense layers faster in TFLite alone, in float32 files, which are "
        f"then stored without the zeros; int8 files and other runtimes are no faster."
    )


def _fitting(
    variables: list["keras.Variable"],
    skipped: dict[str, str],
    axes: dict[str, Axes],
    pattern: Pattern,
    parameters: MagnitudePruning,
) -> tuple[list["keras.Variable"], dict[str, str]]:
    """Return the variables that have room for the pattern, and why the others are left alone."""
    pruned = []
    for variable in variables:
        path, shape = variable.path, tuple(variable.shape)
        misfit = pattern.misfit(axes[path], shape)
        if misfit:
            skipped[path] = misfit
        elif parameters.ranking == "layer" and round(pattern.blocks(axes[path], shape) * (1 - parameters.sparsity)) < 1:
            raise InputError(
                f"Expected a sparsity that leaves a weight in {path} {shape}. Got: {parameters.sparsity}"
                f"{'' if pattern == Pattern() else f' in {parameters.pattern}'}."
            )
        else:
            pruned.append(variable)
    if not pruned:
        first = variables[0].path
        raise InputError(
            f"Expected a kernel in scope with room for the pattern {parameters.pattern}. Got: {first} "
            f"{tuple(variables[0].shape)}, which {skipped[first]}; {len(variables)} in scope in all."
        )
    return pruned, skipped


def _allot(work: Work, parameters: MagnitudePruning, masks: Sequence[Mask]) -> str:
    """Give each mask its sparsity by a sensitivity scan; return a sentence on them."""
    from ._sensitivity import allotted, levels_of, scanned

    levels = levels_of(parameters.sparsity)
    costs = scanned(work, parameters, masks, levels)
    sizes = [int(np.prod(mask.mask.shape)) for mask in masks]
    for mask, sparsity in zip(masks, allotted(sizes, levels, costs, parameters.sparsity), strict=True):
        mask.sparsity = sparsity
    low, high = (choose(masks, key=lambda mask: mask.sparsity) for choose in (min, max))
    return (
        f"Sparsities from the sensitivity scan: {low.sparsity:.3f} ({low.path}) to {high.sparsity:.3f} ({high.path}), "
        f"{parameters.sparsity:g} of all."
    )


TECHNIQUE = Technique(
    name="magnitude_pruning",
    title="magnitude pruning",
    parameters=MagnitudePruning,
    apply=apply,
    needs_data=True,
)
