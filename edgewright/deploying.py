"""Deploying: a bundle's artifact on a device, current once it answered the golden inputs there; and back again."""

import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import devices, serving
from .checks import GARBAGE_PERCENT, agreement, answers_fit
from .choosing import Choice, choose
from .devices import _deployment as deployment
from .devices import _registered
from .devices._found import Found, look
from .devices._lease import Lease, lease
from .devices._links import Link
from .devices._on_device import OnDevice
from .devices._python import Python
from .devices._registered import Registered
from .devices._runtime_there import provide
from .emulation import largest_difference
from .errors import DeviceError, GateFailed, InputError
from .export import Bundle, Deployable, load_bundle
from .export._bundle import GOLDEN, HOST, SETTINGS, artifact_at, plain_artifact
from .progress import Event, OnProgress, part
from .registering import open_link
from .runtimes import Run, run_artifact
from .runtimes._client import RUNNER

_SCHEMA = 1
_TIME_LIMIT_S = 300.0
# Beyond the files themselves: the archive's padding, the file system's blocks, what the golden run writes.
_ROOM_BYTES = 2 << 20
# So many points less than this host's run of the same file may agree with them: one of 16 golden samples is 6.25.
_POINTS = 10.0
# Where a version's files are said to be on this host, where they are on a device alone.
_ELSEWHERE = Path("/deployed")


@dataclass(frozen=True)
class Golden:
    """What the device answered to the golden inputs.

    Attributes:
        samples: how many.
        agreement_percent: with the golden outputs, which are Keras' (see ``agreement_percent``).
        difference: the largest difference from what this host computes with the same file and runtime, as a share of
            the largest value; 0 where all is the same to the bit. None where this host did not run it.
        version_here: of the runtime on this host; None where it did not run it.
    """

    samples: int
    agreement_percent: float
    difference: float | None
    version_here: str | None

    @property
    def bit_exact(self) -> bool | None:
        """Whether the device's answers are this host's to the bit; None where this host did not run it."""
        return None if self.difference is None else self.difference == 0


@dataclass(frozen=True)
class Deployed:
    """What was deployed, or found deployed already.

    Attributes:
        device, model: names.
        version: its ID.
        artifact: its format and precision.
        runtime, runtime_version: what runs it there.
        folder: where it lies on the device: models/NAME/current.
        size_bytes: what was copied; 0 where the version was there already.
        golden: what it answered there.
        before: the ID of the version that was current before; None where there was none.
        why: why this artifact.
        emulated: whether the device is emulated.
        served: whether its service runs this version now.
        seconds: what it took by step.
    """

    device: str
    model: str
    version: str
    artifact: str
    runtime: str
    runtime_version: str
    folder: str
    size_bytes: int
    golden: Golden
    before: str | None
    why: str
    emulated: bool
    served: bool
    seconds: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "bit_exact": self.golden.bit_exact}


def deploy(
    bundle: Bundle | str | Path,
    device: str,
    *,
    model: str | None = None,
    artifact: str | None = None,
    runtime: str | None = None,
    install_runtime: bool = False,
    wait_s: float = 0,
    on_progress: OnProgress | None = None,
) -> Deployed:
    """Put a bundle's artifact onto a registered device and make it current, once it answered the golden inputs there.

    Args:
        bundle: the bundle or its folder.
        device: a registered device's name.
        model: what it is called there; the bundle's own name by default.
        artifact: such as "tflite int8"; by default the one that is predicted to be fastest there.
        runtime: that runs it there; by default the one that the profile names, else another that is there.
        install_runtime: where the device has no runtime for it, fetch its wheels here and carry them there.
        wait_s: how long to wait where somebody else uses the device, in seconds.
        on_progress: told what is being done.

    Raises:
        InputError: no such bundle, artifact or device; a changed file; the device is another machine than registered.
        GateFailed: the bundle has nothing for the device, or what it has computes something else there.
        MissingRequirement: the device lacks Python, the runtime, or room.
        DeviceBusy: somebody else uses the device.
        DeviceError: it cannot be reached, or the line was cut; the version before is current still.
    """
    report = part(on_progress, 0, 1)
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle))
    registered = _registered.get(device)
    profile = devices.get(registered.profile)
    name = model_name(model or str(bundle.manifest["model"]))
    clock = _Clock()
    report(Event("connect", (device,)))
    with opened(registered, f"deploy {name}", wait_s) as (link, held, found):
        clock.tell("connect")
        report(Event("choose", (device,), 0.2))
        choice = choose(bundle, profile, found, device, artifact=artifact, runtime=runtime, install=install_runtime)
        if choice.python is None:
            report(Event("install", (choice.runtime.title, "on", device), 0.25))
            choice = replace(choice, python=provide(link, found.pythons[0], choice.runtime))
        clock.tell("choose")
        report(Event("copy", (choice.deployable.name, "to", device), 0.4))
        return _put(link, held, found, registered, bundle, name, choice, clock, report)


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
    registered = _registered.get(device)
    clock = _Clock()
    with opened(registered, f"roll {model or 'a model'} back", wait_s) as (link, held, found):
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
        served = serving.follow(link, folder, about["version"])
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


