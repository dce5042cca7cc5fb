"""train/: samples from files, tf.data and generators, which stay on the disk and give what arrays would give."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest

from edgewright.api import task_of
from edgewright.compress import compress, parse_recipe
from edgewright.errors import InputError, MissingRequirement
from edgewright.hosting import calibration_of
from edgewright.train import Dataset, Deployment
from edgewright.train import _growing_array as growing
from edgewright.train import _stored_array as storing
from edgewright.train._data_file import Input, check_data
from edgewright.train._growing_array import GrowingArray
from edgewright.train._inferred_task import infer_task
from edgewright.train._sample_stream import read_stream
from edgewright.train._stored_array import StoredArray
from edgewright.train._user_data import dataset_of

TWO = {"left": Input((6,), "float32"), "tokens": Input((None, 2), "int32")}
ONE = {"image": Input((2, 3), "float32")}


def _samples(count, types=("float32", "int32"), labels=True):
    random = np.random.default_rng(count)
    arrays = {
        "left": random.integers(0, 200, (count, 6)).astype(types[0]),
        "tokens": random.integers(0, 9, (count, 3, 2)).astype(types[1]),
    }
    return arrays | ({"labels": random.integers(0, 3, count)} if labels else {})


def _batches(arrays, size):
    for start in range(0, len(arrays["left"]), size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


def _one_by_one(arrays):
    for batch in _batches(arrays, 1):
        yield {name: array[0] for name, array in batch.items()}


def _pairs(items):
    for item in items:
        labels = item.pop("labels", None)
        yield (list(item.values()), labels) if labels is not None else (item,)


class _Sequence(keras.utils.PyDataset):
    def __init__(self, arrays):
        super().__init__()
        self._items = list(_batches(arrays, 4))

    def __len__(self):
        return len(self._items)

    def __getitem__(self, place):
        return self._items[place]


def _tf_data(arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays)


def _npz(arrays, folder):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def _folder(arrays, folder):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


def _columns(arrays, folder):
    return _npz({name: np.asfortranarray(array) for name, array in arrays.items()}, folder)


def _mapped(arrays, folder):
    return {name: np.load(f"{_folder(arrays, folder)}/{name}.npy", mmap_mode="r") for name in arrays}


# How the same samples may be given: maps (arrays by name, an empty folder) to what the user hands in.
FORMS = {
    "Dataset": lambda arrays, folder: Dataset(
        {name: array for name, array in arrays.items() if name != "labels"}, arrays.get("labels")
    ),
    "generator of samples": lambda arrays, folder: _one_by_one(arrays),
    "generator of batches": lambda arrays, folder: _batches(arrays, 4),
    "generator of tuples": lambda arrays, folder: _pairs(_batches(arrays, 5)),
    "function": lambda arrays, folder: lambda: _pairs(_one_by_one(arrays)),
    "list of batches": lambda arrays, folder: list(_batches(arrays, 3)),
    "PyDataset": lambda arrays, folder: _Sequence(arrays),
    "tf.data": lambda arrays, folder: _tf_data(arrays),
    "tf.data in batches": lambda arrays, folder: _tf_data(arrays).batch(4),
    "npz": _npz,
    "npz in Fortran's order": _columns,
    "folder": _folder,
    "mapped arrays": _mapped,
}


@pytest.fixture
def nothing_is_small(monkeypatch):
    """Leave every array of a file there."""
    monkeypatch.setattr(storing, "SMALL_BYTES", 0)


def _same(one, other):
    assert list(one.inputs) == list(other.inputs)
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype
        np.testing.assert_array_equal(np.asarray(array), np.asarray(other.inputs[name]))
    assert (one.labels is None) == (other.labels is None)
    if one.labels is not None:
        assert one.labels.dtype == other.labels.dtype
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("small", [0, storing.SMALL_BYTES])
@hypothesis.settings(max_examples=6, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    count=st.integers(1, 13),
    types=st.sampled_from([("float32", "int32"), ("float64", "int64"), ("uint8", "uint8"), ("float16", "int16")]),
    labels=st.booleans(),
)
def test_the_same_samples_give_the_same_data_set_in_every_form(
    form, small, count, types, labels, tmp_path_factory, monkeypatch
):
    """Arrays, tf.data, generators, .npz and .npy give equal arrays and labels, in memory or in files."""
    monkeypatch.setattr(storing, "SMALL_BYTES", small)
    arrays = _samples(count, types, labels)
    expected = check_data(dict(arrays), TWO)
    received = dataset_of(FORMS[form](dict(arrays), tmp_path_factory.mktemp("data")), TWO)
    _same(received, expected)
    kept_in_files = all(isinstance(array, StoredArray) for array in received.inputs.values())
    assert kept_in_files == (small == 0 and form != "Dataset")
    for name, array in received.inputs.items():  # random access, and the parts of a split
        np.testing.assert_array_equal(array[count // 2], expected.inputs[name][count // 2])
    places = np.random.default_rng(0).permutation(count)
    _same(received.part(places), expected.at(places))
    _same(received.part(places).at(slice(1, None)), expected.at(places[1:]))


def test_one_input_takes_plain_arrays():
    """For a model with one input an array, a tuple with labels and a generator of either need no names."""
    images, labels = np.arange(42.0).reshape(7, 2, 3), np.arange(7)
    expected = check_data({"image": images, "labels": labels}, ONE)
    _same(dataset_of((images, labels), ONE), expected)
    _same(dataset_of(zip(images, labels, strict=True), ONE), expected)
    _same(dataset_of([(images[:4], labels[:4]), (images[4:], labels[4:])], ONE), expected)
    for form in (images, (images,), iter(images), [images], lambda: iter([images])):
        _same(dataset_of(form, ONE), Dataset({"image": expected.inputs["image"]}))


def test_what_a_generator_gave_is_told_in_the_tasks_name():
    """The task says where the samples are from and whether they were taken one by one or in batches."""
    model = _network()
    assert "from the generator, one sample at a time, 16 samples" in infer_task(model, _read(20, 1)).name
    assert "from the generator, in batches, 16 samples" in infer_task(model, _read(20, 8)).name


def _read(count, size):
    arrays = _samples(count) | {"tokens": np.zeros((count, 3, 2))}
    given = _one_by_one({name: arrays[name] for name in ("left", "labels")}) if size == 1 else None
    batches = _batches({name: arrays[name] for name in ("left", "labels")}, size)
    return dataset_of(given or batches, {"left": TWO["left"]})


def _network():
    keras.utils.set_random_seed(0)
    start = keras.Input((6,), name="left")
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")(start)
    return keras.Model(start, keras.layers.Dense(3, activation="softmax", name="end")(hidden))


@pytest.mark.parametrize("labels", [True, False])
def test_the_same_samples_give_the_same_compressed_model(labels, tmp_path, nothing_is_small):
    """Pruning with fine-tuning and the calibration of int8 come out the same to the bit in every form."""
    arrays = _samples(40, labels=labels)
    del arrays["tokens"]
    model = _network()
    recipe = parse_recipe(
        '[[steps]]\ntechnique = "magnitude_pruning"\nsparsity = 0.5\nepochs = 1\nbatch_size = 16\n'
        '[[steps]]\ntechnique = "static_int8"\nsamples = 10\n'
    )
    made = []
    for form in ("Dataset", "generator of samples", "tf.data in batches", "npz"):
        task = task_of(FORMS[form](dict(arrays), tmp_path), model)
        compressed = compress(model, task, recipe, seed=3)
        calibration = calibration_of(Deployment({"model": compressed.model}, task), compressed.calibration_samples, 3)
        made.append([*compressed.model.get_weights(), calibration["model"]["left"]])
    assert made[0][-1].shape == (10, 6)
    for other in made[1:]:
        for one, another in zip(made[0], other, strict=True):
            np.testing.assert_array_equal(one, another)


def test_calibration_samples_lie_evenly_over_the_data():
    """Of data in an order, each part is calibrated on, and always the same samples."""
    ordered = Dataset({"left": np.repeat(np.arange(10.0), 10)[:, np.newaxis] * np.ones(6)})
    task = infer_task(_network(), ordered)
    deployment = Deployment({"model": _network()}, type(task)("ordered", ordered, ordered, None, None))
    drawn = calibration_of(deployment, 10, seed=0)["model"]["left"]
    np.testing.assert_array_equal(drawn[:, 0], np.arange(10.0))
    assert len(calibration_of(deployment, 1000, seed=0)["model"]["left"]) == 100


def _then(bad, good=None):
    """Yield two good samples and a bad one."""
    good = good or {"left": np.ones(6), "tokens": np.zeros((3, 2), int), "labels": 1}
    yield good
    yield good
    yield bad if not isinstance(bad, dict) else good | bad


def _without(name):
    return {key: value for key, value in next(_then({})).items() if key != name}


def _raises():
    yield from itertools.islice(_then({}), 2)
    raise OSError("the camera is off")


_BAD = {
    "missing input": (_then(_without("left") | {"left": None}), "'left' of Python objects in sample 2 of the gen"),
    "shape": (_then({"left": np.ones(5)}), r"'left' of shape \[6\], or in batches.*Got: \[5\] in sample 2 of the"),
    "too deep": (_then({"left": np.ones((2, 2, 6))}), r"Got: \[2, 2, 6\] in sample 2"),
    "another length": (_then({"tokens": np.zeros((4, 2), int)}), r"\[3, 2\] for a sample. Got: \[4, 2\] in sample 2"),
    "nan": (_then({"left": np.array([1, 1, 1, np.nan, 1, 1])}), r"1 values.*sample 2 of the gen.*first at \(2, 3\)"),
    "too large": (_then({"left": np.full(6, 1e300)}), "sample 2 of the generator as float32"),
    "nan label": (_then({"labels": np.nan}), r"'labels' of sample 2 of the generator, the first at \(2,\)"),
    "float tokens": (_then({"tokens": np.zeros((3, 2))}), "'tokens' of int32.*Got: float64 in sample 2"),
    "other labels": (_then({"labels": 0.5}), "'labels' of one type throughout, int64. Got: float64 in sample 2"),
    "other label shape": (_then({"labels": [1, 0]}), r"'labels' of one shape throughout.*Got: \[2\] in sample 2"),
    "surplus": (_then({"right": np.ones(6)}), "sample 2 of the generator .missing: none; surplus: right"),
    "a batch": (
        _then({"left": np.ones((4, 6)), "tokens": np.zeros((4, 3, 2), int), "labels": np.zeros(4, int)}),
        "one sample at a time, as before. Got: in batches from sample 2",
    ),
    "half a batch": (_then({"left": np.ones((4, 6))}), "a batch of each input or one sample of each.*in sample 2"),
    "a number": (_then(3.5), "the names of the inputs, left, tokens.*Got: float in sample 2 of the generator"),
    "weights": (_then((np.ones(6), 1, 0.5)), "a tuple of 3 in sample 2.*Weights of samples are not taken"),
    "an error": (_raises(), "Got after 2 of them: OSError: the camera is off"),
    "nothing": (iter(()), "at least one sample. Got: none from the generator.*gives its samples once"),
    "number": (42, "a tf.data.Dataset, a generator.*Got: int"),
}


@pytest.mark.parametrize("kind", _BAD)
def test_a_sample_that_does_not_fit_is_named_by_its_number(kind):
    """What is wrong with a sample of a stream is said with what was expected and which sample it is."""
    stream, message = _BAD[kind]
    with pytest.raises(InputError, match=message):
        dataset_of(stream, TWO)


def test_a_missing_input_and_vanishing_labels_are_named_by_their_sample():
    """A sample without one of the inputs, or with labels where others have none, is refused by its number."""
    good = next(_then({}))
    for name, message in (
        ("tokens", "in sample 1 .*missing: tokens"),
        ("labels", "none from sample 1 .*labels before"),
    ):
        with pytest.raises(InputError, match=message):
            dataset_of(iter([good, _without(name)]), TWO)
    with pytest.raises(InputError, match="labels from sample 1 of the generator on, none before"):
        dataset_of(iter([_without("labels"), good]), TWO)


def test_a_sample_inside_a_batch_is_named_by_its_number():
    """NaN in the second batch of four is found at the number of its sample."""
    arrays = _samples(10)
    arrays["left"][6, 1] = np.inf
    with pytest.raises(InputError, match=r"sample 4 of the generator, the first at \(6, 1\)"):
        dataset_of(_batches(arrays, 4), TWO)
    arrays["labels"] = arrays["labels"][:9]
    with pytest.raises(InputError, match="'left': 2, 'tokens': 2, 'labels': 1} in sample 8"):
        dataset_of(_batches(arrays | {"left": np.ones((10, 6))}, 4), TWO)


def test_a_function_that_raises_is_told_with_what_it_raised():
    """What the user's own function raises is an error about the data, not a traceback."""
    with pytest.raises(InputError, match="the function of data, called without arguments. Got: ZeroDivisionError"):
        dataset_of(lambda: 1 / 0, {})


