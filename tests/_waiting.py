"""Waiting in tests until something is so."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def met(condition: Callable[[], T], seconds: float = 20.0) -> T:
    """Ask until the answer is true, and return the last one; what was so once may not be so any more."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return answer
