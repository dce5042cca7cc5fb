"""ONNX's reference evaluator: each operation as the standard defines it; a referee."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="onnx_reference",
    title="ONNX's reference evaluator",
    formats=("onnx",),
    distribution="onnx",
    referee=True,
)
