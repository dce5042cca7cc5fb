"""compress/: recipes, techniques and what they do to any Keras 3 model."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.compress import Recipe, Step, compress, get, load_recipe, names, parse_recipe, shipped_recipes
from edgewright.compress._kernels import Axes
from edgewright.compress._magnitude_mask import sparsities_of
from edgewright.compress._masks import Pattern, kept_blocks, mask_of
from edgewright.compress._quantization import Int8
from edgewright.compress.magnitude_pruning import MagnitudePruning
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Schedule, Task
from edgewright.train._training import fit, outputs_of


@keras.saving.register_keras_serializable(package="tests")
class Scaled(keras.layers.Layer):
    """A custom layer with a kernel of its own, which no wrapper of a peer knows."""

    def build(self, shape):
        """Make the kernel."""
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")

    def call(self, inputs):
        """Multiply by it."""
        return keras.ops.matmul(inputs, self.kernel)


def _task(labelled: bool = True, samples: int = 192) -> Task:
    random = np.random.default_rng(0)
    features = random.normal(size=(samples, 6, 8)).astype("float32")
    labels = (features.sum(axis=(1, 2)) > 0).astype("int32") if labelled else None
    data = Dataset({"features": features}, labels)
    loss = "sparse_categorical_crossentropy" if labelled else None
    return Task("signs", data, data, loss, ACCURACY if labelled else None)


def _model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    features = keras.Input((6, 8), name="features")
    x = keras.layers.LayerNormalization()(features)
    x = x + keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = Scaled(name="scaled")(x)
    x = keras.layers.GRU(8, name="recurrent")(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.Dropout(0.1, seed=0)(x)
    return keras.Model(features, keras.layers.Dense(2, activation="softmax", name="classes")(x), name="mixed")


def _pruning(**parameters) -> str:
    lines = [f"{key} = {str(value).lower() if value is True else repr(value)}" for key, value in parameters.items()]
    return "\n".join(["[[steps]]", 'technique = "magnitude_pruning"', *lines])


@pytest.fixture(scope="module")
def pruned():
    """A model with attention, a recurrent and a custom layer, pruned with fine-tuning."""
    model, task = _model(), _task()
    before = [np.array(weight) for weight in model.weights]
    result = compress(model, task, parse_recipe(_pruning(sparsity=0.75, epochs=20, batch_size=32, learning_rate=3e-3)))
    return model, before, task, result


@pytest.mark.parametrize("name", names())
def test_every_technique_has_parameters_that_write_down(name):
    """A technique's parameters are a closed set of named values."""
    technique = get(name)
    assert technique.parameters.model_config["extra"] == "forbid"
    assert technique.parameters.__doc__


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_reads_back_what_it_wrote(name):
    """A shipped recipe written as TOML and read again is the same recipe with the same digest."""
    recipe = load_recipe(name)
    again = parse_recipe(recipe.to_toml())
    assert again == recipe
    assert again.sha256 == recipe.sha256