@contextmanager
def opened(registered: Registered, why: str, wait_s: float = 0) -> Iterator[tuple[Link, Lease, Found]]:
    """Reach a registered device, hold its lease while the block runs, and look what it has."""
    with open_link(registered.name) as link, lease(link, why, wait_s=wait_s) as held:
        yield link, held, look(link, registered.python)


def model_name(name: str) -> str:
    """Return a model's name as its folder on a device is called: letters, digits, and . _ -."""
    made = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in name).strip(".-")
    if not made:
        raise InputError(f"Expected a name with letters or digits for the model on the device. Got: {name!r}.")
    return made


def _put(
    link: Link,
    held: Lease,
    found: Found,
    registered: Registered,
    bundle: Bundle,
    name: str,
    choice: Choice,
    clock: "_Clock",
    report: OnProgress,
) -> Deployed:
    assert choice.python is not None
    files = _files(bundle, choice.deployable)
    version, _ = deployment.version_of(files)
    folder = f"{held.folder}/models/{name}"
    links = found.models.get(name, {})
    before = links.get("current", {}).get("version")
    size = sum(path.stat().st_size for path in files.values())
    part_name = f".part-{secrets.token_hex(4)}"
    about = _about(registered, bundle, name, version, choice)
    same = links.get("current", {}).get("content") == about["content"] and deployment.is_whole(
        link, f"{folder}/current"
    )
    place_there = f"{folder}/current" if same else f"{folder}/versions/{part_name}"
    with tempfile.TemporaryDirectory(prefix="edgewright-deploy-") as temporary, ThreadPoolExecutor(1) as pool:
        inputs, expected = bundle.golden()
        here = pool.submit(run_artifact, choice.deployable, choice.runtime.name, inputs, time_limit_s=_TIME_LIMIT_S)
        if not same:
            # The archive, and beside it what is unpacked.
            if found.free_bytes < size + _ROOM_BYTES:
                raise DeviceError(
                    f"Expected {size + _ROOM_BYTES:,} free bytes in {held.folder} on {link.title}. "
                    f"Got: {found.free_bytes:,}; nothing was copied."
                )
            packed = Path(temporary) / "version.tar"
            texts = {deployment.ABOUT: json.dumps(about, indent=1), serving.SCRIPT: serving.script(name, about)}
            deployment.send_version(link, folder, part_name, files, texts, packed)
        clock.tell("copy")
        report(Event("run", (choice.deployable.name, "on", registered.name), 0.7))
        served = False
        try:
            there = {path: f"{place_there}/{name_there}" for name_there, path in files.items()}
            place = OnDevice(link, held, choice.python, registered.name, found.emulated, there)
            run = run_artifact(choice.deployable, choice.runtime.name, inputs, place=place, time_limit_s=_TIME_LIMIT_S)
            place.remove()
            golden = _judged(run, here.result(), expected, f"{choice.deployable.name} on {registered.name}", before)
            clock.tell("golden inputs")
            if not same:
                deployment.switch(link, folder, part_name, version, held)
                served = serving.follow(link, folder, version)
        except GateFailed:
            if not same:
                deployment.remove_part(link, folder, part_name)
            raise
    clock.tell("switch")
    return Deployed(
        device=registered.name,
        model=name,
        version=version,
        artifact=choice.deployable.name,
        runtime=choice.runtime.name,
        runtime_version=choice.version or "",
        folder=f"{folder}/current",
        size_bytes=0 if same else size,
        golden=golden,
        before=before,
        why="it is current there already" if same else choice.why,
        emulated=found.emulated,
        served=served,
        seconds=clock.seconds,
    )


