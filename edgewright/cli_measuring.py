"""The commands that measure on this host: measure, compare, profile."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Cores, Data, Delegates, Files, Json, Precision, Providers, Quiet, Threads, Unit, end, share_of
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
                max_regression=None if max_regression is None else share_of(max_regression, "--max-regression"),
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


COMMANDS = (measure, compare, profile)
