"""ONNX Runtime on the CPU."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="onnxruntime",
    title="ONNX Runtime",
    formats=("onnx",),
    distribution="onnxruntime",
)
