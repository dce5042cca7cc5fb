"""One attempt at all artifacts: what was converted, how it ran, what is right, and why the rest is not."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .checks import KERAS, Check
from .export import Conversion, Deployable

# XNNPACK's kernels may agree with the reference by so much less than the built-in ones, in points, before it is told.
_KERNELS_APART = 2.0
# What is right and agrees with the reference by less is told of, in percent.
_FAR = 80.0


@dataclass(frozen=True)
class Attempt:
    """What came of an attempt.

    Attributes:
        conversions: of every graph to every format and precision.
        tried: what was converted whole.
        checks: how each of them ran in each runtime.
    """

    conversions: tuple[Conversion, ...]
    tried: tuple[Deployable, ...]
    checks: tuple[Check, ...]

    @cached_property
    def right(self) -> tuple[Deployable, ...]:
        """What ran, and is what the reference computes, in a runtime other than a referee."""
        return tuple(each for each in self.tried if any(made.ok for made in self._judging(each)))

    @cached_property
    def failures(self) -> dict[str, str]:
        """By format and precision, why there is no artifact; by graph too, where one could not be converted."""
        found = {}
        for deployable in self.tried:
            if deployable not in self.right:
                reasons = "; ".join(f"{made.runtime}: {made.reason}" for made in self._judging(deployable))
                found[deployable.name] = reasons or "no runtime here runs it"
        return found | {conversion_name(made): made.reason for made in self.conversions if not made.artifact}

    @property
    def garbage(self) -> list[tuple[str, str]]:
        """What ran and computes something else, by format and precision, each with a runtime that it did so in."""
        right = {deployable.name for deployable in self.right}
        wrong = {made.artifact: made.runtime for made in self.checks if made.ran and not (made.ok or made.referee)}
        return [pair for pair in wrong.items() if pair[0] not in right]

    def why_not(self, name: str) -> str:
        """Return why there is no artifact of a format and precision, such as "tflite int8"."""
        return "; ".join(reason for key, reason in self.failures.items() if key == name or key.startswith(f"{name} "))

    def replaced_by(self, other: "Attempt") -> "Attempt":
        """Return this attempt with what is right in another in the place of what failed here."""
        names = {deployable.name for deployable in other.right}

        def merged(mine: tuple[Any, ...], others: tuple[Any, ...], name_of: Callable[[Any], str]) -> tuple[Any, ...]:
            kept = tuple(each for each in mine if name_of(each) not in names)
            return (*kept, *(each for each in others if name_of(each) in names))

        return Attempt(
            merged(self.conversions, other.conversions, lambda made: f"{made.format} {made.precision}"),
            merged(self.tried, other.tried, lambda deployable: deployable.name),
            merged(self.checks, other.checks, lambda made: made.artifact),
        )

    def kernel_notes(self, reference: str = KERAS) -> tuple[str, ...]:
        """Return a sentence for each TFLite artifact that XNNPACK computes worse than the built-in kernels do.

        Args:
            reference: what the artifacts were compared with; see ``Reference.name``.
        """
        agreed = {
            (made.artifact, made.runtime): made for made in self.checks if made.agreement_keras_percent is not None
        }
        notes = []
        for (artifact, runtime), kernels in agreed.items():
            xnnpack = agreed.get((artifact, "litert"))
            if runtime != "litert_kernels" or xnnpack is None or xnnpack.samples != kernels.samples:
                continue
            ours, theirs = xnnpack.agreement_keras_percent or 0.0, kernels.agreement_keras_percent or 0.0
            if theirs - ours > _KERNELS_APART:
                notes.append(
                    f"{artifact}: with XNNPACK it agrees with {reference} to {ours:.4g} %, with LiteRT's built-in "
                    f"kernels to {theirs:.4g} %: run it without XNNPACK."
                )
        return tuple(notes)

    def far_notes(self, reference: str = KERAS) -> tuple[str, ...]:
        """Return a sentence for each artifact that is right by the gate and far from the reference in every runtime.

        Args:
            reference: what the artifacts were compared with; see ``Reference.name``.
        """
        notes = []
        for deployable in self.right:
            found = [made.agreement_keras_percent for made in self._judging(deployable) if made.ok]
            agreed = max((each for each in found if each is not None), default=100.0)
            if agreed < _FAR:
                notes.append(
                    f"{deployable.name} agrees with {reference} to {agreed:.4g} % only: judge it by labelled samples, "
                    "with max_drop in the recipe, before it is used."
                )
        return tuple(notes)

    def _judging(self, deployable: Deployable) -> list[Check]:
        return [made for made in self.checks if made.artifact == deployable.name and not made.referee]


def conversion_name(made: Conversion) -> str:
    """Return a conversion's format, precision and graph, such as "onnx int8 decoder"."""
    graph = "" if made.graph == "model" else f" {made.graph}"
    return f"{made.format} {made.precision}{graph}"
