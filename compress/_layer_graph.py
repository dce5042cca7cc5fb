"""Which layer of a functional model reads what another one returns, in models within it too."""

from collections import Counter
from typing import Any

import keras
from keras.src.models.functional import Functional

# What stands for the end of a graph among the readers of a tensor.
END = None


class Graph:
    """The layers of one functional or sequential model and who reads their outputs.

    Args:
        model: the model; models within it are single layers here.

    Attributes:
        operations: its layers, and functions called on its tensors.
        shared: ids of layers that other graphs have as well.
    """

    def __init__(self, model: keras.Model) -> None:
        functional = model._functional if isinstance(model, keras.Sequential) else model
        nodes = {id(node) for depth in functional._nodes_by_depth.values() for node in depth}
        self.operations = list(functional.operations)
        self.shared: set[int] = set()
        self._nodes: dict[int, list[Any]] = {}
        self._readers: dict[int, list[Any]] = {}
        self._makers: dict[int, Any] = {}
        for operation in self.operations:
            mine = [node for node in operation._inbound_nodes if id(node) in nodes]
            self._nodes[id(operation)] = mine
            for node in mine:
                for tensor in node.output_tensors:
                    self._makers[id(tensor)] = operation
                for tensor in node.input_tensors:
                    self._readers.setdefault(id(tensor), []).append(operation)
        for tensor in keras.tree.flatten(functional.outputs):
            self._readers.setdefault(id(tensor), []).append(END)

    def readers(self, layer: Any) -> list[Any] | None:
        """Return what reads a layer's output, ``END`` among it; None where the layer is called more than once."""
        nodes = self._nodes.get(id(layer), [])
        if len(nodes) != 1 or id(layer) in self.shared or len(nodes[0].output_tensors) != 1:
            return None
        return self._readers.get(id(nodes[0].output_tensors[0]), [])

    def before(self, layer: Any) -> Any:
        """Return the layer whose output is a layer's only input; None where there is no such."""
        nodes = self._nodes.get(id(layer), [])
        if len(nodes) != 1 or len(nodes[0].input_tensors) != 1:
            return None
        return self._makers.get(id(nodes[0].input_tensors[0]))


def is_a_graph(layer: Any) -> bool:
    """Tell whether a layer is a model whose layers can be looked at."""
    return isinstance(layer, keras.Sequential | Functional)


def graphs_of(model: keras.Model) -> list[Graph]:
    """Return a model's graph and those of models within it; none for a model of another kind."""
    found: dict[int, Graph] = {}
    waiting = [model]
    while waiting:
        each = waiting.pop()
        if is_a_graph(each) and id(each) not in found:
            found[id(each)] = Graph(each)
            waiting += each.layers
    times = Counter(id(operation) for graph in found.values() for operation in graph.operations)
    for graph in found.values():
        graph.shared = {number for number, count in times.items() if count > 1}
    return list(found.values())
