"""TensorFlow's own TFLite interpreter: a referee for the two that devices have."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="tensorflow_lite",
    title="TensorFlow's TFLite interpreter",
    formats=("tflite",),
    distribution="tensorflow",
    referee=True,
)
