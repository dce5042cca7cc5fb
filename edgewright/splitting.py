"""Cutting a TFLite file into parts, proven to compute the same, so that more of it runs on an Edge TPU."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import devices
from .device_names import profile_of
from .devices import Profile
from .devices._edgetpu_graph import COMPILED, UNIT, edgetpu_parts, place_on_edgetpu
from .devices._edgetpu_parts import Part, share_of
from .devices._placement import PREDICTED, Placement
from .errors import GateFailed, InputError
from .export import Deployable, Graph, Tensor, load_bundle, read_graph
from .export._tflite_parts import write_parts
from .files import MANIFEST, check_output_folder, is_ours, new_folder, new_manifest, sha256, write_json
from .held import alone
from .runtimes._chain import compare_chain

RECORD = "split.json"
_KIND = "split"
_EIGHT_BIT = ("int8", "uint8")
_STEMS = {UNIT: "edgetpu"}


@dataclass(frozen=True)
class PartTensor(Tensor):
    """An input or output of a part; it goes by the same name, and is stored alike, in every part and the whole file.

    Attributes:
        made_by: of an input, the file of the part whose output it is, or "" where it is an input of the whole.
    """

    made_by: str = ""


@dataclass(frozen=True)
class PartFile:
    """One part, a TFLite file.

    Attributes:
        file: its name in the folder.
        unit: where it is predicted to run: "Edge TPU" or "CPU".
        operations: how many.
        inputs, outputs: its signature.
        sha256: of the file.
        size_bytes: of the file.
        macs_share: of the whole's multiply-accumulates, 0 to 1.
        cache_bytes: of parameters that the Edge TPU keeps on the chip, as far as they fit; 0 on the CPU.
    """

    file: str
    unit: str
    operations: int
    inputs: tuple[PartTensor, ...]
    outputs: tuple[PartTensor, ...]
    sha256: str
    size_bytes: int
    macs_share: float
    cache_bytes: int


@dataclass(frozen=True)
class Split:
    """A file in parts that run one after the other.

    Attributes:
        path: the folder with the parts and split.json.
        source: the file that was cut, and its SHA-256.
        device: the profile's name.
        parts: in the order in which they run.
        macs_share_whole, macs_share: of the multiply-accumulates on the Edge TPU, 0 to 1: as one file, and in parts.
        cache_bytes: what the Edge TPU keeps of parameters, of all its parts together; None where not known.
        how: by what the units were decided.
        random_samples, golden_samples: on how many inputs the parts gave the whole's bytes, in LiteRT.
    """

    path: Path
    source: str
    source_sha256: str
    device: str
    parts: tuple[PartFile, ...]
    macs_share_whole: float
    macs_share: float
    cache_bytes: int | None
    how: str
    random_samples: int
    golden_samples: int

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "path": str(self.path)}


def split(artifact: str | Path, device: str, out: str | Path) -> Split:
    """Cut an int8 TFLite file into the fewest parts with the most multiply-accumulates on a device's Edge TPU.

    ``edgetpu_compiler`` stops at the first operation that it does not take. A head that stays on the CPU, a body for
    the Edge TPU and a tail become files of their own; there are at most three. Which operation is taken is predicted by
    the published table. The parts are run one after the other in LiteRT, in a child process, on random inputs, and on
    the golden inputs of the bundle that the file lies in, by way of its host code where it has some.

    Args:
        artifact: a .tflite file, edgewright's own or not.
        device: the name or file of a device profile, or the name of a registered device.
        out: the folder to write; nothing appears there unless the parts give the very bytes of the whole.

    Returns:
        What was written.

    Raises:
        InputError: no such file or device; a device without an Edge TPU; a file that is broken, in float, with loops,
            already compiled, mapped whole or not at all, or of which no cut brings more to the Edge TPU; an output
            folder that holds something else.
        GateFailed: the parts do not compute what the whole does; nothing was written.
    """
    path, out = Path(artifact), Path(out)
    profile = profile_of(device)
    cache = _cache_bytes(profile)
    check_output_folder(out, _KIND)
    graph = _int8_graph(path)
    placement = place_on_edgetpu(graph, None)
    parts = edgetpu_parts(graph)
    if not parts:
        raise InputError(_nothing_to_cut(path, placement))
    golden = _golden(path)
    with alone(out), new_folder(out, _KIND) as folder:
        names = [f"{path.stem}.{place}-{_STEMS.get(part.unit, 'cpu')}.tflite" for place, part in enumerate(parts)]
        write_parts(path, [part.nodes for part in parts], [folder / name for name in names])
        proof = compare_chain(path.absolute(), [folder / name for name in names], *golden)
        if proof["wrong"] or not proof["random"] + proof["given"]:
            reason = proof["wrong"] or "no inputs that the file takes"
            raise GateFailed(f"Expected parts that compute the bytes of {path}. Got: {reason}; nothing was written.")
        made = Split(
            path=out,
            source=path.name,
            source_sha256=sha256(path),
            device=profile.name,
            parts=_files(folder, names, parts),
            macs_share_whole=placement.facts["macs_share"],
            macs_share=share_of(parts),
            cache_bytes=cache,
            how=PREDICTED,
            random_samples=proof["random"],
            golden_samples=proof["given"],
        )
        document = {name: value for name, value in made.plain().items() if name != "path"}
        write_json(folder / RECORD, document)
        write_json(folder / MANIFEST, new_manifest(_KIND, 1))
    return made


def split_text(made: Split) -> str:
    """Return a split for people."""
    lines = [
        f"{made.path}: {made.source} in {len(made.parts)} parts; {made.macs_share:.1%} of the multiply-accumulates are "
        f"{made.how} to run on the Edge TPU, {made.macs_share_whole:.1%} as one file"
    ]
    for part in made.parts:
        cache = f", {part.cache_bytes:,} bytes of parameters" if part.unit == UNIT else ""
        lines.append(f"  {part.file}: {part.unit}, {part.operations} operations, {part.macs_share:.1%}{cache}")
        lines += [f"    in   {each.name} from {each.made_by or 'the caller'}" for each in part.inputs]
        lines += [f"    out  {each.name}" for each in part.outputs]
    golden = f" and {made.golden_samples} golden" if made.golden_samples else ""
    lines.append(f"  the same bytes as the whole on {made.random_samples} random{golden} inputs, in LiteRT")
    return "\n".join(lines)


def _cache_bytes(profile: Profile) -> int | None:
    accelerator = profile.accelerator("edgetpu")
    if accelerator is None:
        having = [name for name in devices.names() if devices.get(name).accelerator("edgetpu")]
        raise InputError(f"Expected a device with an Edge TPU, such as {', '.join(having)}. Got: {profile.name}.")
    return None if accelerator.cache_mib is None else int(accelerator.cache_mib.value * 2**20)


def _int8_graph(path: Path) -> Graph:
    if path.suffix != ".tflite":
        raise InputError(f"Expected a .tflite file, which is what the Edge TPU runs. Got: {path}.")
    graph = read_graph(path)
    if any(node.kind == COMPILED for node in graph.nodes):
        raise InputError(f"Expected a file that edgetpu_compiler has not compiled yet. Got: {path}, which it wrote.")
    bodies = sorted({node.body for node in graph.nodes if node.body})
    if bodies:
        raise InputError(f"Expected a file without loops and branches. Got: {path}, with {', '.join(bodies)}.")
    if not any(value.scales and value.dtype in _EIGHT_BIT and not value.constant for value in graph.values):
        kinds = sorted({value.dtype for value in graph.values if not value.constant})
        raise InputError(
            f"Expected a file in 8-bit integers, as the Edge TPU computes. Got: {path}, {', '.join(kinds)}."
        )
    return graph


def _nothing_to_cut(path: Path, placement: Placement) -> str:
    facts = placement.facts
    if facts["operations_on_edgetpu"] == facts["operations"]:
        found = f"all {facts['operations']} operations are mapped as it is"
    elif not facts["parts_if_several_were_allowed"]:
        found = "the Edge TPU takes none of its operations"
    else:
        found = "no cut into three parts at most brings more multiply-accumulates there than the file as it is has"
    return f"Expected a file of which a part keeps the rest from the Edge TPU. Got: {path}: {found}."


def _golden(path: Path) -> tuple[Mapping[str, np.ndarray], Deployable | None]:
    """Return the golden inputs of the bundle that a file lies in, and what it is deployed with; none elsewhere.

    Raises:
        InputError: a file of the bundle was changed.
    """
    folder = path.absolute().parent.parent
    if path.absolute().parent.name != "artifacts" or not is_ours(folder):
        return {}, None
    bundle = load_bundle(folder)
    for deployable in bundle.deployables:
        if any(artifact.path.samefile(path) for artifact in deployable.artifacts):
            return bundle.golden()[0], deployable
    return {}, None


def _files(folder: Path, names: list[str], parts: tuple[Part, ...]) -> tuple[PartFile, ...]:
    """Return what was written, read back from the files."""
    made_by: dict[str, str] = {}
    files = []
    for name, part in zip(names, parts, strict=True):
        graph = read_graph(folder / name)
        facts = place_on_edgetpu(graph, None).facts
        files.append(
            PartFile(
                file=name,
                unit=part.unit,
                operations=len(graph.nodes),
                inputs=tuple(_tensor(graph, place, made_by) for place in graph.inputs),
                outputs=tuple(_tensor(graph, place, {}) for place in graph.outputs),
                sha256=sha256(folder / name),
                size_bytes=(folder / name).stat().st_size,
                macs_share=part.macs_share,
                cache_bytes=facts["parameter_bytes"] if part.unit == UNIT else 0,
            )
        )
        made_by.update((graph.values[place].name, name) for place in graph.outputs)
    return tuple(files)


def _tensor(graph: Graph, place: int, made_by: Mapping[str, str]) -> PartTensor:
    value = graph.values[place]
    return PartTensor(
        value.name, value.shape or (), value.dtype, value.scale, value.zero_point, made_by.get(value.name, "")
    )
