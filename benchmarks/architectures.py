"""What the architectures reach: every experiment trained here, with its baselines, over several seeds.

    python benchmarks/architectures.py                          # the first experiment of each architecture, seed 0
    python benchmarks/architectures.py --all --seeds 5          # everything; hours on two cores
    python benchmarks/architectures.py --architecture liquid --all --seeds 5
    python benchmarks/architectures.py --all --shipped      # trains nothing: evaluates the models that are shipped

Each finished training is kept below --out, so that the command goes on where it was stopped; the table is printed from
those records alone. MACs are those of one answer of the deployment form, or of one call of its step. With --shipped a
shipped model is evaluated now, on the whole test set, and its training time is the one in its record.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from edgewright.cli import _import_tensorflow
from edgewright.errors import MissingRequirement
from edgewright.files import sha256
from edgewright.train import Architecture, Experiment, get, names


def main() -> None:
    """Train what is missing and print the table."""
    options = _options()
    _import_tensorflow()
    chosen = [options.architecture] if options.architecture else list(names())
    rows = []
    for architecture in map(get, chosen):
        for experiment in architecture.experiments if options.all else architecture.experiments[:1]:
            records = [
                _record(architecture, experiment, seed, options.out, options.shipped) for seed in range(options.seeds)
            ]
            rows.append(_row(architecture, experiment, [record for record in records if record]))
    _print(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=names())
    parser.add_argument("--all", action="store_true", help="every experiment, baselines too, not the first alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/architectures"))
    parser.add_argument("--shipped", action="store_true", help="train nothing: what lies in --out, or is shipped")
    return parser.parse_args()


def _record(
    architecture: Architecture, experiment: Experiment, seed: int, out: Path, only_shipped: bool
) -> dict[str, Any] | None:
    """Return the record of a training, trained now unless it was."""
    from edgewright.training import train_experiment

    folder = out / architecture.name / f"{experiment.name}-{seed}"
    if not (folder / "trained.json").exists():
        if only_shipped:
            return _shipped_record(architecture, experiment, seed, folder)
        print(f"training {architecture.name} {experiment.name}, seed {seed}", flush=True)
        train_experiment(architecture.name, experiment.name, seed=seed, out=folder, resume=True)
    record: dict[str, Any] = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    if "macs" not in record:
        record["macs"] = _macs(experiment, folder / "model.keras")
        (folder / "trained.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _shipped_record(
    architecture: Architecture, experiment: Experiment, seed: int, folder: Path
) -> dict[str, Any] | None:
    """Return the record of the shipped model of that seed, with what it reaches when it is evaluated now."""
    from edgewright.train._checkpoints import load, record_of, shipped
    from edgewright.training import measured

    path = shipped(architecture.name, experiment.name)
    if path is None or record_of(path)["seed"] != seed:
        return None
    kept = folder.with_name(f"{folder.name}-shipped-{sha256(path)[:12]}.json")
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    print(f"evaluating {architecture.name} {experiment.name}", flush=True)
    try:
        record = {**record_of(path), **measured(load(path), experiment, experiment.task())}
        record["macs"] = _macs(experiment, path)
    except MissingRequirement as missing:
        print(f"left out: {missing}")
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _macs(experiment: Experiment, model: Path) -> float:
    """Return the multiply-accumulates of one answer, or of one call of the graph that latency is counted by."""
    import tempfile

    from edgewright.export import freeze
    from edgewright.hosting import answers_of
    from edgewright.train._checkpoints import load

    deployment = experiment.deployment(load(model))
    _, calls = answers_of(deployment, deployment.task.test.take(4))
    with tempfile.TemporaryDirectory() as folder:
        macs = {name: freeze(graph, Path(folder) / name).macs for name, graph in deployment.graphs.items()}
    return sum(calls[name] * count for name, count in macs.items())


def _row(architecture: Architecture, experiment: Experiment, records: list[dict[str, Any]]) -> list[str]:
    if not records:
        return [architecture.name, experiment.title, *["-"] * 6, "not trained"]
    metric = records[0]["metric"]
    values = [record["metric"]["value"] for record in records]
    measures = {
        name: statistics.mean(record["measures"][name] for record in records) for name in records[0].get("measures", {})
    }
    deployed = [record["deployed"]["value"] for record in records if "deployed" in record]
    if deployed:
        kind = records[0]["deployed"]
        measures[f"deployed: {kind['name']} ({kind['unit']}, {kind['samples']} samples)"] = statistics.mean(deployed)
    bar = "baseline" if experiment.bar is None else f"{experiment.bar:g} {metric['unit']}"
    return [
        architecture.name,
        experiment.title,
        f"{records[0]['parameters']:,}",
        f"{records[0]['macs']:,.0f}",
        f"{statistics.mean(record['wall_s'] for record in records):.0f} s",
        f"{metric['name']} {_spread(values)} {metric['unit']}",
        bar,
        str(len(values)),
        "; ".join(f"{name} {value:.4g}" for name, value in measures.items()),
    ]


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g} ({min(values):.4g} to {max(values):.4g})"


def _print(rows: list[list[str]]) -> None:
    heads = ["architecture", "experiment", "parameters", "MACs", "training", "metric", "bar", "seeds", "further"]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads) - 1)]
    for row in [heads, *rows]:
        print("  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]))


if __name__ == "__main__":
    main()
