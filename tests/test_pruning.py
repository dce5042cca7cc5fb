"""compress/: patterns of zeros, rankings, the sensitivity scan, and masks that move."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.compress import Work, compress, get, parse_recipe
from edgewright.compress._kernels import Axes, axes_of
from edgewright.compress._masks import FLOOR, kept_blocks, mask_of, masks_of, pattern_of
from edgewright.compress._moving_masks import DynamicSparsity, MovingMask
from edgewright.compress._sensitivity import allotted, levels_of
from edgewright.compress._tfmot import tfmot
from edgewright.compress.rigl import DenseGradients
from edgewright.errors import InputError
from edgewright.train import ACCURACY, Dataset, Schedule, Task
from edgewright.train import get as architecture
from edgewright.train._training import fit, outputs_of

DENSE = Axes((), (1,), (0,))
WINDOW = Axes((0, 1), (3,), (2,))
seeds = st.integers(0, 2**16)
blocks_ = st.sampled_from([(1, 4), (4, 4), (2, 3), (1, 16)])


def _kernel(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _task(labelled: bool = True, samples: int = 192) -> Task:
    random = np.random.default_rng(0)
    image = random.normal(size=(samples, 6, 6, 8)).astype("float32")
    labels = (image[:, :3].sum(axis=(1, 2, 3)) > 0).astype("int32") if labelled else None
    data = Dataset({"image": image}, labels)
    loss = "sparse_categorical_crossentropy" if labelled else None
    return Task("signs", data, data, loss, ACCURACY if labelled else None)


def _model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 6, 8), name="image")
    x = keras.layers.Conv2D(16, 3, activation="relu", name="convolution")(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="normalization")(x)
    x = keras.layers.Reshape((16, 16), name="tokens")(x)
    x = x + keras.layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    x = keras.layers.Dense(18, activation="relu", name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="classes")(x), name="patterns")


def _small(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 6, 8), name="image")
    x = keras.layers.Dense(18, name="hidden")(keras.layers.Flatten(name="flatten")(image))
    x = keras.layers.ReLU(name="activation")(keras.layers.BatchNormalization(name="normalization")(x))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="classes")(x), name="small")


def _step(technique: str = "magnitude_pruning", **parameters) -> str:
    values = {key: str(value).lower() if isinstance(value, bool) else repr(value) for key, value in parameters.items()}
    return "\n".join(
        ["[[steps]]", f'technique = "{technique}"', *(f"{key} = {value}" for key, value in values.items())]
    )


def _compressed(*steps: str, model=None, task=None, seed: int = 0):
    return compress(model or _trained(_model), task or _task(), parse_recipe("\n".join(steps)), seed)


@functools.cache
def _trained(build) -> keras.Model:
    """Return a model that was trained once for all tests; compression leaves it unchanged."""
    model = build()
    fit(model, _task(), Schedule(8, 32, 3e-3), 0)
    return model


def _loss(model: keras.Model, task: Task) -> float:
    probabilities = next(iter(outputs_of(model, task.test).values()))
    return float(keras.losses.SparseCategoricalCrossentropy()(task.test.labels, probabilities))


# Where zeros may be: the axes, the masks.


@pytest.mark.parametrize(
    ("layer", "shape", "inputs"),
    [
        (keras.layers.Dense(5, use_bias=False), (7,), 7),
        (keras.layers.Conv2D(5, 3, use_bias=False), (6, 6, 4), 4),
        (keras.layers.Conv2D(6, 3, groups=2, use_bias=False), (6, 6, 4), 2),
        (keras.layers.Conv1D(5, 3, use_bias=False), (6, 4), 4),
        (keras.layers.Conv2DTranspose(5, 3, use_bias=False), (4, 4, 3), 3),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), (6, 6, 4), 1),
        (keras.layers.EinsumDense("abc,cd->abd", (None, 5)), (6, 4), 4),
        (keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (6, 4), 4),
        (keras.layers.EinsumDense("abcd,cde->abe", (None, 5)), (6, 2, 4), 8),
        (keras.layers.EinsumDense("abc,bcd->abd", (6, 5)), (6, 4), 4),
        (keras.layers.EinsumDense("...x,xy->...y", (6, 5)), (6, 4), 4),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_axes_of_a_kernel_are_those_of_its_layer(layer, shape, inputs):
    """With all weights of one output at zero that output is zero and no other, whatever the layer's kernel is."""
    samples = keras.Input(shape)
    model = keras.Model(samples, layer(samples))
    (kernel,) = model.trainable_variables
    axes, values = axes_of(model)[kernel.path], np.asarray(kernel)
    matrices = axes.matrices(values).copy()
    assert axes.counts(values.shape) == matrices.shape[1:] and matrices.shape[2] == inputs
    np.testing.assert_array_equal(axes.kernel(matrices, values.shape), values)
    matrices[:, 1] = 0
    kernel.assign(axes.kernel(matrices, values.shape))
    outputs = np.asarray(model(np.ones((2, *shape), "float32")))
    outputs = outputs.reshape(-1, matrices.shape[1])
    assert [place for place in range(outputs.shape[1]) if not outputs[:, place].any()] == [1]


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 12), st.integers(1, 20), st.sampled_from([(1, 4), (4, 4), (2, 3), (1, 16)]), seeds
)
def test_blocks_stay_whole(window, inputs, outputs, block, seed):
    """Every block is kept or zero as a whole, and as many are kept as the sparsity says; those at the rest count."""
    kernel = _kernel((window, window, inputs, outputs), seed)
    pattern = pattern_of(f"{block[0]}x{block[1]}")
    matrices = WINDOW.matrices(mask_of(kernel, WINDOW, pattern, 0.7))
    kept = blocks = 0
    for place in matrices:
        for output in range(0, outputs, block[0]):
            for first in range(0, inputs, block[1]):
                values = np.unique(place[output : output + block[0], first : first + block[1]])
                assert len(values) == 1
                kept, blocks = kept + int(values[0]), blocks + 1
    assert kept == kept_blocks(blocks, 0.7)
    assert blocks == pattern.blocks(WINDOW, kernel.shape)


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 6), st.sampled_from(["2:4", "4:8", "1:4", "3:5"]), seeds)
def test_n_of_every_m_inputs_stay(inputs, outputs, name, seed):
    """Each group keeps its N largest, the group at the rest too; of equal weights the first stay."""
    kernel, pattern = np.round(_kernel((inputs, outputs), seed), 1), pattern_of(name)
    mask = mask_of(kernel, DENSE, pattern, pattern.sparsity)
    for output in range(outputs):
        for first in range(0, inputs, pattern.group):
            group, kept = (array[first : first + pattern.group, output] for array in (np.abs(kernel), mask > 0))
            assert kept.sum() == min(pattern.kept, len(group))
            if not kept.all():
                assert group[kept].min() >= group[~kept].max()


