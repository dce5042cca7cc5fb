"""Structured pruning: whole channels, units, heads and features are removed, and a smaller model is left.

What depends on each other is found in the model's graph (``_removal_flow``), what can be made smaller in the
layers' configurations (``_removal_groups``), and each removal is proved: the smaller model computes what the original
computes with the removed units silenced. So any layer that Keras can rebuild will do, custom ones included.
"""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, field_validator, model_validator

from ..errors import InputError
from ._fine_tuning import FineTuning, fine_tune
from ._technique import SHAPES, Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras

    from ._removal_groups import Family, Structure
    from ._removal_rebuild import Removal


class StructuredPruning(FineTuning):
    """Parameters of structured pruning. One of ``share``, ``parameters`` and ``macs`` says how much goes.

    Attributes:
        share: of the units of each group to remove; with the ranking "global", of all units.
        parameters, macs: the share of the model's parameters, or of its multiplications, to keep.
        blocks: residual branches to remove as a whole first, those whose removal loses least; with them nothing else
            has to be asked for.
        scope: regular expression; units are removed whose making variable's path it is found in.
        criterion: "taylor" (the change of the loss), "magnitude" (of the weights) or "activation" (on the data); the
            units with the smallest go.
        ranking: "group" takes the same share of every group, "global" the least important of all.
        rounds: a part is removed in each, with fine-tuning in between.
        multiple: the units that are left in a group are a multiple of this, where it had twice as many or more.
        least: so many units of each group are left at least.
        approximate: also remove features that a normalization or a softmax computes with together: what is left then
            computes something else until it is fine-tuned.
        ranked_on: how many samples the criterion looks at.
        epochs, batch_size, learning_rate, ...: of the fine-tuning after each round; see ``FineTuning``.
    """

    share: float | None = Field(None, gt=0, lt=1)
    parameters: float | None = Field(None, gt=0, lt=1)
    macs: float | None = Field(None, gt=0, lt=1)
    blocks: int = Field(0, ge=0)
    scope: str = ".*"
    criterion: str = Field("taylor", pattern="^(taylor|magnitude|activation)$")
    ranking: str = Field("group", pattern="^(group|global)$")
    rounds: int = Field(1, ge=1)
    multiple: int = Field(1, ge=1)
    least: int = Field(1, ge=1)
    approximate: bool = False
    ranked_on: int = Field(256, ge=8)

    @field_validator("scope")
    @classmethod
    def _is_a_regular_expression(cls, scope: str) -> str:
        try:
            re.compile(scope)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return scope

    @model_validator(mode="after")
    def _has_one_target(self) -> "StructuredPruning":
        targets = sum(each is not None for each in (self.share, self.parameters, self.macs))
        if targets > 1 or not (targets or self.blocks):
            raise ValueError("exactly one of share, parameters and macs, or blocks")
        return self

    @property
    def removes_units(self) -> bool:
        """Whether there is a target besides blocks."""
        return self.share is not None or self.parameters is not None or self.macs is not None


@dataclass
class _Progress:
    """What is remembered from round to round: units and costs at the start, and what cannot be removed and why."""

    units: list[int]
    costs: dict[str, float]
    refused: dict[str, str]


def apply(work: Work, parameters: Parameters) -> Result:
    """Remove units in rounds, fine-tuning after each.

    Raises:
        InputError: the model is no functional or sequential one, or one that Keras cannot rebuild; the scope holds
            nothing that can be removed, such as a model's outputs alone; a target that removal cannot reach; another
            backend than TensorFlow.
    """
    assert isinstance(parameters, StructuredPruning)
    _check_functional(work.model)
    work = work.own_copy()
    notes: list[str] = []
    if parameters.blocks:
        small, gone = _without_blocks(work, parameters)
        work = replace(work, model=small)
        notes += [f"Removed a block: {names}." for names in gone]
        if not parameters.removes_units:
            notes += fine_tune(work, parameters)
            whole = {variable.path: "only blocks were to be removed" for variable in small.trainable_variables}
            return Result(small, (), whole, notes=tuple(notes))
    before = list(work.model.weights)
    progress = _Progress([], {}, {})
    skipped: dict[str, str] = {}
    for done in range(parameters.rounds):
        small, reasons = _smaller(work, parameters, progress, (done + 1) / parameters.rounds)
        skipped = skipped or reasons
        work = replace(work, model=small)
        notes += fine_tune(_in_round(work, done, parameters), parameters)
    # A layer in a wrapper that was built anew has another path than it had.
    now = list(zip(before, work.model.weights, strict=True))
    applied = tuple(new.path for old, new in now if old.shape != new.shape)
    left = {new.path: skipped[old.path] for old, new in now if old.shape == new.shape and old.path in skipped}
    return Result(work.model, applied, left, notes=tuple(notes))


def _check_functional(model: "keras.Model") -> None:
    import keras

    from ._removal_trace import functional

    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "Expected Keras' TensorFlow backend, in whose graphs units are followed. "
            f"Got: {keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    if not hasattr(functional(model), "_run_through_graph"):
        raise InputError(
            f"Expected a functional or sequential Keras model to remove units from. Got: {model.name}, a "
            f"{type(model).__name__}, whose layers Keras cannot put together anew."
        )


def _without_blocks(work: Work, parameters: StructuredPruning) -> "tuple[keras.Model, list[str]]":
    from ._removal_blocks import without_least
    from ._removal_scores import losses

    def loss_of(model: "keras.Model") -> float:
        batches, loss = losses(replace(work, model=model), parameters.ranked_on)
        return float(np.mean([float(loss(batch)) for batch in batches]))

    return without_least(work.model, parameters.blocks, parameters.scope, loss_of)


