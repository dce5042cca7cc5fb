"""Sparse networks: LeNet-300-100 and a small convolutional network, trained dense and sparse by seven methods.

LeNet-300-100 (LeCun et al., 1998) has 266,610 parameters, far more than the digits need: it is the network that sparse
training is compared on. The first experiment is dense, for a recipe of compress/ to prune.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import convolutional
from ._digits import digits
from ._task import Architecture, Experiment, Schedule

if TYPE_CHECKING:
    import keras

SPARSITIES = (80, 90, 95, 98)
METHODS = ("static", "set", "rigl", "rigl-uniform", "gradual", "l1", "structured")
_TITLES = {
    "static": "random mask, ERK",
    "set": "SET, ERK",
    "rigl": "RigL, ERK",
    "rigl-uniform": "RigL, uniform",
    "gradual": "gradual magnitude",
    "l1": "L1, then magnitude",
    "structured": "whole units",
}
_L1 = 1e-5


def build(size: str = "edge", seed: int = 0, l1: float = 0.0) -> "keras.Model":
    """Return LeNet-300-100: ``image`` ``[batch, 28, 28, 1]`` to ``probabilities`` ``[batch, 10]``."""
    import keras

    keras.utils.set_random_seed(seed)
    penalty = keras.regularizers.L1(l1) if l1 else None
    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    x = keras.layers.Dense(300, activation="relu", kernel_regularizer=penalty, name="hidden_1")(x)
    x = keras.layers.Dense(100, activation="relu", kernel_regularizer=penalty, name="hidden_2")(x)
    outputs = keras.layers.Dense(10, activation="softmax", kernel_regularizer=penalty, name="probabilities")(x)
    return keras.Model(image, outputs, name="sparse")


def masked_adam(learning_rate: Any) -> "keras.optimizers.Optimizer":
    """Return the optimizer whose masks the methods move."""
    from ._sparse_optimizer import MaskedAdam

    return MaskedAdam(learning_rate)


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
    kernels = [np.asarray(each) for each in model.trainable_variables if len(each.shape) >= 2]
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    return {"zeros (%)": 100 * zeros / sum(kernel.size for kernel in kernels)}


def sparse_experiment(method: str, percent: int, dense: Experiment, title: str) -> Experiment:
    """Return an experiment that trains another's model sparse."""
    build_dense = functools.partial(build, l1=_L1) if method == "l1" else dense.build
    return Experiment(
        name=f"{method}-{percent}" if dense is DIGITS else f"{dense.name}-{method}-{percent}",
        title=f"{title}, {_TITLES[method]}, {percent} %",
        build=build_dense,
        task=dense.task,
        schedules=dense.schedules,
        deploy=dense.deploy,
        measures=sparsity_of,
        optimizer=masked_adam,
        callbacks=callbacks_of(method, percent / 100),
    )


DIGITS = Experiment("digits", "LeNet-300-100, dense", build, digits, {"edge": Schedule(epochs=30, learning_rate=2e-3)})
_CONVOLUTIONAL = Experiment(
    "convolutional",
    "Three convolutions, dense",
    convolutional.build,
    digits,
    convolutional.ARCHITECTURE.default.schedules,
)
ARCHITECTURE = Architecture(
    "sparse",
    "Sparse network",
    (
        DIGITS,
        *(sparse_experiment(method, percent, DIGITS, "LeNet-300-100") for percent in SPARSITIES for method in METHODS),
        _CONVOLUTIONAL,
        *(
            sparse_experiment(method, percent, _CONVOLUTIONAL, "Three convolutions")
            for percent in (80, 90)
            for method in ("static", "set", "rigl", "gradual")
        ),
    ),
)
