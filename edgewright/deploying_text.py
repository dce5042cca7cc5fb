"""What deploying, a fleet and a device's status print for people."""

from collections.abc import Mapping
from typing import Any

from .deploying import Deployed
from .device_status import DeviceStatus
from .devices._lease import Holder
from .fleet import Fleet
from .golden_there import Golden

_MIB = 2**20


def deployed_text(made: Deployed) -> str:
    """Return what was deployed."""
    copied = f"copied {made.size_bytes / 1000:.1f} kB; " if made.size_bytes else ""
    lines = [
        f"{made.model} {made.version} on {made.device}: {made.artifact} in {made.runtime} {made.runtime_version}",
        f"  {made.why}; {copied}every file's SHA-256 compared there",
        f"  golden inputs there: {golden_text(made.golden)}",
    ]
    if made.note:
        lines.append(f"  {made.note}")
    if made.emulated:
        lines.append("  the device is emulated: what it computes counts, its times say nothing")
    lines.append(f"  current: {made.folder}; before: {made.before or 'none'}")
    if made.served:
        lines.append("  its service answers with it now")
    took = ", ".join(f"{step} {seconds:.2f} s" for step, seconds in made.seconds.items())
    return "\n".join([*lines, f"  took {sum(made.seconds.values()):.2f} s: {took}"])


def golden_text(golden: Golden) -> str:
    """Return what the golden inputs showed."""
    text = f"{golden.samples} samples, {golden.agreement_percent:.4g} % agree with Keras"
    if golden.difference is None:
        return f"{text}; not compared with this host, which did not run it"
    if golden.bit_exact:
        return f"{text}; the same to the bit as here ({golden.version_here})"
    return f"{text}; differ from here ({golden.version_here}) by {golden.difference:.2g} of the largest value at most"


def fleet_text(fleet: Fleet) -> str:
    """Return what became of each device, a line each."""
    lines = [
        f"{row.device:24} {row.state}" + (f", {row.deployed.artifact} {row.deployed.version}" if row.deployed else "")
        for row in fleet.rows
    ]
    lines += [f"{row.device}: {row.deployed.note}" for row in fleet.rows if row.deployed and row.deployed.note]
    count = sum(row.deployed is not None for row in fleet.rows)
    return "\n".join([*lines, f"{count} of {len(fleet.rows)} devices have it"])


def status_text(status: DeviceStatus) -> str:
    """Return what there is on a device."""
    own, *carried = (
        ", ".join(f"{name} {version}" for name, version in each.items()) for each in (status.runtimes, *status.carried)
    )
    runtimes = "; carried there: ".join([own or "no runtime", *carried])
    emulated = ", emulated" if status.emulated else ""
    lines = [
        f"{status.device}{emulated}: Python {status.python} with {runtimes}",
        f"  {status.folder}: {status.free_bytes / _MIB:,.0f} MiB free; {holder_text(status.holder)}",
    ]
    for each in status.models:
        state = "" if each.whole else "; FILES CHANGED since they were deployed"
        lines.append(f"  {each.name}: {_version(each.current)}{state}")
        if each.previous:
            lines.append(f"    previous: {_version(each.previous)}")
    if not status.models:
        lines.append("  nothing is deployed: edgewright deploy BUNDLE " + status.device)
    return "\n".join(lines)


def holder_text(holder: Holder | None) -> str:
    """Return who uses a device."""
    return f"{holder.who} has used it for {holder.ago} to {holder.why}" if holder else "nobody uses it"


def _version(about: Mapping[str, Any] | None) -> str:
    if about is None:
        return "none"
    told = " ".join(str(about.get(key, "")) for key in ("version", "artifact"))
    return f"{told} in {about.get('runtime', '?')} {about.get('runtime_version', '')}".rstrip()
