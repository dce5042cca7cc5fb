"""The networks of NAS-Bench-201 (arXiv:2001.00326) for CIFAR-10, of which HW-NAS-Bench measured 15,625 on a device."""

import random
from collections.abc import Iterable

import keras
from _measured_layers import Tensor, classify, conv
from keras import layers

from edgewright.errors import InputError

SAMPLE = 400
_CELLS_A_STAGE, _CHANNELS = 5, (16, 32, 64)
Cell = list[list[tuple[str, int]]]


def cell_of(text: str) -> Cell:
    """Return, for each node of a cell but its first, the operations that lead to it and the nodes they come from.

    ``text`` is such as "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|".
    """
    cell = []
    for node in text.split("+"):
        edges = [edge.rsplit("~", 1) for edge in node.strip("|").split("|")]
        if any(len(edge) != 2 or not edge[1].isdigit() for edge in edges):
            raise InputError(f"Expected nodes of edges OPERATION~NODE, as in |none~0|+|skip_connect~0|. Got: {text}.")
        cell.append([(operation, int(origin)) for operation, origin in edges])
    return cell


def rebuildable(cell: Cell) -> bool:
    """Return whether something reaches the output, and no operation computes on nothing.

    How the measured files compute on zeros is not known, and their latencies show that some do.
    """
    reached = [True]
    for edges in cell:
        reached.append(any(reached[origin] for operation, origin in edges if operation != "none"))
        computing = [origin for operation, origin in edges if operation not in ("none", "skip_connect")]
        if not all(reached[origin] for origin in computing):
            return False
    return reached[-1]


def sample(cells: Iterable[tuple[int, str]], count: int = SAMPLE) -> dict[str, str]:
    """Return ``count`` of the (index, text) that can be rebuilt, drawn from seed 0, as texts by name "nb201-INDEX"."""
    fit = [(index, text) for index, text in sorted(cells) if rebuildable(cell_of(text))]
    drawn = random.Random(0).sample(fit, min(count, len(fit)))
    return {f"nb201-{index}": text for index, text in drawn}


def nb201(text: str) -> keras.Model:
    """Return the network of a cell: five in each of three stages, for pictures ``[1, 32, 32, 3]``, to ten classes."""
    cell = cell_of(text)
    picture = keras.Input((32, 32, 3), batch_size=1, name="picture")
    x = conv(picture, _CHANNELS[0], 3, activation=None)
    for stage, channels in enumerate(_CHANNELS):
        if stage:
            x = _halved(x, channels)
        for _ in range(_CELLS_A_STAGE):
            x = _cell(x, cell)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(picture, classify(x, 10, softmax=False))


def _cell(x: Tensor, cell: Cell) -> Tensor:
    nodes: list[Tensor | None] = [x]
    for edges in cell:
        given = [_operation(operation, nodes[origin]) for operation, origin in edges]
        there = [tensor for tensor in given if tensor is not None]
        nodes.append(layers.Add()(there) if len(there) > 1 else there[0] if there else None)
    if nodes[-1] is None:
        raise InputError(f"Expected a cell whose output something reaches. Got: {cell}.")
    return nodes[-1]


def _operation(name: str, x: Tensor | None) -> Tensor | None:
    """Return what an edge gives; None where that is zeros."""
    if x is None or name == "none":
        return None
    if name == "skip_connect":
        return x
    if name == "avg_pool_3x3":
        return layers.AveragePooling2D(3, 1, "same")(x)
    kernel = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name]
    return conv(layers.ReLU()(x), int(x.shape[-1]), kernel, activation=None)


def _halved(x: Tensor, channels: int) -> Tensor:
    """Return the residual block between two stages, which halves the picture."""
    y = conv(layers.ReLU()(x), channels, 3, 2, activation=None)
    y = conv(layers.ReLU()(y), channels, 3, activation=None)
    return layers.Add()([conv(layers.AveragePooling2D(2)(x), channels, activation=None), y])
