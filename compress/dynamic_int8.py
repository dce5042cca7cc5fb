"""Dynamic int8 quantization after training: int8 weights, and activations quantized by the range that each call finds.

It needs no samples. The weights are symmetric with a scale for each output channel; what is multiplied with them is
quantized as the model runs. TFLite does so in dense and convolutional layers, ONNX and OpenVINO in matrix products:
their convolutions have int8 weights and compute in float. The variables stay as they are; the exporters quantize.
"""

from ._technique import PRECISION, Parameters, Result, Technique, Work


class DynamicInt8(Parameters):
    """Dynamic int8 has no parameters."""


def apply(work: Work, parameters: Parameters) -> Result:
    """Leave the model as it is; the exporters do it all."""
    assert isinstance(parameters, DynamicInt8)
    return Result(work.model)


TECHNIQUE = Technique(
    name="dynamic_int8",
    title="dynamic int8 quantization after training",
    parameters=DynamicInt8,
    apply=apply,
    stage=PRECISION,
    precision="dynamic_int8",
)
