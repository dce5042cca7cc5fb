"""Exporters, one a format, and the bundle that goes to a device."""

from ..plugins import Plugins
from ._artifact import Artifact, Operation, Tensor
from ._bundle import Bundle, load_bundle
from ._convert import Conversion, convert
from ._deployable import Deployable, HostCode, deployables
from ._exporter import Exporter, Job
from ._freeze import Frozen, freeze

_PLUGINS: Plugins[Exporter] = Plugins(__name__, __path__, "EXPORTER", "format")
names = _PLUGINS.names
get = _PLUGINS.get

__all__ = [
    "Artifact",
    "Bundle",
    "Conversion",
    "Deployable",
    "Exporter",
    "Frozen",
    "HostCode",
    "Job",
    "Operation",
    "Tensor",
    "convert",
    "deployables",
    "freeze",
    "get",
    "load_bundle",
    "names",
]