def test_n_of_m_rises_by_one_zero_of_a_group_at_a_time():
    """On the way to 2:4 every group has none, one, then two zeros."""
    kernel, pattern = _kernel((16, 4)), pattern_of("2:4")
    zeros = [(mask_of(kernel, DENSE, pattern, sparsity) == 0).sum(axis=0) for sparsity in (0.0, 0.25, 0.5)]
    np.testing.assert_array_equal(zeros, [[0] * 4, [4] * 4, [8] * 4])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("unstructured", (5, 3)),
        ("1x4", (16, 8)),
        ("4x4", (16, 8)),
        ("1x16", (32, 3)),
        ("2:4", (16, 8)),
        ("2:4", (5, 3)),
    ],
)
def test_the_masks_are_those_of_tfmot(name, shape):
    """For dense kernels TF-MOT, the reference, makes the same masks."""
    import tensorflow as tf

    kernel, pattern = _kernel(shape), pattern_of(name)
    reference = tfmot("sparsity.keras.pruning_impl").Pruning(
        training_step_fn=lambda: 0,
        pruning_vars=[],
        pruning_schedule=lambda step: (True, tf.constant(0.6, tf.float32)),
        block_size=pattern.block[::-1],  # its rows are the inputs
        block_pooling_type="AVG",
        sparsity_m_by_n=(pattern.group - pattern.kept, pattern.group) if pattern.group else None,
    )
    expected = np.asarray(reference._maybe_update_block_mask(tf.constant(kernel))[1])
    np.testing.assert_array_equal(mask_of(kernel, DENSE, pattern, pattern.sparsity or 0.6), expected)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=4), st.floats(0, 0.99), seeds)
