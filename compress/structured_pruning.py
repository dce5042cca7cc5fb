"""Structured pruning: whole channels, units, heads and features are removed, and a smaller model is left.

What depends on each other is found in the model's graph (``_removal_flow``), what can be made smaller in the
layers' configurations (``_removal_groups``), and each removal is proved: the smaller model computes what the original
computes with the removed units silenced. So any layer that Keras can rebuild will do, custom ones included.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ..errors import InputError
from ._fine_tuning import FineTuning, fine_tune
from ._scope import Scope, check_trainable
from ._technique import SHAPES, Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras


class StructuredPruning(FineTuning):
    """Parameters of structured pruning. One of ``share``, ``parameters`` and ``macs`` says how much goes.

    Attributes:
        share: of the units of each group to remove; with the ranking "global", of all units.
        parameters, macs: the share of the model's parameters, or of its multiplications, to keep.
        blocks: residual branches to remove as a whole first, those whose removal loses least, layers with a residual
            within them included; with them nothing else has to be asked for.
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
    scope: Scope = ".*"
    criterion: str = Field("taylor", pattern="^(taylor|magnitude|activation)$")
    ranking: str = Field("group", pattern="^(group|global)$")
    rounds: int = Field(1, ge=1)
    multiple: int = Field(1, ge=1)
    least: int = Field(1, ge=1)
    approximate: bool = False
    ranked_on: int = Field(256, ge=8)

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


def apply(work: Work, parameters: Parameters) -> Result:
    """Remove units in rounds, fine-tuning after each.

    Raises:
        InputError: the model is no functional or sequential one, or one that Keras cannot rebuild, or all of it is
            frozen; the scope holds
            nothing that can be removed, such as a model's outputs alone; a target that removal cannot reach; another
            backend than TensorFlow.
    """
    assert isinstance(parameters, StructuredPruning)
    _check_functional(work.model)
    check_trainable(work.model)
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
    from ._removal_rounds import Rounds

    before = list(work.model.weights)
    rounds = Rounds(parameters)
    skipped: dict[str, str] = {}
    for done in range(parameters.rounds):
        small, reasons = rounds.smaller(work, (done + 1) / parameters.rounds)
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

    batches, loss = losses(work, parameters.ranked_on)
    return without_least(work.model, parameters.blocks, parameters.scope, batches, loss)


def _in_round(work: Work, done: int, parameters: StructuredPruning) -> Work:
    """Return the work with the epochs of earlier rounds counted."""
    report = work.on_epoch
    if report is None:
        return work
    before, total = done * parameters.epochs, parameters.rounds * parameters.epochs
    return replace(work, on_epoch=lambda epoch, _: report(before + epoch, total))


TECHNIQUE = Technique(
    name="structured_pruning",
    title="structured pruning: units are removed",
    parameters=StructuredPruning,
    apply=apply,
    stage=SHAPES,
    needs_data=True,
)
