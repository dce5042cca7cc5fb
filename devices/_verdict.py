"""The verdict: whether an artifact meets a budget on a device, and why or why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..export._deployable import Deployable
from ..figures import Figure, How
from ._latency import predict_deployable
from ._placement import Placement
from ._profile import Budget, Profile, Unsupported

_GARBAGE = 0.5
_MIB = 2**20


class Status(StrEnum):
    """What a verdict says."""

    PASS = "pass"  # every limit is met
    FAIL = "fail"  # a limit is missed, or the artifact does not compute what the model computes
    INCONCLUSIVE = "inconclusive"  # what is known does not decide
    UNSUPPORTED = "unsupported"  # the device does not run this format at this precision, or its runtime is too old


@dataclass(frozen=True)
class Evidence:
    """What was seen when an artifact ran on the golden inputs or the task's test set.

    Attributes:
        metric_reference, metric_value: of the Keras model and of the artifact; None without labels.
        metric_lost: how much worse the artifact is, in the unit of ``Budget.max_drop``; None without labels.
        agreement: share of samples, 0 to 1, on which the artifact and the Keras model choose the same; None where
            outputs are not choices.
        runtime: what ran it, with its version.
        ok: whether it ran and its outputs resemble the Keras model's.
        reason: why not, as a sentence.
        doubt: why what was seen may not hold on the device, as a sentence; empty where nothing speaks against it.
    """

    metric_reference: float | None
    metric_value: float | None
    metric_lost: float | None
    agreement: float | None
    runtime: str
    ok: bool = True
    reason: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether an artifact meets a budget on a device.

    Attributes:
        device, artifact: names.
        reasons: one sentence for each limit that was looked at, those that decide first.
        deciding: how many of them decide.
        latency: on the device, in ms: measured there, else predicted; None where nothing is known.
        memory: of the runtime with the artifact on the device at its peak, in bytes; None where nothing is known.
        unit, runtime: where and by what it runs on the device; empty where it does not.
    """

    device: str
    artifact: str
    status: Status
    reasons: tuple[str, ...]
    latency: Figure | None
    unit: str
    runtime: str
    deciding: int = 1
    memory: Figure | None = None

    @property
    def deciding_reasons(self) -> tuple[str, ...]:
        """The sentences that decide."""
        return self.reasons[: self.deciding]


_Finding = tuple[Status, str]


def judge(
    profile: Profile,
    artifact: Deployable,
    evidence: Evidence,
    budget: Budget | None = None,
    measured: Figure | None = None,
    placements: Mapping[str, Placement] | None = None,
    too_new: str = "",
    memory: Figure | None = None,
    doubt: str = "",
) -> Verdict:
    """Return the verdict on an artifact, or on the artifacts of several graphs that are deployed together.

    Args:
        budget: what it may cost; the profile's own where None.
        measured: its latency in ms. Only one measured on the device counts; any other is set aside, with a sentence.
        placements: by graph, what runs where on the device; see ``place``. Without, all is taken to run on its unit.
        too_new: why the device's runtime is too old for a file of the artifact; empty where it is not.
        memory: what its runtime takes with it at its peak, in bytes; None where that is not known.
        doubt: why the measured latency decides nothing, such as noise; empty where it does.
    """
    target = profile.target(artifact.format, artifact.precision)
    if isinstance(target, Unsupported):
        return Verdict(profile.name, artifact.name, Status.UNSUPPORTED, (target.reason,), None, "", "")
    if too_new:
        return Verdict(profile.name, artifact.name, Status.UNSUPPORTED, (too_new,), None, "", "")
    budget = profile.budget if budget is None else budget
    placements = placements or {}
    predicted = predict_deployable(profile, artifact, placements)
    if refused := _not_in_int8(artifact, placements):
        predicted = Unsupported(refused)
    on_device = measured is not None and measured.how is How.MEASURED_ON_DEVICE
    latency = measured if on_device else predicted if isinstance(predicted, Figure) else None
    findings = [
        *_judge_run(evidence),
        *_judge_metric(evidence, budget),
        *_judge_size(artifact, budget),
        *_judge_memory(memory, budget, profile),
        *_judge_latency(
            *(latency, budget, predicted.reason if isinstance(predicted, Unsupported) else ""),
            doubt if on_device else "",
        ),
    ]
    status = next(
        (status for status in (Status.FAIL, Status.INCONCLUSIVE) if any(found == status for found, _ in findings)),
        Status.PASS,
    )
    deciding = [sentence for found, sentence in findings if found == status]
    others = [sentence for found, sentence in findings if found != status]
    if not on_device:
        others += [placement.sentence for placement in placements.values()]
    if measured is not None and not on_device:
        others.append(f"The latency of {measured.value:.4g} ms, {measured.how}, is not the device's and was not used.")
    reasons = tuple(deciding + others)
    return Verdict(
        profile.name, artifact.name, status, reasons, latency, target.unit, target.runtime, len(deciding), memory
    )


