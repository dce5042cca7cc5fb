"""A kernel held to the grid that it was rounded to, so that later training leaves it there."""

from typing import Any

import numpy as np

from ._transform import Transform, straight_through
from ._weight_grid import Grid


class HeldToGrid(Transform):
    """Each weight at the nearest value of its grid, the ends of the grid where they are.

    Args:
        technique: the technique that asks for it.
        path: of the variable.
        grid: its grid, flattened.
        before: what the variable held before it was rounded.
        rounded: what it holds since.

    Attributes:
        before, rounded: as given.
    """

    def __init__(self, technique: str, path: str, grid: Grid, before: np.ndarray, rounded: np.ndarray) -> None:
        super().__init__(technique, path)
        self.before, self.rounded = before, rounded
        self._largest = grid.largest
        self._scale = grid.scale.reshape(before.shape).astype(np.float32)
        self._ends = grid.ends.reshape(before.shape)

    def __call__(self, value: Any) -> Any:
        """Return the value on the grid; gradients pass as if nothing had been rounded."""
        import keras

        held = keras.ops.stop_gradient(value)
        integers = keras.ops.clip(keras.ops.round(held / self._scale), -self._largest, self._largest)
        return straight_through(value, keras.ops.where(self._ends, self.rounded, integers * self._scale))
