"""Predicts the latency of an artifact on a device: by what its operations do, on an Edge TPU by its parts."""

from collections.abc import Mapping

import numpy as np

from ..export._artifact import Artifact
from ..export._deployable import Deployable
from ..export._work import COUNTS
from ..figures import Figure, How
from ._placement import Placement
from ._profile import Profile, Roofline, Target, Unsupported
from ._speeds import speeds_of

_MIB = 2**20


def predict_deployable(
    profile: Profile, deployable: Deployable, placements: Mapping[str, Placement] | None = None
) -> Figure | Unsupported:
    """Return the predicted latency of one answer, or of one call of its ``host.per``, in ms; see ``predict_latency``.

    It is the sum over the graphs, each as often as it is called; the host code itself is not in it. ``placements`` says
    by graph what an accelerator runs of it.
    """
    figures = []
    for artifact in deployable.artifacts:
        figure = predict_latency(profile, artifact, (placements or {}).get(artifact.graph))
        if isinstance(figure, Unsupported):
            return figure
        figures.append((deployable.calls_of(artifact), figure))
    if len(figures) == 1 and figures[0][0] == 1:
        return figures[0][1]
    calls = ", ".join(f"{artifact.graph} x {deployable.calls_of(artifact):.4g}" for artifact in deployable.artifacts)
    return Figure(
        value=sum(times * figure.value for times, figure in figures),
        how=How.PREDICTED,
        low=sum(times * (figure.value if figure.low is None else figure.low) for times, figure in figures),
        high=sum(times * (figure.value if figure.high is None else figure.high) for times, figure in figures),
        basis=f"{figures[0][1].basis}; {calls}, without the host code",
    )


def predict_latency(
    profile: Profile, artifact: Artifact, placement: Placement | None = None, threads: int | None = None
) -> Figure | Unsupported:
    """Return the predicted latency of one inference in ms with a 90 % interval, or why the device does not run it.

    On a processor or GPU it is the sum over what the file's operations do, each kind of work at the device's speed for
    it; see ``_speeds.py``. Of a file whose work was not counted it is ``overhead + operations * per_operation +
    max(macs / rate, bytes / bandwidth)``; so it is on the Edge TPU, where the last term is ``macs / rate`` plus the
    streaming of parameters that its cache does not hold. Without a placement all of it is taken to run there.

    Args:
        threads: of the runtime on a processor; the profile's own when None.
    """
    target = profile.target(artifact.format, artifact.precision)
    if isinstance(target, Unsupported):
        return target
    if artifact.macs == 0 and not artifact.operations and not artifact.work:
        return Unsupported(f"{artifact.name} states neither its MACs nor its operations, so no latency is predicted.")
    if target.unit == "edgetpu":
        return _on_edge_tpu(profile, target, artifact, placement)
    if artifact.work:
        speeds = speeds_of(profile, target, threads)
        value, low, high = speeds.latency(vector(artifact.work))
        return Figure(value=value, how=How.PREDICTED, low=low, high=high, basis=speeds.basis)
    return _figure(target, _roofline_ms(profile, target, artifact))


def vector(work: Mapping[str, float]) -> np.ndarray:
    """Return work by name as the shape [len(COUNTS)]."""
    return np.array([work.get(name, 0.0) for name in COUNTS])


def _roofline_ms(profile: Profile, roofline: Roofline, artifact: Artifact) -> float:
    read_bytes = artifact.size_bytes
    if isinstance(roofline, Target) and roofline.widens_weights:
        read_bytes = max(read_bytes, 4 * artifact.parameters)
    memory_ms = read_bytes / (profile.memory.bandwidth_gbytes_per_s.value * 1e6)
    return _overhead_ms(roofline, artifact) + max(_arithmetic_ms(roofline, artifact), memory_ms)


def _overhead_ms(roofline: Roofline, artifact: Artifact) -> float:
    operations = sum(operation.count for operation in artifact.operations)
    return roofline.overhead_ms.value + operations * roofline.per_operation_ms.value


def _arithmetic_ms(roofline: Roofline, artifact: Artifact) -> float:
    return artifact.macs / (roofline.effective_gmacs_per_s.value * 1e6)


def _figure(roofline: Roofline, latency_ms: float, note: str = "") -> Figure:
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


def _on_edge_tpu(profile: Profile, target: Target, artifact: Artifact, placement: Placement | None) -> Figure:
    """Predict on the Edge TPU; what does not run there takes its share of the CPU's time for the whole."""
    by = ", mapping not looked at" if placement is None else f", {placement.how} by {placement.source}"
    fast = _figure(target, _edge_tpu_ms(profile, target, artifact), by)
    elsewhere = placement.elsewhere if placement else ()
    if placement is None or not elsewhere or target.fallback is None:
        return fast
    slow = _figure(target.fallback, _roofline_ms(profile, target.fallback, artifact))
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


def _edge_tpu_ms(profile: Profile, target: Target, artifact: Artifact) -> float:
    latency_ms = _overhead_ms(target, artifact) + _arithmetic_ms(target, artifact)
    chip = profile.accelerator("edgetpu")
    if chip is None or chip.cache_mib is None or chip.stream_ms_per_mib is None:
        return latency_ms
    # At int8 a parameter is a byte; a file whose parameters were not counted is at most its size.
    beyond_mib = (artifact.parameters or artifact.size_bytes) / _MIB - chip.cache_mib.value
    return latency_ms + max(0.0, beyond_mib) * chip.stream_ms_per_mib.value
