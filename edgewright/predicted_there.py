"""How far the prediction for a device lies from what was measured on it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import runtimes
from .devices import Profile, Target, Unsupported, predict_deployable
from .export import Deployable
from .figures import Figure, How
from .inspecting import counted, graphs_of, placements_of
from .kept import Recorded, settings_text
from .subjects import identity
from .ways_to_run import unit_of


@dataclass(frozen=True)
class OffBy:
    """An artifact's latency on a device, predicted and measured.

    Attributes:
        artifact: its format and precision.
        settings: how it was run, for people.
        measured, predicted: in ms.
        doubts: why the measured figure decides nothing, as sentences; empty where it does.
    """

    artifact: str
    settings: str
    measured: Figure
    predicted: Figure
    doubts: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """How much more was predicted than measured, as a share of what was measured; below zero where less."""
        return self.predicted.value / self.measured.value - 1

    @property
    def within(self) -> bool:
        """Whether the measured latency lies within the predicted interval."""
        low, high = self.predicted.low, self.predicted.high
        return low is not None and high is not None and low <= self.measured.value <= high

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "share": self.share, "within": self.within}


def off_by(deployables: Sequence[Deployable], profile: Profile, rows: Sequence[Recorded]) -> tuple[OffBy, ...]:
    """Return for each artifact how far its prediction is off, where it has one and was measured on the device.

    Compared is the row with the threads, or those next to them, that the device's profile has in mind.
    """
    graphs = graphs_of(deployables)
    known = counted(deployables, graphs)
    placements = placements_of(known, [profile], graphs)
    found = []
    for each in known:
        target = profile.target(each.format, each.precision)
        if isinstance(target, Unsupported):
            continue
        mine = comparable([row for row in rows if row.sha256 == identity(each)], target)
        if not mine:
            continue
        row = min(mine, key=lambda row: abs(row.settings.threads - target.threads))
        predicted = predict_deployable(
            profile, each, placements.get((profile.name, each.name), {}), row.settings.threads
        )
        assert row.measurement is not None
        measured, doubts = row.measurement.latency(), row.measurement.inconclusive()
        if measured and isinstance(predicted, Figure):
            how = f"{row.runtime}, {settings_text(row.settings)}"
            found.append(OffBy(each.name, how, measured, predicted, doubts))
    return tuple(found)


def comparable(rows: Sequence[Recorded], target: Target) -> tuple[Recorded, ...]:
    """Return the rows of an artifact that were run as the profile means it to run: what a prediction can be held to.

    Left out are emulated rows, those of wrong answers and of another unit than the target's. Where the profile's
    runtime was measured, so are others.
    """
    sound = [row for row in rows if row.measurement and not row.wrong and unit_of(row.settings) == target.unit]
    sound = [row for row in sound if row.settings.xnnpack]
    sound = [row for row in sound if row.measurement and row.measurement.how is How.MEASURED_ON_DEVICE]
    named = [row for row in sound if target.runtime.startswith(runtimes.get(row.runtime).title)]
    return tuple(named or sound)
