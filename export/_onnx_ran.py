"""Shapes that ONNX's inference does not find: those of one inference in ONNX Runtime, on ones.

ONNX Runtime saves optimized files with operations of its own (fused, quantized, in blocks of channels), whose outputs
ONNX's inference knows nothing of, nor of anything behind them.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from ._onnx_weights import graphs_of

# How much these write depends on the numbers that they are given: what ones give would hold for ones alone.
_BY_NUMBERS = {"NonZero", "NonMaxSuppression", "Unique", "Compress"}
_MOST_BYTES = 2**30
_TIME_LIMIT_S = 60.0


def ran_shapes(model: Any, path: Path) -> dict[str, Any]:
    """Return the types of the outermost graph's tensors, by name, when its operations have run once on ones.

    Args:
        model: with inputs of known sizes.
        path: where it was read from: it may have data beside it.

    Returns:
        Nothing where an input is open, sizes depend on numbers, or ONNX Runtime does not run it, or takes too long.
    """
    import onnx
    import onnxruntime

    if any(node.op_type in _BY_NUMBERS for graph in graphs_of(model.graph) for node in graph.node):
        return {}
    working = onnx.ModelProto()
    working.CopyFrom(model)
    names = list(dict.fromkeys(name for node in working.graph.node for name in node.output if name))
    del working.graph.output[:]
    del working.graph.value_info[:]
    working.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    running = onnxruntime.RunOptions()
    timer = threading.Timer(_TIME_LIMIT_S, lambda: setattr(running, "terminate", True))
    timer.start()
    try:
        onnx.load_external_data_for_model(working, str(path.parent))
        if working.ByteSize() > _MOST_BYTES:
            return {}
        session = onnxruntime.InferenceSession(working.SerializeToString(), options, ["CPUExecutionProvider"])
        feeds = {given.name: np.ones(given.shape, _dtype(onnx, given.type)) for given in session.get_inputs()}
        made = dict(zip(names, session.run(names, feeds, running), strict=True))
    except Exception:  # operations and types that it lacks, open sizes, more than a protobuf holds, no such data
        return {}
    finally:
        timer.cancel()
    number_of = onnx.helper.np_dtype_to_tensor_dtype
    return {
        name: onnx.helper.make_tensor_value_info(name, number_of(array.dtype), array.shape)
        for name, array in made.items()
        if isinstance(array, np.ndarray) and array.dtype != object
    }


def _dtype(onnx: Any, kind: str) -> np.dtype:
    """Return the type of ONNX Runtime's "tensor(TYPE)", such as "tensor(float)"."""
    number = onnx.TensorProto.DataType.Value(kind.removeprefix("tensor(").removesuffix(")").upper())
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
