"""A Sequential that was built without a ``keras.Input``, with its input named as a file of it names it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def with_named_input(model: "keras.Model") -> "keras.Model":
    """Return a model of the same layers whose input has the name of its InputLayer, or the model where it has.

    Keras names the input of a Sequential that is built by a shape or by its first data as a tensor, such as
    ``keras_tensor_5``, and otherwise in each copy and file of it: what is told by name would be lost there.
    """
    import keras

    if type(model) is not keras.Sequential or not model.built or len(model.inputs) != 1:
        return model
    # Sequential's own list has the InputLayer that ``layers`` leaves out.
    entry, tensor = model._layers[0], model.inputs[0]
    if not isinstance(entry, keras.layers.InputLayer) or tensor.name == entry.name:
        return model
    named = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=entry.name)
    return keras.Sequential([named, *model.layers], name=model.name, trainable=model.trainable)
