"""Recurrent networks over (x, dt, mask), rolled in training, and their single step for a device."""

from pathlib import Path
from typing import Any

import keras
from keras import ops

from ._task import Deployment, Task

RECURRENT, LOGITS, OUTPUT, ACTION = "recurrent", "logits", "probabilities", "action"


def classifier(
    cell: keras.layers.Layer,
    steps: int,
    sensors: int,
    classes: int,
    *,
    readout: str,
    noise: float,
    dropout: float,
    seed: int,
) -> keras.Model:
    """Return ``x`` ``[batch, steps, sensors]``, ``dt`` and ``mask`` ``[batch, steps, 1]`` to ``probabilities``.

    The answer is read from the cell's output at the last step that the mask marks as recorded, or from its mean over
    the recorded steps; at the others the state is carried over unchanged.

    Args:
        cell: takes x and dt as one tensor, dt last.
        steps, sensors, classes: sizes.
        readout: "last" or "mean".
        noise: deviation of what is added to x in training.
        dropout: share of what is read out that is dropped in training.
        seed: of both.
    """
    inputs, read = _rolled(cell, steps, sensors, readout == "mean", noise, seed)
    if readout == "mean":
        mask = inputs["mask"]
        read = ops.sum(read * mask, axis=1) / ops.sum(mask, axis=1)
    read = keras.layers.Dropout(dropout, seed=seed, name="dropout")(read)
    logits = keras.layers.Dense(classes, name=LOGITS)(read)
    outputs = keras.layers.Softmax(name=OUTPUT)(logits)
    return keras.Model(inputs, outputs, name="liquid")


def controller(cell: keras.layers.Layer, steps: int, sensors: int, actions: int) -> keras.Model:
    """Return ``x`` ``[batch, steps, sensors]``, ``dt`` and ``mask`` ``[batch, steps, 1]`` to an ``action``.

    It is ``[batch, steps, actions]``, zero where the mask is, and the state is carried over unchanged there.
    """
    inputs, read = _rolled(cell, steps, sensors, True, 0.0, 0)
    acted = keras.layers.Dense(actions, name=LOGITS)(read)
    outputs = keras.layers.Multiply(name=ACTION)([acted, inputs["mask"]])
    return keras.Model(inputs, outputs, name="liquid_controller")


def _rolled(
    cell: keras.layers.Layer, steps: int, sensors: int, every_step: bool, noise: float, seed: int
) -> tuple[dict[str, Any], Any]:
    """Return the inputs, by name, and the cell's output at every step or at the last recorded one."""
    x = keras.Input((steps, sensors), name="x")
    dt = keras.Input((steps, 1), name="dt")
    mask = keras.Input((steps, 1), name="mask")
    noisy = keras.layers.GaussianNoise(noise, seed=seed, name="noise")(x) if noise else x
    x_and_dt = keras.layers.Concatenate(name="x_and_dt")([noisy, dt])
    recurrent = keras.layers.RNN(cell, return_sequences=every_step, name=RECURRENT)
    read = recurrent(x_and_dt, mask=ops.squeeze(mask, axis=-1) > 0.5)
    return {"x": x, "dt": dt, "mask": mask}, read


def readout_of(model: keras.Model) -> str:
    """Return "last" or "mean" of a classifier, "each" of a controller."""
    if any(layer.name == ACTION for layer in model.layers):
        return "each"
    return "mean" if model.get_layer(RECURRENT).return_sequences else "last"


def states_of(cell: keras.layers.Layer) -> dict[str, int]:
    """Return the cell's states: how many values each has, by name."""
    sizes = cell.state_size if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]
    return dict(zip(getattr(cell, "state_names", ("h",)), (int(size) for size in sizes), strict=True))


def step(model: keras.Model) -> keras.Model:
    """Return one step of a trained network, sharing its weights.

    ``x`` ``[batch, sensors]``, ``dt`` ``[batch, 1]`` and each state to ``probabilities`` and ``next_`` each state.
    Where the mean is read out, the first output is ``logits``: their mean is the mean's logits, as the layer is affine.
    A controller's ``logits`` are its action.
    """
    cell = model.get_layer(RECURRENT).cell
    x = keras.Input((model.get_layer("x").output.shape[-1],), name="x")
    dt = keras.Input((1,), name="dt")
    states = {name: keras.Input((size,), name=name) for name, size in states_of(cell).items()}
    pair: Any = (x, dt) if hasattr(cell, "state_names") else keras.layers.Concatenate(name="x_and_dt")([x, dt])
    output, after = cell(pair, list(states.values()))
    outputs = [model.get_layer(LOGITS)(output)]
    if readout_of(model) == "last":
        outputs = [model.get_layer(OUTPUT)(outputs[0])]
    outputs += [keras.layers.Identity(name=f"next_{name}")(state) for name, state in zip(states, after, strict=True)]
    return keras.Model({"x": x, "dt": dt, **states}, outputs, name="step")


def deployment(model: keras.Model, task: Task) -> Deployment:
    """Return the single step, with the host code that loops over it."""
    return Deployment(
        graphs={"step": step(model)},
        task=task,
        host=Path(__file__).with_name("_liquid_host.py"),
        settings={"states": states_of(model.get_layer(RECURRENT).cell), "readout": readout_of(model)},
        per="step",
        unit="step",
    )