def test_a_stream_that_never_ends_is_refused():
    """An endless tf.data.Dataset is refused at once, an endless generator after the most samples that are taken."""
    arrays = _samples(4)
    with pytest.raises(InputError, match="one that repeats for ever. Use .take"):
        dataset_of(_tf_data(arrays).repeat(), TWO)
    endless = itertools.cycle(list(_one_by_one(arrays)))
    with pytest.raises(InputError, match="at most 1,000 samples.*itertools.islice"):
        read_stream(endless, TWO, "the generator", max_samples=1000)
    assert len(dataset_of(_tf_data(arrays).repeat().take(9), TWO)) == 9


@hypothesis.given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 3)),
    stored=st.sampled_from(["uint8", "float32", ">f8", "bool"]),
    data=st.data(),
)
def test_a_stored_array_is_indexed_like_an_array(shape, stored, data):
    """Numbers, slices, masks and indices, of the whole or of a part of a part, give what NumPy gives."""
    expected = np.random.default_rng(0).integers(0, 2, shape).astype(stored)
    with GrowingArray(stored, shape[1:]) as file:
        for row in expected:
            file.append(row[np.newaxis])
        array = file.finish()
    expected = expected.astype("float32")
    array = array.astype("float32")
    place = st.integers(-shape[0], shape[0] - 1)
    for _ in range(2):
        several = st.lists(place, min_size=0, max_size=9).map(lambda chosen: np.array(chosen, int))
        ends = st.none() | place
        slices = st.builds(slice, ends, ends, st.none() | st.sampled_from([1, 2, -1]))
        masks = st.integers(0, 2 ** len(expected) - 1).map(
            lambda bits: np.array([bits >> i & 1 for i in range(shape[0])], bool)
        )
        chosen = data.draw(place | several | slices | masks)
        assert array.shape == expected.shape and array.ndim == 3 and array.nbytes == expected.nbytes
        np.testing.assert_array_equal(array[chosen], expected[chosen])
        assert array[chosen].dtype == np.float32
        order = np.array(data.draw(st.permutations(range(shape[0]))))
        array, expected = array.part(order), expected[order]
    with pytest.raises(IndexError):
        array[shape[0]]