def test_one_threshold_over_all_kernels_empties_none(shapes, sparsity, seed):
    """The total is exact, every kernel keeps its share of the floor, and elsewhere no kept weight is below a zero."""
    kernels = [_kernel(shape, seed + place) * 10.0**-place for place, shape in enumerate(shapes)]
    masks, _ = masks_of(kernels, [DENSE] * len(kernels), pattern_of("unstructured"), sparsity)
    floors = [kept_blocks(kernel.size, 1 - FLOOR * (1 - sparsity)) for kernel in kernels]
    kept = [int(mask.sum()) for mask in masks]
    assert sum(kept) == max(sum(floors), kept_blocks(sum(kernel.size for kernel in kernels), sparsity))
    assert all(count >= floor for count, floor in zip(kept, floors, strict=True))
    zeros = [np.abs(kernel[mask == 0]) for kernel, mask in zip(kernels, masks, strict=True)]
    if any(each.size for each in zeros):
        largest_zero = max(each.max() for each in zeros if each.size)
        kept_ones = [np.sort(np.abs(kernel[mask > 0]))[::-1] for kernel, mask in zip(kernels, masks, strict=True)]
        beyond = [ones[floor:] for ones, floor in zip(kept_ones, floors, strict=True)]
        assert all((ones >= largest_zero).all() for ones in beyond)


# Pruning a model.


@pytest.mark.parametrize(("pattern", "epochs"), [("1x4", 1), ("4x4", 0), ("1x8", 0), ("2:4", 0), ("4:8", 0)])
def test_a_model_is_pruned_in_a_pattern(pattern, epochs):
    """Dense, convolution and attention kernels end in the pattern; what has no room for it says so."""
    result = _compressed(_step(pattern=pattern, epochs=epochs, **({} if ":" in pattern else {"sparsity": 0.7})))
    axes, wanted = axes_of(result.model), pattern_of(pattern)
    applied = {variable.path for variable in result.report if variable.applied}
    assert {"convolution/kernel", "attention/query/kernel", "attention/attention_output/kernel"} <= applied
    for variable in result.model.trainable_variables:
        if variable.path not in applied:
            continue
        values = np.asarray(variable)
        expected = mask_of(values, axes[variable.path], wanted, wanted.sparsity or 0.7)
        np.testing.assert_array_equal(values != 0, expected > 0)
    (depthwise,) = [variable for variable in result.report if variable.path == "depthwise/kernel"]
    assert depthwise.sparsity == 0 and "1 inputs" in depthwise.skipped[0]


def test_notes_say_where_sparsity_is_no_faster():
    """Each pattern's report says which runtimes it speeds up."""
    said = {
        pattern: " ".join(_compressed(_step(pattern=pattern, sparsity=0.5, epochs=0)).notes)
        for pattern in ("unstructured", "1x4", "2:4")
    }
    assert "no runtime here faster" in said["unstructured"]
    assert "TFLite alone" in said["1x4"]
    assert "no runtime faster on a CPU" in said["2:4"]


def test_a_global_ranking_reaches_the_total_and_spares_what_is_large():
    """All kernels together have the sparsity; one whose weights are ten times as large keeps more than the others."""
    model = _model()
    hidden = model.get_layer("hidden").kernel
    hidden.assign(np.asarray(hidden) * 10)
    result = _compressed(_step(sparsity=0.8, ranking="global", epochs=0), model=model)
    kernels = [variable for variable in result.report if variable.applied]
    zeros = sum(variable.sparsity * np.prod(variable.shape) for variable in kernels)
    assert zeros == pytest.approx(0.8 * sum(np.prod(variable.shape) for variable in kernels), abs=0.51)
    sparsities = {variable.path: variable.sparsity for variable in kernels}
    assert sparsities["hidden/kernel"] == min(sparsities.values())


