"""Pairs of layers whose channels between them can be scaled: divided in one layer, multiplied in the next.

f(s x) = s f(x) for s > 0 of ReLU, its leaky kinds, pooling and padding with zeros, but not of ReLU6 or tanh (Nagel et
al., 2019, arXiv 1906.04721, section 4.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ._folded_normalization import CONVOLUTIONS, DENSE, DEPTHWISE
from ._layer_graph import END, Graph, graphs_of

_LAYERS = keras.layers
_HOMOGENEOUS = (keras.activations.linear, keras.activations.relu, keras.activations.leaky_relu)
# These compute each channel by itself, and return s times as much for s times as much.
# fmt: off
_PASSES = (
    _LAYERS.LeakyReLU, _LAYERS.PReLU, _LAYERS.Dropout, _LAYERS.SpatialDropout1D, _LAYERS.SpatialDropout2D,
    _LAYERS.ZeroPadding1D, _LAYERS.ZeroPadding2D, _LAYERS.Cropping1D, _LAYERS.Cropping2D, _LAYERS.MaxPooling1D,
    _LAYERS.MaxPooling2D, _LAYERS.AveragePooling1D, _LAYERS.AveragePooling2D, _LAYERS.GlobalMaxPooling1D,
    _LAYERS.GlobalMaxPooling2D, _LAYERS.GlobalAveragePooling1D, _LAYERS.GlobalAveragePooling2D, _LAYERS.UpSampling1D,
    _LAYERS.UpSampling2D, _LAYERS.Flatten,
)
# fmt: on
_ROUNDS, _SETTLED = 100, 1e-3
_LARGEST = 2.0**20


@dataclass(frozen=True)
class Pair:
    """Two layers; the output channels of the first are the input channels of the second."""

    first: Any
    second: Any


def pairs_of(model: keras.Model) -> tuple[list[Pair], dict[str, str]]:
    """Return the pairs of a model, and by the path of each kernel that starts none, why."""
    pairs, reasons = [], {}
    for graph in graphs_of(model):
        for layer in graph.operations:
            if type(layer) not in DENSE + CONVOLUTIONS + DEPTHWISE:
                continue
            found = _reader(graph, layer)
            if isinstance(found, str):
                reasons[layer.kernel.path] = found
            else:
                pairs.append(Pair(layer, found))
    return pairs, reasons


def _reader(graph: Graph, layer: Any) -> Any:
    """Return the layer whose input channels are a layer's output channels; the reason where there is none."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return "has its channels first"
    if layer.activation not in _HOMOGENEOUS:
        name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
        return f"has the activation {name}, through which no scale passes"
    reached = layer
    while True:
        readers = graph.readers(reached)
        if readers is None:
            return f"its output passes {reached.name}, which is called more than once"
        if len(readers) != 1:
            return f"the output of {reached.name} is read {len(readers)} times"
        if readers[0] is END:
            return "its output leaves the model"
        reached = readers[0]
        if type(reached) in DENSE + CONVOLUTIONS + DEPTHWISE:
            break
        if isinstance(reached, _LAYERS.ReLU) and reached.max_value is not None:
            return f"its output is cut off at {reached.max_value:g} by {reached.name}: it cannot be scaled"
        if not _passes(reached):
            return f"its output is read by {reached.name} ({type(reached).__name__}), through which no scale passes"
    if graph.readers(reached) is None:
        return f"its output is read by {reached.name}, which is called more than once"
    if getattr(reached, "data_format", "channels_last") != "channels_last" or getattr(reached, "groups", 1) > 1:
        return f"its output is read by {reached.name}, whose channels come first or in groups"
    for each in (layer, reached):
        if getattr(each, "lora_enabled", False) or getattr(each, "quantization_mode", None):
            return f"the kernel of {each.name} is adapted (LoRA) or quantized by Keras"
    return reached


def _passes(layer: Any) -> bool:
    if getattr(layer, "data_format", "channels_last") not in (None, "channels_last"):
        return False
    if isinstance(layer, _LAYERS.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, _LAYERS.Activation):
        return layer.activation in _HOMOGENEOUS
    if isinstance(layer, _LAYERS.UpSampling2D):
        return layer.interpolation == "nearest"
    return type(layer) in _PASSES


def equalize(pairs: Sequence[Pair]) -> None:
    """Scale the channels until their largest weights are the same before and after: Nagel et al., equations 9 and 11.

    A kernel in two pairs, as a depthwise convolution's, takes part in both, so this is repeated until it settles.
    """
    for _ in range(_ROUNDS):
        if max((_equalize(pair) for pair in pairs), default=0) < _SETTLED:
            return


def _equalize(pair: Pair) -> float:
    """Scale one pair; return how much the logarithm of a scale is at most."""
    before, bias = _outputs(pair.first)
    after = _inputs(pair.second, len(before))
    one, other = np.abs(before).max(axis=1), np.abs(after).max(axis=1)
    alive = (one > 0) & (other > 0)
    scale = np.where(alive, np.sqrt(one / np.where(alive, other, 1)), 1)
    scale = np.clip(scale, 1 / _LARGEST, _LARGEST).astype(np.float32)
    _set_outputs(pair.first, before / scale[:, np.newaxis], None if bias is None else bias / scale)
    _set_inputs(pair.second, after * scale[:, np.newaxis])
    return float(np.abs(np.log(scale)).max())


def _outputs(layer: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a layer's kernel as ``[output channels, weights]``, and its bias."""
    kernel = np.asarray(layer.kernel)
    channels = kernel.shape[-1] * (kernel.shape[-2] if isinstance(layer, DEPTHWISE) else 1)
    return kernel.reshape(-1, channels).T, np.asarray(layer.bias) if layer.bias is not None else None


def _set_outputs(layer: Any, rows: np.ndarray, bias: np.ndarray | None) -> None:
    layer.kernel.assign(rows.T.reshape(layer.kernel.shape))
    if bias is not None:
        layer.bias.assign(bias)


def _inputs(layer: Any, channels: int) -> np.ndarray:
    """Return a layer's kernel as ``[input channels, weights]``; a dense layer may read them flattened, in turns."""
    kernel = np.asarray(layer.kernel)
    return np.moveaxis(kernel.reshape(-1, channels, kernel.shape[-1]), 1, 0).reshape(channels, -1)


def _set_inputs(layer: Any, rows: np.ndarray) -> None:
    shape = layer.kernel.shape
    layer.kernel.assign(np.moveaxis(rows.reshape(len(rows), -1, shape[-1]), 0, 1).reshape(shape))


def kernels_of(pairs: Sequence[Pair]) -> Iterator[Any]:
    """Yield the kernels of some pairs, each once."""
    seen: set[int] = set()
    for pair in pairs:
        for layer in (pair.first, pair.second):
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer.kernel
