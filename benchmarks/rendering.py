"""Quality against speed: dB and frames per second of the radiance field and the light field, rendered here.

    python benchmarks/rendering.py                                   # both models, every format, one thread
    python benchmarks/rendering.py --sides 100 --threads 1 2 --formats tflite

The shipped models are exported as float32 and static int8; each artifact renders the held-out views in the runtimes
that take it, host code included, in a child process. A view's time is the median after a warm-up: what is measured is
this host, and what else it was doing, for which the load and the fastest view are printed. Evaluations and MACs are
those of the networks, from the rays that meet the scene's box and how often each is sampled, whatever the host. The
truth is path-traced at each size.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgewright
from edgewright import runtimes
from edgewright.cli import _import_tensorflow
from edgewright.export import Bundle, Deployable
from edgewright.export import names as format_names
from edgewright.runtimes import Settings, run_artifact
from edgewright.train import Experiment, get, nerf
from edgewright.train._checkpoints import load, shipped
from edgewright.train._nerf_cameras import rays_of
from edgewright.train._nerf_quality import object_psnr, psnr, ssim
from edgewright.train._nerf_scene import held_out_views

_HEADS = (
    ("model", "artifact", "runtime", "threads", "side")
    + ("PSNR dB", "objects dB", "SSIM", "s/view", "fastest", "views/s")
    + ("evaluations/view", "MMACs/view")
)
_TIME_LIMIT_S = 600.0


@dataclass(frozen=True)
class Views:
    """The held-out views at one size.

    Attributes:
        side: pixels along each side.
        rays: ``origin`` and ``direction`` ``[views, side * side, 3]``.
        pictures: ``[views, side, side, 3]``, the truth.
    """

    side: int
    rays: dict[str, np.ndarray]
    pictures: np.ndarray

    @classmethod
    def of(cls, side: int) -> "Views":
        """Return the views at a size."""
        made = held_out_views(side)
        origin, direction = np.stack([rays_of(pose, side, side) for pose in made["poses"]], axis=1)
        return cls(side, {"origin": origin, "direction": direction}, made["pictures"])

    @property
    def met(self) -> float:
        """How many rays of a view meet the scene, on average."""
        hits = nerf.hits(*(self.rays[name].reshape(-1, 3) for name in ("origin", "direction")))
        return float(hits.sum()) / len(self.pictures)


def main() -> None:
    """Export what is missing, render, and print the table."""
    options = _options()
    _import_tensorflow()
    views = [Views.of(side) for side in options.sides]
    print(f"load before {os.getloadavg()[0]:.2f}; {options.seconds:g} s of timing for each row", flush=True)
    rows = [_HEADS]
    for name in options.models:
        bundle = _bundle(get("nerf").experiment(name), tuple(options.formats), options.out)
        for deployable, runtime in _pairs(bundle, options.runtimes):
            for seen in views:
                for threads in options.threads:
                    rows.append(_row(name, bundle, deployable, runtime, seen, threads, options.seconds))
                    print(*rows[-1], sep="  ", flush=True)
    print(f"load after {os.getloadavg()[0]:.2f}\n")
    _print(rows)


def _options() -> argparse.Namespace:
    known = [experiment.name for experiment in get("nerf").experiments]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=known, default=known)
    parser.add_argument("--formats", nargs="+", choices=format_names(), default=list(format_names()))
    parser.add_argument("--runtimes", nargs="+", choices=runtimes.names(), default=_timed_runtimes())
    parser.add_argument("--sides", nargs="+", type=int, default=[50, 100, 200], help="pixels along a view's side")
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a row is timed, at least")
    parser.add_argument("--out", type=Path, default=Path("build/rendering"))
    return parser.parse_args()


def _bundle(experiment: Experiment, formats: tuple[str, ...], out: Path) -> Bundle:
    """Return the shipped model's bundle of float32 and int8 artifacts; conversions done before are kept."""
    checkpoint = shipped("nerf", experiment.name)
    if checkpoint is None:
        raise SystemExit(f"Expected a shipped model of {experiment.name}. Got: none.")
    compressed = edgewright.compress(load(checkpoint), experiment.task(), "int8")
    folder = out / experiment.name
    return edgewright.export(compressed, folder, formats, deploy=experiment.deploy, work=out / "work" / experiment.name)


def _timed_runtimes() -> list[str]:
    return [name for name in runtimes.names() if not runtimes.get(name).referee and runtimes.get(name).version()]


def _pairs(bundle: Bundle, chosen: list[str]) -> Iterator[tuple[Deployable, str]]:
    """Yield each artifact with each chosen runtime that takes it."""
    for deployable in bundle.deployables:
        for name in runtimes.for_format(deployable.format):
            if name in chosen:
                yield deployable, name


def _row(
    model: str, bundle: Bundle, deployable: Deployable, runtime: str, views: Views, threads: int, seconds: float
) -> tuple[str, ...]:
    row = [model, deployable.name, runtime, str(threads), str(views.side)]
    started = time.perf_counter()
    run = run_artifact(deployable, runtime, views.rays, settings=Settings(threads), time_limit_s=_TIME_LIMIT_S)
    if not run.ok:
        return _filled(*row, f"failed: {run.reason}")
    colours = run.outputs["colour"].reshape(views.pictures.shape)
    pairs = zip(colours, views.pictures, strict=True)
    row += [f"{psnr(colours, views.pictures):.2f}", f"{object_psnr(colours, views.pictures):.2f}"]
    row.append(f"{statistics.mean(ssim(shown, true) for shown, true in pairs):.4f}")

    # The runner times for a quarter of its limit, and warms up as long; its start and first answers take the rest.
    a_view = (time.perf_counter() - started) / len(views.pictures)
    limit_s = 4 * max(seconds, 3 * a_view)
    two = {name: array[:2] for name, array in views.rays.items()}
    timed = run_artifact(deployable, runtime, two, settings=Settings(threads), measure=True, time_limit_s=limit_s)
    if timed.measurement is None:
        return _filled(*row, f"failed: {timed.reason}")
    taken_s = statistics.median(timed.measurement.samples_ms) / 1e3
    row += [f"{taken_s:.4f}", f"{min(timed.measurement.samples_ms) / 1e3:.4f}", f"{1 / taken_s:.3g}"]
    row.append(f"{views.met * sum(_samples(_settings(bundle)).values()):,.0f}")
    row.append(f"{views.met * _macs_per_ray(bundle, deployable) / 1e6:,.0f}")
    return tuple(row)


def _filled(*cells: str) -> tuple[str, ...]:
    return (*cells, *[""] * (len(_HEADS) - len(cells)))


def _settings(bundle: Bundle) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((bundle.path / "host.json").read_text(encoding="utf-8"))
    return settings


def _samples(settings: dict[str, Any]) -> dict[str, int]:
    """Return how often each graph is evaluated for a ray that meets the scene."""
    if "coarse_samples" in settings:
        return {"coarse": settings["coarse_samples"], "fine": settings["fine_samples"]}
    return {"light_field": 1}


def _macs_per_ray(bundle: Bundle, deployable: Deployable) -> float:
    settings = _settings(bundle)
    size = settings.get("samples_per_call") or settings["rays_per_call"]
    samples = _samples(settings)
    return sum(artifact.macs / size * samples[artifact.graph] for artifact in deployable.artifacts)


def _print(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
