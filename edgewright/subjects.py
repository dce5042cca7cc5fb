"""What is measured, compared or profiled: an artifact, the runtime that runs it, and what it is fed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from . import runtimes
from .errors import InputError, MissingRequirement, nearest
from .export import Bundle, Deployable, load_bundle, read_graph
from .export._beside import files_beside
from .files import is_ours, sha256
from .runtimes import Runtime
from .stages import digest
from .train._data_file import Input
from .train._user_data import dataset_of

if TYPE_CHECKING:
    from .api import DataLike
    from .export import Graph, Value

RANDOM_SAMPLES = 16


@dataclass(frozen=True)
class Subject:
    """One artifact in one runtime.

    Attributes:
        path: the bundle or file that the user named.
        artifact: the file, or of a bundle all that is deployed together.
        runtime: the runtime's name.
        inputs: ``[samples, ...]`` by input name.
        source: where the inputs come from, as a report says it.
        bundle: the bundle that it is of; None for a file.
        whole: whether a sample is all that one call takes, as the file takes no batch of one.
    """

    path: Path
    artifact: Path | Deployable
    runtime: str
    inputs: Mapping[str, np.ndarray]
    source: str
    bundle: Bundle | None = None
    whole: bool = False

    @property
    def name(self) -> str:
        """What a report calls it."""
        kind = f" {self.artifact.name}" if isinstance(self.artifact, Deployable) else ""
        return f"{self.path.name}{kind} in {self.runtime}"


def installed_here(runtime: Runtime) -> bool:
    """Tell whether this host has a runtime."""
    return runtime.version() is not None


def identity(artifact: Path | Deployable) -> str:
    """Return the SHA-256 of all that runs: each graph's files, and the host code around them."""
    if isinstance(artifact, Path):
        return digest([["model", *map(sha256, (artifact, *files_beside(artifact)))]])
    one = file_of(artifact) is not None
    graphs = [
        ["model" if one else part.graph, part.sha256, *(found for _, found in part.companions)]
        for part in artifact.artifacts
    ]
    host = artifact.host
    return digest([*graphs, ["host", sha256(host.path), sha256(host.settings), host.per]] if host else graphs)


def file_of(artifact: Path | Deployable) -> Path | None:
    """Return the one file that runs; None where there are several, or host code around them."""
    if isinstance(artifact, Path):
        return artifact
    return artifact.artifacts[0].path if len(artifact.artifacts) == 1 and artifact.host is None else None


def subjects_of(
    bundle_or_file: Bundle | str | Path,
    artifact: str | None = None,
    runtime: str | None = None,
    data: "DataLike" = None,
    *,
    every: bool = True,
    has: Callable[[Runtime], bool] = installed_here,
    where: str = "here",
) -> tuple[Subject, ...]:
    """Return what of a bundle or file can be run here, or elsewhere.

    Args:
        bundle_or_file: a bundle or its folder, or a .tflite, .onnx or OpenVINO .xml file, edgewright's own or not.
        artifact: of a bundle, such as "tflite int8"; all when None.
        runtime: a runtime's name; when None all that are there and take the format, but for referees.
        data: what it is fed, in any form that ``compress`` takes. When None, a bundle's golden inputs, and for a file
            random numbers of a fixed seed. Of a file with a scalar as an input, or a first size fixed at another than
            1, a sample is all that one call takes: the file's shape after the axis of samples.
        every: else only the first artifact in the first runtime.
        has: tells whether a runtime is there.
        where: that is, for messages.

    Raises:
        InputError: no such bundle, file, artifact or runtime; a broken file; data that does not fit; no runtime for it
            here.
        MissingRequirement: there is no runtime for it elsewhere.
    """
    bundle = bundle_at(bundle_or_file)
    path = Path(bundle.path if bundle else str(bundle_or_file))
    found: list[tuple[Path | Deployable, str]]
    whole = False
    if bundle:
        deployables, inputs, source = _of_bundle(bundle, data)
        found = [(each, each.format) for each in deployables if artifact in (None, each.name)]
        if not found:
            known = [each.name for each in deployables]
            hint = nearest(artifact or "", known)
            raise InputError(f"Expected an artifact of {path}: {', '.join(known)}. Got: {artifact!r}.{hint}")
    elif artifact is not None:
        raise InputError(f"Expected a bundle to choose {artifact!r} from. Got: {path}, which is none.")
    else:
        graph = read_graph(path)
        inputs, source = _of_file(path, graph, data)
        whole = takes_no_batch(graph)
        found = [(path, graph.format)]
    made = [
        Subject(path, each, name, inputs, source, bundle, whole)
        for each, format in found
        for name in _runtimes_of(format, runtime, has)
    ]
    if not made:
        formats = ", ".join(sorted({format for _, format in found}))
        error = InputError if has is installed_here else MissingRequirement
        raise error(
            f"Expected a runtime {where} that takes {formats} ({path}). Got: {runtime or 'none that is installed'}."
        )
    return tuple(made if every else made[:1])


def _runtimes_of(format: str, asked: str | None, has: Callable[[Runtime], bool]) -> Sequence[str]:
    if asked is not None:
        return (asked,) if format in runtimes.get(asked).formats else ()
    found = [runtimes.get(name) for name in runtimes.for_format(format)]
    return [each.name for each in found if not each.referee and has(each)]


