"""Legalisation: rewrites of a frozen graph, before conversion, of what converters and devices do not take.

Each pass is used only where the rewritten graph is proven to compute what it did before: on samples from the
representative dataset, where there is one, and on random ones.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ._artifact import Tensor
from ._frozen_graph import FrozenGraph, Value, copied, emit, functions_of, read_frozen_graph
from ._pass import Inapplicable, Pass, Target, Work
from ._pass_ranges import with_ranges

# In this order: loops hide what is in them, and what passes write, later ones may rewrite.
_MODULES = (
    "draws",
    "loops",
    "copies",
    "sums",
    "biases",
    "cumulative",
    "argmax",
    "error_functions",
    "exponential",
    "transposed",
    "functions",
    "roots",
    "dilated",
    "sequences",
    "pools",
    "resizing",
    "places",
    "masks",
    "concatenations",
    "edge_tpu",
    "einsum",
    "rows",
    "summed_products",
    "row_softmax",
    "shared_scales",
)
# Beside the job of a conversion: what came of each pass, written before the converter runs.
RECORD = "legalised.json"
# Of the largest value of an output.
TOLERANCE = 1e-5
# How many samples of the representative dataset a graph is compared on, and how many random ones.
_COMPARED, _RANDOM = 8, 4
# How many of the representative dataset are read: ranges of new tensors are found on all of them.
SAMPLES = 64
_FAKE_QUANTIZATION = "FakeQuant"
_LOOPS = frozenset({"While", "StatelessWhile"})


@dataclass(frozen=True)
class Legalised:
    """What came of one pass on one graph.

    Attributes:
        name: the pass's.
        operations: how many it replaced.
        difference: the largest difference of an output, over the output's largest value; None where none was found.
        refused: why the pass was not used, as a sentence; empty where it was.
    """

    name: str
    operations: int
    difference: float | None
    refused: str = ""


def passes() -> tuple[Pass, ...]:
    """Return all passes, in the order in which they are used."""
    return tuple(each for name in _MODULES for each in import_module(f"{__package__}._pass_{name}").PASSES)


def version() -> str:
    """Return a digest of the passes' code, for what depends on what they do."""
    files = sorted(
        [*Path(__file__).parent.glob("_pass*.py"), Path(__file__), Path(__file__).with_name("_frozen_graph.py")]
    )
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def legalise(
    saved_model: Path,
    target: Target,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    recorded: Iterable[Mapping[str, np.ndarray]],
    folder: Path,
    types: frozenset[str],
) -> tuple[Path, tuple[Legalised, ...]]:
    """Rewrite a frozen graph for a target.

    Args:
        saved_model: what ``freeze`` wrote.
        target: what for.
        inputs, outputs: its tensors.
        recorded: samples of its inputs, each ``[1, ...]`` by name; may be none.
        folder: a new folder.
        types: of the operations in it.

    Returns:
        The SavedModel to convert, which is the same where no pass had anything to do, and what came of each pass.
    """
    # A pass may write operations that a later one is for, so nothing more is left out here.
    if not any(each.requires(target, types) for each in passes()):
        return saved_model, ()
    try:
        graph = read_frozen_graph(saved_model, inputs, outputs)
        seen = tuple(recorded)
        samples = proving_samples(graph, seen)
    except Exception as error:  # as below
        return saved_model, (Legalised("any", 0, None, f"The graph cannot be rewritten: {_said(error)}"),)
    done = []
    for each in passes():
        graph, made = attempt(each, Work(graph, target, samples, seen))
        done += [made] if made else []
    if all(made.refused for made in done):
        return saved_model, tuple(done)
    graph.save(folder)
    return folder, tuple(done)


