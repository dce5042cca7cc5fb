"""The scan of a model's config: every class and function in it is on the allow-list, or the file is refused.

Keras' ``safe_mode`` is no security boundary (CVE-2025-1550, CVE-2025-8747; an ``.h5`` went past it in CVE-2025-9905),
so the config is read as plain data before Keras sees the file.
"""

import functools
import importlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._keras_2 import OPERATIONS

# Built-in layers that run code which the file brings along or points to. They may be allowed by name.
CODE_LAYERS = ("Lambda", "TFSMLayer")
# Built-in layers that hold pickled or foreign code which Keras on TensorFlow cannot run anyway.
_FOREIGN_LAYERS = ("TorchModuleWrapper", "JaxLayer", "FlaxLayer")
_FOLDERS = (
    "activations", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses", "metrics",
    "mixed_precision", "models", "ops", "optimizers", "quantizers", "random", "regularizers",
)  # fmt: skip
_TOP_LEVEL = (
    "DTypePolicy",
    "Functional",
    "Initializer",
    "InputSpec",
    "KerasTensor",
    "Model",
    "Regularizer",
    "Sequential",
    "Variable",
)
# Values written as dictionaries with a class_name, which are data.
_DATA = (
    "__tensor__", "__numpy__", "__bytes__", "__tuple__", "__ellipsis__", "__slice__", "__keras_tensor__", "TensorShape",
)  # fmt: skip
# Keras 2 names that Keras 3 lacks, which are carried over.
_KERAS_2 = ("TFOpLambda", "SlicingOpLambda", "Functional", "Model", "Policy", "ThresholdedReLU", "softmax_v2")
_MAX_DEPTH = 400
# Where the layers of this folder's architectures stand, and the package that they are registered under.
_OWN_MODULE = re.compile(r"edgewright\.train\._[a-z0-9_]+")
_OWN_PACKAGE = "edgewright"
# Their functions, by the name that a file gives them, which names no module.
_OWN_FUNCTIONS = {"edgewright>silu": "edgewright.train._graph_activations"}


@dataclass(frozen=True)
class Allowed:
    """What the user allows a model file to hold beyond the built-in layers.

    Attributes:
        entries: as the user wrote them: "Lambda", "TFSMLayer" or "module:Class".
        names: the names that may appear in the file.
    """

    entries: tuple[str, ...]
    names: frozenset[str]

    @property
    def code(self) -> bool:
        """Whether the file may run code of its own, which Keras calls unsafe."""
        return bool(self.names & set(CODE_LAYERS))

    def custom_objects(self) -> dict[str, Any]:
        """Import what "module:Class" names, and return it by the names that a file may give it.

        Modules are looked for where Python looks, and in the current folder.

        Raises:
            InputError: there is no such module, or nothing of that name in it.
        """
        found: dict[str, Any] = {}
        for entry in self.entries:
            module, _, name = entry.partition(":")
            if not name:
                continue
            found[name] = found[f"Custom>{name}"] = _imported(module, name)
        return found


def read_allowed(allow: Sequence[str]) -> Allowed:
    """Return the user's ``allow`` entries, checked for their form.

    >>> sorted(read_allowed(["Lambda", "my_layers:Swish"]).names)
    ['Lambda', 'Swish']

    Raises:
        InputError: an entry is neither a built-in layer that runs code nor "module:Class".
    """
    names = set()
    for entry in allow:
        module, colon, name = entry.partition(":")
        if entry not in CODE_LAYERS and not (colon and name.isidentifier() and module.replace(".", "_").isidentifier()):
            raise InputError(f'Expected {", ".join(CODE_LAYERS)} or "module:Class" to allow. Got: {entry!r}.')
        names.add(name or entry)
    return Allowed(tuple(allow), frozenset(names))


def scan_config(config: Any, allowed: Allowed, where: str) -> None:
    """Raise unless each class and function that a model's config names is built into Keras or allowed.

    Args:
        config: the config as parsed from JSON.
        allowed: what the user allows.
        where: the file, for the message.

    Raises:
        InputError: naming the layer, its class and how to allow it.
    """
    _walk(config, allowed, where, "", 0)


