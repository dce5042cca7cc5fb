"""The service of a deployed model: kept loaded there by a plain process or by systemd, and following deploys."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import devices
from .devices import _registered
from .devices._lease import check_wait, lease
from .devices._links import Link
from .devices._python import Python
from .devices._service_scripts import LOG, SOCKET, start_script, status_script, stop_script
from .devices._service_unit import unit_text
from .errors import DeviceError, GateFailed, InputError
from .export._bundle import HOST, SETTINGS
from .registering import open_link

SERVICE = Path(devices.__file__).parent / "_service.py"
# In each version's folder: what starts its service, run in the model's folder.
SCRIPT = "serve.sh"
# How long a service may take to load, and to finish what it is at, in seconds.
START_S, STOP_S = 120, 20
_SLACK_S = 30.0
# What the unit runs, in the model's folder: its log is that of the plain process.
_UNIT_COMMAND = ["/bin/sh", "-c", f"exec /bin/sh current/{SCRIPT} >> {LOG} 2>&1"]
# Where lingering is on, the user's systemd begins at boot, and goes on after the last login's end.
_LINGERS = 'loginctl show-user "$(id -un)" --property=Linger --value 2>/dev/null; true'
# Arguments: the unit's name. Prints "systemd" where the user's systemd runs one of that name.
_UNIT_RUNS = 'systemctl --user is-active --quiet "$1" 2>/dev/null && echo systemd; true'


@dataclass(frozen=True)
class Service:
    """The service of a model on a device.

    Attributes:
        device, model: names.
        running: whether it runs.
        socket: the UNIX socket that it answers at, on the device.
        by: "systemd" or "process"; empty where it does not run.
        version: of the model that it answers with; None where it does not run.
        died: whether it ended without having been stopped.
        lingers: whether systemd keeps it after the user's last login there, and starts it at boot; None where systemd
            does not run it, or does not tell.
        facts: what it says of itself: pid, since.
    """

    device: str
    model: str
    running: bool
    socket: str
    by: str
    version: str | None
    died: bool
    lingers: bool | None
    facts: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def script(model: str, about: Mapping[str, Any]) -> str:
    """Return the shell script that becomes the service of a version; run in the model's folder.

    Args:
        model: its name there.
        about: the version's deployed.json.
    """
    python = Python(about["python"], about["python_path"], "", "", "", {})
    command = [*python.arguments(), "current/service.py", "--runner", "current/runner.py", "--socket", SOCKET]
    command += ["--name", model, "--version", about["version"], "--runtime", about["runtime"]]
    command += ["--example", "current/golden.npz", "--threads", str(about["threads"])]
    hosted = about["deployment"]["host"]
    for each in about["artifacts"]:
        path = f"current/{each['path']}"
        command += ["--artifact", f"{each['graph']}={path}" if hosted else path]
    if hosted:
        command += ["--host", f"current/{HOST}", "--settings", f"current/{SETTINGS}"]
        command += ["--per", about["deployment"]["per"]] if about["deployment"]["per"] else []
    head = f"#!/bin/sh\n# Becomes the service of this version of {model}; run in the folder that holds current.\n"
    return f"{head}exec {shlex.join(command)}\n"


def start(device: str, model: str, *, systemd: bool = False, wait_s: float = 0) -> Service:
    """Start the service of a deployed model and wait until it answers; one that runs already is left alone.

    Args:
        device: a registered device.
        model: a model that is deployed there.
        systemd: as a unit of the user's systemd, which starts it again when it dies, and at boot where lingering is on.
        wait_s: how long to wait where somebody else uses the device, in seconds.

    Raises:
        InputError: there is no such device or model.
        GateFailed: it does not start; the last lines of its log are told.
        DeviceBusy, DeviceError: see ``deploy``; the device has no systemd of the user's.
    """
    _registered.get(device)
    check_wait(wait_s)
    with open_link(device) as link, lease(link, f"start {model}", wait_s=wait_s) as held:
        folder = _folder(link, held.folder, model, device)
        if systemd and not _unit_runs(link, model):
            _start_unit(link, folder, model)
        elif not systemd:
            _start(link, folder)
        return _service(link, device, folder, model)


def stop(device: str, model: str, *, wait_s: float = 0) -> Service:
    """Stop the service of a model after what it is at; one that does not run is no error.

    Raises:
        InputError: there is no such device or model.
        DeviceBusy, DeviceError: see ``deploy``.
    """
    _registered.get(device)
    check_wait(wait_s)
    with open_link(device) as link, lease(link, f"stop {model}", wait_s=wait_s) as held:
        folder = _folder(link, held.folder, model, device)
        if _unit_runs(link, model):
            _systemctl(link, "disable", "--now", _unit(model))
        _run(link, stop_script(), folder, str(STOP_S), time_limit_s=STOP_S + _SLACK_S)
        return _service(link, device, folder, model)


def state(device: str, model: str) -> Service:
    """Return whether the service of a model runs; nothing is changed there.

    Raises:
        InputError: there is no such device or model.
        DeviceError: it cannot be reached.
    """
    _registered.get(device)
    with open_link(device) as link:
        home = link.run(["sh", "-c", 'printf %s "$HOME/edgewright"']).stdout.decode("utf-8", "replace")
        return _service(link, device, _folder(link, home, model, device), model)


def follow(link: Link, folder: str, version: str, back: Callable[[], None], *, again: bool = True) -> bool:
    """Have a running service answer with the version that became current; return whether there is one.

    Where it does not start with it, the version before is made current again, and served.

    Args:
        link: an open link; the lease is held.
        folder: the model's there.
        version: that became current.
        back: makes current what was before.
        again: start a service again that answers with this version already, in another way perhaps.

    Raises:
        GateFailed: the service does not start with it.
    """
    facts = _run(link, status_script(), folder)
    if not facts["running"]:
        return False
    if facts.get("version") == version and not again:
        return True
    model = folder.rsplit("/", 1)[-1]
    by_systemd = _unit_runs(link, model)  # asked now: where a start fails, no unit is active
    try:
        _again(link, folder, model, by_systemd)
    except GateFailed as error:
        back()
        _again(link, folder, model, by_systemd)
        raise GateFailed(f"{error} The version before {version} is current and served again.") from error
    return True


def _again(link: Link, folder: str, model: str, by_systemd: bool) -> None:
    if by_systemd:
        _begin_unit(link, folder, model, "restart")
        return
    _run(link, stop_script(), folder, str(STOP_S), time_limit_s=STOP_S + _SLACK_S)
    _start(link, folder)


def _start(link: Link, folder: str) -> None:
    _run(link, start_script(), folder, str(START_S), "sh", f"current/{SCRIPT}", time_limit_s=START_S + _SLACK_S)


def _run(link: Link, script_text: str, *arguments: str, time_limit_s: float = 60) -> dict[str, Any]:
    answer = link.run(["sh", "-c", script_text, "sh", *arguments], time_limit_s=time_limit_s)
    if not answer.ok:
        told = " ".join(answer.stderr.decode("utf-8", "replace").split())[-700:]
        raise GateFailed(f"{told or answer.reason()}")
    facts: dict[str, Any] = json.loads(answer.stdout)
    return facts


def _start_unit(link: Link, folder: str, model: str) -> None:
    home = link.run(["sh", "-c", 'printf %s "$HOME"']).stdout.decode("utf-8", "replace")
    unit = unit_text(_UNIT_COMMAND, folder, f"edgewright serves {model}", START_S)
    path = f"{home}/.config/systemd/user/{_unit(model)}"
    placed = link.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path], stdin=unit.encode())
    if not placed.ok:
        raise DeviceError(f"Expected {link.title} to keep {path}. Got: {placed.reason()}.")
    try:
        _systemctl(link, "daemon-reload")
        _run(link, stop_script(), folder, str(STOP_S), time_limit_s=STOP_S + _SLACK_S)
        _systemctl(link, "enable", _unit(model))
        _begin_unit(link, folder, model, "start")
    except (DeviceError, GateFailed):
        link.run(["systemctl", "--user", "disable", "--now", _unit(model)])
        link.run(["rm", "-f", "--", path])
        raise


def _begin_unit(link: Link, folder: str, model: str, verb: str) -> None:
    """Start or restart a unit, and wait until it says that it is ready, or was not in time."""
    log = f"{folder}/{LOG}"
    before = link.run(["sh", "-c", 'wc -c < "$1" 2>/dev/null || echo 0', "sh", log]).stdout.decode().strip()
    limit_s = START_S + STOP_S + _SLACK_S
    answer = link.run(["systemctl", "--user", verb, _unit(model)], time_limit_s=limit_s)
    if answer.ok:
        return
    said = link.run(["sh", "-c", 'tail -c "+$(($2 + 1))" "$1" | tail -n 15', "sh", log, before]).stdout
    told = " ".join(said.decode("utf-8", "replace").split())[-700:]
    raise GateFailed(
        f"Expected a service that is ready within {START_S} s. Got: {answer.reason()}; its log's last lines: {told}"
    )


def _systemctl(link: Link, *arguments: str) -> None:
    answer = link.run(["systemctl", "--user", *arguments])
    if not answer.ok:
        raise DeviceError(
            f"Expected the user's systemd on {link.title}: systemctl --user {arguments[0]}. Got: {answer.reason()}. "
            "Without --systemd it is a plain process."
        )


def _unit(model: str) -> str:
    return f"edgewright-{model}.service"


def _unit_runs(link: Link, model: str) -> bool:
    return b"systemd" in link.run(["sh", "-c", _UNIT_RUNS, "sh", _unit(model)]).stdout


def _folder(link: Link, home: str, model: str, device: str) -> str:
    """Return the folder of a deployed model there, with a service's script in its current version."""
    folder = f"{home}/models/{model}"
    answer = link.run(["sh", "-c", 'ls "$1/models" 2>/dev/null; [ -f "$2" ]', "sh", home, f"{folder}/current/{SCRIPT}"])
    if not answer.ok or "/" in model:
        known = ", ".join(answer.stdout.decode("utf-8", "replace").split()) or "none"
        raise InputError(f"Expected a model that is deployed on {device}: {known}. Got: {model!r}.")
    return folder


