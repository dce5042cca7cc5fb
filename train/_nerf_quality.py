"""How near pictures are to the true ones: PSNR, of all or of the objects alone, and SSIM."""

import numpy as np

from ..errors import InputError
from ._task import Metric

_NEARLY_WHITE = 0.99


def psnr(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of colours in [0, 1], ``-10 log10`` of the mean squared error, 100 at most.

    >>> round(psnr(np.full((4, 3), 0.5), np.full((4, 3), 0.4)), 6)
    20.0
    """
    error = np.mean(np.square(outputs.astype(np.float64) - labels.reshape(outputs.shape)))
    return float(-10 * np.log10(max(error, 1e-10)))


PSNR = Metric("PSNR", "dB", "higher", psnr, output="colour")


def object_psnr(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the PSNR of those pixels ``[..., 3]`` whose true colour is not the white sky's: the objects'.

    The sky is easy and fills most of a picture, so that the PSNR of all pixels is some dB higher.

    Raises:
        InputError: all pixels are sky.

    >>> white, grey = np.ones((7, 3)), np.full((1, 3), 0.5)
    >>> round(object_psnr(np.concatenate([white, grey + 0.1]), np.concatenate([white, grey])), 6)
    20.0
    """
    shown = labels.reshape(outputs.shape)
    objects = shown.min(axis=-1) < _NEARLY_WHITE
    if not objects.any():
        raise InputError(f"Expected pixels that show an object. Got: {objects.size} that are all the sky's white.")
    return psnr(outputs[objects], shown[objects])


def ssim(picture: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean structural similarity of two ``[height, width, 3]`` pictures in [0, 1].

    Wang et al. (2004): an 11 x 11 Gaussian window of deviation 1.5, K1 = 0.01, K2 = 0.03, each channel by itself, where
    the window lies within the picture.

    >>> ssim(np.eye(16)[..., None], np.eye(16)[..., None])
    1.0
    """
    x, y = picture.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))))


def _blurred(channels: np.ndarray) -> np.ndarray:
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()
    for axis in (0, 1):
        channels = np.apply_along_axis(np.convolve, axis, channels, window, mode="valid")
    return channels
