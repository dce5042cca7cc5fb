"""What a converter's error says in a sentence: which operations of which layers a format has none for."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# How the converters of TFLite, ONNX (tf2onnx, and the check of what it wrote) and OpenVINO name what they lack.
_NAMED = (
    re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op"),
    re.compile(r"Tensorflow op \[.*: (\w+)\] is not supported"),
    re.compile(r"No Op registered for (\w+) with domain_version"),
    re.compile(r"No conversion rule found for operations: ([\w., ]+)"),
)
_COUNTED = re.compile(r"_\d+$")


def layers_by_type(graph: Any, layers: Iterable[str]) -> dict[str, str]:
    """Return the layer of the first operation of each type, as a path of the layers' names.

    Args:
        graph: of TensorFlow.
        layers: the names of a model's layers; calls of them after the first are counted behind the name.
    """
    known = set(layers)
    definition = graph.as_graph_def()
    found: dict[str, str] = {}
    for node in (*definition.node, *(node for each in definition.library.function for node in each.node_def)):
        parts = [part if part in known else _COUNTED.sub("", part) for part in node.name.split("/")]
        path = "/".join(part for part in parts if part in known)
        if path:
            found.setdefault(node.op, path)
    return found


def unconverted(text: str, title: str, layers: Mapping[str, str]) -> str:
    """Return a sentence on the operations that a converter has named as those it lacks; empty where it named none.

    Args:
        text: what it printed.
        title: of the format.
        layers: by the type of an operation, a layer that it is in.

    >>> unconverted("error: 'tf.Svd' op is neither a custom op nor a flex op", "TFLite", {"Svd": "whitening"})
    "Expected operations that TFLite's converter knows. Got: Svd in layer 'whitening'."
    """
    kinds = [kind.strip(" .") for named in _NAMED for found in named.findall(text) for kind in found.split(",")]
    if not kinds:
        return ""
    told = [f"{kind} in layer {layers[kind]!r}" if kind in layers else kind for kind in dict.fromkeys(kinds)]
    return f"Expected operations that {title}'s converter knows. Got: {', '.join(told)}."