def _files(bundle: Bundle, deployable: Deployable) -> dict[str, Path]:
    """Return what goes to the device, by its path in the version's folder there."""
    paths = [path for each in deployable.artifacts for path in (each.path, *(path for path, _ in each.companions))]
    files = {path.relative_to(bundle.path).as_posix(): path for path in paths}
    files[GOLDEN] = bundle.path / GOLDEN
    if deployable.host:
        files |= {HOST: deployable.host.path, SETTINGS: deployable.host.settings}
    return {**files, "runner.py": RUNNER, "service.py": serving.SERVICE}


def _about(registered: Registered, bundle: Bundle, name: str, version: str, choice: Choice) -> dict[str, Any]:
    """Return deployed.json: what the version is, and how it is run there."""
    assert choice.python is not None
    python: Python = choice.python
    return {
        "schema": _SCHEMA,
        "model": name,
        "version": version,
        "artifact": choice.deployable.name,
        "runtime": choice.runtime.name,
        "runtime_version": choice.version,
        "threads": choice.threads,
        "python": python.command,
        "python_path": python.path,
        # What has to be the same for a version to be the same.
        "content": f"{version} {choice.runtime.name} {choice.version} {choice.threads} {python.command} {python.path}",
        "artifacts": [plain_artifact(each, "artifacts/") for each in choice.deployable.artifacts],
        "deployment": bundle.manifest["deployment"],
        "profile": registered.profile,
    }


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
    with tempfile.TemporaryDirectory(prefix="edgewright-golden-") as temporary:
        copy = Path(temporary) / GOLDEN
        copy.write_bytes(link.read(f"{folder}/{GOLDEN}"))
        inputs, expected = Bundle(Path(temporary), (), {}).golden()
    place = OnDevice(link, held, python, registered.name, found.emulated, there)
    run = run_artifact(deployable, about["runtime"], inputs, place=place, time_limit_s=_TIME_LIMIT_S)
    place.remove()
    return _judged(run, None, expected, f"{about['artifact']} on {registered.name}", None)


def _judged(run: Run, here: Run | None, expected: Mapping[str, np.ndarray], what: str, before: str | None) -> Golden:
    """Return what golden inputs showed.

    Raises:
        GateFailed: it did not run there, or computed something else.
    """
    stays = f"version {before} is current still" if before else "nothing is current there"
    if not run.ok:
        raise GateFailed(f"Expected {what} to run on the golden inputs. Got: {run.reason}; {stays}.")
    samples = len(next(iter(expected.values())))
    if wrong := answers_fit(run.outputs, expected, samples):
        raise GateFailed(f"Expected {what} to answer the golden inputs. Got: {wrong}; {stays}.")
    agrees = agreement(expected, run.outputs)
    compared = here if here is not None and here.ok else None
    least = GARBAGE_PERCENT
    if compared:
        least = max(least, agreement(expected, compared.outputs) - _POINTS)
    if agrees < least:
        raise GateFailed(
            f"Expected {what} to agree with the golden outputs to {least:.4g} % or more. Got: {agrees:.4g} %; {stays}."
        )
    difference = largest_difference(compared.outputs, run.outputs) if compared else None
    return Golden(samples, agrees, difference, compared.runtime_version if compared else None)


def _model_there(found: Found, device: str, model: str | None) -> str:
    if model is not None and model in found.models:
        return model
    known = ", ".join(found.models) or "none"
    if model is not None or len(found.models) != 1:
        asked = f"{model!r}" if model is not None else f"no name, and {len(found.models)} of them"
        raise InputError(f"Expected a model that is deployed on {device}: {known}. Got: {asked}.")
    return next(iter(found.models))


class _Clock:
    """How long each step took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def tell(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now
