"""The drone's model: sectors of the LIDAR ask the camera's tokens, and either sensor may be missing."""

from typing import Any

import keras

from ._multimodal_attention import NormalizedChannels, Place
from ._multimodal_drone import CAMERA, HEADINGS, LIDAR, RAYS, SIDE
from ._multimodal_vqa import Shape, convolutions, hop, place_tokens

SECTOR = 10  # rays in a token
SHAPE = Shape(filters=(24, 48), units=48, heads=4, hops=2)


def fusion(uses: tuple[float, float] = (1.0, 1.0), shape: Shape = SHAPE) -> keras.Model:
    """Return the model: ``camera``, ``lidar`` and ``present`` to ``heading`` ``[batch, 9]`` probabilities.

    Args:
        uses: 1 or 0 for camera and LIDAR; with 0 a sensor is always taken as missing.
        shape: of the attention.
    """
    camera = keras.Input((SIDE, SIDE, 3), name="camera")
    lidar = keras.Input((RAYS,), name="lidar")
    present = keras.Input((2,), name="present")
    used = keras.layers.Rescaling(list(uses), name="used")(present)
    seen = place_tokens(convolutions(camera, shape.filters), shape.units)
    seen = OrMissing(CAMERA, name="camera_or_missing")([seen, used])
    felt = keras.layers.Reshape((RAYS // SECTOR, SECTOR), name="sectors")(lidar)
    felt = keras.layers.Dense(shape.units, activation="relu", name="sector")(felt)
    felt = keras.layers.Dense(shape.units, name="sector_token")(felt)
    x = OrMissing(LIDAR, name="lidar_or_missing")([felt, used])
    x = Place(1, RAYS // SECTOR, name="sector_placed")(x)
    for number in range(1, shape.hops + 1):
        x = hop(x, seen, shape, number)
    x = NormalizedChannels(name="before_heading")(x)
    # Linear: with ReLU, so few units died in a training on the camera alone, and the answer became the same for all.
    x = keras.layers.Dense(12, name="told")(x)
    x = keras.layers.Flatten(name="all_around")(x)
    x = keras.layers.Dense(64, activation="relu", name="choosing")(x)
    heading = keras.layers.Dense(len(HEADINGS), activation="softmax", name="heading")(x)
    return keras.Model({"camera": camera, "lidar": lidar, "present": present}, heading, name="fusion")


@keras.saving.register_keras_serializable("edgewright")
class OrMissing(keras.layers.Layer):
    """A sensor's tokens where it is present, one learned token in their places where it is missing.

    ``p x + (1 - p) m`` for tokens x ``[batch, tokens, units]`` and p of ``[batch, sensors]``, 1 or 0. What a missing
    sensor delivers has no influence.
    """

    def __init__(self, sensor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sensor = sensor

    def build(self, shapes: Any) -> None:
        """Make the token for "missing"."""
        self.missing = self.add_weight(shape=(shapes[0][-1],), initializer="zeros", name="missing")

    def call(self, inputs: Any) -> Any:
        """Return the tokens."""
        tokens, present = inputs
        here = present[:, self.sensor : self.sensor + 1, None]
        return tokens * here + (1 - here) * self.missing

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same layer again."""
        return {**super().get_config(), "sensor": self.sensor}
