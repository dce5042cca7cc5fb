"""Clustering: codebooks, what they keep, and how they go together with pruning and later fine-tuning."""

import gzip
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.compress import compress, get, parse_recipe
from edgewright.compress._codebook import INITIALISATIONS, kmeans, nearest
from edgewright.compress._fine_tuning import FineTuning, fine_tune
from edgewright.compress._technique import Work
from edgewright.compress.clustering import Clustering
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Schedule, Task
from edgewright.train._training import fit, outputs_of


def _task(samples: int = 192) -> Task:
    random = np.random.default_rng(0)
    features = random.normal(size=(samples, 6, 8)).astype("float32")
    data = Dataset({"features": features}, (features.sum(axis=(1, 2)) > 0).astype("int32"))
    return Task("signs", data, data, "sparse_categorical_crossentropy", ACCURACY)


def _model() -> keras.Model:
    keras.utils.set_random_seed(0)
    features = keras.Input((6, 8), name="features")
    x = features + keras.layers.MultiHeadAttention(2, 4, name="attention")(features, features)
    x = keras.layers.GRU(8, name="recurrent")(x)
    outputs = keras.layers.Dense(2, activation="softmax", name="classes")(x)
    model = keras.Model(features, outputs, name="mixed")
    fit(model, _task(), Schedule(3, 32, 3e-3), 0)
    return model


def _step(technique: str, **parameters) -> str:
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in parameters.items()
    ]
    return "\n".join(["[[steps]]", f"technique = {technique!r}", *lines, ""])


def _loss(model: keras.Model, task: Task) -> float:
    loss = keras.losses.SparseCategoricalCrossentropy()
    return float(loss(task.train.labels, outputs_of(model, task.train)["classes"]))


@pytest.fixture(scope="module")
def model():
    """A trained model with attention, a recurrent and a dense layer."""
    return _model()


@pytest.fixture(scope="module")
def clustered(model):
    """The model with 4 values in each kernel, fine-tuned."""
    recipe = _step("clustering", clusters=4, epochs=20, batch_size=32, learning_rate=3e-3)
    return compress(model, _task(), parse_recipe(recipe))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    clusters=st.integers(2, 40),
    initialisation=st.sampled_from(INITIALISATIONS),
    zeros=st.floats(0, 0.9),
    zero=st.booleans(),
)
def test_k_means_ends_where_centroids_are_means(seed, clusters, initialisation, zeros, zero):
    """Each centroid is the mean of the values nearest to it, and one is zero where that is asked."""
    random = np.random.default_rng(seed)
    values = random.normal(size=300).astype("float32") * (random.random(300) >= zeros)
    centroids = kmeans(values, clusters, initialisation, zero)
    assert len(centroids) <= clusters and (np.diff(centroids) > 0).all()
    assert not zero or 0 in centroids
    places = nearest(values, centroids)
    least = np.abs(values[:, None] - centroids).min(axis=1)
    np.testing.assert_allclose(np.abs(values - centroids[places]), least, atol=1e-6)
    for place, centroid in enumerate(centroids):
        if centroid:
            assert centroid == pytest.approx(values[places == place].mean(), abs=1e-5)


def test_few_distinct_values_are_their_own_codebook():
    """Where no more distinct values than clusters are there, they are the centroids, bit for bit."""
    values = np.float32([0.1, np.nextafter(np.float32(0.1), np.float32(1)), -3, 0.1])
    np.testing.assert_array_equal(kmeans(values, 3, "linear", zero=False), np.unique(values))
    np.testing.assert_array_equal(np.unique(values)[nearest(values, np.unique(values))], values)


def test_clustering_reaches_every_layer_kind(clustered):
    """Kernels of attention, recurrent and dense layers hold at most 4 values; every other variable says why not."""
    touched = [variable for variable in clustered.report if variable.applied]
    assert {"attention", "recurrent", "classes"} <= {part for each in touched for part in each.path.split("/")}
    assert all(2 <= each.values <= 4 for each in touched)
    assert all(bool(each.applied) != bool(each.skipped) for each in clustered.report)


def test_the_zipped_weights_become_smaller(model, clustered):
    """The same weights in the same type take less than a third when they are zipped."""

    def zipped(model):
        return len(gzip.compress(b"".join(np.asarray(kernel).tobytes() for kernel in model.weights if kernel.ndim > 1)))

    assert zipped(clustered.model) < zipped(model) / 3


def test_fine_tuning_makes_up_for_clustering(model, clustered):
    """Trained values and centroids give a lower loss than clustering at once."""
    at_once = compress(model, _task(), parse_recipe(_step("clustering", clusters=4, epochs=0)))
    assert _loss(clustered.model, _task()) < _loss(at_once.model, _task())


