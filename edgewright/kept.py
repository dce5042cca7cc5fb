"""What was measured on registered devices, kept beside them, so that verdicts and calibrations find it later."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .devices import _registered
from .files import write_json
from .measuring import plain_figures
from .runtimes import Measurement, Settings, read_measurement
from .stages import Stages

_STAGE, _FILE = "measured", "row.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Recorded:
    """One artifact in one runtime, run in one way, on a device.

    Attributes:
        device: a registered device's name.
        model: of the bundle.
        artifact: its format and precision.
        sha256: of all its files; see ``subjects.identity``.
        file: the one file that ran; None where there are several, or host code around them.
        inputs: where they come from.
        runtime, runtime_version: what ran it; the version is None where it is not there.
        settings: how the runtime was to run it.
        processes: fresh processes that were asked for.
        reason: why there is no measurement; empty where there is one.
        wrong: why its answers are not the model's; empty where they are.
        agreement_percent: with the golden outputs (see ``agreement_percent``); None where it did not run.
        measurement: its latencies.
        taken_at: when, in UTC.
    """

    device: str
    model: str
    artifact: str
    sha256: str
    file: str | None
    inputs: str
    runtime: str
    runtime_version: str | None
    settings: Settings
    processes: int
    reason: str = ""
    wrong: str = ""
    agreement_percent: float | None = None
    measurement: Measurement | None = None
    taken_at: str = ""

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{self.artifact} in {self.runtime}, {settings_text(self.settings)}"

    @property
    def key(self) -> dict[str, Any]:
        """What the measurement depends on, all that is known before it is taken."""
        names = ("device", "sha256", "runtime", "runtime_version", "processes")
        return {**{name: getattr(self, name) for name in names}, "settings": asdict(self.settings)}

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, in the form of a row of ``edgewright measure --json``."""
        facts = {name: value for name, value in vars(self).items() if name not in ("settings", "measurement")}
        return {"name": self.name, **facts, "settings": asdict(self.settings), **plain_figures(self.measurement)}


def keep(row: Recorded) -> None:
    """Keep a row whose measurement was taken, whole or not at all; it takes the place of an earlier one.

    Raises:
        MissingRequirement: it cannot be written.
    """
    stages = _stages(row.device)
    stages.forget(_STAGE, row.key)
    stages.once(_STAGE, row.key, lambda folder: write_json(folder / _FILE, {"schema": _SCHEMA, "row": row.plain()}))


def kept_before(row: Recorded) -> Recorded | None:
    """Return the row that was kept of what this one is to measure, or None."""
    place = _stages(row.device).find(_STAGE, row.key)
    return _read((place / _FILE).read_text(encoding="utf-8")) if place else None


def kept_of(device: str) -> tuple[Recorded, ...]:
    """Return what was kept of a registered device: of each runtime what was taken with the version measured last.

    What another edgewright wrote is left aside.
    """
    read = [_read((place / _FILE).read_text(encoding="utf-8")) for place in _stages(device).finished(_STAGE)]
    rows = sorted((row for row in read if row), key=lambda row: row.taken_at)
    versions = {row.runtime: row.runtime_version for row in rows}
    latest = {
        (row.sha256, row.runtime, row.settings): row for row in rows if row.runtime_version == versions[row.runtime]
    }
    return tuple(latest.values())


def settings_text(settings: Settings) -> str:
    """Return settings for people, such as "2 threads, without XNNPACK"."""
    parts = [f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"]
    parts += [] if settings.xnnpack else ["without XNNPACK"]
    parts += [f"delegate {text}" for text in settings.delegates]
    parts += [" then ".join(settings.providers)] if settings.providers else []
    return ", ".join([*parts, *filter(None, (settings.unit, settings.precision))])


def _stages(device: str) -> Stages:
    return Stages(_registered.measured_folder(device))


def _read(text: str) -> Recorded | None:
    document = json.loads(text)
    if document["schema"] != _SCHEMA:
        return None
    row = document["row"]
    names = set(Recorded.__dataclass_fields__) - {"settings", "measurement"}
    measured = None if row["measurement"] is None else read_measurement(row["measurement"])
    return Recorded(**{name: row[name] for name in names}, settings=_settings(row["settings"]), measurement=measured)


def _settings(document: Mapping[str, Any]) -> Settings:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    return Settings(**values)
