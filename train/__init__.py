"""Architectures, their tasks (data, loss, metric) and seeded training."""

from ..plugins import Plugins
from ._task import (
    ACCURACY,
    MEAN_ABSOLUTE_ERROR,
    Architecture,
    Dataset,
    Deployment,
    Experiment,
    Metric,
    Schedule,
    Task,
)

_PLUGINS: Plugins[Architecture] = Plugins(__name__, __path__, "ARCHITECTURE", "architecture")
names = _PLUGINS.names
get = _PLUGINS.get

__all__ = [
    "ACCURACY",
    "MEAN_ABSOLUTE_ERROR",
    "Architecture",
    "Dataset",
    "Deployment",
    "Experiment",
    "Metric",
    "Schedule",
    "Task",
    "get",
    "names",
]
