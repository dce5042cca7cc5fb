"""A figure and how it was obtained; the two are never parted."""

from dataclasses import dataclass
from enum import StrEnum


class How(StrEnum):
    """How a figure was obtained."""

    MEASURED_ON_DEVICE = "measured on the device"
    MEASURED_HERE = "measured here"
    EMULATED = "emulated"
    PREDICTED = "predicted"


@dataclass(frozen=True)
class Figure:
    """One number with its interval and its origin.

    Attributes:
        value: the number, in the unit that the field holding it names (``latency_ms``).
        how: how it was obtained.
        low, high: the interval around it, in the same unit; None where none was estimated.
        basis: what the number rests on, in a few words ("p50 of 400 runs, 1 thread", "roofline").
    """

    value: float
    how: How
    low: float | None = None
    high: float | None = None
    basis: str = ""