@given(
    sparsity=st.floats(0, 0.99),
    epochs=st.integers(0, 50),
    scope=st.sampled_from(["kernel$", ".*", 'a"b\\\\d', "é"]),
    schedule=st.sampled_from(["constant", "linear", "polynomial", "cubic"]),
    max_drop=st.none() | st.floats(0, 100),
)
def test_any_recipe_reads_back_what_it_wrote(sparsity, epochs, scope, schedule, max_drop):
    """Whatever the parameters are, TOML keeps them exactly."""
    parameters = MagnitudePruning(sparsity=sparsity, epochs=epochs, scope=scope, schedule=schedule)
    recipe = Recipe("any", "a\nlong 'name'", (Step("magnitude_pruning", parameters),), max_drop=max_drop)
    assert parse_recipe(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_pruning(sparsty=0.5), "Did you mean 'sparsity'"),
        ("[[steps]]\ntechnique = 'magnitude_prunning'", "Did you mean 'magnitude_pruning'"),
        ("[[step]]\ntechnique = 'static_int8'", "Did you mean 'steps'"),
        ("[[steps]]\nsparsity = 0.5", "Expected technique"),
        (_pruning(sparsity=1.0), "sparsity: expected a number less than 1. Got: 1.0"),
        (_pruning(sparsity="0.5"), "sparsity: expected a number. Got: '0.5'"),
        ("[[steps]]\ntechnique = 'magnitude_pruning'\nsparsity = nan", "sparsity: expected a finite number. Got: nan"),
        ("[[steps]]\ntechnique = 'static_int8'\nmax_disagreement = inf", "max_disagreement: expected a finite number"),
        ("[[steps]]\ntechnique = 'static_int8'\nsamples = '8'", "samples: expected a whole number. Got: '8'"),
        ("[[steps]]\ntechnique = 'structured_pruning'", "the step: expected exactly one of share, parameters and macs"),
        (_pruning(sparsity=0.5, scope="("), "scope: expected"),
        ("steps = 3", r"Expected steps as \[\[steps\]\]"),
        ("name = ", "Expected TOML"),
        ("max_drop = -1", "max_drop = a number of at least 0"),
        ("max_drop = nan", "max_drop = a number of at least 0"),
        ("max_drop = inf", "max_drop = a number of at least 0"),
        ("max_drop = true", "max_drop = a number of at least 0"),
        ("[[steps]]\ntechnique='static_int8'\n[[steps]]\ntechnique='static_int8'", "at most one step"),
        (
            "[[steps]]\ntechnique = 'magnitude_pruning'\npattern = '4:2'",
            "pattern: expected a pattern: .*Got: '4:2'",
        ),
        (_pruning(sparsity=0.0, sensitivity=True), "a sparsity above 0 with the sensitivity scan"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_was_expected(text, message):
    """An unknown key, technique or value names itself, what was expected, and the nearest known word."""
    with pytest.raises(InputError, match=message):
        parse_recipe(text)


_INT8, _PRUNED = Step("static_int8", Int8()), Step("magnitude_pruning", MagnitudePruning(sparsity=0.5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_drop": float("nan")}, "max_drop = a number of at least 0. Got: nan"),
        ({"max_drop": "1"}, "max_drop = a number of at least 0. Got: '1'"),
        ({"unit": "tpu"}, "Expected unit = one of edgetpu, tensorrt. Got: 'tpu'"),
        ({"steps": (_INT8, _INT8)}, "at most one step that sets the precision"),
        ({"steps": (_INT8, _PRUNED)}, "Got: magnitude_pruning after static_int8"),
        ({"steps": ("static_int8",)}, "Expected steps as a tuple of edgewright.compress.Step. Got: tuple"),
    ],
)
def test_a_recipe_built_in_python_is_held_to_what_a_file_is(wrong, message):
    """Steps that undo each other, an unknown unit and an allowance of NaN are refused as they are in TOML."""
    with pytest.raises(InputError, match=message):
        Recipe(**({"name": "mine", "description": "", "steps": (_INT8,)} | wrong))


def test_a_step_takes_the_parameters_of_its_technique_alone():
    """Parameters of another technique, or a dictionary, are refused with what makes the right ones."""
    for parameters in ({"samples": 8}, MagnitudePruning(sparsity=0.5)):
        with pytest.raises(InputError, match=r'compress\.get\("static_int8"\)\.parameters\(\.\.\.\)'):
            Step("static_int8", parameters)


def test_what_is_no_recipe_is_refused_by_its_type():
    """A dictionary, a list of steps or None in place of a recipe is named."""
    for wrong, kind in (({"steps": []}, "dict"), ([_INT8], "list"), (None, "NoneType")):
        with pytest.raises(InputError, match=f"Expected a recipe: .*Got: {kind}"):
            load_recipe(wrong)


def test_an_unknown_recipe_is_refused_with_the_nearest(tmp_path):
    """A misspelt recipe name and a missing file are errors that say what there is."""
    with pytest.raises(InputError, match="Did you mean 'int8'"):
        load_recipe("int")
    with pytest.raises(InputError, match=r"recipe in TOML at .*missing\.toml\. Got: no such file\."):
        load_recipe(tmp_path / "missing.toml")


def test_pruning_reaches_the_sparsity_in_every_layer_kind(pruned):
    """Kernels of attention, recurrent, custom and dense layers all reach the sparsity, to one weight."""
    _, _, _, result = pruned
    touched = [variable for variable in result.report if variable.applied]
    kinds = {"attention", "scaled", "recurrent", "classes"}
    assert kinds <= {part for variable in touched for part in variable.path.split("/")}
    for variable in touched:
        assert variable.sparsity == pytest.approx(0.75, abs=1 / np.prod(variable.shape) + 1e-9), variable.path


def test_what_pruning_leaves_alone_says_why(pruned):
    """Every trainable variable is either pruned or skipped with a reason."""
    _, _, _, result = pruned
    assert all(bool(variable.applied) != bool(variable.skipped) for variable in result.report)


def test_compression_leaves_the_original_unchanged(pruned):
    """The model that came in has the weights that it had."""
    model, before, _, result = pruned
    assert result.original is model
    for weight, was in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), was)