def attempt(each: Pass, work: Work) -> tuple[FrozenGraph, Legalised | None]:
    """Return the graph after a pass, and what came of it; the graph itself and None where it had nothing to do."""
    graph = work.graph
    if not each.requires(work.target, graph.types):
        return graph, None
    replaced: list[str] = []

    def recorded(operation: Any, value: Value) -> Sequence[Any] | None:
        results = replace(operation, value)
        if results is not None:
            replaced.append(operation.type)
        return results

    try:
        replace = each.replacing(work)
        rewritten = graph.rewritten(recorded)
        difference = largest_difference(graph, rewritten, work.samples) if replaced else 0.0
        rewritten = with_ranges(rewritten, work.recorded or work.samples)
    except Inapplicable as reason:
        return graph, Legalised(each.name, 0, None, str(reason))
    except Exception as error:  # whatever a pass dies of, the graph is converted as it was
        return graph, Legalised(each.name, 0, None, f"It could not be applied: {_said(error)}")
    if not replaced:
        return graph, None
    count = sum(kind in (each.counted or each.types) for kind in replaced)
    if difference > TOLERANCE:
        if math.isfinite(difference):
            refused = f"The outputs differ by {difference:.2g} of their largest value, more than {TOLERANCE:g}."
            return graph, Legalised(each.name, count, difference, refused)
        return graph, Legalised(each.name, count, None, "The outputs' shapes, integers or infinities differ.")
    return rewritten, Legalised(each.name, count, difference)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def proving_samples(
    graph: FrozenGraph, recorded: Sequence[Mapping[str, np.ndarray]]
) -> tuple[Mapping[str, np.ndarray], ...]:
    """Return samples to compare graphs on: some that were recorded and some random ones, in which the graph runs.

    Integers may be indices of tables, so they are drawn from [0, n) for the largest n that the graph takes.
    """
    import tensorflow as tf

    random = np.random.default_rng(0)
    samples = [dict(sample) for sample in recorded[:_COMPARED]]
    draws: tuple[Callable[..., np.ndarray], ...] = (random.standard_normal, random.random)
    for most in (1000, 100, 10, 2, 1):
        drawn = [_drawn(graph, random, draws[place % 2], most) for place in range(_RANDOM)]
        try:
            for sample in drawn:
                graph.run(sample)
        except tf.errors.InvalidArgumentError:
            continue
        return (*samples, *drawn)
    return tuple(samples)


def _drawn(
    graph: FrozenGraph, random: np.random.Generator, draw: Callable[..., np.ndarray], most: int
) -> dict[str, np.ndarray]:
    arrays = {}
    for tensor in graph.inputs:
        kind = np.dtype(tensor.dtype).kind
        array = draw(tensor.shape) if kind == "f" else random.integers(0, 2 if kind == "b" else most, tensor.shape)
        arrays[tensor.name] = np.asarray(array).astype(tensor.dtype)
    return arrays


def largest_difference(before: FrozenGraph, after: FrozenGraph, samples: Sequence[Mapping[str, np.ndarray]]) -> float:
    """Return by how much the outputs of two graphs differ, over each output's largest value.

    Values that are not finite have to be the same, and so have integers: else the difference is infinite. Fake
    quantization is left out of both: it makes a step of what differs in the last bit.
    """
    before, after = _without_rounding(before), _without_rounding(after)
    apart = {tensor.name: 0.0 for tensor in before.outputs}
    largest = {tensor.name: float(np.finfo(np.float32).tiny) for tensor in before.outputs}
    for sample in samples:
        expected, received = before.run(sample), after.run(sample)
        for name, array in expected.items():
            apart[name] = max(apart[name], _apart(array, received[name]))
            largest[name] = max(largest[name], float(np.abs(array[np.isfinite(array)]).max(initial=0)))
    return max(apart[name] / largest[name] for name in apart) if samples else math.inf


def _apart(expected: np.ndarray, received: np.ndarray) -> float:
    if expected.shape != received.shape:
        return math.inf
    compared = np.isfinite(expected) & (expected.dtype.kind == "f")
    same = (expected == received) | ((expected != expected) & (received != received))  # or both are NaN
    if not (same | compared).all():
        return math.inf
    difference = np.abs(expected[compared].astype(np.float64) - received[compared])
    return float(np.nan_to_num(difference, nan=math.inf).max(initial=0.0))


def _without_rounding(graph: FrozenGraph) -> FrozenGraph:
    if not any(kind.startswith(_FAKE_QUANTIZATION) for kind in graph.types):
        return graph

    def unrounded(operation: Any, value: Value) -> Sequence[Any] | None:
        if operation.type.startswith(_FAKE_QUANTIZATION):
            return [value(operation.inputs[0])]
        if operation.type in _LOOPS:
            return copied(operation, [value(tensor) for tensor in operation.inputs], body=body_of(operation))
        return None

    def body_of(loop: Any) -> str:
        import tensorflow as tf

        (body,) = functions_of(loop, "body")
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in body.inputs]

        @tf.function(input_signature=specs, autograph=False)
        def unrounded_body(*given: Any) -> list[Any]:
            return emit(body, body.inputs, given, body.outputs, unrounded)

        made = unrounded_body.get_concrete_function()
        made.add_to_graph(tf.compat.v1.get_default_graph())
        return str(made.name.decode() if isinstance(made.name, bytes) else made.name)

    return graph.rewritten(unrounded)
