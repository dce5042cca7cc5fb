"""A user's samples, in any form that is taken: arrays, files, a tf.data.Dataset, a generator, a function."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ._data_file import Input, check_data, load_data
from ._sample_stream import named, read_stream
from ._stored_array import StoredArray
from ._task import Dataset

_TAKES = (
    "arrays by input name, (inputs, labels), a Dataset, the path of an .npz or of a folder of .npy, a tf.data.Dataset, "
    "a generator, or a function that returns one"
)


def dataset_of(data: Any, inputs: Mapping[str, Input]) -> Dataset:
    """Return samples that a user gave in any form that is taken, checked and in the model's types.

    Args:
        data: arrays by input name (and "labels"), an array for a model with one input, a tuple (inputs, labels), a
            Dataset, the path of an ``.npz`` or of a folder of ``.npy``; or what ``read_stream`` takes: a
            ``tf.data.Dataset``, a generator or another iterable, a ``keras.utils.PyDataset``; or a function without
            arguments that returns any of these.
        inputs: what the model takes; see ``model_inputs``.

    Raises:
        InputError: something else, or samples that do not fit; see ``check_data`` and ``read_stream``.
        MissingRequirement: no room for the samples on the disk.
    """
    if isinstance(data, str | Path):
        return load_data(Path(data), inputs)
    if isinstance(data, Dataset | Mapping):
        return check_data(data, inputs)
    if isinstance(data, np.ndarray | StoredArray | tuple):
        arrays, labels = named(data, inputs, "data")
        return check_data(Dataset(arrays, labels), inputs)
    if hasattr(data, "as_numpy_iterator"):
        if int(data.cardinality()) == -1:
            raise InputError("Expected a tf.data.Dataset that ends. Got: one that repeats for ever. Use .take(n).")
        return read_stream(data.as_numpy_iterator(), inputs, "the tf.data.Dataset")
    if isinstance(data, Iterable):
        kind = "generator" if isinstance(data, Iterator) else type(data).__name__
        return read_stream(data, inputs, f"the {kind}")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return read_stream((data[place] for place in range(len(data))), inputs, f"the {type(data).__name__}")
    if callable(data):
        try:
            made = data()
        except Exception as error:  # whatever the user's code raises
            raise InputError(
                f"Expected samples from the function of data, called without arguments. Got: {type(error).__name__}: "
                f"{error}"
            ) from error
        return dataset_of(made, inputs)
    raise InputError(f"Expected {_TAKES}. Got: {type(data).__name__}.")
