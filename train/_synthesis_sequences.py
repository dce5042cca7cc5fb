"""Programs as arrays for teacher forcing, the loss on them, and the metrics."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ._task import Metric

PADDING = -1


@keras.saving.register_keras_serializable("edgewright")
class PaddedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of a program's tokens from logits, averaged over the tokens that are not padding (label -1)."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return ``[batch, tokens]`` whose mean is the loss, for labels ``[batch, tokens]`` and logits over kinds."""
        labels = keras.ops.cast(y_true, "int32")
        real = keras.ops.cast(labels >= 0, y_pred.dtype)
        surprise = keras.losses.sparse_categorical_crossentropy(keras.ops.maximum(labels, 0), y_pred, from_logits=True)
        return surprise * real / keras.ops.maximum(keras.ops.mean(real), 1e-6)


def token_accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share, in percent, of tokens that are right when all before them are given.

    Args:
        outputs: logits ``[samples, tokens, kinds]``.
        labels: ``[samples, tokens]``, -1 for padding.

    >>> token_accuracy(np.eye(3)[None], np.array([[0, 2, -1]]))
    50.0
    """
    real = labels != PADDING
    return float(100.0 * np.mean(outputs.argmax(axis=-1)[real] == labels[real]))


def exact_match(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share, in percent, of sequences ``[samples, tokens]`` that are the label to the last token.

    >>> exact_match(np.array([[1, 2, -1], [1, 2, 2]]), np.array([[1, 2, -1], [1, 2, -1]]))
    50.0
    """
    return float(100.0 * np.mean((outputs == labels).all(axis=1)))


TOKEN_ACCURACY = Metric("token accuracy", "%", "higher", token_accuracy)
EXACT_MATCH = Metric("exact match", "%", "higher", exact_match)


def padded(sequences: Sequence[Sequence[int]], length: int, filler: int) -> np.ndarray:
    """Return the sequences as ``[samples, length]`` int32.

    >>> padded([[3], [1, 2]], 3, -1).tolist()
    [[3, -1, -1], [1, 2, -1]]
    """
    rows = np.full((len(sequences), length), filler, np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows


def one_hot(tokens: np.ndarray, kinds: int) -> np.ndarray:
    """Return ``[..., kinds]`` float32; a negative token is all zeros.

    >>> one_hot(np.array([1, -1]), 3).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return (tokens[..., None] == np.arange(kinds)).astype(np.float32)


def given_before(programs: np.ndarray, end: int) -> np.ndarray:
    """Return what the decoder is given: ``end`` and the program's tokens but the last.

    >>> given_before(np.array([[4, 5, 9, -1]]), 9).tolist()
    [[9, 4, 5, 9]]
    """
    first = np.full((len(programs), 1), end, programs.dtype)
    return np.concatenate([first, programs[:, :-1]], axis=1)
