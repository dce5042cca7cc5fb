"""The commands that measure on this host: measure, compare, profile, and the emulated Raspberry Pi."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Cores, Data, Delegates, Files, Json, Precision, Providers, Quiet, Threads, Unit, end
from .errors import InputError
from .progress import shown


def measure(
    artifact: Files,
    data: Data = None,
    only: Annotated[str | None, typer.Option("--artifact", help="Of a bundle, such as 'tflite int8'.")] = None,
    runtime: Annotated[str | None, typer.Option(help="Only in this one; by default in all that take it.")] = None,
    threads: Threads = 1,
    cores: Cores = None,
    delegate: Delegates = None,
    xnnpack: Annotated[bool, typer.Option(help="TFLite: use XNNPACK.")] = True,
    provider: Providers = None,
    unit: Unit = "",
    precision: Precision = "",
    processes: Annotated[int, typer.Option(help="Fresh processes for each.")] = 5,
    max_latency_ms: Annotated[float | None, typer.Option(help="What the median may be; the exit code tells.")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure ARTIFACT in the runtimes of this host: latency with its interval, load, first inference, memory."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .measuring import measure as measure_files
        from .measuring_text import measurements_text

        settings = _settings(threads, cores, delegate, xnnpack, provider, unit, precision)
        with shown(quiet) as on_progress:
            made = measure_files(
                artifact,
                only,
                runtime,
                data,
                settings=settings,
                processes=processes,
                max_latency_ms=max_latency_ms,
                on_progress=on_progress,
            )
        return made.plain(), made.exit_code, measurements_text(made)

    end("measure", json_, work)


def compare(
    before: Files,
    after: Files,
    data: Data = None,
    artifact: Annotated[
        list[str] | None, typer.Option(help="Of a bundle, such as 'tflite int8'; for both, or one for each.")
    ] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="For both, or one for each.")] = None,
    threads: Threads = 1,
    cores: Cores = None,
    pairs: Annotated[int, typer.Option(help="Of fresh processes; with --max-regression as many as it takes.")] = 10,
    max_regression: Annotated[
        str | None, typer.Option(help="How much slower AFTER may be, such as 5%; the exit code tells.")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell whether AFTER is faster or slower than BEFORE on this host: the ratio with its interval."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .measuring import compare as compare_files
        from .measuring_text import compared_text

        with shown(quiet) as on_progress:
            made = compare_files(
                before,
                after,
                artifact or (),
                runtime or (),
                data,
                settings=_settings(threads, cores),
                pairs=pairs,
                max_regression=None if max_regression is None else _share(max_regression, "--max-regression"),
                on_progress=on_progress,
            )
        return made.plain(), made.exit_code, compared_text(made)

    end("compare", json_, work)


def profile(
    source: Annotated[
        Path, typer.Argument(metavar="BUNDLE|FILE", help="A bundle, or a .tflite, .onnx or OpenVINO .xml file.")
    ],
    artifact: Annotated[str | None, typer.Option(help="Such as 'tflite int8'; the bundle's first by default.")] = None,
    runtime: Annotated[str | None, typer.Option(help="That runs it; the first that takes it by default.")] = None,
    threads: Annotated[int, typer.Option(help="Of the runtime.")] = 1,
    data: Data = None,
    picture: Annotated[
        Path | None, typer.Option(help="An SVG file to write: layers and operations, wide as time.")
    ] = None,
    runs: Annotated[int, typer.Option(help="Answers to take means over, at most.")] = 200,
    json_: Json = False,
) -> None:
    """Tell where the time of an inference goes on this host: each operation's, and each Keras layer's."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .files import check_parent, write_text
        from .flame import flame_svg
        from .profile_text import profile_text
        from .profiling import profile_operations

        if picture is not None:
            check_parent(picture)
        found = profile_operations(source, runtime, data, name=artifact, threads=threads, runs=runs)
        if picture is not None:
            write_text(picture, flame_svg(found))
            print(f"wrote {picture}", file=sys.stderr)
        return found.plain(), 0, profile_text(found)

    end("profile", json_, work)


emulator = typer.Typer(help="An emulated Raspberry Pi: the runtimes' aarch64 builds under QEMU.", no_args_is_help=True)
Emulators = Annotated[
    Path | None, typer.Option("--folder", help="Where emulators are kept; $EDGEWRIGHT_EMULATOR, or the user's cache.")
]


@emulator.command("build")
def emulator_build(
    folder: Emulators = None,
    mirror: Annotated[str | None, typer.Option(help="Of Debian; by default the one that apt uses here.")] = None,
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
    folder: Emulators = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run ARTIFACT on emulated cores and here: equal outputs, and instructions per inference; exit code 1 if not."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .emulation import emulate
        from .emulation_text import emulations_text

        growth = _share(max_growth, "--max-growth")
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
                on_progress=on_progress,
            )
        return made.plain(), made.exit_code, emulations_text(made)

    end("emulator run", json_, work)


def _settings(
    threads: int,
    cores: str | None,
    delegates: list[str] | None = None,
    xnnpack: bool = True,
    providers: list[str] | None = None,
    unit: str = "",
    precision: str = "",
) -> Any:
    from .runtimes import Settings
    from .runtimes._runner import cores_of

    try:
        chosen = tuple(sorted(cores_of(cores))) if cores else ()
    except ValueError:
        raise InputError(f"Expected cores such as 0,2-3. Got: {cores!r}.") from None
    return Settings(threads, chosen, tuple(delegates or ()), xnnpack, tuple(providers or ()), unit, precision)


def _share(text: str, option: str) -> float:
    """Return a share that an option gives, such as 5% or 0.05."""
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10:
        raise InputError(f"Expected a share for {option}, such as 5% or 0.05. Got: {text!r}.")
    return value


COMMANDS = (measure, compare, profile)
