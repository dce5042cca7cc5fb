"""A Keras model that computes with mapped variables, whatever its layers are, and may imitate another one.

``keras.StatelessScope`` runs any Keras 3 model with other values in place of its variables. Transforms map a
variable's value to the value that the model computes with, so neither pruning nor quantization needs a wrapper around
any layer, and gradients flow through the transforms to the variable.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from ..train._training import input_of, structured
from ._transform import Transform, computed

# Runs a model on its inputs: how the activations are computed, such as fake-quantized.
Run = Callable[[keras.Model, Any, bool], Any]


class MappedModel(keras.Model):
    """``inner``, computed with each variable that has transforms replaced by what they make of it.

    Args:
        inner: the model; its variables are the ones that train.
        transforms: in the order in which those of one variable are applied.
        run: runs the inner model; a plain call when None. Its ``variables``, if it has some, train along.
        imitation: the loss that compares its outputs with another model's, and its share in the loss, 0 to 1.
    """

    def __init__(
        self,
        inner: keras.Model,
        transforms: Sequence[Transform] = (),
        run: Run | None = None,
        imitation: tuple[Callable[[Any, Any], Any], float] | None = None,
    ) -> None:
        super().__init__(name=f"mapped_{inner.name}")
        self.inner = inner
        self.by_path: dict[str, list[Transform]] = {}
        for transform in transforms:
            self.by_path.setdefault(transform.path, []).append(transform)
        # Keras trains and saves what it finds in a layer's attributes.
        self.further_variables = [variable for transform in transforms for variable in transform.variables]
        self.further_variables += getattr(run, "variables", [])
        self._run = run
        self._imitation = imitation

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Run the inner model in a scope that holds the mapped values."""
        mapping = [
            (variable, computed(variable.value, self.by_path[variable.path]))
            for variable in self.inner.variables
            if variable.path in self.by_path
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            run = self._run or (lambda model, inputs, training: model(inputs, training=training))
            # Inputs in a list come by name from what trains the model.
            outputs = run(self.inner, structured(self.inner, inputs), training)
        # Moving statistics and seeds that the layers assigned were recorded in the scope; they are applied here.
        for variable in self.inner.non_trainable_variables:
            value = scope.get_current_value(variable)
            if training and value is not None:
                variable.assign(value)
        return outputs

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the task's loss, the imitation's, or their weighted mean."""
        if self._imitation is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        imitates, share = self._imitation
        imitated = imitates(x, y_pred)
        if share == 1:
            return imitated + sum(self.losses)
        return share * imitated + (1 - share) * super().compute_loss(x, y, y_pred, sample_weight, training)

    def bring_up_to_date(self, step: int, steps: int) -> None:
        """Tell each transform that a training step begins; see ``Transform.before_step``."""
        for variable in self.inner.variables:
            value = variable.value
            for transform in self.by_path.get(variable.path, ()):
                if not transform.held:
                    transform.before_step(value, step, steps)
                value = transform(value)

    def settle(self) -> None:
        """Write the mapped values into the variables."""
        for variable in self.inner.variables:
            if variable.path in self.by_path:
                variable.assign(computed(variable.value, self.by_path[variable.path]))

    @property
    def input(self) -> Any:
        """The inner model's inputs."""
        return input_of(self.inner)
