"""Deploying: a bundle's artifact on a device, current once it answered the golden inputs there."""

import json
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from . import serving
from .choosing import Choice, choose
from .device_names import registered_profile
from .devices import _deployment as deployment
from .devices._lease import PART
from .devices._on_device import OnDevice
from .devices._python import Python
from .devices._registered import Registered
from .errors import DeviceError, InputError
from .export import Bundle, Deployable, load_bundle
from .export._bundle import GOLDEN, HOST, SETTINGS, plain_artifact
from .golden_there import Golden, judged, run_golden
from .held import temporary_folder
from .progress import Event, OnProgress, part
from .reaching import Reached, reached
from .runtimes._place import RUNNER

_SCHEMA = 1
# Beyond the files themselves: the archive's padding, the file system's blocks, what the golden run writes.
_ROOM_BYTES = 2 << 20
# What is smaller is sent at once, and nothing told of it.
_MB = 1_000_000


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
        note: what it does not use there and what to do for that, as a sentence; empty where there is nothing to say.
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
    note: str = ""

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
    there: Future[Reached] | None = None,
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
        there: the device, where it is being reached already (see ``reaching``).
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
    profile = registered_profile(device)
    name = model_name(model or str(bundle.manifest["model"]))
    clock = Clock()
    report(Event("connect", (device,)))
    with ExitStack() as stack:
        on = there.result() if there else stack.enter_context(reached(device, f"deploy {name}", wait_s))
        clock.tell("connect")
        report(Event("choose", (device,), 0.2))
        choice = choose(bundle, profile, on.found, device, artifact=artifact, runtime=runtime, install=install_runtime)
        if choice.python is None:
            from .devices._runtime_there import provide

            report(Event("install", (choice.runtime.title, "on", device), 0.25))
            to_it = part(report, 0.25, 0.4)
            python = provide(
                on.link,
                on.found.pythons[0],
                choice.runtime,
                on_step=lambda text, share: to_it(Event("install", ("on", f"{device}:", text), share)),
            )
            choice = replace(choice, python=python)
        clock.tell("choose")
        report(Event("copy", (choice.deployable.name, "to", device), 0.4))
        return _put(on, bundle, name, choice, clock, report)


def model_name(name: str) -> str:
    """Return a model's name as its folder on a device is called: letters, digits, and . _ -."""
    made = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in name).strip(".-")
    if not made:
        raise InputError(f"Expected a name with letters or digits for the model on the device. Got: {name!r}.")
    return made


def _put(on: Reached, bundle: Bundle, name: str, choice: Choice, clock: "Clock", report: OnProgress) -> Deployed:
    assert choice.python is not None
    registered, link, held, found = on.registered, on.link, on.held, on.found
    files = _files(bundle, choice.deployable)
    version, sums = deployment.version_of(files)
    folder = f"{held.folder}/models/{name}"
    links = found.models.get(name, {})
    before = links.get("current", {}).get("version")
    size = sum(path.stat().st_size for path in files.values())
    part_name = f"{PART}{secrets.token_hex(4)}"
    about = _about(registered, bundle, name, version, choice)
    same = links.get("current", {}).get("content") == about["content"] and deployment.is_whole(
        link, f"{folder}/current"
    )
    place_there = f"{folder}/current" if same else f"{folder}/versions/{part_name}"
    with temporary_folder("deploy") as temporary, ThreadPoolExecutor(1) as pool:
        here = pool.submit(run_golden, choice.deployable, choice.runtime.name, files[GOLDEN])
        if not same:
            # The archive, and beside it what is unpacked.
            if found.free_bytes < size + _ROOM_BYTES:
                raise DeviceError(
                    f"Expected {size + _ROOM_BYTES:,} free bytes in {held.folder} on {link.title}. "
                    f"Got: {found.free_bytes:,}; nothing was copied."
                )
            packed = temporary / "version.tar"
            texts = {deployment.ABOUT: json.dumps(about, indent=1), serving.SCRIPT: serving.script(name, about)}
            copied = (choice.deployable.name, "to", f"{registered.name},")

            def sent(done: int, share: float) -> None:
                report(Event("copy", (*copied, f"{done / _MB:.1f} of {size / _MB:.1f} MB"), 0.4 + 0.3 * share))

            told = sent if size > _MB else None
            deployment.send_version(link, folder, part_name, files, sums, texts, packed, told)
        clock.tell("copy")
        report(Event("run", (choice.deployable.name, "on", registered.name), 0.7))
        there = {path: f"{place_there}/{name_there}" for name_there, path in files.items()}
        place = OnDevice(link, held, choice.python, registered.name, found.emulated, there)
        run = run_golden(choice.deployable, choice.runtime.name, files[GOLDEN], place)
        what, (_, expected) = f"{choice.deployable.name} on {registered.name}", bundle.golden()
        golden = judged(run, here.result(), expected, what, before)
        clock.tell("golden inputs")
        if not same:
            deployment.switch(link, folder, part_name, version, held)
        # Where an earlier deploy was killed after the switch, the service still answers with the version before.
        back = partial(deployment.switch_back, link, folder)
        served = serving.follow(link, folder, version, back, again=not same)
        # Of a service that died, too: it starts with what is current.
        deployment.keep(link, folder)
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
        note=choice.note,
    )


def _files(bundle: Bundle, deployable: Deployable) -> dict[str, Path]:
    """Return what goes to the device, by its path in the version's folder there."""
    paths = [path for each in deployable.artifacts for path in (each.path, *(path for path, _ in each.companions))]
    files = {path.relative_to(bundle.path).as_posix(): path for path in paths}
    files[GOLDEN] = bundle.path / GOLDEN
    if deployable.host:
        files |= {HOST: deployable.host.path, SETTINGS: deployable.host.settings}
    files |= {"runner.py": RUNNER, "service.py": serving.SERVICE}
    # As a run names them (see ``Place.run``): what is there already is not copied for it again.
    return {name: path.absolute() for name, path in files.items()}


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


class Clock:
    """How long each step took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def tell(self, step: str) -> None:
        """Count what has gone by since the last call, or the start, as that step's."""
        now = time.monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now
