"""compress/_thawing.py: models of which layers are frozen, such as the base of a transferred one."""

import keras
import numpy as np
import pytest

from edgewright.compress import compress, parse_recipe
from edgewright.compress._thawing import thawed
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Task

STEPS = {
    "pruning": "technique = 'magnitude_pruning'\nsparsity = 0.5\nepochs = 1",
    "clustering": "technique = 'clustering'\nclusters = 8\nepochs = 1",
    "removal": "technique = 'structured_pruning'\nparameters = 0.5\nepochs = 1",
    "low rank": "technique = 'low_rank'\nshare = 0.5\nepochs = 1",
    "qat": "technique = 'quantization_aware_training'\nepochs = 1",
    "rounding": "technique = 'weight_rounding'",
}


def _task() -> Task:
    random = np.random.default_rng(0)
    images = random.random((96, 8, 8, 3), np.float32)
    data = Dataset({"image": images}, (images.mean((1, 2, 3)) > 0.5).astype("int32"))
    return Task("bright", data, data, "sparse_categorical_crossentropy", ACCURACY)


def _transferred(normalized: bool = True) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    normalization = [layers.BatchNormalization(name="normalization")] if normalized else []
    base = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(16, 3, name="first"),
            *normalization,
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
        ],
        name="base",
    )
    image = keras.Input((8, 8, 3), name="image")
    return keras.Model(image, layers.Dense(2, activation="softmax", name="head")(base(image)), name="transferred")


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("where", ["base", "everything"])
def test_a_frozen_model_is_compressed_as_one_that_is_not(step, where):
    """What becomes of every weight is the same, whether layers came frozen or not, and a note tells of it."""
    recipe = parse_recipe(f"[[steps]]\n{step}\n")
    free, frozen = _transferred(normalized=False), _transferred(normalized=False)
    (frozen if where == "everything" else frozen.get_layer("base")).trainable = False
    wanted, made = (compress(model, _task(), recipe) for model in (free, frozen))
    for mine, other in zip(made.model.get_weights(), wanted.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert [variable.path for variable in made.report] == [variable.path for variable in wanted.report]
    assert any("frozen layers" in note for note in made.notes)
    assert not any("frozen layers" in note for note in wanted.notes)


def test_frozen_normalization_keeps_its_statistics():
    """Fine-tuning trains the frozen layers around a frozen batch normalization, and leaves what that one computes."""
    model = _transferred()
    model.get_layer("base").trainable = False
    made = compress(model, _task(), parse_recipe(f"[[steps]]\n{STEPS['pruning']}\n"))
    before = {variable.path: np.array(variable) for variable in model.weights}
    for variable in made.model.weights:
        changed = not np.array_equal(np.array(variable), before[variable.path])
        assert changed == ("normalization" not in variable.path), variable.path


def test_flags_are_as_they_were_afterwards():
    """The model that came in has its flags again, those of single layers and variables included, after errors too."""
    model = _transferred()
    base = model.get_layer("base")
    base.trainable = False
    base.get_layer("second").trainable = True
    model.get_layer("head").bias.trainable = False

    def flags() -> list[bool]:
        return [each.trainable for each in (*model._flatten_layers(), *model.variables)]

    before = flags()
    with thawed(model) as count:
        assert count == 2  # kernel and bias of "first"
        assert base.get_layer("first").trainable and not base.get_layer("normalization").trainable
        assert not model.get_layer("head").bias.trainable
    assert flags() == before
    with pytest.raises(InputError, match="Expected a scope"):
        compress(
            model, _task(), parse_recipe("[[steps]]\ntechnique = 'magnitude_pruning'\nsparsity = 0.5\nscope = 'x'\n")
        )
    assert flags() == before


def test_what_only_sets_the_precision_leaves_a_frozen_model_alone():
    """A recipe that changes no weight hands the model itself on, without a note, and reports all of its variables."""
    model = _transferred()
    model.trainable = False
    made = compress(model, _task(), parse_recipe("[[steps]]\ntechnique = 'dynamic_int8'\n"))
    assert made.model is model and not made.notes and not model.trainable
    assert {"first/kernel", "second/kernel", "head/kernel"} <= {each.path.split("base/")[-1] for each in made.report}
