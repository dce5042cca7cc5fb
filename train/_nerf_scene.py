"""The mitsuba scene: five solids on a checkered disc under a white sky, rendered by path tracing.

Rendered with Mitsuba 3 (Jakob et al., 2022, the package ``mitsuba``), variant ``scalar_rgb``. The sky is a constant
emitter of radiance 1, so that what shows no object is white; a distant light adds shade. Two of the solids are glossy:
their highlights move with the camera, which is what a view direction is for. Pictures are sRGB in [0, 1].
"""

import functools
import importlib.util
import sys
from typing import Any

import numpy as np

from ..children import run_child
from ..held import temporary_folder
from ._nerf_cameras import FIELD_OF_VIEW_DEGREES, poses_around, rays_of
from ._sources import made_once, require
from ._task import Arrays

# All solids lie within this box; rays that miss it show the sky.
LOWEST = (-1.0, -1.0, -0.62)
HIGHEST = (1.0, 1.0, 0.58)
SKY = 1.0
SIDE = 100
TRAINING_VIEWS, HELD_OUT_VIEWS = 30, 5
_VERSION = "v1"


def _renderer() -> Any:
    mitsuba = require("mitsuba", "mitsuba", "train", "which renders the scene")
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def _solid(kind: str, transform: Any, colour: tuple[float, float, float], gloss: float = 0.0) -> dict[str, Any]:
    """Return a shape: matt, or with a plastic coat of roughness ``gloss``."""
    reflectance = {"type": "rgb", "value": list(colour)}
    matt = {"type": "diffuse", "reflectance": reflectance}
    coated = {"type": "roughplastic", "diffuse_reflectance": reflectance, "alpha": gloss}
    surface = coated if gloss else {"type": "twosided", "bsdf": matt}
    return {"type": kind, "to_world": transform, "material": surface}


@functools.cache
def _scene() -> Any:
    mitsuba = _renderer()
    place = mitsuba.ScalarTransform4f
    checks = {
        "type": "checkerboard",
        "color0": {"type": "rgb", "value": [0.75, 0.72, 0.65]},
        "color1": {"type": "rgb", "value": [0.18, 0.28, 0.22]},
        "to_uv": place().scale([2, 4, 1]),
    }
    return mitsuba.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 5},
            "sky": {"type": "constant", "radiance": {"type": "rgb", "value": SKY}},
            "sun": {"type": "directional", "direction": [0.5, 0.7, -1.0], "irradiance": {"type": "rgb", "value": 0.8}},
            "ground": {
                "type": "disk",
                "to_world": place().translate([0, 0, -0.6]).scale(0.98),
                "material": {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": checks}},
            },
            "ball": _solid("sphere", place().translate([0.35, 0.3, -0.25]).scale(0.35), (0.7, 0.08, 0.06), 0.15),
            "box": _solid(
                "cube",
                place().translate([-0.4, 0.35, -0.2]).rotate([0, 0, 1], 30).scale([0.22, 0.22, 0.4]),
                (0.1, 0.2, 0.65),
            ),
            "slab": _solid(
                "cube",
                place().translate([-0.4, 0.35, 0.32]).rotate([0, 0, 1], 62).scale([0.3, 0.12, 0.12]),
                (0.85, 0.6, 0.1),
            ),
            "pearl": _solid("sphere", place().translate([-0.1, -0.55, -0.38]).scale(0.22), (0.15, 0.5, 0.25), 0.1),
            "stone": _solid("sphere", place().translate([0.5, -0.35, -0.48]).scale(0.12), (0.8, 0.75, 0.7)),
        }
    )


