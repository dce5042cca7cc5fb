"""Molecular dynamics by an exported potential: how well the energy of ethanol is kept, in Keras and in every runtime.

    python benchmarks/molecular_dynamics.py                       # the shipped potential, 10 ps from 300 K; minutes
    python benchmarks/molecular_dynamics.py --picoseconds 2 --model build/forces/model.keras

Velocity Verlet at constant energy in steps of 0.5 fs, each run in a child process around the artifact, as on a device.
The total energy is the kinetic one and the potential one that the artifact itself gives. Its drift is the slope of the
line of least squares through it, its fluctuation the deviation about that line. Forces that are no energy's slopes, as
those of an artifact in int8, heat or cool the molecule: that is the drift.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.cli import _import_tensorflow
from edgewright.train import Deployment, get
from edgewright.train._graph_dynamics import conservation

if TYPE_CHECKING:
    from edgewright.export import Bundle

EXPERIMENT = "schnet-ethanol-forces"
ATOMS = 9
# A run of dynamics may take this long.
_TIME_LIMIT_S = 3600.0


def main() -> None:
    """Export the potential, move the molecule by every artifact, and print the table."""
    options = _options()
    _import_tensorflow()
    import edgewright
    from edgewright.hosting import answers_of
    from edgewright.train._checkpoints import load, shipped
    from edgewright.train.graph import deploy_dynamics

    experiment = get("graph").experiment(EXPERIMENT)
    path = options.model or shipped("graph", EXPERIMENT)
    assert path is not None
    model = load(path)
    compressed = edgewright.compress(model, experiment.task(), "int8")
    bundle = edgewright.export(compressed, options.out / "bundle", deploy=experiment.deploy, work=options.out / "work")
    for name, reason in bundle.manifest["failures"].items():
        print(f"{name}: {reason}")

    dynamics = deploy_dynamics(load(path), options.picoseconds, options.temperature, options.seed)
    evidence = bundle.manifest["evidence"]
    answers, _ = answers_of(dynamics, dynamics.task.test)
    rows = [_row("keras", "keras", evidence["original_metric"], answers, dynamics)]
    rows += _rows_of(bundle, dynamics, evidence["checks"], options.out)
    _print(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a trained potential; the shipped one by default")
    parser.add_argument("--picoseconds", type=float, default=10.0)
    parser.add_argument("--temperature", type=float, default=300.0, help="of the start, in kelvin")
    parser.add_argument("--seed", type=int, default=0, help="of the velocities at the start")
    parser.add_argument("--out", type=Path, default=Path("build/molecular_dynamics"))
    return parser.parse_args()


def _rows_of(bundle: "Bundle", dynamics: Deployment, checks: list[dict[str, Any]], out: Path) -> list[list[str]]:
    """Return a row for each artifact in each runtime that takes it, referees left out."""
    from edgewright import runtimes
    from edgewright.export import HostCode
    from edgewright.files import write_json
    from edgewright.runtimes import run_artifact

    assert dynamics.host is not None
    settings = out / "dynamics.json"
    write_json(settings, dict(dynamics.settings))
    errors = {(check["artifact"], check["runtime"]): check["metric"] for check in checks}
    rows = []
    for deployable in bundle.deployables:
        moving = replace(deployable, host=HostCode(dynamics.host, settings))
        for runtime in runtimes.for_format(deployable.format):
            if runtimes.get(runtime).referee:
                continue
            run = run_artifact(moving, runtime, dynamics.task.test.inputs, time_limit_s=_TIME_LIMIT_S)
            if run.ok:
                rows.append(_row(deployable.name, runtime, errors[deployable.name, runtime], run.outputs, dynamics))
            else:
                rows.append([deployable.name, runtime, *["-"] * 6, run.reason])
    return rows


def _row(
    artifact: str, runtime: str, error: float | None, answers: Mapping[str, np.ndarray], dynamics: Deployment
) -> list[str]:
    kept = conservation(answers["potential"][0], answers["kinetic"][0], dynamics.settings["dynamics"]["step_fs"])
    return [
        artifact,
        runtime,
        "-" if error is None else f"{1000 * error:.1f} meV/A",
        f"{kept.drift_mev_per_ps:+.3g} meV/ps",
        f"{kept.drift_mev_per_ps / ATOMS:+.2g} meV/ps",
        f"{kept.fluctuation_mev:.3g} meV",
        f"{kept.temperature:.0f} K",
        f"{kept.steps:,}",
        "" if kept.steps == dynamics.settings["dynamics"]["steps"] else "ended in numbers that are not finite",
    ]


def _print(rows: list[list[str]]) -> None:
    heads = ["artifact", "runtime", "force error", "drift", "per atom", "fluctuation", "temperature", "steps", ""]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    for row in [heads, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
