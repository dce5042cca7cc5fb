"""Measuring side by side with the runtimes' own tools, and whether the guard on regressions can be relied on.

    python benchmarks/measure.py                                  # all sections; the guard's 400 trials take 27 minutes
    python benchmarks/measure.py --section peers --section overhead
    python benchmarks/measure.py --section guard --trials 200      # resumed where it was stopped

peers     p50 by edgewright against LiteRT's litert-benchmark, OpenVINO's benchmark_app and ONNX Runtime timed by hand,
          of the same file on one thread, in turn in fresh processes: the ratio of medians with its interval.
overhead  what the runner's call takes longer than the bare runtime call in Python, in turn in one process.
repeats   the same artifact measured again and again: how far apart the reported medians are, and how often the interval
          of one holds the median of all.
guard     compare --max-regression 5 % on an artifact that is really slowed by 10 % and on one that is not: how often
          each verdict is given.

The models are keras.applications' MobileNetV2 with random weights, which latency does not depend on, and the shipped
convolutional net. The load average is printed: start it where nothing else runs.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import edgewright
from edgewright.cli import _import_tensorflow
from edgewright.export import Bundle, Deployable, HostCode, load_bundle
from edgewright.measuring import _certain
from edgewright.runtimes import (
    MOST_PAIRS,
    Guard,
    Measured,
    Timing,
    compare,
    measure_artifact,
    measure_in_turn,
    run_artifact,
)
from edgewright.runtimes._comparison import location
from edgewright.runtimes._place import HERE

SECTIONS = ("peers", "overhead", "repeats", "guard")
LIMIT, SLOWER = 0.05, 1.10
PAIRS = 9
_BARE = Path(__file__).with_name("_measure_bare.py")
_SLOWED = Path(__file__).with_name("_slowed_host.py")
# Enough for the median, little enough for hundreds of trials.
_TRIAL = Timing(warmup_s=0.05, min_runs=20, min_time_s=0.1, max_runs=1000)


def main() -> None:
    """Print the tables of the chosen sections."""
    arguments = _arguments()
    conditions = HERE.conditions()
    print(f"{conditions['cpu']}, {conditions['cores_allowed']} of {conditions['cores']} cores, one thread")
    print(f"load average {os.getloadavg()[0]:.2f} at the start", flush=True)
    bundles = {name: _bundle(name, arguments.out) for name in ("mobilenet_v2", "convolutional")}
    for section in arguments.section or SECTIONS:
        print(f"\n{section}", flush=True)
        if section == "peers":
            _peers(bundles, arguments.seconds)
        elif section == "overhead":
            _overhead(bundles, arguments.seconds)
        elif section == "repeats":
            _repeats(bundles, arguments.repeats)
        else:
            _guard(bundles["convolutional"], arguments.trials, arguments.out)
    print(f"\nload average {os.getloadavg()[0]:.2f} at the end")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", action="append", choices=SECTIONS)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a peer is timed in a process")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--trials", type=int, default=200, help="of the guard, each with and without a slowdown")
    parser.add_argument("--out", type=Path, default=Path("build/measure"))
    return parser.parse_args()


def _bundle(name: str, out: Path) -> Bundle:
    folder = out / name
    if not (folder / "manifest.json").exists():
        _import_tensorflow()
        print(f"{name}: exporting", file=sys.stderr, flush=True)
        compressed = edgewright.compress(_model(name), None, "float32")
        edgewright.export(compressed, folder)
    return load_bundle(folder)


def _model(name: str) -> Any:
    if name == "convolutional":
        from edgewright.train import get
        from edgewright.train._checkpoints import load, shipped

        checkpoint = shipped(name, get(name).default.name)
        assert checkpoint is not None
        return load(checkpoint)
    import keras

    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2((224, 224, 3), weights=None, classes=10)


def _timed(bundles: dict[str, Bundle]) -> Iterator[tuple[str, Deployable, str]]:
    runtimes = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}
    for name, bundle in bundles.items():
        for deployable in bundle.deployables:
            yield name, deployable, runtimes[deployable.format]


def _peers(bundles: dict[str, Bundle], seconds: float) -> None:
    print("model          runtime      edgewright p50 ms  peer p50 ms  edgewright / peer          peer")
    for name, deployable, runtime in _timed(bundles):
        (artifact,) = deployable.artifacts
        inputs, _ = bundles[name].golden()
        ours, theirs = [], []
        title, peer = {
            "litert": ("litert-benchmark", _litert_benchmark),
            "openvino": ("benchmark_app", _benchmark_app),
            "onnxruntime": ("session.run in a loop", _by_hand),
        }[runtime]
        for turn in range(PAIRS):
            for mine in (True, False) if turn % 2 else (False, True):
                if mine:
                    run = run_artifact(deployable, runtime, inputs, measure=Timing(min_time_s=seconds, max_runs=100000))
                    assert run.measurement is not None, run.reason
                    ours.append(run.measurement.processes[0].median_ms)
                else:
                    theirs.append(peer(artifact.path, ours[-1] if ours else None, seconds))
        middle, low, high = location(np.log(np.divide(ours, theirs)).tolist())
        print(
            f"{name:14} {runtime:12} {statistics.median(ours):17.4f}  {statistics.median(theirs):11.4f}  "
            f"{np.exp(middle):.3f} ({np.exp(low):.3f} to {np.exp(high):.3f})     {title}",
            flush=True,
        )


def _litert_benchmark(path: Path, expected_ms: float | None, seconds: float) -> float:
    """Return the median of litert-benchmark, which rounds it to 0.01 ms and leaves out the copying of tensors."""
    count = str(max(int(1e3 * seconds / (expected_ms or 10)), 50))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [_tool("litert-benchmark"), "--model", str(path), "--num_runs", count, "--num_threads", "1"]
        _done([*command, "--warmup_runs", "50", "--result_json", str(result)])
        latency: float = json.loads(result.read_text())["latency"]["median_ms"]
    return latency


def _benchmark_app(path: Path, expected_ms: float | None, seconds: float) -> float:
    """Return the median of benchmark_app, told to count the filling of inputs too, as edgewright does."""
    command = [
        _tool("benchmark_app"),
        "-m",
        str(path),
        "-d",
        "CPU",
        "-hint",
        "none",
        "-nstreams",
        "1",
        "-nthreads",
        "1",
    ]
    command += [
        "-inference_only",
        "false",
        "-api",
        "sync",
        "-infer_precision",
        "f32",
        "-t",
        str(max(round(seconds), 1)),
    ]
    found = re.search(r"Median:\s+([\d.]+) (ms|us)", _done(command))
    assert found is not None
    return float(found.group(1)) / (1e3 if found.group(2) == "us" else 1)


def _by_hand(path: Path, expected_ms: float | None, seconds: float) -> float:
    """Return the median of ``session.run`` in a loop."""
    (taken,) = json.loads(_done([sys.executable, str(_BARE), "onnxruntime", str(path), str(seconds)]))
    return statistics.median(taken)


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _done(command: list[str]) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    if done.returncode:
        raise SystemExit(f"Expected {Path(command[0]).name} to run. Got: {done.stderr.strip()[-500:]}")
    return done.stdout


def _overhead(bundles: dict[str, Bundle], seconds: float) -> None:
    print(
        "model          runtime      bare call us   longer by us: runner (quartiles)   as host code calls (quartiles)"
    )
    for name, deployable, runtime in _timed(bundles):
        path = deployable.artifacts[0].path
        lists = json.loads(_done([sys.executable, str(_BARE), runtime, str(path), str(seconds), "turns"]))
        bare, ours, hosted = (1e3 * np.array(each) for each in lists)
        cells = []
        for longer in (ours - bare, hosted - bare):
            low, middle, high = np.percentile(longer, (25, 50, 75))
            cells.append(f"{middle:+.2f} ({low:+.2f} to {high:+.2f})")
        print(f"{name:14} {runtime:12} {np.median(bare):12.1f}   {cells[0]:33} {cells[1]}", flush=True)


def _repeats(bundles: dict[str, Bundle], repeats: int) -> None:
    print(
        "model          runtime      p50 ms      spread of p50   intervals that hold the middle   cold / warm load ms"
    )
    for name, deployable, runtime in _timed(bundles):
        inputs, _ = bundles[name].golden()
        made = [measure_artifact(deployable, runtime, inputs).measurement for _ in range(repeats)]
        measured = [each for each in made if each is not None]
        figures = [figure for each in measured if (figure := each.latency()) is not None]
        values = [figure.value for figure in figures]
        middle = statistics.median(values)
        held = sum(figure.low <= middle <= figure.high for figure in figures if figure.low and figure.high)
        spread = f"{100 * (min(values) / middle - 1):+.1f} to {100 * (max(values) / middle - 1):+.1f} %"
        cold = statistics.median(each.load_cold_ms or 0.0 for each in measured)
        warm = statistics.median(each.load_ms for each in measured)
        print(
            f"{name:14} {runtime:12} {middle:.5f}   {spread:17} {held} of {len(figures):<27} {cold:.1f} / {warm:.1f}",
            flush=True,
        )


def _guard(bundle: Bundle, trials: int, out: Path) -> None:
    """Give verdicts on an artifact that is slowed and on one that is not; each trial is written down at once."""
    (deployable,) = [each for each in bundle.deployables if each.format == "tflite"]
    inputs, _ = bundle.golden()
    programs = {factor: _slowed(deployable, factor, out) for factor in (1.0, SLOWER)}
    record = out / f"guard-{deployable.artifacts[0].sha256[:12]}.jsonl"
    known = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    for trial in range(trials):
        for factor in (SLOWER, 1.0):
            if any((each["trial"], each["factor"]) == (trial, factor) for each in known):
                continue
            started = time.monotonic()
            pair = [Measured(each, "litert", inputs) for each in (programs[1.0], programs[factor])]
            *_, last = measure_in_turn(pair, processes=MOST_PAIRS, timing=_TRIAL, enough=_certain(LIMIT))
            one, two = (run.measurement for run in last)
            assert one is not None and two is not None
            made = compare(one, two)
            known.append(
                {
                    "trial": trial,
                    "factor": factor,
                    "verdict": made.guard(LIMIT),
                    "ratio": made.ratio.value,
                    "pairs": len(one.processes),
                    "seconds": time.monotonic() - started,
                    "load": os.getloadavg()[0],
                }
            )
            with record.open("a") as file:
                file.write(json.dumps(known[-1]) + "\n")
    for factor, verdict, asked in ((SLOWER, "found", "at least 95"), (1.0, "false alarms", "at most 1")):
        mine = [each for each in known if each["factor"] == factor]
        failed = sum(each["verdict"] == Guard.FAIL for each in mine)
        unsure = sum(each["verdict"] == Guard.INCONCLUSIVE for each in mine)
        ratios, pairs, seconds = ([each[key] for each in mine] for key in ("ratio", "pairs", "seconds"))
        print(
            f"slowed by {100 * (factor - 1):.0f} %, limit {100 * LIMIT:g} %, {len(mine)} trials: {verdict} "
            f"{100 * failed / len(mine):.1f} % (asked: {asked}), inconclusive {100 * unsure / len(mine):.1f} %; "
            f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); "
            f"{statistics.median(pairs):g} pairs ({min(pairs)} to {max(pairs)}), {statistics.median(seconds):.1f} s",
            flush=True,
        )
    loads = [each["load"] for each in known]
    print(f"load average while timing {min(loads):.2f} to {max(loads):.2f}")


def _slowed(deployable: Deployable, factor: float, out: Path) -> Deployable:
    settings = out / f"slowed-{factor:g}.json"
    settings.write_text(json.dumps({"factor": factor, "graph": deployable.artifacts[0].graph}))
    return Deployable(deployable.artifacts, HostCode(_SLOWED, settings))


if __name__ == "__main__":
    main()
