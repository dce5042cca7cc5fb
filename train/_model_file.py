"""A user's model file: scanned without running anything, loaded in a limited child process, then opened here.

Every Keras 3 model that comes out was written by our own child as a clean ``.keras`` file and scanned once more.
"""

import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..children import GIB, python, run_child
from ..errors import InputError
from ..held import temporary_folder
from ._archive import MAX_EXPANSION, MAX_UNPACKED_BYTES, check_archive
from ._config_scan import Allowed, import_own_layers, read_allowed, scan_config

if TYPE_CHECKING:
    import keras

MEMORY_LIMIT_BYTES = 8 * GIB
_MAX_CONFIG_BYTES = 64 << 20
_MAX_H5_OBJECTS = 200_000
_WHAT = "a Keras model (.keras, .h5, .hdf5 or a SavedModel folder)"
_IMPORTED = "A float file that is named {} is taken by edgewright.quantize, and by the command compress."
_GRAPH_NOTE = (
    "a SavedModel without Keras layers: its layers cannot be seen, so pruning and fine-tuning are not possible, and it "
    "cannot be saved as a .keras file of its own"
)


@dataclass(frozen=True)
class LoadedModel:
    """A user's model, opened as Keras 3.

    Attributes:
        model: functional or Sequential, built, not compiled.
        source_format: "keras", "keras hdf5", "keras 2", "keras 2 hdf5", "keras 2 savedmodel" or "savedmodel".
        notes: what was converted, and what cannot be done with it.
        self_contained: whether ``model.save`` writes all of it; a SavedModel's graph stays in its folder.
    """

    model: "keras.Model"
    source_format: str
    notes: tuple[str, ...] = ()
    self_contained: bool = True


def load_model(path: Path, allow: Sequence[str] = (), time_limit_s: float = 300) -> LoadedModel:
    """Open a user's model file.

    A ``.keras`` file, a Keras ``.h5`` or ``.hdf5`` and a SavedModel folder are taken, of Keras 3 and of Keras 2, which
    is carried over: layer by layer, weights with their shapes checked, and the outputs of both compared. A SavedModel
    without Keras layers, or with Keras 2 layers that are not built in, is used as a plain graph.

    Args:
        path: the file or folder.
        allow: what it may hold beyond the built-in layers that are data. "Lambda" and "TFSMLayer" allow layers that run
            code which the file brings along or points to. "module:Class" allows a class (or function) of yours: the
            module is imported, from Python's path or the current folder, and used under its name.
        time_limit_s: after which loading is given up.

    Raises:
        InputError: no model, a truncated one, one with layers that are not allowed, or one that cannot be loaded.
    """
    path = Path(path)
    allowed = read_allowed(allow)
    kind, notes = _scan(path, allowed)
    with temporary_folder("model") as work:
        notes += _load_in_child(path, kind, allowed, work, time_limit_s)
        if kind == "savedmodel":
            from ._saved_model import load_graph

            return LoadedModel(load_graph(path), kind, (*notes, _GRAPH_NOTE), self_contained=False)
        scan_config(_zip_config(work / "model.keras")[0], allowed, str(path))
        model = _load_clean(work / "model.keras", allowed)
    return LoadedModel(model, kind, notes, self_contained="TFSMLayer" not in allowed.names)


