"""train/sparse: densities, masks, what each method does to a network while it trains, and the benchmark's tables."""

import dataclasses
import functools
import importlib.util
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import InputError
from edgewright.train import Schedule, get
from edgewright.train import _synthesis_scan as scan
from edgewright.train._sparse_densities import erdos_renyi_kernel, uniform
from edgewright.train._sparse_methods import UPDATES, kept_share
from edgewright.train._sparse_moves import dropped_and_grown
from edgewright.train._sparse_optimizer import is_kernel
from edgewright.train._synthesis_transformer import Lengths, Shape, training_model
from edgewright.train._training import train
from edgewright.train.sparse import METHODS, SCAN, callbacks_of, masked_adam, sparse_experiment, sparsity_of

SHAPES = [(784, 300), (300, 100), (100, 10)]
BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "sparse_training.py"


class Watch(keras.callbacks.Callback):
    """Keeps the masks and the kernels after each step; it comes after what moves them."""

    def on_train_begin(self, logs=None):
        """Begin with those before the first step."""
        self.masks, self.kernels = [], []
        self.on_train_batch_end(0)

    def on_train_batch_end(self, batch, logs=None):
        """Keep them."""
        masks = self.model.optimizer.masks
        self.masks.append([np.array(mask) > 0.5 for mask in masks.values()])
        self.kernels.append([np.array(self.model.trainable_variables[place]) for place in masks])


def short(name, epochs=2):
    """An experiment of a few short epochs."""
    schedule = Schedule(epochs, learning_rate=2e-3, samples_per_epoch=1000)
    return dataclasses.replace(get("sparse").experiment(name), schedules={"edge": schedule})


def small(seed=0):
    """A chain of three dense layers."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((12,))
    for units in (20, 16):
        x = keras.layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x), name="small")


def watched(method, sparsity, steps=60):
    """The small chain, trained by a method, and what was seen after each step."""
    model, watch = small(), Watch()
    model.compile(masked_adam(1e-2), "mean_squared_error")
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(1)
    x, y = random.normal(size=(8 * steps, 12)), random.normal(size=(8 * steps, 4))
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[*callbacks_of(method, sparsity)(model, steps), watch])
    return model, watch


def active(masks):
    """How many weights the masks of all kernels leave."""
    return sum(int(mask.sum()) for mask in masks)


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


def test_erdos_renyi_counts_the_window_of_a_convolution():
    """The kernel's window belongs to the sum and to the product (Evci et al. 2020, section 3.1)."""
    one, other = erdos_renyi_kernel([(3, 3, 64, 128), (5, 5, 32, 64)], 0.9)
    assert one / other == pytest.approx((198 / (9 * 64 * 128)) / (106 / (25 * 32 * 64)))


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


