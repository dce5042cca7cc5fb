"""Host code around Keras graphs: what artifacts are compared with, and the samples that they are calibrated on."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .runtimes._runner import load_host
from .train import Dataset, Deployment
from .train._training import as_inputs, output_names, outputs_of

if TYPE_CHECKING:
    import keras

Calls = Mapping[str, float]


class KerasGraph:
    """A Keras graph as host code calls it: arrays ``[1, ...]`` by name in, likewise out.

    Args:
        name: the graph's.
        model: the graph.
        record: keep every call's inputs.
    """

    def __init__(self, name: str, model: "keras.Model", record: bool = False) -> None:
        import tensorflow as tf

        self.name, self.model = name, model
        self.calls = 0
        self.recorded: list[dict[str, np.ndarray]] = []
        self._record = record
        self._shapes = {tensor.name: (1, *tensor.shape[1:]) for tensor in model.inputs}
        self._dtypes = {tensor.name: str(tensor.dtype) for tensor in model.inputs}
        self._run = tf.function(lambda inputs: model(inputs, training=False), autograph=False)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run one sample.

        Raises:
            InputError: the inputs are not the graph's.
        """
        import keras

        received = {name: np.shape(array) for name, array in inputs.items()}
        if received != self._shapes:
            raise InputError(
                f"Expected the inputs {self._shapes} of graph {self.name!r}. Got from the host: {received}."
            )
        # A copy: hosts write into the arrays that they feed, such as a decoder's cache, and what is recorded must stay.
        arrays = {name: np.array(array, self._dtypes[name], order="C") for name, array in inputs.items()}
        self.calls += 1
        if self._record:
            self.recorded.append(arrays)
        outputs = keras.tree.flatten(self._run(as_inputs(self.model, arrays)))
        return {name: np.asarray(array) for name, array in zip(output_names(self.model), outputs, strict=True)}


def answers_of(deployment: Deployment, data: Dataset) -> tuple[dict[str, np.ndarray], Calls]:
    """Return what the Keras graphs answer to each sample, and how often each graph is called.

    Args:
        deployment: the graphs and the code around them.
        data: samples as the deployment's task has them.

    Returns:
        Answers ``[samples, ...]`` by name; by graph the mean calls for one answer, or for one call of
        ``deployment.per``.

    Raises:
        InputError: the host code calls a graph with other inputs than it has.
    """
    if deployment.host is None:
        (model,) = deployment.graphs.values()
        return outputs_of(model, data), {name: 1.0 for name in deployment.graphs}
    graphs = _graphs(deployment)
    host = _host(deployment.host, graphs, deployment.settings)
    answers = [host.run(sample) for sample in _samples(data)]
    units = graphs[deployment.per].calls if deployment.per else len(data)
    outputs = {name: np.stack([np.asarray(answer[name]) for answer in answers]) for name in answers[0]}
    return outputs, {name: graph.calls / max(units, 1) for name, graph in graphs.items()}


def calibration_of(deployment: Deployment, samples: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Return a representative dataset for each graph, ``[samples, ...]`` by input name.

    The samples lie evenly over the training samples, which may be in an order. With host code it is run over these, and
    of a graph that it calls more often than that as many calls are drawn at random.
    """
    data = deployment.task.train.at(deployment.task.train.evenly(samples))
    if deployment.host is None:
        (name,) = deployment.graphs
        return {name: dict(data.inputs)}
    graphs = _graphs(deployment, record=True)
    host = _host(deployment.host, graphs, deployment.settings)
    for sample in _samples(data):
        host.run(sample)
    random = np.random.default_rng(seed)
    return {name: _drawn(graph, samples, random) for name, graph in graphs.items()}


def _graphs(deployment: Deployment, record: bool = False) -> dict[str, KerasGraph]:
    return {name: KerasGraph(name, model, record) for name, model in deployment.graphs.items()}


def _host(path: Path, graphs: Mapping[str, KerasGraph], settings: Mapping[str, Any]) -> Any:
    return load_host(str(path))(dict(graphs), json.loads(json.dumps(settings)))


def _samples(data: Dataset) -> Iterator[dict[str, np.ndarray]]:
    """Yield the samples one at a time, without the batch dimension."""
    return ({name: array[place] for name, array in data.inputs.items()} for place in range(len(data)))


def _drawn(graph: KerasGraph, samples: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    if not graph.recorded:
        raise InputError(f"Expected host code that calls the graph {graph.name!r}. Got: no call of it.")
    count = min(samples, len(graph.recorded))
    chosen = sorted(random.choice(len(graph.recorded), count, replace=False))
    return {name: np.concatenate([graph.recorded[place][name] for place in chosen]) for name in graph.recorded[0]}


def batches_of(samples: Mapping[str, np.ndarray], size: int = 32) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples, arrays ``[samples, ...]`` by input name, in batches."""
    for start in range(0, len(next(iter(samples.values()))), size):
        yield {name: array[start : start + size] for name, array in samples.items()}