def test_a_global_ranking_that_would_empty_a_kernel_names_it():
    """A kernel of tiny weights keeps a tenth of the density, and the report says so."""
    model = _small()
    hidden = model.get_layer("classes").kernel
    hidden.assign(np.asarray(hidden) * 1e-9)
    result = _compressed(_step(sparsity=0.8, ranking="global", epochs=0), model=model)
    (report,) = [variable for variable in result.report if variable.path == "classes/kernel"]
    assert report.sparsity == 1 - 1 / 36  # its largest weight
    assert any("classes/kernel" in note and "keep that tenth" in note for note in result.notes)


@settings(max_examples=30)
@given(st.integers(2, 3), st.floats(0.1, 0.9), seeds)
def test_allotted_sparsities_cost_least(kernels, sparsity, seed):
    """For convex costs no other mix of a fine grid that reaches the total costs less."""
    random = np.random.default_rng(seed)
    levels = [0.0, 0.25, 0.5, 0.75, 1.0]
    sizes = random.integers(10, 1000, kernels).tolist()
    costs = [[0.0, *np.cumsum(np.sort(random.exponential(size=4))).tolist()] for _ in sizes]
    given_ = allotted(sizes, levels, costs, sparsity)
    assert np.dot(given_, sizes) == pytest.approx(sparsity * sum(sizes))

    def cost(mix):
        return sum(np.interp(share, levels, curve) for share, curve in zip(mix, costs, strict=True))

    for _ in range(200):
        other = random.uniform(size=kernels)
        other *= min(1 / other.max(), sparsity * sum(sizes) / np.dot(other, sizes))
        if np.dot(other, sizes) >= sparsity * sum(sizes) - 1e-6:
            assert cost(given_) <= cost(other) + 1e-6


def test_what_is_not_convex_is_allotted_by_its_hull():
    """A kernel that is free only when half of it goes is taken to the half, not to where it costs most."""
    assert allotted([100, 100], [0.0, 0.25, 0.5], [[0, 9, 0], [0, 1, 2]], 0.25) == [0.5, 0.0]
    assert max(levels_of(0.9)) < 1


@pytest.mark.parametrize("labelled", [True, False])
def test_a_sensitivity_scan_loses_less_than_one_sparsity_for_all(labelled):
    """At the same total the scan's sparsities are nearer to the original, with and without labels."""
    model, task = _trained(_model), _task(labelled)
    expected = outputs_of(model, task.test)["classes"]

    def distance(**more):
        result = _compressed(_step(sparsity=0.7, epochs=0, **more), model=model, task=task)
        kernels = [variable for variable in result.report if variable.applied]
        total = sum(variable.sparsity * np.prod(variable.shape) for variable in kernels)
        assert total == pytest.approx(0.7 * sum(np.prod(variable.shape) for variable in kernels), abs=len(kernels))
        if more:
            assert any("sensitivity scan" in note for note in result.notes)
        return float(np.mean((outputs_of(result.model, task.test)["classes"] - expected) ** 2))

    assert distance(sensitivity=True) < 0.8 * distance()


# Masks that move.


def _moving(kernel: keras.Variable, wish: np.ndarray, density: float = 0.25, **parameters) -> MovingMask:
    first = np.zeros(np.prod(kernel.shape), bool)
    first[: round(density * first.size)] = True
    mask = MovingMask("set", kernel, first.reshape(kernel.shape), DynamicSparsity(sparsity=0.75, **parameters), 0)
    mask.wish = lambda mask, step: wish
    return mask


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.floats(0.1, 0.9), st.floats(0, 1), seeds)
def test_a_moving_mask_keeps_its_count_and_grows_from_zero(rows, columns, density, replaced, seed):
    """However often it moves, as many weights are active; those that grew are zero until they are trained."""
    kernel = keras.Variable(_kernel((rows, columns), seed))
    mask = _moving(kernel, _kernel((rows, columns), seed + 1), density, replaced=replaced)
    for step in range(0, 300, 10):
        before = np.asarray(mask.mask)
        mask.before_step(mask(kernel.value), step, 300)
        after, values = np.asarray(mask.mask), np.asarray(kernel)
        assert after.sum() == before.sum()
        assert not values[(after > 0) & (before == 0)].any()
        kernel.assign(values + _kernel((rows, columns), seed + step))


