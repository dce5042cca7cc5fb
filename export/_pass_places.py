"""Passes for operations on places, which some formats lack: as comparisons of each place with a number."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._frozen_graph import Replace, Value
from ._pass import Pass, Work


def boundaries(work: Work) -> Replace:
    """Write the place of a number among boundaries as the count of those that it is not below."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "Bucketize" or not operation.get_attr("boundaries"):
            return None
        numbers = tf.cast(tf.expand_dims(value(operation.inputs[0]), -1), tf.float32)
        above = numbers >= np.asarray(operation.get_attr("boundaries"), np.float32)
        return [tf.reduce_sum(tf.cast(above, tf.int32), -1)]

    return replace


def counts(work: Work) -> Replace:
    """Write how often each number occurs as a sum of comparisons with each."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "DenseBincount":
            return None
        size, weights = _size(work, operation.inputs[1]), operation.inputs[2]
        if size is None or not weights.shape.is_fully_defined():
            return None
        numbers = tf.expand_dims(value(operation.inputs[0]), -1)
        found = tf.equal(numbers, np.arange(int(size), dtype=numbers.dtype.as_numpy_dtype))
        if operation.get_attr("binary_output"):
            return [tf.cast(tf.reduce_any(found, -2), weights.dtype)]
        occurs = tf.cast(found, weights.dtype)
        if weights.shape.num_elements():
            occurs *= tf.expand_dims(value(weights), -1)
        return [tf.reduce_sum(occurs, -2)]

    return replace


def _size(work: Work, tensor: Any) -> Any:
    """Return a constant, or what a tensor cannot be above and is at least, as Keras bounds it; None otherwise."""
    known = work.graph.constant(tensor)
    if known is not None or tensor.op.type != "Minimum":
        return known
    for most, rest in (tensor.op.inputs, reversed(tensor.op.inputs)):
        bound = work.graph.constant(most)
        least = [work.graph.constant(each) for each in rest.op.inputs] if rest.op.type == "Maximum" else []
        if bound is not None and any(each is not None and each >= bound for each in least):
            return bound
    return None


def updates(work: Work) -> Replace:
    """Write a tensor with another in a part of it as the choice between the two at each place."""

    def replace(operation: Any, value: Value) -> Sequence[Any] | None:
        import tensorflow as tf

        if operation.type != "XlaDynamicUpdateSlice":
            return None
        whole, part, start = operation.inputs
        if not (whole.shape.is_fully_defined() and part.shape.is_fully_defined()):
            return None
        known = work.graph.constant(start)
        starts = tf.unstack(value(start)) if known is None else [int(each) for each in known]
        new, inside = value(part), tf.constant(True)
        for axis, (size, length) in enumerate(zip(whole.shape, part.shape, strict=True)):
            if size == length:
                continue
            places = tf.range(size) - tf.clip_by_value(tf.cast(starts[axis], tf.int32), 0, size - length)
            new = tf.gather(new, tf.clip_by_value(places, 0, length - 1), axis=axis)
            along = [size if place == axis else 1 for place in range(whole.shape.rank)]
            inside &= tf.reshape((places >= 0) & (places < length), along)
        return [tf.where(inside, new, value(whole))]

    return replace


PASSES = (
    Pass(
        "counted-boundaries",
        "ONNX has no Bucketize.",
        frozenset({"Bucketize"}),
        boundaries,
        formats=frozenset({"onnx"}),
    ),
    Pass(
        "counted-numbers",
        "TFLite and OpenVINO have no count of numbers.",
        frozenset({"DenseBincount"}),
        counts,
        formats=frozenset({"tflite", "openvino"}),
    ),
    Pass(
        "chosen-updates",
        "The converters of ONNX and OpenVINO have no operation for a part that is written over.",
        frozenset({"XlaDynamicUpdateSlice"}),
        updates,
        formats=frozenset({"onnx", "openvino"}),
    ),
)