def rendered(pose: np.ndarray, side: int = SIDE, samples_per_pixel: int = 256, seed: int = 0) -> np.ndarray:
    """Return the scene from a pose, ``[side, side, 3]`` float32 sRGB in [0, 1], by path tracing.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    scene, mitsuba = _scene(), _renderer()
    right, up, backward, place = pose[:3].T
    camera = mitsuba.load_dict(
        {
            "type": "perspective",
            "fov": FIELD_OF_VIEW_DEGREES,
            "fov_axis": "x",
            "to_world": mitsuba.ScalarTransform4f().look_at(
                origin=place.tolist(), target=(place - backward).tolist(), up=up.tolist()
            ),
            # A box filter: each sample counts in one pixel, so that the order of the threads changes nothing.
            "film": {"type": "hdrfilm", "width": side, "height": side, "rfilter": {"type": "box"}},
            "sampler": {"type": "independent", "sample_count": samples_per_pixel},
        }
    )
    light = np.array(mitsuba.render(scene, sensor=camera, seed=seed))[..., :3].astype(np.float64)
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def pictures(poses: np.ndarray, side: int = SIDE, samples_per_pixel: int = 256, first_seed: int = 0) -> np.ndarray:
    """Return ``[poses, side, side, 3]`` pictures."""
    return np.stack([rendered(pose, side, samples_per_pixel, first_seed + place) for place, pose in enumerate(poses)])


@functools.cache
def views() -> Arrays:
    """Return the views: ``poses`` ``[35, 4, 4]`` and ``pictures`` ``[35, 100, 100, 3]``, the held-out five last.

    Rendered once and kept.

    Raises:
        MissingRequirement: the extra ``train`` is not installed, and they are not kept.
    """
    poses = np.concatenate([poses_around(TRAINING_VIEWS), poses_around(HELD_OUT_VIEWS, turn_degrees=67.0)])
    return made_once(f"nerf-mitsuba-{SIDE}-{_VERSION}", lambda: _made_in_child(poses, SIDE, 256, 0))


def held_out_views(side: int) -> Arrays:
    """Return the held-out five at another size: ``poses`` ``[5, 4, 4]`` and ``pictures`` ``[5, side, side, 3]``.

    Rendered once and kept; at ``SIDE`` they are those of ``views``.

    Raises:
        MissingRequirement: the extra ``train`` is not installed, and they are not kept.
    """
    if side == SIDE:
        return {name: array[-HELD_OUT_VIEWS:] for name, array in views().items()}
    poses = poses_around(HELD_OUT_VIEWS, turn_degrees=67.0)
    name = f"nerf-mitsuba-{side}-held-out-{_VERSION}"
    return made_once(name, lambda: _made_in_child(poses, side, 256, TRAINING_VIEWS))


@functools.cache
def more_views(count: int) -> Arrays:
    """Return ``poses`` and ``pictures`` of further training views, fewer samples per pixel; rendered once and kept.

    None of their cameras stands where a held-out one does.
    """
    poses = poses_around(count, turn_degrees=23.0, lowest=5.0, highest=68.0)
    return made_once(f"nerf-mitsuba-{SIDE}-more-{count}-{_VERSION}", lambda: _made_in_child(poses, SIDE, 64, 1000))


def _made_in_child(poses: np.ndarray, side: int, samples_per_pixel: int, first_seed: int) -> Arrays:
    """Render in a process of its own: one that has loaded TensorFlow before mitsuba 3.9 aborts when it ends."""
    if importlib.util.find_spec("mitsuba") is None:
        _renderer()
    with temporary_folder("scene") as folder:
        wanted, made = folder / "wanted.npz", folder / "made.npz"
        np.savez(wanted, poses=poses, side=side, samples_per_pixel=samples_per_pixel, first_seed=first_seed)
        child = run_child([sys.executable, "-m", __name__, wanted, made], time_limit_s=1800)
        if not child.ok:
            raise RuntimeError(f"rendering {len(poses)} views with mitsuba failed: {child.reason()}")
        with np.load(made, allow_pickle=False) as arrays:
            return {"poses": poses, "pictures": arrays["pictures"]}


def rays_and_colours(poses: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return origins, directions and colours, each ``[views * SIDE * SIDE, 3]``."""
    rays = np.concatenate([rays_of(pose, SIDE, SIDE) for pose in poses], axis=1)
    return rays[0], rays[1], shown.reshape(-1, 3).astype(np.float32)


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as job:
        shown = pictures(job["poses"], *(int(job[name]) for name in ("side", "samples_per_pixel", "first_seed")))
    np.savez(sys.argv[2], pictures=shown)
