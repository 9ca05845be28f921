"""Acquire: what a caller gets, when one is made, and every way to ask wrongly."""

import asyncio
import warnings
from typing import Any

import pytest

from nebula_resource.errors import (
    ConfigurationError,
    HandleReleased,
    InternalError,
)
from nebula_resource.pool import Handle
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, now, opened, take, turns


async def test_creates_in_flight_are_bounded() -> None:
    """max_concurrent_creates bounds callers and warm-up alike; the others wait for a slot."""
    async with opened(MockResource(create=Outcome.SLOW), max_size=10, max_concurrent_creates=2) as pool:
        callers = [asyncio.create_task(_use(pool, 10.0)) for _ in range(5)]
        await turns()
        assert (pool.stats().creating, pool.stats().waiting) == (2, 3)
        assert_sound(pool)
        await asyncio.gather(*callers)
        assert now() == 13.0  # made at 1, 2 and 3 seconds, held for 10


async def test_fifo_lends_the_one_that_is_idle_longest() -> None:
    """All are used evenly."""
    async with opened(min_size=3, strategy="fifo") as pool:
        seen = [await _number(pool) for _ in range(6)]
        assert seen == [1, 2, 3, 1, 2, 3]


async def test_lifo_lends_the_one_that_came_back_last() -> None:
    """The cold ones are left to expire."""
    async with opened(min_size=3, strategy="lifo") as pool:
        assert [await _number(pool) for _ in range(3)] == [3, 3, 3]


@pytest.mark.parametrize("strategy", ["fifo", "lifo"])
async def test_order_holds_on_the_long_way_too(strategy: str) -> None:
    """A caller with a timeout, or a validation before, gets the same instance as one on the short way."""
    resource = MockResource(is_valid=Outcome.OK)
    async with opened(resource, min_size=3, strategy=strategy, validation_interval=0) as pool:
        handle = await pool.acquire(timeout=1.0)
        assert handle.value.number == (1 if strategy == "fifo" else 3)
        await handle.release()
        assert await _number(pool) == (2 if strategy == "fifo" else 3)


async def test_max_size_is_never_exceeded() -> None:
    """However many ask at once, there are never more; each is used by one at a time."""
    async with opened(max_size=3) as pool:
        await asyncio.gather(*(_use(pool, 0.1) for _ in range(50)))
        assert pool.stats().size == 3
        assert pool.stats().acquisitions == 50
        assert_no_leaks(pool)


async def test_a_hit_does_not_yield() -> None:
    """Something idle is lent and taken back in one stretch: no other task runs in between."""
    async with opened(min_size=1) as pool:
        ran: list[bool] = []
        asyncio.get_running_loop().call_soon(ran.append, True)
        for _ in range(200):
            async with pool.acquire():
                pass
        assert not ran


async def test_an_acquisition_is_used_once() -> None:
    """Entering or awaiting it a second time is an error of the caller, and takes nothing."""
    for resource in (MockResource(), MockResource(lease_entry=Outcome.OK)):
        async with opened(resource, min_size=1) as pool:
            entered = pool.acquire()
            async with entered:
                pass
            with pytest.raises(InternalError, match="before: call acquire"):
                await entered.__aenter__()
            awaited = pool.acquire(timeout=1.0)
            await (await awaited).release()
            with pytest.raises(InternalError):
                await awaited
            quick = pool.acquire()
            await (await quick).release()
            with pytest.raises(InternalError):
                await quick
            assert_no_leaks(pool)


async def test_asking_takes_nothing() -> None:
    """acquire() alone is free; an acquisition that is never entered may be dropped."""
    async with opened(min_size=1) as pool:
        dropped = [pool.acquire(), pool.acquire(timeout=1.0)]
        assert pool.stats().in_use == 0
        dropped.clear()
        assert_no_leaks(pool)


async def test_try_acquire_never_waits() -> None:
    """A handle while something is idle, None when all are out, somebody waits, or it is suspended."""
    async with opened(min_size=1, max_size=1) as pool:
        handle = pool.try_acquire()
        assert handle is not None
        assert pool.try_acquire() is None
        waiting = asyncio.create_task(_use(pool, 0.0))
        await turns(1)
        await handle.release()
        assert pool.try_acquire() is None  # it went to the one who waits
        await waiting
        pool.suspend()
        assert pool.try_acquire() is None
        pool.resume()
        again = pool.try_acquire()
        assert again is not None
        await again.release()


async def test_try_acquire_passes_over_what_needs_a_look() -> None:
    """An instance past its life or due for validation is not lent, and not lost."""
    resource = MockResource(is_valid=Outcome.OK)
    settings: dict[str, Any] = {
        "validation_interval": 10.0,
        "maintenance_interval": None,
        "max_lifetime": 100.0,
    }
    async with opened(resource, min_size=1, **settings) as pool:
        await asyncio.sleep(11)
        assert pool.try_acquire() is None
        await asyncio.sleep(100)
        assert pool.try_acquire() is None
        assert pool.stats().idle == 1


async def test_try_acquire_cannot_enter_a_lease() -> None:
    """A lease begins with an await; the message names the way."""
    async with opened(MockResource(lease_entry=Outcome.OK), min_size=1) as pool:
        with pytest.raises(ConfigurationError, match="use acquire"):
            pool.try_acquire()


