"""compress/_variable_paths.py: variables of the same path in models within a model, and in layers of one's own."""

import keras
import numpy as np
import pytest

from edgewright.compress import compress, parse_recipe
from edgewright.compress._variable_paths import name_variables, named
from edgewright.train import ACCURACY, Dataset, Task

STEPS = {
    "pruning": "technique = 'magnitude_pruning'\nsparsity = 0.5\nepochs = 1",
    "set": "technique = 'set'\nsparsity = 0.5\nepochs = 1",
    "clustering": "technique = 'clustering'\nclusters = 8\nepochs = 1",
    "rounding": "technique = 'weight_rounding'",
    "bias": "technique = 'bias_correction'",
    "qat": "technique = 'quantization_aware_training'\nepochs = 1",
}
KERNELS = ["left/hidden/kernel", "left/out/kernel", "right/hidden/kernel", "right/out/kernel", "head/kernel"]


@keras.saving.register_keras_serializable(package="tests")
class Pair(keras.layers.Layer):
    """Two dense layers of the same name."""

    def build(self, shape):
        """Make them."""
        self.both = [keras.layers.Dense(6, name="dense") for _ in range(2)]
        for each in self.both:
            each.build(shape)

    def call(self, inputs):
        """Return their sum."""
        return self.both[0](inputs) + self.both[1](inputs)


def _tower(name: str, units: int) -> keras.Model:
    layers = [keras.layers.Dense(units, activation="relu", name="hidden"), keras.layers.Dense(8, name="out")]
    return keras.Sequential([keras.layers.Input((8,)), *layers], name=name)


def _towers(units: int, tmp_path) -> keras.Model:
    """Return two towers with layers of the same names, from a file, as a user's model comes."""
    keras.utils.set_random_seed(0)
    one, other = keras.Input((8,), name="one"), keras.Input((8,), name="other")
    joined = keras.layers.Concatenate()([_tower("left", 16)(one), _tower("right", units)(other)])
    head = keras.layers.Dense(2, activation="softmax", name="head")(joined)
    keras.Model({"one": one, "other": other}, head).save(tmp_path / "towers.keras")
    return keras.models.load_model(tmp_path / "towers.keras")


def _task() -> Task:
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(96, 8)).astype("float32") for name in ("one", "other")}
    data = Dataset(inputs, (inputs["one"][:, 0] > inputs["other"][:, 0]).astype("int32"))
    return Task("larger", data, data, "sparse_categorical_crossentropy", ACCURACY)


