"""train/: a user's samples, checked against the model, and the task that they imply."""

import keras
import numpy as np
import pytest

from edgewright.errors import InputError
from edgewright.train import ACCURACY, MEAN_ABSOLUTE_ERROR, Dataset, Schedule
from edgewright.train._data_file import Input, check_data, load_data, model_inputs
from edgewright.train._inferred_task import LABEL_ACCURACY, LOGIT_ACCURACY, infer_task

TWO = {"left": Input((6,), "float32"), "tokens": Input((None, 2), "int32")}
ONE = {"image": Input((4, 4, 1), "float32")}


def _two(count=7):
    return {"left": np.ones((count, 6), "float32"), "tokens": np.zeros((count, 3, 2), "int64")}


def _model(units=3, activation=None, inputs=4):
    start = keras.Input((inputs,), name="start")
    return keras.Model(start, keras.layers.Dense(units, activation=activation, name="end")(start))


def _dataset(labels, count=40):
    features = np.random.default_rng(0).normal(size=(count, 4)).astype("float32")
    return Dataset({"start": features}, None if labels is None else np.asarray(labels))


def test_arrays_come_by_name_in_the_models_types(tmp_path):
    """An .npz with the inputs' names is read; integers and other floats become the input's type, unscaled."""
    np.savez(tmp_path / "data.npz", **_two(), labels=np.arange(7))
    data = load_data(tmp_path / "data.npz", TWO)
    assert list(data.inputs) == ["left", "tokens"] and len(data) == 7
    assert data.inputs["tokens"].dtype == np.int32
    np.testing.assert_array_equal(data.labels, np.arange(7))
    images = np.full((2, 4, 4, 1), 255, "uint8")
    assert check_data({"image": images}, ONE).inputs["image"].max() == 255.0
    assert check_data({"image": images}, ONE).inputs["image"].dtype == np.float32
    assert check_data(Dataset({"image": images.astype("float64")}), ONE).labels is None


def test_a_single_input_may_be_called_x_and_the_labels_y(tmp_path):
    """For one input, x and y are taken; the input's own name wins over them."""
    np.savez(tmp_path / "data.npz", x=np.zeros((5, 4, 4, 1)), y=np.arange(5))
    data = load_data(tmp_path / "data.npz", ONE)
    assert list(data.inputs) == ["image"] and list(data.labels) == [0, 1, 2, 3, 4]
    named_y = {"y": Input((2,), "float32")}
    assert check_data({"y": np.zeros((3, 2))}, named_y).labels is None
    with pytest.raises(InputError, match="surplus: x"):
        check_data({"x": np.zeros((5, 4, 4, 1)), "image": np.zeros((5, 4, 4, 1))}, ONE)


def test_the_inputs_of_models_have_names_shapes_and_types():
    """Functional and Sequential models tell their inputs; one that was never built is refused."""
    assert model_inputs(_model()) == {"start": Input((4,), "float32")}
    sequential = keras.Sequential([keras.Input((3, 2), name="steps", dtype="int32"), keras.layers.Flatten()])
    assert model_inputs(sequential) == {"steps": Input((3, 2), "int32")}
    with pytest.raises(InputError, match="not built with keras.Input"):
        model_inputs(keras.Sequential([keras.layers.Dense(2)]))


_BAD = {
    "missing": ({"left": np.ones((7, 6))}, "left, tokens.*Got: left in data .missing: tokens; surplus: none"),
    "misspelt": (
        {"left": np.ones((7, 6)), "token": np.zeros((7, 3, 2))},
        "missing: tokens; surplus: token.*Did you mean",
    ),
    "narrow": (_two() | {"left": np.ones((7, 5))}, r"array 'left' of shape \[samples, 6\]. Got: \[7, 5\]"),
    "flat": (_two() | {"tokens": np.zeros((7, 6), int)}, r"'tokens' of shape \[samples, any, 2\]. Got: \[7, 6\]"),
    "counts": (_two() | {"left": np.ones((8, 6))}, "'left': 8, 'tokens': 7"),
    "labels": (_two() | {"labels": np.arange(6)}, "'labels': 6"),
    "scalar labels": (_two() | {"labels": np.array(1)}, "'labels': 0"),
    "empty": (_two(0), "at least one sample. Got: an empty data set"),
    "nan": (_two() | {"left": np.where(np.arange(42).reshape(7, 6) == 20, np.nan, 1)}, r"1 values.*'left'.*\(3, 2\)"),
    "infinite": (_two() | {"left": np.full((7, 6), np.inf)}, r"42 values that are NaN or infinite.*\(0, 0\)"),
    "too large": (_two() | {"left": np.full((7, 6), 1e300)}, "data as float32"),
    "nan label": (_two() | {"labels": np.full(7, np.nan)}, "array 'labels'"),
    "objects": (_two() | {"left": np.full((7, 6), None)}, "'left' of Python objects"),
    "text": (_two() | {"left": np.full((7, 6), "1")}, "'left' of text"),
    "ragged": (_two() | {"left": [[1, 2], [3]]}, "'left'"),
    "float tokens": (_two() | {"tokens": np.zeros((7, 3, 2))}, "'tokens' of int32.*Got: float64"),
    "large tokens": (_two() | {"tokens": np.full((7, 3, 2), 2**40)}, "values that int32 holds"),
}


