"""Float16: the weights in half precision, computed with as the runtime likes: the file halves, the numbers hold.

The variables stay as they are; the exporters store them in half precision. Inputs and outputs stay float32.
"""

from ._technique import PRECISION, Parameters, Result, Technique, Work


class Float16(Parameters):
    """Float16 has no parameters."""


def apply(work: Work, parameters: Parameters) -> Result:
    """Leave the model as it is; the exporters do it all."""
    assert isinstance(parameters, Float16)
    return Result(work.model)


TECHNIQUE = Technique(
    name="float16",
    title="float16 weights",
    parameters=Float16,
    apply=apply,
    stage=PRECISION,
    precision="float16",
)
