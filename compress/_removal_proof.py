"""Removals that hold: each is built and proved, and those that fail are found out one by one."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..train import Dataset
from ..train._training import as_inputs
from ._removal_rebuild import CannotRemove, Removal, check, rebuilt
from ._removal_trace import SAMPLES, Trace, functional, shape_of
from ._technique import Work


def proved(
    work: Work, trace: Trace, removals: Sequence[Removal], approximate: bool
) -> tuple[keras.Model | None, dict[str, str]]:
    """Return the model without what is removed; or None, and by a family's name why it cannot be removed.

    Args:
        work: the model and the data to prove it on.
        trace: of the model.
        removals: of its families.
        approximate: whether what is left may compute something else, if its units are interchangeable.
    """
    inputs = inputs_of(work)
    model = work.model

    def attempt(some: Sequence[Removal]) -> keras.Model:
        exact = [each for each in some if not _is_mixed(each)]
        small = rebuilt(model, trace, exact)
        check(model, trace, exact, small, inputs)
        if len(exact) == len(some):
            return small
        small = rebuilt(model, trace, some)
        check(model, trace, [each for each in some if _is_mixed(each)], small, inputs, exact=False)
        return small

    try:
        return attempt(removals), {}
    except CannotRemove as error:
        reason = str(error)
    if len(removals) > 1:
        mixed = sum(map(_is_mixed, removals))
        refused: dict[str, str] = {}
        for each in removals:
            refused.update(proved(work, trace, [each], approximate)[1])
        if not refused and sum(map(_is_mixed, removals)) > mixed:
            return proved(work, trace, removals, approximate)
        return None, refused or {each.family.name: f"together with others: {reason}" for each in removals}
    (only,) = removals
    if not approximate or _is_mixed(only):
        return None, {only.family.name: reason}
    # What it is scaled by may follow from its size, as in attention: its units may be interchangeable all the same.
    groups = only.family.groups
    before = [group.mixed for group in groups]
    for group in groups:
        group.mixed = reason
    try:
        return attempt(removals), {}
    except CannotRemove:
        for group, was in zip(groups, before, strict=True):
            group.mixed = was
        return None, {only.family.name: reason}


def _is_mixed(removal: Removal) -> bool:
    return any(group.mixed for group in removal.family.groups)


def inputs_of(work: Work) -> Any:
    """Return samples for a proof: the first of the data, or random ones without."""
    if len(work.task.train):
        places = np.arange(SAMPLES) % len(work.task.train)
        return as_inputs(work.model, work.task.train.at(places).inputs)
    random = np.random.default_rng(work.seed)
    arrays = {}
    for tensor in functional(work.model).inputs:
        shape = shape_of(tensor)
        whole = "int" in tensor.dtype or "bool" in tensor.dtype
        arrays[tensor.name] = (random.integers(0, 2, shape) if whole else random.uniform(size=shape)).astype(
            tensor.dtype
        )
    return as_inputs(work.model, Dataset(arrays).inputs)
