"""Reaching a registered device: the link to it, the lease on it, and what it has, all at the beginning of a command.

A command that has much to import begins it in a thread, and imports while the device answers.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .devices import _registered, _transports
from .devices._found import Found, asked, look
from .devices._lease import Lease, check_wait, lease
from .devices._links import Link
from .devices._registered import Registered
from .registering import open_link


@dataclass(frozen=True)
class Reached:
    """A device that is reached: an open link, the lease that is held, and what it has."""

    registered: Registered
    link: Link
    held: Lease
    found: Found


@contextmanager
def reached(name: str, why: str, wait_s: float = 0) -> Iterator[Reached]:
    """Reach a registered device, and hold its lease while the block runs.

    Args:
        name: the device's.
        why: what its lease is held for, such as "deploy mnist".
        wait_s: how long to wait where somebody else uses the device, in seconds.

    Raises:
        InputError: there is no such device, or it cannot be waited for so long.
        MissingRequirement: asyncssh is missing here, or Python there.
        DeviceBusy: somebody else uses the device.
        DeviceError: it cannot be reached, or answers something else.
    """
    check_wait(wait_s)
    with ExitStack() as stack:
        yield _reach(stack, _registered.get(name), why, wait_s)


@contextmanager
def reaching(name: str, why: str, wait_s: float = 0) -> Iterator[Future[Reached]]:
    """Begin to reach a registered device, as ``reached`` does, in a thread that goes on while the block runs.

    The future's result is the device, or raises what ``reached`` does. At the block's end the lease and the link are
    given up; one that is not open yet is not waited for.

    Raises:
        InputError: there is no such device, or it cannot be waited for so long.
        MissingRequirement: asyncssh is missing here.
    """
    check_wait(wait_s)
    device = _registered.get(name)
    # What this needs is imported before the thread begins: there it would wait for what is imported meanwhile.
    _transports.get(device.url).prepare()
    asked()
    begun: Future[Reached] = Future()
    stack = ExitStack()

    def work() -> None:
        try:
            begun.set_result(_reach(stack, device, why, wait_s))
        except BaseException as error:
            begun.set_exception(error)

    threading.Thread(target=work, name=f"reaching {name}", daemon=True).start()
    try:
        yield begun
    finally:
        begun.add_done_callback(lambda _: stack.close())


def _reach(stack: ExitStack, device: Registered, why: str, wait_s: float) -> Reached:
    link = stack.enter_context(open_link(device.name))
    held = stack.enter_context(lease(link, why, wait_s=wait_s))
    return Reached(device, link, held, look(link, device.python))
