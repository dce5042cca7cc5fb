"""The commands that measure, here and on devices: measure, compare, profile."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import (
    Cores,
    Data,
    Delegates,
    Files,
    Json,
    Precision,
    Providers,
    Quiet,
    Threads,
    Unit,
    Wait,
    end,
    share_of,
)
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
    on: Annotated[str | None, typer.Option(help="A registered device to measure on, instead of this host.")] = None,
    wait: Wait = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure ARTIFACT in the runtimes of this host or device: latency and interval, load, first inference, memory."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .measuring import measure as measure_files
        from .measuring_text import measurements_text

        if on is None:
            _refuse({"--wait": wait or None}, "without --on")
        settings = _settings(threads, cores, delegate, xnnpack, provider, unit, precision)
        asked: dict[str, Any] = {"settings": settings, "processes": processes, "max_latency_ms": max_latency_ms}
        with shown(quiet) as on_progress:
            if on is None:
                made = measure_files(artifact, only, runtime, data, **asked, on_progress=on_progress)
            else:
                from .measuring_there import measure_there

                made = measure_there(artifact, on, only, runtime, data, **asked, wait_s=wait, on_progress=on_progress)
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
    device: Annotated[
        str | None, typer.Argument(metavar="DEVICE", help="A registered device, to measure all of a bundle on it.")
    ] = None,
    artifact: Annotated[
        str | None, typer.Option(help="Such as 'tflite int8'; here the bundle's first by default, on a device all.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="That runs it; here the first that takes it by default, on a device all.")
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(help="Of the runtime: here 1; on a device such as 1,2,4, by default 1, half and all."),
    ] = None,
    data: Data = None,
    picture: Annotated[
        Path | None, typer.Option(help="Here: an SVG file to write: layers and operations, wide as time.")
    ] = None,
    runs: Annotated[int | None, typer.Option(help="Here: answers to take means over, at most; 200 by default.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="On a device: fresh processes for each row; 5 by default.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="On a device: take rows again that were kept.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="On a device: then fit its prediction to all that was measured on it.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="On a device: a .json file to write too.")] = None,
    wait: Wait = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell where an inference's time goes here, by operation; or measure all of BUNDLE on a DEVICE, in all ways."""

    def work() -> tuple[dict[str, Any], int, Any]:
        if device is None:
            there = {"--processes": processes, "--again": again or None, "--calibrate": calibrate or None}
            _refuse({**there, "--out": out, "--wait": wait or None}, "without a device")
            return _profiled_here(source, artifact, runtime, threads, data, picture, runs)
        _refuse({"--data": data, "--picture": picture, "--runs": runs}, "where a device is profiled")
        options = {"again": again, "calibrate": calibrate, "wait_s": wait}
        options |= {} if processes is None else {"processes": processes}
        return _profiled_there(source, device, artifact, runtime, threads, out, quiet, options)

    end("profile", json_, work, keeps_stages=device is not None)


def _profiled_here(
    source: Path,
    artifact: str | None,
    runtime: str | None,
    threads: str | None,
    data: Path | None,
    picture: Path | None,
    runs: int | None,
) -> tuple[dict[str, Any], int, Any]:
    """Return where an inference's time goes on this host, after writing the picture of it."""
    from .files import write_text
    from .flame import check_picture, flame_svg
    from .profile_text import profile_text
    from .profiling import profile_operations

    if picture is not None:
        check_picture(picture)
    counts = _counts(threads) or (1,)
    if len(counts) > 1:
        raise InputError(f"Expected one number of threads without a device. Got: {threads}.")
    found = profile_operations(
        source, runtime, data, name=artifact, threads=counts[0], runs=200 if runs is None else runs
    )
    if picture is not None:
        write_text(picture, flame_svg(found))
        print(f"wrote {picture}", file=sys.stderr)
    return found.plain(), 0, profile_text(found)


def _profiled_there(
    source: Path,
    device: str,
    artifact: str | None,
    runtime: str | None,
    threads: str | None,
    out: Path | None,
    quiet: bool,
    options: dict[str, Any],
) -> tuple[dict[str, Any], int, Any]:
    """Return what a sweep on a device measured, after writing it."""
    from .files import check_parent, write_json
    from .sweep_text import sweep_text
    from .sweeping import sweep

    if out is not None:
        check_parent(out)
    counts = _counts(threads)
    with shown(quiet) as report:
        made = sweep(source, device, artifact=artifact, runtime=runtime, threads=counts, on_progress=report, **options)
    if out is not None:
        write_json(out, made.plain())
        print(f"wrote {out}", file=sys.stderr)
    return made.plain(), made.exit_code, sweep_text(made)


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
        chosen = ()
    if cores and not chosen:
        raise InputError(f"Expected cores such as 0,2-3. Got: {cores!r}.")
    return Settings(threads, chosen, tuple(delegates or ()), xnnpack, tuple(providers or ()), unit, precision)


def _refuse(options: dict[str, Any], where: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"Expected none of {', '.join(options)} {where}. Got: {', '.join(given)}.")


def _counts(text: str | None) -> tuple[int, ...]:
    """Return the numbers of threads that an option gives, such as 1,2,4; none where it is not given."""
    try:
        counts = tuple(int(each) for each in text.split(",")) if text else ()
    except ValueError:
        counts = (0,)
    if min(counts, default=1) < 1:
        raise InputError(f"Expected threads such as 2 or 1,2,4. Got: {text!r}.")
    return counts


COMMANDS = (measure, compare, profile)
