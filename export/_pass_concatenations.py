"""Pass that brings the parts of a concatenation closer to one scale, which their integers have to share.

Beside activations of hundreds, directions of one fall into few of the 256 steps; and the weights that make up for them,
which are as much larger, leave few steps to the weights of the others. So a small part is multiplied by a power of two,
by which its rows of the weights are divided. In floats that changes nothing. It is what Nagel et al. do between layers
(2019, arXiv 1906.04721), here between the parts of one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compress._points import RESHAPES
from ._frozen_graph import Replace, Value, copied
from ._pass import INTEGER, Pass, Work
from ._pass_ranges import QUANTIZER, between

# Products, and the axis of their weights that is summed over.
_SUMMED = {"MatMul": 0, "Conv2D": -2, "Conv3D": -2, "DepthwiseConv2dNative": -2}
_MOVES = RESHAPES | {"SpaceToBatchND", "Pad"}
# A part whose weights together are smaller than this share of the largest part's adds no more error than that does.
_MATTERS = 0.25
# A smaller factor saves less than the operation costs.
_LEAST = 4
# By how much of its size the range of the whole may grow: a part may reach below zero where the others do not.
_GROWTH = 0.25

Range = tuple[float, float]


@dataclass(frozen=True)
class _Joined:
    """A concatenation that products by constants alone take.

    Attributes:
        operation: it.
        sizes: of its parts.
        products: what takes it.
        quantizers: the fake quantization on the way.
    """

    operation: Any
    sizes: tuple[int, ...]
    products: tuple[Any, ...]
    quantizers: tuple[Any, ...]


def replacing(work: Work) -> Replace:
    """Scale the parts of such concatenations."""
    factors: dict[str, list[float]] = {}
    rows: dict[str, np.ndarray] = {}
    widened: dict[str, Range] = {}
    joined = [found for each in work.graph.operations if (found := _joined(work, each))]
    for each, ranges in zip(joined, _ranges(work, joined), strict=True):
        chosen = _factors(work, each, ranges)
        if max(chosen) == 1:
            continue
        factors[each.operation.name] = chosen
        rows |= {product.name: np.repeat(chosen, each.sizes) for product in each.products}
        for quantizer in each.quantizers:
            widened[quantizer.name] = _hull([_range_of(work, quantizer), *_scaled(ranges, chosen)])

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.name in factors:
            scaled = [
                value(part) if factor == 1 else between(value(part) * tf.constant(factor, part.dtype))
                for part, factor in zip(operation.inputs[:-1], factors[operation.name], strict=True)
            ]
            return [tf.concat(scaled, -1)]
        if operation.name in widened:
            return [tf.quantization.fake_quant_with_min_max_vars(value(operation.inputs[0]), *widened[operation.name])]
        if operation.name in rows:
            return copied(operation, [value(operation.inputs[0]), _divided(work, operation, rows[operation.name])])
        return None

    return replace


def _joined(work: Work, operation: Any) -> _Joined | None:
    """Return what there is to know of a concatenation; None where its parts cannot be scaled."""
    if operation.type != "ConcatV2" or operation.outputs[0].dtype.name != "float32" or not work.recorded:
        return None
    *parts, axis = operation.inputs
    rank, place = operation.outputs[0].shape.rank, work.graph.constant(axis)
    if rank is None or place is None or int(place) % rank != rank - 1:
        return None
    sizes = tuple(part.shape[-1] for part in parts)
    products: list[Any] = []
    quantizers: list[Any] = []
    waiting = [operation.outputs[0]]
    while waiting:
        tensor = waiting.pop()
        if any(tensor is output for output in work.graph.function.outputs):
            return None
        for consumer in tensor.consumers():
            if consumer.type in _SUMMED and _takes(work, consumer, tensor):
                products.append(consumer)
            elif consumer.type == QUANTIZER or (consumer.type in _MOVES and _keeps_channels(consumer, sum(sizes))):
                quantizers += [consumer] if consumer.type == QUANTIZER else []
                waiting.append(consumer.outputs[0])
            else:
                return None
    return _Joined(operation, sizes, tuple(products), tuple(quantizers)) if products else None


def _takes(work: Work, product: Any, tensor: Any) -> bool:
    """Tell whether a product multiplies a tensor's last axis by constants."""
    if product.type == "MatMul" and (product.get_attr("transpose_a") or product.get_attr("transpose_b")):
        return False
    if product.type != "MatMul" and not product.get_attr("data_format").endswith(b"C"):
        return False
    weights = work.graph.constant(product.inputs[1])
    # A convolution in groups has fewer rows than channels.
    return (
        product.inputs[0] is tensor and weights is not None and weights.shape[_SUMMED[product.type]] == tensor.shape[-1]
    )


