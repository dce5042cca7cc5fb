"""How far two sets of a model's outputs agree."""

import numpy as np

# Outputs vary if their deviation is more than this share of the largest: less is what rounding makes of a constant.
_VARYING = 1e-4
# What does not vary is off as a whole if it is off by this share of the largest: 4 steps of int8.
_OFF = 1 / 64
_SUM_TO_ONE = 1e-2


def agreement_percent(expected: np.ndarray, received: np.ndarray) -> float:
    """Return how far two sets of outputs agree, in percent.

    For integers, such as decoded tokens: the share of samples that are equal throughout.
    For ``[samples, classes]`` of probabilities, or where not always the same class is the largest: the share of samples
    whose largest output is the same class.
    For other ``[samples, values]``: the least that ``determination_percent`` gives for one of the values; of shares
    from 0 to 1, which matter by their size, for all together.
    For all others: what it gives for all together.

    >>> agreement_percent(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.4], [0.7, 0.3]]))
    50.0
    >>> agreement_percent(np.array([[300.0, 1.0], [310.0, 3.0]]), np.array([[300.0, 2.0], [310.0, 2.0]]))
    0.0
    """
    if expected.dtype.kind in "iub":
        return float(100 * np.mean([np.array_equal(*pair) for pair in zip(expected, received, strict=True)]))
    if expected.ndim == 2 and expected.shape[1] > 1:
        if _chooses(expected):
            return float(100 * np.mean(expected.argmax(axis=1) == received.argmax(axis=1)))
        if expected.min() >= 0 and expected.max() <= 1:
            return determination_percent(expected, received)
        return min(determination_percent(*pair) for pair in zip(expected.T, received.T, strict=True))
    return determination_percent(expected, received)


def determination_percent(expected: np.ndarray, received: np.ndarray) -> float:
    """Return 100 times the coefficient of determination (R squared) of arrays ``[samples, ...]``.

    It is below zero when a constant would be nearer. Of one sample, or of samples that are all the same, it compares
    with what would be off by 1/64 of the largest value.
    """
    expected = expected.astype(np.float64)
    residual = float(np.sum((expected - received) ** 2))
    spread = float(np.sum((expected - expected.mean(axis=0)) ** 2))
    largest = float(np.abs(expected).max(initial=0))
    if spread <= expected.size * (_VARYING * largest) ** 2:
        spread = expected.size * (_OFF * largest) ** 2
    if spread == 0:
        return 100.0 if residual == 0 else 0.0
    return 100 * (1 - residual / spread)


def _chooses(outputs: np.ndarray) -> bool:
    """Tell whether a sample's largest output says something: of probabilities, or where it is not always the same."""
    probable = outputs.min() >= 0 and np.all(np.abs(outputs.sum(axis=1, dtype=np.float64) - 1) < _SUM_TO_ONE)
    return bool(probable) or len(np.unique(outputs.argmax(axis=1))) > 1
