"""Weights of an OpenVINO model whose activations are quantized: int8 constants with a scale for each output channel.

OpenVINO's converter writes the fake quantization of activations as FakeQuantize. A product runs in integers where the
weights have one too; OpenVINO's own pass then stores them as integers.
"""

from typing import Any

import numpy as np

from ..compress._weight_quantizer import quantized

# The axes of the output channels in the weights, before any transposition that a MatMul asks for.
_CHANNELS = {"Convolution": (0,), "GroupConvolution": (0, 1), "ConvolutionBackpropData": (1,), "MatMul": (-1,)}
_LEVELS = 255
# What they return is never below zero.
_POSITIVE = ("SoftMax", "Softmax", "Sigmoid", "HSigmoid", "SoftPlus", "Exp", "ReLU", "Abs", "Sqrt")
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")


def quantize_weights(model: Any) -> Any:
    """Return the model with int8 weights at each product of quantized activations, and in tables whose rows are."""
    from openvino import opset13 as opset
    from openvino._offline_transformations import compress_quantize_weights_transformation

    for node in model.get_ordered_ops():
        kind, place = node.get_type_name(), 1
        if kind == "Gather" and _is_rounded_after(node):
            place = 0
        elif kind not in _CHANNELS or not _is_quantized(node.input_value(0).get_node()):
            continue
        weights = node.input_value(place).get_node()
        if weights.get_type_name() != "Constant" or weights.get_element_type().to_dtype() != np.float32:
            continue
        values = np.array(weights.data)
        channels = {axis % values.ndim for axis in _CHANNELS.get(kind, ())}
        if kind == "MatMul" and node.get_attributes()["transpose_b"]:
            channels = {values.ndim - 2}
        _, scale = quantized(values, tuple(axis for axis in range(values.ndim) if axis not in channels))
        high = opset.constant((scale * 127).astype(np.float32))
        low = opset.constant((scale * -127).astype(np.float32))
        rounded = opset.fake_quantize(opset.constant(values), low, high, low, high, _LEVELS)
        node.input(place).replace_source_output(rounded.output(0))
    _leave_outputs_float(model)
    compress_quantize_weights_transformation(model)
    model.validate_nodes_and_infer_types()
    return model


def _leave_outputs_float(model: Any) -> None:
    """Take out the fake quantization that only an output goes through: outputs are float."""
    for result in model.get_results():
        reader = result.input(0)
        node = reader.get_source_output().get_node()
        while node.get_type_name() in _MOVES and len(node.output(0).get_target_inputs()) == 1:
            reader = node.input(0)
            node = reader.get_source_output().get_node()
        if node.get_type_name() == "FakeQuantize" and len(node.output(0).get_target_inputs()) == 1:
            source = _unrounded(node)
            source.get_tensor().add_names(node.output(0).get_names())
            reader.replace_source_output(source)


def _unrounded(node: Any) -> Any:
    """Return what a FakeQuantize computes without rounding: its ranges may hold an addition and a ReLU."""
    from openvino import opset13 as opset

    bounds = [node.input_value(place).get_node() for place in range(1, 5)]
    if any(each.get_type_name() != "Constant" for each in bounds):
        return node.output(0)
    low, high, first, last = (np.array(each.data, np.float64) for each in bounds)
    scale = (last - first) / (high - low)
    shift = first - low * scale
    reach = np.abs(last - first).max()
    made = node.input_value(0)
    if not np.allclose(scale, 1, rtol=1e-6):
        made = opset.multiply(made, opset.constant(scale.astype(np.float32))).output(0)
    if np.abs(shift).max() > 1e-6 * reach:
        made = opset.add(made, opset.constant(shift.astype(np.float32))).output(0)
    # A range from zero may be all that is left of a ReLU, and one from zero to six of a ReLU6.
    is_positive = node.input_value(0).get_node().get_type_name() in _POSITIVE
    if not is_positive and min(np.abs(low).max(), np.abs(first).max()) < 1e-6 * reach:
        made = opset.maximum(made, opset.constant(first.astype(np.float32))).output(0)
        if np.allclose(last - first, 6, rtol=1e-3):
            made = opset.minimum(made, opset.constant(last.astype(np.float32))).output(0)
    return made


def _is_rounded_after(node: Any) -> bool:
    """Tell whether only fake quantization reads a node's output, moved or not, as behind an embedding's table."""
    readers = [each.get_node() for each in node.output(0).get_target_inputs()]
    return bool(readers) and all(
        each.get_type_name() == "FakeQuantize" or (each.get_type_name() in _MOVES and _is_rounded_after(each))
        for each in readers
    )


def _is_quantized(node: Any) -> bool:
    """Tell whether what a node returns is fake-quantized, or moved since it was."""
    while node.get_type_name() in (*_MOVES, "MaxPool", "Pad", "Split", "StridedSlice", "Slice", "Gather"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "FakeQuantize")