@pytest.mark.parametrize("kind", _BAD)
def test_samples_that_do_not_fit_are_refused(kind):
    """Each misfit is refused with what the model expects and what came."""
    arrays, message = _BAD[kind]
    with pytest.raises(InputError, match=message):
        check_data(arrays, TWO)


def test_a_number_in_a_file_is_no_array_of_samples(tmp_path):
    """An array without dimensions in an .npz is refused with the shape that was expected."""
    np.savez(tmp_path / "scalar.npz", image=np.float32(3))
    with pytest.raises(InputError, match=r"array 'image' of shape \[samples, 4, 4, 1\]. Got: \[\]"):
        load_data(tmp_path / "scalar.npz", ONE)


def test_files_that_are_no_npz_are_refused(tmp_path):
    """A missing, foreign, truncated or object-holding file is refused with its name, and nothing is unpickled."""
    whole = tmp_path / "whole.npz"
    np.savez(whole, **_two())
    content = whole.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 4] ^= 255
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", left=np.array([print, None]), tokens=np.zeros(3))
    files = {
        "nowhere.npz": (None, "does not exist"),
        "text.npz": (b"left,right", "starts with b'left,r'"),
        "empty.npz": (b"", "an empty file"),
        "single.npy": (None, "a single array"),
        "objects.npz": (None, "'left' of Python objects"),
        "half.npz": (content[: len(content) // 2], "truncated"),
        "cut.npz": (content[:-1], "truncated"),
        "damaged.npz": (bytes(damaged), "damaged at 'left'"),
    }
    for name, (content, message) in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_data(tmp_path / name, TWO)
        assert name in str(caught.value)
    (tmp_path / "without arrays").mkdir()
    with pytest.raises(InputError, match="left.npy, tokens.npy.*without arrays. Got: no .npy file"):
        load_data(tmp_path / "without arrays", TWO)


def test_integer_labels_make_a_classifier():
    """Integers or one-hot rows are judged by accuracy; the loss takes probabilities or logits as the model gives."""
    labels = np.arange(40) % 3
    task = infer_task(_model(activation="softmax"), _dataset(labels))
    assert (task.metric, task.loss) == (ACCURACY, "sparse_categorical_crossentropy")
    task = infer_task(_model(), _dataset(np.eye(3)[labels]))
    assert task.metric is ACCURACY and task.loss.get_config()["from_logits"] is True
    assert task.test.labels.shape == (8,)
    start = keras.Input((4,), name="start")
    hidden = keras.layers.Identity()(keras.layers.Dense(3, activation="softmax")(start))
    assert infer_task(keras.Model(start, hidden), _dataset(labels)).loss == "sparse_categorical_crossentropy"
    nested = keras.Model(start, _model(activation="softmax")(start))
    assert infer_task(nested, _dataset(labels.reshape(40, 1))).loss == "sparse_categorical_crossentropy"


def test_zeros_and_ones_make_a_binary_classifier():
    """For one output, 0 and 1 are two classes; logits are decided at 0 and not at 0.5."""
    labels = np.arange(40) % 2
    task = infer_task(_model(1, "sigmoid"), _dataset(labels.astype("float32")))
    assert (task.metric, task.loss) == (LABEL_ACCURACY, "binary_crossentropy")
    task = infer_task(_model(1), _dataset(labels))
    assert task.metric is LOGIT_ACCURACY and task.loss.get_config()["from_logits"] is True
    assert task.metric.of(np.array([[-1.0], [0.2]]), np.array([[0], [1]])) == 100.0


def test_zeros_and_ones_for_each_output_are_several_labels():
    """Labels that a sample may have several of are judged each by itself, by probability or by logit."""
    labels = np.random.default_rng(0).integers(0, 2, (40, 3))
    task = infer_task(_model(3, "sigmoid"), _dataset(labels.astype("float32")))
    assert (task.metric, task.loss) == (LABEL_ACCURACY, "binary_crossentropy")
    assert task.metric.of(np.array([[0.9, 0.2, 0.6]]), np.array([[1, 1, 0]])) == pytest.approx(100 / 3)
    task = infer_task(_model(3), _dataset(labels))
    assert task.metric is LOGIT_ACCURACY and task.loss.get_config()["from_logits"] is True
    assert infer_task(_model(3), _dataset(labels.astype("float32"))).metric is MEAN_ABSOLUTE_ERROR


@pytest.mark.parametrize("shape", [(40, 4, 4), (40, 4, 4, 1)])
def test_masks_of_zeros_and_ones_are_judged_by_the_pixel(shape):
    """A segmentation into two classes by one sigmoid is judged by its pixels' accuracy, and learns from such labels."""
    from edgewright.train._training import fit

    masks = np.random.default_rng(0).integers(0, 2, shape)
    image = keras.Input((4, 4, 2), name="start")
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(image))
    pictures = Dataset({"start": np.random.default_rng(1).random((40, 4, 4, 2), np.float32)}, masks)
    task = infer_task(model, pictures)
    assert (task.metric, task.loss) == (LABEL_ACCURACY, "binary_crossentropy")
    assert task.metric.of(np.full((2, 4, 4, 1), 0.9), np.ones((2, *shape[1:]))) == 100.0
    fit(model, task, Schedule(epochs=1, batch_size=16), seed=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_other_numbers_make_a_regression():
    """Floats of the outputs' shape are judged by mean absolute error."""
    task = infer_task(_model(1), _dataset(np.linspace(0, 5, 40)))
    assert (task.metric, task.loss) == (MEAN_ABSOLUTE_ERROR, "mean_squared_error")
    assert task.train.labels.shape == (32, 1)
    assert infer_task(_model(3), _dataset(np.random.rand(40, 3))).metric is MEAN_ABSOLUTE_ERROR
    assert infer_task(_model(1), _dataset(np.arange(40))).metric is MEAN_ABSOLUTE_ERROR


def test_the_inferred_losses_train():
    """Keras takes each inferred loss with the labels as they come out: an epoch moves the weights, all finite."""
    from edgewright.train._training import fit

    labels = np.arange(40) % 2
    several = np.eye(3, dtype=int)[labels] + np.eye(3, dtype=int)[2]
    for model, labels in (
        *((model, labels) for model in (_model(3), _model(3, "softmax"), _model(1), _model(1, "sigmoid"))),
        *((model, several) for model in (_model(3), _model(3, "sigmoid"))),
    ):
        before = model.get_weights()
        fit(model, infer_task(model, _dataset(labels)), Schedule(epochs=1, batch_size=16), seed=0)
        after = model.get_weights()
        assert all(np.isfinite(weight).all() for weight in after)
        assert any((weight != was).any() for weight, was in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("units", "activation", "labels", "message"),
    [
        (3, "softmax", np.arange(40) % 4, "labels from 0 to 2.*3 classes. Got: labels from 0 to 3"),
        (3, "softmax", np.arange(40) % 3 - 1, "from -1 to 1"),
        (1, "sigmoid", np.arange(40) % 3, "labels 0 and 1.*from 0 to 2"),
        (3, None, np.ones((40, 2)), r"\[samples, 3\].*integers of shape \[samples\]. Got: float64 of shape \[40, 2\]"),
        (3, None, np.linspace(0, 1, 40), r"Got: float64 of shape \[40\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(units, activation, labels, message):
    """Classes that the model does not have, and shapes unlike the outputs', are refused with both."""
    with pytest.raises(InputError, match=message):
        infer_task(_model(units, activation), _dataset(labels))


def test_labels_of_several_outputs_are_refused():
    """A model with several outputs is judged without labels only."""
    start = keras.Input((4,), name="start")
    model = keras.Model(start, [keras.layers.Dense(2, name="a")(start), keras.layers.Dense(2, name="b")(start)])
    with pytest.raises(InputError, match="2 outputs, a, b"):
        infer_task(model, _dataset(np.arange(40) % 2))
    assert infer_task(model, _dataset(None)).metric is None


def test_a_fifth_of_the_samples_is_kept_for_the_test():
    """The split is by seed, without overlap; fewer than ten samples serve for both; a test takes 10,000 at most."""
    model, data = _model(activation="softmax"), _dataset(np.arange(40) % 3)
    task, again, other = (infer_task(model, data, seed) for seed in (0, 0, 1))
    assert (len(task.train), len(task.test)) == (32, 8)
    rows = {row.tobytes() for row in task.train.inputs["start"]}
    assert not [row for row in task.test.inputs["start"] if row.tobytes() in rows]
    np.testing.assert_array_equal(task.test.labels, again.test.labels)
    assert not np.array_equal(task.test.inputs["start"], other.test.inputs["start"])
    unlabelled = infer_task(model, _dataset(None))
    assert (unlabelled.loss, unlabelled.metric, len(unlabelled.test)) == (None, None, 8)
    few = infer_task(model, _dataset(np.arange(9) % 3, count=9))
    assert len(few.train) == len(few.test) == 9 and "all 9 samples" in few.name
    many = infer_task(model, Dataset({"start": np.zeros((60_000, 4), "float32")}))
    assert (len(many.train), len(many.test)) == (50_000, 10_000)
