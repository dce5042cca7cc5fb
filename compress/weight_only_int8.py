"""Weight-only int8 quantization: the weights as int8, everything computed in float: a quarter of the size.

It needs no samples. The weights are symmetric with a scale for each output channel, and widened on loading (TFLite) or
as the model runs (ONNX Runtime, OpenVINO). The variables stay as they are; the exporters quantize.
"""

from ._technique import PRECISION, Parameters, Result, Technique, Work


class WeightOnlyInt8(Parameters):
    """Weight-only int8 has no parameters."""


def apply(work: Work, parameters: Parameters) -> Result:
    """Leave the model as it is; the exporters do it all."""
    assert isinstance(parameters, WeightOnlyInt8)
    return Result(work.model)


TECHNIQUE = Technique(
    name="weight_only_int8",
    title="weight-only int8 quantization",
    parameters=WeightOnlyInt8,
    apply=apply,
    stage=PRECISION,
    precision="int8_weights",
)
