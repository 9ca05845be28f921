"""Leaks: handles held too long and handles lost, each reported once, with the place of its acquire."""

import asyncio
import gc
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nebula_resource.pool.leaks import FRAMES, caller_depth, caller_frame, capture_six, describe
from nebula_resource.pool.returns import HandleLost
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import Notes, opened, turns


@pytest.mark.parametrize("way", ["quick", "acquisition", "handle"])
async def test_one_held_too_long_is_reported_once(way: str) -> None:
    """After leak_threshold, to one tick, with the stack of its acquire; it is never taken away."""
    notes = Notes()
    async with opened(min_size=1, leak_threshold=10.0, observer=notes) as pool:
        asked: Any = pool.acquire(timeout=None if way == "quick" else 1.0)
        held = await asked if way == "handle" else asked
        value = await held.__aenter__()
        await asyncio.sleep(9.9)
        assert not notes.of("leaked")
        await asyncio.sleep(100)
        [(held_s, where)] = notes.of("leaked")
        assert 10.0 <= held_s <= 15.0
        assert __file__ in where[0]
        assert "test_one_held_too_long" in where[0]
        assert pool.stats().leaks == 1
        assert pool.stats().in_use == 1
        assert value.is_open
        await held.__aexit__(None, None, None)
        assert pool.stats().idle == 1


async def test_who_looks_for_leaks_times_every_use() -> None:
    """Not one in 64: how long a handle is held must be known of each."""
    async with opened(min_size=1, leak_threshold=5.0) as pool:
        for _ in range(3):
            handle = await pool.acquire()
            await asyncio.sleep(1)
            assert handle.usage.held_s == 1.0
            await handle.release()
        assert pool.stats().use.count == 3


async def test_the_next_use_of_an_instance_is_reported_anew() -> None:
    """Once for each use, not for each instance."""
    async with opened(min_size=1, leak_threshold=10.0) as pool:
        for leaks in (1, 2):
            async with pool.acquire():
                await asyncio.sleep(30)
            assert pool.stats().leaks == leaks


async def test_short_uses_are_no_leaks() -> None:
    """However many of them there are."""
    async with opened(min_size=1, leak_threshold=1.0) as pool:
        for _ in range(50):
            async with pool.acquire():
                await asyncio.sleep(0.9)
        assert pool.stats().leaks == 0


async def test_a_slow_release_is_no_leak() -> None:
    """What comes back is not held any more, however long its recycle takes."""
    resource = MockResource(recycle=Outcome.SLOW, slow=20.0)
    async with opened(resource, leak_threshold=1.0, recycle_timeout=30.0) as pool:
        async with pool.acquire():
            await asyncio.sleep(0.5)
        assert pool.stats().leaks == 0


@pytest.mark.parametrize("threshold", [None, 10.0])
async def test_a_collected_handle_is_a_leak(threshold: float | None) -> None:
    """It is reported at once; the instance is cleaned up and never lent again, and its place is free."""
    notes = Notes()
    resource = MockResource(recycle=Outcome.OK)
    async with opened(resource, max_size=1, observer=notes, leak_threshold=threshold) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(2)
        del handle
        gc.collect()
        await turns()
        [(held_s, where)] = notes.of("leaked")
        assert held_s == (2.0 if threshold else 0.0)
        assert bool(where) == (threshold is not None)
        assert (pool.stats().leaks, resource.calls["recycle"]) == (1, 0)
        assert pool.stats().destroyed == {"leaked": 1}
        async with pool.acquire() as value:
            assert value.number == 2


async def test_one_reported_and_then_lost_is_reported_once() -> None:
    """Held too long and then collected: one leak."""
    async with opened(leak_threshold=10.0) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(30)
        del handle
        gc.collect()
        await turns()
        assert pool.stats().leaks == 1
        assert pool.stats().destroyed == {"leaked": 1}


@pytest.mark.parametrize("threshold", [None, 1000.0])
async def test_an_abandoned_exit_stack_is_a_leak(threshold: float | None) -> None:
    """A quick acquisition says nothing when it is collected; the next tick sees that nobody holds the instance."""
    notes = Notes()
    async with opened(min_size=1, observer=notes, validation_interval=10.0, leak_threshold=threshold) as pool:
        stack = AsyncExitStack()
        await stack.enter_async_context(pool.acquire())
        await asyncio.sleep(20)
        assert not notes.of("leaked")
        del stack
        gc.collect()
        await asyncio.sleep(6)
        [(_, where)] = notes.of("leaked")
        assert bool(where) == (threshold is not None)
        assert pool.stats().destroyed == {"leaked": 1}
        assert pool.stats().idle == 1


