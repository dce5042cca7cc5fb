"""What a liquid cell takes at a step: the sensors' values x and the time dt since the step before."""

from typing import Any


def values_and_time(inputs: Any) -> tuple[Any, Any]:
    """Return x ``[batch, sensors]`` and dt ``[batch, 1]``.

    Args:
        inputs: the pair of them; or one tensor ``[batch, sensors + 1]`` with dt last, as ``keras.layers.RNN`` hands it
            on, which takes no pairs.
    """
    if isinstance(inputs, (list, tuple)):
        return inputs[0], inputs[1]
    return inputs[..., :-1], inputs[..., -1:]


def sensors_of(input_shape: Any) -> int:
    """Return how many sensors inputs of such a shape, or pair of shapes, have."""
    if isinstance(input_shape[0], (list, tuple)):
        return int(input_shape[0][-1])
    return int(input_shape[-1]) - 1
