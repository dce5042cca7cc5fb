"""Weight-only int4 quantization: the weights as int4, everything computed in float: a sixth to an eighth of the size.

It needs no samples. The weights are symmetric, in ONNX and OpenVINO with a scale for each group of weights that are
summed up (Dettmers and Zettlemoyer, "The case for 4-bit precision: k-bit inference scaling laws", 2022, arXiv
2212.09720: smaller groups are what makes 4 bits precise), in TFLite, which has no groups, with one for each output
channel. NNCF keeps the kernels of convolutions at 8 bits in OpenVINO's files. The variables stay as they are; the
exporters quantize.
"""

from typing import Literal

from ._technique import PRECISION, Parameters, Result, Technique, Work


class WeightOnlyInt4(Parameters):
    """Parameters of weight-only int4 quantization.

    Attributes:
        group_size: how many weights share a scale, where the format has groups.
    """

    group_size: Literal[16, 32, 64, 128, 256] = 32


def apply(work: Work, parameters: Parameters) -> Result:
    """Leave the model as it is; the exporters do it all."""
    assert isinstance(parameters, WeightOnlyInt4)
    return Result(work.model)


TECHNIQUE = Technique(
    name="weight_only_int4",
    title="weight-only int4 quantization",
    parameters=WeightOnlyInt4,
    apply=apply,
    stage=PRECISION,
    precision="int4_weights",
)
