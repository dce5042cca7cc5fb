"""edgewright/: Ctrl-C and SIGTERM end a command, whatever a library makes of them."""

import gc
import os
import signal
import sys
import time

import pytest

from edgewright.cli_options import end
from edgewright.interrupting import obeyed


def _interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def _loses_it():
    """Be interrupted in a callback of the garbage collector, where Python ignores what is raised."""
    gc.callbacks.append(lambda *_: _interrupt())
    try:
        gc.collect(0)
    finally:
        gc.callbacks.pop()


@pytest.fixture(autouse=True)
def _as_in_a_terminal():
    """Python's own handler of SIGINT, also where the tests were begun in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_interrupt_comes_again():
    """What a callback of the garbage collector swallows ends the block within two seconds."""
    with pytest.raises(KeyboardInterrupt), obeyed():
        _loses_it()
        began = time.monotonic()
        while time.monotonic() - began < 2:
            pass
    assert time.monotonic() - began < 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_its_place_is_the_interrupt():
    """What a library raises instead of the interrupt ends the block as an interrupt, and an error alone as itself."""

    def converted():
        try:
            _interrupt()
        except KeyboardInterrupt as error:
            raise RuntimeError("calling __set_name__") from error

    with pytest.raises(KeyboardInterrupt), obeyed():
        converted()
    with pytest.raises(ValueError, match="of itself"), obeyed():
        raise ValueError("of itself")


def test_what_cleans_up_is_left_in_peace():
    """An interrupt that is obeyed is not raised again while the block is being left."""
    cleaned = []
    with pytest.raises(KeyboardInterrupt), obeyed():
        try:
            _interrupt()
        finally:
            began = time.monotonic()
            while time.monotonic() - began < 1.2:
                pass
            cleaned.append(True)
    assert cleaned
    time.sleep(0.6)  # and never afterwards


@pytest.mark.parametrize("of_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_an_interrupt_for_as_long_as_a_command_runs(of_ctrl_c):
    """A command that is told to end leaves its block as at Ctrl-C, in the background too, where that is ignored.

    Before and afterwards, SIGTERM means what it did.
    """
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, of_ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt), obeyed():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_every_command_as_ctrl_c_does(capsys):
    """A command that is told to end, whichever it is, takes away what it began and ends with 130."""
    left_by = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            left_by.append(sys.exc_info()[0])

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as left:
            end("deploy", False, work)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.code == 130 and left_by == [KeyboardInterrupt]
    assert "edgewright deploy: interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("keeps", [True, False])
def test_only_what_keeps_its_stages_says_so(keeps, capsys):
    """An interrupted command ends with 130, and tells that stages are kept where they are."""

    def work():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        end("inspect", False, work, keeps_stages=keeps)
    assert left.value.code == 130
    assert ("finished stages are kept" in capsys.readouterr().err) == keeps
