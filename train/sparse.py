"""Sparse networks: a dense, a convolutional and a transformer network, trained dense and sparse by seven methods.

LeNet-300-100 (LeCun et al., 1998) has 266,610 parameters, far more than the digits need: it is the network that sparse
training is compared on. The first experiment is dense, for a recipe of compress/ to prune. What is masked are kernels:
of the transformer the projections, the dense layers, the embeddings (kernels here, for tokens are one-hot) and the
readout, but not the tables of positions, which are added.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import convolutional, program_synthesis
from ._digits import digits
from ._task import Architecture, Experiment, Schedule

if TYPE_CHECKING:
    import keras

SPARSITIES = (80, 90, 95, 98)
METHODS = {
    "static": "random mask, ERK",
    "set": "SET, ERK",
    "rigl": "RigL, ERK",
    "rigl-uniform": "RigL, uniform",
    "gradual": "gradual magnitude",
    "l1": "L1, then magnitude",
    "structured": "whole units",
}
_L1 = 1e-5


def build(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return LeNet-300-100: ``image`` ``[batch, 28, 28, 1]`` to ``probabilities`` ``[batch, 10]``."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    x = keras.layers.Dense(300, activation="relu", name="hidden_1")(x)
    x = keras.layers.Dense(100, activation="relu", name="hidden_2")(x)
    outputs = keras.layers.Dense(10, activation="softmax", name="probabilities")(x)
    return keras.Model(image, outputs, name="sparse")


def build_penalised(build: "Callable[[str, int], keras.Model]", size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return another's model with an L1 penalty on its kernels; what is saved of it is the other's model."""
    import keras

    model = build(size, seed)
    for kernel in _kernels(model):
        kernel.regularizer = keras.regularizers.L1(_L1)
    return model


def masked_adam(learning_rate: Any, clip_norm: float | None = None) -> "keras.optimizers.Optimizer":
    """Return the optimizer whose masks the methods move."""
    from ._sparse_optimizer import MaskedAdam

    return MaskedAdam(learning_rate, global_clipnorm=clip_norm)


def callbacks_of(method: str, sparsity: float) -> "Callable[[keras.Model, int], list[keras.callbacks.Callback]]":
    """Return what makes a training sparse by a method, for ``Experiment.callbacks``.

    Args:
        method: one of METHODS.
        sparsity: share of zeros in the kernels, 0 to below 1.
    """

    def make(model: "keras.Model", steps: int) -> "list[keras.callbacks.Callback]":
        from . import _sparse_methods as methods

        made: Any = {
            "static": methods.Static,
            "set": methods.Set,
            "rigl": methods.RigL,
            "rigl-uniform": functools.partial(methods.RigL, densities="uniform"),
            "gradual": methods.GradualMagnitude,
            "l1": methods.L1,
            "structured": methods.Structured,
        }[method]
        return [made(model, steps, sparsity)]

    return make


def sparsity_of(model: "keras.Model") -> Mapping[str, float]:
    """Return the share of zeros in the kernels, in percent."""
    kernels = [np.asarray(kernel) for kernel in _kernels(model)]
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    return {"zeros (%)": 100 * zeros / sum(kernel.size for kernel in kernels)}


def _kernels(model: "keras.Model") -> list[Any]:
    from ._sparse_optimizer import is_kernel

    return [variable for variable in model.trainable_variables if is_kernel(variable)]


def sparse_experiment(method: str, percent: int, dense: Experiment, title: str) -> Experiment:
    """Return an experiment that trains another's model sparse, by the other's schedule."""
    clip_norm = dense.schedules["edge"].clip_norm

    def measures(model: "keras.Model") -> Mapping[str, float]:
        return {**sparsity_of(model), **(dense.measures(model) if dense.measures else {})}

    return Experiment(
        name=f"{method}-{percent}" if dense is DIGITS else f"{dense.name}-{method}-{percent}",
        title=f"{title}, {METHODS[method]}, {percent} %",
        build=functools.partial(build_penalised, dense.build) if method == "l1" else dense.build,
        task=dense.task,
        schedules=dense.schedules,
        deploy=dense.deploy,
        measures=measures,
        optimizer=functools.partial(masked_adam, clip_norm=clip_norm),
        callbacks=callbacks_of(method, percent / 100),
    )


DIGITS = Experiment("digits", "LeNet-300-100, dense", build, digits, {"edge": Schedule(epochs=30, learning_rate=2e-3)})
CONVOLUTIONAL = Experiment(
    "convolutional",
    "Three convolutions, dense",
    convolutional.build,
    digits,
    convolutional.ARCHITECTURE.default.schedules,
)
# Half the epochs of the transformer in program_synthesis, dense and sparse: five trainings of it are long enough.
SCAN = dataclasses.replace(
    program_synthesis.SCAN_SIMPLE,
    title="SCAN transformer, dense, half its epochs",
    schedules={"edge": dataclasses.replace(program_synthesis.SCAN_SIMPLE.schedules["edge"], epochs=35)},
    bar=None,
)
ARCHITECTURE = Architecture(
    "sparse",
    "Sparse network",
    (
        DIGITS,
        *(sparse_experiment(method, percent, DIGITS, "LeNet-300-100") for percent in SPARSITIES for method in METHODS),
        CONVOLUTIONAL,
        *(
            sparse_experiment(method, percent, CONVOLUTIONAL, "Three convolutions")
            for percent in SPARSITIES
            for method in METHODS
        ),
        SCAN,
        *(
            sparse_experiment(method, percent, SCAN, "SCAN transformer, half its epochs")
            for percent in (80, 90)
            for method in ("rigl", "gradual")
        ),
    ),
)
