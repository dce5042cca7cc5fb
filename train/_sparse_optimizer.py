"""Adam over masked kernels: what a mask leaves out stays zero, while the gradient of all of it is kept to grow by."""

from typing import Any

import keras


def is_kernel(variable: Any) -> bool:
    """Tell whether a variable is masked: it is if it is multiplied with activations, as compress/ prunes too.

    Biases, gains and tables of position vectors are added: a zero there saves no multiplication.
    """
    return len(variable.shape) >= 2 and str(variable.path).endswith("kernel")


@keras.saving.register_keras_serializable("edgewright")
class MaskedAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba, 2015, arXiv 1412.6980) with a mask for each kernel.

    A masked weight is zero, so the gradient there is the dense gradient that RigL grows by (Evci et al., 2020,
    arXiv 1911.11134, equation 1). Masks and dense gradients are variables of the optimizer: checkpoints hold them.
    """

    def build(self, variables: Any) -> None:
        """Make a mask of ones, and a place for the dense gradient, for every kernel."""
        if self.built:
            return
        super().build(variables)
        self.masks: dict[int, Any] = {}
        self.dense_gradients: dict[int, Any] = {}
        for place, variable in enumerate(variables):
            if is_kernel(variable):
                mask = self.add_variable_from_reference(variable, name="mask", initializer="ones")
                gradient = self.add_variable_from_reference(variable, name="dense_gradient")
                self.masks[place], self.dense_gradients[place] = mask, gradient

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Step where the mask is one; keep the whole gradient."""
        place = self._get_variable_index(variable)
        if place not in self.masks:
            super().update_step(gradient, variable, learning_rate)
            return
        mask = self.masks[place]
        self.assign(self.dense_gradients[place], gradient)
        super().update_step(keras.ops.multiply(gradient, mask), variable, learning_rate)
        self.assign(variable, keras.ops.multiply(variable, mask))

    def set_mask(self, place: int, variable: Any, mask: Any) -> None:
        """Put a mask in force: what it leaves out, the moments there included, becomes zero."""
        self.masks[place].assign(mask)
        for values in (variable, self._momentums[place], self._velocities[place]):
            values.assign(values * mask)

    def _clip_gradients(self, gradients: Any) -> Any:
        """Hold the global norm of what a step follows; what the masks leave out has no part in the norm."""
        if not self.global_clipnorm:
            return super()._clip_gradients(gradients)
        followed = [each * self.masks[place] if place in self.masks else each for place, each in enumerate(gradients)]
        norm = keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(each)) for each in followed))
        scale = self.global_clipnorm / keras.ops.maximum(norm, self.global_clipnorm)
        return [each * scale for each in gradients]
