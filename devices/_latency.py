"""Predicts the latency of an artifact on a device: by what its operations do, on an Edge TPU by its parts."""

from collections.abc import Mapping

import numpy as np

from ..export._artifact import Artifact
from ..export._deployable import Deployable
from ..export._work import COUNTS
from ..figures import Figure, How
from ._edgetpu_latency import predict_on_edge_tpu
from ._placement import Placement
from ._profile import Profile, Unsupported
from ._roofline import roofline_figure, roofline_ms
from ._speeds import speeds_of


def predict_deployable(
    profile: Profile,
    deployable: Deployable,
    placements: Mapping[str, Placement] | None = None,
    threads: int | None = None,
) -> Figure | Unsupported:
    """Return the predicted latency of one answer, or of one call of its ``host.per``, in ms; see ``predict_latency``.

    It is the sum over the graphs, each as often as it is called; the host code itself is not in it. ``placements`` says
    by graph what an accelerator runs of it; ``threads`` is as for ``predict_latency``.
    """
    figures = []
    for artifact in deployable.artifacts:
        figure = predict_latency(profile, artifact, (placements or {}).get(artifact.graph), threads)
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

    It is the sum over what the file's operations do, each kind of work at the device's speed for it: on a processor or
    GPU see ``_speeds.py``, on an Edge TPU, where the placement tells of the operations, ``_edgetpu_latency.py``. Of a
    file whose work was not counted it comes of the profile's rates; see ``_roofline.py``.

    Args:
        threads: of the runtime on a processor; the profile's own when None.
    """
    target = profile.target(artifact.format, artifact.precision)
    if isinstance(target, Unsupported):
        return target
    if artifact.macs == 0 and not artifact.operations and not any(artifact.work.values()):
        return Unsupported(f"{artifact.name} states neither its MACs nor its operations, so no latency is predicted.")
    if target.unit == "edgetpu":
        return predict_on_edge_tpu(profile, target, artifact, placement)
    if any(artifact.work.values()):
        speeds = speeds_of(profile, target, threads)
        value, low, high = speeds.latency(vector(artifact.work))
        return Figure(value=value, how=How.PREDICTED, low=low, high=high, basis=speeds.basis)
    return roofline_figure(target, roofline_ms(profile, target, artifact))


def vector(work: Mapping[str, float]) -> np.ndarray:
    """Return work by name as the shape [len(COUNTS)]."""
    return np.array([work.get(name, 0.0) for name in COUNTS])
