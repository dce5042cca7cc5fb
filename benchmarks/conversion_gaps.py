"""What converters make of small Keras models, one for each kind of operation: right, or why not.

    python benchmarks/conversion_gaps.py                        # all; about half an hour of one core
    python benchmarks/conversion_gaps.py --only lstm gelu-exact --formats tflite
    python benchmarks/conversion_gaps.py --precisions int8 int8_ranges --random 50 --seed 0    # random models instead

Each cell is what ``edgewright.export`` does with that model: it is frozen, legalised, converted and run, and its
outputs are compared with Keras'. The converters run in forks of one process that has imported them, which saves an
import of TensorFlow for each of some 800 conversions. A number is the root mean square error over the deviation of the
outputs. "int8" is by the format's own quantizer, "int8_ranges" by one graph with ranges.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

SAMPLES = 32
TIME_LIMIT_S = 240.0
# Above these errors, as shares of the outputs' deviation, an artifact is wrong.
WRONG = {"float32": 1e-4, "int8": 0.25}
BY_RANGES = "int8_ranges"
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime", "openvino": "openvino"}


def main() -> None:
    """Print one line for each model, with a cell for each format and precision."""
    options = _options()
    _import_converters()
    from _conversion_models import CASES
    from _random_models import random_cases

    cases = random_cases(options.seed, options.random) if options.random else CASES
    cells = [(format, precision) for precision in options.precisions for format in options.formats]
    print(
        "| model | " + " | ".join(f"{format} {precision}" for format, precision in cells) + " | legalised |", flush=True
    )
    print("| --- " * (len(cells) + 2) + "|")
    for case in cases:
        if not options.only or case.name in options.only:
            with tempfile.TemporaryDirectory(prefix="edgewright-gaps-") as folder:
                row, passes = _row(case, Path(folder), cells)
            print(f"| {case.name} | {' | '.join(row)} | {', '.join(sorted(passes))} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of models")
    parser.add_argument("--formats", nargs="*", default=list(RUNTIMES), choices=list(RUNTIMES))
    parser.add_argument("--precisions", nargs="*", default=["float32", "int8"])
    parser.add_argument("--random", type=int, default=0, metavar="N", help="as many random models instead")
    parser.add_argument("--seed", type=int, default=0, help="of the first of them")
    return parser.parse_args()


def _import_converters() -> None:
    """Import what the forks need, and compute nothing: threads do not live on in a fork."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras  # noqa: F401
    import nncf  # noqa: F401
    import onnx  # noqa: F401
    import onnxruntime.quantization  # noqa: F401
    import openvino  # noqa: F401
    import tensorflow  # noqa: F401
    import tf2onnx  # noqa: F401


def _row(case, folder: Path, cells) -> tuple[list[str], set[str]]:
    reason = _in_fork(lambda: _freeze(case, folder), folder / "freeze.log")
    if reason:
        return [f"not frozen: {reason}"] * len(cells), set()
    row, passes = [], set()
    for format, precision in cells:
        place = folder / f"{format}-{precision}"
        place.mkdir()
        reason = _in_fork(lambda: _convert(folder, place, format, precision), place / "log")  # noqa: B023
        row.append(reason or _compared(folder, place, format, precision))
        if (place / "legalised.json").exists():
            made = json.loads((place / "legalised.json").read_text())
            passes |= {each["name"] + (" (refused)" if each["refused"] else "") for each in made}
    return row, passes


def _freeze(case, folder: Path) -> None:
    from edgewright.compress._activations import Activations
    from edgewright.export import freeze

    model, samples = case.model(), case.samples(SAMPLES)
    frozen = freeze(model, folder / "graph")
    try:
        freeze(model, folder / BY_RANGES, Activations().ranges_of(model, lambda *size: iter([samples])))
    except Exception as error:
        (folder / "why.txt").write_text(str(error).replace("\n", " "))
    document = {
        "inputs": [asdict(tensor) for tensor in frozen.inputs],
        "outputs": [asdict(tensor) for tensor in frozen.outputs],
        "types": sorted(frozen.types),
    }
    (folder / "frozen.json").write_text(json.dumps(document))
    np.savez(folder / "samples.npz", **samples)
    np.savez(folder / "expected.npz", **{frozen.outputs[0].name: np.asarray(model(samples))})


def _convert(folder: Path, place: Path, format: str, precision: str) -> None:
    from edgewright.export import _worker

    by_ranges = precision == BY_RANGES
    if by_ranges and (folder / "why.txt").exists():
        raise ValueError((folder / "why.txt").read_text())
    document = json.loads((folder / "frozen.json").read_text()) | {
        "format": format,
        "precision": "int8" if by_ranges else precision,
        "saved_model": str(folder / (BY_RANGES if by_ranges else "graph")),
        "calibration": str(folder / "samples.npz"),
        "folder": str(place),
        "stem": "model",
        "group_size": 32,
        "quantized": by_ranges,
        "sparse": False,
        "unit": "",
        "imported": "",
        "float_tensors": False,
        "about": None,
    }
    (place / "job.json").write_text(json.dumps(document))
    _worker.main(str(place / "job.json"))


def _compared(folder: Path, place: Path, format: str, precision: str) -> str:
    from edgewright.runtimes import run_artifact

    path = Path(json.loads((place / "exported.json").read_text())["path"])
    with np.load(folder / "samples.npz") as arrays:
        run = run_artifact(path, RUNTIMES[format], dict(arrays))
    if not run.ok:
        return f"does not run: {run.reason[:160]}"
    with np.load(folder / "expected.npz") as arrays:
        name = arrays.files[0]
        expected = arrays[name].astype(np.float64)
    if not np.isfinite(expected).all():
        return "not finite in Keras"
    received = run.outputs[name].astype(np.float64)
    if received.shape != expected.shape:
        return f"wrong: shape {received.shape}, not {expected.shape}"
    error = float(np.sqrt(np.mean((received - expected) ** 2)) / (expected.std() or 1.0))
    word = "ok" if error <= WRONG[precision if precision in WRONG else "int8"] else "**wrong**"
    return f"{word} {error:.2g}"


def _in_fork(work, log: Path) -> str:
    """Do something in a fork of this process; return why it failed, or nothing."""
    child = os.fork()
    if child == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"\n{type(error).__name__}: {error}".replace("\n", " ").encode()[:2000])
            os._exit(1)
    started = time.monotonic()
    while time.monotonic() - started < TIME_LIMIT_S:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return f"time limit of {TIME_LIMIT_S:g} s"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    if os.WEXITSTATUS(status):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return (lines[-1] if lines else "ended without a word").strip()[:240].replace("|", "/")
    return ""


if __name__ == "__main__":
    main()
