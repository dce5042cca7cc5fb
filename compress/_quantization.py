"""What quantization techniques share: their parameters, the representative dataset, and who decides the ranges."""

import re

from pydantic import Field

from ..errors import InputError
from ._activations import Activations
from ._samples import representative
from ._scope import Scope
from ._technique import Parameters, Work

AUTO = "auto"
_BETTER_AS_ONE_GRAPH = ("onnx", "tflite")


class Int8(Parameters):
    """Parameters of static int8 quantization.

    Attributes:
        samples: how many samples the activations' ranges are taken from, spread over the training data.
        calibration: how: "min_max", "percentile", "mse" or "entropy". One graph with these ranges written into it is
            converted to every format. With "converter" each format's own quantizer decides. "auto" is what
            benchmarks/export.py finds the better for each format: one graph by "min_max" for ONNX, where it is up to
            three times as fast, and for TFLite, whose converter gives tensors that share a scale one that is too
            small or too coarse; NNCF for OpenVINO. Where one way fails, the other is taken.
        percentile: share of the values, in percent, that a range holds, for that method.
        keep_float: regular expression over the paths of layers that stay in float; none when empty.
        max_disagreement: how far the quantized model may disagree with the float one on the samples, in percent: of
            its top-1 decisions, or of its outputs' variance. Where it is more, the layers that do most of it stay in
            float.
    """

    samples: int = Field(256, ge=1)
    calibration: str = Field(AUTO, pattern=f"^({AUTO}|converter|min_max|percentile|mse|entropy)$")
    percentile: float = Field(99.99, gt=50, le=100)
    keep_float: Scope = ""
    max_disagreement: float | None = Field(None, ge=0)

    def activations(self, work: Work) -> tuple[Activations, tuple[str, ...]]:
        """Return how the activations of the work's model are quantized, and sentences about what stays in float.

        Raises:
            InputError: see ``calibrate``; ``keep_float`` is found in no layer.
        """
        from ._mixed_precision import layers_to_keep
        from ._points import find_points

        on_host = work.host_layers()
        method = "min_max" if self.calibration == AUTO else self.calibration
        # A layer that is to stay in float does so in one graph, whatever the format.
        chooses = self.calibration == AUTO and not self.keep_float and self.max_disagreement is None
        formats = _BETTER_AS_ONE_GRAPH if chooses else ()
        activations = Activations(method, self.percentile, self.keep_float, on_host=on_host, formats=formats)
        if self.keep_float:
            layers = {point.layer for point in find_points(work.model)}
            if not any(re.search(self.keep_float, layer) for layer in layers):
                raise InputError(
                    f"Expected keep_float to match a layer among: {', '.join(sorted(layers))}. "
                    f"Got: {self.keep_float!r}."
                )
        if self.max_disagreement is None:
            return activations, ()
        return layers_to_keep(work, activations, representative(work, self.samples), self.max_disagreement)
