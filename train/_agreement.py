"""How far two sets of a model's outputs agree."""

import numpy as np


def agreement_percent(expected: np.ndarray, received: np.ndarray) -> float:
    """Return how far two sets of outputs agree, in percent.

    For integers, such as decoded tokens: the share of samples that are equal throughout.
    For ``[samples, classes]`` with at least two classes: the share of samples whose largest output is the same class.
    For all others: 100 times the coefficient of determination (R squared), below zero when a constant would be nearer.

    >>> agreement_percent(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.4], [0.7, 0.3]]))
    50.0
    """
    if expected.dtype.kind in "iub":
        return float(100 * np.mean([np.array_equal(*pair) for pair in zip(expected, received, strict=True)]))
    if expected.ndim == 2 and expected.shape[1] > 1:
        return float(100 * np.mean(expected.argmax(axis=1) == received.argmax(axis=1)))
    return determination_percent(expected, received)


def determination_percent(expected: np.ndarray, received: np.ndarray) -> float:
    """Return 100 times the coefficient of determination (R squared) of arrays ``[samples, ...]``."""
    residual = float(np.sum((expected.astype(np.float64) - received) ** 2))
    spread = float(np.sum((expected.astype(np.float64) - expected.mean(axis=0, dtype=np.float64)) ** 2))
    if spread == 0:
        return 100.0 if residual == 0 else 0.0
    return 100 * (1 - residual / spread)
