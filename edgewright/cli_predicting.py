"""The commands that predict without hardware, and fit the prediction to measurements of one's own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Files, Json, end
from .errors import InputError


def predict(
    artifact: Files,
    device: Annotated[
        str, typer.Option(help="A device profile or a .toml file of one, either with @MODE; or a registered device.")
    ],
    runtime: Annotated[str | None, typer.Option(help="One of the device's, such as LiteRT.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the runtime; the profile's own by default.")] = None,
    operations: Annotated[int, typer.Option(help="How many of the costliest operations to list.")] = 10,
    json_: Json = False,
) -> None:
    """Predict what ARTIFACT takes on a device: latency with its 90 % interval, memory, energy, costliest operations."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .predicting import predict as predict_files
        from .prediction_text import prediction_text

        found = predict_files(artifact, device, runtime=runtime, threads=threads, costliest=operations)
        text = "\n\n".join(prediction_text(each) for each in found)
        return {"predictions": [each.plain() for each in found]}, 0, text

    end("predict", json_, work)


def devices_calibrate(
    device: Annotated[
        str, typer.Argument(help="The profile to start from: a name, or a .toml file; or a registered device.")
    ],
    measurements: Annotated[
        list[Path] | None,
        typer.Argument(
            help="CSV tables with the columns file, latency_ms, threads, runtime; or measure's JSON. Without any, what "
            "was measured on the registered device, which has the new profile from then on."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The .toml file to write; without, only what would come of it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new profile; by default the file's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    json_: Json = False,
) -> None:
    """Fit the prediction for DEVICE to your own measurements, and write it as a profile of yours."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .calibrating import calibrate, calibrated_text

        if not measurements:
            from .recalibrating import recalibrate, recalibrated_text

            if out is not None or name is not None:
                raise InputError(f"Expected tables of measurements to write a profile of. Got: none, for {device}.")
            done = recalibrate(device)
            return done.plain(), 0, recalibrated_text(done)
        made = calibrate(device, measurements, out, name=name, force=force)
        return made.plain(), 0, calibrated_text(made, out)

    end("devices calibrate", json_, work)
