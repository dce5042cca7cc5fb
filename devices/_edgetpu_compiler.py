"""``edgetpu_compiler``, where it is installed: it is run on a file, and its log says what runs where."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..children import run_child
from ..held import temporary_folder
from ._edgetpu_parts import CPU, UNIT
from ._placement import Group, Placement, mebibytes

PROGRAM = "edgetpu_compiler"
# It gives up by itself after 180 s.
TIME_LIMIT_S = 300.0
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MAPPED = "Mapped to Edge TPU"
_STATUS = re.compile(r"^([A-Za-z0-9_-]+)\s+(\d+)\s+(\S.*)$")


@dataclass(frozen=True)
class CompilerLog:
    """What the compiler's log says; None where it says nothing of it.

    Attributes:
        version: of the compiler.
        compiled: whether it wrote a file.
        cached_bytes: of parameters, kept on the chip.
        remaining_bytes: of that cache, left for another model.
        streamed_bytes: of parameters, sent at every inference.
        parts: the subgraphs that run on the Edge TPU.
        operations: in the file.
        groups: the operations by kind and status; empty where it was not asked to list them.
    """

    version: str
    compiled: bool
    cached_bytes: int | None
    remaining_bytes: int | None
    streamed_bytes: int | None
    parts: int | None
    operations: int | None
    on_edgetpu: int | None
    on_cpu: int | None
    groups: tuple[Group, ...]


def compile_here(path: Path) -> CompilerLog | str | None:
    """Run the compiler on a .tflite file.

    Returns:
        Its log; why it compiled nothing, as a sentence; None where it is not installed.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    with temporary_folder("edgetpu") as folder:
        child = run_child(
            [program, "--show_operations", "--out_dir", folder, path.absolute()], time_limit_s=TIME_LIMIT_S
        )
    log = read_log(child.stdout)
    if child.ok and log.compiled:
        return log
    lines = [line.strip() for line in (child.stdout + child.stderr).splitlines() if line.strip()]
    return f"{PROGRAM} compiled nothing: {lines[-1][:200] if lines else child.ending}."


def read_log(text: str) -> CompilerLog:
    """Return what the text that the compiler prints says."""
    groups = []
    for line in text.splitlines():
        found = _STATUS.match(line.strip())
        if found and found[1] != "Operator":
            mapped = found[3].strip() == _MAPPED
            groups.append(Group(found[1], int(found[2]), UNIT if mapped else CPU, "" if mapped else found[3].strip()))
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    operations = _count(text, "Total number of operations")
    on_edgetpu = _count(text, "Number of operations that will run on Edge TPU")
    on_cpu = _count(text, "Number of operations that will run on CPU")
    compiled = "Model compiled successfully" in text
    if compiled and on_edgetpu is None and operations is not None:
        # It counts them only where some stay on the CPU.
        on_edgetpu, on_cpu = operations, 0
    return CompilerLog(
        version=version[1] if version else "",
        compiled=compiled,
        cached_bytes=_bytes(text, "On-chip memory used for caching model parameters"),
        remaining_bytes=_bytes(text, "On-chip memory remaining for caching model parameters"),
        streamed_bytes=_bytes(text, "Off-chip memory used for streaming uncached model parameters"),
        parts=_count(text, "Number of Edge TPU subgraphs"),
        operations=operations,
        on_edgetpu=on_edgetpu,
        on_cpu=on_cpu,
        groups=tuple(groups),
    )


def placement_of(log: CompilerLog) -> Placement:
    """Return where the operations run, by the compiler's log."""
    how = f"{PROGRAM} {log.version}".strip()
    mapped = f"{log.on_edgetpu} of {log.operations} operations"
    sentences = [f"By {how}: {mapped} run on the Edge TPU, in {log.parts} part{'' if log.parts == 1 else 's'}."]
    if log.cached_bytes is not None and log.streamed_bytes is not None:
        sentences.append(
            f"{mebibytes(log.cached_bytes)} of parameters are kept on the chip, and {mebibytes(log.streamed_bytes)} "
            "are sent to it at every inference."
        )
    facts = {
        "operations": log.operations,
        "operations_on_edgetpu": log.on_edgetpu,
        "parts": log.parts,
        "cached_bytes": log.cached_bytes,
        "remaining_bytes": log.remaining_bytes,
        "streamed_bytes": log.streamed_bytes,
    }
    return Placement(UNIT, how, "its log", log.groups, tuple(sentences), facts)


def _count(text: str, label: str) -> int | None:
    found = re.search(rf"^{re.escape(label)}: (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def _bytes(text: str, label: str) -> int | None:
    found = re.search(rf"^{re.escape(label)}: ([\d.]+)\s*(B|KiB|MiB|GiB)", text, re.MULTILINE)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None