def test_a_part_of_a_mapped_array_is_read_from_its_place(tmp_path, nothing_is_small):
    """A slice of a mapped file is read from where it lies; what was changed in memory alone counts as it is there."""
    whole = np.arange(60.0).reshape(10, 6)
    np.save(tmp_path / "left.npy", whole)
    inputs = {"left": TWO["left"]}
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "left.npy", mmap_mode=mode)
        if mode == "c":
            mapped[4] = -1.0
        for view in (mapped, mapped[3:8], mapped[3:][1:4], mapped[::2]):
            np.testing.assert_array_equal(np.asarray(check_data({"left": view}, inputs).inputs["left"]), view)


def test_a_damaged_folder_is_refused(tmp_path):
    """A .npy that is cut off, foreign or holds objects is refused with its name, and nothing is unpickled."""
    _folder(_samples(5), tmp_path)
    good = (tmp_path / "left.npy").read_bytes()
    np.save(tmp_path / "objects.npy", np.array([print, None]))
    objects = (tmp_path / "objects.npy").read_bytes()
    (tmp_path / "objects.npy").unlink()
    for content, message in (
        (good[:-1], "left.npy, damaged or unreadable .119 bytes instead of 120"),
        (good[:40], "left.npy, damaged"),
        (b"", "left.npy, damaged"),
        (b"left,right", "left.npy, damaged"),
        (objects, "'left' of Python objects in .*left.npy"),
    ):
        (tmp_path / "left.npy").write_bytes(content)
        with pytest.raises(InputError, match=message):
            dataset_of(tmp_path, TWO)
    np.save(tmp_path / "left.npy", np.zeros((0, 6)))
    with pytest.raises(InputError, match="'left': 0, 'tokens': 5"):
        dataset_of(tmp_path, TWO)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path, nothing_is_small):
    """Samples that are gone from a file are an error that says so, and never zeros."""
    _folder({"left": np.ones((5, 6))}, tmp_path)
    data = dataset_of(tmp_path, {"left": TWO["left"]})
    os.truncate(tmp_path / "left.npy", 200)
    with pytest.raises(InputError, match="a file of samples that stays as it is. Got: it ends at byte 200"):
        data.at(slice(None))


