"""Passes for what TFLite's converter gets wrong of integers: operations that copy bytes, between tensors of two scales.

REVERSE_V2 copies without rescaling, but the converter gives its output the scale of what comes after, such as of the
concatenation in a bidirectional layer. ONE_HOT writes the bytes of its two values, and the converter leaves a zero as
the byte 0, which is half of the output's range. SCATTER_ND fills with that byte what nothing is scattered to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value
from ._pass import INTEGER, Pass, Work


def _gathering(work: Work) -> Replace:
    """Write a reversal as gathering the last place first: what the converter gives one scale on both sides."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "ReverseV2":
            return None
        axes, shape = work.graph.constant(operation.inputs[1]), operation.inputs[0].shape
        if axes is None or shape.rank is None or any(shape[int(axis)] is None for axis in axes):
            return None
        result = value(operation.inputs[0])
        for axis in map(int, axes):
            result = tf.gather(result, np.arange(shape[axis], dtype=np.int32)[::-1].copy(), axis=axis)
        return [result]

    return replace


def _comparing(work: Work) -> Replace:
    """Write ones and zeros by index as the comparison of the index with each place."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "OneHot" or not operation.outputs[0].dtype.is_floating:
            return None
        depth, on, off = map(work.graph.constant, operation.inputs[1:])
        if depth is None or on is None or off is None or (float(on), float(off)) != (1.0, 0.0):
            return None
        axis = operation.get_attr("axis")
        rank = operation.outputs[0].shape.rank
        indices = value(operation.inputs[0])
        places = np.arange(int(depth), dtype=indices.dtype.as_numpy_dtype)
        places = places.reshape([-1 if place == axis % rank else 1 for place in range(rank)])
        return [tf.where(tf.equal(tf.expand_dims(indices, axis), places), on, off)]

    return replace


def _taking(work: Work) -> Replace:
    """Write rows that are scattered to known places as what each place takes: one of the rows, or zeros."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "ScatterNd" or operation.outputs[0].dtype.name != "float32":
            return None
        indices, shape = (work.graph.constant(operation.inputs[place]) for place in (0, 2))
        if indices is None or shape is None:
            return None
        depth = indices.shape[-1]
        places = np.ravel_multi_index(tuple(indices.reshape(-1, depth).T), tuple(shape[:depth]))
        if len(np.unique(places)) < len(places):  # they are summed up
            return None
        takes = np.full(int(np.prod(shape[:depth])), len(places), np.int32)
        takes[places] = np.arange(len(places))
        rows = tf.reshape(value(operation.inputs[1]), (len(places), -1))
        return [tf.reshape(tf.gather(tf.concat([rows, tf.zeros((1, rows.shape[1]))], 0), takes), shape)]

    return replace


PASSES = (
    Pass(
        "gathered-reversals",
        "TFLite's REVERSE_V2 copies integers without rescaling, where its converter gives its output other scales.",
        frozenset({"ReverseV2"}),
        _gathering,
        formats=frozenset({"tflite"}),
        precisions=INTEGER,
    ),
    Pass(
        "compared-one-hot",
        "TFLite's converter leaves the zeros of ONE_HOT unquantized, which are halves then.",
        frozenset({"OneHot"}),
        _comparing,
        formats=frozenset({"tflite"}),
        precisions=INTEGER,
    ),
    Pass(
        "taken-rows",
        "TFLite's SCATTER_ND fills with the byte 0, which is no zero where integers have a zero point.",
        frozenset({"ScatterNd"}),
        _taking,
        formats=frozenset({"tflite"}),
        precisions=INTEGER,
    ),
)
