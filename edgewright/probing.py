"""A profile of a live device: the probe run on this host or over a link, or what it printed, written as a TOML file."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import devices
from .children import python, run_child
from .devices import _registered
from .devices._probed import Probed, probed_profile
from .devices._toml import profile_toml
from .errors import DeviceError, InputError
from .files import check_parent, read_text, write_text
from .registering import open_link

PROBE = Path(devices.__file__).parent / "_probe.py"
_TIME_LIMIT_S = 120.0
_SCHEMA = 1


@dataclass(frozen=True)
class ProbedDevice:
    """What was read of a device, and the profile that was made of it.

    Attributes:
        facts: what the probe printed.
        probed: the profile and how it came about.
        text: the profile as TOML.
    """

    facts: dict[str, Any]
    probed: Probed
    text: str

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "profile": self.probed.profile.model_dump(mode="json"),
            "board": self.probed.board,
            "same_board": self.probed.same_board,
            "notes": list(self.probed.notes),
            "facts": self.facts,
        }


def probe(
    out: Path | None = None,
    name: str | None = None,
    *,
    device: str | None = None,
    facts: Path | None = None,
    root: Path | None = None,
    measure: bool = True,
    force: bool = False,
) -> ProbedDevice:
    """Make a profile of this host, of a registered device, or of the device that ``facts`` or ``root`` are of.

    Args:
        out: the ``.toml`` file to write; None writes none.
        name: the profile's; by default the file's, or the host's.
        device: a registered device, on which the probe is run; nothing is left there.
        facts: what ``PROBE`` printed on another device.
        root: a folder with a copy of another device's /proc, /sys and /etc.
        measure: measure the memory's bandwidth, for about a second; never done of a copy.
        force: write over an existing file.

    Raises:
        InputError: ``out`` is no ``.toml`` file, or stands already; ``facts`` or ``root`` are of something else;
            there is no such device; more than one source is named.
        DeviceError: the probe failed, or the device cannot be reached.
    """
    if sum(source is not None for source in (device, facts, root)) > 1:
        raise InputError("Expected one of a registered device, --facts and --root. Got: several.")
    if out is not None:
        _check_out(out, force)
    read = _facts_there(device, measure) if device else _facts_in(facts) if facts else _facts_of(root, measure)
    chosen = name or (out.stem if out else "") or device or _host(read)
    probed = probed_profile(read, chosen)
    made = ProbedDevice(read, probed, profile_toml(probed.profile, _notes(read, probed)))
    # What is written has to load as what was made.
    devices.parse_profile(made.text, where=str(out or chosen))
    if out is not None:
        write_text(out, made.text)
    return made


def _check_out(out: Path, force: bool) -> None:
    if out.suffix != ".toml":
        raise InputError(f"Expected a .toml file to write the profile to. Got: {out}.")
    check_parent(out)
    if out.exists() and not force:
        raise InputError(f"Expected a file that does not exist, or --force. Got: {out}, which does; it was left alone.")


def _facts_of(root: Path | None, measure: bool) -> dict[str, Any]:
    if root is not None and not (root / "proc" / "cpuinfo").is_file():
        raise InputError(f"Expected a folder with a copy of a device's /proc/cpuinfo. Got: {root}, without it.")
    options: list[str | Path] = ["--root", root.absolute()] if root else []
    child = run_child(python(PROBE, *options, *([] if measure else ["--no-measure"])), time_limit_s=_TIME_LIMIT_S)
    if not child.ok:
        raise DeviceError(f"Expected the probe to read this host. Got: {child.ending}: {child.stderr.strip()[-500:]}")
    return _checked(child.stdout, "what the probe printed")


def _facts_there(device: str, measure: bool) -> dict[str, Any]:
    registered_python = _registered.get(device).python
    with open_link(device) as link:
        command = [registered_python, "-", *([] if measure else ["--no-measure"])]
        answer = link.run(command, stdin=PROBE, time_limit_s=_TIME_LIMIT_S)
    if not answer.ok:
        raise DeviceError(f"Expected {registered_python} on {link.title} to run the probe. Got: {answer.reason()}.")
    return _checked(answer.stdout.decode("utf-8", "replace"), f"what the probe printed on {link.title}")


def _facts_in(path: Path) -> dict[str, Any]:
    return _checked(read_text(path, "what the probe printed on a device"), str(path))


def _checked(text: str, where: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise InputError(f"Expected the probe's JSON in {where}. Got: {error}.") from error
    if not isinstance(facts, dict) or facts.get("schema") != _SCHEMA:
        raise InputError(f"Expected the probe's JSON with schema {_SCHEMA} in {where}. Got: {str(facts)[:80]}.")
    return facts


def _host(facts: dict[str, Any]) -> str:
    model = (facts.get("model") or {}).get("value") or facts.get("host") or "device"
    return re.sub(r"[^a-z0-9]+", "-", str(model).lower()).strip("-") or "device"


def _notes(facts: dict[str, Any], probed: Probed) -> tuple[str, ...]:
    start = "the same board" if probed.same_board else "the nearest core"
    head = f"Probed: what was read on the device over the shipped profile {probed.board}, {start}."
    emulated = ("The device is an emulated one: nothing was measured.",) if facts.get("emulated") else ()
    return (head, *emulated, *probed.notes)


def probed_text(made: ProbedDevice, out: Path | None) -> str:
    """Return for people what was made: the profile's text, or where it was written and what was not read."""
    if out is None:
        return made.text
    count = sum(each.get("how") == "read" for each in _values(made.probed.profile.model_dump()))
    lines = [f"{out}: {made.probed.profile.title}; {count} values read, on the profile {made.probed.board}"]
    lines += [f"  {note}" for note in made.probed.notes]
    return "\n".join([*lines, f"Use it: edgewright validate BUNDLE --device {shlex.quote(str(out))}"])


def _values(document: Any) -> list[dict[str, Any]]:
    """Return the values of this device alone: targets are the board's."""
    tables = (document["cpu"], document["memory"], document["system"], document["power"] or {})
    return [value for table in tables for value in table.values() if isinstance(value, dict)]
