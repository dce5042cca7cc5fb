"""How operations that move, divide and join axes hand on labels."""

import math
from typing import Any

import numpy as np

from ._removal_flow import Axes, Flow, Rule


def _reshape(flow: Flow, op: Any) -> None:
    axes = flow.of(op.inputs[0])
    shape = list(op.outputs[0].shape)
    made: Axes = []
    for into, out in _blocks([len(axis) for axis in axes], shape):
        made += _reshaped(flow, op, [axes[place] for place in into], [shape[place] for place in out])
    flow.set(op.outputs[0], made)


def _blocks(before: list[int], after: list[int]) -> list[tuple[list[int], list[int]]]:
    """Return which axes of a shape become which of another: the smallest runs with equal products.

    >>> _blocks([2, 6, 5], [2, 2, 3, 5])
    [([0], [0]), ([1], [1, 2]), ([2], [3])]
    """
    blocks = []
    one = other = 0
    while one < len(before) or other < len(after):
        into, out = before[one : one + 1], after[other : other + 1]
        while math.prod(into) != math.prod(out):
            if math.prod(into) < math.prod(out):
                into = before[one : one + len(into) + 1]
            else:
                out = after[other : other + len(out) + 1]
        blocks.append((list(range(one, one + len(into))), list(range(other, other + len(out)))))
        one, other = one + len(into), other + len(out)
    return blocks


def _reshaped(flow: Flow, op: Any, into: Axes, out: list[int]) -> Axes:
    """Return the labels of the axes that a block of axes becomes."""
    live = [place for place, axis in enumerate(into) if len(axis) > 1 and flow.labels.are_live(axis)]
    if not into or not live:
        fixed = flow.place(1) if not into else next((axis for axis in into if len(axis) > 1), into[0])[:1]
        if len(into) == 1 and [size for size in out if size > 1] == [len(into[0])]:
            return [into[0] if size > 1 else flow.labels.fresh(1) for size in out]
        return [np.full(size, fixed[0]) if size > 1 else flow.labels.fresh(1) for size in out]
    for place in live[1:]:
        flow.labels.fix(into[place], f"is flattened together with another axis in {flow.layer_of(op.name)}")
    sizes = [len(axis) for axis in into]
    shape = [size if place == live[0] else 1 for place, size in enumerate(sizes)]
    labels = np.broadcast_to(into[live[0]].reshape(shape), sizes).reshape(out)
    wide = [axis for axis, size in enumerate(out) if size > 1]
    kept = next((axis for axis in wide if (np.take(labels, [0], axis) != labels).any() and _alone(labels, axis)), None)
    if kept is None:
        kept = flow.choose(op, labels, wide) if len(wide) > 1 else (wide or [0])[0]
    own = np.moveaxis(labels, kept, 0).reshape(out[kept], -1)[:, 0]
    return [
        own if axis == kept else flow.place(size) if size > 1 else flow.labels.fresh(1) for axis, size in enumerate(out)
    ]


def _alone(labels: np.ndarray, axis: int) -> bool:
    """Tell whether labels differ along one axis alone."""
    apart = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    return bool((apart == apart[:, :1]).all())


def _transpose(flow: Flow, op: Any) -> None:
    axes = flow.of(op.inputs[0])
    flow.set(op.outputs[0], [axes[int(axis)] for axis in flow.constant(op.inputs[1])])


def _expand(flow: Flow, op: Any) -> None:
    axes = list(flow.of(op.inputs[0]))
    axis = int(np.ravel(flow.constant(op.inputs[1]))[0])
    axes.insert(axis if axis >= 0 else len(axes) + 1 + axis, flow.labels.fresh(1))
    flow.set(op.outputs[0], axes)


def _squeeze(flow: Flow, op: Any) -> None:
    axes = flow.of(op.inputs[0])
    gone = {axis % len(axes) for axis in op.get_attr("squeeze_dims")} or {
        axis for axis, labels in enumerate(axes) if len(labels) == 1
    }
    flow.set(op.outputs[0], [labels for axis, labels in enumerate(axes) if axis not in gone])


def _concatenate(flow: Flow, op: Any) -> None:
    *parts, last = op.inputs
    axes = [flow.of(tensor) for tensor in parts]
    axis = int(flow.constant(last)) % len(axes[0])
    made = flow.broadcast([[*each[:axis], *each[axis + 1 :]] for each in axes]) if len(axes[0]) > 1 else []
    made.insert(axis, np.concatenate([each[axis] for each in axes]))
    flow.set(op.outputs[0], made)


def _pack(flow: Flow, op: Any) -> None:
    made = list(flow.broadcast([flow.of(tensor) for tensor in op.inputs]))
    axis = op.get_attr("axis")
    made.insert(axis if axis >= 0 else len(made) + 1 + axis, flow.place(len(op.inputs)))
    flow.set(op.outputs[0], made)


