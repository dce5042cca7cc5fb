"""Memory: the predicted peak of a runtime with a file against the real one, on models that the fit has not seen.

    python benchmarks/memory.py                      # builds, measures, fits, judges; an hour of one core at first
    python benchmarks/memory.py --kept               # computes nothing: prints what lies in --out
    python benchmarks/memory.py --runtime litert --model unet-128
    python benchmarks/memory.py --write              # writes devices/profiles/memory_fits.json

Each model is written as TFLite, ONNX and OpenVINO files in float32, float16 and int8, as far as the bare converters
write them, and run once on one sample by the runner in a fresh process. What is real is the largest resident set of
that process (VmHWM), file pages included, less what Python and NumPy had before the runtime was imported ("runtime +
model"), or less what was there after ("model alone"). The prediction is the sum that ``predict_memory`` makes; what of
it is fitted is fitted without the files of the judged model's whole family. Plain rules stand beside it: the file's
size, and the file's size plus all activations. With ``--each`` every file has a row.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from _memory_models import MODELS
from scipy.optimize import nnls

from edgewright.children import GIB, python, run_child
from edgewright.devices._memory import FACTORS, sizes_of
from edgewright.devices._memory_plan import constants_of, tensor_bytes
from edgewright.export._graph import Graph, graph_of
from edgewright.export._reading import read_graph
from edgewright.runtimes._client import RUNNER
from edgewright.runtimes._place import HERE
from edgewright.runtimes._runner import save

RUNTIMES = {"litert": ".tflite", "tflite_runtime": ".tflite", "onnxruntime": ".onnx", "openvino": ".xml"}
NEAR = 0.15
MIB = 2**20


def main() -> None:
    """Build and measure what is missing, and print the tables."""
    arguments = _arguments()
    out = arguments.out
    measured = json.loads((out / "measured.json").read_text()) if (out / "measured.json").is_file() else {}
    for name in () if arguments.kept else arguments.model or MODELS:
        _build(name, out)
        for runtime in arguments.runtime:
            for path in sorted((out / name).glob(f"model.*{RUNTIMES[runtime]}")):
                key = f"{runtime} {name}/{path.name}"
                if key not in measured:
                    measured[key] = _measure(runtime, path)
                    (out / "measured.json").write_text(json.dumps(measured, indent=1))
    document = {"machine": HERE.conditions()["cpu"], "runtimes": {}}
    for runtime in arguments.runtime:
        rows = [_row(key, found, out) for key, found in measured.items() if key.split()[0] == runtime and found["ok"]]
        if len({row["family"] for row in rows}) > 1:
            document["runtimes"][runtime] = _judge(runtime, rows, arguments.each)
        for key, found in measured.items():
            if key.split()[0] == runtime and not found["ok"]:
                print(f"  left out: {key}: {found['reason'][:110]}")
    if arguments.write:
        target = Path(__file__).parents[1] / "devices/profiles/memory_fits.json"
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=tuple(MODELS))
    parser.add_argument("--runtime", action="append", choices=tuple(RUNTIMES))
    parser.add_argument("--out", type=Path, default=Path("build/memory"))
    parser.add_argument("--each", action="store_true", help="a row for every file")
    parser.add_argument("--kept", action="store_true", help="compute nothing: print what lies in --out")
    parser.add_argument("--write", action="store_true", help="write the fits that predictions are made with")
    arguments = parser.parse_args()
    arguments.runtime = arguments.runtime or list(RUNTIMES)
    return arguments


def _build(name: str, out: Path) -> None:
    """Let a child write a model's files: a converter that dies leaves those that were written before."""
    done = out / name / "done"
    if not done.is_file():
        child = run_child(
            python(Path(__file__).with_name("_memory_models.py"), name, (out / name).absolute()),
            time_limit_s=900,
            memory_limit_bytes=16 * GIB,
            environment={"TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        (out / name).mkdir(parents=True, exist_ok=True)
        done.write_text(child.reason() if not child.ok else "ok", encoding="utf-8")


def _graph(path: Path) -> Graph:
    """Return a file's graph; it is read once and kept beside the file."""
    kept = path.with_name(path.name + ".json")
    if not kept.is_file():
        kept.write_text(json.dumps(read_graph(path).plain()), encoding="utf-8")
    return graph_of(json.loads(kept.read_text(encoding="utf-8")))


def _measure(runtime: str, path: Path) -> dict:
    """Run a file once in a fresh process; return its peaks by step, or why there are none."""
    graph = _graph(path)
    floats = ("float32", "float16", "int8", "uint8", "int16")
    inputs = {}
    for place in graph.inputs:
        value = graph.values[place]
        shape = [max(size, 1) for size in value.shape or ()]
        inputs[value.name] = np.zeros(shape, "float32" if value.dtype in floats else value.dtype)
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.npz", Path(folder) / "out.npz"
        save(str(given), inputs)
        child = run_child(
            python(RUNNER, "--runtime", runtime, "--artifact", path, "--inputs", given, "--outputs", made),
            time_limit_s=120,
            memory_limit_bytes=8 * GIB,
            environment={"TF_CPP_MIN_LOG_LEVEL": "2"},
        )
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        return {"ok": False, "reason": child.reason()}
    if not answer["ok"]:
        return {"ok": False, "reason": " ".join(answer["message"].split())}
    return {"ok": True, "version": answer["runtime_version"].split("-")[0], **answer["peaks_bytes"]}


def _row(key: str, found: dict, out: Path) -> dict:
    runtime, file = key.split()
    path = out / file
    graph = _graph(path)
    constants = constants_of(graph)
    file_bytes = path.stat().st_size
    file_bytes += path.with_suffix(".bin").stat().st_size if path.suffix == ".xml" else 0
    everything = sum(tensor_bytes(value) for place, value in enumerate(graph.values) if place not in constants)
    sizes = sizes_of(graph, runtime)
    return {
        "file": file,
        "family": MODELS[file.split("/")[0]][0],
        "sizes": sizes,
        "fixed": sizes["weights"] + sizes["activations"],
        "imported": found["runtime"] - found["python"],
        "total": found["run"] - found["python"],
        "file_bytes": file_bytes,
        "all_bytes": file_bytes + everything,
        "version": found["version"],
    }


def _judge(runtime: str, rows: list[dict], each: bool) -> dict:
    """Print how near predictions are, each family judged by the fit of the others; return the fit of all."""
    names = FACTORS[runtime]
    imported = statistics.median(row["imported"] for row in rows)
    features = np.array([[row["sizes"][name] * _scale(name) for name in names] for row in rows], float)
    fixed = np.array([row["fixed"] for row in rows], float)
    total = np.array([row["total"] for row in rows], float)
    families = np.array([row["family"] for row in rows])

    def fit(chosen: np.ndarray) -> np.ndarray:
        rest = total[chosen] - imported - fixed[chosen]
        return nnls(features[chosen] / total[chosen, None], rest / total[chosen])[0]

    predicted = np.zeros(len(rows))
    for family in set(families):
        judged = families == family
        predicted[judged] = imported + fixed[judged] + features[judged] @ fit(~judged)
    model, real_model = predicted - imported, total - np.array([row["imported"] for row in rows])
    ratios = {
        "runtime + model": predicted / total,
        "model alone": model / real_model,
        "file size": np.array([row["file_bytes"] for row in rows]) / real_model,
        "file size + all activations": np.array([row["all_bytes"] for row in rows]) / real_model,
        "file size, runtime known": (np.array([row["file_bytes"] for row in rows]) + imported) / total,
    }
    models = {row["file"].split("/")[0] for row in rows}
    print(f"\n{runtime} {rows[0]['version']}: {len(rows)} files of {len(models)} models, {len(set(families))} families")
    print(f"  {'predicted / real':32} within 15 %   median error   5th to 95th percentile")
    for title, ratio in ratios.items():
        near, middle = np.mean(np.abs(ratio - 1) <= NEAR), np.median(np.abs(ratio - 1))
        low, high = np.percentile(ratio, (5, 95))
        print(f"  {title:32} {near:10.0%}   {middle:12.1%}   {low:.2f} to {high:.2f}")
    if each:
        for row, guess, real, alone, real_alone in zip(rows, predicted, total, model, real_model, strict=True):
            print(
                f"    {row['file']:44} MiB: predicted {guess / MIB:6.1f} real {real / MIB:6.1f} ({guess / real:.2f}); "
                f"model {alone / MIB:6.1f} of {real_alone / MIB:6.1f} ({alone / real_alone:.2f})"
            )
    found = fit(np.ones(len(rows), bool))
    return {
        "version": rows[0]["version"],
        "files": len(rows),
        "models": len(models),
        "import_bytes": int(imported),
        "coefficients": {name: round(float(value * _scale(name)), 4) for name, value in zip(names, found, strict=True)},
        "total": _interval(ratios["runtime + model"]),
        "model": _interval(ratios["model alone"]),
    }


def _interval(ratios: np.ndarray) -> dict:
    """Return the factors on a prediction that hold nine real ones out of ten, from the files that no fit had seen."""
    low, high = np.percentile(1 / ratios, (5, 95))
    return {"low": round(min(low, 1.0), 3), "high": round(max(high, 1.0), 3)}


def _scale(name: str) -> float:
    """Return what a count is multiplied with, so that all columns are of a like size."""
    return {"runtime": float(MIB), "operations": 1024.0, "kernels": 1024.0}.get(name, 1.0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
