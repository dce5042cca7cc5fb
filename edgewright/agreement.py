"""Whether two sets of outputs are the same answers: how far they agree, whether they fit, how far they differ."""

import math
from collections.abc import Mapping

import numpy as np

from .train._agreement import agreement_percent

# Below this agreement with the reference an artifact is not inexact but wrong.
GARBAGE_PERCENT = 50.0


def agreement(expected: Mapping[str, np.ndarray], received: Mapping[str, np.ndarray]) -> float:
    """Return in percent how far outputs agree: as far as the worst of them does (see ``agreement_percent``)."""
    return min(agreement_percent(array, received[name]) for name, array in expected.items())


def answers_fit(outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], samples: int) -> str:
    """Return why these are no answers to so many samples: other names or shapes, not finite; empty where they are."""
    shapes = {name: array[:samples].shape for name, array in expected.items()}
    received = {name: array.shape for name, array in outputs.items()}
    if shapes != received:
        return f"expected outputs {shapes}, got {received}"
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            return f"output {name} holds {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite"
    return ""


def largest_difference(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Return the largest difference of an output as a share of its largest value, and 0 for the same bits.

    Infinity where the outputs have other names or shapes, or where one is finite and the other is not.

    >>> largest_difference({"y": np.array([2.0, -4.0])}, {"y": np.array([2.0, -3.0])})
    0.25
    """
    if {name: array.shape for name, array in expected.items()} != {name: array.shape for name, array in found.items()}:
        return math.inf
    shares = [0.0]
    for name, array in expected.items():
        one, other = array.astype(np.float64), found[name].astype(np.float64)
        if array.dtype == found[name].dtype and array.tobytes() == found[name].tobytes():
            continue
        if not np.isfinite(one).all() or not np.isfinite(other).all():
            return 0.0 if np.array_equal(one, other, equal_nan=True) else math.inf
        shares.append(float(np.abs(one - other).max() / max(np.abs(one).max(), np.finfo("f4").tiny)))
    return max(shares)