def _load_in_child(path: Path, kind: str, allowed: Allowed, work: Path, time_limit_s: float) -> tuple[str, ...]:
    job = {
        "path": str(path.resolve()),
        "kind": kind,
        "allow": allowed.entries,
        "python_path": [place for place in sys.path if place],
    }
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    child = run_child(
        python("-m", "edgewright.train._load_in_child", work / "job.json"),
        time_limit_s=time_limit_s,
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
        environment={"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
    )
    if (work / "refused.json").is_file():
        raise InputError(json.loads((work / "refused.json").read_text(encoding="utf-8")))
    if not child.ok or not (work / "loaded.json").is_file():
        raise InputError(f"Expected {_WHAT} that loads. Got: {path}, of which loading ended with {child.reason()}")
    return tuple(json.loads((work / "loaded.json").read_text(encoding="utf-8")))


def _load_clean(path: Path, allowed: Allowed) -> "keras.Model":
    import keras

    import_own_layers(path)
    model: keras.Model = keras.saving.load_model(
        path, compile=False, safe_mode=not allowed.code, custom_objects=allowed.custom_objects()
    )
    return model


def _scan(path: Path, allowed: Allowed) -> tuple[str, tuple[str, ...]]:
    """Return what kind of model stands at ``path``, and notes, without running anything of it."""
    if not path.exists():
        raise InputError(f"Expected {_WHAT}. Got: {path}, which does not exist.")
    if path.is_dir():
        return _scan_folder(path, allowed)
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"Expected {_WHAT} that can be read. Got: {path}: {error.strerror}.") from error
    if head[:2] == b"PK":
        return _scan_zip(path, allowed), ()
    if head == b"\x89HDF\r\n\x1a\n":
        return _scan_h5(path, allowed), ()
    if head[4:8] == b"TFL3" or path.suffix in (".tflite", ".lite"):
        raise InputError(f"Expected {_WHAT}. Got: {path}, a TFLite file. {_IMPORTED.format('.tflite')}")
    if path.suffix == ".onnx":
        raise InputError(f"Expected {_WHAT}. Got: {path}, an ONNX file. {_IMPORTED.format('.onnx')}")
    if path.name == "saved_model.pb":
        raise InputError(f"Expected {_WHAT}. Got: {path}. Name its folder, {path.parent}.")
    if not head:
        raise InputError(f"Expected {_WHAT}. Got: {path}, an empty file.")
    raise InputError(f"Expected {_WHAT}. Got: {path}, a file of another kind, which starts with {head!r}.")


def _scan_zip(path: Path, allowed: Allowed) -> str:
    members = check_archive(path, "a .keras file")
    if "config.json" not in members:
        what = "an archive of arrays" if any(name.endswith(".npy") for name in members) else "a zip archive"
        raise InputError(f"Expected {_WHAT}. Got: {path}, {what} without config.json; it holds {sorted(members)[:5]}.")
    config, metadata = _zip_config(path)
    # What it was compiled with is never read (compile=False): a loss of the user's own is no obstacle.
    architecture = {key: value for key, value in config.items() if key != "compile_config"}
    scan_config(architecture, allowed, str(path))
    version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    if path.suffix != ".keras":
        raise InputError(f"Expected the suffix .keras for a Keras file. Got: {path}. Rename it.")
    return "keras 2" if version.startswith("2.") else "keras"


def _zip_config(path: Path) -> tuple[Any, Any]:
    found: list[Any] = []
    with zipfile.ZipFile(path) as archive:
        for name in ("config.json", "metadata.json"):
            if name not in archive.namelist():
                found.append({})
                continue
            if archive.getinfo(name).file_size > _MAX_CONFIG_BYTES:
                raise InputError(f"Expected {name} of at most {_MAX_CONFIG_BYTES} bytes. Got: more in {path}.")
            try:
                with archive.open(name) as file:
                    found.append(_json(file.read(_MAX_CONFIG_BYTES), name, path))
            except (zipfile.BadZipFile, OSError, EOFError) as error:
                raise InputError(f"Expected a .keras file. Got: {path}, whose {name} is damaged ({error}).") from error
    if not isinstance(found[0], dict):
        raise InputError(f"Expected an object in config.json of {path}. Got: {type(found[0]).__name__}.")
    return found[0], found[1]


def _json(text: bytes | str, name: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Expected JSON in {name} of {path}. Got: {error}.") from error


def _scan_h5(path: Path, allowed: Allowed) -> str:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _check_h5(file, path)
            config = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "")
            members = set(file)
            weights_only = "layer_names" in file.attrs or bool(
                members & {"layers", "vars", "_layer_checkpoint_dependencies", "optimizer", "top_level_model_weights"}
            )
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InputError(
            f"Expected a Keras .h5 file. Got: {path}, an HDF5 file of {path.stat().st_size} bytes that cannot be read "
            f"({error}): probably truncated, an incomplete copy or download."
        ) from error
    if config is None:
        if weights_only or path.name.endswith(".weights.h5"):
            raise InputError(
                f"Expected a whole model. Got: {path}, which holds weights only. Load them into the model that you "
                "built and save that with model.save('model.keras')."
            )
        raise InputError(f"Expected a Keras .h5 file. Got: {path}, an HDF5 file without the attribute model_config.")
    text = config.decode("utf-8", "replace") if isinstance(config, bytes) else str(config)
    scan_config(_json(text, "model_config", path), allowed, str(path))
    if path.suffix not in (".h5", ".hdf5"):
        raise InputError(f"Expected the suffix .h5 or .hdf5 for an HDF5 file. Got: {path}. Rename it.")
    version = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
    return "keras hdf5" if version.startswith("3") else "keras 2 hdf5"


