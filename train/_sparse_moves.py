"""How a mask moves: which weights are the largest, which are dropped and which grow."""

import numpy as np


def largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Return where the ``count`` largest are, of equal ones the first.

    >>> largest(np.array([3, 1, 3, 3]), 2)
    array([ True, False,  True, False])
    """
    if count >= scores.size:
        return np.ones(scores.shape, bool)
    threshold = np.partition(scores, scores.size - count, axis=None)[scores.size - count]
    kept = scores > threshold
    equal = np.flatnonzero(scores == threshold)[: count - np.count_nonzero(kept)]
    kept.flat[equal] = True
    return kept


def dropped_and_grown(mask: np.ndarray, weights: np.ndarray, wish: np.ndarray, count: int) -> np.ndarray:
    """Return the mask after ``count`` active weights were dropped and as many inactive ones grew.

    Args:
        mask: booleans.
        weights: magnitudes; the smallest active ones are dropped, of equal ones the first.
        wish: the inactive ones with the largest wish grow, of equal ones the last; one that was just dropped may not.
        count: at most the number of inactive weights.

    >>> mask = np.array([True, True, False, False])
    >>> dropped_and_grown(mask, np.array([0.1, 0.5, 0, 0]), np.array([9.0, 9.0, 1.0, 2.0]), 1)
    array([False,  True, False,  True])
    """
    if not count:
        return mask.copy()
    # Backwards: the last of equal ones is then the first.
    active, back = int(mask.sum()), mask.ravel()[::-1]
    after = np.zeros(mask.size, bool)
    if count < active:
        after |= largest(np.where(back, weights.ravel()[::-1], -1), active - count)
    after |= largest(np.where(back, -np.inf, wish.ravel()[::-1]), count)
    return after[::-1].reshape(mask.shape)
