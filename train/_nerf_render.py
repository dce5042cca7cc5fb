"""Whole pictures: a camera's pose to colours, and a PNG file."""

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import write_bytes
from ._nerf_cameras import FIELD_OF_VIEW_DEGREES, rays_of
from ._task import Dataset
from ._training import outputs_of

if TYPE_CHECKING:
    import keras

Answer = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]


def picture(
    answer: Answer, pose: Any, height: int, width: int, field_of_view_degrees: float = FIELD_OF_VIEW_DEGREES
) -> np.ndarray:
    """Return what a camera sees, ``[height, width, 3]`` float32 in [0, 1].

    Args:
        answer: from rays, ``origin`` and ``direction`` ``[rays, 3]``, to their ``colour``: the ``run`` of a Host, or
            ``answer_of`` a Keras model.
        pose: ``[4, 4]``, camera to world; see ``_nerf_cameras``.
        height, width: in pixels.
        field_of_view_degrees: from the picture's left to its right edge.
    """
    origin, direction = rays_of(pose, height, width, field_of_view_degrees)
    colour = np.asarray(answer({"origin": origin, "direction": direction})["colour"])
    return np.clip(colour, 0.0, 1.0).reshape(height, width, 3).astype(np.float32)


def answer_of(model: "keras.Model", batch_size: int = 1024) -> Answer:
    """Return a trained Keras model as what ``picture`` asks."""
    return lambda rays: outputs_of(model, Dataset(dict(rays)), batch_size)


def save_png(path: Path, colours: np.ndarray) -> None:
    """Write a ``[height, width, 3]`` picture in [0, 1] as an 8-bit RGB PNG file (ISO/IEC 15948).

    Raises:
        InputError: it has another shape.
    """
    if colours.ndim != 3 or colours.shape[2] != 3 or not colours.size:
        raise InputError(f"Expected a picture [height, width, 3]. Got: {list(colours.shape)}.")
    height, width, _ = colours.shape
    levels = np.round(255 * np.clip(colours, 0.0, 1.0)).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in levels)  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    write_bytes(path, b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
