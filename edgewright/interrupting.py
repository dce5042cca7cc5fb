"""Ctrl-C, and SIGTERM like it, that end a command also where a library loses them."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_S = 0.5
_DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def obeyed() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block by KeyboardInterrupt, whatever a library makes of that.

    What is half written is taken away and child processes end, then, as a CI job that is cancelled wants it too.

    What is raised in a callback of the garbage collector is lost, and jax has one, which TensorFlow and Keras import;
    C code drops it or raises another error in its place. So it is raised again every half a second until the block is
    being left; what cleans up then is left in peace. Handlers of somebody else's stay as they are.
    """
    handlers = {number: handler for number, handler in _DEFAULTS.items() if signal.getsignal(number) is handler}
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        handlers = {}
    if not handlers:
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

    for number in handlers:
        signal.signal(number, interrupted)
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
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_leaving() -> bool:
    """Tell whether what runs now runs because of a KeyboardInterrupt: in a ``finally``, or at the end of a ``with``."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
