"""A model file that a user brings: looked at before anything in it runs, loaded in a child process, then here.

Keras' own ``safe_mode`` is no security boundary (.h5 files ignore it): a file's configuration is scanned here against
what may be built, and what would run code of the file's author is refused unless the user allows it by name.
"""

import importlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..children import GIB, python, run_child
from ..errors import InputError

if TYPE_CHECKING:
    import keras

LOAD_MEMORY_BYTES = 12 * GIB
# What an archive may declare before it is opened.
_MEMBERS, _UNPACKED_BYTES, _CONFIG_BYTES = 10_000, 8 * GIB, 64 * 1024**2
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
# Keras classes that run what the file brings: a pickled function, or a graph beside it.
_RUN_CODE = {
    "Lambda": "Lambda",
    "__lambda__": "Lambda",
    "TFSMLayer": "TFSMLayer",
    "TorchModuleWrapper": "Torch",
    "JaxLayer": "JaxLayer",
}
_OTHER_FORMATS = (".tflite", ".onnx", ".xml", ".pb", ".pt", ".pth")


@dataclass(frozen=True)
class LoadedModel:
    """A model from a file.

    Attributes:
        model: a Keras 3 model.
        source_format: "keras", "keras 2", or "savedmodel" (a graph whose layers cannot be seen).
        notes: what was converted on the way, a sentence each.
        self_contained: whether ``model.save`` works; not for a graph from a SavedModel.
    """

    model: "keras.Model"
    source_format: str
    notes: tuple[str, ...] = ()
    self_contained: bool = True


def load_model(path: Path, allow: Sequence[str] = (), time_limit_s: float = 300) -> LoadedModel:
    """Load a model from a .keras file, a SavedModel folder, a .h5 or a .hdf5.

    Files of Keras 2 are read with tf_keras and carried over to Keras 3; the outputs of both are compared.

    Args:
        path: the file or folder.
        allow: what the file may hold although it runs code: "Lambda" for Keras' Lambda layers and lambdas, "TFSMLayer",
            or "module:Class" for a custom class, which is imported from that module.
        time_limit_s: of the child process that loads it first.

    Raises:
        InputError: it is no model, is damaged, or holds something that was not allowed; nothing of it was run.
    """
    customs = custom_objects(allow)
    kind = _kind(path)
    if kind == "folder":
        config = None
    else:
        config = read_config(path)
        check_classes(config, path, allow)
    with tempfile.TemporaryDirectory(prefix="edgewright-load-") as folder:
        spec = Path(folder) / "spec.json"
        clean = Path(folder) / "model.keras"
        spec.write_text(json.dumps({"path": str(path.resolve()), "allow": list(allow), "clean": str(clean)}))
        child = run_child(
            python("-m", f"{__package__}._load_in_child", spec),
            time_limit_s=time_limit_s,
            memory_limit_bytes=LOAD_MEMORY_BYTES,
            environment={"TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        if not child.ok:
            raise InputError(
                f"Expected a model that Keras loads at {path}. Got: {_reason(child.stderr, child.reason())}"
            )
        answer = json.loads(child.stdout.splitlines()[-1])
        if answer["source_format"] == "savedmodel":
            return LoadedModel(_graph_model(path), "savedmodel", tuple(answer["notes"]), self_contained=False)
        import keras

        model = keras.saving.load_model(clean, custom_objects=customs, compile=False, safe_mode="Lambda" not in allow)
    return LoadedModel(model, answer["source_format"], tuple(answer["notes"]))


def custom_objects(allow: Sequence[str]) -> dict[str, Any]:
    """Import the classes that ``allow`` names as "module:Class".

    Raises:
        InputError: a module or class that cannot be imported.
    """
    found = {}
    for entry in allow:
        if ":" in entry:
            module, name = entry.split(":", 1)
            try:
                found[name] = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError) as error:
                raise InputError(
                    f"Expected module:Class that can be imported in --allow. Got: {entry!r}: {error}."
                ) from error
        elif entry not in set(_RUN_CODE.values()):
            known = ", ".join(sorted(set(_RUN_CODE.values())))
            raise InputError(f"Expected --allow module:Class, or one of {known}. Got: {entry!r}.")
    return found


def _kind(path: Path) -> str:
    """Return "zip", "hdf5" or "folder" by what is there, whatever its name is."""
    if not path.exists():
        raise InputError(f"Expected a model file (.keras, .h5, .hdf5, a SavedModel folder). Got: nothing at {path}.")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise InputError(f"Expected saved_model.pb in a SavedModel folder. Got: {path}, which has none.")
        return "folder"
    if path.name.endswith(".weights.h5"):
        raise InputError(f"Expected a whole model. Got: {path}, which holds weights alone; save with model.save().")
    if path.suffix in _OTHER_FORMATS:
        raise InputError(
            f"Expected a Keras model (.keras, .h5, .hdf5, a SavedModel folder). Got: {path}; {path.suffix} files are not "
            "taken yet."
        )
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"Expected a model file that can be read. Got: {path}: {error.strerror}.") from error
    if head.startswith(_ZIP):
        return "zip"
    if head == _HDF5:
        return "hdf5"
    raise InputError(
        f"Expected a Keras model (a .keras archive or an HDF5 file). Got: {path}, which starts with {head!r}."
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration of a .keras or HDF5 file; no code of it runs.

    Raises:
        InputError: the file is truncated, damaged or larger than it may be, or holds no whole model.
    """
    text = _zip_config(path) if _kind(path) == "zip" else _hdf5_config(path)
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"Expected a model configuration in JSON in {path}. Got: {error}.") from error
    if not isinstance(config, dict):
        raise InputError(f"Expected a model configuration as a table in {path}. Got: {type(config).__name__}.")
    return config


def _zip_config(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            unpacked = sum(member.file_size for member in members.values())
            if len(members) > _MEMBERS or unpacked > _UNPACKED_BYTES:
                raise InputError(
                    f"Expected an archive of at most {_MEMBERS} members and {_UNPACKED_BYTES} bytes at {path}. "
                    f"Got: {len(members)} members that unpack to {unpacked} bytes."
                )
            if "config.json" not in members or "model.weights.h5" not in members:
                raise InputError(
                    f"Expected config.json and model.weights.h5 in {path}. Got: {', '.join(sorted(members)[:10]) or 'nothing'}."
                )
            if members["config.json"].file_size > _CONFIG_BYTES:
                raise InputError(
                    f"Expected a config.json of at most {_CONFIG_BYTES} bytes in {path}. "
                    f"Got: {members['config.json'].file_size}."
                )
            damaged = archive.testzip()
            if damaged:
                raise InputError(f"Expected a whole archive at {path}. Got: damaged bytes in {damaged}.")
            return archive.read("config.json").decode("utf-8", "replace")
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"Expected a whole .keras archive at {path}. Got: a truncated or damaged one ({error})."
        ) from error


def _hdf5_config(path: Path) -> str:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise InputError(
                    f"Expected a whole model in {path}. Got: HDF5 without a model_config: weights alone, or no model."
                )
            config = file.attrs["model_config"]
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"Expected a whole HDF5 file at {path}. Got: a truncated or damaged one ({error}).") from error
    return config.decode("utf-8", "replace") if isinstance(config, bytes) else str(config)


def check_classes(config: Any, path: Path, allow: Sequence[str]) -> None:
    """Raise unless every class in a configuration is Keras' own or allowed.

    Raises:
        InputError: naming the layer, the class, and what to pass to allow it.
    """
    allowed = {entry.split(":", 1)[-1] for entry in allow}
    for layer, entry in _objects(config, "the model"):
        name = str(entry["class_name"])
        if name in _RUN_CODE:
            if _RUN_CODE[name] not in allowed:
                raise InputError(
                    f"Expected layers that run no code of the file's author in {path}. Got: {layer} of class {name}. If you "
                    f"trust the file, allow it: --allow {_RUN_CODE[name]}."
                )
        elif not _is_keras(entry, name) and name.split(">")[-1] not in allowed:
            raise InputError(
                f"Expected classes of Keras in {path}. Got: {layer} of the custom class {name}. If you trust it, allow it "
                f"with the module that defines it: --allow module:{name.split('>')[-1]}."
            )


def _objects(config: Any, layer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every serialised object in a configuration, with the innermost layer that it belongs to."""
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("name"), str) and "class_name" in config:
            layer = f"layer {inner['name']!r}"
        if "class_name" in config:
            yield layer, config
        for value in config.values():
            yield from _objects(value, layer)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value, layer)


