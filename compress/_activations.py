"""How the activations of a model are quantized: the ranges at its points, learned or calibrated."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ._calibration import Range, calibrate
from ._points import INPUT, AtPoint, Point, find_points
from ._samples import Samples

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Activations:
    """What fixes the scales and zero points of a model's activations.

    Attributes:
        calibration: the method that ranges are found by; see ``calibrate``.
        percentile: of that method.
        keep_float: regular expression; a layer in whose path it is found stays in float. Nothing does when empty.
        learned: ranges by point that training found; the others are calibrated.
        reasons: by the path of a layer that stays in float, why.
        on_host: names of layers that the host computes; they, and the model's inputs then, stay in float.
        formats: those that get the graph with these ranges, while the others' own quantizers decide; all when empty.
    """

    calibration: str = "min_max"
    percentile: float = 99.99
    keep_float: str = ""
    learned: Mapping[str, Range] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    on_host: frozenset[str] = frozenset()
    formats: tuple[str, ...] = ()

    def for_format(self, format: str) -> bool:
        """Tell whether a format gets the graph with these ranges."""
        return not self.formats or format in self.formats

    def points_of(self, model: "keras.Model") -> tuple[Point, ...]:
        """Return the points of a model that are quantized.

        Raises:
            InputError: ``keep_float`` leaves none.
        """
        points = find_points(model)
        chosen = tuple(point for point in points if not self.stays_float(point.layer))
        if not chosen:
            layers = sorted({point.layer for point in points})
            raise InputError(
                f"Expected keep_float to leave a layer to quantize among: {', '.join(layers)}. "
                f"Got: {self.keep_float!r}."
            )
        return chosen

    def ranges_of(self, model: "keras.Model", samples: Samples) -> dict[str, Range]:
        """Return the range of each point that is quantized, learned or calibrated on samples.

        Raises:
            InputError: see ``points_of`` and ``calibrate``.
        """
        points = self.points_of(model)
        unknown = [point for point in points if point.name not in self.learned]
        found = calibrate(model, samples, unknown, self.calibration, self.percentile) if unknown else {}
        return {point.name: self.learned.get(point.name) or found[point.name] for point in points}

    def stays_float(self, layer: str) -> bool:
        """Tell whether the layer with a path is left in float, its kernels too."""
        if self.on_host and (layer == INPUT or layer.split("/")[0] in self.on_host):
            return True
        return bool(self.keep_float and re.search(self.keep_float, layer)) or layer in self.reasons


def fake_quantizer(ranges: Mapping[str, Range]) -> AtPoint:
    """Return what fake-quantizes a tensor at a point to 256 levels (Jacob et al., arXiv 1712.05877, equation 12)."""
    import tensorflow as tf

    def at(name: str, tensor: Any) -> Any:
        low, high = ranges[name]
        return tf.quantization.fake_quant_with_min_max_vars(tensor, low, high)

    return at
