"""A fleet: one bundle onto many devices, a few canaries first, the others side by side, and none after a failure."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deploying import Deployed, deploy
from .devices import _registered
from .devices._lease import check_wait
from .errors import EdgewrightError, InputError
from .export import load_bundle
from .progress import Event, OnProgress, part

AT_ONCE = 4


@dataclass(frozen=True)
class Row:
    """What became of one device.

    Attributes:
        device: its name.
        deployed: what was deployed; None where it was not.
        error: why not; None where it was deployed, or not tried after another device's failure.
    """

    device: str
    deployed: Deployed | None = None
    error: EdgewrightError | None = None

    @property
    def state(self) -> str:
        """In words."""
        if self.deployed:
            return "deployed" if self.deployed.size_bytes else "was current already"
        return f"failed: {self.error}" if self.error else "not tried: another device failed before"


@dataclass(frozen=True)
class Fleet:
    """What became of each device, in the order given."""

    rows: tuple[Row, ...]

    @property
    def exit_code(self) -> int:
        """0 where all were deployed, else that of the first failure."""
        return next((row.error.exit_code for row in self.rows if row.error), 0)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "rows": [
                {
                    "device": row.device,
                    "state": row.state,
                    "deployed": row.deployed and row.deployed.plain(),
                    "error": row.error and {"type": type(row.error).__name__, "message": str(row.error)},
                }
                for row in self.rows
            ]
        }


def deploy_fleet(
    bundle: str | Path,
    names: Sequence[str],
    *,
    canaries: int = 1,
    at_once: int = AT_ONCE,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Fleet:
    """Deploy a bundle to several devices; once one fails, no further one begins. Those deployed before stay so.

    Args:
        bundle: the bundle's folder.
        names: registered devices; the first are the canaries.
        canaries: how many have to be deployed, one after the other, before any other begins.
        at_once: how many of the others at a time.
        on_progress: told what is being done.
        options: see ``deploy``.

    Raises:
        InputError: no such bundle or device; a device twice; no canary; a wait that is no number of seconds.
    """
    if len(set(names)) < len(names):
        raise InputError(f"Expected each device once. Got: {', '.join(names)}.")
    if canaries < 1 or at_once < 1:
        raise InputError(f"Expected at least one canary, and one device at a time. Got: {canaries} and {at_once}.")
    check_wait(options.get("wait_s", 0))
    loaded = load_bundle(Path(bundle))
    for name in names:
        _registered.get(name)
    report = part(on_progress, 0, 1)
    rows: dict[str, Row] = {}

    def done(row: Row) -> None:
        rows[row.device] = row
        report(Event("deployed" if row.deployed else "failed", (row.device,), len(rows) / len(names)))

    def step(event: Event) -> None:
        report(Event(event.stage, event.subject, len(rows) / len(names)))

    def one(name: str) -> Row:
        try:
            return Row(name, deploy(loaded, name, on_progress=step, **options))
        except EdgewrightError as error:
            return Row(name, error=error)

    left = list(names)
    while left and len(rows) < canaries and not _failed(rows):
        report(Event("deploy", ("canary", left[0]), len(rows) / len(names)))
        done(one(left.pop(0)))
    running: set[Future[Row]] = set()
    with ThreadPoolExecutor(at_once) as pool:
        while running or (left and not _failed(rows)):
            while left and len(running) < at_once and not _failed(rows):
                running.add(pool.submit(one, left.pop(0)))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                done(future.result())
    return Fleet(tuple(rows.get(name, Row(name)) for name in names))


def _failed(rows: dict[str, Row]) -> bool:
    return any(row.error for row in rows.values())
