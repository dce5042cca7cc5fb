"""Multiply-accumulates of OpenVINO's operations, by the layouts that OpenVINO stores kernels in."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._graph import Value, einsum_macs, elements, product

# The sizes of the kernel that one output element is made of; of a transposed one, that an input element goes to.
_CONVOLUTIONS = {"Convolution": 1, "GroupConvolution": 2}
_TRANSPOSED = {"ConvolutionBackpropData": 1, "GroupConvolutionBackpropData": 2}
# Where the two matrices of a recurrent layer stand among the inputs.
_RECURRENT = {
    "LSTMCell": (3, 4),
    "LSTMSequence": (4, 5),
    "GRUCell": (2, 3),
    "RNNCell": (2, 3),
    "GRUSequence": (3, 4),
    "RNNSequence": (3, 4),
}
_NOT_COUNTED = ("DeformableConvolution", "BinaryConvolution", "DFT", "IDFT", "RDFT", "IRDFT", "STFT", "ISTFT")


def macs_of(
    kind: str, inputs: Sequence[Value | None], outputs: Sequence[Value], settings: Mapping[str, Any]
) -> tuple[int | None, bool]:
    """Return the multiply-accumulates of one run of an operation, or None, and whether there is a formula for it.

    The formulas are those of TFLite's operations: one for each output element and each weight that it multiplies; of a
    transposed convolution, for each input element and each weight that it is multiplied by; of a recurrent layer, each
    weight of its matrices, at each step, for each sample; of an Einsum, each combination of all its labels.
    """
    shapes = [value.shape if value is not None else None for value in inputs]
    result = elements(outputs[0].shape) if outputs else None
    if kind in _NOT_COUNTED:
        return None, False
    if kind in _CONVOLUTIONS:
        return product(result, _size(_shape(shapes, 1), slice(_CONVOLUTIONS[kind], None))), True
    if kind in _TRANSPOSED:
        return product(_size(_shape(shapes, 0)), _size(_shape(shapes, 1), slice(_TRANSPOSED[kind], None))), True
    if kind == "MatMul":
        vector = len(_shape(shapes, 0) or ()) == 1  # which is not transposed
        turned = str(settings.get("transpose_a", "false")).lower() in ("true", "1") and not vector
        return product(result, _size(_shape(shapes, 0), slice(-2, -1) if turned else slice(-1, None))), True
    if kind == "Einsum":
        return einsum_macs(str(settings.get("equation", "")), shapes), True
    if kind in _RECURRENT:
        weights = [_size(_shape(shapes, place)) for place in _RECURRENT[kind]]
        steps = _size(_shape(shapes, 0), slice(0, -1))
        return (None if None in weights else product(steps, sum(size or 0 for size in weights))), True
    if kind == "ScaledDotProductAttention":
        query, key, value = (_shape(shapes, place) for place in range(3))
        if query is None or key is None or value is None or min(len(query), len(key), len(value)) < 2:
            return None, True
        return product(_size(query, slice(0, -1)), _size(key, slice(-2, -1)), _sum(query[-1], value[-1])), True
    return 0, True


def _sum(*sizes: int) -> int | None:
    return sum(sizes) if min(sizes) >= 0 else None


def _shape(shapes: Sequence[Any], place: int) -> Any:
    return shapes[place] if place < len(shapes) else None


def _size(shape: Any, part: slice = slice(None)) -> int | None:
    return None if shape is None else elements(shape[part])
