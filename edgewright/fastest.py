"""Which of several artifacts is the fastest on a device: as it was measured there, where it was, else as predicted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from .choosing import Choice, threads_of
from .devices import Profile, predict_deployable
from .devices._python import Python
from .errors import GateFailed
from .export import Bundle, Deployable
from .figures import Figure, How
from .inspecting import counted, graphs_of, placements_of, too_new_of
from .kept import Recorded
from .measured_latency import kept_for
from .runtimes import Runtime, Settings

Offer: TypeAlias = tuple[Deployable, Runtime, Python | None]


def fastest(offers: Sequence[Offer], profile: Profile, bundle: Bundle, device: str) -> Choice:
    """Return the offer with the lowest latency.

    Args:
        offers: artifacts, each with a runtime and the Python there that has it.
        profile: the device's.
        bundle: that they are of, for messages.
        device: its name: what was measured on it counts before what is predicted.

    Raises:
        GateFailed: the runtimes there are too old for all of them.
    """
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
    threads = {each.name: threads_of(profile, each) for each in deployables}
    for each, runtime, _ in loadable:
        if measured := _measured(kept.get((device, each.name), ()), runtime):
            latencies[each.name], threads[each.name] = measured

    def key(offer: Offer) -> tuple[float, int]:
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
