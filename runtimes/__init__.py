"""Runtimes: the runner, one file that runs anywhere, its client on this host, and an adapter for each runtime."""

from typing import TYPE_CHECKING

from ..lazy import lazily
from ..plugins import Plugins
from ._runtime import Runtime

if TYPE_CHECKING:
    from ._client import Run, run_artifact
    from ._comparison import FEWEST_PAIRS, MOST_PAIRS, Comparison, Guard, compare
    from ._measurement import Measurement, Process, read_measurement
    from ._measuring import Measured, measure_artifact, measure_in_turn
    from ._settings import Settings, Timing

_PLUGINS: Plugins[Runtime] = Plugins(__name__, __path__, "RUNTIME", "runtime")
names = _PLUGINS.names
get = _PLUGINS.get


def for_format(format: str) -> tuple[str, ...]:
    """Return the names of the runtimes that take a format: those that devices have first, referees last."""
    taking = [get(name) for name in names() if format in get(name).formats]
    return tuple(runtime.name for runtime in sorted(taking, key=lambda runtime: (runtime.referee, runtime.name)))


__all__ = [
    "FEWEST_PAIRS",
    "MOST_PAIRS",
    "Comparison",
    "Guard",
    "Measured",
    "Measurement",
    "Process",
    "Run",
    "Runtime",
    "Settings",
    "Timing",
    "compare",
    "for_format",
    "get",
    "measure_artifact",
    "measure_in_turn",
    "names",
    "read_measurement",
    "run_artifact",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_client": ("Run", "run_artifact"),
        "_comparison": ("FEWEST_PAIRS", "MOST_PAIRS", "Comparison", "Guard", "compare"),
        "_measurement": ("Measurement", "Process", "read_measurement"),
        "_measuring": ("Measured", "measure_artifact", "measure_in_turn"),
        "_settings": ("Settings", "Timing"),
    },
)