def _walk(value: Any, allowed: Allowed, where: str, layer: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InputError(f"Expected a config nested at most {_MAX_DEPTH} deep. Got: a deeper one in {where}.")
    if isinstance(value, list):
        for item in value:
            _walk(item, allowed, where, layer, depth + 1)
    if not isinstance(value, dict):
        return
    config = value.get("config")
    if isinstance(config, dict) and isinstance(config.get("name"), str):
        layer = config["name"]
    if "class_name" in value:
        _check(value, allowed, where, layer)
    for key, item in value.items():
        if key.endswith("activation") and isinstance(item, str) and item not in _known_names() | allowed.names:
            raise InputError(_unknown("function", item, where, layer))
        _walk(item, allowed, where, layer, depth + 1)


def _check(value: dict[str, Any], allowed: Allowed, where: str, layer: str) -> None:
    name, module, config = value["class_name"], value.get("module"), value.get("config")
    if not isinstance(name, str) or not (module is None or isinstance(module, str)):
        raise InputError(f"Expected names of classes in the config. Got: {name!r} of {module!r} in {where}.")
    kind = "class"
    if name == "function":
        # Keras 2 looks a function up by its registered name, unless that is "function", Keras 3 by its config, in
        # which a registered one stands as "package>name".
        kind, name = "function", str(config)
        if name in _OWN_FUNCTIONS:
            return
        registered = str(value.get("registered_name") or "function")
        if registered != "function" and registered.rpartition(">")[2] != name.rpartition(">")[2]:
            raise InputError(_unknown(kind, registered, where, layer))
        module = "keras.activations" if module == "builtins" and name in _known_names() else module
    name = name.rpartition(">")[2]
    if name in _DATA:
        return
    if name == "__lambda__" or name in CODE_LAYERS:
        name = "Lambda" if name == "__lambda__" else name
        if name not in allowed.names:
            raise InputError(
                f"Expected layers that are data. Got: layer {layer!r} of class {name} in {where}, which runs Python "
                f"code or a graph that the file brings along. If you trust its source, allow it: --allow {name} "
                f"(in Python allow=[{name!r}])."
            )
        return
    if name in allowed.names or _is_own(module, name, value.get("registered_name")):
        return
    if name in _FOREIGN_LAYERS or not _built_in(module, name):
        raise InputError(_unknown(kind, name, where, layer))
    if name in ("TFOpLambda", "SlicingOpLambda"):
        function = config.get("function") if isinstance(config, dict) else None
        if function not in OPERATIONS:
            raise InputError(
                f"Expected TensorFlow operations that can be carried over to Keras 3. Got: tf.{function} in layer "
                f"{layer!r} in {where}. Known: {', '.join(sorted(OPERATIONS))}."
            )


def import_own_layers(path: Path) -> None:
    """Import the modules of this folder whose layers a .keras file holds: Keras finds only what is registered."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            return
        modules = _modules(json.loads(archive.read("config.json")))
    for module in sorted(modules):
        if _OWN_MODULE.fullmatch(module):
            importlib.import_module(module)


def _modules(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_modules, value))
    if not isinstance(value, dict):
        return set()
    function = value.get("config") if value.get("class_name") == "function" else None
    module = _OWN_FUNCTIONS.get(function) if isinstance(function, str) else value.get("module")
    named = {module} if isinstance(module, str) else set()
    return named.union(*map(_modules, value.values()))


def _is_own(module: str | None, name: str, registered: Any) -> bool:
    """Tell whether a class is a layer of one of this folder's architectures, registered with Keras as such."""
    import keras

    if not module or not _OWN_MODULE.fullmatch(module) or registered != f"{_OWN_PACKAGE}>{name}":
        return False
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return keras.saving.get_registered_object(registered) is not None


def _built_in(module: str | None, name: str) -> bool:
    if not module:
        return name in _known_names()
    package, *folders = module.split(".")
    if package not in ("keras", "tf_keras"):
        return False
    folders = folders[1:] if folders[:1] == ["src"] else folders
    return folders[0] in _FOLDERS if folders else name in _TOP_LEVEL


def _unknown(kind: str, name: str, where: str, layer: str) -> str:
    return (
        f"Expected classes and functions that are built into Keras. Got: layer {layer!r} with the {kind} {name!r} in "
        f"{where}. If it is yours, allow it: --allow MODULE:{name} (in Python allow=['MODULE:{name}']), where MODULE "
        "is the Python module that defines it; its code then runs here."
    )


@functools.cache
def _known_names() -> frozenset[str]:
    import keras

    modules = (
        keras.activations, keras.constraints, keras.dtype_policies, keras.initializers, keras.layers, keras.losses,
        keras.metrics, keras.optimizers, keras.optimizers.schedules, keras.regularizers,
    )  # fmt: skip
    public = {name for module in modules for name in dir(module) if not name.startswith("_")}
    return frozenset(public | set(_TOP_LEVEL) | set(_KERAS_2) | {"swish"})


def _imported(module: str, name: str) -> Any:
    sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise InputError(f"Expected the module {module!r} of --allow {module}:{name}. Got: {error}.") from error
    except AttributeError as error:
        raise InputError(f"Expected {name!r} in the module {module!r} (--allow {module}:{name}). Got: none.") from error
    finally:
        sys.path.pop()
