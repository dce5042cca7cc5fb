"""LiteRT: the TFLite interpreter as it is developed today, with XNNPACK on the CPU."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="litert",
    title="LiteRT",
    formats=("tflite",),
    distribution="ai-edge-litert",
)