def test_a_moving_mask_rests_at_the_end_and_when_nothing_is_to_be_replaced():
    """After ``stop`` of the steps the mask stays, and with ``replaced = 0`` it never moves."""
    wish = np.arange(64, dtype="float32").reshape(8, 8)
    for parameters, moving in (({"stop": 0.5}, True), ({"replaced": 0.0}, False)):
        mask = _moving(keras.Variable(_kernel((8, 8))), wish, **parameters)
        seen = []
        for step in range(0, 100, 10):
            mask.before_step(mask(_kernel((8, 8))), step, 100)
            seen.append(np.asarray(mask.mask))
        assert (seen[0] != seen[4]).any() == moving
        np.testing.assert_array_equal(seen[5], seen[9])


@pytest.mark.parametrize(("technique", "densities"), [("set", "erk"), ("rigl", "uniform")])
def test_dynamic_sparsity_keeps_the_sparsity(technique, densities):
    """The masks end with the count that they started with, and have moved; what they leave out is zero."""
    model = _trained(_small)
    parameters = DynamicSparsity(sparsity=0.8, densities=densities, epochs=4, batch_size=16)
    work = Work(model, _task(), 0, model)
    result = get(technique).apply(work, parameters)
    still = get(technique).apply(work, parameters.model_copy(update={"epochs": 0}))
    kernels = {variable.path: np.asarray(variable) for variable in result.model.trainable_variables}
    moved = 0
    for mask, first in zip(result.transforms, still.transforms, strict=True):
        ones = np.asarray(mask.mask)
        assert ones.sum() == np.asarray(first.mask).sum()
        moved += int((ones != np.asarray(first.mask)).sum())
        assert not kernels[mask.path][ones == 0].any()
    assert moved
    total = sum(np.asarray(mask.mask).sum() for mask in result.transforms)
    assert total == pytest.approx(0.2 * sum(kernels[path].size for path in result.applied), abs=len(result.applied))


def test_the_gradient_that_rigl_grows_by_is_that_of_the_dense_weights():
    """It equals the gradient of a plain model that holds the masked values, zeros included, and trains nothing."""
    import tensorflow as tf

    model, task = _small(), _task(samples=16)
    parameters = DynamicSparsity(sparsity=0.75, batch_size=16)
    kernel = model.get_layer("hidden").kernel
    mask = _moving(kernel, np.zeros(kernel.shape))
    statistics = np.array(model.get_layer("normalization").moving_mean)
    wish = DenseGradients(Work(model, task, 0, model), parameters, [mask])
    received = wish(mask, 10)
    np.testing.assert_array_equal(np.asarray(model.get_layer("normalization").moving_mean), statistics)
    kernel.assign(mask(kernel.value))
    with tf.GradientTape() as tape:
        outputs = model(task.train.inputs["image"], training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(task.train.labels, outputs))
    expected = np.abs(np.asarray(tape.gradient(loss, kernel.value)))
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-6)
    assert received[np.asarray(mask.mask) == 0].any()


def test_moving_masks_beat_a_static_one_on_digits():
    """At 95 % zeros from a random start, two epochs of SET end below a static mask's loss, and RigL below both."""
    experiment = architecture("sparse").default
    task = experiment.task()

    def trained(technique, **more):
        step = _step(technique, sparsity=0.95, start="random", epochs=2, learning_rate=2e-3, **more)
        return _loss(_compressed(step, model=experiment.build("edge", 0), task=task).model, task)

    static, evolved, rigged = trained("set", replaced=0), trained("set"), trained("rigl")
    assert evolved < 0.97 * static
    assert rigged < 0.85 * static