def test_the_pruned_model_is_a_plain_keras_model(pruned, tmp_path):
    """The result has the original's layers and variables, and a .keras round trip is exact."""
    model, _, task, result = pruned
    assert [weight.path for weight in result.model.weights] == [weight.path for weight in model.weights]
    result.model.save(tmp_path / "pruned.keras")
    again = keras.saving.load_model(tmp_path / "pruned.keras")
    expected, received = outputs_of(result.model, task.test), outputs_of(again, task.test)
    np.testing.assert_array_equal(expected["classes"], received["classes"])


def test_fine_tuning_makes_up_for_pruning(pruned):
    """Pruned with fine-tuning, the model's loss is below that of pruning the same amount at once."""
    model, _, task, result = pruned
    at_once = compress(model, task, parse_recipe(_pruning(sparsity=0.75, epochs=0)))
    loss = keras.losses.SparseCategoricalCrossentropy()

    def loss_of(made):
        return float(loss(task.train.labels, outputs_of(made.model, task.train)["classes"]))

    assert loss_of(result) < loss_of(at_once)


def test_moving_statistics_are_updated_during_fine_tuning(pruned):
    """BatchNormalization's moving mean, assigned inside the scope, reaches the model."""
    model, _, _, result = pruned
    was = model.get_layer("normalization").moving_mean
    now = result.model.get_layer("normalization").moving_mean
    assert float(np.abs(np.asarray(was) - np.asarray(now)).max()) > 1e-4


def test_without_labels_fine_tuning_imitates_the_original():
    """On unlabelled data the pruned model comes nearer to the original's outputs than without fine-tuning."""
    model = _model()
    fit(model, _task(), Schedule(3, 32, 3e-3), 0)
    task = _task(labelled=False)
    expected = outputs_of(model, task.test)["classes"]

    def distance(epochs):
        recipe = parse_recipe(_pruning(sparsity=0.6, epochs=epochs, batch_size=32, learning_rate=3e-3))
        return float(np.mean((outputs_of(compress(model, task, recipe).model, task.test)["classes"] - expected) ** 2))

    assert distance(20) < 0.8 * distance(0)


def test_the_same_seed_gives_the_same_model():
    """Two runs of one recipe with one seed end in equal weights."""
    task = _task()
    recipe = parse_recipe(_pruning(sparsity=0.5, epochs=1))
    first, second = (compress(_model(), task, recipe, seed=3).model.get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cubic_schedule_is_the_published_one():
    """Sparsity rises by s (1 - (1 - t / n)^3), Zhu and Gupta 2017, equation 1, and stays at s after n steps."""
    sparsities = sparsities_of(MagnitudePruning(sparsity=0.9, ramp=0.5), 0.9, 200)
    for step in (0, 10, 50, 99):
        assert sparsities[step] == pytest.approx(0.9 * (1 - (1 - step / 100) ** 3), abs=1e-6)
    assert sparsities[150] == pytest.approx(0.9)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(2, 20), st.floats(0, 0.95), st.integers(0, 2**16))
