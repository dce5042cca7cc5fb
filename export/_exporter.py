"""What an exporter is: it turns a frozen graph into one format's file, in a process of its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ._about import About
from ._artifact import Operation, Tensor
from ._graph import Graph

# The precisions whose activations have fixed scales, which are taken from a representative dataset.
CALIBRATED = ("int8", "int16x8")
# How many 4-bit weights share a scale where nothing else is asked for.
GROUP_SIZE = 32


@dataclass(frozen=True)
class Job:
    """What an exporter is given.

    Attributes:
        saved_model: the frozen graph, a SavedModel folder with the signature ``serving_default``; or the user's file of
            the format that ``imported`` names.
        precision: one of the exporter's.
        inputs, outputs: the graph's tensors, in the order and by the names of the Keras model or the imported file.
        calibration: an .npz of representative inputs by name, ``[samples, ...]``; None where nothing is calibrated.
        folder: where the file goes.
        stem: the file's name without its suffix.
        quantized: whether the graph holds the ranges of its activations, as fake quantization.
        sparse: whether weights that have zeros in blocks are stored without them.
        group_size: how many 4-bit weights share a scale, where the format has groups.
        unit: a kind of processing unit that it is for, such as "edgetpu" or "tensorrt"; empty for none.
        float_tensors: whether inputs and outputs stay in float, for host code that calls the graph with real numbers.
        imported: the format of the user's float file that is converted, such as "onnx"; empty for a graph of Keras.
    """

    saved_model: Path
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calibration: Path | None
    folder: Path
    stem: str
    group_size: int = GROUP_SIZE
    quantized: bool = False
    sparse: bool = False
    unit: str = ""
    float_tensors: bool = False
    imported: str = ""

    def samples(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the representative samples one at a time, each array ``[1, ...]``, by input name."""
        assert self.calibration is not None
        with np.load(self.calibration, allow_pickle=False) as arrays:
            loaded = {tensor.name: arrays[tensor.name] for tensor in self.inputs}
        for place in range(len(next(iter(loaded.values())))):
            yield {name: array[place : place + 1] for name, array in loaded.items()}


@dataclass(frozen=True)
class Exported:
    """What an exporter returns: the file, what must lie beside it, and what it is made of.

    Attributes:
        path: the file that a runtime loads.
        companions: files that must lie beside it.
        inputs, outputs: the signature as the file has it, quantization included.
        operations: what the file is made of.
    """

    path: Path
    companions: tuple[Path, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        name: the plug-in's name.
        title: what a report calls it.
        suffix: of the file that a runtime loads.
        precisions: those that it can write.
        export: does it; called in a child process, where it may crash, hang or exhaust memory.
        unsupported: by precision that it cannot write, why not, as a sentence.
        read: returns what a file of the format is made of, edgewright's own or not; called in a child process too. None
            where its files cannot be inspected.
        lean: takes out of a file what nothing reads and what stands in it twice, so that it computes the same bytes;
            called in a child process too. None where files stay as their converter writes them.
        describe: writes into a file what its model is, in the format's own fields; called in a child process too. None
            where the format has none.
        imports: the formats whose float files it converts, besides the frozen graphs of Keras models.
        loads: modules that converting a frozen graph needs and that take seconds to import: conversions share them.
    """

    name: str
    title: str
    suffix: str
    precisions: tuple[str, ...]
    export: Callable[[Job], Exported]
    unsupported: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Path], Graph] | None = None
    lean: Callable[[Path], None] | None = None
    describe: Callable[[Path, About], None] | None = None
    imports: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()

    def refusal(self, precision: str, imported: str = "") -> str:
        """Return why it does not write a precision of a Keras model or of an imported file; empty where it does."""
        if imported and imported not in self.imports:
            sources = " and ".join(("Keras models", *(f".{format} files" for format in self.imports)))
            return f"{self.title} is made of {sources}: no converter here makes it of .{imported} files."
        if precision in self.precisions:
            return ""
        return self.unsupported.get(precision, f"{self.title} is exported as {', '.join(self.precisions)} only.")


def count_operations(operations: list[tuple[str, tuple[str, ...]]]) -> tuple[Operation, ...]:
    """Return the distinct (name, types) with how often each occurs, most frequent first.

    >>> count_operations([("ADD", ("int8",)), ("MUL", ("int8",)), ("ADD", ("int8",))])[0]
    Operation(name='ADD', dtypes=('int8',), count=2)
    """
    counts: dict[tuple[str, tuple[str, ...]], int] = {}
    for operation in operations:
        counts[operation] = counts.get(operation, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Operation(name, dtypes, count) for (name, dtypes), count in ordered)
