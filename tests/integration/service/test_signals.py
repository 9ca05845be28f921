"""Signals: the first asks, the second is the kernel's, and the handlers from before come back."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette

from nebula_resource import Manager
from nebula_resource.errors import Unavailable
from nebula_resource.service import serve, stop_on_signal
from nebula_resource.service.signals import ENDING
from nebula_resource.testing import MockResource


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


class Slow:
    """An application whose start waits for ever, as one does for a database that does not answer."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.undone: list[str] = []
        self.app = Starlette(lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.undone.append("the start")
        yield


async def test_a_signal_during_the_start_ends_it_in_good_order() -> None:
    """It is not waited for: what was begun is undone, the manager shut down, and there is a report as ever."""
    slow, manager = Slow(), Manager()
    serving = asyncio.ensure_future(serve(slow.app, manager=manager, port=0))
    await slow.began.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    report = await asyncio.wait_for(serving, 20)
    assert (str(report).partition(",")[0], slow.undone) == ("0 drained", ["the start"])
    with pytest.raises(Unavailable):
        await manager.register(MockResource("db"), {})


async def test_who_is_cancelled_during_the_start_is_cancelled() -> None:
    """By whoever awaits it, not by a signal."""
    slow = Slow()
    serving = asyncio.ensure_future(serve(slow.app, manager=Manager(), port=0))
    await slow.began.wait()
    serving.cancel()
    await asyncio.wait((serving,))
    assert serving.cancelled()