def bundle_at(given: Bundle | str | Path) -> Bundle | None:
    """Return the bundle, or None where a file is named.

    Raises:
        InputError: nothing is there, or a folder that is no bundle.
    """
    if not isinstance(given, Bundle) and not Path(given).exists():
        raise InputError(f"Expected a .tflite, .onnx or .xml file, or a bundle's folder. Got: nothing at {given}.")
    if isinstance(given, Bundle) or not Path(given).is_dir():
        return given if isinstance(given, Bundle) else None
    if not is_ours(Path(given)):
        raise InputError(
            f"Expected a .tflite, .onnx or .xml file, or a bundle that edgewright wrote. Got: {given}, another folder."
        )
    return load_bundle(Path(given))


def _of_bundle(bundle: Bundle, data: "DataLike") -> tuple[tuple[Deployable, ...], Mapping[str, np.ndarray], str]:
    golden, _ = bundle.golden()
    if data is None:
        return bundle.deployables, golden, f"{len(next(iter(golden.values())))} golden inputs"
    wanted = {name: Input(array.shape[1:], str(array.dtype)) for name, array in golden.items()}
    given = dataset_of(data, wanted)
    return bundle.deployables, given.inputs, f"{len(given)} samples of {_told(data)}"


def _of_file(path: Path, graph: "Graph", data: "DataLike") -> tuple[Mapping[str, np.ndarray], str]:
    if data is None:
        shapes = " of the file's own shapes" if takes_no_batch(graph) else ""
        return random_inputs(graph), f"{RANDOM_SAMPLES} random inputs{shapes}, seed 0"
    _check_inputs(graph)
    values = [graph.values[place] for place in graph.inputs]
    # What is fed are real numbers, whatever the file stores.
    wanted = {each.name: Input(_sample(graph, each), "float32" if each.scale else each.dtype) for each in values}
    given = dataset_of(data, wanted)
    return given.inputs, f"{len(given)} samples of {_told(data)}"


def takes_no_batch(graph: "Graph") -> bool:
    """Tell whether a file takes no batch of one: an input is a scalar, or its first size is fixed at another one.

    A sample is then all that one call takes, for the runner too (``whole`` there).
    """
    shapes = [graph.values[place].shape for place in graph.inputs]
    return any(shape is not None and (not shape or shape[0] not in (-1, 1)) for shape in shapes)


def random_inputs(graph: "Graph", samples: int = RANDOM_SAMPLES) -> dict[str, np.ndarray]:
    """Return random inputs ``[samples, ...]`` of a fixed seed: normal floats, all of a quantized range.

    Integers that are not quantized are 0 or 1: what they may be, such as places in a table, does not stand in a file.

    Raises:
        InputError: an input that cannot be fed: not of numbers, of a type that NumPy lacks, or of unknown rank.
    """
    _check_inputs(graph)
    needed = samples * sum(math.prod(_sample(graph, graph.values[place])) for place in graph.inputs) * 8
    has = psutil.virtual_memory().total
    if needed > has:
        raise InputError(
            f"Expected inputs of which {samples} fit into this host's memory of {has:,} bytes. Got: {needed:,} of "
            "random numbers."
        )
    random = np.random.default_rng(0)
    made = {}
    for place in graph.inputs:
        value = graph.values[place]
        shape = (samples, *_sample(graph, value))
        if value.scale:
            limits = np.iinfo(value.dtype)
            stored = random.integers(limits.min, limits.max, shape, endpoint=True)
            made[value.name] = (value.scale * (stored - (value.zero_point or 0))).astype(np.float32)
        elif np.dtype(value.dtype).kind == "f":
            made[value.name] = random.normal(size=shape).astype(value.dtype)
        else:
            made[value.name] = random.integers(0, 2, shape).astype(value.dtype)
    return made


def _check_inputs(graph: "Graph") -> None:
    """Raise InputError where there is no input, or one that neither random numbers nor a user's data can be fed to."""
    if not graph.inputs:
        raise InputError("Expected a file that takes inputs. Got: one without any, which computes the same each time.")
    for value in (graph.values[place] for place in graph.inputs):
        if not _is_number(value.dtype):
            raise InputError(
                f"Expected inputs of numbers in a type that NumPy has, such as float32. Got: input {value.name!r} of "
                f"{value.dtype}: the file cannot be fed at all, neither random numbers nor your own data."
            )
        if value.shape is None:
            raise InputError(
                f"Expected inputs of a known number of dimensions. Got: input {value.name!r} without a shape: the file "
                "cannot be fed at all, neither random numbers nor your own data."
            )


def _is_number(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:
        return False


def _sample(graph: "Graph", value: "Value") -> tuple[int, ...]:
    """Return the shape of a sample, in which a size that is left open is 1, as the runner runs one at a time."""
    sizes = tuple(1 if size < 0 else size for size in value.shape or ())
    return sizes if takes_no_batch(graph) else sizes[1:]


def _told(data: object) -> str:
    return str(data) if isinstance(data, str | Path) else "the data given"
