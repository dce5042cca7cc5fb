"""An OpenVINO IR's metadata: the section model_info of its rt_info, which OpenVINO's own tools write and read."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ._about import About

_SECTION = "model_info"
_KEYS = {"name": "model_name", "version": "model_version"}
_INPUT, _OUTPUT = "inputs", "outputs"


def write(path: Path, about: About) -> None:
    """Write what a model is into the .xml of an IR; the weights beside it stay as they are."""
    tree = ElementTree.parse(path)
    root = tree.getroot()
    info = root.find("rt_info")
    info = ElementTree.SubElement(root, "rt_info") if info is None else info
    section = info.find(_SECTION)
    section = ElementTree.SubElement(info, _SECTION) if section is None else section
    for key, text in about.facts.items():
        ElementTree.SubElement(section, _KEYS.get(key, key), value=text)
    inputs = {name: about.of_input(name) for name in about.inputs}
    for kind, texts in ((_INPUT, inputs), (_OUTPUT, about.outputs)):
        told = {name: text for name, text in texts.items() if text}
        if told:
            # Names of tensors need not be names of XML elements.
            ElementTree.SubElement(section, kind, value="; ".join(f"{name}: {text}" for name, text in told.items()))
    tree.write(path, encoding="utf-8", xml_declaration=True)


def read(root: Any) -> dict[str, str]:
    """Return what an IR tells of its model, by the field's name."""
    section = root.find(f"rt_info/{_SECTION}")
    short = {key: name for name, key in _KEYS.items()}
    return {short.get(each.tag, each.tag): each.get("value", "") for each in (() if section is None else section)}
