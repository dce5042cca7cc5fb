"""tflite-runtime: the last release of the small TFLite interpreter, which many boards still run."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="tflite_runtime",
    title="tflite-runtime",
    formats=("tflite",),
    distribution="tflite-runtime",
)
