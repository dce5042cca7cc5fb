"""Exporters, one a format, and the bundle that goes to a device."""

from typing import TYPE_CHECKING

from ..lazy import lazily
from ..plugins import Plugins

if TYPE_CHECKING:
    from ._about import About, load_about
    from ._artifact import Artifact, Operation, Tensor
    from ._bundle import Bundle, load_bundle
    from ._convert import Conversion, convert
    from ._deployable import Deployable, HostCode, deployables
    from ._exporter import Exporter, Job
    from ._freeze import Frozen, freeze
    from ._graph import Graph, Node, Value
    from ._reading import read_graph, read_graphs

_PLUGINS: "Plugins[Exporter]" = Plugins(__name__, __path__, "EXPORTER", "format")
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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_about": ("About", "load_about"),
        "_artifact": ("Artifact", "Operation", "Tensor"),
        "_bundle": ("Bundle", "load_bundle"),
        "_convert": ("Conversion", "convert"),
        "_deployable": ("Deployable", "HostCode", "deployables"),
        "_exporter": ("Exporter", "Job"),
        "_freeze": ("Frozen", "freeze"),
        "_graph": ("Graph", "Node", "Value"),
        "_reading": ("read_graph", "read_graphs"),
    },
)
