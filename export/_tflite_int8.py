"""What is mended in int8 files of TensorFlow's converter: scales of logits, and biases that are one number."""

from . import _tflite_biases, _tflite_saturation
from ._tflite_flatbuffer import gathered, packed, self_contained


def mended(content: bytes) -> bytes:
    """Return a file in which both are right; the same where they are."""
    model = gathered(content)
    if not self_contained(model):
        return content
    changed = [_tflite_saturation.narrow(model), _tflite_biases.mend(model)]
    return packed(model) if any(changed) else content
