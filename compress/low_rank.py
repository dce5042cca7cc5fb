"""Low-rank factorisation: a layer becomes two with fewer multiplications, by a truncated singular value decomposition.

Denton et al., "Exploiting linear structure within convolutional networks for efficient evaluation", 2014 (arXiv
1404.0736); Jaderberg, Vedaldi and Zisserman, "Speeding up convolutional neural networks with low rank expansions", 2014
(arXiv 1405.3866), whose second scheme factors a convolution into one along each dimension.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from ..errors import InputError
from ..train._training import as_inputs
from ._factors import Outputs, Spectrum
from ._fine_tuning import FineTuning, fine_tune
from ._products import Product, product_of
from ._scope import Scope, in_scope
from ._technique import SHAPES, Parameters, Result, Technique, Work

_BATCH = 32


class LowRank(FineTuning):
    """Parameters of low-rank factorisation.

    Attributes:
        energy: how much of the energy (squared singular values) each layer keeps, 0 to 1; either this is given or
        share: how many of their multiplications the layers keep together at most, 0 to below 1, at one energy for all;
            those for one place of an output are counted, which are the weights.
        scope: regular expression; a layer is factored when it is found in the path of its kernel.
        convolutions: "channel" (the same window to fewer channels, then a window of one) or "spatial" (down the
            columns, then along the rows), for windows of more than one row and column.
        calibration: how many samples tell which directions of a layer's outputs matter; 0 goes by the weights alone.
        epochs, batch_size, learning_rate, ...: of the fine-tuning; see ``FineTuning``.
    """

    energy: float | None = Field(None, gt=0, le=1)
    share: float | None = Field(None, gt=0, lt=1)
    scope: Scope = "kernel$"
    convolutions: str = Field("channel", pattern="^(channel|spatial)$")
    calibration: int = Field(256, ge=0)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.energy is None) == (self.share is None):
            raise ValueError("either energy or share")
        return self


def apply(work: Work, parameters: Parameters) -> Result:
    """Replace the layers in scope by two each where that saves multiplications, and fine-tune the model.

    Raises:
        InputError: the scope matches no variable; there are no samples to calibrate on; Keras cannot copy the model.
    """
    from ._layer_replacing import with_rows

    assert isinstance(parameters, LowRank)
    products, skipped = _products(work, parameters)
    seen = _observed(work, products, parameters)
    names = {layer.name for layer in work.model._flatten_layers()}
    replaced, notes = [], []
    spectra = [seen[product.layer.kernel.path].spectrum(product.bias_per_output) for product in products]
    energy = parameters.energy or _energy_of(parameters.share or 0, products, spectra)
    kept = _kept(energy, products, spectra)
    if parameters.share and products and kept > parameters.share:
        notes.append(f"the layers keep {kept:.0%} of their multiplications even at rank 1, not {parameters.share:.0%}")
    for product, spectrum in zip(products, spectra, strict=True):
        path, rank = product.layer.kernel.path, spectrum.rank_of(energy)
        if seen[path].all_zero:
            notes.append(f"the calibration samples never activate {path}: it is factored by its weights alone")
        if product.cost(rank) < product.full:
            replaced.append((product, spectrum.factors(rank), *_layers(product, rank, names)))
        else:
            cost = product.cost(rank)
            skipped[path] = (
                f"rank {rank}, for {energy:.4g} of the energy, takes {cost} multiplications, not {product.full}"
            )
    if not replaced:
        return Result(work.model, (), skipped, notes=tuple(notes))
    rows = {id(product.layer): (first, second) for product, _, first, second in replaced}
    model = with_rows(work.model, rows, "to replace some")
    for product, factors, first, second in replaced:
        _set(product, factors, first, second)
    notes += fine_tune(replace(work, model=model), parameters)
    applied = tuple(layer.kernel.path for *_, first, second in replaced for layer in (first, second))
    return Result(model, applied, skipped, notes=tuple(notes))


def _products(work: Work, parameters: LowRank) -> tuple[list[Product], dict[str, str]]:
    """Return the layers in scope as products, and for every other variable why it is left alone."""
    from ._layer_replacing import layers_in_graph

    variables, skipped = in_scope(work.model, parameters.scope, "has one dimension: it has no rank")
    wanted = {variable.path for variable in variables}
    held = {transform.path for transform in work.transforms}
    products = []
    for layer in layers_in_graph(work.model):
        for variable in getattr(layer, "trainable_variables", ()):
            if variable.path not in wanted:
                continue
            wanted.discard(variable.path)
            product = product_of(layer, parameters.convolutions == "spatial")
            if variable.path in held:
                skipped[variable.path] = "is held to values by an earlier step"
            elif isinstance(product, str):
                skipped[variable.path] = product
            elif variable is layer.kernel:
                products.append(product)
            else:
                skipped[variable.path] = "is no kernel"
    for path in wanted:
        skipped[path] = "lies outside of the graph of layers that Keras can rebuild"
    return products, skipped


def _observed(work: Work, products: Sequence[Product], parameters: LowRank) -> dict[str, Outputs]:
    """Return what is known of each product's outputs, by the kernel's path."""
    seen = {product.layer.kernel.path: Outputs(product.matrix) for product in products}
    if not parameters.calibration or not products:
        return seen
    available = len(work.task.train)
    if not available:
        raise InputError("Expected samples to calibrate low-rank factors on. Got: none. Set calibration = 0.")
    # Spread over the data, which may be sorted.
    some = work.task.train.at(work.task.train.evenly(parameters.calibration))
    # Each layer tells its inputs while the model runs, wherever in the model it is.
    for product in products:
        _listen(product, seen[product.layer.kernel.path])
    try:
        for start in range(0, len(some), _BATCH):
            work.model(as_inputs(work.model, some.at(slice(start, start + _BATCH)).inputs), training=False)
    finally:
        for product in products:
            del product.layer.call
    return seen


def _listen(product: Product, outputs: Outputs) -> None:
    """Let a layer, until its ``call`` is deleted, show its outputs, without bias and activation, to ``outputs``."""
    call = product.layer.call
    linear = _layers(product, outputs.basis.shape[1], set())[0]

    def heard(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not linear.built:
            linear.build(inputs.shape)
            linear.kernel.assign(product.first_kernel(outputs.basis))
        outputs.observe(_channels_last(linear, np.asarray(linear(inputs))))
        return call(inputs, *args, **kwargs)

    product.layer.call = heard


def _channels_last(layer: Any, values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 1, -1) if getattr(layer, "data_format", None) == "channels_first" else values


def _energy_of(share: float, products: Sequence[Product], spectra: Sequence[Spectrum]) -> float:
    """Return the most energy at which the layers keep at most ``share`` of their multiplications."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _kept(middle, products, spectra) <= share else (low, middle)
    return low


