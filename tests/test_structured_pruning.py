"""compress/structured_pruning.py: units are removed from models of any layers, and what is left is proved."""

import functools
import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from edgewright import train
from edgewright.compress import compress, parse_recipe
from edgewright.compress._removal_groups import structure
from edgewright.compress._removal_plan import removal
from edgewright.compress._removal_rebuild import CannotRemove, check, rebuilt
from edgewright.compress._removal_trace import trace
from edgewright.compress._technique import Work
from edgewright.compress.structured_pruning import StructuredPruning, apply
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Task
from edgewright.train._training import outputs_of

layers = keras.layers
CHECKPOINTS = Path(train.__file__).parent / "checkpoints"


@keras.saving.register_keras_serializable(package="tests")
class Mixing(layers.Layer):
    """A custom layer whose outputs are as many as its inputs: no number of its own sets a size."""

    def build(self, shape):
        """Make the kernel."""
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")

    def call(self, inputs):
        """Multiply by it."""
        return keras.ops.matmul(inputs, self.kernel)


@keras.saving.register_keras_serializable(package="tests")
class Wired(layers.Layer):
    """A custom layer with a constant of the size of its inputs."""

    def call(self, inputs):
        """Multiply by it."""
        return inputs * np.linspace(0, 1, inputs.shape[-1], dtype="float32")


@keras.saving.register_keras_serializable(package="tests")
class Rooted(layers.Layer):
    """A custom layer that divides by the root of the number of its inputs."""

    def call(self, inputs):
        """Divide."""
        return inputs / inputs.shape[-1] ** 0.5


@keras.saving.register_keras_serializable(package="tests")
class Spectrum(layers.Layer):
    """A custom layer with operations that removal does not follow, and shapes that depend on values."""

    def call(self, inputs):
        """Return the real part of the spectrum, times how many inputs are positive."""
        import tensorflow as tf

        positive = tf.cast(tf.shape(tf.where(inputs > 0))[0], inputs.dtype)
        return keras.ops.real(tf.signal.fft(tf.cast(inputs, tf.complex64))) * positive

    def compute_output_shape(self, shape):
        """Return the same shape."""
        return shape


