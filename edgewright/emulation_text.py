"""What ran on an emulated Raspberry Pi, as text."""

import math

from .emulation import Emulation, Emulations
from .runtimes._emulated import CORE_TYPES
from .runtimes._emulated_sshd import PROFILES, EmulatedServer
from .runtimes._emulator import Emulator

# Instructions that multiply and add in vectors: which of them run shows which kernels a runtime chose.
_KERNELS = {
    "dot_product": "dot products",
    "vector_integer_multiply": "integer multiplies",
    "fused_multiply_add": "float multiply-adds",
}


def emulator_text(emulator: Emulator | None, folder: str) -> str:
    """Return what an emulator is made of."""
    if emulator is None:
        return f"no emulator in {folder}; build it: edgewright emulator build"
    size = emulator.plain()["size_bytes"]
    lines = [f"{emulator.folder}: {size / 1e6:.0f} MB; cores: {', '.join(CORE_TYPES)}"]
    lines += [f"  {name} {version}" for name, version in emulator.wheels.items()]
    lines += [f"  differs from this host: {text}" for text in emulator.differs]
    if emulator.differs:
        lines.append("  build one of this host's versions: edgewright emulator build")
    lines += [f"  no instructions: {emulator.no_counts}"] if emulator.no_counts else []
    return "\n".join(lines)


def emulations_text(made: Emulations) -> str:
    """Return the table of what was run: equal or not, and the instructions per inference."""
    head = ("artifact", "runtime", "core", "against this host", "instructions per inference", "")
    table = [head, *(_cells(row) for row in made.rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.append("")
    if any(row.instructions for row in made.rows):
        lines.append("Instructions are emulated, on one thread: work to compare versions by, no latency.")
    if made.emulator.no_counts:
        lines.append(f"Instructions were not counted: {made.emulator.no_counts}")
    lines += [f"Other versions: {text}." for text in made.emulator.differs]
    return "\n".join(lines).rstrip()


def _cells(row: Emulation) -> tuple[str, ...]:
    equal = "not compared" if row.difference is None else _difference(row.difference)
    notes = [] if row.ok else [row.reason]
    counted = ""
    if row.instructions:
        counted = f"{row.instructions.median:,}"
        kernels = {text: row.instructions.classes.get(name, 0) for name, text in _KERNELS.items()}
        notes = [*(f"{count:,} {text}" for text, count in kernels.items() if count), *notes]
    if row.growth is not None:
        counted += f" ({100 * row.growth:+.2f} %)"
    return (row.artifact, f"{row.runtime} {row.version}", row.core, equal, counted, "; ".join(notes))


def _difference(share: float) -> str:
    if share == 0:
        return "identical"
    return "not comparable" if math.isinf(share) else f"{share:.1e} of the largest value"


def server_text(server: EmulatedServer) -> str:
    """Return where a running device is, and how to add it."""
    return "\n".join(
        [
            f"emulated {CORE_TYPES[server.core].title} at {server.url}, until Ctrl-C; no time taken there is a latency",
            f"  {server.host_key}",
            f"Add it: edgewright devices add NAME {server.url} --profile {PROFILES[server.core]} --accept-key",
        ]
    )
