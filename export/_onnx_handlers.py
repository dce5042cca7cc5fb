"""Operations that tf2onnx writes so that they compute something else, written as ONNX has them."""

import itertools
from typing import Any

import numpy as np


def handlers() -> dict[str, tuple[Any, list[Any]]]:
    """Return what converts operations of TensorFlow in the place of tf2onnx's own functions, by their types."""
    written = {
        "Conv2DBackpropInput": _transposed_convolution,
        "Conv3DBackpropInputV2": _transposed_convolution,
        "FloorDiv": _floor_division,
        "FloorMod": _floor_remainder,
        "ResizeBilinear": _resize,
        "ResizeNearestNeighbor": _resize,
        "Select": _select,
        "SelectV2": _select,
        "Split": _split,
        "Unpack": _unpack,
    }
    return {name: (function, []) for name, function in written.items()}


def number_operations() -> None:
    """Have tf2onnx go through sets of its operations in the order in which it met them.

    Their hashes are addresses in memory otherwise, and what it writes is in another order each time: constants that are
    merged go by another one's name, and of one model no two files are the same.
    """
    from tf2onnx.graph import Node

    numbers = itertools.count()
    Node.__hash__ = lambda node: node.__dict__.setdefault("_number", next(numbers))


def _transposed_convolution(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Write what an output has beyond the last products as ONNX does, where tf2onnx writes negative paddings.

    TensorFlow has it all at the end: of output_padding, and of strides that are longer than the kernel.
    """
    from tf2onnx.onnx_opset.nn import ConvTranspose

    ConvTranspose.version_1(graph, node)
    if node.get_attr("pads") is None:
        return
    pads = np.reshape(node.get_attr("pads").ints, (2, -1))
    beyond = np.maximum(-pads.sum(0), 0)
    if beyond.any():
        node.set_attr("pads", np.where(beyond > 0, 0, pads).reshape(-1).tolist())
        node.set_attr("output_padding", beyond.tolist())


def _floor_division(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Take the remainder away before integers are divided: ONNX rounds towards zero, where TensorFlow rounds down."""
    from tf2onnx.onnx_opset.math import FloorDiv

    if _holds_integers(graph, node):
        x, by = node.input
        rest = graph.make_node("Mod", [x, by]).output[0]
        whole = graph.make_node("Sub", [x, rest]).output[0]
        graph.replace_inputs(node, [whole, by])
    FloorDiv.version_6(graph, node)


def _floor_remainder(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Write the remainder of integers as Mod, whose sign is the divisor's; tf2onnx divides, rounding towards zero."""
    from tf2onnx.onnx_opset.math import FloorMod

    if _holds_integers(graph, node):
        node.type = "Mod"
    else:
        FloorMod.version_7(graph, node)


def _holds_integers(graph: Any, node: Any) -> bool:
    from onnx.helper import tensor_dtype_to_np_dtype

    return bool(np.issubdtype(tensor_dtype_to_np_dtype(graph.get_dtype(node.input[0])), np.integer))


def _resize(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Write a resizing by its sizes.

    tf2onnx writes it by scales, which in single precision make 6 of 5 times 7 / 5: runtimes cut off what is no whole.
    """
    from tf2onnx import utils
    from tf2onnx.onnx_opset.nn import Resize

    sizes = node.inputs[1].get_tensor_value(as_list=False) if node.inputs[1].is_const() else None
    output = node.output[0]
    Resize.version_11(graph, node)
    resize = graph.get_node_by_output(output).inputs[0]
    if sizes is None or len(resize.input) > 3:
        return
    channels_first = np.array([*graph.get_shape(resize.input[0])[:2], *sizes], np.int64)
    none = graph.make_const(utils.make_name("scales"), np.zeros(0, np.float32))
    wanted = graph.make_const(utils.make_name("sizes"), channels_first)
    graph.replace_inputs(resize, [*resize.input[:2], none.output[0], wanted.output[0]])


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
