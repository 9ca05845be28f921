"""A scope whose block's coroutine is closed, in its loop or after it, gives everything back and raises nothing.

A coroutine is closed (GeneratorExit) by whoever drives it by hand, and by the collector when a loop ends without having
cancelled its task. It may not wait any more.
"""

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nebula_resource import OFF, Manager, current_scope
from nebula_resource.di import action
from nebula_resource.testing.clock import VirtualTimeLoop
from tests.unit.manager.things import Leasing, Thing, assert_manager_sound

Work = Callable[[Manager], Coroutine[Any, Any, None]]


async def for_ever() -> None:
    """Wait for what never comes."""
    await asyncio.get_running_loop().create_future()


async def in_a_scope(manager: Manager) -> None:
    """A lease of a block."""
    async with manager.scope(tenant="acme") as scope:
        await scope.get("thing")
        await for_ever()


async def in_two_scopes(manager: Manager) -> None:
    """A lease of each of two blocks, and one of neither."""
    async with manager.scope(tenant="acme") as around:
        await around.get("thing")
        async with manager.scope(execution="e1") as scope:
            await scope.get("thing")
            async with manager.acquire("thing"):
                await for_ever()


async def in_an_action(manager: Manager) -> None:
    """A lease of an action in a block."""

    @action
    async def act() -> None:
        scope = current_scope()
        assert scope is not None
        await scope.get("thing")
        await for_ever()

    async with manager.scope(workflow="w1"):
        await act()


USES: dict[Work, int] = {in_a_scope: 1, in_two_scopes: 3, in_an_action: 1}


@pytest.fixture(autouse=True)
def strict() -> Generator[None]:
    """Whatever Python can only print (a coroutine that resists, or was never awaited) fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()


async def begun(manager: Manager, work: Coroutine[Any, Any, None], uses: int) -> Coroutine[Any, Any, None]:
    """Drive a coroutine by hand until it has all its uses, and waits for ever."""
    while True:
        waits_for = work.send(None)
        if waits_for is not None:
            waits_for._asyncio_future_blocking = False  # what a task does when it takes the future
        await asyncio.sleep(1)
        if manager.stats()["thing"].in_use == uses and not (waits_for is None or waits_for.done()):
            return work


@pytest.mark.parametrize("kind", [Thing, Leasing])
@pytest.mark.parametrize("work", USES)
async def test_closed_while_the_loop_runs_it_ends_by_itself(work: Work, kind: type[Thing]) -> None:
    """Every lease hears how the block ended, and its instance is back."""
    async with Manager(health=OFF) as manager:
        thing = kind()
        await manager.register(thing)
        coroutine = await begun(manager, work(manager), USES[work])
        coroutine.close()
        await asyncio.sleep(1)
        assert not any(manager.scope_counts)
        assert_manager_sound(manager)
        assert thing.log.count("rollback GeneratorExit") == (USES[work] if kind is Leasing else 0)


@pytest.mark.parametrize("kind", [Thing, Leasing])
@pytest.mark.parametrize("work", USES)
def test_closed_between_two_runs_of_its_loop_it_is_lost(work: Work, kind: type[Thing]) -> None:
    """No task can be started: the pools hear of it in the next run, and lend none of it again."""
    manager = Manager(health=OFF)
    thing = kind()

    async def begin() -> Coroutine[Any, Any, None]:
        await manager.register(thing)
        return await begun(manager, work(manager), USES[work])

    async def end() -> None:
        await asyncio.sleep(1)
        assert_manager_sound(manager)
        assert manager.stats()["thing"].destroyed == {"leaked": USES[work]}
        await manager.shutdown()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        coroutine = runner.run(begin())
        coroutine.close()
        assert not any(manager.scope_counts)
        runner.run(end())


@pytest.mark.parametrize("work", USES)
def test_closed_after_its_loop_it_says_nothing_worse(work: Work) -> None:
    """There is nobody left to hear of it."""
    manager = Manager(health=OFF)

    async def begin() -> Coroutine[Any, Any, None]:
        await manager.register(Thing())
        return await begun(manager, work(manager), USES[work])

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        coroutine = runner.run(begin())
    coroutine.close()


@asynccontextmanager
async def kept(log: list[str]) -> AsyncGenerator[None]:
    """What a user keeps in a scope; it does not end well."""
    try:
        yield
    finally:
        log.append("left")
        await asyncio.sleep(1)
        raise OSError("the disk is full")


async def keeping(manager: Manager, log: list[str]) -> None:
    """A block that keeps a context manager and a finalizer beside a lease."""
    async with manager.scope(tenant="acme") as scope:
        await scope.keep("kept", kept(log))
        scope.finalizers.append(lambda error: log.append(f"finalizer {type(error).__name__}"))
        await scope.get("thing")
        await for_ever()


async def test_what_is_kept_ends_too_and_what_goes_wrong_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits, so nobody can be told."""
    async with Manager(health=OFF) as manager:
        await manager.register(Thing())
        log: list[str] = []
        coroutine = await begun(manager, keeping(manager, log), 1)
        coroutine.close()
        await asyncio.sleep(2)
        assert log == ["finalizer GeneratorExit", "left"]
        assert_manager_sound(manager)
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.getMessage() for each in told] == ["a scope that was left behind did not end well"]
    assert vars(told[0])["error"] == "OSError"


def test_what_is_kept_cannot_end_without_its_loop(caplog: pytest.LogCaptureFixture) -> None:
    """It is said how much there was of it."""
    manager = Manager(health=OFF)
    log: list[str] = []

    async def begin() -> Coroutine[Any, Any, None]:
        await manager.register(Thing())
        return await begun(manager, keeping(manager, log), 1)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        coroutine = runner.run(begin())
        coroutine.close()
        told = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert [each.getMessage() for each in told] == [
            "a scope was lost with its loop: what it kept was not ended"
        ]
        assert vars(told[0])["kept"] == 2
        runner.run(manager.shutdown())


async def test_closed_while_it_waits_for_its_end_the_outer_scopes_end_as_well() -> None:
    """The first of two ends is waited for: what goes on by itself is both."""
    async with Manager(health=OFF) as manager:
        await manager.register(Thing())
        log: list[str] = []

        async def work() -> None:
            async with manager.scope(tenant="acme") as around:
                around.finalizers.append(lambda error: log.append("outer"))
                async with manager.scope(execution="e1") as scope:
                    await scope.keep("kept", kept(log))
                    await scope.get("thing")
                    raise KeyError("of the body")

        coroutine = work()
        while "left" not in log:
            waits_for = coroutine.send(None)
            waits_for._asyncio_future_blocking = False
            await asyncio.sleep(0.1)
        coroutine.close()
        await asyncio.sleep(2)
        assert log == ["left", "outer"]
        assert_manager_sound(manager)
        assert not any(manager.scope_counts)


async def test_an_async_generator_that_is_closed_gives_its_lease_back() -> None:
    """``aclose`` may wait and need not: the end goes on by itself."""
    async with Manager(health=OFF) as manager:
        thing = Leasing()
        await manager.register(thing)

        async def rows() -> AsyncGenerator[int]:
            async with manager.scope(tenant="acme") as scope:
                await scope.get("thing")
                yield 1
                yield 2

        reading = rows()
        assert await anext(reading) == 1
        await reading.aclose()
        await asyncio.sleep(1)
        assert "rollback GeneratorExit" in thing.log
        assert_manager_sound(manager)