def _convolutional():
    """A residual sum, a concatenation, depthwise, separable, transposed and dilated convolutions, pools, flattening."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    inner = layers.Conv2D(6, 1, activation="relu", name="narrow")(x)
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", name="wide")(inner)])
    x = layers.Concatenate()([x, layers.Conv2D(4, 1, name="beside")(x)])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.MaxPooling2D()(layers.SeparableConv2D(10, 3, name="separable")(x))
    x = layers.ZeroPadding2D()(layers.UpSampling2D()(layers.Conv2DTranspose(6, 2, strides=2, name="up")(x)))
    x = layers.Conv2D(5, 3, dilation_rate=2, name="dilated")(x)
    flat = layers.Dense(7, activation="gelu", name="hidden")(layers.Flatten()(x))
    x = layers.PReLU()(layers.Concatenate()([layers.GlobalAveragePooling2D()(x), flat]))
    return keras.Model(image, layers.Dense(3, name="out")(x))


def _sequence():
    x = sequence = keras.Input((20, 4))
    x = layers.Conv1D(8, 3, padding="causal", name="first")(x)
    x = layers.GroupNormalization(2)(layers.Conv1D(8, 3, dilation_rate=2, padding="causal", name="second")(x))
    x = layers.GlobalMaxPooling1D()(layers.AveragePooling1D(2)(x))
    return keras.Model(sequence, layers.Dense(3)(layers.LeakyReLU()(x)))


def _attention(kind, **parameters):
    tokens = keras.Input((6, 8))
    x = layers.Dense(12, name="embedding")(tokens)
    own = layers.LayerNormalization()(x)
    x = x + getattr(layers, kind)(**parameters, name="attention")(own, own)
    return keras.Model(tokens, layers.Dense(2)(layers.Dense(10, activation="silu", name="hidden")(x)))


def _einsum():
    tokens = keras.Input((6, 8))
    x = layers.EinsumDense("abc,cde->abde", (None, 4, 5), bias_axes="de", activation="relu", name="apart")(tokens)
    x = layers.EinsumDense("abde,def->abf", (None, 6), bias_axes="f", name="together")(x)
    return keras.Model(tokens, layers.Dense(2)(x))


def _recurrent(kind, **parameters):
    sequence = keras.Input((9, 4))
    x = getattr(layers, kind)(6, return_sequences=True, name="first", **parameters)(sequence)
    return keras.Model(sequence, layers.Dense(2)(getattr(layers, kind)(5, name="second", **parameters)(x)))


def _both_ways():
    sequence = keras.Input((9, 4))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="first")(sequence)
    x = layers.Bidirectional(layers.GRU(4), merge_mode="sum", name="second")(x)
    return keras.Model(sequence, layers.Dense(2)(x))


def _embedded():
    tokens = keras.Input((7,), dtype="int32")
    x = layers.GRU(6, return_sequences=True, name="recurrent")(layers.Embedding(20, 8, mask_zero=True)(tokens))
    x = layers.GlobalAveragePooling1D()(layers.TimeDistributed(layers.Dense(4, name="each"))(x))
    return keras.Model(tokens, layers.Dense(2)(x))


def _nested():
    features, between = keras.Input((8,)), keras.Input((6,))
    first = keras.Sequential(
        [keras.Input((8,)), layers.Dense(10, activation="relu", name="one"), layers.Dense(6, name="two")]
    )
    second = keras.Model(between, layers.Dense(5, name="three")(between))
    return keras.Model(features, layers.Dense(2)(second(first(features))))


def _operations():
    """Functions of keras.ops between layers: a gate made of two halves, reshaping."""
    features = keras.Input((8,))
    value, gate = keras.ops.split(layers.Dense(12, name="gated")(features), 2, axis=-1)
    x = keras.ops.reshape(value * keras.ops.sigmoid(gate), (-1, 6))
    return keras.Model(features, layers.Dense(2)(Mixing(name="mixing")(x)))


def _liquid(cell):
    from edgewright.train import _liquid_cfc, _liquid_ltc, _liquid_mmrnn
    from edgewright.train._liquid_network import classifier

    cells = {
        "cfc": lambda: _liquid_cfc.CfCCell(8, (6,)),
        "pure": lambda: _liquid_cfc.CfCCell(8, (), "pure"),
        "ltc": lambda: _liquid_ltc.LTCCell(6),
        "mmrnn": lambda: _liquid_mmrnn.MixedMemoryCell(8, (6,)),
    }
    return classifier(cells[cell](), 5, 3, 3, readout="mean", noise=0.1, dropout=0.1, seed=0)


def _graph(kind):
    from edgewright.train._graph_forces import force_model
    from edgewright.train._graph_gap import gap_model

    return force_model(8, 2, 6, 4.0) if kind == "forces" else gap_model(kind, 8, 2, 6, 4.0)


def _transformer():
    from edgewright.train._synthesis_transformer import Lengths, Shape, training_model

    return training_model(Shape(8, 4, 12, 1, 1), Lengths(5, 6, 7, 4), "small")


# Each with the units of the groups that can go exactly, by the path of what makes them.
KINDS = {
    "convolutional": (
        _convolutional,
        {"stem": 8, "narrow": 6, "beside": 4, "separable": 10, "up": 6, "dilated": 5, "hidden": 7},
    ),
    "sequence": (_sequence, {"first": 8, "second": 2}),
    "attention": (
        functools.partial(_attention, "MultiHeadAttention", num_heads=4, key_dim=5, value_dim=3),
        {"attention": 4, "hidden": 10},
    ),
    "grouped attention": (
        functools.partial(_attention, "GroupQueryAttention", head_dim=4, num_query_heads=4, num_key_value_heads=2),
        {"attention": 2, "hidden": 10},
    ),
    "einsum": (_einsum, {"apart": 4, "together": 6}),
    "GRU": (functools.partial(_recurrent, "GRU"), {"first": 6, "second": 5}),
    "GRU of 2014": (functools.partial(_recurrent, "GRU", reset_after=False), {"first": 6, "second": 5}),
    "LSTM": (functools.partial(_recurrent, "LSTM"), {"first": 6, "second": 5}),
    "simple recurrent": (functools.partial(_recurrent, "SimpleRNN"), {"first": 6, "second": 5}),
    "both ways": (_both_ways, {"first": 6, "second": 4}),
    "embedded": (_embedded, {"embedding": 8, "recurrent": 6, "time_distributed": 4}),
    "nested": (_nested, {"one": 10, "two": 6, "three": 5}),
    "operations": (_operations, {"gated": 6}),
    "CfC": (functools.partial(_liquid, "cfc"), {"cf_c_cell/f": 8, "cf_c_cell/backbone_0": 6}),
    "pure CfC": (functools.partial(_liquid, "pure"), {"cf_c_cell": 8}),
    "LTC": (functools.partial(_liquid, "ltc"), {"ltc_cell": 6}),
    "mmRNN": (functools.partial(_liquid, "mmrnn"), {"cfc/f": 8, "cfc/backbone_0": 6}),
    "SchNet": (functools.partial(_graph, "schnet"), {"embedding": 8, "atomwise": 8, "molecule": 8}),
    "PaiNN": (functools.partial(_graph, "painn"), {"embedding": 8, "atomwise": 8, "molecule": 8}),
    "forces": (functools.partial(_graph, "forces"), {"potential/embedding": 4}),
    "transformer": (
        _transformer,
        {
            "encoder_1_self_query": 4,
            "encoder_1_dense_1": 12,
            "decoder_1_self_query": 4,
            "decoder_1_cross_query": 4,
            "decoder_1_dense_1": 12,
        },
    ),
}


def _with_random_weights(model, seed=0):
    """No weight is near zero, so that a place taken for another one shows."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        values = random.uniform(0.3, 1, variable.shape)
        signs = random.choice([-1, 1], variable.shape)
        variable.assign(values if not variable.trainable or variable.constraint else values * signs)
    return model


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
    model = _with_random_weights(KINDS[kind][0]())
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
    model = _with_random_weights(KINDS["attention"][0]())
    work = Work(model, _task(model), 0, model)
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
    model = _with_random_weights(keras.Model(features, layers.Dense(2)(layers.Dense(6, name="free")(x))))
    work = Work(model, _task(model), 0, model)
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
        apply(Work(model, _task(model), 0, model), StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    assert "before/kernel: meets a constant that stays as it is, in wired" in str(raised.value)
    assert "what mixing takes also sets a size that is an output of the model" in str(raised.value)


def test_what_passes_an_unknown_operation_stays():
    """Units under an operation without a rule keep their places, with its name as the reason; the others go."""
    features = keras.Input((8,))
    x = Spectrum(name="spectrum")(layers.Dense(6, name="before")(features))
    model = _with_random_weights(keras.Model(features, layers.Dense(2)(layers.Dense(6, name="after")(x))))
    result = apply(Work(model, _task(model), 0, model), StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    assert result.model.get_layer("before").units == 6
    assert result.model.get_layer("after").units == 3
    assert "in spectrum, which removal does not follow" in result.skipped["before/kernel"]


def _task(model, labelled=False, samples=64):
    """A task of random samples for a model with one output of classes."""
    random = np.random.default_rng(0)
    inputs = {
        tensor.name: random.normal(size=(samples, *tensor.shape[1:])).astype("float32") for tensor in model.inputs
    }
    labels = random.integers(0, 2, samples) if labelled else None
    data = Dataset(inputs, labels)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if labelled else None
    return Task("random", data, data, loss, ACCURACY if labelled else None)


def _dense(hidden=6):
    features = keras.Input((8,), name="features")
    x = layers.Dense(hidden, activation="relu", name="hidden")(features)
    return _with_random_weights(keras.Model(features, layers.Dense(2, name="logits")(x)))


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "activation"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_unit_that_does_nothing_goes_first(criterion, labelled):
    """Whatever the criterion, with labels or without, a unit with next to no weights is the one that is removed."""
    model = _dense()
    kernel, bias = (np.array(value) for value in (model.get_layer("hidden").kernel, model.get_layer("hidden").bias))
    kernel[:, 3] *= 1e-3
    bias[3] = 0
    rows = np.array(model.get_layer("logits").kernel)
    rows[3] *= 1e-2
    model.get_layer("hidden").set_weights([kernel, bias])
    model.get_layer("logits").set_weights([rows, np.array(model.get_layer("logits").bias)])
    result = apply(
        Work(model, _task(model, labelled), 0, model), StructuredPruning(share=0.17, epochs=0, criterion=criterion)
    )
    np.testing.assert_array_equal(np.asarray(result.model.get_layer("hidden").kernel), np.delete(kernel, 3, axis=1))


def test_activation_tells_apart_what_magnitude_does_not():
    """A unit that the data never activates goes by the criterion activation, though its weights are the largest."""
    model = _dense()
    kernel, bias = (np.array(value) for value in (model.get_layer("hidden").kernel, model.get_layer("hidden").bias))
    bias[2] = -1000
    model.get_layer("hidden").set_weights([kernel, bias])
    work = Work(model, _task(model), 0, model)
    silent = apply(work, StructuredPruning(share=0.17, epochs=0, criterion="activation")).model
    large = apply(work, StructuredPruning(share=0.17, epochs=0, criterion="magnitude")).model
    assert np.asarray(silent.get_layer("hidden").bias).min() > -1000
    assert np.asarray(large.get_layer("hidden").bias).min() == -1000


def test_data_that_never_activates_a_layer_is_refused():
    """Samples for which all of a layer's units are zero cannot rank them, and the layer is named."""
    model = _dense()
    model.get_layer("hidden").bias.assign(np.full(6, -1000.0))
    with pytest.raises(InputError, match="activate the units of hidden/kernel"):
        apply(Work(model, _task(model), 0, model), StructuredPruning(share=0.5, epochs=0, criterion="activation"))


def test_a_global_ranking_takes_more_where_there_is_less():
    """With one group of next to no importance, the units go there, as far as the least that has to be left."""
    features = keras.Input((8,), name="features")
    x = layers.Dense(8, activation="relu", name="first")(features)
    x = layers.Dense(8, activation="relu", name="second")(x)
    model = _with_random_weights(keras.Model(features, layers.Dense(2, name="logits")(x)))
    kernel = np.array(model.get_layer("second").kernel)
    kernel[:, :6] *= 1e-4
    rows = np.array(model.get_layer("logits").kernel)
    rows[:6] *= 1e-4
    model.get_layer("second").set_weights([kernel, np.where(np.arange(8) < 6, 0, 1.0)])
    model.get_layer("logits").set_weights([rows, np.zeros(2)])
    result = apply(
        Work(model, _task(model), 0, model),
        StructuredPruning(share=0.25, epochs=0, criterion="magnitude", ranking="global", least=3),
    )
    assert result.model.get_layer("second").units == 4
    assert result.model.get_layer("first").units == 8


@pytest.mark.parametrize("target", ["parameters", "macs"])
@pytest.mark.parametrize("ranking", ["group", "global"])
def test_a_target_is_met(target, ranking):
    """The smaller model has at most the share of parameters or multiplications that was asked for."""
    model = _with_random_weights(_convolutional())
    result = apply(
        Work(model, _task(model), 0, model),
        StructuredPruning(**{target: 0.4}, epochs=0, criterion="magnitude", ranking=ranking),
    )

    def cost(made):
        if target == "parameters":
            return sum(int(np.prod(variable.shape)) for variable in made.weights)
        return sum(times * np.prod([len(axis) for axis in axes]) for times, axes in trace(made).products)

    assert 0.25 < cost(result.model) / cost(model) <= 0.4


def test_multiplications_are_counted_as_a_frozen_graph_has_them():
    """A convolution, a depthwise one and a dense layer have the multiplications that their formulas say."""
    image = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(4, 3, padding="same")(image))
    model = keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    counted = [times * np.prod([len(axis) for axis in axes]) for times, axes in trace(model).products]
    assert counted == [64 * 9 * 3 * 4, 64 * 9 * 4, 4 * 5]


def test_recurrent_multiplications_are_counted_at_every_step():
    """A layer that was traced over a few steps counts for all of its steps."""
    sequence = keras.Input((30, 4))
    model = keras.Model(sequence, layers.Dense(2)(layers.SimpleRNN(5)(sequence)))
    counted = sum(times * np.prod([len(axis) for axis in axes]) for times, axes in trace(model).products)
    assert counted == 30 * (4 * 5 + 5 * 5) + 5 * 2


def test_units_are_left_in_multiples():
    """Large groups keep a multiple of what is asked for; small ones are not held to it."""
    model = _with_random_weights(_convolutional())
    result = apply(
        Work(model, _task(model), 0, model),
        StructuredPruning(share=0.6, multiple=4, epochs=0, criterion="magnitude"),
    )
    assert result.model.get_layer("stem").filters == 4
    assert result.model.get_layer("separable").filters == 4
    assert result.model.get_layer("hidden").units == 3


def test_rounds_with_fine_tuning_end_at_the_same_size_and_a_lower_loss(tmp_path):
    """A share that goes in rounds ends as small as at once, trained in between, and saves as a plain Keras model."""
    features = keras.Input((8,), name="features")
    x = layers.Dense(32, activation="relu", name="first")(features)
    x = layers.BatchNormalization()(layers.Dense(32, activation="relu", name="second")(x))
    model = keras.Model(features, layers.Dense(2, activation="softmax", name="classes")(x))
    random = np.random.default_rng(0)
    inputs = random.normal(size=(512, 8)).astype("float32")
    data = Dataset({"features": inputs}, (inputs[:, 0] * inputs[:, 1] > 0).astype("int32"))
    task = Task("signs", data, data, "sparse_categorical_crossentropy", ACCURACY)
    model.compile("adam", task.loss)
    model.fit(inputs, data.labels, epochs=20, verbose=0)
    before = [np.array(weight) for weight in model.weights]
    done = []
    recipe = "[[steps]]\ntechnique='structured_pruning'\nshare=0.75\nepochs={}\nlearning_rate=0.005\nrounds={}"
    slowly = compress(model, task, parse_recipe(recipe.format(12, 2)), on_step=lambda *step: done.append(step[1:]))
    at_once = compress(model, task, parse_recipe(recipe.format(0, 1)))
    assert slowly.model.get_layer("first").units == at_once.model.get_layer("first").units == 8
    assert done == [(epoch, 24) for epoch in range(1, 25)]
    loss = keras.losses.SparseCategoricalCrossentropy()
    slow, fast = (float(loss(data.labels, outputs_of(made.model, data)["classes"])) for made in (slowly, at_once))
    assert slow < 0.85 * fast
    for weight, was in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), was)
    slowly.model.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(outputs_of(again, data)["classes"], outputs_of(slowly.model, data)["classes"])


