"""A compressed model and what was done to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..train import Task
from ._recipe import Recipe
from ._technique import VariableReport, Work, get

if TYPE_CHECKING:
    import keras

OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Compressed:
    """What compression returns.

    Attributes:
        model: a plain Keras model, with no masks or wrappers.
        original: the model that came in, unchanged.
        task: what both are judged by.
        recipe: what was done.
        report: for each variable what was applied, or why it was skipped.
        seed: of everything random.
        notes: what was converted when the model's file was loaded, a sentence each.
        self_contained: whether the model can be saved as a .keras file; not when it is the graph of a SavedModel.
    """

    model: "keras.Model"
    original: "keras.Model"
    task: Task
    recipe: Recipe
    report: tuple[VariableReport, ...]
    seed: int
    notes: tuple[str, ...] = ()
    self_contained: bool = True

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions to export: float32, and what the recipe asks for."""
        asked = {get(step.technique).precision for step in self.recipe.steps} - {"", "float32"}
        return ("float32", *sorted(asked))

    @property
    def calibration_samples(self) -> int:
        """How many samples the exporters calibrate on; 0 when the recipe quantizes nothing."""
        return max((int(getattr(step.parameters, "samples", 0)) for step in self.recipe.steps), default=0)


def compress(
    model: "keras.Model", task: Task, recipe: Recipe, seed: int = 0, on_step: OnStep | None = None
) -> Compressed:
    """Apply a recipe's steps in order.

    Args:
        model: any Keras 3 model; it is left unchanged.
        task: the data and what the model is judged by.
        recipe: the steps.
        seed: of everything random.
        on_step: called with (technique, epochs done, epochs in all).

    Raises:
        InputError: a step cannot be applied to this model or this data; non-finite weights.
    """
    _check_finite(model, "the model as it came")
    work = Work(model=model, task=task, seed=seed, original=model)
    applied: dict[str, list[str]] = {}
    skipped: dict[str, list[str]] = {}
    for step in recipe.steps:
        technique = get(step.technique)
        name = technique.name
        report = (lambda done, total, name=name: on_step(name, done, total)) if on_step else None
        result = technique.apply(replace(work, on_epoch=report), step.parameters)
        work = replace(work, model=result.model)
        _check_finite(work.model, f"the model after {name}")
        for path in result.applied:
            applied.setdefault(path, []).append(name)
        for path, reason in result.skipped.items():
            skipped.setdefault(path, []).append(f"{name}: {reason}")
    reports = tuple(
        VariableReport(
            path=variable.path,
            shape=tuple(variable.shape),
            sparsity=_sparsity(variable),
            applied=tuple(applied.get(variable.path, ())),
            skipped=tuple(skipped.get(variable.path, ())),
        )
        for variable in work.model.trainable_variables
    )
    return Compressed(work.model, model, task, recipe, reports, seed)


def _sparsity(variable: "keras.Variable") -> float:
    return float(np.mean(np.asarray(variable) == 0)) if variable.shape else 0.0


def _check_finite(model: "keras.Model", what: str) -> None:
    for variable in model.weights:
        values = np.asarray(variable)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise InputError(
                f"Expected finite weights in {what}. Got: {np.count_nonzero(~np.isfinite(values))} that are NaN or "
                f"infinite in {variable.path}."
            )
