"""compress/structured_pruning.py: targets, rounds, blocks and criteria, and what is refused."""

import importlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from edgewright import train
from edgewright.compress import compress, parse_recipe
from edgewright.compress._removal_blocks import blocks_of, losses_without, without
from edgewright.compress._removal_scores import losses
from edgewright.compress._removal_trace import trace
from edgewright.compress._technique import Work
from edgewright.compress.structured_pruning import StructuredPruning, apply
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Task
from edgewright.train._training import outputs_of

from ._removal_models import both_ways, convolutional, task_for, transformer, with_random_weights

layers = keras.layers
CHECKPOINTS = Path(train.__file__).parent / "checkpoints"


def _dense(hidden=6):
    features = keras.Input((8,), name="features")
    x = layers.Dense(hidden, activation="relu", name="hidden")(features)
    return with_random_weights(keras.Model(features, layers.Dense(2, name="logits")(x)))


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
        Work(model, task_for(model, labelled), 0, model), StructuredPruning(share=0.17, epochs=0, criterion=criterion)
    )
    np.testing.assert_array_equal(np.asarray(result.model.get_layer("hidden").kernel), np.delete(kernel, 3, axis=1))


def test_features_of_embeddings_are_ranked_by_the_loss():
    """A table of embeddings, whose slope comes as the rows that were looked up, loses features with labels given."""
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    x = layers.Bidirectional(layers.LSTM(4))(layers.Embedding(20, 8, name="table")(tokens))
    model = keras.Model(tokens, layers.Dense(3, name="logits")(x))
    random = np.random.default_rng(0)
    data = Dataset({"tokens": random.integers(0, 20, (64, 7)).astype("int32")}, random.integers(0, 3, 64))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    result = apply(
        Work(model, Task("tokens", data, data, loss, ACCURACY), 0, model), StructuredPruning(share=0.5, epochs=0)
    )
    assert result.model.get_layer("table").embeddings.shape == (20, 4)


def test_activation_tells_apart_what_magnitude_does_not():
    """A unit that the data never activates goes by the criterion activation, though its weights are the largest."""
    model = _dense()
    kernel, bias = (np.array(value) for value in (model.get_layer("hidden").kernel, model.get_layer("hidden").bias))
    bias[2] = -1000
    model.get_layer("hidden").set_weights([kernel, bias])
    work = Work(model, task_for(model), 0, model)
    silent = apply(work, StructuredPruning(share=0.17, epochs=0, criterion="activation")).model
    large = apply(work, StructuredPruning(share=0.17, epochs=0, criterion="magnitude")).model
    assert np.asarray(silent.get_layer("hidden").bias).min() > -1000
    assert np.asarray(large.get_layer("hidden").bias).min() == -1000


def test_data_that_never_activates_a_layer_is_refused():
    """Samples for which all of a layer's units are zero cannot rank them, and the layer is named."""
    model = _dense()
    model.get_layer("hidden").bias.assign(np.full(6, -1000.0))
    with pytest.raises(InputError, match="activate the units of hidden/kernel"):
        apply(Work(model, task_for(model), 0, model), StructuredPruning(share=0.5, epochs=0, criterion="activation"))


def test_a_global_ranking_takes_more_where_there_is_less():
    """With one group of next to no importance, the units go there, as far as the least that has to be left."""
    features = keras.Input((8,), name="features")
    x = layers.Dense(8, activation="relu", name="first")(features)
    x = layers.Dense(8, activation="relu", name="second")(x)
    model = with_random_weights(keras.Model(features, layers.Dense(2, name="logits")(x)))
    kernel = np.array(model.get_layer("second").kernel)
    kernel[:, :6] *= 1e-4
    rows = np.array(model.get_layer("logits").kernel)
    rows[:6] *= 1e-4
    model.get_layer("second").set_weights([kernel, np.where(np.arange(8) < 6, 0, 1.0)])
    model.get_layer("logits").set_weights([rows, np.zeros(2)])
    result = apply(
        Work(model, task_for(model), 0, model),
        StructuredPruning(share=0.25, epochs=0, criterion="magnitude", ranking="global", least=3),
    )
    assert result.model.get_layer("second").units == 4
    assert result.model.get_layer("first").units == 8