def _is_keras(entry: dict[str, Any], name: str) -> bool:
    """Whether a serialised object is Keras' own: by its module, and in Keras 2 files, which name none, by its name."""
    if name in ("__tuple__", "__numpy__", "__tensor__", "__ellipsis__", "__slice__", "CompileConfig", "function"):
        return name != "function" or str(entry.get("module") or "builtins") in ("builtins",) or _keras_module(entry)
    if entry.get("module"):
        return _keras_module(entry) and not str(entry.get("registered_name") or "").count(">")
    import keras

    if name in ("Functional", "Sequential", "Model"):
        return True
    places = (keras.layers, keras.initializers, keras.regularizers, keras.constraints, keras.optimizers, keras.losses)
    return any(hasattr(place, name) for place in (*places, keras.metrics, keras.dtype_policies, keras.activations))


def _keras_module(entry: dict[str, Any]) -> bool:
    return str(entry.get("module")).split(".")[0] in ("keras", "tf_keras")


def _graph_model(folder: Path) -> "keras.Model":
    """Return a SavedModel's signature as a Keras model of one layer.

    Raises:
        InputError: no signature, or one with a dimension besides the batch that is not fixed.
    """
    import keras
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder)).signatures
    name = "serving_default" if "serving_default" in signatures else next(iter(signatures), None)
    if name is None:
        raise InputError(f"Expected a signature such as serving_default in {folder}. Got: none.")
    signature = signatures[name]

    class Graph(keras.layers.Layer):
        """The graph of a SavedModel; its layers cannot be seen, so nothing inside it can be pruned or trained."""

        def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
            """Call the signature by its inputs' names."""
            return signature(**inputs)

    inputs = {}
    for key, spec in signature.structured_input_signature[1].items():
        if spec.shape.rank is None or None in spec.shape.as_list()[1:]:
            raise InputError(
                f"Expected fixed dimensions besides the batch in input {key!r} of {folder}. Got: {spec.shape}."
            )
        inputs[key] = keras.Input(tuple(spec.shape.as_list()[1:]), dtype=spec.dtype.name, name=key)
    return keras.Model(inputs, Graph(name="graph")(inputs), name=folder.name.replace(".", "_").replace(" ", "_"))


def _reason(stderr: str, otherwise: str) -> str:
    """Return the child's last line, which is its error, without the class name of the exception."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1].strip()[:500] if lines else otherwise
