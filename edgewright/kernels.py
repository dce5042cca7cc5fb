"""On which kernels a device's accuracy was computed: its own on an emulated core, its runtime's here, or another's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from . import runtimes
from .checks import Check
from .devices import Evidence, Profile, Unsupported
from .emulation import Emulation, emulate
from .errors import InputError
from .export import Bundle
from .progress import OnProgress
from .runtimes._emulated import CORE_TYPES

# Below the first, what an emulated core computes is something else; from the second on it is the same.
_GARBAGE_PERCENT, _SAME_PERCENT = 50.0, 99.0
_SAMPLES = 16
# By artifact, runtime and core.
Emulated = Mapping[tuple[str, str, str], Emulation]


class Kernels(StrEnum):
    """Whose kernels computed what a verdict rests on."""

    SAME_RUNTIME = "same runtime"  # the device's runtime, in the build for this host's processor
    STAND_IN = "stand-in"  # another runtime or another unit than the device's
    EMULATED = "emulated"  # here, and compared with the device's build of the runtime on an emulated core
    NONE = "none"  # nothing ran


@dataclass(frozen=True)
class Computed:
    """On which kernels an accuracy was computed.

    Attributes:
        kernels: whose.
        sentence: which runtime, version and processor that was, and what the device has.
    """

    kernels: Kernels
    sentence: str


def computed_on(
    made: Check | None,
    profile: Profile,
    format: str,
    precision: str,
    machine: str,
    emulated: Emulated | None = None,
) -> Computed:
    """Return on which kernels a check on this host computed what is told of a device.

    Args:
        made: the check; None where nothing ran.
        profile: the device.
        format, precision: the artifact's.
        machine: this host's processor, such as "x86_64".
        emulated: what emulated cores computed.
    """
    if made is None or not (made.ran or made.ok):
        return Computed(Kernels.NONE, "Nothing was computed.")
    title = runtimes.get(made.runtime).title
    here = f"Computed by {title} {made.runtime_version or ''}".rstrip() + f" on {machine}"
    target = profile.target(format, precision)
    if isinstance(target, Unsupported):
        return Computed(Kernels.STAND_IN, f"{here}; {profile.title} does not run it.")
    version = next(each.version.value for each in profile.runtimes if each.name == target.runtime)
    there = f"{target.runtime} {version} on its {'cores' if target.unit == 'cpu' else target.unit}"
    row = emulated_of(made, profile, format, precision, emulated or {})
    if row is not None and row.difference is not None:
        differs = (
            f"differs by {row.difference:.1g} of the largest value" if row.difference else "is the same to the bit"
        )
        core = CORE_TYPES[row.core]
        return Computed(
            Kernels.EMULATED,
            f"{here}; what {title} {row.version} for aarch64 computes on an emulated {core.title} ({core.cpu}) "
            f"{differs} and agrees to {row.agreement_percent:.4g} %, on {row.samples} golden inputs.",
        )
    if target.unit == "cpu" and target.runtime == title:
        return Computed(Kernels.SAME_RUNTIME, f"{here}, the runtime of {profile.title} in another build: {there} runs.")
    return Computed(Kernels.STAND_IN, f"{here}, which stands in for {there} of {profile.title}.")


def emulated_core(profile: Profile) -> str | None:
    """Return the name of the emulated core that a device has, or None."""
    return next((name for name, core in CORE_TYPES.items() if core.cpu == profile.cpu.core.value.lower()), None)


def emulated_of(made: Check, profile: Profile, format: str, precision: str, emulated: Emulated) -> Emulation | None:
    """Return what a device's emulated core computed of a check's artifact; None where that was not asked for."""
    target, core = profile.target(format, precision), emulated_core(profile)
    if core is None or isinstance(target, Unsupported) or target.unit != "cpu":
        return None
    return emulated.get((made.artifact, made.runtime, core))


def emulated_evidence(evidence: Evidence, row: Emulation | None) -> Evidence:
    """Return the evidence with what an emulated core says against it: it fails there, or decides otherwise.

    Kernels of other processors round otherwise: a step of an int8 output is no other decision, and counts for nothing.
    """
    if row is None or row.ok is not False or not evidence.ok:
        return evidence
    title, agrees = f"an emulated {CORE_TYPES[row.core].title}", row.agreement_percent
    if agrees is None:
        return replace(evidence, ok=False, reason=f"On {title} it {row.reason}.")
    if agrees < _GARBAGE_PERCENT:
        return replace(evidence, ok=False, reason=f"On {title} it agrees with this host to {agrees:.4g} % only.")
    if agrees < _SAME_PERCENT:
        held = "so that the accuracy seen here may not hold"
        return replace(evidence, doubt=f"On {title} it agrees with this host to {agrees:.4g} %, {held}.")
    return evidence


def emulate_bundle(
    bundle: Bundle, checks: Sequence[Check], profiles: Sequence[Profile], on_progress: OnProgress | None = None
) -> Emulated:
    """Run a bundle's golden inputs on the emulated cores that the devices have, and compare with this host.

    Raises:
        InputError: no device has a core that can be emulated.
        MissingRequirement: no emulator was built.
    """
    cores = tuple(dict.fromkeys(core for core in map(emulated_core, profiles) if core))
    if not cores:
        known = ", ".join(core.cpu for core in CORE_TYPES.values())
        raise InputError(
            f"Expected a device with a core that can be emulated ({known}). "
            f"Got: {', '.join(f'{each.name} ({each.cpu.core.value})' for each in profiles)}."
        )
    ran = {made.artifact: made.runtime for made in reversed(checks) if made.ok and not made.referee}
    chosen = tuple(sorted(set(ran.values())))
    found = emulate(bundle.path, cores, chosen, samples=_SAMPLES, count=0, on_progress=on_progress)
    return {(row.artifact, row.runtime, row.core): row for row in found.rows}
