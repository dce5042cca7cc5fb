"""Predicts the latency of a file on an Edge TPU: what its operations do there, at speeds fitted to measurements.

The time is the sum over the counts of ``_edgetpu_work.py``, each at a speed of the chip or of the link to its host, and
what runs on the host's cores comes on top. Of a file whose operations were not looked at it is ``overhead + macs /
rate``, plus the streaming of parameters that the cache does not hold.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from ..export._artifact import Artifact
from ..export._work import COUNTS as ON_CORES
from ..figures import Figure, How
from ._edgetpu_graph import COMPILED
from ._edgetpu_work import COUNTS, MIB, ON_CHIP
from ._expected import expected_speeds
from ._fitting import Speeds
from ._placement import Placement
from ._profile import Accelerator, Profile, Roofline, Target, Unsupported
from ._roofline import arithmetic_ms, overhead_ms, roofline_figure, roofline_ms

_FITTED_GHZ = 0.5  # the clock that the chip's speeds are of
_NINETY = 1.645  # standard deviations to either side that hold 90 % of a normal distribution


@dataclass(frozen=True)
class LinkSpeeds:
    """Speeds of an Edge TPU on one link.

    Attributes:
        speeds: by ``COUNTS`` of ``_edgetpu_work.py``, at the chip's clock.
        clock_ghz: of the chip.
        host: whose link it is.
    """

    speeds: Speeds
    clock_ghz: float
    host: str

    def latency(self, counts: Mapping[str, float]) -> tuple[float, float]:
        """Return the latency of work in ms, and the standard deviation of its logarithm."""
        return self.speeds.latency(np.array([counts.get(name, 0.0) for name in COUNTS]))


def link_speeds(link: str, clock_ghz: float = _FITTED_GHZ) -> LinkSpeeds:
    """Return the speeds on a link by its name in a profile, with the chip at a clock."""
    entry = _document()["links"][link]
    slower = np.array([_FITTED_GHZ / clock_ghz if name in ON_CHIP else 1.0 for name in COUNTS])
    ms = slower * np.array([entry["ms"][name] for name in COUNTS])
    speeds = Speeds(ms, np.array(entry["covariance"]), entry["spread"], _document()["rows"])
    return LinkSpeeds(speeds, clock_ghz, entry["host"])


@cache
def _document() -> Mapping[str, Any]:
    text = (resources.files(f"{__package__}.profiles") / "edgetpu_speeds.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def predict_on_edge_tpu(
    profile: Profile, target: Target, artifact: Artifact, placement: Placement | None
) -> Figure | Unsupported:
    """Return the predicted latency of one inference in ms with a 90 % interval.

    Args:
        placement: what runs on the Edge TPU; without it all is taken to.
    """
    if any(operation.name == COMPILED for operation in artifact.operations):
        return Unsupported(
            f"{artifact.path.name} was compiled for the Edge TPU, and what is in it cannot be counted: predict the "
            "file that it was compiled from."
        )
    chip = profile.accelerator("edgetpu")
    counts = placement.facts.get("work") if placement else None
    if placement is None or chip is None or chip.link is None or not counts:
        return _uncounted(chip, profile, target, artifact, placement)
    link = link_speeds(chip.link.value, chip.clock_ghz.value)
    there, there_spread = link.latency(counts)
    threads = target.fallback.threads if target.fallback else 1
    on_cores = np.array([placement.facts["cpu_work"].get(name, 0.0) for name in ON_CORES])
    cores = expected_speeds(profile.cpu, profile.memory, "int8", threads)
    here, here_spread = cores.latency(on_cores)
    value = there + here
    spread = math.hypot(there * there_spread, here * here_spread) / value
    where = f"edgetpu at {1000 * link.clock_ghz:.0f} MHz, {link.host}" + _beyond(counts, here, placement)
    return Figure(
        value=value,
        how=How.PREDICTED,
        low=value * math.exp(-_NINETY * spread),
        high=value * math.exp(_NINETY * spread),
        basis=f"per operation, {where}, fitted on {link.speeds.rows} published measurements, "
        f"{placement.how} by {placement.source}",
    )


def _beyond(counts: Mapping[str, float], on_cores_ms: float, placement: Placement) -> str:
    """Return what makes the latency longer than that of a file that is on the chip as a whole, in a few words."""
    parts = [f", {counts['streamed'] / MIB:.2f} MiB of parameters sent each time"] if counts.get("streamed") else []
    if placement.elsewhere:
        names = ", ".join(sorted({group.kind for group in placement.elsewhere}))
        share = placement.facts.get("macs_share") or 0.0
        parts.append(
            f", between edgetpu and cpu: {share:.1%} of the multiply-accumulates on the Edge TPU, which does not run "
            f"{names}; {on_cores_ms:.3g} ms on the cores"
        )
    return "".join(parts)


def _uncounted(
    chip: Accelerator | None, profile: Profile, target: Target, artifact: Artifact, placement: Placement | None
) -> Figure:
    """Predict by the profile's rates; what does not run there takes its share of the CPU's time for the whole."""
    by = ", mapping not looked at" if placement is None else f", {placement.how} by {placement.source}"
    fast = roofline_figure(target, _streaming_ms(chip, target, artifact), by)
    elsewhere = placement.elsewhere if placement else ()
    if placement is None or not elsewhere or target.fallback is None:
        return fast
    slow = roofline_figure(target.fallback, roofline_ms(profile, target.fallback, artifact))
    share = placement.facts.get("macs_share") or 0.0
    names = ", ".join(sorted({group.kind for group in elsewhere}))
    lows, highs = (fast.low or fast.value, slow.low or slow.value), (fast.high or fast.value, slow.high or slow.value)
    return Figure(
        value=share * fast.value + (1 - share) * slow.value,
        how=How.PREDICTED,
        low=min(*lows),
        high=max(*highs),
        basis=f"between edgetpu and cpu: {share:.1%} of the multiply-accumulates on the Edge TPU, which does not run "
        f"{names}; {slow.basis}",
    )


def _streaming_ms(chip: Accelerator | None, roofline: Roofline, artifact: Artifact) -> float:
    latency_ms = overhead_ms(roofline, artifact) + arithmetic_ms(roofline, artifact)
    if chip is None or chip.cache_mib is None or chip.link is None:
        return latency_ms
    # At int8 a parameter is a byte; a file whose parameters were not counted is at most its size.
    beyond = max(0.0, (artifact.parameters or artifact.size_bytes) - chip.cache_mib.value * MIB)
    return latency_ms + link_speeds(chip.link.value).latency({"streamed": beyond})[0]
