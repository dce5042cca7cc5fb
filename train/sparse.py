"""The fully connected network that sparse training is compared on: LeNet-300-100 (LeCun et al., 1998).

Its 266,610 parameters are far more than the task needs, so that most of them can go. It is dense here; a recipe of
compress/ makes it sparse.
"""

from typing import TYPE_CHECKING

from ._digits import digits
from ._task import Architecture, Experiment, Schedule

if TYPE_CHECKING:
    import keras


def build(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the network: ``image`` ``[batch, 28, 28, 1]`` to ``probabilities`` ``[batch, 10]``."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    x = keras.layers.Dense(300, activation="relu", name="hidden_1")(x)
    x = keras.layers.Dense(100, activation="relu", name="hidden_2")(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax", name="probabilities")(x), name="sparse")


DIGITS = Experiment("digits", "LeNet-300-100", build, digits, {"edge": Schedule(epochs=12)})
ARCHITECTURE = Architecture("sparse", "Sparse network", (DIGITS,))
