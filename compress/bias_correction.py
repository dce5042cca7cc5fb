"""Bias correction: rounded weights shift the mean of a layer's outputs; its bias takes the shift back.

Nagel, van Baalen, Blankevoort and Welling, "Data-free quantization through weight equalization and bias correction",
2019 (arXiv 1906.04721), section 4.2, in its empirical form (Nagel et al., "A white paper on neural network
quantization", 2021, arXiv 2106.08295, section 3.3): means are taken on samples, layer by layer, each after those before
it have been corrected. Batch normalizations are folded first, so that convolutions have a bias.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from ._technique import Parameters, Result, Technique, Work

if TYPE_CHECKING:
    import keras

    from ._kernel_products import Products
    from ._kernel_trace import Trace

_ADDITIONS = ("BiasAdd", "AddV2", "Add")


class BiasCorrection(Parameters):
    """Parameters of bias correction.

    Attributes:
        bits: of a weight, 8 or 4; as many as the step that sets the precision has. Weights that an earlier step has
            rounded stay as they are.
        group_size: with 4 bits, how many weights share a scale; 0 for one for each output channel.
        samples: how many samples the means are taken from, all at once, spread over the training data.
    """

    bits: Literal[8, 4] = 8
    group_size: Literal[0, 16, 32, 64, 128, 256] = 32
    samples: int = Field(64, ge=1)


@dataclass(frozen=True)
class _Addition:
    """Where a bias is added to a kernel's product.

    Attributes:
        site: the name of the operation.
        bias: the path of the variable.
        places: in the shape in which it is added, the place of each element in the flattened variable.
    """

    site: str
    bias: str
    places: np.ndarray

    def mean(self, outputs: Any) -> Any:
        """Return the mean of outputs for each element of the bias, in the shape in which it is added."""
        import tensorflow as tf

        shape = (1,) * (outputs.shape.rank - self.places.ndim) + self.places.shape
        axes = [axis for axis, size in enumerate(shape) if size == 1]
        return tf.reshape(tf.reduce_mean(outputs, axes, keepdims=True), self.places.shape)


def apply(work: Work, parameters: Parameters) -> Result:
    """Correct the biases of the layers that have one.

    Raises:
        InputError: there are no samples; Keras cannot copy the model.
    """
    from ._folded_normalization import folded
    from ._grid_transform import HeldToGrid
    from ._holding import holds_masks_alone
    from ._kernel_products import find_products
    from ._kernel_trace import Trace
    from ._samples import check_samples
    from ._weight_quantizer import kernels

    assert isinstance(parameters, BiasCorrection)
    check_samples(work, "to correct biases by")
    work = work.own_copy()
    held = {
        variable.path for variable in work.model.trainable_variables if not holds_masks_alone(variable, work.transforms)
    }
    model, stay = folded(work.model, held, {transform.path for transform in work.transforms})
    notes = tuple(f"{name} is not folded: it {reason}." for name, reason in stay.items())
    rounded, skipped = kernels(model)
    trace = Trace(model)
    products, reasons = find_products(model, rounded, trace)
    additions, alone = _additions(trace, products)
    if not additions:
        return Result(work.model, (), {**reasons, **alone}, notes=(*notes, "No kernel's product has a bias."))
    by_path = {variable.path: variable for variable in model.variables}
    batch = _all_samples(work, parameters.samples)
    before = {variable.path: np.array(variable) for variable in rounded}
    # What an earlier step has rounded is compared with what it was.
    for transform in work.transforms:
        now = before.get(transform.path)
        if isinstance(transform, HeldToGrid) and now is not None and np.array_equal(now, transform.rounded):
            by_path[transform.path].assign(transform.before)
    means, deviations = _observed(model, batch, additions)
    for variable in rounded:
        variable.assign(before[variable.path])
    _round(model, rounded, products, parameters)
    shifts = _shifts(model, batch, additions, means)
    for variable in rounded:
        variable.assign(before[variable.path])
    for addition in additions:
        bias = by_path[addition.bias]
        values = np.asarray(bias).reshape(-1).copy()
        values[addition.places] += shifts[addition.site]
        bias.assign(values.reshape(bias.shape))
    applied = tuple(addition.bias for addition in additions)
    skipped = {path: reason for path, reason in skipped.items() if path not in applied}
    sizes = {
        each.bias: float(np.sqrt(np.mean(shifts[each.site] ** 2)) / max(deviations[each.site], 1e-30))
        for each in additions
    }
    most = max(sizes, key=lambda path: sizes[path])
    note = (
        f"The mean of the outputs of {len(additions)} layers is corrected, by {np.mean(list(sizes.values())):.2g} of "
        f"their deviation on average, {sizes[most]:.2g} at most ({most})."
    )
    return Result(model, applied, {**skipped, **reasons, **alone}, notes=(*notes, note))


def _additions(trace: "Trace", products: Sequence["Products"]) -> tuple[list[_Addition], dict[str, str]]:
    """Return where biases are added to products, and by path why a kernel's product has none to be corrected."""
    from ._points import only_consumer

    names = {(id(operation.graph), operation.name): name for name, operation in trace.operations.items()}
    times: dict[str, int] = {}
    for _, _, path, _ in trace.readers():
        times[path] = times.get(path, 0) + 1
    found, reasons = [], {}
    for product in products:
        if product.in_loop or len(product.sites) > 1:
            reasons[product.path] = "is multiplied several times for each sample, each with another mean"
            continue
        operation = trace.operations[product.sites[0]]
        addition = only_consumer(operation.outputs[0])
        site = addition is not None and names.get((id(addition.graph), addition.name))
        origins = [trace.origin(tensor) for tensor in addition.inputs] if site and addition.type in _ADDITIONS else []
        biases = [origin for origin in origins if origin]
        if not site or len(biases) != 1:
            reasons[product.path] = "its product has no bias added to it"
        elif times[biases[0][0]] > 1:
            reasons[product.path] = f"its bias {biases[0][0]} is added in several places"
        else:
            found.append(_Addition(site, *biases[0]))
    return found, reasons


