"""What a file is made of, what it needs to load, and where a device runs each part of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from . import devices
from .device_names import profile_of
from .devices import (
    Needed,
    Placement,
    Profile,
    Unsupported,
    loads_on,
    may_be_too_old,
    needed_runtime,
    predict_memory,
)
from .devices._memory import together
from .devices._placing import TENSORRT
from .devices._profile import ADAPTERS
from .devices._versions import Loads
from .export import Deployable, Graph, read_graph, read_graphs
from .export._beside import files_beside
from .export._work import total, work_of
from .figures import Figure
from .files import gzip_bytes
from .subjects import bundle_at


@dataclass(frozen=True)
class OnDevice:
    """A file on a device.

    Attributes:
        device, title: of the profile.
        loads: whether the device's runtime is new enough, as far as versions go.
        placement: where each operation runs; None where the device has but one place for it.
    """

    device: str
    title: str
    loads: Loads
    placement: Placement | None


@dataclass(frozen=True)
class Inspection:
    """One inspected file.

    Attributes:
        path: the file.
        graph: what it is made of.
        size_bytes, gzip_bytes: of the file and of the one that lies beside it (OpenVINO's weights).
        needed: the lowest runtime version that loads it.
        on_device: what a device makes of it; None where none was asked for.
    """

    path: Path
    graph: Graph
    size_bytes: int
    gzip_bytes: int
    needed: Needed
    on_device: OnDevice | None

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            **asdict(self),
            "path": str(self.path),
            "macs": self.graph.macs,
            "constant_bytes": self.graph.constant_bytes,
        }


def inspect(
    artifact: str | Path, device: str | None = None, *, on_file: Callable[[Path], None] | None = None
) -> tuple[Inspection, ...]:
    """Read what a file, or each file of a bundle, is made of.

    Nothing is measured: operations, types, shapes and multiply-accumulates stand in the file, or follow from what does
    at a batch of 1. Each file is read in a child process. Where ``edgetpu_compiler`` is installed and the device has an
    Edge TPU, it is run, and decides.

    Args:
        artifact: a .tflite, .onnx or OpenVINO .xml file, edgewright's own or not, or the folder of a bundle.
        device: the name or file of a device profile, or a registered device, to see what runs where on it.
        on_file: told which file is read.

    Returns:
        One inspection a file.

    Raises:
        InputError: no such file or device; a file that is broken, truncated or of another format.
    """
    path = Path(artifact)
    profile = profile_of(device) if device is not None else None
    inspections = []
    for file in _files(path):
        if on_file:
            on_file(file)
        inspections.append(_inspected(file, profile))
    return tuple(inspections)


def graphs_of(deployables: Sequence[Deployable]) -> dict[Path, Graph]:
    """Return what the files are made of; one that cannot be read is left out."""
    return read_graphs(list({artifact.path: None for each in deployables for artifact in each.artifacts}))


def counted(deployables: Sequence[Deployable], graphs: Mapping[Path, Graph]) -> tuple[Deployable, ...]:
    """Return artifacts with the work of each file that could be read, which their latency is predicted by."""
    work = {path: total(work_of(graph)) for path, graph in graphs.items()}
    return tuple(
        replace(each, artifacts=tuple(replace(part, work=work.get(part.path, {})) for part in each.artifacts))
        for each in deployables
    )


def memories_of(
    deployables: Sequence[Deployable], profiles: Sequence[Profile], graphs: Mapping[Path, Graph]
) -> dict[tuple[str, str], Figure]:
    """Return by device and artifact the peak memory of its runtime with all its graphs loaded, where it is known."""
    found: dict[tuple[str, str], Figure] = {}
    for profile, deployable in product(profiles, deployables):
        target = profile.target(deployable.format, deployable.precision)
        if isinstance(target, Unsupported) or target.unit != "cpu":
            continue
        each = [
            predict_memory(graphs[artifact.path], ADAPTERS.get(target.runtime, target.runtime))
            for artifact in deployable.artifacts
            if artifact.path in graphs
        ]
        known = [memory for memory in each if not isinstance(memory, Unsupported)]
        if known and len(known) == len(deployable.artifacts):
            found[profile.name, deployable.name] = together(known)
    return found


def placements_of(
    deployables: Sequence[Deployable], profiles: Sequence[Profile], graphs: Mapping[Path, Graph]
) -> dict[tuple[str, str], dict[str, Placement]]:
    """Return by device and artifact what the device's accelerator runs of each graph.

    It is asked where a verdict depends on it: of what the Edge TPU runs, and of what TensorRT may compute in int8.
    """
    found: dict[tuple[str, str], dict[str, Placement]] = {}
    for profile, deployable in product(profiles, deployables):
        for artifact in deployable.artifacts if _depends_on_mapping(profile, deployable) else ():
            graph = graphs.get(artifact.path)
            placement = devices.place(profile, graph, artifact.path) if graph else None
            if placement:
                found.setdefault((profile.name, deployable.name), {})[artifact.graph] = placement
    return found


def too_new_of(
    deployables: Sequence[Deployable], profiles: Sequence[Profile], graphs: Mapping[Path, Graph]
) -> dict[tuple[str, str], str]:
    """Return by device and artifact why the device's runtime is too old for a file of it, where it is."""
    needed = {path: needed_runtime(graph) for path, graph in graphs.items()}
    found: dict[tuple[str, str], str] = {}
    for profile, deployable in product(profiles, deployables):
        for artifact in deployable.artifacts if _depends_on_version(profile, deployable) else ():
            graph = graphs.get(artifact.path)
            loads = loads_on(profile, graph, needed[artifact.path]) if graph else None
            if loads and loads.ok is False:
                found.setdefault((profile.name, deployable.name), loads.sentence)
    return found


def _depends_on_version(profile: Profile, deployable: Deployable) -> bool:
    target = profile.target(deployable.format, deployable.precision)
    return not isinstance(target, Unsupported) and may_be_too_old(profile, deployable.format)


def _depends_on_mapping(profile: Profile, deployable: Deployable) -> bool:
    target = profile.target(deployable.format, deployable.precision)
    if isinstance(target, Unsupported):
        return False
    return target.unit == "edgetpu" or (TENSORRT in target.runtime and deployable.precision == "int8")


def _files(path: Path) -> tuple[Path, ...]:
    bundle = bundle_at(path)
    return tuple(entry.path for entry in bundle.artifacts) if bundle else (path,)


def _inspected(path: Path, profile: Profile | None) -> Inspection:
    graph = read_graph(path)
    files = (path, *files_beside(path))
    needed = needed_runtime(graph)
    on_device = None
    if profile is not None:
        loads = loads_on(profile, graph, needed)
        on_device = OnDevice(profile.name, profile.title, loads, devices.place(profile, graph, path))
    return Inspection(
        path=path,
        graph=graph,
        size_bytes=sum(file.stat().st_size for file in files),
        gzip_bytes=sum(gzip_bytes(file) for file in files),
        needed=needed,
        on_device=on_device,
    )
