"""Checks: an artifact run in a runtime on real samples and compared with the Keras model, or with an imported file."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from . import runtimes
from .agreement import GARBAGE_PERCENT, agreement, answers_fit
from .children import run_together
from .export import Deployable
from .progress import Event, OnProgress
from .runtimes import Measurement, measure_artifact, read_measurement, run_artifact
from .runtimes._place import HERE, Place
from .train import Dataset, Metric

# Referees are reference implementations, exact and slow: of a large model, and of one whose host calls its graphs in a
# loop for each sample, they run the first samples only.
_REFEREE_MACS = 6e8
_REFEREE_FEWEST = 16
# The samples of a check are in memory at once, here and in the child.
_MOST_BYTES = 512 << 20
# Checks at a time where nothing is timed: each is one process on one thread.
_CHECKS_AT_ONCE = 2
CHECK_TIME_LIMIT_S = 600.0
# Answers of timed runs are those of the accuracy run to this share of the largest value.
AT_SPEED = 1e-5
# What artifacts are compared with, unless it is the file that they were made of.
KERAS = "the Keras model"


@dataclass(frozen=True)
class Reference:
    """What an artifact is compared with, on the same samples.

    Attributes:
        data: the samples.
        metric: what the model is judged by; None without labels.
        original: the original model's outputs, ``[samples, ...]`` by output name.
        compressed: the compressed Keras model's outputs, likewise; of an imported file the same as the original's.
        name: what computed them.
        max_drop: how much of the metric may be lost against the original model (``Metric.lost``); None for any.
    """

    data: Dataset
    metric: Metric | None
    original: Mapping[str, np.ndarray]
    compressed: Mapping[str, np.ndarray]
    name: str = KERAS
    max_drop: float | None = None

    def original_metric(self, samples: int | None = None) -> float | None:
        """Return the original model's metric, on the first ``samples`` samples where a number is given."""
        samples = samples or len(self.data)
        return _metric(self.metric, self.original, self.data.take(samples).labels, samples)

    def compressed_metric(self) -> float | None:
        """Return the compressed Keras model's metric."""
        return _metric(self.metric, self.compressed, self.data.labels, len(self.data))


