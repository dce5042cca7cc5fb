"""Cameras on a sphere about the scene, and their rays.

A pose is ``[4, 4]``, camera to world: its columns are right, up, backward and the place (Mildenhall et al., 2020).
"""

import math
from typing import Any

import numpy as np

from ..errors import InputError

RADIUS = 4.0
FIELD_OF_VIEW_DEGREES = 32.0
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def look_at(place: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
    """Return the pose ``[4, 4]`` of a camera at ``place`` that looks at ``target``, the origin by default, z upward.

    Raises:
        InputError: the camera stands at the target, or straight above or below it.

    >>> look_at(np.array([0.0, -4.0, 0.0]))[:3, 2]
    array([ 0., -1.,  0.])
    """
    place = np.asarray(place, np.float64)
    backward = place - (np.zeros(3) if target is None else np.asarray(target, np.float64))
    right = np.cross([0.0, 0.0, 1.0], backward)
    if np.linalg.norm(right) < 1e-6 * max(1.0, float(np.linalg.norm(backward))):
        raise InputError(f"Expected a camera beside its target, not on it nor straight above it. Got: {place}.")
    backward = backward / np.linalg.norm(backward)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(backward, right), backward, place], axis=1)
    return pose


def pose_on_sphere(azimuth_degrees: float, elevation_degrees: float, radius: float = RADIUS) -> np.ndarray:
    """Return the pose ``[4, 4]`` of a camera on the sphere that looks at its centre."""
    azimuth, elevation = math.radians(azimuth_degrees), math.radians(elevation_degrees)
    level = radius * math.cos(elevation)
    return look_at(np.array([level * math.cos(azimuth), level * math.sin(azimuth), radius * math.sin(elevation)]))


def poses_around(count: int, turn_degrees: float = 0.0, lowest: float = 8.0, highest: float = 65.0) -> np.ndarray:
    """Return ``[count, 4, 4]`` poses spread evenly over a belt of the sphere, along a Fibonacci spiral.

    Args:
        count: of cameras.
        turn_degrees: by which all of them are turned about the vertical.
        lowest, highest: elevation in degrees between which they stand.
    """
    heights = np.linspace(math.sin(math.radians(lowest)), math.sin(math.radians(highest)), 2 * count + 1)[1::2]
    return np.stack(
        [
            pose_on_sphere(turn_degrees + math.degrees(number * _GOLDEN_ANGLE), math.degrees(math.asin(height)))
            for number, height in enumerate(heights)
        ]
    )


def rays_of(pose: Any, height: int, width: int, field_of_view_degrees: float = FIELD_OF_VIEW_DEGREES) -> np.ndarray:
    """Return ``[2, height * width, 3]`` float32: origins and unit directions of the rays through the pixels' centres.

    Args:
        pose: ``[4, 4]``, camera to world.
        height, width: of the picture, in pixels.
        field_of_view_degrees: from the picture's left to its right edge.

    Raises:
        InputError: the pose is not ``[4, 4]``.
    """
    pose = np.asarray(pose, np.float64)
    if pose.shape != (4, 4):
        raise InputError(f"Expected a camera's pose as a [4, 4] matrix. Got: {list(pose.shape)}.")
    half = math.tan(math.radians(field_of_view_degrees) / 2)
    x = (2 * (np.arange(width) + 0.5) / width - 1) * half
    y = (1 - 2 * (np.arange(height) + 0.5) / height) * half * height / width
    directions = np.stack([*np.meshgrid(x, y), np.full((height, width), -1.0)], axis=-1).reshape(-1, 3)
    directions = directions @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.stack([np.broadcast_to(pose[:3, 3], directions.shape), directions]).astype(np.float32)
