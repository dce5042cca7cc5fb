"""train/sparse: densities, masks, and what each method does to a network while it trains."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.train import Schedule, get
from edgewright.train._sparse_densities import erdos_renyi_kernel, uniform
from edgewright.train._sparse_methods import dropped_and_grown, kept_share
from edgewright.train._training import train
from edgewright.train.sparse import METHODS, masked_adam, sparsity_of

SHAPES = [(784, 300), (300, 100), (100, 10)]
SHORT = {"edge": Schedule(epochs=2, learning_rate=2e-3, samples_per_epoch=1000)}


def short(name):
    """An experiment of two short epochs."""
    return dataclasses.replace(get("sparse").experiment(name), schedules=SHORT)


@given(
    shapes=st.lists(st.lists(st.integers(1, 60), min_size=2, max_size=4), min_size=1, max_size=6),
    sparsity=st.floats(0, 0.99),
)
def test_densities_add_up_to_the_sparsity(shapes, sparsity):
    """Both distributions keep the asked share of weights in all; none is denser than dense."""
    sizes = [math.prod(shape) for shape in shapes]
    for distribution in (uniform, erdos_renyi_kernel):
        densities = distribution(shapes, sparsity)
        assert all(0 <= density <= 1 + 1e-9 for density in densities)
        kept = sum(density * size for density, size in zip(densities, sizes, strict=True))
        assert kept == pytest.approx((1 - sparsity) * sum(sizes), rel=1e-6, abs=1e-6)


def test_erdos_renyi_keeps_small_layers_denser():
    """Densities that are not clipped stand in the ratio of sum over product, and the last layer is dense at 90 %."""
    first, second, last = erdos_renyi_kernel(SHAPES, 0.9)
    assert last == 1.0
    assert second / first == pytest.approx((400 / 30_000) / (1084 / 235_200))


@given(st.integers(0, 2**31), st.integers(2, 200))
def test_what_is_dropped_is_replaced(seed, size):
    """The count of active weights stays; the smallest active are gone, the most wished-for inactive are there."""
    random = np.random.default_rng(seed)
    mask = random.permutation(size) < size // 2
    weights, wish = random.uniform(size=(2, size))
    count = random.integers(0, size // 2 + 1)
    after = dropped_and_grown(mask, weights, wish, count)
    assert after.sum() == mask.sum() and (mask & ~after).sum() == count
    if count:
        assert weights[mask & ~after].max() <= weights[mask & after].min(initial=np.inf)
        assert wish[~mask & after].min() >= wish[~mask & ~after].max(initial=-np.inf)


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9, 0.98])
def test_whole_units_reach_the_sparsity(sparsity):
    """The share of units kept in every hidden layer leaves the asked share of weights."""
    share = kept_share(SHAPES, sparsity)
    kept = 784 * 300 * share + 300 * 100 * share**2 + 100 * share * 10
    assert kept / (784 * 300 + 300 * 100 + 1000) == pytest.approx(1 - sparsity, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_ends_at_its_sparsity(method):
    """Trained for two short epochs, the kernels have the asked zeros, and the network still learns."""
    experiment = short(f"{method}-90")
    model = train(experiment)
    zeros = sparsity_of(model)["zeros (%)"]
    assert zeros == pytest.approx(90, abs=0.5)
    data = experiment.task().test
    outputs = np.asarray(model(data.inputs["image"]))
    assert np.mean(outputs.argmax(axis=1) == data.labels) > 0.2


def test_masked_weights_stay_zero_and_the_dense_gradient_is_kept():
    """A step moves active weights alone, while the gradient of all weights is there to grow by."""
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3, name="d")(x))
    model.compile(masked_adam(0.1), "mean_squared_error")
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    mask = np.zeros((4, 3), "float32")
    mask[0] = 1
    optimizer.set_mask(0, model.trainable_variables[0], mask)
    before = np.array(model.trainable_variables[0])
    model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
    after = np.asarray(model.trainable_variables[0])
    assert (after[1:] == 0).all() and (after[0] != before[0]).all()
    assert (np.asarray(optimizer.dense_gradients[0])[1:] != 0).all()


def test_a_dynamic_training_is_resumed_with_the_same_masks(tmp_path):
    """RigL cut off after an epoch and started again ends in the weights of one that was not."""

    class Killed(Exception):
        """What the end of a process stands for."""

    def stop(done, total):
        raise Killed

    whole = train(short("rigl-90"), folder=tmp_path / "whole").get_weights()
    with pytest.raises(Killed):
        train(short("rigl-90"), folder=tmp_path / "killed", on_epoch=stop)
    for one, other in zip(train(short("rigl-90"), folder=tmp_path / "killed").get_weights(), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_units_go_as_a_whole():
    """Structured sparsity leaves rows and columns that are zero throughout or not at all masked."""
    kernels = [np.asarray(each) for each in train(short("structured-90")).trainable_variables if len(each.shape) == 2]
    columns = [(kernel != 0).any(axis=0) for kernel in kernels]
    for kernel, alive in zip(kernels[1:], columns, strict=False):
        assert not kernel[~alive].any()
    assert columns[0].sum() < 100
