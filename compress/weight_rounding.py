"""Weight rounding by calibration data: each weight goes up or down so that the layers' outputs change least.

GPTQ (Frantar et al., 2022, arXiv 2210.17323) or AdaRound (Nagel et al., 2020, arXiv 2004.10568), on the kernels of any
layer. The variables get the rounded values, on the grid that the exporters find again: a later step that sets the
precision keeps them, and so does any training in between.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ._scope import Scope, in_scope
from ._technique import Parameters, Result, Technique, Work
from ._weight_grid import Grid, grid_of, sets_of

if TYPE_CHECKING:
    import keras

    from ._kernel_products import Products


class WeightRounding(Parameters):
    """Parameters of weight rounding.

    Attributes:
        method: "gptq" (one input after the other, in closed form) or "adaround" (by gradient, a few times slower).
        bits: of a weight, 8 or 4; as many as the step that sets the precision has.
        group_size: with 4 bits, how many weights share a scale: that of weight_only_int4, or 0 for one scale for each
            output channel, which is what TFLite has.
        search: whether scales may be smaller than what clips nothing, where that has less error.
        samples: how many samples the inputs of the layers are taken from, spread over the training data.
        steps: of AdaRound's training, for each kernel.
        scope: regular expression; a variable is rounded when it is found in the variable's path.
    """

    method: Literal["gptq", "adaround"] = "gptq"
    bits: Literal[8, 4] = 8
    group_size: Literal[0, 16, 32, 64, 128, 256] = 32
    search: bool = True
    samples: int = Field(256, ge=1)
    steps: int = Field(500, ge=1)
    scope: Scope = "kernel$"


@dataclass(frozen=True)
class _Rounded:
    """What was made of a kernel, and its error in the outputs over that of rounding to nearest."""

    path: str
    values: np.ndarray
    grid: Grid
    error: float


def apply(work: Work, parameters: Parameters) -> Result:
    """Round the kernels in scope.

    Raises:
        InputError: the scope matches no variable; there are no samples; an activation is not finite.
    """
    from ._grid_transform import HeldToGrid
    from ._holding import holds_masks_alone
    from ._kernel_products import find_products, gram_matrices, in_parts
    from ._samples import check_samples, representative

    assert isinstance(parameters, WeightRounding)
    check_samples(work, "to round weights by")
    work = work.own_copy()
    variables, skipped = in_scope(work.model, parameters.scope, "has one dimension: it stays in 32 bits")
    by_path = {variable.path: variable for variable in variables}
    for path in [path for path, variable in by_path.items() if not holds_masks_alone(variable, work.transforms)]:
        skipped[path] = "is held to values by an earlier step"
        del by_path[path]
    products, reasons = find_products(work.model, list(by_path.values()))
    skipped.update(reasons)
    masked = {transform.path for transform in work.transforms}
    rounded, held = [], []
    for part in in_parts(products):
        grams = gram_matrices(work.model, representative(work, parameters.samples), part)
        for product in part:
            if not grams[product.path].any():
                skipped[product.path] = "is multiplied by nothing but zeros on the samples"
                continue
            variable = by_path[product.path]
            found = _rounded(variable, product, grams[product.path], parameters, product.path in masked)
            held.append(HeldToGrid("weight_rounding", found.path, found.grid, np.array(variable), found.values))
            variable.assign(found.values)
            rounded.append(found)
    return Result(work.model, tuple(each.path for each in rounded), skipped, tuple(held), _notes(rounded, parameters))


def _rounded(
    variable: "keras.Variable",
    product: "Products",
    gram: np.ndarray,
    parameters: WeightRounding,
    masked: bool,
) -> _Rounded:
    """Return a kernel rounded, each output of it by whichever way has the least error: nearest, or the method."""
    from ._rounding_methods import Matrices, adaround, gptq

    places = product.layout.places
    flat = np.asarray(variable, np.float64).reshape(-1)
    sets = sets_of(product.layout, parameters.bits, parameters.group_size)
    weights = np.empty_like(flat)
    weights[places] = np.einsum("gii->gi", gram)[..., np.newaxis]

    def matrices(grid: Grid) -> Matrices:
        held = np.where(grid.ends, np.where(flat < 0, -grid.largest, grid.largest), np.nan)
        if masked:
            held[flat == 0] = 0
        return Matrices(flat[places], grid.scale[places], held[places], gram, grid.largest)

    plain = grid_of(flat, sets, parameters.bits)
    nearest = plain.integers(flat)[places]
    errors = matrices(plain).errors(nearest)
    before = errors.sum()
    best, scale = nearest * plain.scale[places], plain.scale[places]
    # Where a scale is shared by several outputs, they can only be chosen together.
    columns = sets[places].transpose(0, 2, 1).reshape(-1, places.shape[1])
    alone = len(np.unique(sets)) == sum(len(np.unique(column)) for column in columns)
    for search in (False, True) if parameters.search else (False,):
        grid = grid_of(flat, sets, parameters.bits, weights, search)
        made = matrices(grid)
        for integers in (
            made.nearest(made.values, made.scale, made.held),
            gptq(made) if parameters.method == "gptq" else adaround(made, parameters.steps),
        ):
            found = made.errors(integers)
            better = found < errors if alone else np.full(found.shape, found.sum() < errors.sum())
            best = np.where(better[:, np.newaxis], integers * made.scale, best)
            scale = np.where(better[:, np.newaxis], made.scale, scale)
            errors = np.where(better, found, errors)
    values, scales = np.empty_like(flat), np.empty_like(flat)
    values[places], scales[places] = best, scale
    return _Rounded(
        variable.path,
        values.reshape(variable.shape).astype(np.float32),
        Grid(scales, plain.ends, plain.largest),
        float(errors.sum() / max(before, 1e-300)),
    )


def _notes(rounded: list[_Rounded], parameters: WeightRounding) -> tuple[str, ...]:
    if not rounded:
        return ("no kernel was rounded",)
    each = ", ".join(f"{one.path} {one.error:.2f}" for one in rounded)
    return (
        f"{len(rounded)} kernels in {parameters.bits} bits by {parameters.method}: the squared error in their outputs "
        f"over that of rounding to nearest is {np.mean([one.error for one in rounded]):.2f} on average: {each}.",
    )


TECHNIQUE = Technique(
    name="weight_rounding",
    title="weight rounding by calibration data",
    parameters=WeightRounding,
    apply=apply,
    needs_data=True,
)
