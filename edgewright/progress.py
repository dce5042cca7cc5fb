"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One step of long work that begins.

    Attributes:
        stage: what is being done, such as "convert".
        subject: to what: a model, a format, a runtime, a device; empty parts are left out.
        share: how much of the whole work was done when it began, 0 to 1.
    """

    stage: str
    subject: tuple[str, ...] = ()
    share: float = 0.0

    def text(self) -> str:
        """Return the event as words."""
        return " ".join((self.stage, *filter(None, self.subject)))


OnProgress = Callable[[Event], None]


def part(on_progress: OnProgress | None, low: float, high: float) -> OnProgress:
    """Return a listener for work that is the part from ``low`` to ``high`` of a larger one.

    >>> events = []
    >>> part(events.append, 0.5, 1.0)(Event("convert", share=0.5))
    >>> events[0].share
    0.75
    """

    def report(event: Event) -> None:
        if on_progress:
            on_progress(Event(event.stage, event.subject, low + (high - low) * event.share))

    return report


def time_left(elapsed_s: float, share: float) -> str:
    """Return how long the rest takes if it goes on like this, or an empty string when that is too early to say.

    >>> time_left(60, 0.5)
    '1:00 left'
    """
    if share < 0.02 or elapsed_s < 1:
        return ""
    return f"{clock(elapsed_s * (1 - share) / share)} left"


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds.

    >>> clock(83.6)
    '1:24'
    """
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


@contextmanager
def shown(quiet: bool = False) -> Iterator[OnProgress]:
    """Yield a listener that shows events on stderr: one line that is rewritten on a terminal, a line each elsewhere.

    ``NO_COLOR`` and ``TERM=dumb`` are honoured.
    """
    started = time.monotonic()
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        with console.status("starting") as status:
            yield lambda event: status.update(Text(_line(event, started)))
    else:
        yield lambda event: print(_line(event, started), file=sys.stderr, flush=True)


def _line(event: Event, started: float) -> str:
    elapsed = time.monotonic() - started
    left = time_left(elapsed, event.share)
    return f"{event.share:4.0%} {event.text()}" + (f" ({left})" if left else "")
