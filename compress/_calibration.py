"""Calibration: the ranges of a model's activations, from a representative dataset.

The extremes are taken in one pass over the samples; a histogram between them, where a method needs one, in a second.
Both are kept in the graph, so memory does not grow with the samples, and loops are observed too.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._points import INPUT, AtPoint, Point, run_at_points
from ._samples import Samples, run_over

if TYPE_CHECKING:
    import keras

Range = tuple[float, float]
METHODS = ("min_max", "percentile", "mse", "entropy")
_BINS = 2048
# Quantized values of the histogram's positive side that the entropy method compares with.
_LEVELS = 256


def calibrate(
    model: "keras.Model",
    samples: Samples,
    points: Sequence[Point],
    method: str = "min_max",
    percentile: float = 99.99,
) -> dict[str, Range]:
    """Return the range of the activations at each point.

    Args:
        model: the model, as it is to be quantized.
        samples: they are passed over once or twice.
        points: where to look.
        method: "min_max", "percentile", "mse" or "entropy".
        percentile: share of the values, in percent, that the range holds, for that method.

    Raises:
        InputError: there are no samples, a layer is zero on all of them, or a value is not finite.
    """
    if method not in METHODS:
        raise InputError(f"Expected a calibration method: {', '.join(METHODS)}. Got: {method!r}.")
    fixed = {point.name: point.fixed for point in points if point.fixed is not None}
    wanted = [point for point in points if point.fixed is None]
    if not wanted:
        return fixed
    extremes = _extremes(model, samples, wanted)
    _check(wanted, extremes)
    ranges = dict(extremes)
    if method != "min_max":
        histograms = _histograms(
            model, samples, {name: bounds for name, bounds in extremes.items() if bounds[0] < bounds[1]}
        )
        choose: dict[str, Callable[[np.ndarray, float, float], Range]] = {
            "percentile": partial(by_percentile, percentile=percentile),
            "mse": by_mse,
            "entropy": by_entropy,
        }
        ranges |= {name: choose[method](counts, *extremes[name]) for name, counts in histograms.items()}
    beyond = {point.name: point.beyond for point in wanted}
    ranges = {name: with_zero(*_within(bounds, beyond[name])) for name, bounds in ranges.items()}
    return ranges | fixed


def _within(bounds: Range, beyond: float) -> Range:
    """Return a range without what lies beyond a size, in either direction."""
    return max(bounds[0], -beyond), min(bounds[1], beyond)


def with_zero(low: float, high: float) -> Range:
    """Return a range that holds zero, which integers have to represent exactly, and more than a point.

    What is zero on all samples gets a range that others may need: one of nothing is a scale that runtimes refuse.

    >>> with_zero(0.5, 2.0), with_zero(0.0, 0.0)
    ((0.0, 2.0), (0.0, 1.0))
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return (0.0, 1.0)
    return (low, high) if high - low > 1e-6 else (low, low + 1e-6)