def test_a_mask_keeps_the_largest_weights(rows, columns, sparsity, seed):
    """Every weight that is kept is at least as large in magnitude as every one that is not."""
    weights = np.random.default_rng(seed).normal(size=(rows, columns)).astype("float32")
    kept = mask_of(weights, Axes((), (1,), (0,)), Pattern(), sparsity).astype(bool)
    assert kept.sum() == kept_blocks(rows * columns, sparsity)
    if not kept.all():
        assert np.abs(weights[kept]).min() >= np.abs(weights[~kept]).max()


def test_a_scope_that_matches_nothing_is_refused():
    """A scope that finds no kernel is an error that lists the kernels there are."""
    with pytest.raises(InputError, match="classes/kernel"):
        compress(_model(), _task(), parse_recipe(_pruning(sparsity=0.5, scope="nowhere")))


@pytest.mark.parametrize(
    "later, message",
    [
        ("technique='clustering'\nscope='nowhere'", "scope that matches a kernel"),
        ("technique='weight_rounding'\nscope='nowhere'", "scope that matches a kernel"),
        ("technique='set'\nsparsity=0.99", "a sparsity that leaves a weight in"),
        ("technique='static_int8'\nkeep_float='nowhere'", "keep_float to match a layer"),
        ("technique='quantization_aware_training'\nkeep_float='nowhere'", "keep_float to match a layer"),
    ],
)
def test_what_a_later_step_refuses_is_refused_before_an_earlier_one_trains(later, message):
    """Nobody waits for a training to be told that the next step's scope has a typing error."""
    trained = []
    recipe = parse_recipe(f"{_pruning(sparsity=0.5, epochs=2)}\n\n[[steps]]\n{later}\n")
    with pytest.raises(InputError, match=message):
        compress(_model(), _task(), recipe, on_step=lambda *told: trained.append(told))
    assert not trained


@pytest.mark.parametrize(
    "step",
    [
        "technique='magnitude_pruning'\nsparsity=0.5",
        "technique='quantization_aware_training'",
        "technique='structured_pruning'\nshare=0.5",
        "technique='weight_rounding'",
    ],
)
def test_a_model_of_which_nothing_may_change_is_refused_with_the_cause(step):
    """What changes weights names a model without weights, and one whose weights stay, as what they are."""
    recipe = parse_recipe(f"[[steps]]\n{step}\n")
    features = keras.Input((8,), name="features")
    normalized = keras.Model(features, keras.layers.BatchNormalization(trainable=False)(features))
    with pytest.raises(
        InputError, match="Expected a model with weights to change.*which has none that training changes"
    ):
        compress(normalized, _task(), recipe)
    with pytest.raises(InputError, match="Expected a model with weights to change.*which has none"):
        compress(keras.Model(features, keras.layers.Softmax()(features)), _task(), recipe)


def test_a_sparsity_that_empties_a_variable_is_refused():
    """A sparsity that would leave no weight names the variable and its shape."""
    with pytest.raises(InputError, match=r"classes/kernel \(8, 2\)"):
        compress(_model(), _task(), parse_recipe(_pruning(sparsity=0.99, scope="classes/kernel")))


def test_non_finite_weights_are_refused():
    """A model that comes with NaN in a weight is refused, and the variable is named."""
    model = _model()
    kernel = model.get_layer("classes").kernel
    values = np.array(kernel)
    values[0, 0] = np.nan
    kernel.assign(values)
    with pytest.raises(InputError, match="classes/kernel"):
        compress(model, _task(), load_recipe("int8"))


def test_quantization_without_samples_is_refused():
    """Static int8 without a representative dataset says what is missing."""
    task = _task()
    empty = Dataset({"features": task.train.inputs["features"][:0]})
    with pytest.raises(InputError, match="representative dataset"):
        compress(_model(), Task("none", empty, task.test, None, None), load_recipe("int8"))
