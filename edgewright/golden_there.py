"""Golden inputs on a device: what a deployed artifact answered to them, and whether that is what the model answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .agreement import GARBAGE_PERCENT, agreement, answers_fit, largest_difference
from .errors import GateFailed
from .export import Deployable
from .runtimes import Run, run_artifact
from .runtimes._place import HERE, Place

# Of the run, in seconds.
_LIMIT_S = 300.0
# So many points less than this host's run of the same file may agree with them: one of 16 golden samples is 6.25.
_POINTS = 10.0


@dataclass(frozen=True)
class Golden:
    """What the device answered to the golden inputs.

    Attributes:
        samples: how many.
        agreement_percent: with the golden outputs, which are Keras' (see ``agreement_percent``).
        difference: the largest difference from what this host computes with the same file and runtime, as a share of
            the largest value; 0 where all is the same to the bit. None where this host did not run it.
        version_here: of the runtime on this host; None where it did not run it.
    """

    samples: int
    agreement_percent: float
    difference: float | None
    version_here: str | None

    @property
    def bit_exact(self) -> bool | None:
        """Whether the device's answers are this host's to the bit; None where this host did not run it."""
        return None if self.difference is None else self.difference == 0


def run_golden(
    deployable: Deployable, runtime: str, inputs: Path | Mapping[str, np.ndarray], place: Place = HERE
) -> Run:
    """Return what a deployable answers to golden inputs, or to those of a bundle's golden.npz, in a place."""
    return run_artifact(deployable, runtime, inputs, place=place, time_limit_s=_LIMIT_S)


def judged(run: Run, here: Run | None, expected: Mapping[str, np.ndarray], what: str, before: str | None) -> Golden:
    """Return what golden inputs showed.

    Args:
        run, here: on the device, and of the same file on this host; None where there was none.
        expected: the golden outputs, ``[samples, ...]`` by name.
        what: ran, for messages.
        before: the version that is current and stays so; None where there is none.

    Raises:
        GateFailed: it did not run there, or computed something else.
    """
    stays = f"version {before} is current still" if before else "nothing is current there"
    if not run.ok:
        raise GateFailed(f"Expected {what} to run on the golden inputs. Got: {run.reason}; {stays}.")
    samples = len(next(iter(expected.values())))
    if wrong := answers_fit(run.outputs, expected, samples):
        raise GateFailed(f"Expected {what} to answer the golden inputs. Got: {wrong}; {stays}.")
    agrees = agreement(expected, run.outputs)
    compared = here if here is not None and here.ok else None
    least = GARBAGE_PERCENT
    if compared:
        least = max(least, agreement(expected, compared.outputs) - _POINTS)
    if agrees < least:
        raise GateFailed(
            f"Expected {what} to agree with the golden outputs to {least:.4g} % or more. Got: {agrees:.4g} %; {stays}."
        )
    difference = largest_difference(compared.outputs, run.outputs) if compared else None
    return Golden(samples, agrees, difference, compared.runtime_version if compared else None)