def _service(link: Link, device: str, folder: str, model: str) -> Service:
    facts = _run(link, status_script(), folder)
    running = bool(facts["running"])
    by = "" if not running else "systemd" if _unit_runs(link, model) else "process"
    version = str(facts.get("version")) if running else None
    lingering = link.run(["sh", "-c", _LINGERS]).stdout.decode("utf-8", "replace").strip() if by == "systemd" else ""
    lingers = {"yes": True, "no": False}.get(lingering)
    died = bool(facts.get("died"))
    return Service(device, model, running, f"{folder}/{SOCKET}", by, version, died, lingers, facts)


def service_text(service: Service) -> str:
    """Return for people whether a service runs."""
    if not service.running:
        return f"{service.model} on {service.device}: no service{', it died' if service.died else ''}"
    since = service.facts.get("since", "")
    ends = "\n  it ends with your last login there, and does not start at boot: loginctl enable-linger, on the device"
    return (
        f"{service.model} on {service.device}: answers with version {service.version}, by "
        f"{'systemd' if service.by == 'systemd' else 'a plain process'} {service.facts.get('pid', '')} since {since}\n"
        f"  on the device: curl --unix-socket {shlex.quote(service.socket)} http://localhost/v2/models/{service.model}"
        f"{ends if service.lingers is False else ''}"
    )
