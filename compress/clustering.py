"""Clustering: a variable holds a few distinct values, those of a codebook that is trained along.

Han, Mao and Dally, "Deep compression: compressing deep neural networks with pruning, trained quantization and Huffman
coding", 2016 (arXiv 1510.00149). Files become smaller when they are zipped; no runtime becomes faster.
"""

from typing import Any

import numpy as np
from pydantic import Field

from ._codebook import kmeans, nearest
from ._fine_tuning import FineTuning, fine_tune
from ._scope import Scope, in_scope
from ._technique import Parameters, Result, Technique, Work
from ._transform import Transform, computed


class Clustering(FineTuning):
    """Parameters of clustering.

    Attributes:
        clusters: how many distinct values a variable may hold, 2 to 256.
        scope: regular expression; a variable is clustered when it is found in the variable's path.
        initialisation: of the centroids: "linear", "density" or "kmeans++"; Lloyd's iterations follow.
        per_channel: whether each output channel (the last axis) has a codebook of its own.
        sparsity_preserving: whether zeros stay: where a variable holds zeros, one centroid is held at zero.
        epochs, batch_size, learning_rate, ...: of the fine-tuning; see ``FineTuning``.
    """

    clusters: int = Field(16, ge=2, le=256)
    scope: Scope = "kernel$"
    initialisation: str = Field("linear", pattern=r"^(linear|density|kmeans\+\+)$")
    per_channel: bool = False
    sparsity_preserving: bool = True


def apply(work: Work, parameters: Parameters) -> Result:
    """Give each variable in scope a codebook, fine-tune values and codebooks, and write the clustered values.

    Raises:
        InputError: the scope matches no variable.
    """
    assert isinstance(parameters, Clustering)
    work = work.own_copy()
    variables, skipped = in_scope(work.model, parameters.scope, "has one dimension: a codebook there saves nothing")
    codebooks = []
    for variable in variables:
        elements = int(np.prod(variable.shape[:-1])) * (1 if parameters.per_channel else variable.shape[-1])
        if elements <= parameters.clusters:
            where = " in a channel" if parameters.per_channel else ""
            skipped[variable.path] = f"has {elements} elements{where}, no more than {parameters.clusters} clusters"
        else:
            earlier = [transform for transform in work.transforms if transform.path == variable.path]
            values = np.asarray(computed(variable.value, earlier))
            codebooks.append(Codebook(variable.path, values, parameters))
    if not codebooks:
        return Result(work.model, (), skipped)
    notes = [
        f"{codebook.path} held no more than {parameters.clusters} distinct values already; they are its codebook"
        for codebook in codebooks
        if codebook.exact
    ]
    notes += fine_tune(work, parameters, codebooks)
    return Result(work.model, tuple(each.path for each in codebooks), skipped, tuple(codebooks), tuple(notes))


class Codebook(Transform):
    """Each element replaced by the centroid that it is assigned to; gradients reach the element and the centroid.

    A centroid's gradient is the sum over the elements assigned to it (Han et al., equation 3).

    Args:
        path: of the variable.
        values: what it holds.
        parameters: how many centroids, and where they begin.

    Attributes:
        exact: whether the codebook holds all the values that there were.
    """

    def __init__(self, path: str, values: np.ndarray, parameters: Clustering) -> None:
        import keras

        super().__init__("clustering", path)
        self._per_channel = parameters.per_channel
        self._zeros = (values == 0) & parameters.sparsity_preserving
        zero = bool(self._zeros.any())
        found = [
            kmeans(channel, parameters.clusters, parameters.initialisation, zero) for channel in self._channels(values)
        ]
        # Place 0 of the codebook is zero, which is not trained; the centroids of all channels follow.
        trained = [book[book != 0] if zero else book for book in found]
        ends = np.cumsum([len(book) for book in trained])
        self._places = [
            np.append([0] if zero else [], np.arange(end - len(book), end) + 1).astype(int)
            for book, end in zip(trained, ends, strict=True)
        ]
        name = path.replace("/", "_")
        self.centroids = keras.Variable(np.concatenate(trained), dtype=values.dtype.name, name=f"{name}_centroids")
        self.assignments = keras.Variable(
            self._nearest(values), trainable=False, dtype="int32", name=f"{name}_assignments"
        )
        self.exact = bool(np.array_equal(self._book()[np.asarray(self.assignments)], values))

    def __call__(self, value: Any) -> Any:
        """Return each element's centroid."""
        import keras

        book = keras.ops.concatenate([keras.ops.zeros((1,), self.centroids.dtype), self.centroids.value])
        found = keras.ops.take(book, self.assignments.value)
        # The element's part is zero, exactly: rounding must not make new values.
        return found + (value - keras.ops.stop_gradient(value))

    def before_step(self, value: Any, step: int, steps: int) -> None:
        """Assign each element to the centroid that is nearest now."""
        self.assignments.assign(self._nearest(np.asarray(value)))

    def _nearest(self, values: np.ndarray) -> np.ndarray:
        book = self._book()
        channels = [
            places[nearest(channel, book[places])]
            for channel, places in zip(self._channels(values), self._places, strict=True)
        ]
        if self._per_channel:
            moved = np.reshape(channels, (values.shape[-1], *values.shape[:-1]))
            found = np.moveaxis(moved, 0, -1)
        else:
            found = np.reshape(channels, values.shape)
        return np.where(self._zeros, 0, found).astype(np.int32)

    def _channels(self, values: np.ndarray) -> np.ndarray:
        """Return the values as ``[codebooks, elements]``."""
        if self._per_channel:
            return np.moveaxis(values, -1, 0).reshape(values.shape[-1], -1)
        return values.reshape(1, -1)

    def _book(self) -> np.ndarray:
        return np.append(np.float32(0), np.asarray(self.centroids))


TECHNIQUE = Technique(
    name="clustering",
    title="clustering",
    parameters=Clustering,
    apply=apply,
    needs_data=True,
)
