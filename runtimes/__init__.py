"""Runtimes: the runner, one file that runs anywhere, its client on this host, and an adapter for each runtime."""

from ..plugins import Plugins
from ._client import Measurement, Run, run_artifact
from ._runtime import Runtime

_PLUGINS: Plugins[Runtime] = Plugins(__name__, __path__, "RUNTIME", "runtime")
names = _PLUGINS.names
get = _PLUGINS.get


def for_format(format: str) -> tuple[str, ...]:
    """Return the names of the runtimes that take a format: those that devices have first, referees last."""
    taking = [get(name) for name in names() if format in get(name).formats]
    return tuple(runtime.name for runtime in sorted(taking, key=lambda runtime: (runtime.referee, runtime.name)))


__all__ = ["Measurement", "Run", "Runtime", "for_format", "get", "names", "run_artifact"]