def _keeps_channels(move: Any, channels: int) -> bool:
    return bool(move.outputs[0].shape.rank and move.outputs[0].shape[-1] == channels)


def _ranges(work: Work, joined: Sequence[_Joined]) -> list[list[Range]]:
    """Return the range of each part of each concatenation over the representative dataset."""
    parts = [part for each in joined for part in each.operation.inputs[:-1]]
    found: list[Range] = [(0.0, 0.0)] * len(parts)
    for arrays in work.graph.values_over(parts, work.recorded if parts else ()):
        found = [
            _hull([seen, (float(array.min()), float(array.max()))]) for seen, array in zip(found, arrays, strict=True)
        ]
    rest = iter(found)
    return [[next(rest) for _ in each.sizes] for each in joined]


def _factors(work: Work, joined: _Joined, ranges: Sequence[Range]) -> list[float]:
    """Return by what each part is to be multiplied: a power of two, 1 for the largest part.

    A part's rounding errors fall with its factor, those of its weights rise with it. Both are in steps that the largest
    part sets, of 1 / 255 of its range and 1 / 127 of its largest weight; the factor makes them equal.
    """
    largest = int(np.argmax([_size(part) for part in ranges]))
    whole = _hull(ranges)
    weights, weight = _weights(work, joined)
    factors = []
    for place, part in enumerate(ranges):
        wide = _size(ranges[largest]) / _size(part) if _size(part) else 0.0
        factor = 2.0 ** round(math.log2(math.sqrt(wide * weights[place] / weights[largest] / 2) or 1.0))
        while factor > 1 and _size(_hull([whole, *_scaled([part], [factor])])) > (1 + _GROWTH) * _size(whole):
            factor /= 2
        matters = weight[place] > _MATTERS * weight[largest]
        factors.append(factor if factor >= _LEAST and matters and place != largest else 1.0)
    return factors


def _weights(work: Work, joined: _Joined) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest weight of each part, and the size of all as one vector; both in the middle of all outputs."""
    largest, together = [], []
    for product in joined.products:
        weights = np.moveaxis(np.abs(np.asarray(work.graph.constant(product.inputs[1]))), _SUMMED[product.type], 0)
        for part in np.split(weights, np.cumsum(joined.sizes)[:-1]):
            by_output = part.reshape(-1, part.shape[-1])
            largest.append(by_output.max(0))
            together.append(np.sqrt((by_output**2).sum(0)))
    count = len(joined.sizes)
    of_parts = [[np.concatenate(each[place::count]) for place in range(count)] for each in (largest, together)]
    return tuple(np.median(each, axis=1) + np.finfo(np.float32).tiny for each in of_parts)


def _divided(work: Work, product: Any, factors: np.ndarray) -> np.ndarray:
    """Return a product's weights with each row divided by a factor."""
    weights = np.asarray(work.graph.constant(product.inputs[1]))
    shape = [1] * weights.ndim
    shape[_SUMMED[product.type]] = -1
    return (weights / factors.reshape(shape)).astype(weights.dtype)


def _range_of(work: Work, quantizer: Any) -> Range:
    low, high = (work.graph.constant(tensor) for tensor in quantizer.inputs[1:])
    return float(np.asarray(low)), float(np.asarray(high))


def _scaled(ranges: Sequence[Range], factors: Sequence[float]) -> list[Range]:
    return [(low * factor, high * factor) for (low, high), factor in zip(ranges, factors, strict=True)]


def _hull(ranges: Iterable[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _size(range: Range) -> float:
    return range[1] - range[0]


PASSES = (
    Pass(
        "scaled-parts",
        "The parts of a concatenation share one scale in integers, which leaves small ones few steps.",
        frozenset({"ConcatV2"}),
        replacing,
        precisions=INTEGER,
    ),
)