def by_percentile(counts: np.ndarray, low: float, high: float, percentile: float) -> Range:
    """Return the range that leaves out ``100 - percentile`` percent of the values, half of them at each end.

    Args:
        counts: a histogram, ``[bins]``.
        low, high: its ends.
        percentile: in percent.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    share = np.cumsum(counts) / max(counts.sum(), 1)
    out = (100 - percentile) / 200
    # An end at zero, as after a ReLU, is exact and stays.
    first = 0 if low >= 0 else int(np.searchsorted(share, out, side="right"))
    last = int(np.searchsorted(share, 1 - (out if low < 0 else 2 * out)))
    return float(edges[min(first, len(counts) - 1)]), float(edges[min(last, len(counts) - 1) + 1])


def by_mse(counts: np.ndarray, low: float, high: float, levels: int = 256) -> Range:
    """Return the shrunken range whose rounding and clipping has the least squared error on a histogram."""
    middles = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    best, least = (low, high), np.inf
    for kept_low in np.linspace(1, 0.3, 15) if low < 0 else (1.0,):
        for kept_high in np.linspace(1, 0.3, 29) if high > 0 else (1.0,):
            one, other = with_zero(low * kept_low, high * kept_high)
            step = (other - one) / (levels - 1)
            rounded = np.clip(np.round((middles - one) / step), 0, levels - 1) * step + one
            error = float(np.sum(counts * (middles - rounded) ** 2))
            if error < least * (1 - 1e-9):
                best, least = (low * kept_low, high * kept_high), error
    return best


def by_entropy(counts: np.ndarray, low: float, high: float) -> Range:
    """Return the clipped range whose quantized distribution diverges least from the histogram.

    Migacz, "8-bit inference with TensorRT", GTC 2017: the clipped values are counted at the end in the reference, and
    the bins that fall into one level share its count.
    """
    reach = max(-low, high)
    edges = np.linspace(low, high, len(counts) + 1)
    magnitudes = np.abs((edges[:-1] + edges[1:]) / 2)
    bins = np.minimum((magnitudes / max(reach, 1e-12) * _BINS).astype(int), _BINS - 1)
    folded = np.bincount(bins, weights=counts, minlength=_BINS)
    # Zeros, most of what a ReLU returns, are exact at every range: they would outweigh all else.
    folded[0] = folded[1]
    levels = _LEVELS // 2 if low < 0 else _LEVELS
    best, least = _BINS, np.inf
    for kept in range(levels, _BINS + 1, 16):
        reference = folded[:kept].copy()
        reference[-1] += folded[kept:].sum()
        share = np.minimum(np.arange(kept) * levels // kept, levels - 1)
        present = folded[:kept] > 0
        sums = np.bincount(share, weights=folded[:kept], minlength=levels)
        holders = np.bincount(share, weights=present, minlength=levels)
        candidate = np.where(present, (sums / np.maximum(holders, 1))[share], 0)
        divergence = _divergence(reference, candidate)
        if divergence < least:
            best, least = kept, divergence
    limit = reach * best / _BINS
    return max(low, -limit), min(high, limit)


def _divergence(reference: np.ndarray, candidate: np.ndarray) -> float:
    p, q = reference / max(reference.sum(), 1e-12), candidate / max(candidate.sum(), 1e-12)
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))))


def _check(points: Sequence[Point], extremes: Mapping[str, Range]) -> None:
    """Raise where a value is not finite, or where all that a layer computes is zero on all samples."""
    for point in points:
        if not np.isfinite(extremes[point.name]).all():
            raise InputError(
                f"Expected finite activations on the calibration data. Got: {extremes[point.name]} at {point.name}."
            )
    active: dict[str, bool] = {}
    for point in points:
        active[point.layer] = active.get(point.layer, False) or any(extremes[point.name])
    for layer, any_value in active.items():
        if not any_value:
            what = "an input" if layer == INPUT else f"layer {layer!r}"
            raise InputError(
                f"Expected calibration data that activates every layer. Got: zeros only from {what}. Give other "
                "samples, or leave the layer in float with keep_float."
            )


def _extremes(model: "keras.Model", samples: Samples, points: Sequence[Point]) -> dict[str, Range]:
    import tensorflow as tf

    names = [point.name for point in points]
    bounds = {name: tf.Variable([np.inf, -np.inf], trainable=False, dtype=tf.float32) for name in names}

    def at(name: str, tensor: Any) -> Any:
        held = bounds[name]
        low, high = tf.reduce_min(tensor), tf.reduce_max(tensor)
        held.assign(tf.stack([tf.minimum(held[0], low), tf.maximum(held[1], high)]))
        return tensor

    _observe(model, samples, frozenset(names), at)
    return {name: (float(held[0]), float(held[1])) for name, held in bounds.items()}


def _histograms(model: "keras.Model", samples: Samples, extremes: Mapping[str, Range]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    counts = {name: tf.Variable(np.zeros(_BINS), trainable=False, dtype=tf.float64) for name in extremes}

    def at(name: str, tensor: Any) -> Any:
        low, high = extremes[name]
        places = tf.cast((tf.reshape(tensor, [-1]) - low) * (_BINS / ((high - low) or 1.0)), tf.int32)
        # Not histogram_fixed_width: XLA, by which Keras compiles a convolution in groups, lacks it.
        found = tf.raw_ops.DenseBincount(
            input=tf.clip_by_value(places, 0, _BINS - 1), size=_BINS, weights=tf.zeros([0], tf.float32)
        )
        counts[name].assign_add(tf.cast(found, tf.float64))
        return tensor

    _observe(model, samples, frozenset(extremes), at)
    return {name: held.numpy() for name, held in counts.items()}


def _observe(model: "keras.Model", samples: Samples, names: frozenset[str], at: AtPoint) -> None:
    run_over(model, samples, lambda inputs: run_at_points(model, inputs, at, names))
