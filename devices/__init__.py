"""Device profiles, predicted latency, and the verdict on an artifact."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from ._energy import predict_energy
    from ._latency import predict_deployable, predict_latency, vector
    from ._memory import Memory, predict_memory
    from ._placement import Placed, Placement
    from ._placing import place
    from ._profile import Budget, PowerMode, Profile, Target, Unsupported, get, load_profile, names, parse_profile
    from ._speeds import speeds_of
    from ._verdict import Evidence, Status, Verdict, judge
    from ._versions import Needed, loads_on, may_be_too_old, needed_runtime

__all__ = [
    "Budget",
    "Evidence",
    "Memory",
    "Needed",
    "Placed",
    "Placement",
    "PowerMode",
    "Profile",
    "Status",
    "Target",
    "Unsupported",
    "Verdict",
    "get",
    "judge",
    "load_profile",
    "loads_on",
    "may_be_too_old",
    "names",
    "needed_runtime",
    "parse_profile",
    "place",
    "predict_deployable",
    "predict_energy",
    "predict_latency",
    "predict_memory",
    "speeds_of",
    "vector",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_energy": ("predict_energy",),
        "_latency": ("predict_deployable", "predict_latency", "vector"),
        "_memory": ("Memory", "predict_memory"),
        "_placement": ("Placed", "Placement"),
        "_placing": ("place",),
        "_profile": (
            "Budget",
            "PowerMode",
            "Profile",
            "Target",
            "Unsupported",
            "get",
            "load_profile",
            "names",
            "parse_profile",
        ),
        "_speeds": ("speeds_of",),
        "_verdict": ("Evidence", "Status", "Verdict", "judge"),
        "_versions": ("Needed", "loads_on", "may_be_too_old", "needed_runtime"),
    },
)