async def test_a_lost_sampled_use_is_seen_by_the_sweep_too() -> None:
    """Without any tick the upkeep finds it."""
    quiet = {"validation_interval": None, "idle_timeout": None, "max_lifetime": None}
    async with opened(min_size=1, maintenance_interval=10.0, use_timing="sampled", **quiet) as pool:
        for _ in range(63):
            async with pool.acquire():
                pass
        stack = AsyncExitStack()
        await stack.enter_async_context(pool.acquire())
        del stack
        gc.collect()
        await asyncio.sleep(10)
        assert pool.stats().leaks == 1


async def test_a_drain_is_told_who_holds_it_up() -> None:
    """Whoever holds an instance too long is reported while the pool drains, and not only before."""
    notes = Notes()
    async with opened(min_size=1, leak_threshold=20.0, observer=notes) as pool:
        async with pool.acquire():
            assert not await pool.drain(timeout=60.0)
            [(held_s, where)] = notes.of("leaked")
            assert 20.0 <= held_s <= 30.0
            assert "test_a_drain_is_told" in where[0]
        assert pool.state.value == "drained"


@pytest.mark.parametrize("ticks", [True, False])
async def test_a_use_that_is_lost_in_a_drain_does_not_hold_it_up_for_ever(ticks: bool) -> None:
    """The tick, or without one the sweep, sees that nobody holds the instance any more; the drain ends."""
    quiet = {} if ticks else {"validation_interval": None, "idle_timeout": None, "max_lifetime": None}
    async with opened(min_size=1, **quiet) as pool:
        stack = AsyncExitStack()
        await stack.enter_async_context(pool.acquire())
        draining = asyncio.create_task(pool.drain())
        await asyncio.sleep(70)
        assert not draining.done()
        del stack
        gc.collect()
        await asyncio.sleep(60)
        assert draining.done()
        assert pool.stats().destroyed == {"leaked": 1}


async def test_a_lost_lease_is_rolled_back() -> None:
    """The lease is told that its handle was lost."""
    resource = MockResource(lease_entry=Outcome.OK)
    async with opened(resource) as pool:
        handle = await pool.acquire()
        del handle
        gc.collect()
        await turns(8)
        assert [type(outcome) for outcome in resource.outcomes] == [HandleLost]
        assert pool.stats().destroyed == {"leaked": 1}


async def test_a_coroutine_that_is_forgotten_holds_nothing() -> None:
    """One that is collected while it stands in its block gives back as if it had ended."""
    async with opened(min_size=1) as pool:

        async def forgotten() -> None:
            async with pool.acquire():
                await asyncio.get_running_loop().create_future()

        work = forgotten()
        work.send(None)
        assert pool.stats().in_use == 1
        del work
        gc.collect()
        await turns()
        assert (pool.stats().in_use, pool.stats().leaks) == (0, 0)


async def test_shared_uses_are_reported_one_by_one() -> None:
    """Each holder of a shared instance has its own clock and its own stack."""
    notes = Notes()
    async with opened(sharing="shared", leak_threshold=10.0, observer=notes) as pool:
        early = await pool.acquire()
        await asyncio.sleep(8)
        late = await pool.acquire()
        await asyncio.sleep(8)
        assert len(notes.of("leaked")) == 1
        await early.release()
        del late
        gc.collect()
        await turns()
        assert pool.stats().leaks == 2
        assert pool.stats().idle == 1  # others might have used it: it stays


def test_a_stack_of_six_frames_is_decoded_on_demand() -> None:
    """The nearest caller first; fewer where there are fewer."""

    def deep(left: int) -> Any:
        return deep(left - 1) if left else capture_six(caller_frame())

    positions = deep(10)
    words = describe(positions)
    assert len(positions) == 2 * FRAMES
    assert len(words) == FRAMES
    assert all(__file__ in word and "deep" in word for word in words)
    assert describe(None) == ()


def test_a_short_stack_is_taken_whole() -> None:
    """Near the bottom there are fewer than six."""
    frame: Any = caller_frame()
    while frame.f_back is not None:
        frame = frame.f_back
    assert len(describe(capture_six(frame))) == 1
    assert capture_six(None) == ()
    assert caller_depth() == 1
