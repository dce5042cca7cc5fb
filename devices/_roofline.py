"""Latency by a profile's rates alone, for a file whose work was not counted."""

from ..export._artifact import Artifact
from ..figures import Figure, How
from ._profile import Profile, Roofline, Target


def roofline_ms(profile: Profile, roofline: Roofline, artifact: Artifact) -> float:
    """Return ``overhead + operations * per_operation + max(macs / rate, bytes / bandwidth)`` in ms."""
    read_bytes = artifact.size_bytes
    if isinstance(roofline, Target) and roofline.widens_weights:
        read_bytes = max(read_bytes, 4 * artifact.parameters)
    memory_ms = read_bytes / (profile.memory.bandwidth_gbytes_per_s.value * 1e6)
    return overhead_ms(roofline, artifact) + max(arithmetic_ms(roofline, artifact), memory_ms)


def overhead_ms(roofline: Roofline, artifact: Artifact) -> float:
    """Return what the inference and its operations cost whatever they compute."""
    operations = sum(operation.count for operation in artifact.operations)
    return roofline.overhead_ms.value + operations * roofline.per_operation_ms.value


def arithmetic_ms(roofline: Roofline, artifact: Artifact) -> float:
    """Return what the multiply-accumulates take."""
    return artifact.macs / (roofline.effective_gmacs_per_s.value * 1e6)


def roofline_figure(roofline: Roofline, latency_ms: float, note: str = "") -> Figure:
    """Return a latency with the interval that the profile states for its rates."""
    interval = roofline.interval.value
    return Figure(
        value=latency_ms,
        how=How.PREDICTED,
        low=latency_ms * interval.low,
        high=latency_ms * interval.high,
        basis=_basis(roofline) + note,
    )


def _basis(roofline: Roofline) -> str:
    threads = f"{roofline.threads} thread{'s' if roofline.threads > 1 else ''}"
    where = f"roofline, {roofline.unit}, {threads}" if roofline.unit == "cpu" else f"roofline, {roofline.unit}"
    if roofline.fitted_rows and roofline.effective_gmacs_per_s.how == "fitted":
        return f"{where}, fitted on {roofline.fitted_rows} published measurements"
    if roofline.fitted_rows:
        rows = f"{roofline.fitted_rows} published measurements"
        return f"{where}, scaled from {rows} of a relative or of another runtime"
    return f"{where}, from the nearest runtime or the datasheet, not fitted"