def test_a_full_disk_is_an_environment_error(tmp_path, monkeypatch):
    """Where the disk has no room, the error says so before it is full, for a stream and for an .npz."""
    monkeypatch.setattr(growing, "_RESERVE_BYTES", 1 << 60)
    for form in ("generator of samples", "npz"):
        with pytest.raises(MissingRequirement, match="room for the samples in .* MB free.*TMPDIR"):
            dataset_of(FORMS[form](_samples(5), tmp_path), TWO)


_LIMITED = """
import resource
import numpy as np
from edgewright.errors import MissingRequirement
from edgewright.train._data_file import Input
from edgewright.train._user_data import dataset_of
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    dataset_of((np.ones(1000) for _ in range(1000)), {"x": Input((1000,), "float32")})
except MissingRequirement as error:
    print(error)
"""


_OUTLIVING = """
import numpy as np
from edgewright.train import _stored_array
from edgewright.train._growing_array import GrowingArray
with GrowingArray("float32") as file:
    file.append(np.ones(5))
    array = file.finish()
vars(_stored_array).update(dict.fromkeys(vars(_stored_array)))  # what Python does to modules at its end
del array
"""


def test_an_array_that_outlives_its_module_ends_quietly():
    """An array that is still there when Python ends is closed without a word."""
    done = subprocess.run([sys.executable, "-c", _OUTLIVING], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_write_that_fails_is_an_environment_error():
    """A file that the system does not let grow is an error with the system's words and how far it came."""
    done = subprocess.run([sys.executable, "-c", _LIMITED], capture_output=True, text=True, check=True)
    assert "Got: File too large, after" in done.stdout


_MEASURED = """
import sys
import keras
import numpy as np
from edgewright.api import task_of
from edgewright.compress import compress, parse_recipe
from edgewright.hosting import calibration_of
from edgewright.train import Deployment
from edgewright.train._training import outputs_of

start = keras.Input((64, 64, 3), name="image")
model = keras.Model(start, keras.layers.Dense(3, name="end")(keras.layers.GlobalAveragePooling2D()(start)))
recipe = parse_recipe('[[steps]]\\ntechnique = "magnitude_pruning"\\nsparsity = 0.5\\nepochs = 1\\n')
noise = np.random.default_rng(0).normal(size=(64, 64, 3)).astype("float32")

def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith(field))

def samples(count):
    for place in range(count):
        yield {"image": noise + place % 7, "labels": place % 3}

def all_of_it(data):
    task = task_of(data, model)
    compressed = compress(model, task, recipe)
    outputs = outputs_of(compressed.model, task.test)
    calibrated = calibration_of(Deployment({"model": compressed.model}, task), 64, 0)
    return len(task.train), len(task.test), len(outputs["end"]), len(calibrated["model"]["image"])

all_of_it(samples(100))  # TensorFlow's own memory comes with the first run
folder = sys.argv[1]
np.save(f"{folder}/labels.npy", np.arange(8192) % 3)
images = np.lib.format.open_memmap(f"{folder}/image.npy", "w+", "float32", (8192, 64, 64, 3))
images[:] = noise
np.savez(f"{folder}/data.npz", image=images, labels=np.arange(8192) % 3)
del images
for data in (samples(8192), f"{folder}/data.npz", folder):
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # the peak begins anew
    before = resident("VmRSS:")
    print(*all_of_it(data), round(resident("VmHWM:") - before))
"""


def test_memory_does_not_grow_with_the_data():
    """400 MB from a generator, an .npz or a folder are pruned, evaluated and calibrated within 100 MB of memory."""
    with tempfile.TemporaryDirectory() as folder:  # pytest would keep what lies in its own
        done = subprocess.run([sys.executable, "-c", _MEASURED, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[int(number) for number in line.split()] for line in done.stdout.splitlines()]
    assert [row[:4] for row in rows] == [[6554, 1638, 1638, 64]] * 3
    assert all(0 <= row[4] < 100 for row in rows), rows


_ENDLESS = """
import sys
import keras
import numpy as np
import edgewright

def samples():
    for place in range(900_000):
        if place == 1000:
            print("under way", flush=True)
        yield np.ones(1000, "float32")

start = keras.Input((1000,), name="x")
model = keras.Model(start, keras.layers.Dense(1)(start))
edgewright.export(edgewright.compress(model, samples, "int8"), sys.argv[1])
"""


def test_a_killed_reading_leaves_no_files_behind(tmp_path):
    """A process that is killed while it reads a stream leaves neither an output folder nor temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert process.stdout.readline() == b"under way\n"
    opened = [os.stat(f"/proc/{process.pid}/fd/{name}") for name in os.listdir(f"/proc/{process.pid}/fd")]
    assert any(each.st_nlink == 0 and each.st_size > 1 << 20 for each in opened)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(temporary) == [] and os.listdir(tmp_path) == ["temporary"]
