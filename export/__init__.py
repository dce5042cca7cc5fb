"""Exporters, one a format, and the bundle that goes to a device."""

from ..plugins import Plugins
from ._about import About, load_about
from ._artifact import Artifact, Operation, Tensor
from ._bundle import Bundle, load_bundle
from ._convert import Conversion, convert
from ._deployable import Deployable, HostCode, deployables
from ._exporter import Exporter, Job
from ._freeze import Frozen, freeze
from ._graph import Graph, Node, Value
from ._reading import read_graph, read_graphs

_PLUGINS: Plugins[Exporter] = Plugins(__name__, __path__, "EXPORTER", "format")
names = _PLUGINS.names
get = _PLUGINS.get

__all__ = [
    "About",
    "Artifact",
    "Bundle",
    "Conversion",
    "Deployable",
    "Exporter",
    "Frozen",
    "Graph",
    "HostCode",
    "Job",
    "Node",
    "Operation",
    "Tensor",
    "Value",
    "convert",
    "deployables",
    "freeze",
    "get",
    "load_about",
    "load_bundle",
    "names",
    "read_graph",
    "read_graphs",
]
