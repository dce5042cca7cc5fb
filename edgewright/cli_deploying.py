"""The commands that deploy to registered devices, go back, tell what is there, and end a lease."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Json, Quiet, Wait, end
from .progress import shown

Device = Annotated[str, typer.Argument(metavar="NAME", help="A registered device.")]


def deploy(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Registered devices; canaries first.")],
    artifact: Annotated[
        str | None, typer.Option(help="Such as 'tflite int8'; by default the one predicted to be fastest there.")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="That runs it there; by default one that is there.")] = None,
    model: Annotated[str | None, typer.Option("--as", help="What it is called there; the bundle's own name.")] = None,
    install_runtime: Annotated[
        bool,
        typer.Option("--install-runtime", help="Where the runtime lacks there: fetch its wheels here and carry them."),
    ] = False,
    canaries: Annotated[int, typer.Option(help="Devices that have to be deployed before any other begins.")] = 1,
    at_once: Annotated[int, typer.Option(help="Devices at a time, after the canaries.")] = 4,
    wait: Wait = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put a bundle's artifact onto devices: checked there on the golden inputs before it becomes current."""

    def work() -> tuple[dict[str, Any], int, Any]:
        options: dict[str, Any] = {"model": model, "artifact": artifact, "runtime": runtime, "wait_s": wait}
        options["install_runtime"] = install_runtime
        # NumPy compares a few answers here: threads of its own would only wait for work, and actively.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if len(names) == 1:
            from .reaching import reaching

            why = f"deploy {model or bundle.name}"
            with reaching(names[0], why, wait) as there, shown(quiet) as on_progress:
                # Imported while the device answers.
                from .deploying import deploy as deploy_there

                made = deploy_there(bundle, names[0], there=there, on_progress=on_progress, **options)
            from .deploying_text import deployed_text

            return made.plain(), 0, deployed_text(made)
        from .deploying_text import fleet_text
        from .fleet import deploy_fleet

        with shown(quiet) as on_progress:
            fleet = deploy_fleet(bundle, names, canaries=canaries, at_once=at_once, on_progress=on_progress, **options)
        return fleet.plain(), fleet.exit_code, fleet_text(fleet)

    end("deploy", json_, work)


def rollback(
    name: Device,
    model: Annotated[str | None, typer.Argument(help="A deployed model; the only one by default.")] = None,
    wait: Wait = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the previous version of a model on a device current again, once it answered its golden inputs there."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .deploying_text import deployed_text
        from .rolling_back import roll_back

        with shown(quiet) as on_progress:
            made = roll_back(name, model, wait_s=wait, on_progress=on_progress)
        return made.plain(), 0, deployed_text(made)

    end("rollback", json_, work)


def status(name: Device, json_: Json = False) -> None:
    """Tell what is deployed on a device, whether its files are whole, what it has, and who uses it."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .deploying_text import status_text
        from .device_status import device_status

        made = device_status(name)
        return made.plain(), made.exit_code, status_text(made)

    end("status", json_, work)


def devices_release(name: Device, json_: Json = False) -> None:
    """End the lease on a device whose holder is gone; what ran under it there is ended too."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from dataclasses import asdict

        from .deploying_text import holder_text
        from .devices._lease import release
        from .registering import open_link

        with open_link(name) as link:
            ended = release(link)
        text = f"{name}: ended: {holder_text(ended)}" if ended else f"{name}: nobody used it"
        return {"device": name, "ended": ended and asdict(ended)}, 0, text

    end("devices release", json_, work)


COMMANDS = (deploy, rollback, status)

service = typer.Typer(help="Deployed models that stay loaded on a device.", no_args_is_help=True)
Deployed = Annotated[str, typer.Argument(metavar="MODEL", help="A model that is deployed there.")]


@service.command("start")
def service_start(
    name: Device,
    model: Deployed,
    systemd: Annotated[bool, typer.Option("--systemd", help="As a unit of the user's systemd there.")] = False,
    wait: Wait = 0,
    json_: Json = False,
) -> None:
    """Start a model's service and wait until it answers; deploys and rollbacks carry it along."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .serving import service_text, start

        made = start(name, model, systemd=systemd, wait_s=wait)
        return made.plain(), 0, service_text(made)

    end("service start", json_, work)


@service.command("stop")
def service_stop(name: Device, model: Deployed, wait: Wait = 0, json_: Json = False) -> None:
    """Stop a model's service, after what it is at."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .serving import service_text, stop

        made = stop(name, model, wait_s=wait)
        return made.plain(), 0, service_text(made)

    end("service stop", json_, work)


@service.command("status")
def service_status(name: Device, model: Deployed, json_: Json = False) -> None:
    """Tell whether a model's service runs, and with which version; exit code 1 where it does not."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .serving import service_text, state

        made = state(name, model)
        return made.plain(), 0 if made.running else 1, service_text(made)

    end("service status", json_, work)
