"""How operations that compute hand on the labels of their inputs' places to their outputs."""

from typing import Any

import numpy as np

from . import _removal_shapes
from ._removal_flow import PLACE, Axes, Flow, Rule

# Each place of what comes out depends on the same places of what goes in.
ELEMENTWISE = """
Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd Cast Ceil CheckNumerics ClipByValue Cos Cosh
DivNoNan Elu Equal Erf Erfc Exp Expm1 FakeQuantWithMinMaxArgs Floor FloorDiv FloorMod Greater GreaterEqual Identity
Inv Invert IsFinite IsInf IsNan LeakyRelu Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum
Mod Mul MulNoNan Neg NotEqual OnesLike Pow PreventGradient RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Select
SelectV2 Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square SquaredDifference StopGradient Sub Tan Tanh
TruncateDiv TruncateMod Xdivy Xlogy ZerosLike
"""
POOLS = frozenset(["AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D"])
SPATIAL = frozenset(["ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "SpaceToBatchND", "BatchToSpaceND"])


def _elementwise(flow: Flow, op: Any) -> None:
    made = flow.broadcast([flow.of(tensor) for tensor in op.inputs])
    for output in op.outputs:
        flow.set(output, made)


def _each(flow: Flow, op: Any) -> None:
    for source, output in zip(op.inputs, op.outputs, strict=True):
        flow.set(output, flow.of(source))


def _matmul(flow: Flow, op: Any) -> None:
    turned = [
        any(op.get_attr(name) for name in names if name in op.node_def.attr)
        for names in (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
    ]
    first, second = (
        [*axes[:-2], axes[-1], axes[-2]] if turn else axes
        for axes, turn in zip(map(flow.of, op.inputs), turned, strict=True)
    )
    flow.labels.unite(first[-1], second[-2])
    flow.contracted.append((op.inputs[0], len(first) - (2 if turned[0] else 1)))
    batch = flow.broadcast([first[:-2], second[:-2]]) if max(len(first), len(second)) > 2 else []
    flow.set(op.outputs[0], [*batch, first[-2], second[-1]])
    flow.products.append((op, [*batch, first[-2], first[-1], second[-1]]))


def _einsum(flow: Flow, op: Any) -> None:
    equation = op.get_attr("equation").decode()
    sides, result = equation.split("->")
    terms = sides.split(",")
    ranks = [len(flow.of(tensor)) for tensor in op.inputs]
    hidden = max(
        (rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term),
        default=0,
    )
    dots = "ABCDEFGHIJ"[:hidden]
    by_letter: dict[str, np.ndarray] = {}
    for term, rank, tensor in zip(terms, ranks, op.inputs, strict=True):
        own = rank - len(term.replace("...", ""))
        letters = term.replace("...", dots[hidden - own :])
        for axis, (letter, labels) in enumerate(zip(letters, flow.of(tensor), strict=True)):
            if letter in by_letter and len(labels) == len(by_letter[letter]):
                flow.labels.unite(by_letter[letter], labels)
            elif letter not in by_letter or len(labels) > 1:
                by_letter[letter] = labels
            if letter not in result.replace("...", dots):
                flow.contracted.append((tensor, axis))
    flow.set(op.outputs[0], [by_letter[letter] for letter in result.replace("...", dots)])
    flow.products.append((op, list(by_letter.values())))


def _convolution(flow: Flow, op: Any) -> None:
    _channels_last(op)
    tensor, kernel = op.inputs
    axes, (*places, into, out) = flow.of(tensor), flow.of(kernel)
    for place in places:
        flow.labels.fix(place, "the size of a kernel")
    if len(into) != len(axes[-1]):
        raise NotImplementedError("grouped convolution")
    flow.labels.unite(axes[-1], into)
    flow.contracted.append((tensor, len(axes) - 1))
    flow.set(op.outputs[0], _spatial(flow, op, axes, out))
    flow.products.append((op, [*flow.of(op.outputs[0]), *places, into]))


def _transposed_convolution(flow: Flow, op: Any) -> None:
    _channels_last(op)
    _, kernel, tensor = op.inputs
    axes, (*places, out, into) = flow.of(tensor), flow.of(kernel)
    for place in places:
        flow.labels.fix(place, "the size of a kernel")
    flow.labels.unite(axes[-1], into)
    flow.contracted.append((tensor, len(axes) - 1))
    flow.set(op.outputs[0], _spatial(flow, op, axes, out))
    flow.products.append((op, [*axes, *places, out]))


def _depthwise(flow: Flow, op: Any) -> None:
    _channels_last(op)
    tensor, kernel = op.inputs
    axes, (*places, channels, multiplier) = flow.of(tensor), flow.of(kernel)
    for place in places:
        flow.labels.fix(place, "the size of a kernel")
    flow.labels.unite(axes[-1], channels)
    flow.labels.fix(multiplier, "the multiplier of a depthwise convolution")
    flow.set(op.outputs[0], _spatial(flow, op, axes, np.repeat(channels, len(multiplier))))
    flow.products.append((op, [*flow.of(op.outputs[0]), *places]))


def _channels_last(op: Any) -> None:
    if "data_format" in op.node_def.attr and not op.get_attr("data_format").decode().endswith("C"):
        raise NotImplementedError("channels first")


def _spatial(flow: Flow, op: Any, axes: Axes, channels: np.ndarray) -> Axes:
    """Return the axes of an output whose places are not the input's: samples, places, channels."""
    for axis in axes[1:-1]:
        flow.labels.fix(axis, PLACE)
    return [axes[0], *(flow.place(size) for size in op.outputs[0].shape[1:-1]), channels]


def _pool(flow: Flow, op: Any) -> None:
    _channels_last(op)
    axes = flow.of(op.inputs[0])
    flow.set(op.outputs[0], _spatial(flow, op, axes, axes[-1]))


def _resize(flow: Flow, op: Any) -> None:
    axes = flow.of(op.inputs[0])
    made = _spatial(flow, op, axes, axes[-1])
    flow.set(op.outputs[0], [flow.place(op.outputs[0].shape[0]), *made[1:]])


def _batch_normalization(flow: Flow, op: Any) -> None:
    _channels_last(op)
    axes = flow.of(op.inputs[0])
    for statistics in op.inputs[1:]:
        if len(flow.of(statistics)[0]) == len(axes[-1]):
            flow.labels.unite(axes[-1], flow.of(statistics)[0])
    flow.set(op.outputs[0], axes)
    for output in op.outputs[1:]:
        if output.shape.rank == 1 and output.shape[0] == len(axes[-1]):
            flow.set(output, [axes[-1]])


def _reduction(mixes: bool) -> Rule:
    def rule(flow: Flow, op: Any) -> None:
        axes = flow.of(op.inputs[0])
        reduced = {int(axis) % len(axes) for axis in np.ravel(flow.constant(op.inputs[1]))}
        kept: Axes = []
        for axis, labels in enumerate(axes):
            if axis not in reduced:
                kept.append(labels)
                continue
            if mixes:
                flow.labels.mix(labels, f"{op.type} in {flow.layer_of(op.name)} computes with all of them together")
            if op.outputs[0].shape.rank == len(axes):
                kept.append(flow.labels.fresh(1))
        flow.set(op.outputs[0], kept)

    return rule


def _softmax(flow: Flow, op: Any) -> None:
    axes = flow.of(op.inputs[0])
    flow.labels.mix(axes[-1], f"Softmax in {flow.layer_of(op.name)} computes with all of them together")
    flow.set(op.outputs[0], axes)


def _along(flow: Flow, op: Any) -> None:
    """Cumulative sums and reversals: order matters along some axes."""
    axes = flow.of(op.inputs[0])
    for axis in np.ravel(flow.constant(op.inputs[1])):
        flow.labels.fix(axes[int(axis)], f"their order matters to {op.type} in {flow.layer_of(op.name)}")
    flow.set(op.outputs[0], axes)


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("IdentityN", "Snapshot"), _each),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
    "Einsum": _einsum,
    **dict.fromkeys(("Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _transposed_convolution),
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(SPATIAL, _resize),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _batch_normalization),
    "Sum": _reduction(mixes=False),
    **dict.fromkeys(("Mean", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin"), _reduction(mixes=True)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Cumsum", "Cumprod", "ReverseV2", "Roll"), _along),
    **_removal_shapes.RULES,
}