# In one recipe with other steps.


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("set", _step(sparsity=0.5, scope="classes", epochs=2)),
        ("magnitude_pruning", _step("rigl", sparsity=0.5, epochs=2, batch_size=16)),
        ("magnitude_pruning", _step("clustering", clusters=8, scope="hidden", epochs=2)),
    ],
)
def test_zeros_hold_while_later_steps_train(earlier, later):
    """What one step made zero is zero after another step has trained, and what it kept was trained on."""
    first = _step(earlier, sparsity=0.8, scope="hidden/kernel", epochs=0)
    once, twice = _compressed(first, model=_trained(_small)), _compressed(first, later, model=_trained(_small))
    before, after = (np.asarray(result.model.get_layer("hidden").kernel) for result in (once, twice))
    assert not after[before == 0].any()
    assert (after != before).any()


# Bad input.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_step(sparsity=0.5, pattern="4"), "pattern: expected .* blocks of outputs x inputs"),
        (_step(sparsity=0.5, pattern="0x4"), "pattern: expected"),
        (_step(pattern="4:4"), "pattern: expected"),
        (_step(), "sparsity: expected a value. Got: nothing"),
        (_step(sparsity=0.6, pattern="2:4"), "sparsity = 0.5, or none, with the pattern 2:4, not 0.6"),
        (_step(pattern="2:4", ranking="global"), 'ranking = "layer" and no sensitivity scan'),
        (_step(pattern="2:4", sensitivity=True), 'ranking = "layer" and no sensitivity scan'),
        (_step(sparsity=0.5, ranking="global", sensitivity=True), 'either ranking = "global" or sensitivity'),
        (_step(sparsity=0.5, ranking="all"), "ranking: expected"),
        (_step("set", sparsity=1.0), "sparsity: expected"),
        (_step("rigl", sparsity=0.5, densities="flat"), "densities: expected"),
        (_step("rigl", sparsity=0.5, scope="["), "scope: expected"),
    ],
)
def test_a_contradiction_in_a_step_is_refused(text, message):
    """A pattern, sparsity or ranking that cannot be, or not together, is an error that says what was expected."""
    with pytest.raises(InputError, match=message):
        parse_recipe(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_step(sparsity=0.5, scope="nowhere"), "scope that matches a kernel"),
        (_step("set", sparsity=0.5, scope="nowhere"), "scope that matches a kernel"),
        (_step("rigl", sparsity=0.5, scope="beta$"), "scope that matches a kernel"),
        (_step(sparsity=0.5, pattern="1x32"), "room for the pattern 1x32. Got: convolution/kernel"),
        (_step(pattern="2:4", scope="depthwise"), "fewer than a group of 4"),
        (_step(sparsity=0.9, pattern="1x16", scope="classes"), r"leaves a weight in classes/kernel \(18, 2\)"),
        (_step(sparsity=0.99, scope="classes"), r"leaves a weight in classes/kernel \(18, 2\)"),
        (_step("set", sparsity=0.99, scope="classes"), r"leaves a weight in classes/kernel \(18, 2\)"),
        (_step("rigl", sparsity=0.999, densities="uniform"), "leaves a weight in"),
    ],
)
def test_what_fits_no_kernel_is_refused(text, message):
    """A scope, pattern or sparsity that leaves nothing to prune, or nothing of a kernel, names the kernel."""
    with pytest.raises(InputError, match=message):
        _compressed(text)


def test_a_sensitivity_scan_without_samples_is_refused():
    """There is nothing to measure on, and the error says so."""
    empty = Dataset({"image": _task().train.inputs["image"][:0]})
    with pytest.raises(InputError, match="samples for the sensitivity scan"):
        _compressed(
            _step(sparsity=0.5, sensitivity=True, epochs=0), model=_model(), task=Task("none", empty, empty, None, None)
        )
