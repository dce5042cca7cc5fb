"""How well a heading is chosen: the loss on the clearances of all headings, and the metrics."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ._task import Metric


@keras.saving.register_keras_serializable("edgewright")
class SafestHeading(keras.losses.Loss):
    """Cross-entropy between the probabilities of headings and the softmax of their clearances in units of ``scale``.

    ``-sum_h softmax(c / scale)_h log p_h`` (ListNet; Cao et al., "Learning to rank: from pairwise approach to listwise
    approach", 2007, section 4.2), with clearances c in metres. It says of every heading how good it is, not just which
    one is the best, and hardly minds a confusion of two that are nearly as safe.
    """

    def __init__(self, scale: float = 0.1, name: str = "safest_heading", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return ``[batch]`` for clearances and probabilities ``[batch, headings]``."""
        wanted = ops.softmax(ops.cast(y_true, y_pred.dtype) / self.scale)
        return -ops.sum(wanted * ops.log(y_pred + keras.config.epsilon()), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same loss again."""
        return {**super().get_config(), "scale": self.scale}


def safest(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ``[samples]`` whether the largest output is the heading with the largest clearance."""
    return np.asarray(outputs.argmax(axis=-1) == labels.argmax(axis=-1))


def clearance_lost(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ``[samples]`` by how many metres the chosen heading's clearance is less than the safest one's.

    >>> clearance_lost(np.array([[0.2, 0.8]]), np.array([[1.5, 1.25]]))
    array([0.25])
    """
    chosen = np.take_along_axis(labels, outputs.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    return np.asarray(labels.max(axis=-1) - chosen)


ACCURACY_OF_HEADINGS = Metric(
    "accuracy", "%", "higher", lambda outputs, labels: float(100 * np.mean(safest(outputs, labels)))
)
