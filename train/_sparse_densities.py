"""How dense each layer of a sparse network is, for a given sparsity of the whole."""

import math
from collections.abc import Sequence

Shape = Sequence[int]


def uniform(shapes: Sequence[Shape], sparsity: float) -> list[float]:
    """Return the same density for every layer.

    >>> uniform([(10, 20), (20, 5)], 0.75)
    [0.25, 0.25]
    """
    return [1.0 - sparsity for _ in shapes]


def erdos_renyi_kernel(shapes: Sequence[Shape], sparsity: float) -> list[float]:
    """Return densities in proportion to the sum of a kernel's dimensions over their product, at most 1.

    Evci et al., "Rigging the lottery: making all tickets winners", 2020 (arXiv 1911.11134), section 3.1, after
    Mocanu et al., 2018 (arXiv 1707.04780): small layers stay denser. Layers that would be denser than dense are dense,
    and the others are solved for again.

    Args:
        shapes: of the kernels, ``[..., inputs, outputs]``.
        sparsity: share of zeros over all of them, 0 to below 1.
    """
    sizes = [math.prod(shape) for shape in shapes]
    raw = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    budget = (1.0 - sparsity) * sum(sizes)
    dense: set[int] = set()
    while True:
        left = budget - sum(sizes[place] for place in dense)
        weight = sum(raw[place] * sizes[place] for place in range(len(sizes)) if place not in dense)
        scale = left / weight if weight else 0.0
        too_dense = {place for place in range(len(sizes)) if place not in dense and raw[place] * scale > 1}
        if not too_dense:
            return [1.0 if place in dense else raw[place] * scale for place in range(len(sizes))]
        dense |= too_dense
