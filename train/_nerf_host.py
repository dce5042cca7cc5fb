"""Renders rays on a device: samples, encodes and composites around the two networks of a neural radiance field."""

import numpy as np

RAYS_AT_ONCE = 512


class Host:
    """Drives the graphs "coarse" and "fine", each from encoded samples to "density" (its level) and "colour"."""

    def __init__(self, graphs, settings):
        """Take the graphs by name, and the scene's box, the sampling and the encoding."""
        self.graphs = graphs
        self.settings = settings
        self.lowest = np.asarray(settings["lowest"], np.float32)
        self.highest = np.asarray(settings["highest"], np.float32)
        self.background = np.float32(settings["background"])
        self.position_turns = turns(settings["position_levels"])
        self.direction_turns = turns(settings["direction_levels"])

    def run(self, sample):
        """Return the colours of "origin" and "direction" (unit vectors), each [rays, 3]: {"colour": [rays, 3]}."""
        origin, direction = rays_of(sample)
        near, far = segments(origin, direction, self.lowest, self.highest)
        colour = np.full(origin.shape, self.background, np.float32)
        meeting = np.flatnonzero(far > near)
        for start in range(0, len(meeting), RAYS_AT_ONCE):
            some = meeting[start : start + RAYS_AT_ONCE]
            colour[some] = self.rendered(origin[some], direction[some], near[some, None], far[some, None])
        return {"colour": colour}

    def rendered(self, origin, direction, near, far):
        """Return the colours of rays that meet the box."""
        ahead = encoded(direction, self.direction_turns)
        count = self.settings["coarse_samples"]
        distances = near + (far - near) * ((np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count))
        level, _ = self.field("coarse", origin, direction, ahead, distances)
        weights = self.weights(level, distances, far)
        distances = importance_distances(distances, weights, near, far, self.settings["fine_samples"])
        level, colours = self.field("fine", origin, direction, ahead, distances)
        weights = self.weights(level, distances, far)
        return self.background + np.einsum("rn,rnc->rc", weights, colours - self.background)

    def field(self, name, origin, direction, ahead, distances):
        """Return a network's levels [rays, n] and colours [rays, n, 3], in calls of one fixed size."""
        rays, count = distances.shape
        points = distances[:, :, None] * direction[:, None]
        points += origin[:, None]
        size, samples = self.settings["samples_per_call"], rays * count
        whole = -(-samples // size) * size
        position = encoded(points.reshape(-1, 3), self.position_turns, whole)
        along = np.zeros((whole, ahead.shape[1]), np.float32)
        along[:samples].reshape(rays, count, -1)[:] = ahead[:, None]
        levels, colours = np.empty(whole, np.float32), np.empty((whole, 3), np.float32)
        for start in range(0, whole, size):
            call = slice(start, start + size)
            outputs = self.graphs[name]({"position": position[None, call], "direction": along[None, call]})
            levels[call], colours[call] = outputs["density"][0, :, 0], outputs["colour"][0]
        return levels[:samples].reshape(rays, count), colours[:samples].reshape(rays, count, 3)

    def weights(self, level, distances, far):
        """Return what each sample adds: the light that reaches it times its opacity."""
        thinnest, densest = self.settings["thinnest"], self.settings["densest"]
        density = np.float32(thinnest) * np.exp(np.float32(np.log(densest / thinnest)) * level)
        depth = density * (np.concatenate([distances[:, 1:], far], axis=1) - distances)
        return np.exp(-summed_before(depth)) * -np.expm1(-depth)


def rays_of(sample):
    """Return origins and directions as float32 [rays, 3], or say what is wrong with them."""
    arrays = []
    for name in ("origin", "direction"):
        if name not in sample:
            raise ValueError("Expected 'origin' and 'direction'. Got: {}.".format(", ".join(sorted(sample))))
        array = np.asarray(sample[name], np.float32)
        if array.ndim != 2 or array.shape[1] != 3 or array.shape != np.shape(sample["origin"]):
            raise ValueError(f"Expected {name!r} of shape [rays, 3]. Got: {list(array.shape)}.")
        if not np.isfinite(array).all():
            raise ValueError(f"Expected finite numbers in {name!r}. Got: NaN or infinity.")
        arrays.append(array)
    lengths = np.linalg.norm(arrays[1], axis=1)
    if np.any(np.abs(lengths - 1) > 1e-3):
        raise ValueError(f"Expected directions of length 1. Got: {lengths.min():.3f} to {lengths.max():.3f}.")
    return arrays


def segments(origin, direction, lowest, highest):
    """Return the distances [rays] at which rays enter and leave the box; both are 0 for a ray that misses it."""
    slope = np.where(np.abs(direction) < 1e-8, np.float32(1e-8), direction)
    first, second = (lowest - origin) / slope, (highest - origin) / slope
    near = np.maximum(np.minimum(first, second).max(axis=1), np.float32(0))
    far = np.maximum(first, second).min(axis=1)
    met = far > near
    return np.where(met, near, np.float32(0)), np.where(met, far, np.float32(0))


def turns(levels):
    """Return [3, 3 * levels]: a product with it gives 2^k pi p, k from 0 to levels - 1, faster than joined products."""
    return np.concatenate([np.float32(2.0**level * np.pi) * np.eye(3, dtype=np.float32) for level in range(levels)], 1)


def encoded(points, turns, rows=0):
    """Return [p, sin 2^k pi p, cos 2^k pi p] of points [n, 3], and zeros in what is missing to ``rows``."""
    count, width = len(points), turns.shape[1]
    features = np.empty((max(rows, count), 3 + 2 * width), np.float32)
    features[:count, :3] = points
    angles = points @ turns
    np.sin(angles, out=features[:count, 3 : 3 + width])
    np.cos(angles, out=features[:count, 3 + width :])
    features[count:] = 0
    return features


def summed_before(array):
    """Return for each place of [rays, n] the sum of what stands before it."""
    return np.concatenate([np.zeros_like(array[:, :1]), np.cumsum(array, axis=1)[:, :-1]], axis=1)


def importance_distances(distances, weights, near, far, count):
    """Return ``count`` ascending distances where the weights are: the inverse of a piecewise linear distribution."""
    middles = np.float32(0.5) * (distances[:, 1:] + distances[:, :-1])
    edges = np.concatenate([near, middles, far], axis=1)
    shares = weights + np.float32(0.01 / weights.shape[1])
    shares = shares / np.sum(shares, axis=1, keepdims=True)
    before = summed_before(shares)
    places = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)
    parts = places[None, :, None] - before[:, None, :]
    parts /= shares[:, None, :]
    np.maximum(parts, 0, out=parts)
    np.minimum(parts, 1, out=parts)
    return near + np.einsum("rpk,rk->rp", parts, edges[:, 1:] - edges[:, :-1])
