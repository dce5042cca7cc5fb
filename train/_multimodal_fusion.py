"""The drone's model: each heading asks what camera and LIDAR perceive in every direction; either may be missing."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ._multimodal_attention import NormalizedChannels
from ._multimodal_drone import CAMERA, HEADINGS, LIDAR, RAYS, SIDE, VIEW
from ._multimodal_vqa import Shape, hop

SECTOR = 10  # rays in a token
COLUMNS = 16  # of the camera's feature map, each a token
SHAPE = Shape(filters=(16, 32, 32), units=48, heads=4, hops=2)


def fusion(uses: tuple[float, float] = (1.0, 1.0), shape: Shape = SHAPE) -> keras.Model:
    """Return the model: ``camera``, ``lidar`` and ``present`` to ``heading`` ``[batch, 9]`` probabilities.

    All tokens know their bearing, those of the camera, those of the LIDAR, and the headings that ask them, so that
    attention can match what lies in one direction. One network scores every heading.

    Args:
        uses: 1 or 0 for camera and LIDAR; with 0 a sensor is always taken as missing.
        shape: of the attention.
    """
    camera = keras.Input((SIDE, SIDE, 3), name="camera")
    lidar = keras.Input((RAYS,), name="lidar")
    present = keras.Input((2,), name="present")
    used = keras.layers.Rescaling(list(uses), name="used")(present)
    seen = OrMissing(CAMERA, name="camera_or_missing")([columns(camera, shape), used])
    felt = OrMissing(LIDAR, name="lidar_or_missing")([sectors(lidar, shape), used])
    seen = Toward(_bearings_of_columns(), name="column_bearing")(seen)
    felt = Toward(_bearings_of_sectors(), name="sector_bearing")(felt)
    tokens = keras.layers.Concatenate(axis=1, name="perceived")(
        [NormalizedChannels(name="normalized_columns")(seen), NormalizedChannels(name="normalized_sectors")(felt)]
    )
    x = keras.layers.Dense(shape.units, name="whom_to_ask")(used)
    x = keras.layers.Reshape((1, shape.units), name="for_all")(x)
    x = Toward(HEADINGS, name="heading_bearing")(x)
    for number in range(1, shape.hops + 1):
        x = hop(x, tokens, shape, number)
    x = NormalizedChannels(name="before_heading")(x)
    x = keras.layers.Dense(shape.units, activation="relu", name="choosing")(x)
    x = keras.layers.Flatten(name="scores")(keras.layers.Dense(1, name="score")(x))
    heading = keras.layers.Softmax(name="heading")(x)
    return keras.Model({"camera": camera, "lidar": lidar, "present": present}, heading, name="fusion")


def columns(camera: Any, shape: Shape) -> Any:
    """Return one token for each column of the picture's features, left to right: ``[batch, 16, units]``.

    Obstacles stand upright: what is in one direction is in one column, and how far it is follows from where in the
    column it meets the ground or ends above it. So the rows of a column become one vector.
    """
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scaled")(camera)
    for number, count in enumerate(shape.filters, start=1):
        x = keras.layers.Conv2D(
            count,
            5 if number == 1 else 3,
            strides=(2, 2 if x.shape[2] > COLUMNS else 1),
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"convolution_{number}",
        )(x)
    _, rows, count, channels = x.shape
    x = keras.layers.Permute((2, 1, 3), name="upright")(x)
    x = keras.layers.Reshape((count, rows * channels), name="columns")(x)
    x = keras.layers.Dense(shape.units, activation="relu", name="column")(x)
    return keras.layers.Dense(shape.units, name="column_token")(x)


def sectors(lidar: Any, shape: Shape) -> Any:
    """Return one token for each ten rays: ``[batch, 36, units]``."""
    x = keras.layers.Reshape((RAYS // SECTOR, SECTOR), name="sectors")(lidar)
    x = keras.layers.Dense(shape.units, activation="relu", name="sector")(x)
    return keras.layers.Dense(shape.units, name="sector_token")(x)


def _bearings_of_columns() -> np.ndarray:
    """Return the bearing of the middle of each column, in radians to the left, of a camera with a flat image plane."""
    edges = np.linspace(1, -1, COLUMNS + 1)
    return np.arctan((edges[1:] + edges[:-1]) / 2 * np.tan(VIEW / 2))


def _bearings_of_sectors() -> np.ndarray:
    return np.radians(180 - SECTOR * (np.arange(RAYS // SECTOR) + 0.5))


@keras.saving.register_keras_serializable("edgewright")
class Toward(keras.layers.Layer):
    """Tells tokens in which direction they are: ``[batch, tokens, units]``, or one token for all ``[batch, 1, units]``.

    Adds a linear map of ``sin(k b)`` and ``cos(k b)``, k from 1 to 8, for the bearing b of each token: a product of
    such a query and such a key can be a lobe as narrow as 20 degrees around any difference of bearings.
    """

    HARMONICS = 8

    def __init__(self, bearings: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bearings = [float(bearing) for bearing in bearings]

    def build(self, shape: Any) -> None:
        """Make the linear map of the bearing."""
        self.kernel = self.add_weight(
            shape=(2 * self.HARMONICS, shape[-1]), initializer="glorot_uniform", name="kernel"
        )

    def call(self, tokens: Any) -> Any:
        """Return the tokens with their bearings."""
        turns = np.outer(self.bearings, np.arange(1, self.HARMONICS + 1))
        waves = np.concatenate([np.sin(turns), np.cos(turns)], axis=-1)
        # Of three dimensions like the tokens: TensorFlow's graph optimizer drops a batch of 1 from a sum with fewer.
        return tokens + ops.expand_dims(ops.matmul(ops.convert_to_tensor(waves, self.kernel.dtype), self.kernel), 0)

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same layer again."""
        return {**super().get_config(), "bearings": self.bearings}


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
