"""Multiply-accumulates of ONNX's operations, by the layouts that ONNX stores kernels in."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._graph import Value, einsum_macs, elements, product

# Where the kernel stands among the inputs.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "DeformConv": 1}
_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul")
_RECURRENT = ("LSTM", "GRU", "RNN")
# Operations of ONNX Runtime's own that are products all the same, by the operation that they fuse or quantize, or that
# they compute in blocks of channels or with the channels last.
_FUSED = {
    "Conv": "Conv",
    "FusedConv": "Conv",
    "NhwcFusedConv": "Conv",
    "QLinearConv": "QLinearConv",
    "QLinearMatMul": "QLinearMatMul",
    "FusedGemm": "Gemm",
    "FusedMatMul": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "DynamicQuantizeLSTM": "LSTM",
}
# Those that multiply no weights or activations with each other over a sum.
_NO_PRODUCTS = {
    *(f"QLinear{name}" for name in ("Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "Concat", "Where", "ReduceMean")),
    *(f"{name}{kind}" for name in ("", "QLinear") for kind in ("AveragePool", "GlobalAveragePool")),
    *("MaxPool", "GlobalMaxPool", "NhwcMaxPool", "Upsample", "ReorderInput", "ReorderOutput", "Pad", "QuickGelu"),
    *("Gelu", "FastGelu", "BiasGelu", "BiasAdd", "BiasSoftmax", "BiasDropout", "QuantizeLinear", "DequantizeLinear"),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization"),
    *("EmbedLayerNormalization", "RotaryEmbedding", "GroupNorm", "SkipGroupNorm", "ExpandDims", "Trilu"),
}
# Operations of the standard that multiply in a way that is not counted here.
_NOT_COUNTED = ("DFT", "STFT", "TfIdfVectorizer", "SVMRegressor", "SVMClassifier")


def macs_of(
    kind: str, custom: bool, inputs: Sequence[Value | None], outputs: Sequence[Value], settings: Mapping[str, Any]
) -> tuple[int | None, bool]:
    """Return the multiply-accumulates of one run of an operation, or None, and whether there is a formula for it.

    The formulas are those of TFLite's operations: one for each output element and each weight that it multiplies; of a
    transposed convolution, for each input element and each weight that it is multiplied by; of a recurrent layer, each
    weight of its matrices, at each step, for each sample; of an Einsum, each combination of all its labels.
    """
    shapes = [value.shape if value is not None else None for value in inputs]
    if custom and kind == "MatMulNBits":
        return product(_size(outputs[0].shape if outputs else None), settings.get("K")), True
    if custom and kind == "QGemm":
        depth = slice(0, 1) if settings.get("transA") else slice(1, 2)
        return product(_size(outputs[0].shape if outputs else None), _size(_shape(shapes, 0), depth)), True
    if custom and kind in ("Attention", "QAttention"):
        return _projected_attention(shapes, outputs), True
    if kind == "Attention" or (custom and kind == "MultiHeadAttention"):
        return _attention(shapes, outputs), True
    if custom and kind in _NO_PRODUCTS:
        return 0, True
    kind = _FUSED.get(kind, "") if custom else kind
    if not kind or kind in _NOT_COUNTED:
        return None, False
    result = elements(outputs[0].shape) if outputs else None
    if kind in _CONVOLUTIONS:
        return product(result, _size(_shape(shapes, _CONVOLUTIONS[kind]), slice(1, None))), True
    if kind == "ConvTranspose":
        return product(_size(_shape(shapes, 0)), _size(_shape(shapes, 1), slice(1, None))), True
    if kind in _PRODUCTS:
        turned = kind == "MatMul" and settings.get("transA") and len(_shape(shapes, 0) or ()) > 1  # of FusedMatMul
        return product(result, _size(_shape(shapes, 0), slice(-2, -1) if turned else slice(-1, None))), True
    if kind == "Gemm":
        return product(result, _size(_shape(shapes, 0), slice(0, 1) if settings.get("transA") else slice(1, 2))), True
    if kind == "Einsum":
        return einsum_macs(str(settings.get("equation", "")), shapes), True
    if kind in _RECURRENT:
        weights = [_size(_shape(shapes, place)) for place in (1, 2)]
        steps = _size(_shape(shapes, 0), slice(0, -1))
        return (None if None in weights else product(steps, sum(size or 0 for size in weights))), True
    return 0, True


def _attention(shapes: Sequence[Any], outputs: Sequence[Value]) -> int | None:
    """Return those of queries [..., steps, depth] with keys, and of their weights with values, for each head.

    Heads stand in an axis of their own, or beside each other in the last one. With a cache of keys, the first output
    after the answer is all of them.
    """
    query, key = _shape(shapes, 0), _shape(shapes, 1)
    answer = outputs[0].shape if outputs else None
    if query is None or answer is None or key is None or min(len(query), len(key)) < 3:
        return None
    keys = outputs[1].shape if len(outputs) > 1 and outputs[1].shape is not None else key
    return product(elements(query[:-1]), product(_size(keys, slice(-2, -1)), _size((query[-1] + answer[-1],))))


def _projected_attention(shapes: Sequence[Any], outputs: Sequence[Value]) -> int | None:
    """Return those of ONNX Runtime's attention [batch, steps, width], which makes queries, keys and values itself."""
    given, weights = _shape(shapes, 0), _shape(shapes, 1)
    answer = outputs[0].shape if outputs else None
    if given is None or weights is None or answer is None or len(given) != 3 or len(weights) != 2:
        return None
    values = answer[-1]
    queries = (weights[1] - values) // 2
    projected = product(elements(given[:-1]), elements(weights))
    attended = product(elements(given[:-1]), _size((given[1], queries + values)))
    return None if projected is None or attended is None else projected + attended


def _shape(shapes: Sequence[Any], place: int) -> Any:
    return shapes[place] if place < len(shapes) else None


def _size(shape: Any, part: slice = slice(None)) -> int | None:
    return None if shape is None else elements(shape[part])
