"""A compressed model and what was done to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..train import Deployment, Task
from ..train._rebuilding import functions_known
from ._recipe import Recipe
from ._technique import VariableReport, Work, get
from ._thawing import thawed

if TYPE_CHECKING:
    import keras

    from ._activations import Activations

OnStep = Callable[[str, int, int], None]
# What a rehearsal changes in the parameters of a step that has them: what takes long and is not refused for.
_REHEARSED: dict[str, int | None] = {"epochs": 0, "rounds": 1, "samples": 8, "ranked_on": 8, "steps": 1}
_REHEARSED |= {"sensitivity": False, "max_disagreement": None}


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
        notes: what was converted when the model's file was loaded, and what went wrong in a step, a sentence each.
        activations: how the exporters quantize the activations; None leaves it to each format's own quantizer.
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
    activations: "Activations | None" = None

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions to export: float32, and what the recipe asks for."""
        return self.recipe.precisions

    @property
    def zero_blocks(self) -> bool:
        """Whether weights have zeros in blocks, which TFLite stores and multiplies without them."""
        patterns = [str(getattr(step.parameters, "pattern", "")) for step in self.recipe.steps]
        return any("x" in pattern for pattern in patterns)

    @property
    def calibration_samples(self) -> int:
        """How many samples the exporters calibrate on; 0 when the recipe quantizes nothing."""
        return self.recipe.calibration_samples


def compress(
    model: "keras.Model",
    task: Task,
    recipe: Recipe,
    seed: int = 0,
    on_step: OnStep | None = None,
    deploy: "Callable[[keras.Model], Deployment] | None" = None,
) -> Compressed:
    """Apply a recipe's steps in order, to frozen layers (``trainable=False``) too.

    Args:
        model: any Keras 3 model; it is left unchanged.
        task: the data and what the model is judged by.
        recipe: the steps.
        seed: of everything random.
        on_step: called with (technique, epochs done, epochs in all).
        deploy: maps a model to the graphs that go to a device, where that is not the model itself: what the host
            computes is not quantized.

    Raises:
        InputError: a step cannot be applied to this model or this data; non-finite weights.
    """
    from ._variable_paths import named

    _check_finite(model, "the model as it came")
    with functions_known(model), named(model), thawed(model) as variables:
        made = _compressed(Work(model=model, task=task, seed=seed, original=model, deploy=deploy), recipe, on_step)
    if variables and made.model is not model:
        note = f"{variables} variables of frozen layers (trainable=False) were compressed like all others, and trained "
        return replace(made, notes=(*made.notes, f"{note}wherever the recipe trains."))
    return made


def _compressed(work: Work, recipe: Recipe, on_step: OnStep | None) -> Compressed:
    from ._variable_paths import layers_of

    _rehearse(work, recipe)
    applied: dict[str, list[str]] = {}
    skipped: dict[str, list[str]] = {}
    notes: list[str] = []
    activations = None
    for step in recipe.steps:
        technique = get(step.technique)
        name = technique.name
        report = (lambda done, total, name=name: on_step(name, done, total)) if on_step else None
        result = technique.apply(replace(work, on_epoch=report), step.parameters)
        for transform in result.transforms:
            transform.held = True
        work = replace(work, model=result.model, transforms=(*work.transforms, *result.transforms))
        notes += [f"{name}: {note}" for note in result.notes]
        activations = result.activations or activations
        _check_finite(work.model, f"the model after {name}")
        for path in result.applied:
            applied.setdefault(path, []).append(name)
        for path, reason in result.skipped.items():
            skipped.setdefault(path, []).append(f"{name}: {reason}")
    before = {variable.path: np.asarray(variable) for variable in work.original.weights}
    in_float = set()
    if activations:
        in_float = {path for path, layer in layers_of(work.model).items() if activations.stays_float(layer)}
    reports = tuple(
        _report(variable, before.get(variable.path), recipe, variable.path in in_float, applied, skipped)
        for variable in work.model.trainable_variables
    )
    return Compressed(
        work.model, work.original, work.task, recipe, reports, work.seed, tuple(notes), activations=activations
    )


def _rehearse(work: Work, recipe: Recipe) -> None:
    """Apply the steps once without training, where some train: a later step refuses before an earlier one has trained.

    Raises:
        InputError: a step cannot be applied to what the steps before it make of the model.
    """
    training = [place for place, step in enumerate(recipe.steps) if getattr(step.parameters, "epochs", 0)]
    # A step that has no parameters refuses nothing.
    last = max((place for place, step in enumerate(recipe.steps) if type(step.parameters).model_fields), default=0)
    for step in recipe.steps[: last + 1] if training and training[0] < last else ():
        small = {key: value for key, value in _REHEARSED.items() if key in type(step.parameters).model_fields}
        technique, parameters = get(step.technique), step.parameters.model_copy(update=small)
        if technique.check:
            technique.check(work, parameters)
            continue
        result = technique.apply(work, parameters)
        for transform in result.transforms:
            transform.held = True
        work = replace(work, model=result.model, transforms=(*work.transforms, *result.transforms))


def _report(
    variable: "keras.Variable",
    before: np.ndarray | None,
    recipe: Recipe,
    in_float: bool,
    applied: dict[str, list[str]],
    skipped: dict[str, list[str]],
) -> VariableReport:
    values = np.asarray(variable)
    error = None
    if before is not None and before.shape == values.shape:
        size = float(np.linalg.norm(before))
        error = float(np.linalg.norm(values - before)) / size if size else None  # of zeros no share can be told
    return VariableReport(
        path=variable.path,
        shape=values.shape,
        sparsity=float(np.mean(values == 0)) if values.shape else 0.0,
        values=len(np.unique(values)),
        bits=32 if in_float else _bits(variable.path, values, recipe),
        error=error,
        applied=tuple(applied.get(variable.path, ())),
        skipped=tuple(skipped.get(variable.path, ())),
    )


def _bits(path: str, values: np.ndarray, recipe: Recipe) -> float:
    """Return the bits of an element in the artifacts of the recipe's precision; vectors and biases stay wide."""
    precisions = [get(step.technique).precision for step in recipe.steps if get(step.technique).precision]
    is_added = values.ndim < 2 or path.rpartition("/")[2] == "bias"
    if not precisions or (is_added and precisions[-1] != "float16"):
        return 32
    precision = precisions[-1]
    return 16 if precision == "float16" else 4 if precision.startswith("int4") else 8 if "int" in precision else 32


def _check_finite(model: "keras.Model", what: str) -> None:
    for variable in model.weights:
        values = np.asarray(variable)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise InputError(
                f"Expected finite weights in {what}. Got: {np.count_nonzero(~np.isfinite(values))} that are NaN or "
                f"infinite in {variable.path}."
            )
