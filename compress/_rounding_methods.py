"""Rounding that looks at what is multiplied: the outputs of a product change least, not the weights.

Of a product y = x W the squared error that rounded weights W + D make on all samples is the sum over the outputs of
d' H d, where H is the mean of x x' and d a column of D. So H holds all that a method needs to know of the samples.
"""

from dataclasses import dataclass

import numpy as np

# Of the mean of a Gram matrix' diagonal, added to it: Frantar et al., section 3.3.
_DAMPING = 0.01
# Of the rectified sigmoid: Nagel et al., 2020, equation 23.
_STRETCH = (-0.1, 1.1)
_WARM_UP, _BETA = 0.2, (20.0, 2.0)
_RATE, _PULL = 0.1, 10.0


@dataclass(frozen=True)
class Matrices:
    """A kernel's weights and their grid as matrices; all are ``[groups, inputs, outputs]`` but ``gram``.

    Attributes:
        values: the weights.
        scale: of the grid, for each weight.
        held: the integer of a weight that is not to be chosen: the ends of the grid, and pruned zeros; NaN for others.
        gram: ``[groups, inputs, inputs]``, the mean of x x'.
        largest: the largest integer.
    """

    values: np.ndarray
    scale: np.ndarray
    held: np.ndarray
    gram: np.ndarray
    largest: int

    def nearest(self, values: np.ndarray, scale: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Return the integers that are nearest to some of the weights."""
        return np.where(np.isnan(held), np.clip(np.round(values / scale), -self.largest, self.largest), held)

    def errors(self, integers: np.ndarray) -> np.ndarray:
        """Return the mean squared error of each output, ``[groups, outputs]``."""
        change = integers * self.scale - self.values
        return np.maximum(np.einsum("gio,gio->go", change, self.gram @ change), 0)


def gptq(matrices: Matrices) -> np.ndarray:
    """Return integers: weights are rounded one input after the other, and the rest makes up for the error.

    Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: accurate post-training quantization for generative pre-trained
    transformers", 2022 (arXiv 2210.17323), algorithm 1; inputs with the largest activations come first.
    """
    groups, inputs, _ = matrices.values.shape
    diagonal = np.einsum("gii->gi", matrices.gram)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    sorted_rows = [
        np.take_along_axis(each, order[..., np.newaxis], axis=1)
        for each in (matrices.values, matrices.scale, matrices.held)
    ]
    values, scale, held = sorted_rows[0].copy(), *sorted_rows[1:]
    gram = np.take_along_axis(matrices.gram, order[:, :, np.newaxis], axis=1)
    gram = np.take_along_axis(gram, order[:, np.newaxis, :], axis=2)
    damping = _DAMPING * diagonal.mean(axis=1)
    damping = np.where(damping > 0, damping, 1)
    inverse = np.linalg.inv(gram + damping[:, np.newaxis, np.newaxis] * np.eye(inputs))
    factor = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    integers = np.zeros_like(values)
    for row in range(inputs):
        integers[:, row] = matrices.nearest(values[:, row], scale[:, row], held[:, row])
        error = (values[:, row] - integers[:, row] * scale[:, row]) / factor[:, row, row, np.newaxis]
        values[:, row + 1 :] -= factor[:, row, row + 1 :, np.newaxis] * error[:, np.newaxis]
    made = np.empty_like(integers)
    np.put_along_axis(made, order[..., np.newaxis], integers, axis=1)
    return made


def adaround(matrices: Matrices, steps: int) -> np.ndarray:
    """Return integers: each weight goes up or down, which is learned by gradient through a rectified sigmoid.

    Nagel, Amjad, van Baalen, Louizos and Blankevoort, "Up or down? Adaptive rounding for post-training quantization",
    2020 (arXiv 2004.10568), equations 21 to 24, for the product before its activation; Adam with the paper's annealing.
    """
    low, high = _STRETCH
    whole = np.floor(matrices.values / matrices.scale)
    part = np.clip(matrices.values / matrices.scale - whole, 1e-3, 1 - 1e-3)
    free = np.isnan(matrices.held) & (whole >= -matrices.largest) & (whole < matrices.largest)
    fixed = matrices.nearest(matrices.values, matrices.scale, matrices.held)
    rounded = fixed * matrices.scale - matrices.values
    error = np.einsum("gio,gio->", rounded, matrices.gram @ rounded)
    if not free.any() or error <= 0:
        return fixed
    # In these units rounding to nearest costs one for each weight.
    unit = error / free.sum()
    gram = (matrices.gram / unit).astype(np.float32)
    scale, values = matrices.scale.astype(np.float32), matrices.values.astype(np.float32)
    free_share = free.astype(np.float32)
    start = np.where(free, whole, fixed) * matrices.scale - matrices.values
    offset = start.astype(np.float32)
    logits = np.log((part - low) / (high - part)).astype(np.float32)
    mean, square = np.zeros_like(values), np.zeros_like(values)
    for step in range(steps):
        sigmoid = 1 / (1 + np.exp(-logits))
        stretched = sigmoid * (high - low) + low
        up = np.clip(stretched, 0, 1)
        gradient = 2 * (gram @ (offset + up * free_share * scale)) * scale
        done = step / steps
        if done >= _WARM_UP:
            left = 1 - (done - _WARM_UP) / (1 - _WARM_UP)
            beta = _BETA[1] + (_BETA[0] - _BETA[1]) * 0.5 * (1 - np.cos(np.pi * left))
            side = 2 * up - 1
            gradient -= _PULL * 2 * beta * np.abs(side) ** (beta - 1) * np.sign(side)
        inside = (stretched > 0) & (stretched < 1)
        gradient *= free_share * inside * (high - low) * sigmoid * (1 - sigmoid)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        logits -= _RATE * (mean / (1 - 0.9 ** (step + 1))) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
    return np.where(free, whole + (logits >= 0), fixed)
