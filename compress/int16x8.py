"""Int16x8 quantization after training: int8 weights with int16 activations, for models that int8 activations hurt.

Activations are symmetric with fixed scales, which are taken from a representative dataset; 16 bits make their rounding
vanish beside that of the weights. TFLite runs it in integers throughout, in its plain kernels; ONNX Runtime runs the
pairs of QuantizeLinear and DequantizeLinear in float. The variables stay as they are; the exporters quantize.
"""

from pydantic import Field

from ..errors import InputError
from ._technique import PRECISION, Parameters, Result, Technique, Work


class Int16x8(Parameters):
    """Parameters of int16x8 quantization.

    Attributes:
        samples: how many samples the activations' ranges are taken from.
    """

    samples: int = Field(256, ge=1)


def apply(work: Work, parameters: Parameters) -> Result:
    """Check that there is a representative dataset; the exporters do the rest.

    Raises:
        InputError: there are no samples.
    """
    assert isinstance(parameters, Int16x8)
    if not len(work.task.train):
        raise InputError("Expected samples to calibrate int16x8 on (a representative dataset). Got: none.")
    return Result(work.model)


TECHNIQUE = Technique(
    name="int16x8",
    title="int16x8 quantization after training",
    parameters=Int16x8,
    apply=apply,
    stage=PRECISION,
    precision="int16x8",
    needs_data=True,
)
