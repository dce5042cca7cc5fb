"""What sparse training reaches: networks of train/sparse.py by each method and sparsity, over several seeds.

    python benchmarks/sparse_training.py                                 # LeNet-300-100; half an hour of one core
    python benchmarks/sparse_training.py --model convolutional
    python benchmarks/sparse_training.py --model scan-simple --seeds 1

Each finished training is kept below --out, so that the command goes on where it was stopped; the tables are printed
from those records alone. One run of a model at a time: two would write the same checkpoints. Zeros, compressed bytes
and latency are told apart: a zero saves bytes only once a file is compressed, and no time in a runtime that stores and
multiplies kernels dense, as the measured TFLite does.
"""

import argparse
import gzip
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgewright.cli import _import_tensorflow
from edgewright.files import write_json
from edgewright.train import get
from edgewright.train.sparse import CONVOLUTIONAL, DIGITS, METHODS, SCAN, SPARSITIES

# The method whose seed 0 is timed, and in how many processes: the median of their medians is taken.
TIMED, PROCESSES = "rigl", 5

Record = dict[str, Any]
Cell = tuple[str, int]


def main() -> None:
    """Train what is missing and print the tables."""
    options = _options()
    _import_tensorflow()
    cells = experiments_of(options.model)
    records: dict[Cell, list[Record]] = {cell: [] for cell in cells}
    for seed in range(options.seeds):  # outermost: a run that is stopped has whole seeds
        for cell, name in cells.items():
            record = _record(name, seed, options.out, options.trained)
            records[cell] += [record] if record else []
    if not records["dense", 0]:
        raise SystemExit(f"Expected the dense training of seed 0 below {options.out}. Got: none; leave out --trained.")
    timed = {percent: name for (method, percent), name in cells.items() if method in ("dense", TIMED)}
    print("\n\n".join(tables(records, _latencies(options.model, timed, options.out, options.trained))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = [dense.name for dense in (DIGITS, CONVOLUTIONAL, SCAN)]
    parser.add_argument("--model", choices=models, default=DIGITS.name, help="the dense experiment")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/sparse_training"))
    parser.add_argument("--trained", action="store_true", help="train nothing: print what lies in --out")
    return parser.parse_args()


def experiments_of(model: str) -> dict[Cell, str]:
    """Return the names of the experiments by (method, sparsity in percent), ("dense", 0) first."""
    known = {experiment.name for experiment in get("sparse").experiments}
    prefix = "" if model == DIGITS.name else f"{model}-"
    found = {(method, percent): f"{prefix}{method}-{percent}" for method in METHODS for percent in SPARSITIES}
    return {("dense", 0): model, **{cell: name for cell, name in found.items() if name in known}}


def _record(name: str, seed: int, out: Path, only_trained: bool) -> Record | None:
    """Return the record of a training, trained now unless it was."""
    import keras

    from edgewright.train._checkpoints import load
    from edgewright.training import train_experiment

    folder = out / f"{name}-{seed}"
    if not (folder / "trained.json").exists():
        if only_trained:
            return None
        print(f"training {name}, seed {seed}", flush=True)
        keras.utils.clear_session()
        train_experiment("sparse", name, seed=seed, out=folder, resume=True)
    record: Record = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    if "gzip_bytes" not in record:
        weights = b"".join(array.tobytes() for array in load(folder / "model.keras").get_weights())
        record["gzip_bytes"] = len(gzip.compress(weights, mtime=0))
        write_json(folder / "trained.json", record)
    return record


def _latencies(model: str, timed: Mapping[int, str], out: Path, only_trained: bool) -> dict[int, float]:
    """Return, by sparsity in percent, 0 for dense, the ms of the float TFLite export in LiteRT on one thread.

    Of a model with host code it is one call of the graph that its latency is counted by.
    """
    path = out / f"{model}.latency.json"
    if not path.exists():
        if only_trained:
            return {}
        write_json(path, _measure(timed, out))
    return {int(percent): ms for percent, ms in json.loads(path.read_text(encoding="utf-8")).items()}


def _measure(timed: Mapping[int, str], out: Path) -> dict[int, float]:
    from edgewright.export import convert, freeze
    from edgewright.hosting import calibration_of
    from edgewright.runtimes import run_artifact
    from edgewright.train._checkpoints import load

    found: dict[int, list[float]] = {percent: [] for percent in timed}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for percent, name in timed.items():
            print(f"exporting {name}", flush=True)
            deployment = get("sparse").experiment(name).deployment(load(out / f"{name}-0" / "model.keras"))
            graph = deployment.per or "model"
            inputs = calibration_of(deployment, 20, seed=0)[graph]
            frozen = freeze(deployment.graphs[graph], Path(folder) / name)
            made = convert(frozen, "tflite", "float32", Path(folder) / f"{name}-tflite")
            assert made.artifact, made.reason
            files[percent] = made.artifact.path, inputs
        for _ in range(PROCESSES):  # in turn, so that what else the host does falls on all of them
            for percent, (file, inputs) in files.items():
                run = run_artifact(file, "litert", inputs, measure=True)
                assert run.measurement and run.measurement.p50_ms, run.reason
                found[percent].append(run.measurement.p50_ms)
    return {percent: statistics.median(ms) for percent, ms in found.items()}


def tables(records: Mapping[Cell, list[Record]], latencies: Mapping[int, float]) -> list[str]:
    """Return the tables as text: the metric, the zeros, the compressed bytes, and the latency.

    Args:
        records: of the trainings by (method, sparsity in percent), one for each seed; ("dense", 0) is the dense one.
        latencies: ms by sparsity in percent, 0 for dense; may be empty.
    """
    dense, cells = records["dense", 0], {cell: found for cell, found in records.items() if cell[0] != "dense"}
    seeds = sorted({len(found) for found in records.values()})
    counted = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    told = "one seed" if seeds == [1] else f"mean ± standard deviation of {counted} seeds"
    metric = dense[0]["metric"]
    made = [_table(f"{metric['name']} ({metric['unit']}), {told}", records, _metric)]
    for name in dense[0].get("measures", {}):
        made.append(_table(name, records, lambda found, name=name: spread([each["measures"][name] for each in found])))
    made.append(_table("zeros in the kernels (%), mean", cells, _zeros))
    size = statistics.mean(each["gzip_bytes"] for each in dense)
    made.append(
        _table(
            f"gzip of the float weights, % of the dense one's {size:,.0f} bytes, mean",
            cells,
            lambda found: f"{100 * statistics.mean(each['gzip_bytes'] for each in found) / size:.1f}",
        )
    )
    if latencies:
        parts = [f"{percent} % {ms / latencies[0]:.2f}" for percent, ms in latencies.items() if percent]
        made.append(
            f"latency of the float TFLite export in LiteRT, one thread, as a share of the dense one's "
            f"{latencies[0]:.3g} ms ({TIMED}, seed 0): {', '.join(parts)}"
        )
    return made


def spread(values: list[float]) -> str:
    """Return mean and sample standard deviation as text; the value alone where there is one."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _metric(found: list[Record]) -> str:
    return spread([each["metric"]["value"] for each in found])


def _zeros(found: list[Record]) -> str:
    return f"{statistics.mean(each['measures']['zeros (%)'] for each in found):.2f}"


def _table(title: str, records: Mapping[Cell, list[Record]], text: Callable[[list[Record]], str]) -> str:
    """Return a table with a row for each method and a column for each sparsity; the dense one stands in the first."""
    columns = sorted({percent for method, percent in records if method != "dense"})
    rows = [["", *(f"{percent} %" for percent in columns)]]
    for method in dict.fromkeys(method for method, _ in records):
        places = [0] if method == "dense" else columns
        found = [records.get((method, percent), []) for percent in places]
        rows.append([METHODS.get(method, method), *(text(each) if each else "-" for each in found)])
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(len(columns) + 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([title, *lines])


if __name__ == "__main__":
    main()
