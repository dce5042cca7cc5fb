"""RigL: sparse from the first step, the smallest weights are dropped and others grow where the loss falls fastest.

Evci et al., "Rigging the lottery: making all tickets winners", 2020 (arXiv 1911.11134). Growth follows the gradient
with respect to the dense weights at their masked values, of one batch for each move.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..train._training import as_inputs
from ._fine_tuning import objective
from ._moving_masks import DynamicSparsity, MovingMask, trained_sparse
from ._technique import Parameters, Result, Technique, Work
from ._transform import Transform, straight_through


def apply(work: Work, parameters: Parameters) -> Result:
    """Mask the kernels in scope and train on, with masks that move by the dense gradient.

    Raises:
        InputError: the scope matches no kernel, or the sparsity would empty one.
    """
    assert isinstance(parameters, DynamicSparsity)

    def wish_of(work: Work, masks: Sequence[MovingMask]) -> "DenseGradients":
        return DenseGradients(work, parameters, masks)

    return trained_sparse(work, "rigl", parameters, wish_of)


class DenseGradients:
    """The magnitudes of the gradient with respect to all weights of the masked kernels, on one batch a step.

    All masks that move at a step are given those from before any of them moved.
    """

    def __init__(self, work: Work, parameters: DynamicSparsity, masks: Sequence[MovingMask]) -> None:
        self._work, self._parameters, self._masks = work, parameters, masks
        self._gradients_of: Callable[[int], dict[str, np.ndarray]] | None = None
        self._latest: tuple[int, dict[str, np.ndarray]] = (-1, {})

    def __call__(self, mask: MovingMask, step: int) -> np.ndarray:
        """Return the magnitudes in the shape of the kernel."""
        self._gradients_of = self._gradients_of or self._function()
        if self._latest[0] != step:
            self._latest = (step, self._gradients_of(step))
        return np.abs(self._latest[1][mask.path])

    def _function(self) -> Callable[[int], dict[str, np.ndarray]]:
        """Return the function from the training step to the gradients by the kernels' paths."""
        import keras
        import tensorflow as tf

        from ._mapped_model import MappedModel

        work, paths = self._work, {mask.path for mask in self._masks}
        task, imitation = objective(work, self._parameters)
        transforms = (*work.transforms, *(_LetsGradientsThrough(mask) for mask in self._masks))
        mapped = MappedModel(work.model, transforms, None, imitation)
        mapped.compile(loss=task.loss or "mean_squared_error")
        kernels = [variable for variable in work.model.trainable_variables if variable.path in paths]

        @tf.function
        def gradients(inputs: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                with keras.StatelessScope():  # what layers assign, such as moving statistics, is dropped with it
                    outputs = mapped(inputs, training=True)
                loss = mapped.compute_loss(inputs, labels, outputs)
            found = tape.gradient(loss, [kernel.value for kernel in kernels], unconnected_gradients="zero")
            return [tf.convert_to_tensor(each) for each in found]

        def at(step: int) -> dict[str, np.ndarray]:
            random = np.random.default_rng((work.seed, step))
            count = min(self._parameters.batch_size, len(task.train))
            batch = task.train.at(np.sort(random.choice(len(task.train), count, replace=False)))
            inputs = dict(batch.inputs) if isinstance(mapped.input, list) else as_inputs(mapped, batch.inputs)
            found = gradients(inputs, batch.labels)
            return {kernel.path: np.asarray(each) for kernel, each in zip(kernels, found, strict=True)}

        return at


class _LetsGradientsThrough(Transform):
    """What a mask makes of a value, with the gradient of a value that is not masked."""

    def __init__(self, mask: MovingMask) -> None:
        super().__init__(mask.technique, mask.path)
        self._mask = mask

    def __call__(self, value: Any) -> Any:
        return straight_through(value, self._mask(value))


TECHNIQUE = Technique(
    name="rigl",
    title="sparse training that grows by the gradient",
    parameters=DynamicSparsity,
    apply=apply,
    needs_data=True,
)
