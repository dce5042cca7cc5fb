"""Pass for convolutions of sequences, which TensorFlow computes as pictures of one row.

It makes a picture of a sequence in front of each convolution and a sequence again behind it, before the bias. That
changes the shape alone, but keeps runtimes from computing a convolution, its bias and its activation as one. So what
comes after a convolution is computed of the picture, and only what needs a sequence is given one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value, copied
from ._pass import Pass, Work
from ._pass_ranges import QUANTIZER

_MAKERS = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MaxPool", "AvgPool"})
# What runtimes compute with the convolution before it.
_FUSED = frozenset({"BiasAdd", "Add", "AddV2", "Sub", "Mul", "Relu", "Relu6", QUANTIZER})
# What is computed of the numbers at each place alone.
# fmt: off
_EACH = _FUSED | frozenset((
    "Abs", "Cos", "Div", "Elu", "Erf", "Erfc", "Exp", "Expm1", "LeakyRelu", "Log", "Log1p", "Maximum", "Minimum", "Neg",
    "Pow", "RealDiv", "Rsqrt", "Selu", "Sigmoid", "Sin", "Softplus", "Softsign", "Sqrt", "Square", "SquaredDifference",
    "Tanh",
))
# fmt: on
# They hand on what they are given: at the ends of functions, such as convolutions in groups, and of Swish.
_MARKS = frozenset({"Identity", "IdentityN"})
_AXIS = 1  # the one that a sequence lacks


def replacing(work: Work) -> Replace:
    """Compute what follows a convolution of a picture of one row before the row is taken out of the shape."""
    computed = _of_pictures(work)
    pictures: dict[str, Any] = {}  # of the rewritten graph, by the name of the sequence that the original has there

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type == "ExpandDims":
            picture = pictures.get(_source(operation.inputs[0]).name) if _makes_row(operation) else None
            return None if picture is None else [picture]
        if operation.name not in computed:
            return None
        sequence = operation.outputs[0].name
        if operation.type == "Squeeze":
            pictures[sequence] = value(operation.inputs[0])
            return None
        given = [pictures.get(_source(tensor).name) for tensor in operation.inputs]
        if operation.type == "Pad":
            picture = tf.expand_dims(value(operation.inputs[0]), _AXIS) if given[0] is None else given[0]
            pads = np.insert(np.asarray(work.graph.constant(operation.inputs[1])), _AXIS, 0, axis=0)
            made = tf.pad(picture, pads, name=operation.name)
        else:
            rest = map(value, operation.inputs)
            inputs = [before if each is None else each for each, before in zip(given, rest, strict=True)]
            (made,) = copied(operation, inputs, same_shapes=False)
        pictures[sequence] = made
        return [tf.squeeze(made, [_AXIS])]

    return replace


def _of_pictures(work: Work) -> set[str]:
    """Return the names of the operations to compute of pictures: those that end in one, and what runtimes fuse."""
    possible: dict[str, Any] = {}
    for operation in work.graph.operations:
        if len(operation.outputs) == 1 and _can_be(work, operation, possible):
            possible[operation.name] = operation
    computed = {name for name, operation in possible.items() if _is_row(operation)}
    for name, operation in possible.items():
        if operation.type in _FUSED:
            sources = [_source(tensor) for tensor in operation.inputs if work.graph.constant(tensor) is None]
            if len(sources) == 1 and sources[0].op.name in computed and len(_readers(sources[0])) == 1:
                computed.add(name)
    for name, operation in reversed(possible.items()):
        readers = _readers(operation.outputs[0])
        if any(_makes_row(each) or (each.name in computed and not _is_row(each)) for each in readers):
            computed.add(name)
    return computed


def _can_be(work: Work, operation: Any, possible: dict[str, Any]) -> bool:
    """Tell whether an operation can be computed of a picture of one row, given those before it that can."""
    sequence = operation.outputs[0].shape
    if _is_row(operation):
        return True
    if operation.type == "Pad":
        ready = _source(operation.inputs[0]).op.name in possible
        readers = _readers(operation.outputs[0])
        ready = ready or bool(readers and all(map(_makes_row, readers)))
        return ready and work.graph.constant(operation.inputs[1]) is not None
    if operation.type not in _EACH or not sequence.is_fully_defined():
        return False
    if operation.type == "BiasAdd" and operation.get_attr("data_format") != b"NHWC":
        return False
    rest = [each for each in operation.inputs if _source(each).op.name not in possible or each.shape != sequence]
    constants = [work.graph.constant(tensor) for tensor in rest]
    # Aligned at the last axis, a constant stays where it was.
    fit = all(each is not None and (each.ndim < sequence.rank or each.shape[:1] == (1,)) for each in constants)
    return fit and len(rest) < len(operation.inputs)


def _source(tensor: Any) -> Any:
    """Return the tensor that one hands on."""
    while tensor.op.type in _MARKS:
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def _readers(tensor: Any) -> list[Any]:
    """Return the operations that read a tensor, or what hands it on."""
    found = []
    for each in tensor.consumers():
        if each.type in _MARKS:
            places = [place for place, given in enumerate(each.inputs) if given is tensor]
            found += [reader for place in places for reader in _readers(each.outputs[place])]
        else:
            found.append(each)
    return found


def _is_row(operation: Any) -> bool:
    """Tell whether an operation makes a sequence of what a convolution or a pool made of a picture of one row."""
    if operation.type != "Squeeze" or not _with_row(operation.outputs[0], operation.inputs[0]):
        return False
    before = _source(operation.inputs[0])
    return (_source(before.op.inputs[0]) if before.op.type == QUANTIZER else before).op.type in _MAKERS


def _makes_row(operation: Any) -> bool:
    return operation.type == "ExpandDims" and _with_row(operation.inputs[0], operation.outputs[0])


def _with_row(sequence: Any, picture: Any) -> bool:
    """Tell whether a picture is a sequence with an axis of one row."""
    if not sequence.shape.is_fully_defined():
        return False
    size = sequence.shape.as_list()
    return bool(picture.shape == [*size[:_AXIS], 1, *size[_AXIS:]])


PASSES = (
    Pass(
        "pictures-of-sequences",
        "Runtimes add a convolution's bias as they compute it only where nothing stands in between.",
        frozenset({"Squeeze"}),
        replacing,
        counted=_EACH | {"ExpandDims", "Pad"},
    ),
)