@pytest.mark.parametrize("target", ["parameters", "macs"])
@pytest.mark.parametrize("ranking", ["group", "global"])
def test_a_target_is_met(target, ranking):
    """The smaller model has at most the share of parameters or multiplications that was asked for."""
    model = with_random_weights(convolutional())
    result = apply(
        Work(model, task_for(model), 0, model),
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
    model = with_random_weights(convolutional())
    result = apply(
        Work(model, task_for(model), 0, model),
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
    model = with_random_weights(both_ways())
    work = Work(model, task_for(model), 0, model)
    parameters = {"share": 0.5, "epochs": 0, "criterion": "magnitude"}
    at_once = apply(work, StructuredPruning(**parameters))
    in_rounds = apply(work, StructuredPruning(**parameters, rounds=3))
    shapes = [variable.shape for variable in at_once.model.weights]
    assert [variable.shape for variable in in_rounds.model.weights] == shapes
    assert set(at_once.applied) <= {variable.path for variable in at_once.model.weights}


def test_every_variable_is_smaller_or_says_why():
    """The report names each trainable variable once: made smaller, or left alone with the reason."""
    model = with_random_weights(transformer())
    task = task_for(model)
    result = apply(Work(model, task, 0, model), StructuredPruning(share=0.5, epochs=0, criterion="magnitude"))
    paths = {variable.path for variable in result.model.trainable_variables}
    assert paths == set(result.applied) | set(result.skipped)
    assert not set(result.applied) & set(result.skipped)
    assert result.skipped["logits/bias"] == "is an output of the model"


def test_heads_of_one_layer_alone_may_go_and_the_decoder_still_decodes():
    """A transformer whose layers have different numbers of heads is deployed with those that each of them has."""
    from edgewright.train._synthesis_transformer import encoder_graph, step_graph

    model = with_random_weights(transformer())
    for variable in model.weights:
        variable.assign(np.asarray(variable) * 0.3)
    parameters = StructuredPruning(share=0.5, epochs=0, criterion="magnitude", scope="decoder_1_self")
    small = apply(Work(model, task_for(model), 0, model), parameters).model
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
    model = with_random_weights(keras.Model(features, x))
    for variable in model.get_layer("second_2").weights:
        variable.assign(np.asarray(variable) * 1e-6)
    return model


@pytest.mark.parametrize("labelled", [True, False])
def test_the_block_that_matters_least_goes_as_a_whole(labelled):
    """A branch that adds next to nothing is removed, the residual stays, and the outputs with it."""
    model = _residual()
    task = task_for(model)
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


@pytest.mark.parametrize("labelled", [True, False])
def test_blocks_are_compared_as_the_models_without_them_would_be(labelled):
    """The losses without one block and without two are those of models built so, and comparing runs no layer anew."""
    runs = []

    @keras.saving.register_keras_serializable("counted")
    class Counted(layers.Dense):
        def call(self, inputs, training=None):
            runs.append(not isinstance(inputs, keras.KerasTensor))
            return super().call(inputs)

    features = keras.Input((8,), name="features")
    x = Counted(6, name="before")(features)
    for number in range(5):
        added = layers.Dense(6, name=f"second_{number}")(Counted(5, activation="relu", name=f"first_{number}")(x))
        x = x + added if number % 2 else layers.Add()([added, x])
    model = with_random_weights(keras.Model(features, layers.Dense(3, name="out")(x)))
    task = task_for(model)
    if labelled:
        labels = outputs_of(model, task.train)["out"] + 1
        task = Task("near", Dataset(task.train.inputs, labels), task.test, "mean_squared_error", None)
    original = with_random_weights(keras.models.clone_model(model), seed=1)
    work = Work(model, task, 0, original)
    blocks = blocks_of(model, ".*")
    loss_of = losses_without(blocks, *losses(work, 32))
    loss_of(blocks[:1])
    runs.clear()
    told = [loss_of(chosen) for chosen in ([], *([block] for block in blocks), blocks[::3])]
    assert len(blocks) == 5 and not runs
    for chosen, value in zip(([], *([block] for block in blocks), blocks[::3]), told, strict=True):
        small = model
        for block in chosen:
            (same,) = (each for each in blocks_of(small, ".*") if each.sum.name == block.sum.name)
            small = without(small, same)
        batches, loss = losses(replace(work, model=small), 32)
        assert value == pytest.approx(np.mean([float(loss(batch)) for batch in batches]), rel=1e-5)
    assert len(set(told)) == len(told)


@keras.saving.register_keras_serializable("own")
class Adding(layers.Layer):
    """A pre-norm transformer's block as one layer: two sums, and a mask besides its input."""

    def __init__(self, scale=1.0, after=False, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.after = scale, after
        self.attention = layers.MultiHeadAttention(2, 3, name="attention")
        self.norm = layers.LayerNormalization(name="norm")
        self.dense = layers.Dense(6, name="dense")

    def build(self, x_shape, seen_shape=None):
        """Build the layers."""
        self.attention.build(x_shape, x_shape)
        self.norm.build(x_shape)
        self.dense.build(x_shape)

    def call(self, x, seen=None, training=None):
        """Attend and add, then mix and add."""
        x = x + self.scale * self.attention(x, x, attention_mask=seen, training=training)
        return self.norm(x + self.dense(x)) if self.after else x + self.scale * self.dense(self.norm(x))

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "scale": self.scale, "after": self.after}


def test_a_layer_that_adds_to_its_input_is_a_block():
    """A layer with its residual within goes as a whole, one that normalizes the sum or is called twice does not."""
    features, seen = keras.Input((4, 5), name="features"), keras.Input((4, 4), dtype="bool", name="seen")
    x = layers.Dense(6, name="before")(features)
    x = Adding(name="strong")(x, seen=seen)
    x = Adding(1e-6, name="weak")(x, seen=seen)
    twice = Adding(name="twice")
    x = Adding(after=True, name="normalized")(twice(twice(x)))
    model = with_random_weights(keras.Model([features, seen], layers.Dense(3, name="out")(x)))
    assert {block.layers for block in blocks_of(model, ".*")} == {("strong",), ("weak",)}
    assert [block.layers for block in blocks_of(model, "weak/attention")] == [("weak",)]
    result = apply(Work(model, task_for(model), 0, model), StructuredPruning(blocks=1, epochs=0))
    assert result.notes == ("Removed a block: weak.",)
    test = task_for(model).test
    np.testing.assert_allclose(outputs_of(result.model, test)["out"], outputs_of(model, test)["out"], atol=1e-2)
    with pytest.raises(InputError, match="an input's only way to them. Got: 1"):
        apply(Work(model, task_for(model), 0, model), StructuredPruning(blocks=2, epochs=0))


@pytest.mark.parametrize("kind", ["schnet", "painn"])
def test_interactions_of_a_graph_network_are_blocks(kind):
    """An interaction goes with its filter, an update with its vectors, and what is left is deployed as it computes."""
    from edgewright.train._graph_gap import gap_graph, gap_model

    keras.utils.set_random_seed(0)
    model = gap_model(kind, 8, 3, 5, 4.0)
    found = {block.layers for block in blocks_of(model, ".*")}
    if kind == "schnet":
        assert found == {(f"filter_{number}", f"interaction_{number}") for number in (1, 2, 3)}
    else:
        assert found == {("message_2",), ("message_3",), ("update_1",), ("update_2",), ("update_3",)}
    test = task_for(model).test
    task = Task("near", Dataset(test.inputs, outputs_of(model, test)["gap"] + 1), test, "mean_squared_error", None)
    loss_of = losses_without(blocks_of(model, ".*"), *losses(Work(model, task, 0, model), 32))
    for block in blocks_of(model, ".*"):
        small = without(model, block)
        batches, told = losses(Work(small, task, 0, model), 32)
        assert loss_of([block]) == pytest.approx(np.mean([float(told(batch)) for batch in batches]), rel=1e-4)
        assert gap_graph(small).count_params() == small.count_params() < model.count_params()


def test_blocks_and_units_go_in_one_step():
    """With a share besides, the units of what is left are removed too, and the block that makes the output stays."""
    model = _residual()
    result = apply(Work(model, task_for(model), 0, model), StructuredPruning(blocks=1, share=0.4, epochs=0))
    assert {layer.name for layer in result.model.layers if layer.weights} == {"before", "first_1", "first_2", "third"}
    assert result.model.get_layer("first_1").units == 3
    with pytest.raises(InputError, match="Expected 3 residual blocks .* Got: 2"):
        apply(Work(model, task_for(model), 0, model), StructuredPruning(blocks=3, epochs=0))


def test_a_transformer_and_a_light_field_without_blocks_are_deployed():
    """The graphs of a device have the blocks that the trained model has left, whatever their numbers are."""
    from edgewright.train._nerf_light_field import colour_of, light_field_model
    from edgewright.train._synthesis_transformer import Lengths, Shape, encoder_graph, step_graph, training_model

    model = training_model(Shape(8, 2, 12, 2, 2), Lengths(5, 6, 7, 4), "small")
    work = Work(model, task_for(model), 0, model)
    for scope, left in (("decoder_1_self", {"key_1", "value_1"}), ("decoder_1_dense", {"key_1", "key_2"})):
        small = apply(work, StructuredPruning(blocks=1, epochs=0, scope=scope)).model
        assert not [layer.name for layer in small.layers if layer.weights and layer.name.startswith(scope)]
        step, encoder = step_graph(small), encoder_graph(small)
        made = {tensor.name for tensor in step.inputs}
        assert {name.replace("key_", "keys_").replace("value_", "values_") for name in left} <= made
        assert step.count_params() + encoder.count_params() == small.count_params()
    field = light_field_model(3, 2, 6, 8)
    small = apply(Work(field, task_for(field), 0, field), StructuredPruning(blocks=1, epochs=0, scope="layer_2")).model
    rays = keras.Input(small.get_layer("ray").output.shape[1:])
    graph = keras.Model(rays, colour_of({layer.name: layer for layer in small.layers}, rays))
    assert graph.count_params() == small.count_params() < field.count_params()


def test_an_inputs_only_way_to_the_outputs_stays():
    """Where a decoder looks at what is told by two blocks, one of them may go, and neither is offered after that."""
    from edgewright.train._synthesis_transformer import Lengths, Shape, step_graph, training_model

    model = training_model(Shape(8, 2, 12, 1, 2), Lengths(5, 6, 7, 4), "small")
    work = Work(model, task_for(model), 0, model)
    small = apply(work, StructuredPruning(blocks=1, epochs=0, scope="cross")).model
    assert len(small.inputs) == 2 and "cross" not in " ".join(
        layer for block in blocks_of(small, ".*") for layer in block.layers
    )
    assert step_graph(small).count_params() < step_graph(model).count_params()
    with pytest.raises(InputError, match="an input's only way to them. Got: 1"):
        apply(work, StructuredPruning(blocks=2, epochs=0, scope="cross"))


def test_a_target_that_the_last_round_could_not_reach_is_refused_before_any_training():
    """A target below what is left when all goes that may ends the first round of many, not the last one."""
    model, epochs = _dense(), []
    work = Work(model, task_for(model), 0, model, on_epoch=lambda done, total: epochs.append(done))
    with pytest.raises(InputError, match="Expected a target that removal can reach: .* Got: 3\\."):
        apply(work, StructuredPruning(parameters=0.05, rounds=6, epochs=1))
    assert not epochs
    apply(work, StructuredPruning(parameters=0.5, rounds=6, epochs=1))
    assert epochs == [1, 2, 3, 4, 5, 6]


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
        apply(Work(model, task_for(model), 0, model), StructuredPruning(share=0.5, epochs=0, scope=scope))


def test_a_target_out_of_reach_is_refused():
    """Fewer parameters than are left when all goes that may is an error that says how many that are."""
    model = _dense()
    with pytest.raises(InputError, match="13 are left when all goes"):
        apply(
            Work(model, task_for(model), 0, model), StructuredPruning(parameters=0.01, epochs=0, criterion="magnitude")
        )


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
    task = task_for(_dense())
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
