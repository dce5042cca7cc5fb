"""Which artifact of a bundle goes to a device, and in which of the runtimes that it has; or why none does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import runtimes
from .devices import Profile, Unsupported
from .devices._edgetpu_compiler import PROGRAM
from .devices._found import Found, with_runtime
from .devices._latency import predict_deployable
from .devices._memory import MEASURED
from .devices._python import Python
from .errors import GateFailed, InputError, MissingRequirement, nearest
from .export import Bundle, Deployable
from .figures import Figure, How
from .inspecting import counted, graphs_of, placements_of, too_new_of
from .kept import Recorded
from .measured_latency import kept_for
from .runtimes import Runtime, Settings
from .ways_to_run import LIBEDGETPU, not_on_edgetpu, on_cores

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
        fitting.sort(key=lambda one: one.name != MEASURED.get(target.runtime))
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
    as_run = on_cores(profile)
    if artifact is not None:
        offer = by_artifact[artifact]
        made = Choice(*offer, None, _threads(as_run, offer[0]), "as asked")
    else:
        made = _fastest(list(by_artifact.values()), as_run, bundle, device)
    return replace(made, note=_note(made, profile, device))


def _note(choice: Choice, profile: Profile, device: str) -> str:
    """Return what to do for the Edge TPU, where that would run the artifact and does not."""
    if not not_on_edgetpu(choice.deployable, profile):
        return ""
    paths = [each.path for each in choice.deployable.artifacts]
    file = f"{paths[0].stem}_edgetpu.tflite" if len(paths) == 1 else "EACH_edgetpu.tflite"
    return (
        f"it runs on the cores, not on the Edge TPU, which takes compiled files alone. Compile it on x86-64 Linux, "
        f"{PROGRAM} {' '.join(map(str, paths))}, and measure that there: edgewright measure {file} --on {device} "
        f"--runtime {choice.runtime.name} --delegate {LIBEDGETPU}"
    )


def _threads(profile: Profile, deployable: Deployable) -> int:
    target = profile.target(deployable.format, deployable.precision)
    return 1 if isinstance(target, Unsupported) or target.unit != "cpu" else target.threads


def _fastest(
    offers: Sequence[tuple[Deployable, Runtime, Python | None]], profile: Profile, bundle: Bundle, device: str
) -> Choice:
    """Return the offer with the lowest latency: as it was measured there, where it was, else as it is predicted."""
    if len(offers) == 1:
        (only,) = offers
        return Choice(*only, None, _threads(profile, only[0]), "the only artifact that it has a runtime for")
    deployables = [each for each, _, _ in offers]
    graphs = graphs_of(deployables)
    asked = (counted(deployables, graphs), [profile], graphs)
    too_new, placements = too_new_of(*asked), placements_of(*asked)
    latencies: dict[str, Figure] = {}
    for each in asked[0]:
        predicted = predict_deployable(profile, each, placements.get((profile.name, each.name), {}))
        if isinstance(predicted, Figure):
            latencies[each.name] = predicted
    loadable = [offer for offer in offers if (profile.name, offer[0].name) not in too_new]
    if not loadable:
        reasons = "; ".join(f"{each}: {why}" for (_, each), why in too_new.items())
        raise GateFailed(f"Expected an artifact of {bundle.path} that {profile.title} loads. Got: none. {reasons}")

    kept = kept_for(deployables, [device])
    threads = {each.name: _threads(profile, each) for each in deployables}
    for each, runtime, _ in loadable:
        if measured := _measured(kept.get((device, each.name), ()), runtime):
            latencies[each.name], threads[each.name] = measured

    def key(offer: tuple[Deployable, Runtime, Python | None]) -> tuple[float, int]:
        latency = latencies.get(offer[0].name)
        return (latency.value if latency else float("inf"), offer[0].size_bytes)

    best = min(loadable, key=key)
    latency = latencies.get(best[0].name)
    how = "predicted" if latency and latency.how is How.PREDICTED else "measured"
    why = f"{how} to be the fastest of {len(loadable)}" if latency else "the smallest of those that it runs"
    return Choice(*best, latency, threads[best[0].name], why)


def _measured(rows: Sequence[Recorded], runtime: Runtime) -> tuple[Figure, int] | None:
    """Return the lowest latency that was measured in a runtime as a deployed artifact runs, and the threads."""
    plain = [row for row in rows if row.runtime == runtime.name and replace(row.settings, threads=1) == Settings()]
    known = [
        (figure, row.settings.threads)
        for row in plain
        if not row.wrong and row.measurement and (figure := row.measurement.latency())
    ]
    return min(known, key=lambda each: each[0].value, default=None)
