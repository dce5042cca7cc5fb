"""Device profiles, predicted latency, and the verdict on an artifact."""

from ._edgetpu import EdgeTpuMapping, map_operations
from ._profile import Budget, Profile, Target, Unsupported, get, load_profile, names
from ._roofline import predict_deployable, predict_latency
from ._verdict import Evidence, Status, Verdict, judge

__all__ = [
    "Budget",
    "EdgeTpuMapping",
    "Evidence",
    "Profile",
    "Status",
    "Target",
    "Unsupported",
    "Verdict",
    "get",
    "judge",
    "load_profile",
    "map_operations",
    "names",
    "predict_deployable",
    "predict_latency",
]
