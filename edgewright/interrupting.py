"""Ctrl-C that ends a command also where a library loses it."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_S = 0.5


@contextmanager
def obeyed() -> Iterator[None]:
    """Let SIGINT end the block by KeyboardInterrupt, whatever a library makes of that.

    What is raised in a callback of the garbage collector is lost, and jax has one, which TensorFlow and Keras import;
    C code drops it or raises another error in its place. So it is raised again every half a second until the block is
    being left; what cleans up then is left in peace. A handler of somebody else's stays as it is.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    if not ours or not hasattr(signal, "setitimer"):
        yield
        return
    alarms: list[Any] = []

    def again(number: int, frame: Any) -> None:
        if not _is_leaving():
            raise KeyboardInterrupt

    def interrupted(number: int, frame: Any) -> None:
        alarms.append(signal.signal(signal.SIGALRM, again))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    except Exception as error:
        if alarms:
            raise KeyboardInterrupt from error
        raise
    finally:
        if alarms:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarms[0])
        signal.signal(signal.SIGINT, before)


def _is_leaving() -> bool:
    """Tell whether what runs now runs because of a KeyboardInterrupt: in a ``finally``, or at the end of a ``with``."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