def _all_samples(work: Work, samples: int) -> dict[str, np.ndarray]:
    from ._samples import representative

    batches = list(representative(work, samples)())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _observed(
    model: "keras.Model", batch: Mapping[str, np.ndarray], additions: Sequence[_Addition]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return by site the mean of what is there for each element of the bias, and the deviation around it."""
    import tensorflow as tf

    by_site = {addition.site: addition for addition in additions}
    means = {site: tf.Variable(tf.zeros(addition.places.shape), trainable=False) for site, addition in by_site.items()}
    deviations = {site: tf.Variable(0.0, trainable=False) for site in by_site}

    def seen(name: str, tensor: Any) -> None:
        if name in by_site:
            mean = by_site[name].mean(tensor)
            means[name].assign(mean)
            deviations[name].assign(tf.sqrt(tf.reduce_mean((tensor - mean) ** 2)))

    _run(model, batch, seen)
    return (
        {site: held.numpy() for site, held in means.items()},
        {site: float(held) for site, held in deviations.items()},
    )


def _shifts(
    model: "keras.Model",
    batch: Mapping[str, np.ndarray],
    additions: Sequence[_Addition],
    means: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return by site what brings the mean back, where all sites before it have been brought back."""
    import tensorflow as tf

    by_site = {addition.site: addition for addition in additions}
    shifts = {site: tf.Variable(tf.zeros(addition.places.shape), trainable=False) for site, addition in by_site.items()}

    def seen(name: str, tensor: Any) -> Any:
        if name not in by_site:
            return None
        shift = means[name] - by_site[name].mean(tensor)
        shifts[name].assign(shift)
        return tensor + shift

    _run(model, batch, seen)
    return {site: held.numpy() for site, held in shifts.items()}


def _run(model: "keras.Model", batch: Mapping[str, np.ndarray], seen: Any) -> None:
    from ._kernel_products import observe

    observe(model, lambda: [batch], seen)


def _round(
    model: "keras.Model",
    variables: Sequence["keras.Variable"],
    products: Sequence["Products"],
    parameters: BiasCorrection,
) -> None:
    """Give kernels the values that the exporters will give them."""
    from ._weight_grid import rounded_as_exported
    from ._weight_quantizer import quantized, summed_axes

    axes = summed_axes(model)
    layouts = {product.path: product.layout for product in products}
    for variable in variables:
        path, values = variable.path, np.asarray(variable)
        if path in layouts:
            variable.assign(rounded_as_exported(values, layouts[path], parameters.bits, parameters.group_size))
        else:
            integers, scale = quantized(values, axes[path], parameters.bits)
            variable.assign(integers * scale)


TECHNIQUE = Technique(
    name="bias_correction",
    title="bias correction",
    parameters=BiasCorrection,
    apply=apply,
    needs_data=True,
)
