"""An ONNX file's metadata: the fields of its model and graph, and the keys that ONNX's IR document recommends."""

from pathlib import Path
from typing import Any

from ._about import About

# "Optional metadata" of ONNX's IR document has these two; the others are ours.
_KEYS = {"author": "model_author", "license": "model_license"}
_OURS = {"name": "edgewright_name", "version": "edgewright_version", "recipe": "edgewright_recipe"}


def write(path: Path, about: About) -> None:
    """Write what a model is into an .onnx file."""
    import onnx

    model = onnx.load(path)
    facts = about.facts
    model.doc_string = facts.get("description", "")
    keys = _KEYS | _OURS
    onnx.helper.set_model_props(model, {keys[key]: text for key, text in facts.items() if key in keys})
    for value in model.graph.input:
        value.doc_string = about.of_input(value.name)
    for value in model.graph.output:
        value.doc_string = about.outputs.get(value.name, "")
    onnx.save(model, path)


def read(model: Any) -> dict[str, str]:
    """Return what a file tells of its model, by the field's name; a tensor's is "input NAME" or "output NAME"."""
    short = {key: name for name, key in (_KEYS | _OURS).items()}
    found = {short.get(entry.key, entry.key): entry.value for entry in model.metadata_props}
    texts = {"description": model.doc_string}
    texts |= {f"input {value.name}": value.doc_string for value in model.graph.input}
    texts |= {f"output {value.name}": value.doc_string for value in model.graph.output}
    return found | {key: text for key, text in texts.items() if text}
