"""Static int8 quantization after training, with ranges from a representative dataset.

Weights are symmetric with a scale for each output channel, activations have a fixed scale and zero point (Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018, arXiv
1712.05877). The variables stay as they are; the exporters quantize.
"""

from ._quantization import Int8
from ._samples import check_samples, representative
from ._technique import PRECISION, Parameters, Result, Technique, Work


def apply(work: Work, parameters: Parameters) -> Result:
    """Check that the representative dataset serves, and say how the exporters are to quantize.

    Raises:
        InputError: there are no samples; a layer is zero on all of them.
    """
    assert isinstance(parameters, Int8)
    check_samples(work, "to calibrate int8 on")
    if parameters.calibration == "converter":
        return Result(work.model)
    activations, notes = parameters.activations(work)
    if not activations.formats:
        # Deployed may be other graphs than this one: what is wrong with the samples shows here already.
        activations.ranges_of(work.model, representative(work, parameters.samples))
    return Result(work.model, notes=notes, activations=activations)


TECHNIQUE = Technique(
    name="static_int8",
    title="static int8 quantization after training",
    parameters=Int8,
    apply=apply,
    stage=PRECISION,
    precision="int8",
    needs_data=True,
)
