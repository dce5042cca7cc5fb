"""How much a unit matters: by its weights, by the loss's slope, or by its activations."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from ..errors import InputError
from ..train import Dataset
from ..train._training import as_inputs
from ._fine_tuning import float_outputs
from ._mapped_model import MappedModel
from ._removal_groups import Family
from ._removal_trace import SAMPLES, Trace, trace
from ._technique import Work

MAGNITUDE, TAYLOR, ACTIVATION = "magnitude", "taylor", "activation"
# Of a group's tensors so many tell its activations: those of recurrent layers have one at every step.
_TENSORS = 8
_BATCH = 32


def by_magnitude(traced: Trace, families: list[Family]) -> list[list[np.ndarray]]:
    """Return for each group of each family its units' scores: the norm of all weights that a unit has."""
    squares = [np.square(np.asarray(variable, np.float64)) for variable in traced.variables]

    def score(unit: Any) -> float:
        return float(
            sum(
                np.take(squares[place], found, axis).sum()
                for place, axis, found in unit
                if traced.variables[place].trainable
            )
            ** 0.5
        )

    return [[np.array([score(unit) for unit in group.units]) for group in family.groups] for family in families]


def by_taylor(
    traced: Trace, families: list[Family], batches: Sequence[Any], loss_of: Callable[[Any], Any]
) -> list[list[np.ndarray]]:
    """Return for each unit the mean over batches of (sum of gradient times weight)^2, over all axes that it has.

    Molchanov et al., "Importance estimation for neural network pruning", 2019 (arXiv 1906.10771), equation 8, with the
    unit's weights in each variable as one group.

    Args:
        traced: the model.
        families: of the model.
        batches: training samples, as ``loss_of`` takes them.
        loss_of: maps a batch to the loss, as a tensor.
    """
    import tensorflow as tf

    variables = [variable for variable in traced.variables if variable.trainable]
    scores = [[np.zeros(len(group.units)) for group in family.groups] for family in families]

    @tf.function(reduce_retracing=True)
    def slopes_of(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(batch)
        slopes = tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")
        # Of a table of embeddings the slope comes as the rows that were looked up.
        return [tf.convert_to_tensor(slope) for slope in slopes]

    for batch in batches:
        slopes = slopes_of(batch)
        products = {
            id(variable): np.asarray(slope, np.float64) * np.asarray(variable)
            for variable, slope in zip(variables, slopes, strict=True)
        }
        for family, of_family in zip(families, scores, strict=True):
            for group, of_group in zip(family.groups, of_family, strict=True):
                for number, unit in enumerate(group.units):
                    for place, axis, found in unit:
                        product = products.get(id(traced.variables[place]))
                        if product is not None:
                            of_group[number] += np.take(product, found, axis).sum() ** 2 / len(batches)
    return scores


def by_activation(
    model: keras.Model, traced: Trace, families: list[Family], batches: list[Dataset]
) -> list[list[np.ndarray]]:
    """Return for each unit the mean magnitude of its activations, where products of matrices take them in.

    Args:
        model: the model.
        traced: its trace.
        families: of the model.
        batches: samples, ``SAMPLES`` each.

    Raises:
        InputError: no product of matrices takes a group's activations in, or no sample activates any of its units.
    """
    whole = trace(model, whole=True)
    labels = whole.flow.labels
    found: list[list[list[tuple[Any, int, list[np.ndarray]]]]] = []
    fetched: dict[str, Any] = {}
    at_products = [
        (tensor, axis, labels.roots(whole.flow.of(tensor)[axis]))
        for tensor, axis in whole.flow.contracted
        if tensor.op.type != "ReadVariableOp"
    ]
    for family in families:
        of_family = []
        for group in family.groups:
            place, axis, _ = group.units[0][0]
            roots = [int(labels.roots(whole.axes[place][axis][unit[0][2][:1]])[0]) for unit in group.units]
            holding = [(tensor, axis, own) for tensor, axis, own in at_products if set(roots) & set(own.tolist())]
            some = [
                holding[n] for n in np.unique(np.linspace(0, len(holding) - 1, min(len(holding), _TENSORS)).astype(int))
            ]
            fetched.update((tensor.name, tensor) for tensor, _, _ in some)
            of_family.append([(t, axis, [np.flatnonzero(own == root) for root in roots]) for t, axis, own in some])
        found.append(of_family)
    scores = [[np.zeros(len(group.units)) for group in family.groups] for family in families]
    run = whole.graph.prune(whole.graph.inputs[: len(model.inputs)], list(fetched.values()))
    for batch in batches:
        values = dict(zip(fetched, run(*_fed(model, batch, whole)), strict=True))
        for of_family, family_scores in zip(found, scores, strict=True):
            for of_group, group_scores in zip(of_family, family_scores, strict=True):
                for tensor, axis, places in of_group:
                    magnitude = np.abs(np.moveaxis(np.asarray(values[tensor.name]), axis, 0))
                    means = magnitude.reshape(len(magnitude), -1).mean(axis=1)
                    group_scores += [means[own].mean() if len(own) else 0.0 for own in places]
    for family, family_scores in zip(families, scores, strict=True):
        if not all(of_group.any() for of_group in family_scores):
            raise InputError(
                f"Expected samples that activate the units of {family.name}. Got: {SAMPLES * len(batches)} samples, "
                "for which nothing that a product of matrices takes in is other than zero. Set another criterion."
            )
    return scores


def _fed(model: keras.Model, batch: Dataset, whole: Trace) -> list[Any]:
    arrays = keras.tree.flatten(as_inputs(model, batch.inputs))
    assert all(len(array) == SAMPLES for array in arrays)
    return [
        keras.ops.convert_to_tensor(array, tensor.dtype.name)
        for array, tensor in zip(arrays, whole.graph.inputs, strict=False)
    ]


def scores_of(
    work: Work, traced: Trace, families: list[Family], criterion: str, samples: int
) -> list[list[np.ndarray]]:
    """Return the units' scores by a criterion: for each family, for each of its groups ``[units]``.

    Raises:
        InputError: the criterion needs samples and there are none.
    """
    if criterion == MAGNITUDE:
        return by_magnitude(traced, families)
    if criterion == ACTIVATION:
        return by_activation(work.model, traced, families, _batches(work, samples, SAMPLES))
    labelled = work.task.train.labels is not None and bool(work.task.loss)
    batches, loss_of = losses(work, samples)
    return by_taylor(traced, families, batches, loss_of if labelled else functools.partial(_moved, work.model))


def losses(work: Work, samples: int) -> tuple[list[Any], Callable[[Any], Any]]:
    """Return batches and a function from one to the model's loss: the task's, or how far it is from the original.

    Raises:
        InputError: there are no samples, or no output is of floats.
    """
    model, original, task = work.model, work.original, work.task
    float_outputs(original, original.outputs)
    labelled = task.train.labels is not None and bool(task.loss)
    batches = [
        (as_inputs(model, batch.inputs), batch.labels if labelled else None)
        for batch in _batches(work, samples, _BATCH)
    ]
    if not labelled:

        def apart(batch: Any) -> Any:
            pairs = zip(
                *(float_outputs(each, each(batch[0], training=False)) for each in (model, original)), strict=True
            )
            return sum(keras.ops.mean(keras.ops.square(one - other)) for one, other in pairs)

        return batches, apart
    mapped = MappedModel(model)
    mapped.compile(loss=task.loss)

    def loss_of(batch: Any) -> Any:
        inputs, labels = batch
        return mapped.compute_loss(inputs, labels, mapped(inputs, training=False), training=False)

    return batches, loss_of


def _moved(model: keras.Model, batch: Any) -> Any:
    """Return the outputs summed with random signs: the mean square of its change is how far the outputs move."""
    import tensorflow as tf

    outputs = float_outputs(model, model(batch[0], training=False))
    return tf.add_n([tf.reduce_sum(each * tf.sign(tf.random.normal(tf.shape(each)))) for each in outputs])


def _batches(work: Work, samples: int, size: int) -> list[Dataset]:
    data = work.task.train
    if not len(data):
        raise InputError("Expected samples to rank units on. Got: none. Give data, or set criterion = 'magnitude'.")
    places = data.evenly(samples)
    return [data.at(each) for each in np.resize(places, -(-len(places) // size) * size).reshape(-1, size)]