def _not_in_int8(artifact: Deployable, placements: Mapping[str, Placement]) -> str:
    """Return why an int8 artifact is no int8 model to TensorRT, whose rates then say nothing of it; or nothing."""
    shares = [placement.facts.get("macs_share_in_int8") for placement in placements.values()]
    known = [share for share in shares if share is not None]
    if artifact.precision != "int8" or not known or max(known) > 0:
        return ""
    return (
        "TensorRT computes none of its products in int8. "
        'A recipe with unit = "tensorrt" writes the integers that it takes.'
    )


def _judge_run(evidence: Evidence) -> list[_Finding]:
    if not evidence.ok:
        return [(Status.FAIL, evidence.reason or f"The artifact did not run in {evidence.runtime}.")]
    return [(Status.INCONCLUSIVE, evidence.doubt)] if evidence.doubt else []


def _judge_metric(evidence: Evidence, budget: Budget) -> list[_Finding]:
    if not evidence.ok:
        return []
    if evidence.agreement is not None and evidence.agreement < _GARBAGE:
        return [
            (
                Status.FAIL,
                f"The artifact agrees with the Keras model on {evidence.agreement:.1%} of the samples only; "
                "it computes something else.",
            )
        ]
    if budget.max_drop is None:
        return []
    limit = f"{budget.max_drop:.4g} allowed"
    if evidence.metric_lost is not None:
        lost = f"The metric lost {evidence.metric_lost:.4g}"
        if evidence.metric_lost <= budget.max_drop:
            return [(Status.PASS, f"{lost}, within the {limit}.")]
        return [(Status.FAIL, f"{lost}, more than the {limit}.")]
    if evidence.agreement is None:
        return [(Status.INCONCLUSIVE, f"How much the metric lost is not known ({limit}): there are no labels.")]
    # A sample on which both choose the same is right for both or wrong for both: accuracy cannot lose more.
    most = round(100 * (1 - evidence.agreement), 9)
    sentence = f"Without labels, the accuracy lost at most {most:.4g} points, since {evidence.agreement:.2%} agree"
    if most <= budget.max_drop:
        return [(Status.PASS, f"{sentence}, within the {limit}.")]
    return [(Status.INCONCLUSIVE, f"{sentence}, and {limit}: labels would decide.")]


def _judge_size(artifact: Deployable, budget: Budget) -> list[_Finding]:
    if budget.size_bytes is None:
        return []
    size, limit = f"{artifact.size_bytes:,} bytes", f"{budget.size_bytes:,} bytes allowed"
    if artifact.size_bytes <= budget.size_bytes:
        return [(Status.PASS, f"The files take {size}, within the {limit}.")]
    return [(Status.FAIL, f"The files take {size}, more than the {limit}.")]


def _judge_memory(memory: Figure | None, budget: Budget, profile: Profile) -> list[_Finding]:
    """Judge the peak memory by the budget; without one, by all that the device has."""
    allowed = budget.memory_bytes or profile.memory.size_bytes.value
    limit = f"{allowed / _MIB:.4g} MiB {'allowed' if budget.memory_bytes else 'that the device has'}"
    if memory is None:
        return [(Status.INCONCLUSIVE, f"The memory is not known ({limit}).")] if budget.memory_bytes else []
    low = memory.value if memory.low is None else memory.low
    high = memory.value if memory.high is None else memory.high
    stated = f"{memory.value / _MIB:.4g} MiB ({low / _MIB:.4g} to {high / _MIB:.4g} MiB, {memory.how})"
    if high <= allowed:
        return [(Status.PASS, f"The memory of {stated} lies within the {limit}.")]
    if low > allowed:
        return [(Status.FAIL, f"The memory of {stated} lies above the {limit}.")]
    return [(Status.INCONCLUSIVE, f"The memory of {stated} does not decide against the {limit}.")]


def _judge_latency(latency: Figure | None, budget: Budget, unknown: str, doubt: str) -> list[_Finding]:
    if budget.latency_ms is None:
        return []
    limit = f"{budget.latency_ms:.4g} ms allowed"
    if latency is None:
        return [(Status.INCONCLUSIVE, f"The latency is not known ({limit}). {unknown}".strip())]
    low = latency.value if latency.low is None else latency.low
    high = latency.value if latency.high is None else latency.high
    stated = f"The latency of {latency.value:.4g} ms ({low:.4g} to {high:.4g} ms, {latency.how}; {latency.basis})"
    if doubt:
        return [(Status.INCONCLUSIVE, f"{stated} decides nothing against the {limit}: {doubt}.")]
    if high <= budget.latency_ms:
        return [(Status.PASS, f"{stated} lies within the {limit}.")]
    if low > budget.latency_ms:
        return [(Status.FAIL, f"{stated} lies above the {limit}.")]
    return [(Status.INCONCLUSIVE, f"{stated} does not decide against the {limit}.")]
