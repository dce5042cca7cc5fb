"""Multiply-accumulates of TFLite's operations, by the layouts that TFLite stores kernels in."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._graph import Value, elements, product

_SEQUENCES = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN")
_BIDIRECTIONAL = ("BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN")

# Operations of TFLite's own that multiply in a way that is not counted here.
NOT_COUNTED = ("RFFT2D",)


def macs_of(
    kind: str, inputs: Sequence[Value | None], outputs: Sequence[Value], settings: Mapping[str, Any]
) -> int | None:
    """Return the multiply-accumulates of one run of an operation; None where no formula or no shape is known.

    A convolution, a matrix product: one for each output element and each weight that it multiplies. A transposed
    convolution: one for each input element and each weight that it is multiplied by. A recurrent layer: each weight of
    its matrices, at each step, for each sample. Zeros count like other numbers, and padding like the image. What does
    not multiply by weights or multiply tensors as matrices has none.
    """
    shapes = [value.shape if value is not None else () for value in inputs]
    result = elements(outputs[0].shape) if outputs else None
    if kind in NOT_COUNTED:
        return None
    if kind == "CONV_2D":
        return product(result, _size(shapes, 1, slice(1, None)))
    if kind == "DEPTHWISE_CONV_2D":
        return product(result, _size(shapes, 1, slice(1, 3)))
    if kind == "CONV_3D":
        return product(result, _size(shapes, 1, slice(0, 4)))
    if kind == "TRANSPOSE_CONV":
        return product(_size(shapes, 2), _size(shapes, 1, slice(0, 3)))
    if kind == "CONV_3D_TRANSPOSE":
        return product(_size(shapes, 2), _size(shapes, 1, slice(0, 4)))
    if kind == "FULLY_CONNECTED":
        return product(result, _size(shapes, 1, slice(-1, None)))
    if kind == "BATCH_MATMUL":
        place = -2 if settings.get("adjX") else -1
        return product(result, _size(shapes, 0, slice(place, place + 1 or None)))
    if kind in ("LSTM", "RNN", "SVDF", *_SEQUENCES, *_BIDIRECTIONAL):
        return _recurrent(kind, inputs, shapes, settings)
    return 0


def _recurrent(
    kind: str, inputs: Sequence[Value | None], shapes: Sequence[Any], settings: Mapping[str, Any]
) -> int | None:
    weights = sum(
        elements(value.shape) or 0
        for value in inputs[1:]
        if value is not None and value.constant and len(value.shape or ()) == 2
    )
    # [batch, size], or a sequence of them in either order of time and batch.
    steps = _size(shapes, 0, slice(0, -1))
    return product(steps, weights)


def _size(shapes: Sequence[Any], place: int, part: slice = slice(None)) -> int | None:
    if place >= len(shapes) or shapes[place] is None:
        return None
    return elements(shapes[place][part])
