"""A Keras model that computes with mapped variables, whatever its layers are.

``keras.StatelessScope`` runs any Keras 3 model with other values in place of its variables. A transform maps a
variable's value to the value that the model computes with, so pruning needs no wrapper around any layer, and gradients
flow through the transform to the variable.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras


class MappedModel(keras.Model):
    """``inner``, computed with each variable in ``transforms`` replaced by its transform's value.

    Args:
        inner: the model; its variables are the ones that train.
        transforms: by the variable's path, a function from the variable's value to the value computed with.
    """

    def __init__(self, inner: keras.Model, transforms: Mapping[str, Callable[[Any], Any]]) -> None:
        super().__init__(name=f"mapped_{inner.name}")
        self.inner = inner
        self.transforms = dict(transforms)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Run the inner model in a scope that holds the mapped values."""
        mapping = [
            (variable, self.transforms[variable.path](variable.value))
            for variable in self.inner.variables
            if variable.path in self.transforms
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = self.inner(inputs, training=training)
        # Moving statistics and seeds that the layers assigned were recorded in the scope; they are applied here.
        for variable in self.inner.non_trainable_variables:
            value = scope.get_current_value(variable)
            if training and value is not None:
                variable.assign(value)
        return outputs

    @property
    def input(self) -> Any:
        """The inner model's inputs."""
        return self.inner.input
