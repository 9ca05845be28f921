"""Signals: the first asks, the second is the kernel's, and the handlers from before come back."""

import asyncio
import os
import signal
import threading

import pytest

from nebula_resource.service import stop_on_signal
from nebula_resource.service.signals import ENDING


@pytest.mark.parametrize("number", ENDING)
async def test_the_first_signal_asks_and_the_next_would_kill(number: signal.Signals) -> None:
    """It is told which signal came; from then on both have their default; afterwards all is as it was."""
    before = {each: signal.getsignal(each) for each in ENDING}
    told: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    with stop_on_signal(told.set_result):
        os.kill(os.getpid(), number)
        assert await told == number
        assert {signal.getsignal(each) for each in ENDING} == {signal.SIG_DFL}
    assert {each: signal.getsignal(each) for each in ENDING} == before


async def test_without_a_signal_nothing_changes() -> None:
    """A block that ends by itself leaves the handlers as they were."""
    before = {each: signal.getsignal(each) for each in ENDING}
    with stop_on_signal(lambda _: None):
        pass
    assert {each: signal.getsignal(each) for each in ENDING} == before


def test_in_another_thread_signals_are_left_alone() -> None:
    """Python lets only the main thread handle signals: elsewhere the block just runs."""
    done: list[bool] = []

    async def block() -> None:
        with stop_on_signal(lambda _: None):
            done.append(True)

    thread = threading.Thread(target=lambda: asyncio.run(block()))
    thread.start()
    thread.join()
    assert done == [True]
