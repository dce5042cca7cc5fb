"""The child process that loads a user's model first: ``python -m edgewright.train._load_in_child SPEC.json``.

It leaves a clean Keras 3 file and prints what it did as JSON. Whatever the file does to it stays in it.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ._model_file import check_classes, custom_objects

# Arguments that Keras 2 wrote and Keras 3 refuses, with the value that means nothing.
_DROPPED = {"groups": ("DepthwiseConv2D", "DepthwiseConv1D", "Conv2DTranspose", "Conv1DTranspose"), "time_major": None}
_TOLERANCE = 1e-5


def main(spec_file: str) -> None:
    """Load what the spec names and save it clean."""
    spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
    path, allow = Path(spec["path"]), spec["allow"]
    if path.is_dir() and not (path / "keras_metadata.pb").exists():
        note = "a SavedModel without Keras layers: it can be quantized and exported, not pruned or trained"
        print(json.dumps({"source_format": "savedmodel", "notes": [note]}))
        return
    if path.is_dir() or _keras_version(path).startswith("2."):
        model, notes = _carry_over(path, allow)
        source = "keras 2"
    else:
        import keras

        model = keras.saving.load_model(
            path, custom_objects=custom_objects(allow), compile=False, safe_mode="Lambda" not in allow
        )
        source, notes = "keras", []
    model.save(spec["clean"])
    print(json.dumps({"source_format": source, "notes": notes}))


def _keras_version(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" not in archive.namelist():
                return ""
            return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
    import h5py

    with h5py.File(path, "r") as file:
        version = file.attrs.get("keras_version", "2.")
    return version.decode() if isinstance(version, bytes) else str(version)


def _carry_over(path: Path, allow: list[str]) -> tuple[Any, list[str]]:
    """Load a Keras 2 model with tf_keras, rebuild it in Keras 3, and compare what both compute."""
    import h5py
    import keras
    import tf_keras

    if path.is_dir():
        _check_metadata(path, allow)
    customs = custom_objects(allow)
    old = tf_keras.models.load_model(path, custom_objects=customs, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.h5"
        old.save(file, save_format="h5", include_optimizer=False)
        with h5py.File(file, "r+") as opened:
            config = json.loads(opened.attrs["model_config"])
            dropped = sorted(set(_drop_old_arguments(config)))
            opened.attrs["model_config"] = json.dumps(config).encode()
        new = keras.models.load_model(file, custom_objects=customs, compile=False, safe_mode="Lambda" not in allow)
    difference = _largest_difference(old, new)
    if not difference <= _TOLERANCE:
        raise InputError(
            f"Expected the model to compute the same in Keras 3 as in Keras 2 (within {_TOLERANCE}). "
            f"Got: a largest difference of {difference:.3g} on random inputs."
        )
    notes = [f"carried over from Keras 2; the largest difference on random inputs is {difference:.2g}"]
    return new, [*notes, *(f"dropped {argument}, which Keras 3 does not know" for argument in dropped)]


def _check_metadata(folder: Path, allow: list[str]) -> None:
    """Scan the layers' configurations in a Keras 2 SavedModel before it is loaded."""
    from tf_keras.src.protobuf import saved_metadata_pb2

    metadata = saved_metadata_pb2.SavedMetadata()
    metadata.ParseFromString((folder / "keras_metadata.pb").read_bytes())
    for node in metadata.nodes:
        if node.metadata and node.identifier in ("_tf_keras_layer", "_tf_keras_model", "_tf_keras_network"):
            check_classes(json.loads(node.metadata), folder, allow)


def _drop_old_arguments(config: Any) -> Any:
    """Remove from a configuration, in place, what Keras 3 refuses and what means nothing; yield what was removed."""
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and "class_name" in config:
            for argument, classes in _DROPPED.items():
                if (
                    argument in inner
                    and (classes is None or config["class_name"] in classes)
                    and inner[argument] in (1, False)
                ):
                    del inner[argument]
                    yield f"{argument} of {config['class_name']}"
        for value in config.values():
            yield from _drop_old_arguments(value)
    elif isinstance(config, list):
        for value in config:
            yield from _drop_old_arguments(value)


def _largest_difference(old: Any, new: Any) -> float:
    import keras

    random = np.random.default_rng(0)
    inputs = [
        random.uniform(0, 1, [2, *(size or 8 for size in tensor.shape[1:])]).astype(tensor.dtype)
        for tensor in new.inputs
    ]
    given = inputs if len(inputs) > 1 else inputs[0]
    expected = keras.tree.flatten(old(given, training=False))
    received = keras.tree.flatten(new(given, training=False))
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in zip(expected, received, strict=True))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except InputError as error:
        sys.exit(str(error))
