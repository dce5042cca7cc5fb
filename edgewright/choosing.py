"""Which artifact of a bundle goes to a device, and in which of the runtimes that it has; or why none does."""

import shlex
from dataclasses import dataclass, replace

from . import runtimes
from .devices import Profile, Unsupported
from .devices._found import Found, with_runtime
from .devices._profile import ADAPTERS
from .devices._python import Python
from .errors import GateFailed, InputError, MissingRequirement, nearest
from .export import Bundle, Deployable
from .figures import Figure
from .runtimes import Runtime

_ARM = ("aarch64", "arm64", "armv7l", "armv8l", "armv6l")


@dataclass(frozen=True)
class Choice:
    """What goes to a device.

    Attributes:
        deployable: the artifacts.
        runtime: that runs them there.
        python: that has it; None where it has to be installed first.
        latency_ms: measured on the device, else predicted, where several were compared; None where nothing was.
        threads: of the runtime there: those that it was measured fastest on, else the profile's.
        why: why this one, as a sentence.
        note: what it does not use there and what to do for that, as a sentence; empty where there is nothing to say.
    """

    deployable: Deployable
    runtime: Runtime
    python: Python | None
    latency_ms: Figure | None
    threads: int
    why: str
    note: str = ""

    @property
    def version(self) -> str | None:
        """The runtime's version there."""
        return self.python.version_of(self.runtime) if self.python else None


def check_machine(profile: Profile, found: Found, device: str) -> None:
    """Raise where a device is of another kind of machine than its profile says: nothing of the profile would hold.

    Raises:
        InputError: it is.
    """
    isa = profile.cpu.isa.value
    expects_arm, is_arm = isa.lower().startswith("arm"), found.machine in _ARM
    if expects_arm != is_arm:
        raise InputError(
            f"Expected {device} to be {profile.title}, {isa}, as it was registered. Got: a machine that says "
            f"{found.machine}. Make a profile of it: edgewright devices probe {device} --out {device}.toml; then add "
            "it with that profile."
        )


def candidates(
    bundle: Bundle, profile: Profile, artifact: str | None, runtime: str | None
) -> tuple[list[tuple[Deployable, Runtime]], list[str]]:
    """Return what of a bundle the device may run in which runtimes, and why not the rest; nothing is asked there.

    Args:
        bundle: the bundle.
        profile: the device's.
        artifact, runtime: only these, where they are named.

    Raises:
        InputError: there is no such artifact or runtime.
    """
    known = [each.name for each in bundle.deployables]
    if artifact is not None and artifact not in known:
        hint = nearest(artifact, known)
        raise InputError(f"Expected an artifact of {bundle.path}: {', '.join(known)}. Got: {artifact!r}.{hint}")
    if runtime is not None:
        runtimes.get(runtime)
    pairs: list[tuple[Deployable, Runtime]] = []
    reasons: list[str] = []
    for each in bundle.deployables:
        target = profile.target(each.format, each.precision)
        if artifact not in (None, each.name):
            continue
        if isinstance(target, Unsupported):
            reasons.append(f"{each.name}: {target.reason}")
            continue
        taking = [runtimes.get(name) for name in runtimes.for_format(each.format)]
        fitting = [one for one in taking if not one.referee and runtime in (None, one.name)]
        # The one that the profile names is tried first.
        fitting.sort(key=lambda one: one.name != ADAPTERS.get(target.runtime))
        pairs += [(each, one) for one in fitting]
        if not fitting:
            reasons.append(f"{each.name}: {runtime} takes no {each.format}")
    return pairs, reasons


def choose(
    bundle: Bundle,
    profile: Profile,
    found: Found,
    device: str,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    install: bool = False,
) -> Choice:
    """Return what goes to a device: of the artifacts whose runtime is there, the one predicted to be fastest.

    Args:
        bundle, profile: what is deployed, and to what.
        found: what there is on the device.
        device: its name.
        artifact, runtime: only these, where they are named.
        install: choose among all, for the runtime may be installed.

    Raises:
        InputError: there is no such artifact or runtime; the device is no such machine.
        GateFailed: the bundle has nothing that the device runs.
        MissingRequirement: the device has no runtime for it.
    """
    check_machine(profile, found, device)
    pairs, reasons = candidates(bundle, profile, artifact, runtime)
    if not pairs:
        raise GateFailed(f"Expected an artifact of {bundle.path} for {profile.title}. Got: none. {'; '.join(reasons)}")
    offers = [(each, one, with_runtime(found.pythons, one)) for each, one in pairs]
    there = [offer for offer in offers if offer[2] is not None]
    if not there and not install:
        wanted = ", ".join(dict.fromkeys(f"{one.title} for {each.name}" for each, one in pairs))
        has = ", ".join(f"{name} {version}" for name, version in found.pythons[0].distributions.items())
        raise MissingRequirement(
            f"Expected a runtime on {device}: {wanted}. Got: Python {found.pythons[0].version} with {has or 'none'}. "
            "With --install-runtime its wheels are fetched here and carried there."
        )
    usable = there or offers
    by_artifact: dict[str, tuple[Deployable, Runtime, Python | None]] = {}
    for offer in usable:
        by_artifact.setdefault(offer[0].name, offer)
    as_run = _as_run(profile)
    if artifact is not None:
        offer = by_artifact[artifact]
        made = Choice(*offer, None, threads_of(as_run, offer[0]), "as asked")
    elif len(by_artifact) == 1:
        (only,) = by_artifact.values()
        made = Choice(*only, None, threads_of(as_run, only[0]), "the only artifact that it has a runtime for")
    else:
        from .fastest import fastest  # all that predicts: a single one needs none of it

        made = fastest(list(by_artifact.values()), as_run, bundle, device)
    return replace(made, note=_note(made, profile, device)) if as_run is not profile else made


def _as_run(profile: Profile) -> Profile:
    """Return a profile as a bundle's files run on its device: none of them is compiled for an Edge TPU."""
    if profile.accelerator("edgetpu") is None:
        return profile
    from .ways_to_run import on_cores

    return on_cores(profile)


def _note(choice: Choice, profile: Profile, device: str) -> str:
    """Return what to do for the Edge TPU, where that would run the artifact and does not."""
    from .devices._edgetpu_compiler import PROGRAM
    from .ways_to_run import LIBEDGETPU, not_on_edgetpu

    if not not_on_edgetpu(choice.deployable, profile):
        return ""
    paths = [each.path for each in choice.deployable.artifacts]
    file = f"{paths[0].stem}_edgetpu.tflite" if len(paths) == 1 else "EACH_edgetpu.tflite"
    return (
        f"it runs on the cores, not on the Edge TPU, which takes compiled files alone. Compile it on x86-64 Linux, "
        f"{PROGRAM} {shlex.join(map(str, paths))}, and measure that there: edgewright measure {shlex.quote(file)} "
        f"--on {device} --runtime {choice.runtime.name} --delegate {LIBEDGETPU}"
    )


def threads_of(profile: Profile, deployable: Deployable) -> int:
    """Return the threads that a profile runs an artifact on."""
    target = profile.target(deployable.format, deployable.precision)
    return 1 if isinstance(target, Unsupported) or target.unit != "cpu" else target.threads
