"""The sizes that the tensors of an OpenVINO IR with an open batch have at a batch of 1, by OpenVINO's own inference."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..held import temporary_folder

BODIES = ("body", "then_body", "else_body")
# By the body that it stands in, its layer and its place among the layer's outputs: the shape of a tensor.
Shapes = dict[tuple[str, str, int], tuple[int, ...]]


def shapes_at_batch_1(path: Path, root: Any) -> Shapes:
    """Return the shapes at a batch of 1; nothing where no batch is open, or where OpenVINO cannot reshape the file.

    The first axis of an input is its batch.

    Args:
        path: the .xml.
        root: its <net>.
    """
    inputs = [layer for layer in root.iterfind("layers/layer") if layer.get("type") == "Parameter"]
    if not any(sizes[:1] == (-1,) for layer in inputs for sizes in map(shape_of, layer.iterfind("output/port"))):
        return {}
    import openvino

    with temporary_folder("batch") as temporary:
        written = temporary / "at_batch_1.xml"
        try:
            model = openvino.Core().read_model(str(path))
            model.reshape({port: _at_batch_1(openvino, port.partial_shape) for port in model.inputs})
            openvino.serialize(model, str(written), str(written.with_suffix(".bin")))
        except RuntimeError:  # shapes that contradict each other at a batch of 1
            return {}
        return dict(_shapes(ElementTree.fromstring(written.read_bytes()), ""))


def _at_batch_1(openvino: Any, shape: Any) -> Any:
    if shape.rank.is_dynamic or not len(shape) or not shape[0].is_dynamic:
        return shape
    return openvino.PartialShape([1, *list(shape)[1:]])


def _shapes(network: Any, body: str) -> Iterator[tuple[tuple[str, str, int], tuple[int, ...]]]:
    for layer in network.iterfind("layers/layer"):
        name = layer.get("name", "")
        for place, port in enumerate(layer.iterfind("output/port")):
            yield (body, name, place), shape_of(port)
        for part in BODIES:
            inner = layer.find(part)
            if inner is not None:
                yield from _shapes(inner, f"{name}, {part}")


def shape_of(port: Any) -> tuple[int, ...]:
    """Return the sizes of a layer's port, -1 for one that is open."""
    return tuple(int(dim.text or 0) for dim in port.iterfind("dim"))
