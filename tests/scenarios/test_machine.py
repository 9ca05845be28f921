"""machine: what is taken off a measured time is the machine's doing, and nothing else."""

import os
import signal
import time

import pytest

from tests.scenarios.machine import Waits, watched

pytestmark = pytest.mark.alone


def test_a_machine_that_stands_still_is_noticed() -> None:
    """Nearly all of it is taken off, once, even where no thread of ours was ready.

    A process that is stopped for a while cannot tell that from a machine that stands still.
    """
    with watched() as watcher:
        waits = Waits()
        os.kill(watcher.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(watcher.pid, signal.SIGCONT)
        watcher.looks_again()
        assert waits.take() >= 0.25
        assert waits.take() < 0.1


@pytest.mark.parametrize("blocks", ["sleeps", "computes"])
def test_what_we_hold_up_ourselves_is_not_taken_off(blocks: str) -> None:
    """A loop that is blocked for a third of a second stays a third of a second late."""
    with watched() as watcher:
        waits, until = Waits(), time.monotonic() + 0.3
        if blocks == "sleeps":
            time.sleep(0.3)
        while time.monotonic() < until:
            pass
        watcher.looks_again()
        assert waits.take() < 0.15
