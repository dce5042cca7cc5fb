"""The latency that a verdict takes of what was measured on a registered device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .devices import Evidence, _registered
from .export import Deployable
from .figures import Figure, How
from .kept import Recorded, kept_of, settings_text
from .subjects import identity
from .ways_to_run import unit_of

# By device and artifact, what was kept of exactly this artifact there.
Kept = Mapping[tuple[str, str], Sequence[Recorded]]


@dataclass(frozen=True)
class Deciding:
    """What decides of what was measured.

    Attributes:
        latency_ms: of the way to run the artifact that decides; None where all of them compute something else.
        doubt: why it decides nothing, as a sentence; empty where it does.
        wrong: why no answer is the model's, as a sentence; empty where they are.
    """

    latency_ms: Figure | None
    doubt: str = ""
    wrong: str = ""

    def judged(self, evidence: Evidence) -> Evidence:
        """Return the evidence of another place with what the device itself computed."""
        return replace(evidence, ok=False, reason=self.wrong) if self.wrong else evidence


def kept_for(deployables: Sequence[Deployable], devices: Sequence[str]) -> Kept:
    """Return what was measured of artifacts on those devices that are registered; emulated figures are left out.

    An artifact is told by the SHA-256 of all its files: what was measured of another one says nothing of it.
    """
    digests = {each.name: identity(each) for each in deployables}
    found: dict[tuple[str, str], list[Recorded]] = {}
    for device in dict.fromkeys(devices):
        for row in kept_of(device) if device in _registered.names() else ():
            on_device = row.measurement is not None and row.measurement.how is How.MEASURED_ON_DEVICE
            if on_device and digests.get(row.artifact) == row.sha256:
                found.setdefault((device, row.artifact), []).append(row)
    return found


def deciding(rows: Sequence[Recorded], limit_ms: float | None, unit: str = "cpu") -> Deciding | None:
    """Return what decides whether an artifact meets a limit: its fastest way to run that computes what it should.

    A noisy or throttled figure decides only where the steady ones do not meet the limit and it is lower than they are;
    then nothing is decided.

    Args:
        rows: what was measured of the artifact on the device.
        limit_ms: what its latency may be; None for any.
        unit: where the device's profile runs the artifact; what was measured on another one is left aside.
    """
    rows = [row for row in rows if unit_of(row.settings) == unit]
    wrong = [row for row in rows if row.wrong]
    known = [(figure, row) for row in rows if not row.wrong for figure in [_figure(row)] if figure]
    if not known:
        return Deciding(None, wrong=f"On {wrong[0].device} {wrong[0].name} {wrong[0].wrong}.") if wrong else None
    known.sort(key=lambda pair: pair[0].value)
    steady = [pair for pair in known if not _doubts(pair[1])]
    if steady:
        figure, _ = steady[0]
        if limit_ms is None or figure.high is None or figure.high <= limit_ms or steady[0] is known[0]:
            return Deciding(figure)
    figure, row = known[0]
    return Deciding(figure, "; ".join(_doubts(row)))


def _figure(row: Recorded) -> Figure | None:
    """Return a row's latency, with how it was run where that is not the usual way, and when."""
    latency = row.measurement.latency() if row.measurement else None
    if latency is None:
        return None
    way = settings_text(replace(row.settings, threads=1)).partition(", ")[2]
    return replace(latency, basis=", ".join(filter(None, (latency.basis, way, f"taken {row.taken_at[:10]}"))))


def _doubts(row: Recorded) -> tuple[str, ...]:
    return row.measurement.inconclusive() if row.measurement else ()
