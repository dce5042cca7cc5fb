"""Whether what earlier steps hold a variable to lets its channels be scaled and its values be rounded: masks do."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ._transform import Transform, computed

if TYPE_CHECKING:
    import keras


def holds_masks_alone(variable: "keras.Variable", transforms: Iterable[Transform]) -> bool:
    """Tell whether a variable's transforms hold nothing but its zeros; true where it has none.

    Transforms are projections. Values with the same zeros that a codebook or a grid does not have show which it is.
    """
    mine = [transform for transform in transforms if transform.path == variable.path]
    if not mine:
        return True
    values = np.asarray(variable)
    moved = (values * np.random.default_rng(0).uniform(0.5, 2, values.shape)).astype(values.dtype)
    return bool(np.allclose(np.asarray(computed(variable.value * 0 + moved, mine)), moved, rtol=1e-5, atol=0))