def _kept(energy: float, products: Sequence[Product], spectra: Sequence[Spectrum]) -> float:
    """Return the share of their multiplications that the layers keep at an energy."""
    ranks = [spectrum.rank_of(energy) for spectrum in spectra]
    taken = sum(min(product.cost(rank), product.full) for product, rank in zip(products, ranks, strict=True))
    return taken / max(sum(product.full for product in products), 1)


def _layers(product: Product, rank: int, names: set[str]) -> tuple[Any, Any]:
    """Return the layer that reduces, by a name that is not among ``names`` yet, and the one that expands."""
    name = f"{product.layer.name}_reduce"
    while name in names:
        name += "_again"
    names.add(name)
    kind = type(product.layer)
    return kind.from_config({**product.first(rank), "name": name}), kind.from_config(product.second(rank))


def _set(product: Product, factors: tuple[np.ndarray, np.ndarray, np.ndarray], first: Any, second: Any) -> None:
    left, right, dropped = factors
    first.kernel.assign(product.first_kernel(left))
    second.kernel.assign(product.second_kernel(right))
    if product.layer.bias is not None:
        bias = np.asarray(product.layer.bias)
        second.bias.assign(bias + dropped if product.bias_per_output else bias)


TECHNIQUE = Technique(
    name="low_rank",
    title="low-rank factorisation",
    parameters=LowRank,
    apply=apply,
    stage=SHAPES,
    needs_data=True,
)
