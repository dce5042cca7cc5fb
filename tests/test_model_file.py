"""train/: a user's model file, good, old, broken or hostile."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from edgewright import train
from edgewright.errors import InputError
from edgewright.train import _model_file
from edgewright.train._config_scan import read_allowed, scan_config
from edgewright.train._keras_2 import carry_over
from edgewright.train._model_file import load_model
from edgewright.train._saved_model import check_operations, load_graph

CHECKPOINTS = Path(train.__file__).parent / "checkpoints"

# Keras 2 files are made in a process of their own: tf_keras and Keras 3 in one process share TensorFlow's settings.
_KERAS_2 = """
import numpy as np, tensorflow as tf, tf_keras
from tf_keras import layers
tf_keras.utils.set_random_seed(0)
picture = tf_keras.Input((8, 8, 3), name="picture")
angle = tf_keras.Input((4,), name="angle")
twice = tf_keras.Sequential([layers.Dense(4, activation="swish", input_shape=(4,)), layers.BatchNormalization()])
x = layers.Conv2D(4, 3, activation="relu")(picture / 2.0 - 0.5)
x = layers.DepthwiseConv2D(3)(x)
x = layers.BatchNormalization()(x)
x = tf.nn.relu6(x)
x = layers.GlobalAveragePooling2D()(x)
x = layers.Multiply(name="multiply")([x, twice(twice(angle))])
outputs = [layers.Dense(3, activation="softmax", name="classes")(x), layers.Dense(1, name="value")(angle)]
model = tf_keras.Model([picture, angle], outputs, name="old")
random = np.random.default_rng(0)
for weight in model.weights:
    weight.assign(random.uniform(0.1, 0.6, weight.shape).astype("float32"))
model.compile("adam", "mean_squared_error")
for name in ("old.h5", "old.keras", "old"):
    model.save(name, **({} if "." in name else {"save_format": "tf"}))
inputs = {"picture": random.normal(size=(5, 8, 8, 3)).astype("float32"), "angle": random.normal(size=(5, 4)).astype("float32")}
classes, value = model(list(inputs.values()))
np.savez("old.npz", classes=classes, value=value, **inputs)


class Mine(tf_keras.layers.Layer):
    def call(self, inputs):
        return inputs * 3


start = tf_keras.Input((4,), name="start")
custom = tf_keras.Model(start, Mine(name="mine")(start))
custom.save("custom", save_format="tf")
custom.save("custom.h5")
"""  # noqa: E501


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of Keras 3: a model with two inputs, one with a Lambda, one with a custom layer, and an exported graph."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    left, right = keras.Input((6,), name="left"), keras.Input((2, 3), name="right")
    x = keras.layers.Concatenate()([left, keras.layers.Flatten()(right)])
    model = keras.Model([left, right], keras.layers.Dense(3, activation="softmax", name="classes")(x), name="two")
    model.save(folder / "two.h5")
    model.compile("adam", "mean_squared_error")
    model.save(folder / "compiled.keras")
    _with_config(folder / "compiled.keras", folder / "two.keras", _with_their_loss)
    model.save_weights(folder / "two.weights.h5")
    model.export(folder / "exported", verbose=False)
    start = keras.Input((4,), name="start")
    twice = keras.layers.Lambda(lambda x: x * 2, output_shape=(4,), name="twice")(start)
    model = keras.Model(start, keras.layers.Dense(2)(twice))
    model.save(folder / "lambda.keras")
    model.save(folder / "lambda.h5")
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Files of Keras 2, and what the model in them computes."""
    folder = tmp_path_factory.mktemp("old")
    subprocess.run([sys.executable, "-c", _KERAS_2], cwd=folder, check=True, capture_output=True)
    return folder


