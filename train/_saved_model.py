"""A SavedModel without Keras metadata: a graph behind a signature, used as one layer of a functional Keras model."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import keras

_SIGNATURE = "serving_default"
# Operations that run Python or touch files. Those that save and restore checkpoints are in every SavedModel.
_REFUSED = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "WholeFileReaderV2"}
)


def check_operations(folder: Path) -> None:
    """Raise when the graph of a SavedModel runs Python or reads or writes files.

    Raises:
        InputError: it does, or ``saved_model.pb`` is none.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    try:
        document.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise InputError(
            f"Expected a SavedModel. Got: {folder}, whose saved_model.pb is truncated or something else ({error})."
        ) from error
    if not document.meta_graphs:
        raise InputError(f"Expected a SavedModel. Got: {folder}, whose saved_model.pb holds no graph.")
    for graph in document.meta_graphs:
        nodes = [
            *graph.graph_def.node,
            *(n for function in graph.graph_def.library.function for n in function.node_def),
        ]
        for node in nodes:
            if node.op in _REFUSED:
                raise InputError(
                    f"Expected a graph that computes. Got: operation {node.op} (node {node.name!r}) in {folder}, which "
                    "runs Python or touches files."
                )


def load_graph(folder: Path) -> "keras.Model":
    """Return a functional model with the signature's inputs and outputs, whose one layer is the SavedModel's graph.

    ``keras.layers.TFSMLayer`` takes a single tensor, and adds copies of the graph's variables that the graph does not
    compute with; this layer shows none.

    Raises:
        InputError: no usable signature, or a dimension besides the batch is open.
    """
    import keras
    import tensorflow as tf

    class SavedModelGraph(keras.layers.Layer):
        """The graph behind a signature."""

        def __init__(self, name: str) -> None:
            super().__init__(name=name, trainable=False)
            self._loaded = loaded
            self._function = signature

        def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return self._function(**inputs)

    loaded = tf.saved_model.load(str(folder))
    names = list(getattr(loaded, "signatures", {}))
    chosen = _SIGNATURE if _SIGNATURE in names else names[0] if len(names) == 1 else None
    if chosen is None:
        raise InputError(
            f"Expected a SavedModel with the signature {_SIGNATURE!r}. Got: {names or 'none'} in {folder}."
        )
    signature = loaded.signatures[chosen]
    inputs = {}
    for name, spec in signature.structured_input_signature[1].items():
        if spec.shape.rank is None or spec.shape.rank < 1 or None in spec.shape[1:]:
            raise InputError(
                f"Expected a SavedModel whose inputs have known dimensions besides the batch. Got: input {name!r} of "
                f"shape {spec.shape} in {folder}. Export it with a fixed input shape."
            )
        inputs[name] = keras.Input(batch_shape=tuple(spec.shape), dtype=spec.dtype.name, name=name)
    if not inputs:
        raise InputError(f"Expected a SavedModel with inputs. Got: none in the signature {chosen!r} of {folder}.")
    outputs = SavedModelGraph(name="saved_model_graph")(inputs)
    named = [keras.layers.Identity(name=name)(tensor) for name, tensor in outputs.items()]
    tensors = list(inputs.values())
    return keras.Model(
        tensors if len(tensors) > 1 else tensors[0],
        named if len(named) > 1 else named[0],
        name=re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name).lstrip("_-") or "saved_model",
    )