def test_rounds_reach_the_share_in_wrapped_layers_whose_variables_get_other_paths():
    """A layer in a wrapper, which is built anew when its inputs shrink, loses in three rounds what it would at once."""
    model = _with_random_weights(_both_ways())
    work = Work(model, _task(model), 0, model)
    parameters = {"share": 0.5, "epochs": 0, "criterion": "magnitude"}
    at_once = apply(work, StructuredPruning(**parameters))
    in_rounds = apply(work, StructuredPruning(**parameters, rounds=3))
    shapes = [variable.shape for variable in at_once.model.weights]
    assert [variable.shape for variable in in_rounds.model.weights] == shapes
    assert set(at_once.applied) <= {variable.path for variable in at_once.model.weights}


def test_every_variable_is_smaller_or_says_why():
    """The report names each trainable variable once: made smaller, or left alone with the reason."""
    model = _with_random_weights(_transformer())
    task = _task(model)
    result = apply(Work(model, task, 0, model), StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    paths = {variable.path for variable in result.model.trainable_variables}
    assert paths == set(result.applied) | set(result.skipped)
    assert not set(result.applied) & set(result.skipped)
    assert result.skipped["logits/bias"] == "is an output of the model"


def test_heads_of_one_layer_alone_may_go_and_the_decoder_still_decodes():
    """A transformer whose layers have different numbers of heads is deployed with those that each of them has."""
    from edgewright.train._synthesis_transformer import encoder_graph, step_graph

    model = _with_random_weights(_transformer())
    for variable in model.weights:
        variable.assign(np.asarray(variable) * 0.3)
    parameters = StructuredPruning(share=0.5, epochs=0, criterion="magnitude", scope="decoder_1_self")
    small = apply(Work(model, _task(model), 0, model), parameters).model
    assert small.get_layer("decoder_1_self_attention").heads == 2
    assert small.get_layer("decoder_1_cross_attention").heads == 4
    random = np.random.default_rng(0)
    told = random.uniform(size=(1, 5, 6)).astype("float32")
    tokens = np.eye(4, dtype="float32")[random.integers(0, 4, (1, 7))]
    wanted = np.asarray(small({"command": told, "actions_in": tokens}))
    keys, values = map(np.asarray, encoder_graph(small)({"command": told}))
    step = step_graph(small)
    cache = {name: np.zeros((1, 6, 4), "float32") for name in ("keys_1", "values_1")}
    for place in range(7):
        mask = np.where(np.arange(7) < place, 0, -30.0).astype("float32")[None, None]
        mask[..., -1] = 0
        position = np.eye(7, dtype="float32")[None, place : place + 1]
        told_now = {"token": tokens[:, place : place + 1], "position": position, "mask": mask, **cache}
        logits, key, value = step({**told_now, "cross_keys_1": keys, "cross_values_1": values})
        np.testing.assert_allclose(logits[:, 0], wanted[:, place], atol=1e-4)
        if place < 6:
            cache["keys_1"][:, place], cache["values_1"][:, place] = key[:, 0], value[:, 0]


def _residual():
    """Two residual blocks, the second of them adding next to nothing, and a third that makes the output."""
    features = keras.Input((8,), name="features")
    x = layers.Dense(6, name="before")(features)
    x = x + layers.Dense(6, name="first_2")(layers.Dense(5, activation="relu", name="first_1")(x))
    x = layers.Add()([layers.Dense(6, name="second_2")(layers.Dense(5, activation="relu", name="second_1")(x)), x])
    x = layers.Add(name="out")([x, layers.Dense(6, name="third")(x)])
    model = _with_random_weights(keras.Model(features, x))
    for variable in model.get_layer("second_2").weights:
        variable.assign(np.asarray(variable) * 1e-6)
    return model


@pytest.mark.parametrize("labelled", [True, False])
def test_the_block_that_matters_least_goes_as_a_whole(labelled):
    """A branch that adds next to nothing is removed, the residual stays, and the outputs with it."""
    model = _residual()
    task = _task(model)
    if labelled:
        labels = outputs_of(model, task.train)["out"]
        task = Task("same", Dataset(task.train.inputs, labels), task.test, "mean_squared_error", None)
    result = apply(Work(model, task, 0, model), StructuredPruning(blocks=1, epochs=0))
    names = {layer.name for layer in result.model.layers}
    assert not {"second_1", "second_2"} & names
    assert {"first_1", "first_2", "third"} <= names
    assert result.notes == ("Removed a block: second_1, second_2.",)
    np.testing.assert_allclose(
        outputs_of(result.model, task.test)["out"], outputs_of(model, task.test)["out"], rtol=1e-4, atol=1e-4
    )


def test_blocks_and_units_go_in_one_step():
    """With a share besides, the units of what is left are removed too, and the block that makes the output stays."""
    model = _residual()
    result = apply(Work(model, _task(model), 0, model), StructuredPruning(blocks=1, share=0.4, epochs=0))
    assert {layer.name for layer in result.model.layers if layer.weights} == {"before", "first_1", "first_2", "third"}
    assert result.model.get_layer("first_1").units == 3
    with pytest.raises(InputError, match="Expected 3 residual blocks .* Got: 2"):
        apply(Work(model, _task(model), 0, model), StructuredPruning(blocks=3, epochs=0))


def test_a_transformer_and_a_light_field_without_blocks_are_deployed():
    """The graphs of a device have the blocks that the trained model has left, whatever their numbers are."""
    from edgewright.train._nerf_light_field import colour_of, light_field_model
    from edgewright.train._synthesis_transformer import Lengths, Shape, encoder_graph, step_graph, training_model

    model = training_model(Shape(8, 2, 12, 2, 2), Lengths(5, 6, 7, 4), "small")
    work = Work(model, _task(model), 0, model)
    for scope, left in (("decoder_1_self", {"key_1", "value_1"}), ("decoder_1_dense", {"key_1", "key_2"})):
        small = apply(work, StructuredPruning(blocks=1, epochs=0, scope=scope)).model
        assert not [layer.name for layer in small.layers if layer.weights and layer.name.startswith(scope)]
        step, encoder = step_graph(small), encoder_graph(small)
        made = {tensor.name for tensor in step.inputs}
        assert {name.replace("key_", "keys_").replace("value_", "values_") for name in left} <= made
        assert step.count_params() + encoder.count_params() == small.count_params()
    field = light_field_model(3, 2, 6, 8)
    small = apply(Work(field, _task(field), 0, field), StructuredPruning(blocks=1, epochs=0, scope="layer_2")).model
    rays = keras.Input(small.get_layer("ray").output.shape[1:])
    graph = keras.Model(rays, colour_of({layer.name: layer for layer in small.layers}, rays))
    assert graph.count_params() == small.count_params() < field.count_params()


def test_without_samples_units_go_by_magnitude_alone():
    """Open lengths and no data at all are enough for the criterion magnitude; the others ask for samples."""
    picture = keras.Input((None, None, 2), name="picture")
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="first")(picture)
    model = keras.Model(picture, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    none = Dataset({"picture": np.zeros((0, 8, 8, 2), "float32")})
    work = Work(model, Task("none", none, none, None, None), 0, model)
    assert (
        apply(work, StructuredPruning(share=0.5, epochs=0, criterion="magnitude")).model.get_layer("first").filters == 3
    )
    with pytest.raises(InputError, match="Expected samples to rank units on"):
        apply(work, StructuredPruning(share=0.5, epochs=0))


@pytest.mark.parametrize(
    ("scope", "message"),
    [("nowhere", "out of the scope 'nowhere'"), ("logits", "logits/bias: is an output of the model")],
)
def test_a_scope_without_units_that_can_go_is_refused(scope, message):
    """A scope that finds nothing, or the outputs alone, is an error that says what there is."""
    model = _dense()
    with pytest.raises(InputError, match=message):
        apply(Work(model, _task(model), 0, model), StructuredPruning(share=0.5, epochs=0, scope=scope))


def test_a_target_out_of_reach_is_refused():
    """Fewer parameters than are left when all goes that may is an error that says how many that are."""
    model = _dense()
    with pytest.raises(InputError, match="13 are left when all goes"):
        apply(Work(model, _task(model), 0, model), StructuredPruning(parameters=0.01, epochs=0, criterion="magnitude"))


@pytest.mark.parametrize("text", ["", "share = 0.5\nmacs = 0.5", "share = 1.0", "share = 0.5\nscope = '('"])
def test_parameters_that_make_no_sense_are_refused(text):
    """No target, two of them, all units, and a scope that is no regular expression are errors of the recipe."""
    with pytest.raises(InputError, match=r"one of share, parameters and macs|less than 1|regular expression"):
        parse_recipe(f"[[steps]]\ntechnique = 'structured_pruning'\n{text}")


def test_a_model_of_its_own_class_is_refused():
    """A subclassed model, which Keras cannot take apart, is an error that says so."""

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    model = Own()
    task = _task(_dense())
    with pytest.raises(InputError, match="functional or sequential"):
        apply(Work(model, task, 0, model), StructuredPruning(share=0.5, epochs=0))


@pytest.mark.parametrize(
    ("architecture", "experiment", "modules"),
    [("convolutional", "digits", ()), ("liquid", "cfc-japanese-vowels", ("_liquid_cfc",))],
)
def test_a_shipped_model_gets_smaller_and_is_deployed(architecture, experiment, modules, tmp_path):
    """A trained model with half of its units has less than 40 % of its parameters, saves, loads, and still deploys."""
    for module in modules:
        importlib.import_module(f"edgewright.train.{module}")
    model = keras.saving.load_model(CHECKPOINTS / architecture / f"{experiment}.keras")
    made = train.get(architecture).experiment(experiment)
    task = made.task()
    recipe = parse_recipe("[[steps]]\ntechnique='structured_pruning'\nshare=0.5\nepochs=0\nranked_on=64")
    small = compress(model, task, recipe).model
    assert small.count_params() < 0.4 * model.count_params()
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    some = task.test.take(16)
    for one, other in zip(outputs_of(small, some).values(), outputs_of(again, some).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sum(graph.count_params() for graph in made.deployment(again).graphs.values()) == small.count_params()
