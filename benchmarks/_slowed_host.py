"""Host code that answers and then idles on the processor: ``settings["factor"]`` 1.1 makes every answer 10 % slower."""

import time

import numpy as np


class Host:
    """graphs: the one graph by its name; settings: ``factor``, and ``graph``, its name."""

    def __init__(self, graphs, settings):
        self.graph, self.factor = graphs[settings["graph"]], settings["factor"]

    def run(self, sample):
        """Answer one sample, by name, without the batch dimension."""
        started = time.perf_counter_ns()
        answer = self.graph({name: array[np.newaxis] for name, array in sample.items()})
        ends = started + (time.perf_counter_ns() - started) * self.factor
        while time.perf_counter_ns() < ends:
            pass
        return {name: array[0] for name, array in answer.items()}
