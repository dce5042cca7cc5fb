"""SET: sparse from the first step, the smallest weights are dropped and others grow at random.

Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by network
science", 2018 (arXiv 1707.04780). How many falls with the cosine of RigL. It takes no dense gradient, ever.
"""

import numpy as np

from ._moving_masks import DynamicSparsity, MovingMask, trained_sparse
from ._technique import Parameters, Result, Technique, Work


def apply(work: Work, parameters: Parameters) -> Result:
    """Mask the kernels in scope and train on, with masks that move at random.

    Raises:
        InputError: the scope matches no kernel, or the sparsity would empty one.
    """
    assert isinstance(parameters, DynamicSparsity)
    return trained_sparse(work, "set", parameters, lambda work, masks: _at_random)


def _at_random(mask: MovingMask, step: int) -> np.ndarray:
    return mask.random(step).uniform(size=tuple(mask.mask.shape))


TECHNIQUE = Technique(
    name="set",
    title="sparse evolutionary training",
    parameters=DynamicSparsity,
    apply=apply,
    needs_data=True,
)
