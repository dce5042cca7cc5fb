"""compress/_removal_*.py: units are found in models of any layers, and what is left without them is proved."""

import functools
import re

import keras
import numpy as np
import pytest

from edgewright.compress._removal_groups import structure
from edgewright.compress._removal_plan import removal
from edgewright.compress._removal_rebuild import CannotRemove, check, rebuilt
from edgewright.compress._removal_trace import trace
from edgewright.compress._technique import Work
from edgewright.compress.structured_pruning import StructuredPruning, apply
from edgewright.errors import InputError

from ._removal_models import KINDS, Mixing, Rooted, Spectrum, Wired, task_for, with_random_weights

layers = keras.layers


def _samples(model, seed=0):
    random = np.random.default_rng(seed)
    arrays = {}
    for tensor in model.inputs:
        shape = (8, *tensor.shape[1:])
        whole = "int" in tensor.dtype
        arrays[tensor.name] = random.integers(1, 6, shape) if whole else random.uniform(0.1, 1, shape).astype("float32")
    return keras.tree.map_structure(lambda tensor: arrays[tensor.name], model.input)


def _half(families, seed=0):
    """Return removals of about half of each family's units, drawn at random."""
    random = np.random.default_rng(seed)
    return [
        removal(
            family,
            [random.uniform(size=len(group.units)) for group in family.groups],
            family.possible[(len(family.possible) - 1) // 2],
        )
        for family in families
    ]


@functools.cache
def _found(kind):
    model = with_random_weights(KINDS[kind][0]())
    return model, structure(model, trace(model))


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_kind_has_the_groups_that_it_should(kind):
    """The groups of each kind of layer are found, with their units, and nothing else can go exactly."""
    _, found = _found(kind)
    exact = [family for family in found.families if not family.blocked and not family.groups[0].mixed]
    # Cells that have no name get one with a number, which counts those that the process made before.
    units = {re.sub(r"_cell_\d+/", "_cell/", family.name): family.size for family in exact}
    expected = KINDS[kind][1]
    assert len(units) == len(expected), units
    for name, count in expected.items():
        assert [size for path, size in units.items() if name in path.rpartition("/")[0]][:1] == [count], (name, units)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_model_computes_what_the_original_does_with_silenced_units(kind):
    """With all groups halved at once, the outputs are those of the original whose removed units have zero weights."""
    model, found = _found(kind)
    removals = _half([family for family in found.families if not family.blocked and not family.groups[0].mixed])
    small = rebuilt(model, found.trace, removals)
    assert small.count_params() < model.count_params()
    before = model.get_weights()
    silenced = {id(variable): np.array(variable) for variable in model.weights}
    for each in removals:
        for group, gone in zip(each.family.groups, each.gone, strict=True):
            assert 0 < len(gone) < len(group.units)
            for place, axis, found_at in (part for unit in gone for part in group.units[unit]):
                variable = found.trace.variables[place]
                if variable.trainable:
                    np.moveaxis(silenced[id(variable)], axis, 0)[found_at] = 0
    inputs = _samples(model)
    received = keras.tree.flatten(small(inputs))
    model.set_weights([silenced[id(variable)] for variable in model.weights])
    expected = keras.tree.flatten(model(inputs))
    model.set_weights(before)
    for one, other in zip(expected, received, strict=True):
        assert np.abs(np.asarray(one)).max() > 1e-3
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * float(np.abs(one).max()))


def test_the_proof_notices_a_wrong_weight():
    """A smaller model with one weight elsewhere than it should be does not pass."""
    model, found = _found("GRU")
    removals = _half([family for family in found.families if not family.blocked])
    small = rebuilt(model, found.trace, removals)
    check(model, found.trace, removals, small, _samples(model))
    kernel = small.get_layer("second").cell.recurrent_kernel
    kernel.assign(np.roll(np.asarray(kernel), 1, axis=1))
    with pytest.raises(CannotRemove, match="silenced"):
        check(model, found.trace, removals, small, _samples(model))


def test_features_under_a_normalization_go_only_where_that_is_asked_for():
    """What a LayerNormalization computes with together is left alone, with the reason, or removed approximately."""
    model = with_random_weights(KINDS["attention"][0]())
    work = Work(model, task_for(model), 0, model)
    left = apply(work, StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    assert left.model.get_layer("embedding").units == 12
    assert "computes with all of them together" in left.skipped["embedding/bias"]
    gone = apply(work, StructuredPruning(share=0.5, epochs=0, criterion="magnitude", approximate=True))
    assert gone.model.get_layer("embedding").units == 6
    assert gone.model.get_layer("attention").get_config()["num_heads"] == 2
    assert not gone.skipped.get("embedding/bias")


def test_a_units_places_are_proved_to_belong_together_where_silence_proves_nothing():
    """Features under a normalization may be put in another order; one place in a wrong order shows."""
    model, found = _found("transformer")
    mixed = [family for family in found.families if family.groups[0].mixed]
    removals = _half(mixed)
    small = rebuilt(model, found.trace, removals)
    check(model, found.trace, removals, small, _samples(model), exact=False)
    group = removals[0].family.groups[0]
    first, second = group.units[0], group.units[1]
    place = max(range(len(first)), key=lambda n: len(found.trace.variables[first[n][0]].shape))
    first[place], second[place] = second[place], first[place]
    try:
        with pytest.raises(CannotRemove, match="another order"):
            check(model, found.trace, removals, small, _samples(model), exact=False)
    finally:
        first[place], second[place] = second[place], first[place]


def test_a_scale_that_follows_from_a_size_is_noticed():
    """Features over the root of their number fail the proof and stay, or go where that is asked for."""
    features = keras.Input((6,))
    x = Rooted(name="rooted")(layers.Dense(8, name="scaled")(features))
    model = with_random_weights(keras.Model(features, layers.Dense(2)(layers.Dense(6, name="free")(x))))
    work = Work(model, task_for(model), 0, model)
    left = apply(work, StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    assert left.model.get_layer("scaled").units == 8
    assert left.model.get_layer("free").units == 3
    assert "it would compute something else" in left.skipped["scaled/kernel"]
    gone = apply(work, StructuredPruning(share=0.5, epochs=0, criterion="magnitude", approximate=True))
    assert gone.model.get_layer("scaled").units == 4
    assert gone.model.get_layer("free").units == 3


def test_what_cannot_go_says_why():
    """A constant of its size, a size that no number sets, and outputs keep their units, each with its reason."""
    features = keras.Input((8,))
    x = Wired(name="wired")(layers.Dense(6, name="before")(features))
    x = Mixing(name="mixing")(layers.Dense(4, activation="relu", name="free")(x))
    model = keras.Model(features, x)
    with pytest.raises(InputError, match="an output of the model") as raised:
        apply(Work(model, task_for(model), 0, model), StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    assert "before/kernel: meets a constant that stays as it is, in wired" in str(raised.value)
    assert "what mixing takes also sets a size that is an output of the model" in str(raised.value)


def test_what_passes_an_unknown_operation_stays():
    """Units under an operation without a rule keep their places, with its name as the reason; the others go."""
    features = keras.Input((8,))
    x = Spectrum(name="spectrum")(layers.Dense(6, name="before")(features))
    model = with_random_weights(keras.Model(features, layers.Dense(2)(layers.Dense(6, name="after")(x))))
    result = apply(
        Work(model, task_for(model), 0, model), StructuredPruning(share=0.5, epochs=0, criterion="magnitude")
    )
    assert result.model.get_layer("before").units == 6
    assert result.model.get_layer("after").units == 3
    assert "in spectrum, which removal does not follow" in result.skipped["before/kernel"]