def _in_round(work: Work, done: int, parameters: StructuredPruning) -> Work:
    """Return the work with the epochs of earlier rounds counted."""
    report = work.on_epoch
    if report is None:
        return work
    before, total = done * parameters.epochs, parameters.rounds * parameters.epochs
    return replace(work, on_epoch=lambda epoch, _: report(before + epoch, total))


def _smaller(
    work: Work, parameters: StructuredPruning, progress: _Progress, part: float
) -> "tuple[keras.Model, dict[str, str]]":
    """Return the model after one round of removal, and by variable why it was left alone."""
    from ._removal_groups import structure
    from ._removal_proof import proved
    from ._removal_scores import scores_of
    from ._removal_trace import trace

    try:
        traced = trace(work.model)
    except Exception as error:  # layers fail in ways of their own
        raise InputError(
            f"Expected a model whose operations can be followed in a graph. Got: {work.model.name}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    found = structure(work.model, traced)
    while True:
        families = _candidates(found, parameters, progress)
        scores = scores_of(work, found.trace, families, parameters.criterion, parameters.ranked_on)
        removals = _chosen(found, families, scores, parameters, progress, part)
        small, refused = proved(work, found.trace, removals, parameters.approximate)
        if small is not None:
            return small, _reasons(found, parameters, progress)
        progress.refused.update(refused)


def _candidates(found: "Structure", parameters: StructuredPruning, progress: _Progress) -> "list[Family]":
    """Return the families in scope that can be removed.

    Raises:
        InputError: there are none.
    """
    reasons = _reasons(found, parameters, progress)
    families = [family for family in found.families if not _why_not(family, parameters, progress)]
    if families:
        return families
    if not progress.units:
        named = {path: why for path, why in reasons.items() if re.search(parameters.scope, path)} or reasons
        told = "; ".join(f"{path}: {why}" for path, why in list(named.items())[:8])
        raise InputError(
            f"Expected a scope with units that can be removed, without breaking an output of the model. "
            f"Got: {parameters.scope!r}, with {told}."
        )
    return []


def _why_not(family: "Family", parameters: StructuredPruning, progress: _Progress) -> str:
    """Return why nothing of a family is removed, or ""."""
    mixed = next((group.mixed for group in family.groups if group.mixed), "")
    if not any(group.makers for group in family.groups):
        return family.blocked or "no number in a layer's configuration sets its size"
    if not all(any(re.search(parameters.scope, path) for path in group.makers) for group in family.groups):
        return f"out of the scope {parameters.scope!r}"
    if family.blocked or family.name in progress.refused:
        return family.blocked or progress.refused[family.name]
    return mixed if mixed and not parameters.approximate else ""


def _reasons(found: "Structure", parameters: StructuredPruning, progress: _Progress) -> dict[str, str]:
    """Return by variable's path why its sizes stay."""
    by_place: dict[int, str] = {}
    for family in found.families:
        reason = _why_not(family, parameters, progress)
        for group in family.groups:
            for place, _, _ in group.units[0]:
                by_place[place] = by_place.get(place) or reason or "as many of its units stay as may"
    reasons = {}
    for place, variable in enumerate(found.trace.variables):
        fixed = [found.trace.flow.labels.why_fixed(int(axis[0])) for axis in found.trace.axes[place] if len(axis)]
        if variable.trainable:
            why = by_place.get(place) or next(filter(None, reversed(fixed)), "has no units")
            reasons[variable.path] = why
    return reasons


def _chosen(
    found: "Structure",
    families: "list[Family]",
    scores: list[list[np.ndarray]],
    parameters: StructuredPruning,
    progress: _Progress,
    part: float,
) -> "list[Removal]":
    """Return what is removed when a part, 0 to 1, of all rounds will be over."""
    from . import _removal_plan as plan

    limits = plan.Limits(parameters.least, parameters.multiple)
    measure = plan.UNITS if parameters.share else plan.PARAMETERS if parameters.parameters else plan.MACS
    kept = 1 - parameters.share if parameters.share else parameters.parameters or parameters.macs or 1.0
    # Families are found in the same order in every round, but a variable's path may change when its layer is rebuilt.
    progress.units = progress.units or [len(family.groups[0].units) for family in found.families]
    progress.costs.setdefault(measure, plan.cost(found.trace, [], measure, families))
    left = 1 - part * (1 - kept)

    def of_each(share: float) -> "list[Removal]":
        wanted = {family.name: units * share for family, units in zip(found.families, progress.units, strict=True)}
        return plan.same_share(families, scores, wanted, limits)

    def after(removals: "list[Removal]") -> float:
        return plan.cost(found.trace, removals, measure, families)

    if parameters.ranking == "global":
        steps = plan.least_important(families, scores, limits)

        def of_all(count: int) -> "list[Removal]":
            lowest = {place: kept for _, place, kept in steps[:count]}
            return [plan.removal(families[place], scores[place], kept) for place, kept in lowest.items()]

        return plan.first_below(left * progress.costs[measure], len(steps) + 1, of_all, after)
    if parameters.share:
        return of_each(left)
    return plan.first_below(left * progress.costs[measure], 201, lambda step: of_each(1 - step / 200), after)


TECHNIQUE = Technique(
    name="structured_pruning",
    title="structured pruning: units are removed",
    parameters=StructuredPruning,
    apply=apply,
    stage=SHAPES,
    needs_data=True,
)
