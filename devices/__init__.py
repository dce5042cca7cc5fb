"""Device profiles, predicted latency, and the verdict on an artifact."""

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
    "speeds_of",
    "vector",
    "predict_memory",
]