def test_the_clustered_model_is_a_plain_keras_model(model, clustered, tmp_path):
    """The result has the original's variables, and a .keras round trip is exact."""
    assert [weight.path for weight in clustered.model.weights] == [weight.path for weight in model.weights]
    clustered.model.save(tmp_path / "clustered.keras")
    again = keras.saving.load_model(tmp_path / "clustered.keras")
    for one, other in zip(clustered.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_centroids_gradient_is_the_sum_over_its_members(model):
    """Han et al. 2016, equation 3; the elements' own gradient passes straight through."""
    import tensorflow as tf

    from edgewright.compress.clustering import Codebook

    values = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    codebook = Codebook("a/kernel", values, Clustering(clusters=3))
    variable, slopes = tf.Variable(values), tf.constant(np.arange(35, dtype="float32").reshape(5, 7))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(codebook(variable) * slopes)
    by_element, by_centroid = tape.gradient(total, [variable, codebook.centroids.value])
    np.testing.assert_array_equal(by_element, slopes)
    places = np.asarray(codebook.assignments) - 1
    np.testing.assert_allclose(tf.convert_to_tensor(by_centroid), np.bincount(places.ravel(), np.ravel(slopes)))


@pytest.mark.parametrize("per_channel", [False, True])
def test_pruned_zeros_stay_where_they_are(model, per_channel):
    """Pruned, clustered and fine-tuned on, a kernel has its zeros where they were and its few values."""
    task = _task()
    parameters = {"epochs": 2, "batch_size": 32, "scope": "attention.*kernel$|classes/kernel"}
    clusters = 3 if per_channel else 8
    work = Work(model, task, 0, model)
    for name, own in (
        ("magnitude_pruning", {"sparsity": 0.5}),
        ("clustering", {"clusters": clusters, "per_channel": per_channel}),
    ):
        technique = get(name)
        result = technique.apply(work, technique.parameters(**parameters, **own))
        for transform in result.transforms:
            transform.held = True
        if name == "magnitude_pruning":
            paths = result.applied
            zeros = {variable.path: np.asarray(variable) == 0 for variable in result.model.trainable_variables}
        else:
            assert result.applied
        work = replace(work, model=result.model, transforms=(*work.transforms, *result.transforms))
    clustered = {variable.path: np.array(variable) for variable in work.model.trainable_variables}
    fine_tune(work, FineTuning(epochs=3, batch_size=32, learning_rate=1e-2))
    for variable in work.model.trainable_variables:
        if variable.path in paths:
            values = np.asarray(variable)
            assert (values[zeros[variable.path]] == 0).all(), variable.path
            channels = np.moveaxis(values, -1, 0) if per_channel else values[None]
            if variable.path in result.applied:
                assert max(len(np.unique(channel)) for channel in channels) <= clusters
                assert (values != clustered[variable.path]).any(), "the centroids are trained on"


def test_a_sparse_model_keeps_its_zeros(model):
    """Zeros that came with the model, without a mask, stay too, unless that is switched off."""
    sparse = keras.models.clone_model(model)
    sparse.set_weights(model.get_weights())
    kernel = sparse.get_layer("classes").kernel
    values = np.array(kernel)
    values[::2] = 0
    kernel.assign(values)
    for preserving in (True, False):
        step = _step(
            "clustering", scope="classes/kernel", clusters=3, epochs=1, batch_size=32, sparsity_preserving=preserving
        )
        received = np.asarray(compress(sparse, _task(), parse_recipe(step)).model.get_layer("classes").kernel)
        assert (received[::2] == 0).all() == preserving


def test_fewer_values_than_clusters_are_kept_and_reported(model):
    """A kernel that holds few values already keeps them, with a note; one with few elements is skipped, with why."""
    ternary = keras.models.clone_model(model)
    ternary.set_weights([np.sign(weight) for weight in model.get_weights()])
    made = compress(ternary, _task(), parse_recipe(_step("clustering", clusters=20, epochs=0)))
    for variable in made.report:
        assert variable.error == 0
        if variable.path == "classes/kernel":
            assert variable.skipped == ("clustering: has 16 elements, no more than 20 clusters",)
        elif variable.applied:
            assert f"clustering: {variable.path} held no more than 20 distinct values already" in "; ".join(made.notes)


def test_a_kernel_of_zeros_is_clustered_to_zero(model):
    """Clustering a kernel that is zero throughout leaves it so, and training goes on."""
    empty = keras.models.clone_model(model)
    empty.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    made = compress(empty, _task(), parse_recipe(_step("clustering", clusters=4, epochs=1)))
    assert all(variable.values == 1 for variable in made.report if variable.applied)


def test_the_same_seed_gives_the_same_clusters(model):
    """Two runs of one recipe with one seed end in equal weights."""
    recipe = parse_recipe(_step("clustering", clusters=4, epochs=1, initialisation="kmeans++"))
    first, second = (compress(model, _task(), recipe, seed=3).model.get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clusters": 1}, "clusters: expected"),
        ({"clusters": 257}, "clusters: expected"),
        ({"scope": "("}, "scope: expected"),
        ({"initialisation": "random"}, "initialisation: expected"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    """A number of clusters that no byte holds, a broken scope and an unknown initialisation name themselves."""
    with pytest.raises(InputError, match=message):
        parse_recipe(_step("clustering", **parameters))


def test_a_scope_that_matches_nothing_is_refused(model):
    """A scope that finds no kernel is an error that lists the kernels there are."""
    with pytest.raises(InputError, match="classes/kernel"):
        compress(model, _task(), parse_recipe(_step("clustering", scope="nowhere")))
