"""A runtime's bare call in Python: ``_measure_bare.py RUNTIME FILE SECONDS`` prints its latencies as JSON.

With ``turns`` as a fourth argument the runner's own call is timed in turn with it, on the same inputs in the same
process, and then as host code calls the graph; what these take longer is what the runner costs.
"""

import gc
import json
import sys
import time

import numpy as np

from edgewright.runtimes._runner import LOADERS, Graph, Program


def main() -> None:
    """Time the call as its package's documentation writes it."""
    runtime, file, seconds, *more = sys.argv[1:]
    model = LOADERS[runtime][1](file)
    random = np.random.default_rng(0)
    arrays = [random.normal(size=tensor.shape).astype(tensor.dtype) for tensor in model.inputs]
    bare = {"litert": _tflite, "tflite_runtime": _tflite, "onnxruntime": _onnxruntime, "openvino": _openvino}[runtime]
    calls = [bare(model, arrays)]
    if more:
        program, graph = Program(model), Graph("model", model)
        inputs = {tensor.name: array for tensor, array in zip(model.inputs, arrays, strict=True)}
        calls += [lambda: program.run(arrays), lambda: graph(inputs)]
    ends = time.perf_counter() + float(seconds) / 4
    while time.perf_counter() < ends:
        for call in calls:
            call()
    taken: list[list[float]] = [[] for _ in calls]
    gc.disable()
    ends = time.perf_counter() + float(seconds)
    while time.perf_counter() < ends:
        for call, times in zip(calls, taken, strict=True):
            started = time.perf_counter_ns()
            call()
            times.append((time.perf_counter_ns() - started) / 1e6)
    print(json.dumps(taken))


def _tflite(model, arrays):  # type: ignore[no-untyped-def]
    interpreter = model.interpreter
    inputs = [(tensor.key, array) for tensor, array in zip(model.inputs, arrays, strict=True)]
    outputs = [tensor.key for tensor in model.outputs]

    def call() -> None:
        for index, array in inputs:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        for index in outputs:
            interpreter.get_tensor(index)

    return call


def _onnxruntime(model, arrays):  # type: ignore[no-untyped-def]
    session, names = model.session, model.names
    feed = {tensor.name: array for tensor, array in zip(model.inputs, arrays, strict=True)}
    return lambda: session.run(names, feed)


def _openvino(model, arrays):  # type: ignore[no-untyped-def]
    request, feed = model.request, {tensor.key: array for tensor, array in zip(model.inputs, arrays, strict=True)}
    keys = [tensor.key for tensor in model.outputs]

    def call() -> None:
        results = request.infer(feed)
        for key in keys:
            results[key]

    return call


if __name__ == "__main__":
    main()
