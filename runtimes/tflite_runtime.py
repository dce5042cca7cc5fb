"""tflite-runtime: the last release of the small TFLite interpreter, which many boards still run."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="tflite_runtime",
    title="tflite-runtime",
    formats=("tflite",),
    distribution="tflite-runtime",
    needs=("numpy<2",),  # with NumPy 2 it imports, and then fails when an interpreter is made
    lacks={
        "dynamic_int8": "tflite-runtime 2.14 lacks version 12 of FULLY_CONNECTED, which today's converter writes.",
        "int4_weights": "tflite-runtime 2.14 dequantizes no 4-bit integers.",
    },
)
