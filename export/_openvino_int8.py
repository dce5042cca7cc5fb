"""Weights of an OpenVINO model whose activations are quantized: int8 constants with a scale for each output channel.

OpenVINO's converter writes the fake quantization of activations as FakeQuantize. A product runs in integers where the
weights have one too; OpenVINO's own pass then stores them as integers.
"""

from typing import Any

import numpy as np

from ..compress._weight_quantizer import quantized

# The axes of the output channels in the weights, before any transposition that a MatMul asks for.
_CHANNELS = {"Convolution": (0,), "GroupConvolution": (0, 1), "MatMul": (-1,)}
_LEVELS = 255


def quantize_weights(model: Any) -> Any:
    """Return the model with int8 weights at each product of quantized activations."""
    from openvino import opset13 as opset
    from openvino._offline_transformations import compress_quantize_weights_transformation

    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in _CHANNELS or not _is_quantized(node.input_value(0).get_node()):
            continue
        weights = node.input_value(1).get_node()
        if weights.get_type_name() != "Constant" or weights.get_element_type().to_dtype() != np.float32:
            continue
        values = np.array(weights.data)
        channels = {axis % values.ndim for axis in _CHANNELS[kind]}
        if kind == "MatMul" and node.get_attributes()["transpose_b"]:
            channels = {values.ndim - 2}
        _, scale = quantized(values, tuple(axis for axis in range(values.ndim) if axis not in channels))
        high = opset.constant((scale * 127).astype(np.float32))
        low = opset.constant((scale * -127).astype(np.float32))
        rounded = opset.fake_quantize(opset.constant(values), low, high, low, high, _LEVELS)
        node.input(1).replace_source_output(rounded.output(0))
    compress_quantize_weights_transformation(model)
    model.validate_nodes_and_infer_types()
    return model


def _is_quantized(node: Any) -> bool:
    """Tell whether what a node returns is fake-quantized, or moved since it was."""
    while node.get_type_name() in ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Pad", "Split", "Gather"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "FakeQuantize")
