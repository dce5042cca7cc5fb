"""The child process that loads a user's model: ``python -m edgewright.train._load_in_child JOB.json``.

Writes a clean Keras 3 ``model.keras`` and ``loaded.json`` beside the job, or ``refused.json`` with the reason; whatever
else goes wrong ends this process and not its parent. A plain SavedModel is only tried here.
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._config_scan import Allowed, import_own_layers, read_allowed


def main(job_file: str) -> None:
    """Load the model that a JSON file describes."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    sys.path.extend(place for place in job["python_path"] if place not in sys.path)
    folder = Path(job_file).parent
    try:
        notes = _load(Path(job["path"]), job["kind"], read_allowed(job["allow"]), folder)
    except InputError as error:
        (folder / "refused.json").write_text(json.dumps(str(error)), encoding="utf-8")
        sys.exit(2)
    (folder / "loaded.json").write_text(json.dumps(notes), encoding="utf-8")


def _load(path: Path, kind: str, allowed: Allowed, folder: Path) -> list[str]:
    import keras

    notes: list[str] = []
    if kind == "savedmodel":
        from ._keras_2 import random_inputs
        from ._saved_model import check_operations, load_graph

        check_operations(path)
        graph = load_graph(path)
        arrays = random_inputs(graph)
        graph(arrays if len(arrays) > 1 else arrays[0])
        return notes
    if kind.startswith("keras 2"):
        model, carried = _keras_2_model(path, kind, allowed, folder)
        notes += carried
    else:
        import_own_layers(path)
        model = keras.saving.load_model(
            path, compile=False, safe_mode=not allowed.code, custom_objects=allowed.custom_objects()
        )
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None) or not model.built:
        raise InputError(
            f"Expected a functional or Sequential model with known inputs. Got: {type(model).__name__} in {path}. "
            "Build it with keras.Input before saving."
        )
    model.save(folder / "model.keras")
    return notes


def _keras_2_model(path: Path, kind: str, allowed: Allowed, folder: Path) -> Any:
    own = [entry.rpartition(":")[2] for entry in allowed.entries if ":" in entry]
    try:
        return _carried_over(path, kind, allowed, folder)
    except Exception as error:  # a class of Keras 3 in a model of Keras 2, or one of Keras 2 that Keras 3 does not have
        if not own:
            raise
        objects = ", ".join(f"'{name}': {name}" for name in own)
        raise InputError(
            f"Expected a file of Keras 3, to use {', '.join(own)} of yours. Got: {path} of Keras 2, of which built-in "
            f"layers alone are carried over. Load it with Keras 3, keras.models.load_model('{path.name}', "
            f"custom_objects={{{objects}}}), save that as a .keras file, and give that."
        ) from error


def _carried_over(path: Path, kind: str, allowed: Allowed, folder: Path) -> Any:
    import tf_keras

    from ._keras_2 import carry_over

    if kind == "keras 2 savedmodel":
        from ._saved_model import check_operations

        check_operations(path)
    elif kind == "keras 2":
        path = _with_tf_keras_modules(path, folder / "keras-2.keras")
    safe = {} if kind == "keras 2 savedmodel" else {"safe_mode": not allowed.code}
    old = tf_keras.models.load_model(str(path), compile=False, custom_objects=allowed.custom_objects(), **safe)
    return carry_over(old)


def _with_tf_keras_modules(path: Path, copy: Path) -> Path:
    """Keras 2 wrote its private modules as ``keras.src.engine...``, which tf_keras has under its own name."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for member in source.infolist():
            with (
                source.open(member) as old,
                target.open(zipfile.ZipInfo(member.filename), "w", force_zip64=True) as new,
            ):
                if member.filename == "config.json":
                    new.write(json.dumps(_renamed(json.loads(old.read()))).encode())
                else:
                    shutil.copyfileobj(old, new, 1 << 20)
    return copy


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _renamed(item) for key, item in value.items()}
    module = value.get("module")
    if isinstance(module, str):
        if module.startswith("keras.src."):
            value["module"] = f"tf_{module}"
        elif module.startswith("keras.engine."):
            value["module"] = module.replace("keras.engine.", "tf_keras.src.engine.", 1)
    return value


if __name__ == "__main__":
    main(sys.argv[1])