def _check_h5(file: Any, path: Path) -> None:
    """Raise for links and data outside the file, and for more declared bytes than it can plausibly hold."""
    import h5py

    declared, groups, seen = 0, [file], 0
    while groups:
        group = groups.pop()
        for name in group:
            seen += 1
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink) or seen > _MAX_H5_OBJECTS:
                raise InputError(
                    f"Expected an HDF5 file that holds its data. Got: {type(link).__name__} {name!r} in {path}."
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
                continue
            if not isinstance(item, h5py.Dataset):
                continue
            if item.external or item.is_virtual:
                raise InputError(
                    f"Expected an HDF5 file that holds its data. Got: {item.name!r} in {path} lies elsewhere."
                )
            declared += item.nbytes
    stored = path.stat().st_size
    if declared > MAX_UNPACKED_BYTES and declared > MAX_EXPANSION * stored:
        raise InputError(
            f"Expected an HDF5 file that unpacks to at most {MAX_EXPANSION} times its size. Got: {path}, {stored} "
            f"bytes that declare {declared} bytes."
        )


def _scan_folder(path: Path, allowed: Allowed) -> tuple[str, tuple[str, ...]]:
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"Expected {_WHAT}. Got: {path}, a folder without saved_model.pb.")
    if (
        not (path / "variables" / "variables.index").is_file()
        and (path / "variables").is_dir()
        and any((path / "variables").iterdir())
    ):
        raise InputError(f"Expected a whole SavedModel. Got: {path}, without variables/variables.index.")
    metadata = path / "keras_metadata.pb"
    if not metadata.is_file():
        return "savedmodel", ()
    if metadata.stat().st_size > _MAX_CONFIG_BYTES:
        raise InputError(f"Expected {metadata.name} of at most {_MAX_CONFIG_BYTES} bytes. Got: more in {path}.")
    try:
        for text in _metadata_texts(metadata.read_bytes()):
            scan_config(_layer_only(_json(text, metadata.name, path)), allowed, str(path))
    except (ValueError, IndexError, AttributeError) as error:
        raise InputError(f"Expected a SavedModel of Keras 2. Got: {path}, whose {metadata.name} is damaged.") from error
    except InputError as error:
        # The graph runs without the classes, so it is of use without running code of theirs.
        return "savedmodel", (f"its Keras layers are not used: {error}",)
    return "keras 2 savedmodel", ()


def _layer_only(document: Any) -> Any:
    """Return a node's class and config; the rest of its metadata are types and shapes."""
    return {key: document[key] for key in ("class_name", "config") if key in document}


def _metadata_texts(data: bytes) -> Iterator[bytes]:
    """Yield the JSON texts of a SavedMetadata message: field 5 of each field 1 (saved_metadata.proto of TensorFlow).

    Read by hand, because TensorFlow's own classes take TensorFlow's import.
    """
    for number, node in _fields(data):
        if number == 1:
            identifier, text = b"", b""
            for inner, value in _fields(node):
                identifier = value if inner == 4 else identifier
                text = value if inner == 5 else text
            if text and identifier != b"_tf_keras_metric":
                yield text


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and bytes of each length-delimited field of a protobuf message."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        if tag & 7 == 0:
            _, place = _varint(data, place)
        elif tag & 7 == 2:
            length, place = _varint(data, place)
            if place + length > len(data):
                raise ValueError("the message ends in the middle of a field")
            yield tag >> 3, data[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {tag & 7}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
