"""The lowest runtime version that loads a file, by the runtimes' own tables, and whether a device has it."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ..export._graph import Graph
from ._asked_versions import asked_version
from ._profile import Profile

_LITERT, _FLEX = "LiteRT", "Flex"


# What ONNX files have of ONNX Runtime's own, by the beginning of its name.
_DOMAINS = {
    "com.microsoft.nchwc.": "in blocks of channels for the processor that ONNX Runtime saved the file on",
    "com.microsoft.": "an operation of ONNX Runtime's own",
}


@dataclass(frozen=True)
class Needed:
    """The lowest runtime version that loads a file.

    Attributes:
        runtime: such as "TensorFlow Lite".
        version: such as "2.3.0"; empty where no table tells.
        because: what asks for it, such as "FULLY_CONNECTED version 9".
        unknown: what the table does not know, which may need a later version; custom operations among them.
        source: of the table.
    """

    runtime: str
    version: str
    because: str
    unknown: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Loads:
    """Whether a device's runtime loads a file, as far as versions go: None where that is not known; and a sentence."""

    ok: bool | None
    sentence: str


def needed_runtime(graph: Graph) -> Needed:
    """Return the lowest runtime version that loads a file.

    Of TFLite, it is the highest that an operation asks for, by the version that the file states or by how its weights
    are stored, whichever is later: AI Edge Quantizer leaves versions as they were. Of ONNX and OpenVINO, the first
    release that has both the operation sets and the IR version of the file.
    """
    if graph.format == "tflite":
        return _needed_tflite(graph)
    table = _table("runtime_versions.json").get(graph.format)
    if table is None:
        return Needed(graph.format, "", "", (f"the format {graph.format}",), "")
    ir = graph.versions.get("ir", 0)
    opset = graph.versions.get("ai.onnx" if graph.format == "onnx" else "opset", 0)
    asked = {"operation set": opset, "IR version": ir}
    others = sorted({_beyond(node.kind) for node in graph.nodes if node.custom})
    for version, last_opset, last_ir in table["releases"]:
        if opset <= last_opset and ir <= last_ir:
            because = " and ".join(f"{name} {number}" for name, number in asked.items())
            return Needed(table["runtime"], version, because, tuple(others), table["source"])
    beyond = f"operation set {opset} with IR version {ir}"
    return Needed(table["runtime"], "", "", (beyond, *others), table["source"])


def loads_on(profile: Profile, graph: Graph, needed: Needed | None = None) -> Loads:
    """Return whether the runtime that a device has for the file's format is new enough."""
    needed = needed or needed_runtime(graph)
    runtime = next((entry for entry in profile.runtimes if entry.format == graph.format), None)
    if runtime is None:
        return Loads(False, f"{profile.title} has no runtime for {graph.format}.")
    flex = sorted({node.kind for node in graph.nodes if node.custom and node.kind.startswith(_FLEX)})
    if flex:
        return Loads(False, f"{runtime.name} lacks TensorFlow's Flex delegate, in which {', '.join(flex)} run.")
    named = runtime.version.value if runtime.version.value[:1].isdigit() else f"({runtime.version.value})"
    installed = f"{profile.title} has {runtime.name} {named}"
    if not needed.version:
        return Loads(None, f"{installed}; whether it loads the file is not known: {', '.join(needed.unknown)}.")
    has = _in_terms_of(needed.runtime, runtime.name, runtime.version.value)
    if not has:
        asks = f"the file needs {needed.version} ({needed.because})"
        return Loads(None, f"{installed}, whose {needed.runtime} version the profile does not give; {asks}.")
    equal = "" if has == runtime.version.value else f", which has the operations of {needed.runtime} {has}"
    asks = f"the file needs {needed.runtime} {needed.version} ({needed.because})"
    if _numbers(has) < _numbers(needed.version):
        return Loads(False, f"{installed}{equal}, too old: {asks}.")
    if needed.unknown:
        return Loads(None, f"{installed}{equal}; {asks}, and what the table lacks: {', '.join(needed.unknown)}.")
    return Loads(True, f"{installed}{equal}; {asks}.")


def may_be_too_old(profile: Profile, format: str) -> bool:
    """Return whether a file of a format can ask for a later runtime than a device has: not where it has the latest."""
    runtime = next((entry for entry in profile.runtimes if entry.format == format), None)
    if runtime is None:
        return False
    named, latest = _latest(format)
    has = _in_terms_of(named, runtime.name, runtime.version.value)
    return bool(has) and _numbers(has) < _numbers(latest)


def _latest(format: str) -> tuple[str, str]:
    """Return the runtime that a format's table counts in, and the latest version in it."""
    if format == "tflite":
        versions = _table("tflite_versions.json")["operations"].values()
        return "TensorFlow Lite", max((each for known in versions for each in known if each), key=_numbers)
    table = _table("runtime_versions.json").get(format)
    return (table["runtime"], table["releases"][-1][0]) if table else ("", "")


def _beyond(kind: str) -> str:
    """Return an operation that is none of the format's own, and who has it."""
    for domain, owner in _DOMAINS.items():
        if kind.startswith(domain):
            return f"{kind}, {owner}"
    return f"{kind}, which is no operation of the format's own"


def _needed_tflite(graph: Graph) -> Needed:
    table = _table("tflite_versions.json")
    version, because, unknown = "", "", []
    for node in graph.nodes:
        known = table["operations"].get(node.kind, [])
        asked = max(node.version, asked_version(graph, node))
        found = known[asked - 1] if 1 <= asked <= len(known) else None
        if node.custom:
            unknown.append(f"{node.kind}, which is no operation of the format's own")
        elif found is None and (known or asked > 1):
            unknown.append(f"{node.kind} version {asked}")
        elif found and _numbers(found) > _numbers(version):
            version, because = found, f"{node.kind} version {asked}"
            if asked > node.version:
                because += f" by the types of its weights, although the file says {node.version}"
    if not version and not unknown:
        # Version 1 of an operation that the table does not list is as old as the format.
        version, because = "1.5.0", "the format"
    return Needed("TensorFlow Lite", version, because, tuple(dict.fromkeys(unknown)), table["source"])


def _in_terms_of(wanted: str, name: str, version: str) -> str:
    """Return a device's runtime version in the terms that a table counts in, or an empty string."""
    if wanted == "TensorFlow Lite" and name == _LITERT:
        releases = _table("runtime_versions.json")["litert"]["releases"]
        return str(releases.get(version) or releases.get(".".join(version.split(".")[:2]), ""))
    comparable = {"TensorFlow Lite": ("TFLite", "TensorFlow Lite"), "ONNX Runtime": ("ONNX Runtime",)}
    return version if name in comparable.get(wanted, (wanted,)) and _numbers(version) else ""


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, so that versions compare.

    >>> _numbers("2.10.0") > _numbers("2.3.0")
    True
    """
    return tuple(int(part) for part in version.split(".")) if re.fullmatch(r"\d+(\.\d+)*", version) else ()


@cache
def _table(name: str) -> dict[str, Any]:
    return dict(json.loads((resources.files(f"{__package__}.profiles") / name).read_text(encoding="utf-8")))
