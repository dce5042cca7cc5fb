"""The commands of the emulated Raspberry Pi: build, status, run, ssh."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .cli_options import Json, Quiet, end, share_of
from .progress import shown

emulator = typer.Typer(help="An emulated Raspberry Pi: the runtimes' aarch64 builds under QEMU.", no_args_is_help=True)
Emulators = Annotated[
    Path | None, typer.Option("--folder", help="Where emulators are kept; $EDGEWRIGHT_EMULATOR, or the user's cache.")
]
Mirror = Annotated[str | None, typer.Option(help="Of Debian; by default the one that apt uses here.")]


@emulator.command("build")
def emulator_build(
    folder: Emulators = None,
    mirror: Mirror = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the emulator with the versions of the runtimes that are installed here; without root, in half a minute."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from . import emulation
        from .emulation_text import emulator_text

        with shown(quiet) as on_progress:
            made = emulation.build(folder, mirror=mirror, on_progress=on_progress)
        return made.plain(), 0, emulator_text(made, str(made.folder))

    end("emulator build", json_, work)


@emulator.command("status")
def emulator_status(folder: Emulators = None, json_: Json = False) -> None:
    """Tell which emulator is there, and how its versions differ from those installed here."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .emulation_text import emulator_text
        from .runtimes._emulator import emulator_folder, find_emulator

        found, where = find_emulator(folder), emulator_folder(folder)
        result = {"folder": str(where), "emulator": found.plain() if found else None}
        return result, 0 if found else 3, emulator_text(found, str(where))

    end("emulator status", json_, work)


@emulator.command("run")
def emulator_run(
    artifact: Annotated[Path, typer.Argument(help="A bundle, or a .tflite, .onnx or OpenVINO .xml file.")],
    core: Annotated[list[str] | None, typer.Option(help="pi4 or pi5; repeat. Both by default.")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="Only this one; repeat. All by default.")] = None,
    samples: Annotated[int, typer.Option(help="Golden inputs to compare on, or random ones.")] = 4,
    count: Annotated[int, typer.Option(help="Inferences whose instructions are counted; 0 for none.")] = 3,
    baseline: Annotated[Path | None, typer.Option(help="What --json printed before: the measure of growth.")] = None,
    max_growth: Annotated[str, typer.Option(help="Of the instructions over the baseline's, in percent.")] = "2%",
    max_difference: Annotated[str, typer.Option(help="Of an output, as a share of its largest value.")] = "1e-6",
    folder: Emulators = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run ARTIFACT on emulated cores and here: equal outputs, and instructions per inference; exit code 1 if not."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .emulation import emulate
        from .emulation_text import emulations_text

        growth, difference = share_of(max_growth, "--max-growth"), share_of(max_difference, "--max-difference")
        with shown(quiet) as on_progress:
            made = emulate(
                artifact,
                tuple(core) if core else ("pi4", "pi5"),
                tuple(runtime or ()),
                folder=folder,
                samples=samples,
                count=count,
                baseline=baseline,
                max_growth=growth,
                max_difference=difference,
                on_progress=on_progress,
            )
        return made.plain(), made.exit_code, emulations_text(made)

    end("emulator run", json_, work)


@emulator.command("ssh")
def emulator_ssh(
    core: Annotated[str, typer.Option(help="pi4 or pi5.")] = "pi4",
    port: Annotated[int | None, typer.Option(help="Of 127.0.0.1; a free one by default.")] = None,
    bare: Annotated[bool, typer.Option("--bare", help="Without the runtimes and NumPy, as a fresh system.")] = False,
    key: Annotated[
        Path | None, typer.Option(help="The public key that may log in; ~/.ssh/id_*.pub by default.")
    ] = None,
    folder: Emulators = None,
    mirror: Mirror = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout when it is ready.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run an emulated Raspberry Pi to log in to over SSH, until Ctrl-C; each start has the files of a fresh one."""

    def work() -> NoReturn:
        from .emulation import emulated_device
        from .emulation_text import server_text

        for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started in the background
            signal.signal(number, signal.default_int_handler)
        ready = False
        try:
            with ExitStack() as running:
                with shown(quiet) as on_progress:
                    device = emulated_device(
                        core, key, port, bare, folder=folder, mirror=mirror, on_progress=on_progress
                    )
                    server = running.enter_context(device)
                ready = True
                print(json.dumps(server.plain()) if json_ else server_text(server), flush=True)
                server.wait()
        except KeyboardInterrupt:
            if not ready:
                raise
        raise SystemExit(0)

    end("emulator ssh", json_, work)
