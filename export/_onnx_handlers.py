"""Operations that tf2onnx writes so that they compute something else, written as ONNX has them."""

import itertools
from typing import Any

import numpy as np


def handlers() -> dict[str, tuple[Any, list[Any]]]:
    """Return what converts operations of TensorFlow in the place of tf2onnx's own functions, by their types."""
    return {"Select": (_select, []), "SelectV2": (_select, []), "Split": (_split, []), "Unpack": (_unpack, [])}


def number_operations() -> None:
    """Have tf2onnx go through sets of its operations in the order in which it met them.

    Their hashes are addresses in memory otherwise, and what it writes is in another order each time: constants that are
    merged go by another one's name, and of one model no two files are the same.
    """
    from tf2onnx.graph import Node

    numbers = itertools.count()
    Node.__hash__ = lambda node: node.__dict__.setdefault("_number", next(numbers))


def _select(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Write a choice as Where.

    tf2onnx multiplies both sides by 1 and 0 and adds them up: where the side that is not chosen is infinite or NaN, as
    of a division or logarithm that the condition is to avoid, so is that sum.
    """
    from tf2onnx.onnx_opset.controlflow import Select

    node.set_attr("handles_nan", True)
    Select.version_9(graph, node)


def _split(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    from tf2onnx.onnx_opset.tensor import Split

    Split.version_13(graph, node)
    _write_sizes(graph, node)


def _unpack(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    from tf2onnx.onnx_opset.tensor import Unpack

    Unpack.version_1(graph, node)
    _write_sizes(graph, node)


def _write_sizes(graph: Any, node: Any) -> None:
    """Write the sizes of the parts: without them tf2onnx takes splits of one tensor into 2 and into 3 for the same."""
    from tf2onnx import utils

    shape, axis, count = graph.get_shape(node.input[0]), node.get_attr_value("axis"), len(node.output)
    if shape is not None and shape[axis] >= 0:
        sizes = graph.make_const(utils.make_name("split"), np.full(count, shape[axis] // count, np.int64))
        graph.replace_inputs(node, [node.input[0], sizes.output[0]])
