"""Renders rays on a device with one evaluation of a light field's network for each ray."""

import numpy as np


class Host:
    """Drives the graph "light_field", from encoded rays [1, rays_per_call, features] to "colour"."""

    def __init__(self, graphs, settings):
        """Take the graph, and the scene's box and the encoding."""
        self.graph = graphs["light_field"]
        self.lowest = np.asarray(settings["lowest"], np.float32)
        self.highest = np.asarray(settings["highest"], np.float32)
        self.background = np.float32(settings["background"])
        self.levels = settings["levels"]
        self.size = settings["rays_per_call"]
        self.parts = np.linspace(0, 1, settings["points"]).astype(np.float32)

    def run(self, sample):
        """Return the colours of "origin" and "direction" (unit vectors), each [rays, 3]: {"colour": [rays, 3]}."""
        origin, direction = rays_of(sample)
        near, far = segments(origin, direction, self.lowest, self.highest)
        colour = np.full(origin.shape, self.background, np.float32)
        meeting = np.flatnonzero(far > near)
        for start in range(0, len(meeting), self.size):
            some = meeting[start : start + self.size]
            rays = self.encoded(origin[some], direction[some], near[some, None], far[some, None])
            if len(some) < self.size:
                rays = np.pad(rays, ((0, self.size - len(some)), (0, 0)))
            colour[some] = self.graph({"ray": rays[None]})["colour"][0, : len(some)]
        return {"colour": colour}

    def encoded(self, origin, direction, near, far):
        """Return [rays, features]: points from where each ray enters the box to where it leaves it, encoded."""
        # With the rays side by side in memory all sums run along whole rows; one copy puts the features in their order.
        distances = (near + (far - near) * self.parts).T
        points = origin.T[:, None] + distances * direction.T[:, None]
        features = np.empty((1 + 2 * self.levels, *points.shape), np.float32)
        features[0] = points
        sines, cosines = features[1 : 1 + self.levels], features[1 + self.levels :]
        first = np.float32(np.pi) * points
        np.sin(first, out=sines[0])
        np.cos(first, out=cosines[0])
        for level in range(1, self.levels):  # twice the angle: two products in place of two more sines
            sine, cosine = sines[level - 1], cosines[level - 1]
            np.multiply(np.float32(2) * sine, cosine, out=sines[level])
            np.subtract(np.float32(1), np.float32(2) * sine * sine, out=cosines[level])
        return np.ascontiguousarray(features.transpose(3, 2, 0, 1)).reshape(len(origin), -1)


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
