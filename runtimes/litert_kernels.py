"""LiteRT with its built-in kernels alone: a referee for XNNPACK, whose kernels LiteRT takes where it can."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="litert_kernels",
    title="LiteRT without XNNPACK",
    formats=("tflite",),
    distribution="ai-edge-litert",
    referee=True,
)
