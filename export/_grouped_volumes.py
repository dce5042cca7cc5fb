"""Convolutions of volumes in groups, as one convolution for each group.

TensorFlow runs them only where they are compiled, so that no rewrite of a graph with them can be proven; TFLite has
none, and tf2onnx writes them without their groups.
"""

from collections.abc import Sequence
from typing import Any

from ._artifact import Tensor


def without_groups(frozen: Any) -> Any:
    """Return a frozen function that computes the same, without convolutions of volumes in groups."""
    from ._frozen_graph import FrozenGraph

    if not any(_groups(operation) > 1 for operation in frozen.graph.get_operations()):
        return frozen
    inputs = tuple(Tensor(each.op.name, tuple(each.shape), each.dtype.name) for each in frozen.inputs)
    return FrozenGraph(frozen, inputs, ()).rewritten(_parted).function


def _groups(operation: Any) -> int:
    if operation.type != "Conv3D" or operation.get_attr("data_format") != b"NDHWC":
        return 1
    given, kernel = (tensor.shape[place] for tensor, place in zip(operation.inputs, (-1, -2), strict=True))
    return int(given) // int(kernel) if given and kernel else 1


def _parted(operation: Any, value: Any) -> Sequence[Any] | None:
    import tensorflow as tf

    groups = _groups(operation)
    if groups == 1:
        return None
    x, kernel = (tf.split(value(tensor), groups, -1) for tensor in operation.inputs)
    how = {name: operation.get_attr(name) for name in ("strides", "dilations")}
    how |= {"padding": operation.get_attr("padding").decode(), "name": operation.name}
    parts = [tf.raw_ops.Conv3D(input=x, filter=w, **how) for x, w in zip(x, kernel, strict=True)]
    return [tf.concat(parts, -1, name=operation.name)]
