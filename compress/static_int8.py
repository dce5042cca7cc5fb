"""Static int8 quantization after training: each format's own quantizer, calibrated on a representative dataset.

Weights are symmetric (per channel where the format's quantizer does that), activations have a fixed scale and zero
point (Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
2018, arXiv 1712.05877). The variables stay as they are; the exporters quantize.
"""

from pydantic import Field

from ..errors import InputError
from ._technique import PRECISION, Parameters, Result, Technique, Work


class StaticInt8(Parameters):
    """Parameters of static int8 quantization.

    Attributes:
        samples: how many samples the activations' ranges are taken from.
    """

    samples: int = Field(256, ge=1)


def apply(work: Work, parameters: Parameters) -> Result:
    """Check that there is a representative dataset; the exporters do the rest.

    Raises:
        InputError: there are no samples.
    """
    if not len(work.task.train):
        raise InputError("Expected samples to calibrate int8 on (a representative dataset). Got: none.")
    return Result(work.model)


TECHNIQUE = Technique(
    name="static_int8",
    title="static int8 quantization after training",
    parameters=StaticInt8,
    apply=apply,
    stage=PRECISION,
    precision="int8",
    needs_data=True,
)
