"""Predicts the energy of an inference on a device: its latency times what the board draws meanwhile."""

from ..figures import Figure, How
from ._profile import Profile, Unsupported

# By how much the load differs that meters and stress programs were published with for one board: a Raspberry Pi 4 from
# 5.1 to 6.4 W, a Raspberry Pi 5 from 7.9 to 9.9 W.
_METERS = 1.25


def predict_energy(profile: Profile, latency: Figure) -> Figure | Unsupported:
    """Return the predicted energy of the whole board during one inference in mJ, or why there is none.

    ``energy = load_w * latency``: the board is taken to be busy all the while. At the low end of the interval it draws
    no more than with nothing to do, at the high end a quarter more than its source says, and the latency is at the ends
    of its own interval. What the board draws between inferences is not in it.

    Args:
        profile: the device's, with ``power.idle_w`` and ``power.load_w``.
        latency: of one inference, in ms.
    """
    power = profile.power
    if power is None or power.idle_w is None or power.load_w is None:
        missing = "idle and load" if power is None or power.idle_w is None else "load"
        return Unsupported(
            f"The profile of {profile.title} has no source for the watts that it draws ({missing}), so no energy is "
            "predicted."
        )
    idle_w, load_w = power.idle_w.value, power.load_w.value
    low_ms = latency.value if latency.low is None else latency.low
    high_ms = latency.value if latency.high is None else latency.high
    return Figure(
        value=load_w * latency.value,
        how=How.PREDICTED,
        low=idle_w * low_ms,
        high=_METERS * load_w * high_ms,
        basis=f"latency ({latency.how}) times {load_w:g} W of the whole board, {idle_w:g} W of which it draws idle",
    )