def _with_config(source, target, change):
    """Copy a .keras file with its config changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            new.writestr(member, change(content.decode()) if member == "config.json" else content)


def _with_their_loss(text):
    document = json.loads(text)
    document["compile_config"]["loss"] = {"module": "theirs", "class_name": "function", "config": "their_loss"}
    return json.dumps(document)


def _inputs():
    random = np.random.default_rng(1)
    return [random.normal(size=(5, 6)).astype("float32"), random.normal(size=(5, 2, 3)).astype("float32")]


@pytest.mark.parametrize(("name", "kind"), [("two.keras", "keras"), ("two.h5", "keras hdf5")])
def test_a_keras_3_file_comes_as_it_was_saved(folder, name, kind):
    """Names and outputs are the saved model's, to the last bit; a custom loss in the file is no obstacle."""
    loaded = load_model(folder / name)
    assert (loaded.source_format, loaded.notes, loaded.self_contained) == (kind, (), True)
    assert [tensor.name for tensor in loaded.model.inputs] == ["left", "right"]
    expected = keras.saving.load_model(folder / "two.keras", compile=False)(_inputs())
    np.testing.assert_array_equal(loaded.model(_inputs()), expected)


@pytest.mark.parametrize(
    ("name", "kind"), [("old.h5", "keras 2 hdf5"), ("k215.keras", "keras 2"), ("old", "keras 2 savedmodel")]
)
def test_a_keras_2_file_is_carried_over(old, name, kind, tmp_path):
    """Depthwise convolutions with groups, operations and shared layers give the old outputs to 1e-5."""
    if name == "k215.keras":
        # Keras 2.15 itself called its private modules keras.src, which tf_keras has under its own name.
        _with_config(old / "old.keras", old / name, lambda text: text.replace("tf_keras.src", "keras.src"))
        assert '"keras.src' in zipfile.ZipFile(old / name).read("config.json").decode()
    if name == "old.h5":
        assert '"groups": 1' in h5py.File(old / name).attrs["model_config"]
        with pytest.raises((ValueError, TypeError)):
            keras.saving.load_model(old / name, compile=False)
    loaded = load_model(old / name)
    assert loaded.source_format == kind and loaded.self_contained
    assert loaded.notes[0].startswith("carried over from Keras 2") and len(loaded.notes) == 1
    arrays = np.load(old / "old.npz")
    classes, value = loaded.model([arrays["picture"], arrays["angle"]])
    np.testing.assert_allclose(classes, arrays["classes"], atol=1e-5)
    np.testing.assert_allclose(value, arrays["value"], atol=1e-5)
    assert [tensor.name for tensor in loaded.model.inputs] == ["picture", "angle"]
    loaded.model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")([arrays["picture"], arrays["angle"]])
    np.testing.assert_array_equal(again[0], classes)


def test_a_class_of_ones_own_in_a_keras_2_file_is_refused_with_the_way_out(old, tmp_path, monkeypatch):
    """Layer by layer a user's class cannot be carried over: what Keras 3 loads, and edgewright then takes, is told."""
    (tmp_path / "their_new.py").write_text(
        "import keras\n\nclass Mine(keras.layers.Layer):\n    def call(self, inputs):\n        return inputs * 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"layer 'mine' with the class 'Mine'"):
        load_model(old / "custom.h5")
    with pytest.raises(
        InputError, match=r"custom.h5 of Keras 2.*load_model\('custom.h5', custom_objects={'Mine': Mine}"
    ):
        load_model(old / "custom.h5", ["their_new:Mine"])
    mine = read_allowed(["their_new:Mine"]).custom_objects()
    keras.models.load_model(old / "custom.h5", custom_objects=mine, compile=False).save(tmp_path / "new.keras")
    assert load_model(tmp_path / "new.keras", ["their_new:Mine"]).source_format == "keras"


def _keras_2_models():
    """Yield models of Keras 2 with layers whose config or weights changed since, with weights that are not zero."""
    import tensorflow as tf
    import tf_keras
    from tf_keras import layers

    steps, tokens = tf_keras.Input((6, 4), name="steps"), tf_keras.Input((6,), dtype="int32", name="tokens")
    picture = tf_keras.Input((8, 8, 3), name="in/picture")
    recurrent = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Embedding(20, 4)(tokens))
    yield "recurrent", tf_keras.Model(tokens, layers.GRU(2)(layers.TimeDistributed(layers.Dense(3))(recurrent)))
    attended = layers.MultiHeadAttention(2, 4)(steps, steps)
    yield "attention", tf_keras.Model(steps, layers.LayerNormalization()(attended + steps))
    x = layers.SeparableConv2D(4, 3, activation="gelu")(layers.ThresholdedReLU(0.2)(picture))
    yield "convolutions", tf_keras.Model(picture, layers.LeakyReLU(0.1)(x))
    x = tf.concat([tf.reshape(picture[:, 2:4, :, 0], (-1, 16)), tf.reduce_mean(picture, axis=[1, 2])], axis=-1)
    yield (
        "operations",
        tf_keras.Model(
            picture, tf.nn.leaky_relu(tf.transpose(tf.cast(tf.squeeze(x[:, None], 1), "float32"), (0, 1)), alpha=0.3)
        ),
    )
    a, b = tf_keras.Input((3,), name="a"), tf_keras.Input((3,), name="b")
    yield "named inputs", tf_keras.Model({"b": b, "a": a}, layers.Dense(2)(layers.Subtract()([a, b])))


