"""Ranges of the tensors that passes bring into a graph with ranges: what has none there stays in float."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ._frozen_graph import FrozenGraph

# Marks a tensor until its range is known; it hands on what it is given.
_MARK = "PreventGradient"
QUANTIZER = "FakeQuantWithMinMaxVars"


def has_ranges(graph: "FrozenGraph") -> bool:
    """Tell whether the ranges of a graph's activations are written into it, as fake quantization."""
    return QUANTIZER in graph.types


def between(tensor: Any) -> Any:
    """Return a tensor of a rewritten graph, marked as one that the original did not have.

    What takes the place of an operation's output needs no mark: the original has a range for it where one is needed.
    """
    import tensorflow as tf

    return tf.raw_ops.PreventGradient(input=tensor, message="its range is to be found")


def rounded_as(quantizer: Any, tensor: Any, value: Any) -> Any:
    """Return a tensor of a rewritten graph, of any shape, rounded as an operation of the original one rounds."""
    import tensorflow as tf

    how = {name: quantizer.get_attr(name) for name in ("num_bits", "narrow_range")}
    bounds = map(value, quantizer.inputs[1:])
    return tf.quantization.fake_quant_with_min_max_vars(tensor, *bounds, **how, name=quantizer.name)


def with_ranges(graph: "FrozenGraph", samples: Sequence[Mapping[str, np.ndarray]]) -> "FrozenGraph":
    """Return a graph with fake quantization at its marks, over what samples give there; without, where it has none."""
    marked = [operation for operation in graph.operations if operation.type == _MARK]
    if not marked:
        return graph
    ranges = {operation.name: (0.0, 0.0) for operation in marked}
    outputs = [operation.outputs[0] for operation in marked]
    for arrays in graph.values_over(outputs, samples if has_ranges(graph) else ()):
        for operation, array in zip(marked, arrays, strict=True):
            low, high = ranges[operation.name]
            ranges[operation.name] = min(low, float(array.min())), max(high, float(array.max()))

    def replace(operation: Any, value: Any) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != _MARK:
            return None
        low, high = ranges[operation.name]
        tensor = value(operation.inputs[0])
        return [tf.quantization.fake_quant_with_min_max_vars(tensor, low, high) if high > low else tensor]

    return graph.rewritten(replace)