def _unpack(flow: Flow, op: Any) -> None:
    axes = list(flow.of(op.inputs[0]))
    flow.labels.fix(axes.pop(op.get_attr("axis")), f"is taken apart in {flow.layer_of(op.name)}")
    for output in op.outputs:
        flow.set(output, axes)


def _split(flow: Flow, op: Any) -> None:
    tensor, place = (op.inputs[1], op.inputs[0]) if op.type == "Split" else (op.inputs[0], op.inputs[2])
    axes = flow.of(tensor)
    axis = int(flow.constant(place)) % len(axes)
    start = 0
    for output in op.outputs:
        size = output.shape[axis]
        flow.set(output, [*axes[:axis], axes[axis][start : start + size], *axes[axis + 1 :]])
        start += size


def _slice(flow: Flow, op: Any) -> None:
    starts = flow.constant(op.inputs[1])
    axes = flow.of(op.inputs[0])
    sizes = op.outputs[0].shape
    flow.set(
        op.outputs[0],
        [axis[int(start) : int(start) + size] for axis, start, size in zip(axes, starts, sizes, strict=True)],
    )


def _strided_slice(flow: Flow, op: Any) -> None:
    begin, end, stride = (flow.constant(tensor) for tensor in op.inputs[1:])
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    axes = list(flow.of(op.inputs[0]))
    taking = sum(not _bit(masks["new_axis"], n) and not _bit(masks["ellipsis"], n) for n in range(len(begin)))
    made: Axes = []
    place = 0
    for number in range(len(begin)):
        if _bit(masks["ellipsis"], number):
            for _ in range(len(axes) - taking):
                made.append(axes[place])
                place += 1
        elif _bit(masks["new_axis"], number):
            made.append(flow.labels.fresh(1))
        elif _bit(masks["shrink_axis"], number):
            flow.labels.fix(axes[place], f"is taken apart in {flow.layer_of(op.name)}") if len(
                axes[place]
            ) > 1 else None
            place += 1
        else:
            low = None if _bit(masks["begin"], number) else int(begin[number])
            high = None if _bit(masks["end"], number) else int(end[number])
            made.append(axes[place][low : high : int(stride[number])])
            place += 1
    flow.set(op.outputs[0], [*made, *axes[place:]])


def _bit(mask: int, place: int) -> bool:
    return bool(mask >> place & 1)


def _gather(flow: Flow, op: Any) -> None:
    tensor, indices, *more = op.inputs
    if "batch_dims" in op.node_def.attr and op.get_attr("batch_dims"):
        raise NotImplementedError("batched gathering")
    axes = flow.of(tensor)
    axis = int(flow.constant(more[0])) % len(axes) if more else 0
    flow.labels.fix(axes[axis], f"is looked up in {flow.layer_of(op.name)}")
    flow.set(op.outputs[0], [*axes[:axis], *flow.of(indices), *axes[axis + 1 :]])


def _pad(flow: Flow, op: Any) -> None:
    made: Axes = []
    for axis, (before, after) in zip(flow.of(op.inputs[0]), flow.constant(op.inputs[1]), strict=True):
        if before or after:
            flow.labels.fix(axis, f"is padded in {flow.layer_of(op.name)}")
            made.append(flow.place(len(axis) + int(before) + int(after)))
        else:
            made.append(axis)
    flow.set(op.outputs[0], made)


def _tile(flow: Flow, op: Any) -> None:
    made: Axes = []
    for axis, times in zip(flow.of(op.inputs[0]), flow.constant(op.inputs[1]), strict=True):
        made.append(flow.labels.fresh(int(times)) if len(axis) == 1 and times > 1 else np.tile(axis, int(times)))
    flow.set(op.outputs[0], made)


def _broadcast_to(flow: Flow, op: Any) -> None:
    axes, shape = flow.of(op.inputs[0]), list(op.outputs[0].shape)
    new = len(shape) - len(axes)
    made = [flow.labels.fresh(size) for size in shape[:new]]
    for axis, size in zip(axes, shape[new:], strict=True):
        made.append(axis if len(axis) == size else flow.labels.fresh(size))
    flow.set(op.outputs[0], made)


def _fresh(flow: Flow, op: Any) -> None:
    for output in op.outputs:
        flow.set(output, [flow.labels.fresh(size) for size in output.shape])


RULES: dict[str, Rule] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "ConcatV2": _concatenate,
    "Pack": _pack,
    "Unpack": _unpack,
    **dict.fromkeys(("Split", "SplitV"), _split),
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    **dict.fromkeys(("Gather", "GatherV2"), _gather),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    "Tile": _tile,
    "BroadcastTo": _broadcast_to,
    **dict.fromkeys(("RandomUniform", "RandomStandardNormal", "StatelessRandomUniformV2", "Fill"), _fresh),
}
