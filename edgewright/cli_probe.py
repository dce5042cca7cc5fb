"""The command that makes a profile of a live device."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Json, end


def devices_probe(
    device: Annotated[
        str | None, typer.Argument(help="A device that 'edgewright devices add' registered; this host by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The .toml file to write; printed by default.")] = None,
    name: Annotated[str | None, typer.Option(help="The profile's; by default the file's.")] = None,
    facts: Annotated[
        Path | None, typer.Option(help="What edgewright/devices/_probe.py printed on another device.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="A copy of another device's /proc, /sys and /etc.")] = None,
    measure: Annotated[bool, typer.Option(help="Measure the memory's bandwidth.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    json_: Json = False,
) -> None:
    """Make a profile of this host or of a DEVICE: cores, clocks, memory, system, runtimes, accelerators, as read."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .probing import probe, probed_text

        made = probe(out, name, device=device, facts=facts, root=root, measure=measure, force=force)
        return made.plain(), 0, probed_text(made, out)

    end("devices probe", json_, work)
