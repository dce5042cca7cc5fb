"""What all commands of the command line share: their common options, and how a command ends."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .errors import EdgewrightError, InputError, MissingRequirement
from .files import NO_ROOM
from .interrupting import obeyed

SCHEMA = "edgewright/1"
# The exit code of an exception that nobody thought of: EX_SOFTWARE of sysexits.h, so that no gate seems to have failed.
BUG = 70
INTERRUPTED = 130
_NOBODY_READS = 128 + 13  # what a shell says of a program that SIGPIPE ended

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; logs go to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Model = Annotated[
    Path, typer.Argument(help="A .keras file, a SavedModel folder, a .h5 or .hdf5; or a float .onnx or .tflite.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="An .npz, or a folder of .npy, with an array for each model input, by its name, and optionally 'labels'."
    ),
]
Recipe = Annotated[str, typer.Option(help="The name of a shipped recipe, or a TOML file.")]
Out = Annotated[Path, typer.Option(help="The folder to write.")]
Formats = Annotated[list[str] | None, typer.Option("--format", help="A format; repeat for several. All by default.")]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="A device profile or a .toml file of one, either with @MODE for a power mode; or a registered device; "
        "repeat. By default coral-dev-board, jetson-orin-nano and raspberry-pi-4b.",
    ),
]
Allow = Annotated[
    list[str] | None, typer.Option(help="A class that the model file may hold although it runs code; repeat.")
]
About = Annotated[
    Path | None, typer.Option(help="A TOML file that tells of the model: its version, licence, inputs and outputs.")
]
Files = Annotated[Path, typer.Argument(help="A bundle's folder, or a .tflite, .onnx or OpenVINO .xml file.")]
Threads = Annotated[int, typer.Option(help="Of the runtime.")]
Cores = Annotated[str | None, typer.Option(help="Run on these alone, such as 0,2-3.")]
Delegates = Annotated[
    list[str] | None, typer.Option(help="TFLite: a delegate's shared library, PATH or PATH,KEY=VALUE,...; repeat.")
]
Providers = Annotated[
    list[str] | None, typer.Option(help="ONNX Runtime: an execution provider, such as cuda; repeat in order.")
]
Unit = Annotated[str, typer.Option(help="OpenVINO: CPU, GPU or NPU.")]
Precision = Annotated[str, typer.Option(help="OpenVINO: infer in f32, f16 or bf16.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait where somebody else uses the device.")]
Seed = Annotated[int, typer.Option(help="Of everything random: from 0 to 4294967295.")]


def end(
    command: str, as_json: bool, work: Callable[[], tuple[dict[str, Any], int, Any]], *, keeps_stages: bool = False
) -> NoReturn:
    """Run a command, print its result or its error, and leave with its exit code.

    Ctrl-C and SIGTERM end whatever it does (see ``obeyed``). ``keeps_stages`` tells that a command that was interrupted
    goes on from what it had finished.
    """
    try:
        with obeyed(), _room():
            result, code, text = work()
        document = _document(command, code, result=result)
    except EdgewrightError as error:
        code, text = error.exit_code, None
        document = _error_document(command, code, error)
        print(f"edgewright {command}: {error}", file=sys.stderr)
    except Exception as error:  # whatever nobody thought of: no verdict, and no fault of the user's
        code, text = BUG, None
        document = _error_document(command, code, error)
        traceback.print_exc()
        print(
            f"edgewright {command}: this is a bug of edgewright, not a verdict on your model: please report it with "
            "the lines above.",
            file=sys.stderr,
        )
    except KeyboardInterrupt as error:
        code, text = INTERRUPTED, None
        document = _error_document(command, code, error)
        kept = "; finished stages are kept for the next run" if keeps_stages else ""
        print(f"edgewright {command}: interrupted{kept}", file=sys.stderr)
    written(lambda: print(document) if as_json else None if text is None else _print(text))
    raise SystemExit(code)


@contextmanager
def _room() -> Iterator[None]:
    """Raise MissingRequirement where whatever a command writes finds a full or read-only disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f" for {error.filename}" if error.filename else ""
        raise MissingRequirement(f"Expected room and the right to write{where}. Got: {error.strerror}.") from error


def end_usage(ending: SystemExit) -> NoReturn:
    """Leave as the parser of the command line would, with a document where one was asked for."""
    asked = sys.argv[1:]
    error = ending.__context__
    if isinstance(error, BrokenPipeError):
        raise SystemExit(_NOBODY_READS) from None
    if ending.code == InputError.exit_code and "--json" in asked and error is not None:
        command = next((word for word in asked if not word.startswith("-")), "")
        told = getattr(error, "format_message", lambda: str(error))()
        written(lambda: print(_error_document(command, InputError.exit_code, InputError(told))))
    raise ending


def written(write: Callable[[], None]) -> None:
    """Write to stdout to the end; where nobody reads on, end as a signal would, where it cannot be written, with 3."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again at its end
        if error.errno != errno.EPIPE:
            print(f"edgewright: could not write the output: {error.strerror}", file=sys.stderr)
        raise SystemExit(_NOBODY_READS if error.errno == errno.EPIPE else MissingRequirement.exit_code) from None


def _document(command: str, code: int, **more: Any) -> str:
    document = {"schema": SCHEMA, "command": command, "exit_code": code, **more}
    return json.dumps(document, indent=1, allow_nan=False)


def _error_document(command: str, code: int, error: BaseException) -> str:
    message = str(error) or ("interrupted" if code == INTERRUPTED else "")
    return _document(command, code, error={"type": type(error).__name__, "message": message})


def share_of(text: str, option: str) -> float:
    """Return a share that an option gives, such as 5% or 0.05."""
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10:
        raise InputError(f"Expected a share for {option}, such as 5% or 0.05. Got: {text!r}.")
    return value


def _print(text: Any) -> None:
    """Print plain text or a table; where there is no terminal a table is as wide as it needs to be."""
    if isinstance(text, str):
        print(text)
        return
    from rich.console import Console

    # Names and reasons come from files and runtimes: [16] in them is no markup, nor is :x: a picture.
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False).print(text)