@pytest.mark.parametrize("units", [16, 12], ids=["same sizes", "other sizes"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_layers_of_one_name_in_two_models_are_told_apart(step, units, tmp_path):
    """Each kernel has a path and a row of its own, and is held to what was found for it and for no other."""
    made = compress(_towers(units, tmp_path), _task(), parse_recipe(f"[[steps]]\n{step}\n"))
    rows = {row.path: row for row in made.report if row.path.endswith("kernel")}
    assert list(rows) == KERNELS
    kernels = dict(zip(KERNELS, [each for each in made.model.get_weights() if each.ndim == 2], strict=True))
    for path, row in rows.items():
        assert row.shape == kernels[path].shape
        if "magnitude_pruning" in step:
            assert np.mean(kernels[path] == 0) == pytest.approx(0.5, abs=0.02)
        if "clustering" in step:
            assert len(np.unique(kernels[path])) <= 8
    if "'set'" in step:
        total = sum(kernel.size for kernel in kernels.values())
        assert sum(np.sum(kernel == 0) for kernel in kernels.values()) / total == pytest.approx(0.5, abs=0.05)


def test_a_scope_takes_the_models_names(tmp_path):
    """A scope of a model within the model changes that one's kernels alone, whether it was loaded or built just now."""
    recipe = parse_recipe(f"[[steps]]\n{STEPS['pruning']}\nscope = '^right/.*kernel$'\n")
    built = keras.models.clone_model(_towers(12, tmp_path))
    for model in (_towers(12, tmp_path), built):
        made = compress(model, _task(), recipe)
        assert [row.path for row in made.report if row.applied] == ["right/hidden/kernel", "right/out/kernel"]


def test_layers_within_a_model_that_stay_in_float_are_reported_so(tmp_path):
    """The bits of a kernel within a model are 32 where keep_float finds its layer, and training leaves it unrounded."""
    for step in ("technique = 'static_int8'", STEPS["qat"]):
        recipe = parse_recipe(f"[[steps]]\n{step}\nkeep_float = '^hidden'\n")
        rows = {row.path: row for row in compress(_towers(16, tmp_path), _task(), recipe).report}
        assert {path: rows[path].bits for path in KERNELS} == {path: 32 if "hidden" in path else 8 for path in KERNELS}
        if "training" in step:
            assert [path for path in KERNELS if not rows[path].applied] == [
                path for path in KERNELS if "hidden" in path
            ]


def test_the_kernels_within_a_model_count_when_layers_are_chosen_to_stay_in_float(tmp_path):
    """A kernel within a model whose rounding alone ruins the outputs has its layer stay in float."""
    model, task = _towers(16, tmp_path), _task()
    for inputs in (task.train.inputs, task.test.inputs):
        inputs["one"][:, 0] = 0
    kernel = model.get_layer("left").get_layer("hidden").kernel
    values = np.array(kernel)
    values[0] = 1e4  # nothing is multiplied by it, and beside it every other weight is rounded to zero
    kernel.assign(values)
    recipe = parse_recipe("[[steps]]\ntechnique = 'static_int8'\nmax_disagreement = 5.0\n")
    notes = compress(model, task, recipe).notes
    assert any("hidden stays in float" in note for note in notes), notes


def test_paths_are_unique_the_same_in_a_copy_and_given_back(tmp_path):
    """Every variable has a path of its own, equal in copies of the model; the one that came in keeps its paths."""
    inputs = keras.Input((8,), name="inputs")
    inner = keras.Sequential([keras.layers.Input((8,)), Pair(name="pair"), Pair(name="inner")], name="inner")
    steps = keras.layers.Reshape((3, 2))(Pair(name="pair")(inner(inputs)))
    for name in ("first", "second"):
        cell = keras.layers.GRU(2, return_sequences=True, name="cell")
        steps = keras.layers.Bidirectional(cell, name=name)(steps)
    model = keras.Model(inputs, steps)
    before = [variable.path for variable in model.weights]
    with named(model):
        paths = [variable.path for variable in model.weights]
        assert len(set(paths)) == len(paths)
        assert {"inner/pair/dense/kernel", "inner/pair/dense_1/kernel", "inner/inner/dense/kernel"} <= set(paths)
        assert {"pair/dense/kernel", "pair/dense_1/bias"} <= set(paths)
        assert {f"{each}/forward_cell/gru_cell/kernel" for each in ("first", "second")} <= set(paths)
        assert [variable.path for variable in name_variables(model).weights] == paths
        copy = keras.models.clone_model(model)
        assert [variable.path for variable in name_variables(copy).weights] == paths
    assert [variable.path for variable in model.weights] == before


def test_recurrent_cells_on_top_of_each_other_have_the_same_paths_in_a_copy():
    """Keras names the holder of the cells in the model as built and not in its copy: neither path has it here."""
    x = keras.Input((5, 3))
    cells = [keras.layers.LSTMCell(4, name="below"), keras.layers.GRUCell(4, name="above")]
    model = keras.Model(x, keras.layers.RNN(cells, name="rnn")(x))
    copy = name_variables(keras.models.clone_model(model))
    with named(model):
        paths = [variable.path for variable in model.trainable_variables]
    assert paths == [variable.path for variable in copy.trainable_variables]
    assert paths[0] == "rnn/below/kernel" and paths[3] == "rnn/above/kernel"


@keras.saving.register_keras_serializable(package="tests")
class Unnamed(keras.layers.Layer):
    """A block whose layers have no names of their own: Keras numbers them anew in each copy."""

    def __init__(self, **more):
        super().__init__(**more)
        self.norm, self.dense = keras.layers.LayerNormalization(), keras.layers.Dense(8)

    def build(self, shape):
        """Build them."""
        self.norm.build(shape)
        self.dense.build(shape)

    def call(self, inputs):
        """Return the input and what is made of it."""
        return inputs + self.dense(self.norm(inputs))


@pytest.mark.parametrize("later", ["equalization", "blocks", "units", "low rank"])
def test_layers_without_names_in_a_layer_have_the_same_paths_in_a_copy(later):
    """Steps that copy the model find its variables again: masks hold through them, and each row tells of its change."""
    x = keras.Input((8,), name="x")
    inner = Unnamed(name="second")(Unnamed(name="first")(keras.layers.Dense(8, name="front")(x)))
    tail = keras.layers.Dense(24, activation="relu", name="wide")(inner)
    model = keras.Model(x, keras.layers.Dense(2, name="head")(tail))
    before = {variable.path for variable in model.trainable_variables}
    pruning = "\n[[steps]]\ntechnique = 'magnitude_pruning'\nsparsity = 0.5\nepochs = 0\n"
    text = {
        "equalization": f"{pruning}\n[[steps]]\ntechnique = 'cross_layer_equalization'\n",
        "blocks": f"[[steps]]\ntechnique = 'structured_pruning'\nblocks = 1\nepochs = 0\n{pruning}",
        "units": f"[[steps]]\ntechnique = 'structured_pruning'\nshare = 0.25\nepochs = 0\nscope = 'wide'\n{pruning}",
        "low rank": f"[[steps]]\ntechnique = 'low_rank'\nshare = 0.5\nscope = 'wide/kernel'\nepochs = 0\n{pruning}",
    }[later]
    qat = "\n[[steps]]\ntechnique = 'quantization_aware_training'\nepochs = 1\n"
    data = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    task = Task("any", Dataset({"x": data}), Dataset({"x": data}), None, None)
    made = compress(model, task, parse_recipe(text + qat))
    rows = {row.path: row for row in made.report if row.path.startswith(("first", "second"))}
    assert rows.keys() <= before and len(rows) == (4 if later == "blocks" else 8)
    assert all(row.error is not None or "beta" in row.path or "bias" in row.path for row in rows.values())
    kernels = [row for row in rows.values() if row.path.endswith("kernel")]
    assert kernels and all(row.sparsity >= 0.5 for row in kernels)