@dataclass(frozen=True)
class Check:
    """What a run of an artifact in a runtime on this host showed.

    Attributes:
        artifact: its format and precision, such as "tflite int8".
        runtime, runtime_version: what ran it.
        referee: whether the runtime is a reference implementation, never measured for speed.
        ok, reason: whether it ran and computes what the reference computes; why not.
        ran: whether it ran, whatever it computes.
        samples: how many samples it was run on.
        metric: its metric, in the metric's unit; None without labels.
        metric_reference: the original model's metric on the same samples.
        metric_lost: by how much it is worse than the original model on the same samples (``Metric.lost``).
        agreement_original_percent: how far its outputs agree with the original model's (see ``agreement_percent``).
        agreement_keras_percent: how far they agree with the compressed Keras model's: what conversion alone did. Of an
            imported file, which Keras has no part in, the same as the one before.
        max_difference: the largest absolute difference from the outputs of the compressed Keras model, or of the
            imported file.
        measurement: latencies on this host; None where none were taken.
    """

    artifact: str
    runtime: str
    runtime_version: str | None
    referee: bool
    ok: bool
    reason: str = ""
    samples: int = 0
    metric: float | None = None
    metric_reference: float | None = None
    metric_lost: float | None = None
    agreement_original_percent: float | None = None
    agreement_keras_percent: float | None = None
    max_difference: float | None = None
    measurement: Measurement | None = None
    ran: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the check as plain data, raw samples included."""
        return asdict(self)


def read_check(document: dict[str, Any]) -> Check:
    """Return the check that ``plain`` and JSON made plain data of."""
    measurement = document["measurement"]
    return Check(**{**document, "measurement": None if measurement is None else read_measurement(measurement)})


def check(
    artifact: Deployable, runtime: str, reference: Reference, measure: bool = False, place: Place = HERE
) -> Check:
    """Run ``artifact`` in ``runtime`` on the reference's samples and compare its outputs.

    Args:
        artifact: all that is deployed together.
        runtime: a runtime's name.
        reference: the samples, and what the outputs should be.
        measure: also measure latencies; referees never are.
        place: where it runs.
    """
    adapter = runtimes.get(runtime)
    samples = len(reference.data)
    if adapter.referee:
        loops = artifact.host is not None and artifact.host.per
        affordable = 0 if loops else int(_REFEREE_MACS / max(artifact.macs, 1))
        samples = min(samples, max(_REFEREE_FEWEST, affordable))
    samples = min(samples, samples_at_once(reference.data))
    data = reference.data.take(samples)
    of = measure_artifact if measure and not adapter.referee else run_artifact
    run = of(artifact, runtime, data.inputs, place=place, time_limit_s=CHECK_TIME_LIMIT_S)
    made = Check(
        artifact=artifact.name,
        runtime=runtime,
        runtime_version=run.runtime_version,
        referee=adapter.referee,
        ok=run.ok,
        reason=run.reason,
        samples=samples,
        measurement=run.measurement,
        ran=run.ok,
    )
    if not run.ok:
        return made
    wrong = answers_fit(run.outputs, reference.compressed, samples)
    if wrong:
        return replace(made, ok=False, reason=wrong)
    original = {name: array[:samples] for name, array in reference.original.items()}
    compressed = {name: array[:samples] for name, array in reference.compressed.items()}
    value = _metric(reference.metric, run.outputs, data.labels, samples)
    before = reference.original_metric(samples)
    lost = _lost(reference.metric, before, value)
    agrees = agreement(compressed, run.outputs)
    at_speed = run.measurement.difference_at_speed() if run.measurement else None
    reason = ""
    if at_speed is not None and at_speed > AT_SPEED:
        reason = f"computes something else when it is timed: answers differ by {at_speed:.2g} of the largest value"
    elif agrees < GARBAGE_PERCENT:
        reason = f"computes something else: it agrees with {reference.name} to {agrees:.4g} % only"
    elif reference.metric and lost is not None and reference.max_drop is not None and lost > reference.max_drop:
        reason = f"loses {lost:.3g} of the {reference.metric.name}, where the recipe allows {reference.max_drop:.3g}"
    return replace(
        made,
        ok=not reason,
        reason=reason,
        metric=value,
        metric_reference=before,
        metric_lost=lost,
        agreement_original_percent=agreement(original, run.outputs),
        agreement_keras_percent=agrees,
        max_difference=max(
            float(np.max(np.abs(run.outputs[name].astype(np.float64) - array))) for name, array in compressed.items()
        ),
    )


def samples_at_once(data: Dataset) -> int:
    """Return how many samples may be in memory at once, here and in a child."""
    bytes_of_one = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in data.inputs.values())
    return max(_REFEREE_FEWEST, _MOST_BYTES // max(bytes_of_one, 1))


def check_all(
    artifacts: tuple[Deployable, ...], reference: Reference, measure: bool, on_progress: OnProgress
) -> tuple[Check, ...]:
    """Check each artifact in each runtime that takes its format; when measuring, one after the other and no referees.

    A runtime that is not installed here is a check with its reason.
    """
    pairs = [
        (artifact, name)
        for artifact in artifacts
        for name in runtimes.for_format(artifact.format)
        if not (measure and runtimes.get(name).referee)
    ]

    def tell(place: int, made: Check, done: int) -> None:
        what = "measured" if measure else "ran"
        on_progress(Event(what, (made.artifact, f"in {made.runtime}"), done / len(pairs)))

    jobs = [partial(check, artifact, name, reference, measure) for artifact, name in pairs]
    referees = [runtimes.get(name).referee for _, name in pairs]
    return tuple(run_together(jobs, 1 if measure else _CHECKS_AT_ONCE, tell, long=referees))


def _metric(
    metric: Metric | None,
    outputs: Mapping[str, np.ndarray],
    labels: np.ndarray | Mapping[str, np.ndarray] | None,
    samples: int,
) -> float | None:
    if metric is None or labels is None:
        return None
    return metric.measure({name: array[:samples] for name, array in outputs.items()}, labels)


def _lost(metric: Metric | None, before: float | None, after: float | None) -> float | None:
    return None if metric is None or before is None or after is None else metric.lost(before, after)
