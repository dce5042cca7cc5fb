"""A view of a neural radiance field as a PNG file, rendered by an exported artifact or by the Keras model."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import runtimes
from .errors import GateFailed, InputError
from .export import Deployable, load_bundle
from .files import check_parent
from .runtimes import run_artifact
from .train import get
from .train._checkpoints import load, shipped
from .train._nerf_cameras import pose_on_sphere
from .train._nerf_render import Answer, answer_of, picture, save_png

_TIME_LIMIT_S = 600.0
# The rays of a picture lie in memory all at once.
_LARGEST_SIDE = 4096


@dataclass(frozen=True)
class View:
    """A rendered view.

    Attributes:
        path: the PNG file.
        source: what rendered it.
        seconds: that the rendering took on this host, the start of the runtime included.
    """

    path: Path
    source: str
    seconds: float


def render_view(
    bundle: Path | None,
    out: Path,
    azimuth_degrees: float,
    elevation_degrees: float,
    side: int,
    artifact: str | None = None,
    runtime: str | None = None,
) -> View:
    """Render what a camera on the sphere around the scene sees, and write it as PNG.

    Args:
        bundle: of a radiance field; None for the shipped model in Keras.
        out: the file.
        azimuth_degrees, elevation_degrees: where the camera stands.
        side: pixels along each side, at most 4096.
        artifact: a format and precision of the bundle, such as "tflite int8"; when None its first, of those that the
            runtime takes where one is named.
        runtime: what runs it; the first that takes the format when None.

    Raises:
        InputError: no such bundle, artifact or runtime; a bundle of something else; a camera above the pole; a
            picture without pixels or with too many; an artifact or runtime without a bundle.
        MissingRequirement: ``out`` cannot be written.
        GateFailed: the artifact did not run.
    """
    if not 1 <= side <= _LARGEST_SIDE:
        raise InputError(f"Expected a side of at least 1 pixel and at most {_LARGEST_SIDE}. Got: {side}.")
    if not math.isfinite(azimuth_degrees) or not -90 < elevation_degrees < 90:
        raise InputError(
            f"Expected a finite azimuth, and an elevation between -90 and 90 degrees. "
            f"Got: {azimuth_degrees:g} and {elevation_degrees:g}."
        )
    if bundle is None and (artifact or runtime):
        raise InputError(f"Expected a bundle with --artifact and --runtime. Got: none, for {artifact or runtime!r}.")
    check_parent(out)
    answer, source = _shipped() if bundle is None else _exported(bundle, artifact, runtime)
    started = time.perf_counter()
    colours = picture(answer, pose_on_sphere(azimuth_degrees, elevation_degrees), side, side)
    seconds = time.perf_counter() - started
    save_png(out, colours)
    return View(out, source, seconds)


def _shipped() -> tuple[Answer, str]:
    experiment = get("nerf").default
    checkpoint = shipped("nerf", experiment.name)
    if checkpoint is None:
        raise InputError(
            "Expected a trained radiance field. Got: none that is shipped; train one: edgewright train nerf."
        )
    return answer_of(load(checkpoint)), f"Keras, {experiment.name}"


def _exported(folder: Path, artifact: str | None, runtime: str | None) -> tuple[Answer, str]:
    bundle = load_bundle(folder)
    inputs, _ = bundle.golden()
    if set(inputs) != {"origin", "direction"}:
        raise InputError(
            f"Expected a bundle whose host code takes rays. Got: {folder}, which takes {', '.join(inputs)}."
        )
    chosen = _chosen(bundle.deployables, artifact, runtime)
    name = runtime or runtimes.for_format(chosen.format)[0]

    def answer(rays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        one = {key: array[np.newaxis] for key, array in rays.items()}
        run = run_artifact(chosen, name, one, time_limit_s=_TIME_LIMIT_S)
        if not run.ok:
            raise GateFailed(f"Expected {chosen.name} to render in {name}. Got: {run.reason}.")
        return {key: array[0] for key, array in run.outputs.items()}

    return answer, f"{chosen.name} in {name}"


def _chosen(deployables: tuple[Deployable, ...], name: str | None, runtime: str | None) -> Deployable:
    named = [each for each in deployables if name in (None, each.name)]
    if not named:
        known = ", ".join(deployable.name for deployable in deployables)
        raise InputError(f"Expected an artifact of the bundle: {known}. Got: {name!r}.")
    taken = [each for each in named if runtime is None or each.format in runtimes.get(runtime).formats]
    if not taken:
        found = ", ".join(each.name for each in named)
        raise InputError(f"Expected a runtime that takes {found}. Got: {runtime!r}, which does not.")
    return taken[0]