def test_layers_that_changed_since_keras_2_are_carried_over():
    """Recurrent layers, attention, wrappers, operations and inputs by name give equal outputs, with no setting lost."""
    for name, model in _keras_2_models():
        random = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(random.uniform(0.05, 0.2, weight.shape).astype("float32"))
        new, notes = carry_over(model)
        assert "largest difference" in notes[0], name
        slashes = ["1 names with a slash got an underscore, such as 'in/picture'"]
        assert list(notes[1:]) == (slashes if name in ("convolutions", "operations") else []), name
        assert len(new.weights) == len(model.weights), name


def test_a_carried_model_with_other_outputs_is_refused(monkeypatch):
    """When the outputs of both differ, for whatever reason, the model is refused with the difference."""
    import tf_keras

    start = tf_keras.Input((3,))
    model = tf_keras.Model(start, tf_keras.layers.Dense(2, activation="relu")(start))
    original = keras.layers.Dense.from_config.__func__
    changed = classmethod(lambda cls, config: original(cls, config | {"activation": "tanh"}))
    monkeypatch.setattr(keras.layers.Dense, "from_config", changed)
    with pytest.raises(InputError, match="to 1e-05. Got: a difference of"):
        carry_over(model)


def test_a_graph_without_keras_layers_is_one_layer(folder):
    """An exported SavedModel has the signature's inputs by name, the original's outputs, and says what it cannot do."""
    loaded = load_model(folder / "exported")
    assert (loaded.source_format, loaded.self_contained) == ("savedmodel", False)
    assert "pruning and fine-tuning are not possible" in loaded.notes[-1]
    assert sorted(tensor.name for tensor in loaded.model.inputs) == ["left", "right"]
    assert loaded.model.weights == []
    by_name = dict(zip(("left", "right"), _inputs(), strict=True))
    received = loaded.model([by_name[tensor.name] for tensor in loaded.model.inputs])
    expected = keras.saving.load_model(folder / "two.keras", compile=False)(_inputs())
    np.testing.assert_allclose(received, expected, atol=1e-6)


def test_custom_layers_of_keras_2_are_used_as_a_graph(old):
    """A Keras 2 SavedModel with a custom layer runs as a graph, and a note names the layer."""
    loaded = load_model(old / "custom")
    assert loaded.source_format == "savedmodel"
    assert "'Mine'" in loaded.notes[0]
    np.testing.assert_allclose(loaded.model(np.ones((2, 4), "float32")), 3 * np.ones((2, 4)))


