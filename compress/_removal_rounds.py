"""Removal in rounds: what goes in each, and why the rest stays."""

import re
from typing import TYPE_CHECKING

import keras
import numpy as np

from ..errors import InputError
from . import _removal_plan as plan
from ._removal_groups import Family, Structure, structure
from ._removal_proof import proved
from ._removal_rebuild import Removal
from ._removal_scores import scores_of
from ._removal_trace import trace
from ._technique import Work

if TYPE_CHECKING:
    from .structured_pruning import StructuredPruning

# A share of units that meets a target is looked for in so many steps.
_STEPS = 200


class Rounds:
    """Rounds of removal from one model.

    A family is known by its place from round to round: families are found in the same order every time, but a
    variable's path may change when its layer is rebuilt.

    Args:
        parameters: what is removed.
    """

    def __init__(self, parameters: "StructuredPruning") -> None:
        self.parameters = parameters
        self._limits = plan.Limits(parameters.least, parameters.multiple)
        self._measure = plan.UNITS if parameters.share else plan.PARAMETERS if parameters.parameters else plan.MACS
        self._refused: dict[str, str] = {}
        self._began_with: list[int] = []
        self._counted: list[int] = []
        self._cost = 0.0

    def smaller(self, work: Work, part: float) -> tuple[keras.Model, dict[str, str]]:
        """Return the model after a round, and by a variable's path why it was left alone.

        Args:
            work: the model so far, and the data.
            part: how much of all rounds will be over, 0 to 1.

        Raises:
            InputError: nothing in scope can be removed; the target is out of reach; the model cannot be traced.
        """
        found = _structure(work.model)
        first = not self._began_with
        if first:
            self._began_with = [len(family.groups[0].units) for family in found.families]
        while True:
            families = [family for family in found.families if not self._why_not(family)]
            if first and not families:
                self._refuse(found)
            if first:
                names = {family.name for family in families}
                self._counted = [place for place, family in enumerate(found.families) if family.name in names]
                self._cost = self._left(found, [])
            scores = scores_of(work, found.trace, families, self.parameters.criterion, self.parameters.ranked_on)
            if first and part < 1 and self.parameters.multiple == 1:
                self._chosen(found, families, scores, 1.0)  # what the last round could not reach is not trained for
            removals = self._chosen(found, families, scores, part)
            small, refused = proved(work, found.trace, removals, self.parameters.approximate)
            if small is not None:
                return small, self._reasons(found)
            self._refused.update(refused)

    def _chosen(
        self, found: Structure, families: list[Family], scores: list[list[np.ndarray]], part: float
    ) -> list[Removal]:
        """Return what is removed when a part of all rounds will be over."""
        asked = self.parameters
        kept = 1 - asked.share if asked.share else asked.parameters or asked.macs or 1.0
        left = 1 - part * (1 - kept)

        def of_each(share: float) -> list[Removal]:
            wanted = {family.name: n * share for family, n in zip(found.families, self._began_with, strict=True)}
            return plan.same_share(families, scores, wanted, self._limits)

        def after(removals: list[Removal]) -> float:
            return self._left(found, removals)

        if asked.ranking == plan.GLOBAL:
            steps = plan.least_important(families, scores, self._limits)

            def of_all(count: int) -> list[Removal]:
                lowest = {place: kept for _, place, kept in steps[:count]}
                return [plan.removal(families[place], scores[place], kept) for place, kept in lowest.items()]

            return plan.first_below(left * self._cost, len(steps) + 1, of_all, after)
        if asked.share:
            return of_each(left)
        return plan.first_below(left * self._cost, _STEPS + 1, lambda step: of_each(1 - step / _STEPS), after)

    def _left(self, found: Structure, removals: list[Removal]) -> float:
        counted = [found.families[place] for place in self._counted]
        return plan.cost(found.trace, removals, self._measure, counted)

    def _why_not(self, family: Family) -> str:
        """Return why nothing of a family is removed, or ""."""
        scope = self.parameters.scope
        if not any(group.makers for group in family.groups):
            return family.blocked or "no number in a layer's configuration sets its size"
        if not all(any(re.search(scope, path) for path in group.makers) for group in family.groups):
            return f"out of the scope {scope!r}"
        if family.blocked or family.name in self._refused:
            return family.blocked or self._refused[family.name]
        mixed = next((group.mixed for group in family.groups if group.mixed), "")
        return "" if self.parameters.approximate else mixed

    def _reasons(self, found: Structure) -> dict[str, str]:
        """Return by a trainable variable's path why its sizes stay."""
        by_place: dict[int, str] = {}
        for family in found.families:
            reason = self._why_not(family) or "as many of its units stay as may"
            for place in {place for group in family.groups for place, _, _ in group.units[0]}:
                by_place.setdefault(place, reason)
        fixed = {
            place: [found.trace.flow.labels.why_fixed(int(axis[0])) for axis in axes if len(axis)]
            for place, axes in enumerate(found.trace.axes)
        }
        return {
            variable.path: by_place.get(place) or next(filter(None, reversed(fixed[place])), "has no units")
            for place, variable in enumerate(found.trace.variables)
            if variable.trainable
        }

    def _refuse(self, found: Structure) -> None:
        reasons = self._reasons(found)
        named = {path: why for path, why in reasons.items() if re.search(self.parameters.scope, path)} or reasons
        told = "; ".join(f"{path}: {why}" for path, why in list(named.items())[:8])
        raise InputError(
            f"Expected a scope with units that can be removed, without breaking an output of the model. "
            f"Got: {self.parameters.scope!r}, with {told}."
        )


def _structure(model: keras.Model) -> Structure:
    try:
        traced = trace(model)
    except Exception as error:  # layers fail in ways of their own
        raise InputError(
            f"Expected a model whose operations can be followed in a graph. Got: {model.name}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    return structure(model, traced)