async def test_a_handle_gives_value_and_instance_until_its_release() -> None:
    """Afterwards both raise; so do taint and detach."""
    async with opened(min_size=1) as pool:
        handle = await pool.acquire()
        assert handle.value is handle.instance
        assert not handle.is_released
        await handle.release()
        assert handle.is_released
        for ask in (lambda: handle.value, lambda: handle.instance, lambda: handle.taint("x"), handle.detach):
            with pytest.raises(HandleReleased) as caught:
                ask()
            assert caught.value.resource_id == "mock"


async def test_a_handle_is_a_block_too() -> None:
    """``async with handle`` releases it; releasing inside the block is no second release."""
    async with opened(min_size=1) as pool:
        handle = await pool.acquire()
        async with handle as value:
            assert value is handle.instance
            await handle.release()
        async with await pool.acquire(timeout=1.0) as value:
            assert pool.stats().in_use == 1
        assert_no_leaks(pool)


async def test_a_second_release_warns_and_does_nothing() -> None:
    """On a handle and on a quick acquisition alike."""
    async with opened(min_size=1) as pool:
        handle = await pool.acquire()
        await handle.release()
        with pytest.warns(RuntimeWarning, match="second time"):
            await handle.release()
        quick = pool.acquire()
        await quick.__aenter__()
        await quick.__aexit__(None, None, None)
        with pytest.warns(RuntimeWarning, match="second time"):
            await quick.__aexit__(None, None, None)
        assert pool.stats().releases == 2
        assert_no_leaks(pool)


async def test_the_warning_names_the_place() -> None:
    """The line that releases a second time is the one that is reported."""
    async with opened(min_size=1) as pool:
        handle = await pool.acquire()
        await handle.release()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await handle.release()
        assert caught[0].filename == __file__


async def test_usage_tells_waiting_and_holding() -> None:
    """Seconds waited; seconds held up to now and, after the release, up to it."""
    async with opened(max_size=1, use_timing="always") as pool:
        first = await pool.acquire()
        second = asyncio.create_task(_held(pool))
        await asyncio.sleep(2)
        await first.release()
        handle = await second
        await asyncio.sleep(3)
        assert (handle.usage.waited_s, handle.usage.held_s) == (2.0, 3.0)
        await handle.release()
        await asyncio.sleep(5)
        assert handle.usage.held_s == 3.0


@pytest.mark.parametrize("timing", ["always", "sampled"])
async def test_what_was_timed_is_told_by_the_next_reading(timing: str) -> None:
    """A reading is kept until it would say something else, and no longer."""
    told = []
    async with opened(min_size=1, max_size=1, use_timing=timing) as pool:
        for _ in range(130):
            async with pool.acquire():
                await asyncio.sleep(2)
            read = pool.stats()
            assert read.use is pool.stats().use
            assert read.wait is pool.stats().wait
            told.append((read.acquisitions, read.wait.count, read.use.count, read.use.total_s))
    timed = range(1, 131) if timing == "always" else [use // 64 for use in range(1, 131)]
    assert told == [(use, use, count, 2.0 * count) for use, count in enumerate(timed, 1)]


async def test_an_untimed_use_tells_no_holding() -> None:
    """held_s is None where the use was not picked."""
    async with opened(min_size=1, use_timing="off") as pool:
        handle = await pool.acquire()
        assert handle.usage.held_s is None
        await handle.release()
        assert handle.usage.held_s is None


async def test_names_say_the_state_at_night() -> None:
    """The repr of pool, handle and entry."""
    async with opened(max_size=2) as pool:
        handles = await take(pool, 2)
        waiting = asyncio.create_task(_use(pool, 0.0))
        await turns(1)
        assert repr(pool) == "<Pool 'mock' open: 2 in use, 0 idle, 1 waiting, max 2>"
        assert repr(handles[0]) == "<Handle of 'mock' on <Entry #1 IN_USE used 1×>>"
        handles[0].taint("x")
        assert "to be retired: TAINTED" in repr(handles[0])
        for handle in handles:
            await handle.release()
        assert repr(handles[0]) == "<Handle of 'mock' released>"
        await waiting


async def _use(pool: MockPool, seconds: float) -> None:
    async with pool.acquire() as value:
        with value.used():
            await asyncio.sleep(seconds)


async def _number(pool: MockPool) -> int:
    async with pool.acquire() as value:
        return int(value.number)


async def _held(pool: MockPool) -> Handle[Any]:
    return await pool.acquire()


async def test_a_good_one_behind_one_past_its_time_is_lent_at_once() -> None:
    """The old one is retired on the way, and nobody waits for its cleanup or for a creation."""
    resource = MockResource(cleanup=Outcome.SLOW)
    async with opened(resource, max_size=2, max_lifetime=100.0, maintenance_interval=None) as pool:
        first = await pool.acquire()
        await asyncio.sleep(50)
        second = await pool.acquire()
        await first.release()
        await second.release()
        await asyncio.sleep(56)  # a tick has marked the first
        began = now()
        async with pool.acquire() as value:
            assert (value.number, now()) == (2, began)
        assert pool.stats().created == 2


async def test_what_just_came_back_from_a_long_use_needs_no_look() -> None:
    """It was used until a moment ago, although it was taken many ticks before."""
    async with opened(MockResource(is_valid=Outcome.OK), min_size=1, validation_interval=10.0) as pool:
        async with pool.acquire():
            await asyncio.sleep(503)
        handle = pool.try_acquire()
        assert handle is not None
        await handle.release()
