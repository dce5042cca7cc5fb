"""Batch normalizations folded into the layers before them, as converters do: a plain model without these layers.

gamma (W x + b - mean) / sqrt(variance + epsilon) + beta is a product again: its kernel is W times the factor of each
channel (Jacob et al., 2018, arXiv 1712.05877, section 3.2).
"""

from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from ._layer_graph import Graph, graphs_of
from ._layer_replacing import with_rows

_LAYERS = keras.layers
DENSE = (_LAYERS.Dense,)
CONVOLUTIONS = (_LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D)
DEPTHWISE = (_LAYERS.DepthwiseConv1D, _LAYERS.DepthwiseConv2D)
_PRODUCTS = DENSE + CONVOLUTIONS + DEPTHWISE


def folded(
    model: keras.Model, held: Collection[str] = (), kept: Collection[str] = ()
) -> tuple[keras.Model, dict[str, str]]:
    """Return a model that computes the same without the normalizations that can be folded.

    Args:
        model: it is left unchanged, and returned itself where nothing can be folded.
        held: paths of kernels whose channels may not be scaled.
        kept: paths of variables that have to be found by them in what is returned.

    Returns:
        The model, and by the name of each normalization that stays, why.

    Raises:
        InputError: Keras cannot rebuild the model's layers.
    """
    folds: dict[int, tuple[Any, Any]] = {}
    reasons: dict[str, str] = {}
    for graph in graphs_of(model):
        for layer in graph.operations:
            if isinstance(layer, _LAYERS.BatchNormalization):
                found = _product_before(graph, layer, held)
                if isinstance(found, str):
                    reasons[layer.name] = found
                else:
                    folds[id(layer)] = (layer, found)
    if not folds:
        return model, reasons
    products = {
        id(product): type(product).from_config(product.get_config() | {"use_bias": True})
        for _, product in folds.values()
    }
    rows: dict[int, tuple[Any, ...]] = dict.fromkeys(folds, ()) | {key: (made,) for key, made in products.items()}
    made = with_rows(model, rows, "to fold its normalizations")
    lost = set(kept) - {variable.path for variable in made.variables}
    if lost:
        why = f"would leave {', '.join(sorted(lost))}, held by an earlier step, at another path"
        return model, reasons | {layer.name: why for layer, _ in folds.values()}
    for layer, product in folds.values():
        _set_folded(product, layer, products[id(product)])
    return made, reasons


def _product_before(graph: Graph, layer: Any, held: Collection[str]) -> Any:
    product = graph.before(layer)
    if type(product) not in _PRODUCTS:
        what = type(product).__name__ if product is not None else "several layers, or none"
        return f"follows {what}: it can only be folded into a dense layer or a convolution right before it"
    if graph.readers(product) != [layer] or graph.readers(layer) is None:
        return f"is not the only one to read {product.name}, or is called more than once"
    if product.activation is not keras.activations.linear:
        return f"follows the activation of {product.name}"
    if getattr(product, "data_format", "channels_last") != "channels_last":
        return f"follows {product.name}, whose channels come first"
    if layer.axis not in (-1, len(product.output.shape) - 1):
        return f"normalizes axis {layer.axis}, not the channels"
    if getattr(product, "lora_enabled", False) or getattr(product, "quantization_mode", None):
        return f"follows {product.name}, whose kernel Keras adapts (LoRA) or has quantized"
    if product.kernel.path in held:
        return f"follows {product.name}, whose kernel is held to values by an earlier step"
    return product


def _set_folded(product: Any, layer: Any, new: Any) -> None:
    channels = layer.moving_mean.shape[0]
    gamma, beta = (
        np.asarray(variable, np.float64) if variable is not None else np.full(channels, default)
        for variable, default in ((layer.gamma, 1.0), (layer.beta, 0.0))
    )
    mean, variance = np.asarray(layer.moving_mean, np.float64), np.asarray(layer.moving_variance, np.float64)
    factor = gamma / np.sqrt(variance + layer.epsilon)
    kernel = np.asarray(product.kernel, np.float64)
    bias = np.asarray(product.bias, np.float64) if product.use_bias else 0.0
    of_outputs = factor.reshape(kernel.shape[-2:]) if isinstance(product, DEPTHWISE) else factor
    new.kernel.assign(kernel * of_outputs)
    new.bias.assign((bias - mean) * factor + beta)
