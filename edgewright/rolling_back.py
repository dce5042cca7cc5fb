"""Going back: the previous version of a model on a device, current again once it answered its golden inputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import serving
from .deploying import Clock, Deployed
from .devices import _deployment as deployment
from .devices._found import Found
from .devices._lease import Lease
from .devices._links import Link
from .devices._on_device import OnDevice
from .devices._registered import Registered
from .errors import GateFailed, InputError
from .export import Bundle
from .export._bundle import GOLDEN, HOST, SETTINGS, artifact_at
from .golden_there import Golden, judged, run_golden
from .held import temporary_folder
from .progress import Event, OnProgress, part
from .reaching import reached
from .runtimes._place import RUNNER

# Where a version's files are said to be on this host, where they are on a device alone.
_ELSEWHERE = Path("/deployed")


def roll_back(
    device: str, model: str | None = None, *, wait_s: float = 0, on_progress: OnProgress | None = None
) -> Deployed:
    """Make the previous version of a model on a device current, once it answered its golden inputs there.

    Args:
        device: a registered device's name.
        model: which; the only one by default.
        wait_s: how long to wait where somebody else uses the device, in seconds.
        on_progress: told what is being done.

    Raises:
        InputError: there is no such device or model, or no previous version.
        GateFailed: the previous version does not run there any more; the current one stays.
        DeviceBusy, DeviceError: see ``deploy``.
    """
    report = part(on_progress, 0, 1)
    clock = Clock()
    with reached(device, f"roll {model or 'a model'} back", wait_s) as on:
        registered, link, held, found = on.registered, on.link, on.held, on.found
        clock.tell("connect")
        name = _model_there(found, device, model)
        links = found.models[name]
        if "previous" not in links:
            raise InputError(f"Expected a previous version of {name} on {device}. Got: only the current one.")
        about = links["previous"]
        folder = f"{held.folder}/models/{name}"
        if not deployment.is_whole(link, f"{folder}/previous"):
            raise GateFailed(
                f"Expected the files of {name} {about['version']} on {device} as they were deployed. Got: others; "
                "the current version stays."
            )
        report(Event("run", (name, about["version"], "on", device), 0.3))
        golden = _golden_there(link, held, found, registered, f"{folder}/previous", about)
        clock.tell("golden inputs")
        deployment.roll_back(link, folder, held)
        served = serving.follow(link, folder, about["version"], lambda: deployment.roll_back(link, folder, held))
        clock.tell("switch")
        return Deployed(
            device=device,
            model=name,
            version=about["version"],
            artifact=about["artifact"],
            runtime=about["runtime"],
            runtime_version=about["runtime_version"],
            folder=f"{folder}/current",
            size_bytes=0,
            golden=golden,
            before=links["current"].get("version"),
            why="the previous version",
            emulated=found.emulated,
            served=served,
            seconds=clock.seconds,
        )


def _golden_there(
    link: Link, held: Lease, found: Found, registered: Registered, folder: str, about: Mapping[str, Any]
) -> Golden:
    """Run a version that lies on the device alone on the golden inputs that lie beside it."""
    try:
        local = Bundle(_ELSEWHERE, tuple(artifact_at(each, _ELSEWHERE) for each in about["artifacts"]), {**about})
        (deployable,) = local.deployables
        named = [HOST, SETTINGS] if deployable.host else []
        paths = [path for each in deployable.artifacts for path in (each.path, *(path for path, _ in each.companions))]
        there = {path: f"{folder}/{path.relative_to(_ELSEWHERE)}" for path in paths}
        there |= {_ELSEWHERE / each: f"{folder}/{each}" for each in named} | {RUNNER: f"{folder}/runner.py"}
        wanted = (about["python"], about["python_path"])
        python = next(each for each in found.pythons if (each.command, each.path) == wanted)
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise GateFailed(
            f"Expected a version on {registered.name} that tells how it is run. Got: {type(error).__name__}: {error}."
        ) from error
    with temporary_folder("golden") as temporary:
        copy = temporary / GOLDEN
        copy.write_bytes(link.read(f"{folder}/{GOLDEN}"))
        inputs, expected = Bundle(temporary, (), {}).golden()
    place = OnDevice(link, held, python, registered.name, found.emulated, there)
    run = run_golden(deployable, about["runtime"], inputs, place)
    return judged(run, None, expected, f"{about['artifact']} on {registered.name}", None)


def _model_there(found: Found, device: str, model: str | None) -> str:
    if model is not None and model in found.models:
        return model
    known = ", ".join(found.models) or "none"
    if model is not None or len(found.models) != 1:
        asked = f"{model!r}" if model is not None else f"no name, and {len(found.models)} of them"
        raise InputError(f"Expected a model that is deployed on {device}: {known}. Got: {asked}.")
    return next(iter(found.models))