def test_open_dimensions_of_a_graph_are_refused(tmp_path):
    """A SavedModel with a dimension of unknown size besides the batch is refused by the name of the input."""
    start = keras.Input((None, 4), name="steps")
    keras.Model(start, keras.layers.Dense(2)(start)).export(tmp_path / "open", verbose=False)
    with pytest.raises(InputError, match="known dimensions besides the batch. Got: input 'steps'"):
        load_graph(tmp_path / "open")


def test_a_lambda_is_refused_by_name_and_can_be_allowed(folder):
    """The message names layer, class, file and how to allow it; allowed, the model computes with it."""
    for name in ("lambda.keras", "lambda.h5"):
        with pytest.raises(InputError, match=rf"layer 'twice' of class Lambda in .*{name}.*--allow Lambda"):
            load_model(folder / name)
    model = load_model(folder / "lambda.h5", ["Lambda"]).model
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(model(np.ones((1, 4), "float32")), 2 * np.ones((1, 4)) @ kernel + bias, rtol=1e-5)


def test_a_custom_layer_is_refused_by_name_and_can_be_allowed(tmp_path, monkeypatch):
    """An unknown class is refused with its layer; allowed as module:Class it is imported and used."""
    module = (
        "import keras\n"
        "@keras.saving.register_keras_serializable('theirs')\n"
        "class Scaled(keras.layers.Layer):\n"
        "    def call(self, inputs):\n"
        "        return inputs * 3\n"
    )
    (tmp_path / "their_layers.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    scaled = read_allowed(["their_layers:Scaled"]).custom_objects()["Scaled"]
    start = keras.Input((4,), name="start")
    keras.Model(start, scaled(name="scaled")(start)).save("custom.keras")
    with pytest.raises(InputError, match=r"layer 'scaled' with the class 'Scaled' .*--allow MODULE:Scaled"):
        load_model(Path("custom.keras"))
    model = load_model(Path("custom.keras"), ["their_layers:Scaled"]).model
    np.testing.assert_array_equal(model(np.ones((1, 4), "float32")), 3 * np.ones((1, 4)))
    with pytest.raises(InputError, match="Expected 'Other' in the module 'their_layers'"):
        read_allowed(["their_layers:Other"]).custom_objects()
    with pytest.raises(InputError, match="Expected the module 'no_such'"):
        read_allowed(["no_such:Other"]).custom_objects()


@pytest.mark.parametrize("register", ["", "@keras.saving.register_keras_serializable('theirs')\n"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_function_is_refused_by_name_and_can_be_allowed(register, suffix, tmp_path, monkeypatch):
    """An activation of the user's own, registered with Keras or not, is refused by its name; allowed it is used."""
    (tmp_path / "their_functions.py").write_text(f"import keras\n{register}def tripled(x):\n    return 3 * x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "their_functions", raising=False)
    tripled = read_allowed(["their_functions:tripled"]).custom_objects()["tripled"]
    start = keras.Input((4,), name="start")
    dense = keras.layers.Dense(2, activation=tripled, kernel_initializer="ones", name="dense")
    keras.Model(start, dense(start)).save(f"custom.{suffix}")
    with pytest.raises(InputError, match=r"layer 'dense' with the function 'tripled' .*--allow MODULE:tripled"):
        load_model(Path(f"custom.{suffix}"))
    model = load_model(Path(f"custom.{suffix}"), ["their_functions:tripled"]).model
    np.testing.assert_array_equal(model(np.ones((1, 4), "float32")), np.full((1, 2), 12))


@pytest.mark.parametrize("name", [f"{path.parent.name}/{path.stem}" for path in sorted(CHECKPOINTS.glob("*/*.keras"))])
def test_a_trained_model_of_ours_is_no_foreign_one(name):
    """Whatever an architecture's trained model holds is known where its file is given by its path."""
    with zipfile.ZipFile(CHECKPOINTS / f"{name}.keras") as archive:
        scan_config(json.loads(archive.read("config.json")), read_allowed([]), name)


def test_a_trained_model_of_ours_with_a_function_of_ours_is_loaded():
    """A new process, which has imported nothing of the architecture, finds the molecules' own activation."""
    assert load_model(CHECKPOINTS / "graph" / "schnet-qm9-gap.keras").model.count_params() > 1000


@pytest.mark.parametrize("entry", ["Dense", "", "a:", ":b", "a b:c"])
def test_an_allow_entry_of_another_form_is_refused(entry):
    """Only Lambda, TFSMLayer and module:Class can be allowed."""
    with pytest.raises(InputError, match="module:Class"):
        read_allowed([entry])


_HOSTILE = {
    "a function of another module": {"class_name": "function", "config": "system", "module": "os"},
    "a class of another module": {"class_name": "Popen", "config": {}, "module": "subprocess"},
    "a downloader of Keras": {"class_name": "function", "config": "get_file", "module": "keras.utils"},
    "a loader of Keras": {"class_name": "function", "config": "load_model", "module": "keras.saving"},
    "unsafe mode": {"class_name": "function", "config": "enable_unsafe_deserialization", "module": "keras.config"},
    "a function of nobody": {
        "class_name": "function", "config": "theirs>relu", "module": "builtins", "registered_name": "function",
    },
    "another registered name": {
        "class_name": "function", "config": "relu", "module": "builtins", "registered_name": "get_file",
    },
    "marshalled code": {"class_name": "__lambda__", "config": {"code": ""}},
    "a graph elsewhere": {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "elsewhere"}},
    "a pickle": {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {}},
    "a class without a module": {"class_name": "Popen", "config": {}},
    "a TensorFlow operation that writes": {"class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
    "a class that is no text": {"class_name": ["Dense"], "config": {}},
    "an unknown activation": {"class_name": "Dense", "config": {"activation": "system"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", _HOSTILE)
def test_what_could_run_code_is_refused_wherever_it_stands(kind):
    """A class or function outside the allow-list is refused deep inside a layer's config too."""
    nested = {"class_name": "Dense", "config": {"name": "inner", "kernel_initializer": [_HOSTILE[kind]]}}
    document = {"class_name": "Sequential", "config": {"name": "outer", "layers": [nested]}}
    with pytest.raises(InputError, match="inner|Expected names"):
        scan_config(document, read_allowed([]), "FILE")


def test_a_config_nested_too_deep_is_refused():
    """A config of thousands of levels is an error and no crash."""
    document = {"class_name": "Sequential", "config": {}}
    for _ in range(5000):
        document = {"config": [document]}
    with pytest.raises(InputError, match="nested"):
        scan_config(document, read_allowed([]), "FILE")


def _bad_files(folder, tmp_path):
    whole = (folder / "two.keras").read_bytes()
    old = (folder / "two.h5").read_bytes()
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "pb").mkdir()
    (tmp_path / "pb" / "saved_model.pb").write_bytes(b"")
    files = {
        "text.keras": (b"not a model", "of another kind, which starts with"),
        "random.h5": (np.random.default_rng(0).bytes(4000), "of another kind"),
        "empty.keras": (b"", "an empty file"),
        "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "a TFLite file.*taken by edgewright.quantize"),
        "model.onnx": (b"\x08\x08\x12\x07pytorch", "an ONNX file.*taken by edgewright.quantize"),
        "half.h5": (old[: len(old) // 2], "cannot be read .*truncated"),
        "tenth.h5": (old[: len(old) // 10], "cannot be read .*truncated"),
        "head.h5": (old[:20], "cannot be read .*truncated"),
        "wrong_suffix.bin": (whole, "the suffix .keras"),
        "wrong_suffix.model": (old, "the suffix .h5"),
    }
    for cut in (10, len(whole) // 10, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        files[f"cut_{cut}.keras"] = (whole[:cut], "truncated, an incomplete copy")
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "data.npz", a=np.zeros(3))
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["a"] = np.zeros(3)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/")
    messages = {name: message for name, (_, message) in files.items()}
    messages |= {
        "nowhere.keras": "does not exist",
        "empty_folder": "a folder without saved_model.pb",
        "pb/saved_model.pb": "Name its folder",
        "data.npz": "an archive of arrays without config.json",
        "table.h5": "without the attribute model_config",
        "linked.h5": "ExternalLink",
    }
    return messages


def test_what_is_no_whole_model_is_refused_before_anything_is_loaded(folder, tmp_path, monkeypatch):
    """Text, noise, empty, truncated, other formats, folders and data: each refused with the file and what it is."""
    monkeypatch.setattr(_model_file, "run_child", None)
    for name, message in _bad_files(folder, tmp_path).items():
        with pytest.raises(InputError, match=message) as caught:
            load_model(tmp_path / name)
        assert name.rpartition("/")[2] in str(caught.value)
    with pytest.raises(InputError, match="holds weights only.*model.save"):
        load_model(folder / "two.weights.h5")


def test_an_archive_that_declares_too_much_is_refused(folder, tmp_path, monkeypatch):
    """A bomb is refused by its declared sizes, members and names, before anything is unpacked."""
    monkeypatch.setattr(_model_file, "run_child", None)
    bomb = bytearray((folder / "two.keras").read_bytes())
    # The uncompressed size in the first entry of the central directory.
    place = bomb.index(b"PK\x01\x02") + 24
    bomb[place : place + 4] = (2**32 - 16).to_bytes(4, "little")
    (tmp_path / "bomb.keras").write_bytes(bomb)
    with pytest.raises(InputError, match="unpacks to at most 50 times its size"):
        load_model(tmp_path / "bomb.keras")
    for name, members, message in (
        ("many.keras", [f"{number}" for number in range(10_001)], "10001"),
        ("outside.keras", ["config.json", "../outside"], "outside"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, "{}")
        with pytest.raises(InputError, match=message):
            load_model(tmp_path / name)
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("a", (2**40,), "f4", chunks=(2**10,), compression="gzip")
    with pytest.raises(InputError, match="unpacks to at most"):
        load_model(tmp_path / "bomb.h5")


def test_a_damaged_config_is_refused(folder, tmp_path):
    """A config that is no JSON, and one whose weights do not fit, end with the file and the reason."""
    _with_config(folder / "two.keras", tmp_path / "no_json.keras", lambda text: text[:-5])
    with pytest.raises(InputError, match="Expected JSON in config.json"):
        load_model(tmp_path / "no_json.keras")
    _with_config(folder / "two.keras", tmp_path / "units.keras", lambda text: text.replace('"units": 3', '"units": 4'))
    with pytest.raises(InputError, match=r"units.keras, of which loading ended with exit 1: .+"):
        load_model(tmp_path / "units.keras")


def test_a_load_that_takes_too_long_is_given_up(folder):
    """The time limit ends the child process and is the reason in the message."""
    with pytest.raises(InputError, match="time limit of 0.5 s"):
        load_model(folder / "two.keras", time_limit_s=0.5)


def test_a_damaged_saved_model_is_refused(folder, tmp_path):
    """A truncated graph, and Keras 2 metadata cut short, are refused with the folder."""
    (tmp_path / "cut").mkdir()
    graph = (folder / "exported" / "saved_model.pb").read_bytes()
    (tmp_path / "cut" / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
    with pytest.raises(InputError, match="saved_model.pb is truncated"):
        check_operations(tmp_path / "cut")
    (tmp_path / "cut" / "keras_metadata.pb").write_bytes(b"\x0a\xff\x01abc")
    with pytest.raises(InputError, match="keras_metadata.pb is damaged"):
        load_model(tmp_path / "cut")


def test_a_graph_that_runs_python_is_refused(tmp_path):
    """A SavedModel with a Python function in its graph is refused by the operation's name."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="start")])
    def serve(start):
        return tf.ensure_shape(tf.numpy_function(np.abs, [start], tf.float32), [None, 2])

    tf.saved_model.save(tf.Module(), str(tmp_path / "python"), signatures=serve)
    with pytest.raises(InputError, match="operation PyFunc"):
        check_operations(tmp_path / "python")
