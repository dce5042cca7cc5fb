"""Fits how fast a device does each kind of work to measured latencies, starting from what its datasheet lets expect.

The time of an inference is ``sum(speed[j] * count[j])`` over the kinds of work j (see ``export/_work.py``), each speed
a time per unit. Its logarithm is fitted: measured latencies are off by factors, and no speed is negative. Before any
row is seen, the logarithms of the speeds are normal around what the datasheet and other devices let expect, with one
factor that they all share and one of their own; rows move them as far as they tell something of them (maximum a
posteriori, by damped Gauss-Newton; Bishop, Pattern Recognition and Machine Learning, 2006, sections 3.3 and 4.4 for the
Gaussian around it). So three rows set the level, thirty the single kinds, and what no row has shown stays as uncertain
as it was.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..export._work import COUNTS

# Standard deviations of logarithms. Shared: how far a device as a whole is from its datasheet; own: how far a kind of
# work is from that. Of one measurement: two submissions of a model on the same board are 4.4 % apart in the median.
SHARED, OWN, NOISE = 0.7, 1.0, 0.05
# Of kinds of work of which few rows tell, and whose cycles are stated instead of the least that they can take: those of
# a detector's sorting were measured alone on two cores, and polynomials for exponentials are much alike on all. What an
# inference takes beside its operations, models of milliseconds leave open, and models of microseconds are made of.
STATED = {"sorting": 0.3, "functions": 0.5, "inferences": 0.7}
# Convolutions by a kernel of one pixel and by a larger one are computed by the same products, and few rows have many of
# the latter: so much of what they differ by from what is expected is the same for both.
_ALIKE, _SAME = (COUNTS.index("convolution"), COUNTS.index("pointwise")), 0.9
# A row that is further off than this many standard deviations pulls no harder: single measurements go wrong.
_OUTLIER = 2.0
_STEPS = 60


@dataclass(frozen=True)
class Speeds:
    """How long a unit of each kind of work takes; on a processor the kinds are ``COUNTS``.

    Attributes:
        ms: milliseconds for one; shape [kinds].
        covariance: of the logarithms of ``ms``; shape [kinds, kinds].
        spread: standard deviation of the logarithm of measured / predicted; see ``fit``.
        rows: how many measurements were fitted.
    """

    ms: np.ndarray
    covariance: np.ndarray
    spread: float
    rows: int

    def latency(self, counts: np.ndarray) -> tuple[float, float]:
        """Return the latency of work in ms, and the standard deviation of its logarithm; ``counts`` as ``ms``."""
        parts = self.ms * counts
        value = float(parts.sum())
        if value <= 0:
            return 0.0, self.spread
        shares = parts / value
        return value, float(np.sqrt(shares @ self.covariance @ shares + self.spread**2))


def prior(ms: np.ndarray, shared: float = SHARED, own: float = OWN, spread: float = NOISE) -> Speeds:
    """Return speeds that no row of the device has been seen for.

    Args:
        ms: what is expected of each kind of work.
        shared, own: standard deviations of the logarithm: of the factor on all of them, and on each.
    """
    alike = np.eye(len(COUNTS))
    alike[_ALIKE] = alike[_ALIKE[::-1]] = _SAME
    each = np.array([min(own, STATED.get(name, own)) for name in COUNTS])
    return Speeds(np.asarray(ms, float), shared**2 * np.ones_like(alike) + np.outer(each, each) * alike, spread, 0)


def fit(expected: Speeds, counts: np.ndarray, latency_ms: np.ndarray, noise: float = NOISE) -> Speeds:
    """Return the speeds after measurements.

    Its spread is the residuals' root mean square over what the rows leave free. Of more rows than kinds of work those
    are the rows beyond their number, and the spread is at least ``noise``. Fewer rows could be fitted exactly, and the
    prior alone keeps them from it: there it is their number less the parameters that they set (the effective number of
    parameters; Bishop, section 3.5.3) and at least one, and the spread is at least twice ``noise``. So rows that
    contradict each other widen the intervals however few they are.

    Args:
        expected: before them.
        counts: of each measured model, shape [rows, len(expected.ms)].
        latency_ms: of each, shape [rows].
        noise: standard deviation of the logarithm of one measurement around what the counts can tell.

    Raises:
        ValueError: a latency or all counts of a row are not positive.
    """
    if len(latency_ms) == 0:
        return expected
    if not (np.all(latency_ms > 0) and np.all(counts.sum(axis=1) > 0)):
        raise ValueError("Expected positive latencies of models that do some work. Got: one that is not.")
    centre = np.log(expected.ms)
    precision = np.linalg.inv(expected.covariance)
    theta, damping = centre.copy(), 1e-3
    loss, residuals, hessian, gradient = _around(theta, centre, precision, counts, latency_ms, noise)
    for _ in range(_STEPS):
        step = np.clip(np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient), -2, 2)
        found = _around(theta + step, centre, precision, counts, latency_ms, noise)
        if found[0] >= loss:
            damping *= 4
            continue
        gained = loss - found[0]
        theta, damping = theta + step, max(damping / 3, 1e-9)
        loss, residuals, hessian, gradient = found
        if gained < 1e-7:
            break
    squares = float(np.sum((noise * residuals) ** 2))
    beyond = len(latency_ms) - counts.shape[1]
    if beyond > 0:
        spread = max(noise, math.sqrt(squares / beyond))
        covariance = np.linalg.inv(hessian) * (spread / noise) ** 2
    else:
        told = hessian - precision
        free = max(len(latency_ms) - float(np.trace(np.linalg.solve(hessian, told))), 1.0)
        spread = max(2 * noise, math.sqrt(squares / free))
        # Rows that are as far off as these say as much less of the speeds.
        covariance = np.linalg.inv(precision + told * (2 * noise / spread) ** 2) * 4.0
    return Speeds(np.exp(theta), covariance, spread, len(latency_ms))


def _around(
    theta: np.ndarray,
    centre: np.ndarray,
    precision: np.ndarray,
    counts: np.ndarray,
    latency_ms: np.ndarray,
    noise: float,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return the loss, the residuals in standard deviations, the loss's Hessian (Gauss-Newton) and its gradient."""
    parts = counts * np.exp(theta)
    predicted = parts.sum(axis=1)
    residuals = (np.log(predicted) - np.log(latency_ms)) / noise
    size = np.abs(residuals)
    weights = np.minimum(1.0, _OUTLIER / np.maximum(size, 1e-9))
    away = theta - centre
    loss = np.sum(np.where(size < _OUTLIER, size**2 / 2, _OUTLIER * size - _OUTLIER**2 / 2))
    jacobian = parts / predicted[:, None] / noise
    weighted = (jacobian * weights[:, None]).T
    return (
        float(loss + away @ precision @ away / 2),
        residuals,
        weighted @ jacobian + precision,
        weighted @ residuals + precision @ away,
    )
