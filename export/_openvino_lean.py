"""Takes out of an OpenVINO IR what nothing reads; it computes the same bytes.

The weights beside the .xml stay as they are: OpenVINO stores equal ones once. Equal constant layers stay too: where
they are shared, OpenVINO fuses operations in another way, and the last bits differ.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ._names import letters

# What OpenVINO's and NNCF's converters write down of themselves in the file's rt_info.
_OF_THE_CONVERTERS = ("conversion_parameters", "nncf")


def write(path: Path) -> None:
    """Make the .xml of an IR smaller."""
    tree = ElementTree.parse(path)
    make_lean(tree.getroot())
    tree.write(path, encoding="utf-8", xml_declaration=True)


def make_lean(root: Any) -> None:
    """Take out of the .xml's root what ``write`` takes out of its file."""
    for info in root.iterfind("rt_info"):
        for section in [each for each in info if each.tag in _OF_THE_CONVERTERS]:
            info.remove(section)
    for network in [each for each in root.iter() if each.find("layers") is not None]:
        _shorten_names(network)
    for port in root.iterfind(".//input/port"):
        # The port that the edge comes from has both, and OpenVINO infers them anyway.
        port.attrib.pop("precision", None)
        for size in port.findall("dim"):
            port.remove(size)
    for each in root.iter():
        each.text, each.tail = (each.text if (each.text or "").strip() else None), None


def _shorten_names(network: Any) -> None:
    """Name constants of one number by letters; by the names of weights and operations layers are known."""
    layers = network.findall("layers/layer")
    single = {each.get("id"): each for each in layers if each.get("type") == "Const" and _is_one_number(each)}
    fresh = letters({each.get("name") for each in layers if each.get("id") not in single})
    for each in single.values():
        each.set("name", next(fresh))


def _is_one_number(constant: Any) -> bool:
    return all(size.strip() in ("", "1") for size in constant.find("data").get("shape", "-").split(","))
