"""A small convolutional network: three strided 3 x 3 convolutions, the shape that edge devices run best."""

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
    x = image
    for number, filters in enumerate((16, 32, 64), start=1):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"convolution_{number}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"normalization_{number}")(x)
        x = keras.layers.ReLU(name=f"activation_{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dropout(0.2, seed=seed, name="dropout")(x)
    outputs = keras.layers.Dense(10, activation="softmax", name="probabilities")(x)
    return keras.Model(image, outputs, name="convolutional")


DIGITS = Experiment("digits", "Three convolutions", build, digits, {"edge": Schedule(epochs=12, learning_rate=3e-3)})
ARCHITECTURE = Architecture("convolutional", "Convolutional network", (DIGITS,))
