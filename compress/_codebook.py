"""A codebook: the few values that stand for all values of a variable, found by k-means.

Han, Mao and Dally, "Deep compression: compressing deep neural networks with pruning, trained quantization and Huffman
coding", 2016 (arXiv 1510.00149), section 3. Values lie on a line, so a cluster is an interval of the sorted values, and
its mean a difference of two prefix sums: an iteration takes one binary search for each centroid.
"""

import numpy as np

from ._tfmot import tfmot

INITIALISATIONS = ("linear", "density", "kmeans++")
_ITERATIONS = 100


def kmeans(values: np.ndarray, clusters: int, initialisation: str, zero: bool) -> np.ndarray:
    """Return centroids: after Lloyd's iterations each is the mean of the values that are nearest to it.

    Args:
        values: ``[n]`` floats.
        clusters: how many centroids at most.
        initialisation: "linear" (evenly from the least to the greatest value; what Han et al. found best), "density"
            (quantiles) or "kmeans++".
        zero: whether one of the centroids is zero and stays there.

    Returns:
        ``[at most clusters]`` float32, ascending; the distinct values themselves where they are no more than that.
    """
    values = np.sort(values, axis=None).astype(np.float64)
    distinct = np.unique(np.append(values, 0.0) if zero else values)
    if len(distinct) <= clusters:
        return distinct.astype(np.float32)
    sums = np.append(0.0, np.cumsum(values))
    centroids = _initial(values, clusters, initialisation, zero)
    for _ in range(_ITERATIONS):
        edges = np.concatenate([[0], np.searchsorted(values, _middles(centroids)), [len(values)]])
        counts = np.diff(edges)
        moved = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), centroids)
        if zero:
            moved[centroids == 0] = 0.0
        # A centroid without values goes to where the error is largest.
        empty = np.flatnonzero((counts == 0) & ~(zero & (centroids == 0)))
        if len(empty):
            errors = np.abs(values - np.repeat(moved, counts))
            moved[empty] = values[np.argsort(errors)[-len(empty) :]]
            moved = np.sort(moved)
        elif np.array_equal(moved, centroids):
            break
        centroids = moved
    return np.unique(centroids.astype(np.float32))


def nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return for each value the place of the nearest centroid; ``centroids`` need not be sorted."""
    centroids = centroids.astype(np.float64)  # the middle of two neighbouring float32 is neither
    order = np.argsort(centroids)
    return order[np.searchsorted(_middles(centroids[order]), values)]


def _middles(centroids: np.ndarray) -> np.ndarray:
    return (centroids[1:] + centroids[:-1]) / 2


def _initial(values: np.ndarray, clusters: int, initialisation: str, zero: bool) -> np.ndarray:
    """Return the centroids to begin with, ascending: TF-MOT's, which splits them between the signs around a zero."""
    if initialisation == "density":
        # TF-MOT reads the distribution off 30 points with a margin of 0.01: centroids coincide from 30 on, and for
        # small weights long before. These are its quantiles.
        some = values[values != 0] if zero else values
        found = np.quantile(some, (np.arange(clusters - zero) + 0.5) / (clusters - zero))
        return np.sort(np.append(found, 0.0) if zero else found)
    kinds = tfmot("clustering.keras.cluster_config").CentroidInitialization
    factory = tfmot("clustering.keras.clustering_centroids").CentroidsInitializerFactory
    kind = kinds.LINEAR if initialisation == "linear" else kinds.KMEANS_PLUS_PLUS
    made = factory.get_centroid_initializer(kind)(values.astype(np.float32), clusters, preserve_sparsity=zero)
    return np.sort(np.asarray(made.get_cluster_centroids(), np.float64))
