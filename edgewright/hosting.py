"""Host code around Keras graphs: what artifacts are compared with, and the samples that they are calibrated on."""

import copy
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
_AT_ONCE = 2


class KerasGraph:
    """A Keras graph as host code calls it: arrays ``[1, ...]`` by name in, likewise out.

    Args:
        name: the graph's.
        model: the graph.
        record: keep every call's inputs.
    """

    def __init__(self, name: str, model: "keras.Model", record: bool = False) -> None:
        self.name, self.model = name, model
        self.calls = 0
        self.recorded: list[dict[str, np.ndarray]] = []
        self._record = record
        self._shapes = {tensor.name: (1, *tensor.shape[1:]) for tensor in model.inputs}
        self._dtypes = {tensor.name: str(tensor.dtype) for tensor in model.inputs}
        self._outputs = output_names(model)
        self._run = self._traced()

    def again(self) -> "KerasGraph":
        """Return the graph, traced already, with calls of its own: for another thread."""
        other = copy.copy(self)
        other.calls, other.recorded = 0, []
        return other

    def _traced(self) -> Any:
        """Return what computes the outputs of the inputs, tensors in their order.

        A ``tf.function`` that takes arrays by name looks in each call whether it has to trace anew.
        """
        import keras
        import tensorflow as tf

        def run(*arrays: Any) -> Any:
            inputs = as_inputs(self.model, dict(zip(self._shapes, arrays, strict=True)))
            return keras.tree.flatten(self.model(inputs, training=False))

        specs = [tf.TensorSpec(shape, self._dtypes[name], name=name) for name, shape in self._shapes.items()]
        return tf.function(run, input_signature=specs, autograph=False).get_concrete_function()

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run one sample.

        Raises:
            InputError: the inputs are not the graph's.
        """
        import tensorflow as tf

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
        outputs = self._run(*(tf.constant(arrays[name]) for name in self._shapes))
        return {name: np.asarray(array) for name, array in zip(self._outputs, outputs, strict=True)}


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
    answers, parts = _run(deployment, data)
    calls = {name: sum(graphs[name].calls for graphs in parts) for name in deployment.graphs}
    units = calls[deployment.per] if deployment.per else len(data)
    outputs = {name: np.stack([np.asarray(answer[name]) for answer in answers]) for name in answers[0]}
    return outputs, {name: count / max(units, 1) for name, count in calls.items()}


def calibration_of(deployment: Deployment, samples: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Return a representative dataset for each graph, ``[samples, ...]`` by input name.

    The samples lie evenly over the training samples, which may be in an order. With host code it is run over these, and
    of a graph that it calls more often than that as many calls are drawn at random.
    """
    data = deployment.task.train.at(deployment.task.train.evenly(samples))
    if deployment.host is None:
        (name,) = deployment.graphs
        return {name: dict(data.inputs)}
    _, parts = _run(deployment, data, record=True)
    random = np.random.default_rng(seed)
    return {
        name: _drawn(name, [call for graphs in parts for call in graphs[name].recorded], samples, random)
        for name in deployment.graphs
    }


def _run(
    deployment: Deployment, data: Dataset, record: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, KerasGraph]]]:
    """Return the host's answer to each sample, and the graphs of each part of the samples, in their order.

    Each part has a thread and a host of its own: a graph at batch 1 keeps one core busy.
    """
    assert deployment.host is not None
    traced = {name: KerasGraph(name, model, record) for name, model in deployment.graphs.items()}
    bounds = [len(data) * place // _AT_ONCE for place in range(_AT_ONCE + 1)]
    parts = [{name: graph.again() for name, graph in traced.items()} for _ in range(_AT_ONCE)]
    hosts = [_host(deployment.host, graphs, deployment.settings) for graphs in parts]

    called_off = threading.Event()

    def answer(place: int) -> list[dict[str, Any]]:
        samples = _samples(data, bounds[place], bounds[place + 1])
        return [hosts[place].run(sample) for sample in samples if not called_off.is_set()]

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            answers = list(pool.map(answer, range(_AT_ONCE)))
        except BaseException:  # interrupted, or one of them failed
            called_off.set()
            raise
    return [each for part in answers for each in part], parts


def _host(path: Path, graphs: Mapping[str, KerasGraph], settings: Mapping[str, Any]) -> Any:
    return load_host(str(path))(dict(graphs), json.loads(json.dumps(settings)))


def _samples(data: Dataset, first: int, end: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the samples from ``first`` to before ``end`` one at a time, without the batch dimension."""
    return ({name: array[place] for name, array in data.inputs.items()} for place in range(first, end))


def _drawn(
    graph: str, calls: Sequence[Mapping[str, np.ndarray]], samples: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    if not calls:
        raise InputError(f"Expected host code that calls the graph {graph!r}. Got: no call of it.")
    chosen = sorted(random.choice(len(calls), min(samples, len(calls)), replace=False))
    return {name: np.concatenate([calls[place][name] for place in chosen]) for name in calls[0]}


def batches_of(samples: Mapping[str, np.ndarray], size: int = 32) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples, arrays ``[samples, ...]`` by input name, in batches."""
    for start in range(0, len(next(iter(samples.values()))), size):
        yield {name: array[start : start + size] for name, array in samples.items()}
