"""Mends biases of int8 that TensorFlow's converter rounded by one channel's scale for all.

A bias that is one number for all channels, as the 3 in the hard sigmoid relu6(x + 3) / 6, becomes one integer for all
of them where a graph holds its ranges, although each channel has a scale of its own.
"""

from typing import Any

import numpy as np

from ._tflite_flatbuffer import by_number, items

# By operation, the place of the bias among its inputs.
_PLACES = {"FULLY_CONNECTED": 2, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3}


def mend(model: Any) -> bool:
    """Give each channel of such a bias the integer of its own scale; tell whether there was one."""
    from ai_edge_litert import schema_py_generated as schema

    names = by_number(schema.BuiltinOperator)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in items(model.operatorCodes)]
    mended: set[int] = set()
    for graph in items(model.subgraphs):
        for operator in items(graph.operators):
            place = _PLACES.get(names.get(codes[operator.opcodeIndex], ""))
            if place is None or len(operator.inputs) <= place or operator.inputs[place] < 0:
                continue
            bias = graph.tensors[operator.inputs[place]]
            if bias.buffer not in mended and bias.type == schema.TensorType.INT32 and _mend(model, bias):
                mended.add(bias.buffer)
    return bool(mended)


def _mend(model: Any, bias: Any) -> bool:
    buffer = model.buffers[bias.buffer]
    scales = np.asarray(items(bias.quantization.scale if bias.quantization else None), np.float64)
    if buffer.data is None or len(scales) < 2:
        return False
    integers = np.asarray(buffer.data, np.uint8).view(np.int32)
    # Integers that are equal where scales are not would be of biases that are to each other as the scales are.
    if len(integers) != len(scales) or not integers[0] or np.ptp(integers) or np.ptp(scales) < 1e-6 * scales.max():
        return False
    limits = np.iinfo(np.int32)
    whole = np.round(integers[0] * scales[0] / scales).clip(limits.min, limits.max)
    buffer.data = whole.astype(np.int32).view(np.uint8)
    return True
