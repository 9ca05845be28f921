"""Opening: what is made before the first caller comes, and what becomes of an opening that fails."""

import asyncio

import pytest

from nebula_resource.errors import (
    CreateFailed,
    InvalidStateTransition,
    Unavailable,
)
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockError, MockResource, Outcome
from tests.unit.pool.support import MockPool, now, opened, turns


async def test_open_fills_to_min_size() -> None:
    """What is kept is there when open returns, made at most warm_concurrency at a time."""
    resource = MockResource(create=Outcome.SLOW)
    async with opened(resource, min_size=5, warm_concurrency=2, max_concurrent_creates=5) as pool:
        assert pool.stats().idle == 5
        assert now() == 3.0  # two at a time: 2, 4, 5


async def test_nothing_is_made_at_open_without_warm_up() -> None:
    """With warm_on_register off, the first caller pays, and the rest is made behind it."""
    async with opened(min_size=3, warm_on_register=False) as pool:
        await asyncio.sleep(30)
        assert pool.stats().size == 0
        async with pool.acquire():
            await turns()
            assert pool.stats().size == 3


async def test_upkeep_fills_a_pool_that_was_not_warmed() -> None:
    """The first sweep makes what is missing to min_size, though nobody asked."""
    async with opened(min_size=2, warm_on_register=False, maintenance_interval=60.0) as pool:
        await asyncio.sleep(59.9)
        assert pool.stats().size == 0
        await asyncio.sleep(0.2)
        assert pool.stats().size == 2


async def test_a_pool_that_is_not_open_refuses() -> None:
    """Before open: not_open; after close: closed; both at once and not retryable."""
    pool: MockPool = Pool(MockResource(), None, PoolConfig())
    for why in ("not_open", "closed"):
        for ask in (pool.acquire().__aenter__, pool.acquire(timeout=1.0).__aenter__):
            with pytest.raises(Unavailable) as caught:
                await ask()
            assert (caught.value.why, caught.value.retryable) == (why, False)
            assert caught.value.resource_id == "mock"
        with pytest.raises(Unavailable):
            pool.try_acquire()
        if why == "not_open":
            await pool.open()
            await pool.close()
    assert_sound(pool)


async def test_a_pool_is_opened_once() -> None:
    """A second open is refused, while the first runs, after it, and after a close."""
    pool: MockPool = Pool(MockResource(create=Outcome.SLOW), None)
    first = asyncio.create_task(pool.open())
    await turns(1)
    with pytest.raises(InvalidStateTransition):
        await pool.open()
    await first
    with pytest.raises(InvalidStateTransition):
        await pool.open()
    await pool.close()
    with pytest.raises(InvalidStateTransition):
        await pool.open()
    assert pool.stats().created == 1


async def test_an_open_that_makes_nothing_fails() -> None:
    """The error is the create's own; the pool is closed and holds nothing."""
    pool: MockPool = Pool(MockResource(create=Outcome.ERROR), None, PoolConfig(min_size=3))
    with pytest.raises(CreateFailed) as caught:
        await pool.open()
    assert isinstance(caught.value.cause, MockError)
    await pool.close()
    assert_sound(pool)


async def test_an_open_that_makes_something_serves() -> None:
    """One failed create among several does not fail the open; what is missing follows after the back-off."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR, Outcome.OK])
    async with opened(resource, min_size=2, warm_concurrency=1) as pool:
        assert pool.stats().size == 1
        await asyncio.sleep(0.5)
        assert pool.stats().size == 2


async def test_a_cancelled_open_leaves_nothing() -> None:
    """What was being made is cleaned up by the pool."""
    resource = MockResource(create=Outcome.SLOW)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=2))
    opening = asyncio.create_task(pool.open())
    await asyncio.sleep(0.5)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await pool.close()
    assert not resource.alive
    assert_sound(pool)


async def test_a_close_during_open_wins() -> None:
    """The opener is told; nothing is served and nothing is left."""
    resource = MockResource(create=Outcome.SLOW)
    pool: MockPool = Pool(resource, None)
    opening = asyncio.create_task(pool.open())
    await turns(2)
    await pool.close()
    with pytest.raises(Unavailable, match="closed"):
        await opening
    assert pool.stats().state == "closed"
    assert not resource.alive
