"""Files timed in turn in one process: ``_export_paired.py RUNTIME FILE FILE...`` prints each one's times as JSON.

What runs beside the benchmark slows all of them alike, so that their ratios hold on a busy host. Counted is the time of
the processor, in one thread, on random inputs.
"""

import json
import sys
import time

import numpy as np

from edgewright.runtimes._runner import LOADERS

ROUNDS, SHARE_S = 40, 0.05


def main() -> None:
    """Load the files, run them in turn, and print a list of seconds an inference for each file."""
    runtime, *files = sys.argv[1:]
    _, load = LOADERS[runtime]
    models = [load(file) for file in files]
    random = np.random.default_rng(0)
    samples = [[_drawn(tensor, random) for tensor in model.inputs] for model in models]
    runs = []
    for model, sample in zip(models, samples, strict=True):
        model.run(sample)
        start = time.process_time()
        model.run(sample)
        runs.append(max(1, int(SHARE_S / max(time.process_time() - start, 1e-6))))
    times: list[list[float]] = [[] for _ in models]
    for _ in range(ROUNDS):
        for place, (model, sample) in enumerate(zip(models, samples, strict=True)):
            start = time.process_time()
            for _ in range(runs[place]):
                model.run(sample)
            times[place].append((time.process_time() - start) / runs[place])
    print(json.dumps(times))


def _drawn(tensor, random):  # type: ignore[no-untyped-def]
    if tensor.dtype.kind == "f":
        return random.normal(size=tensor.shape).astype(tensor.dtype)
    if tensor.scale:
        limits = np.iinfo(tensor.dtype)
        return random.integers(limits.min, limits.max, tensor.shape, tensor.dtype)
    return np.zeros(tensor.shape, tensor.dtype)


if __name__ == "__main__":
    main()
