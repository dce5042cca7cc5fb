"""Two factors of a matrix: of the products that it makes, the ones that lose least."""

from dataclasses import dataclass

import numpy as np

# How much of the weights' own Gram matrix is mixed with that of the outputs: few samples do not tell all.
_SHRINKAGE = 0.05


@dataclass(frozen=True)
class Spectrum:
    """A matrix taken apart into components, the ones that matter most first.

    Attributes:
        left, right: ``[inputs, components]`` and ``[components, outputs]``; their product is the matrix.
        energies: ``[components]``, descending: how much of the squared error each component is worth.
        offset: ``[components]``, what the components amount to on average, in the coordinates of ``right``.
    """

    left: np.ndarray
    right: np.ndarray
    energies: np.ndarray
    offset: np.ndarray

    def rank_of(self, share: float) -> int:
        """Return the smallest rank whose components hold ``share`` of the energy."""
        held = np.cumsum(self.energies) / max(self.energies.sum(), 1e-300)
        return min(int(np.searchsorted(held, share - 1e-12)) + 1, len(held))

    def factors(self, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return two factors, ``[inputs, rank]`` and ``[rank, outputs]``, of equal size, and a bias ``[outputs]``.

        The bias makes up for what the dropped components amount to on average.
        """
        left, right = self.left[:, :rank], self.right[:rank]
        size = np.sqrt(np.maximum(np.linalg.norm(left, axis=0), 1e-12))
        return left / size, right * size[:, np.newaxis], self.offset[rank:] @ self.right[rank:]


class Outputs:
    """The sums over the samples that the spectrum of a matrix needs.

    Args:
        matrix: ``[inputs, outputs]``.

    Attributes:
        basis: ``[inputs, components]``: what is observed is the inputs times this, the outputs in other coordinates.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        left, self._singular, self._right = np.linalg.svd(matrix, full_matrices=False)
        self.basis = left * self._singular
        self._count = 0
        self._sum = np.zeros(len(self._singular))
        self._squares = np.zeros((len(self._singular),) * 2)

    def observe(self, outputs: np.ndarray) -> None:
        """Add what the layer computes: ``[..., components]``, its inputs times ``basis``."""
        rows = outputs.reshape(-1, len(self._sum)).astype(np.float64)
        self._count += len(rows)
        self._sum += rows.sum(axis=0)
        self._squares += rows.T @ rows

    @property
    def all_zero(self) -> bool:
        """Whether samples have been observed, and nothing but zeros came."""
        return self._count > 0 and not np.trace(self._squares) > 0

    def spectrum(self, centred: bool) -> Spectrum:
        """Return the components by the error that dropping them costs: in the outputs where some were observed.

        The best approximation of rank r of outputs Y = X W is Y P P' by the first r principal axes P of Y, which is
        what the factors W P and P' compute: Zhang et al., "Accelerating very deep convolutional networks for
        classification and detection", 2015 (arXiv 1505.06798), section 3.1. Without samples the same on W itself is its
        truncated singular value decomposition (Eckart and Young, 1936).

        Args:
            centred: whether a bias makes up for the mean of what is dropped.
        """
        if not self._count or self.all_zero:
            return Spectrum(self.basis, self._right, self._singular**2, np.zeros_like(self._sum))
        mean = self._sum / self._count if centred else np.zeros_like(self._sum)
        spread = self._squares / self._count - np.outer(mean, mean)
        own = np.diag(self._singular**2)
        spread += _SHRINKAGE * np.trace(spread) / max(np.trace(own), 1e-300) * own
        energies, axes = np.linalg.eigh(spread)
        energies, axes = np.maximum(energies[::-1], 0), axes[:, ::-1]
        return Spectrum(self.basis @ axes, axes.T @ self._right, energies, mean @ axes)
