"""Where a device runs each operation of a file: by its accelerator's rules, or by its runtime's fast kernels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..export._graph import Graph
from ._edgetpu_compiler import compile_here, placement_of
from ._edgetpu_graph import place_on_edgetpu
from ._placement import Placement
from ._profile import Profile
from ._tensorrt import place_on_tensorrt
from ._xnnpack import place_on_xnnpack

TENSORRT = "TensorRT"


def place(profile: Profile, graph: Graph, path: Path | None = None) -> Placement | None:
    """Return where a device runs each operation of a file; None where it has but one place for all of them.

    Args:
        profile: the device.
        graph: what the file is made of.
        path: the file; with it ``edgetpu_compiler`` is run where it is installed, and decides.
    """
    accelerator = profile.accelerator("edgetpu")
    if accelerator is not None and graph.format == "tflite":
        cache = accelerator.cache_mib
        predicted = place_on_edgetpu(graph, None if cache is None else cache.value)
        return _decided(predicted, path) if path is not None else predicted
    runtime = next((entry for entry in profile.runtimes if entry.format == graph.format), None)
    if runtime is None:
        return None
    if graph.format == "onnx" and TENSORRT in runtime.name:
        return place_on_tensorrt(graph, runtime.version.value)
    if graph.format == "tflite":
        return place_on_xnnpack(graph)
    return None


def _decided(predicted: Placement, path: Path) -> Placement:
    """Return the placement that edgetpu_compiler decides, where it is installed; else the predicted one."""
    log = compile_here(path)
    if log is None:
        return predicted
    if isinstance(log, str):
        return replace(predicted, sentences=(*predicted.sentences, log))
    decided = placement_of(log)
    return replace(decided, facts={**_as_decided(predicted, log.streamed_bytes), **decided.facts})


def _as_decided(predicted: Placement, streamed_bytes: int | None) -> dict[str, Any]:
    """Return the predicted counts, with the streaming that the compiler tells of."""
    kept = {name: predicted.facts[name] for name in ("work", "cpu_work", "macs_share")}
    work = dict(kept["work"])
    if streamed_bytes is not None:
        again = work["restreamed"] / work["streamed"] if work["streamed"] else 0.0
        work |= {"streamed": float(streamed_bytes), "restreamed": again * streamed_bytes}
    return {**kept, "work": work}