@given(st.integers(0, 2**31), st.integers(2, 60))
def test_a_move_is_that_of_sorting(seed, size):
    """Found without sorting, a move drops and grows the weights that a stable sort names, equal ones included."""
    random = np.random.default_rng(seed)
    mask = random.permutation(size) < size // 2
    weights, wish = random.integers(0, 4, (2, size)).astype(float)
    count = random.integers(0, size // 2 + 1)
    sorted_ones = mask.copy()
    sorted_ones[np.where(mask, weights, np.inf).argsort(kind="stable")[:count]] = False
    sorted_ones[np.where(mask, -np.inf, wish).argsort(kind="stable")[::-1][:count]] = True
    np.testing.assert_array_equal(dropped_and_grown(mask, weights, wish, count), sorted_ones)


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9, 0.98])
def test_whole_units_reach_the_sparsity(sparsity):
    """The share of units kept in every hidden layer leaves the asked share of weights."""
    share = kept_share(SHAPES, sparsity)
    kept = 784 * 300 * share + 300 * 100 * share**2 + 100 * share * 10
    assert kept / (784 * 300 + 300 * 100 + 1000) == pytest.approx(1 - sparsity, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_ends_at_its_sparsity(method):
    """Trained for four short epochs, the kernels have the asked zeros, and the network tells the digits."""
    experiment = short(f"{method}-90", epochs=4)
    model = train(experiment)
    # Whole units round; and what SET grows at pixels that are always black has no gradient to leave zero by.
    assert experiment.measures(model)["zeros (%)"] == pytest.approx(
        90, abs={"structured": 0.3, "set": 1}.get(method, 0.01)
    )
    data = experiment.task().test
    outputs = np.asarray(model(data.inputs["image"]))
    assert np.mean(outputs.argmax(axis=1) == data.labels) > 0.4


@pytest.mark.parametrize("method", METHODS)
def test_what_is_masked_is_zero_after_every_step(method):
    """No step of a training leaves anything but zero where a mask is zero."""
    _, watch = watched(method, 0.8)
    assert not any(
        kernel[~mask].any()
        for masks, kernels in zip(watch.masks, watch.kernels, strict=True)
        for mask, kernel in zip(masks, kernels, strict=True)
    )


@pytest.mark.parametrize(("method", "distribution"), [("set", erdos_renyi_kernel), ("rigl-uniform", uniform)])
def test_a_moving_mask_keeps_each_layers_density(method, distribution):
    """After each step every kernel has the density that its distribution gave it; masks move until three quarters."""
    _, watch = watched(method, 0.8)
    shapes = [mask.shape for mask in watch.masks[0]]
    wanted = [
        round(density * math.prod(shape)) for density, shape in zip(distribution(shapes, 0.8), shapes, strict=True)
    ]
    assert all([int(mask.sum()) for mask in masks] == wanted for masks in watch.masks)
    moved = [
        step
        for step in range(1, 61)
        if any((one != other).any() for one, other in zip(watch.masks[step - 1], watch.masks[step], strict=True))
    ]
    assert set(moved) <= set(range(60 // UPDATES, 45, 60 // UPDATES)) and len(moved) > 10


def test_a_static_mask_never_moves():
    """What the first masks leave out is left out to the end."""
    _, watch = watched("static", 0.8)
    assert all((one == other).all() for one, other in zip(watch.masks[0], watch.masks[-1], strict=True))


def test_rigl_grows_where_the_dense_gradient_is_largest():
    """What grew at a move had a larger gradient than anything that stayed inactive; it was zero and had no moments."""
    model, watch = small(), Watch()
    model.compile(masked_adam(1e-2), "mean_squared_error")
    model.optimizer.build(model.trainable_variables)
    (rigl,) = callbacks_of("rigl", 0.8)(model, 60)
    random = np.random.default_rng(1)
    # Two steps, after which the masks move: the gradients that are kept are those that they moved by.
    model.fit(
        random.normal(size=(16, 12)), random.normal(size=(16, 4)), batch_size=8, verbose=0, callbacks=[rigl, watch]
    )
    grown = 0
    for place, before, after in zip(model.optimizer.masks, watch.masks[1], watch.masks[2], strict=True):
        gradients, new = np.abs(np.array(model.optimizer.dense_gradients[place])), after & ~before
        grown += new.sum()
        assert gradients[new].min(initial=np.inf) >= gradients[~before & ~after].max(initial=0)
        for values in (model.trainable_variables[place], model.optimizer._momentums[place]):
            assert not np.asarray(values)[new].any()
    assert grown > 10


def test_gradual_pruning_rises_by_a_cubic_and_takes_the_smallest():
    """Masks only shrink, by the cubic, to the sparsity at three quarters; what goes was smaller than what stays."""
    _, watch = watched("gradual", 0.9)
    size = sum(mask.size for mask in watch.masks[0])
    for step in range(1, 61):
        last = min(step - step % 2, 44) if step < 45 else 45
        wanted = 0.9 * (1 - (1 - last / 45) ** 3)
        assert size - active(watch.masks[step]) == pytest.approx(wanted * size, abs=1), step
        before, after = watch.masks[step - 1], watch.masks[step]
        assert all((mask >= later).all() for mask, later in zip(before, after, strict=True))
    gone = [kernel[~mask] for kernel, mask in zip(watch.kernels[1], watch.masks[2], strict=True)]
    kept = [kernel[mask] for kernel, mask in zip(watch.kernels[2], watch.masks[2], strict=True)]
    # They were compared after the step, which moves a weight by about the learning rate.
    assert np.abs(np.concatenate(gone)).max() < np.abs(np.concatenate(kept)).min() + 0.02


def test_l1_cuts_once_after_a_penalised_training():
    """The model's kernels, not its biases, add an L1 penalty to the loss; the masks move at three quarters alone."""
    experiment = get("sparse").experiment("l1-90")
    model = experiment.build("edge", 0)
    kernels = [np.asarray(each) for each in model.trainable_variables if is_kernel(each)]
    assert float(sum(model.losses)) == pytest.approx(1e-5 * sum(np.abs(kernel).sum() for kernel in kernels), rel=1e-4)
    _, watch = watched("l1", 0.9)
    counts = [active(masks) for masks in watch.masks]
    size = sum(mask.size for mask in watch.masks[0])
    assert counts[:45] == [size] * 45 and counts[45:] == [size - round(0.9 * size)] * 16


def test_a_step_follows_the_mask_and_keeps_the_dense_gradient():
    """A step moves active weights alone; the gradient of all is kept, as the equation of a dense layer gives it."""
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
    random = np.random.default_rng(0)
    inputs, wanted = random.normal(size=(8, 4)).astype("f4"), random.normal(size=(8, 3)).astype("f4")
    model.fit(inputs, wanted, verbose=0, shuffle=False)
    after = np.asarray(model.trainable_variables[0])
    assert (after[1:] == 0).all() and (after[0] != before[0]).all()
    gradient = inputs.T @ (inputs @ before - wanted) * 2 / wanted.size
    np.testing.assert_allclose(np.asarray(optimizer.dense_gradients[0]), gradient, rtol=1e-4, atol=1e-6)


def test_clipping_leaves_out_what_is_masked():
    """The gradients that a step follows are brought to the norm; those that the masks leave out do not count in it."""
    optimizer = masked_adam(0.1, clip_norm=1.0)
    kernel, bias = keras.Variable(np.ones((2, 2), "f4"), name="kernel"), keras.Variable(np.ones(2, "f4"), name="bias")
    optimizer.build([kernel, bias])
    optimizer.set_mask(0, kernel, np.array([[1, 0], [0, 0]], "f4"))
    gradients = [np.array([[3, 100], [100, 100]], "f4"), np.array([0, 4], "f4")]
    for clipped, gradient in zip(optimizer._clip_gradients(gradients), gradients, strict=True):
        np.testing.assert_allclose(np.asarray(clipped), gradient / 5, rtol=1e-6)
    small = [each / 10 for each in gradients]
    for clipped, gradient in zip(optimizer._clip_gradients(small), small, strict=True):
        np.testing.assert_allclose(np.asarray(clipped), gradient, rtol=1e-6)


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
    """Structured sparsity leaves the share of units that it says, and nothing that comes from the others."""
    kernels = [np.asarray(each) for each in train(short("structured-90")).trainable_variables if is_kernel(each)]
    columns = [(kernel != 0).any(axis=0) for kernel in kernels]
    for kernel, alive in zip(kernels[1:], columns, strict=False):
        assert not kernel[~alive].any()
    share = kept_share(SHAPES, 0.9)
    assert [alive.sum() for alive in columns] == [round(300 * share), round(100 * share), 10]


def test_channels_go_as_a_whole():
    """Of convolutions whole channels go: what its normalization still adds for one that went changes no output."""
    experiment = short("convolutional-structured-90")
    model = train(experiment)
    kernels = [np.asarray(each) for each in model.trainable_variables if is_kernel(each)]
    share = kept_share([kernel.shape for kernel in kernels], 0.9)
    images = experiment.task().test.inputs["image"][:20]
    before = np.asarray(model(images))
    for number, kernel in enumerate(kernels[:-1], start=1):
        alive = kernel.any(axis=(0, 1, 2))
        assert alive.sum() == round(kernel.shape[-1] * share)
        shift = model.get_layer(f"normalization_{number}").beta
        shift.assign(shift + 7.0 * ~alive)
    np.testing.assert_array_equal(np.asarray(model(images)), before)
    assert sparsity_of(model)["zeros (%)"] == pytest.approx(90, abs=1)


def small_scan(method, sparsity):
    """A sparse experiment of SCAN's transformer at a quarter of its width and half of its layers."""
    lengths = Lengths(scan.LONGEST_COMMAND, len(scan.WORDS) + 1, scan.LONGEST_PROGRAM + 1, scan.END + 1)

    def build(size, seed):
        keras.utils.set_random_seed(seed)
        return training_model(Shape(16, 2, 32, 1, 1), lengths, "small_scan")

    schedule = dataclasses.replace(SCAN.schedules["edge"], epochs=1, samples_per_epoch=640, batch_size=16)
    dense = dataclasses.replace(SCAN, build=build, schedules={"edge": schedule}, measures=None)
    return sparse_experiment(method, sparsity, dense, "small")


@pytest.mark.parametrize("method", ["rigl", "gradual"])
def test_the_transformer_trains_sparse(method):
    """Through a training of SCAN's transformer zeros stay zero where masked, and the kernels end at the sparsity."""
    experiment, watch = small_scan(method, 80), Watch()
    watching = dataclasses.replace(experiment, callbacks=lambda *told: [*experiment.callbacks(*told), watch])
    model = train(watching)
    assert experiment.measures(model)["zeros (%)"] == pytest.approx(80, abs=0.1)
    for masks, kernels in zip(watch.masks, watch.kernels, strict=True):
        assert not any(kernel[~mask].any() for mask, kernel in zip(masks, kernels, strict=True))
    assert len(watch.masks) == 41
    assert any((one != other).any() for one, other in zip(watch.masks[1], watch.masks[-1], strict=True))


def test_what_is_masked_of_the_transformer():
    """Kernels are, embeddings and readout too; positions, biases and gains are not; ERK keeps small ones denser."""
    experiment = get("sparse").experiment("scan-simple-rigl-90")
    model = experiment.build("edge", 0)
    masked = {each.path: tuple(each.shape) for each in model.trainable_variables if is_kernel(each)}
    assert len(masked) == 35 and {"encoder_embedding/kernel", "logits/kernel"} <= set(masked)
    assert not any("positions" in path or "norm" in path for path in masked)
    densities = dict(zip(masked, erdos_renyi_kernel(list(masked.values()), 0.9), strict=True))
    small, wide = densities["logits/kernel"], densities["encoder_1_self_query/kernel"]
    assert small / wide == pytest.approx((71 / (64 * 7)) / (128 / (64 * 64)))
    assert experiment.optimizer(1e-3).global_clipnorm == experiment.schedules["edge"].clip_norm == 1.0


def test_whole_units_need_a_chain():
    """A network with branches is refused for structured sparsity, with the layer at which it branches."""
    experiment = small_scan("structured", 80)
    with pytest.raises(InputError, match=r"(?s)chain of layers.*Got: small_scan.*does not take the output of"):
        experiment.callbacks(experiment.build("edge", 0), 10)


ON_JAX = """
import dataclasses
import keras, numpy as np
from edgewright.train import Schedule, get
from edgewright.train._training import train

assert keras.backend.backend() == "jax"
experiment, masks = get("sparse").experiment("rigl-90"), []

def watched(model, steps):
    keep = lambda logs: masks.append(np.array(model.optimizer.masks[0]))
    watch = keras.callbacks.LambdaCallback(on_train_begin=keep, on_train_end=keep)
    return [*experiment.callbacks(model, steps), watch]

schedules = {"edge": Schedule(epochs=1, samples_per_epoch=1000)}
model = train(dataclasses.replace(experiment, schedules=schedules, callbacks=watched))
print(experiment.measures(model)["zeros (%)"], np.mean(masks[1] > masks[0]), np.mean(masks[1] < masks[0]))
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (edgewright[jax])")
def test_masks_move_on_the_other_backend():
    """On JAX, whose training step holds the variables meanwhile, as many weights grow as are dropped."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", ON_JAX], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    zeros, grown, dropped = map(float, done.stdout.split())
    assert zeros == pytest.approx(90, abs=0.01) and grown == dropped > 0.01


@functools.cache
def benchmark():
    """The benchmark's names."""
    return runpy.run_path(str(BENCHMARK))


def recorded(*values, measures, size=100):
    """Records of as many seeds, as far as the tables look at them."""
    metric = {"name": "accuracy", "unit": "%"}
    return [{"metric": {**metric, "value": value}, "measures": measures, "gzip_bytes": size} for value in values]


def test_the_benchmarks_tables_say_what_the_records_say():
    """Means and deviations stand under their sparsity, bytes and latency beside the dense one's; gaps are gaps."""
    records = {
        ("dense", 0): recorded(94.0, 96.0, measures={"match (%)": 50.0}, size=400),
        ("rigl", 80): recorded(93.0, 95.0, measures={"match (%)": 40.0, "zeros (%)": 80.0}),
        ("rigl", 90): recorded(92.0, measures={"match (%)": 30.0, "zeros (%)": 89.5}),
        ("l1", 90): [],
    }
    made = benchmark()["tables"](records, {0: 2.0, 80: 2.1, 90: 1.9})
    metric, match, zeros, size, latency = [
        [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()] for table in made
    ]
    assert metric == [
        ["accuracy (%), mean ± standard deviation of 0 to 2 seeds"],
        ["80 %", "90 %"],
        ["dense", "95.00 ± 1.41"],
        ["RigL, ERK", "94.00 ± 1.41", "92.00"],
        ["L1, then magnitude", "-", "-"],
    ]
    assert match[0] == ["match (%)"] and match[3] == ["RigL, ERK", "40.00 ± 0.00", "30.00"]
    assert zeros[2:] == [["RigL, ERK", "80.00", "89.50"], ["L1, then magnitude", "-", "-"]]
    assert "400 bytes" in size[0][0] and size[2] == ["RigL, ERK", "25.0", "25.0"]
    assert "the dense one's 2 ms" in latency[0][0] and "80 % 1.05, 90 % 0.95" in latency[0][0]


def test_the_benchmark_finds_every_experiment():
    """Each sparse experiment stands in the table of exactly one model."""
    found = [
        name
        for model in ("digits", "convolutional", "scan-simple")
        for name in benchmark()["experiments_of"](model).values()
    ]
    assert sorted(found) == sorted(experiment.name for experiment in get("sparse").experiments)
