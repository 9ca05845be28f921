"""Limits of a wait: deadlines, tokens, time-outs and what they say."""

import asyncio
from typing import Any

import pytest

from nebula_resource._aio import CancellationToken
from nebula_resource.errors import AcquireCancelled, AcquireTimeout, CreateFailed, PoolExhausted
from nebula_resource.model.context import ResourceContext
from nebula_resource.testing.asserts import assert_no_leaks
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, take, turns


@pytest.mark.parametrize(
    ("acquire_timeout", "timeout", "deadline", "expected"),
    [
        (3.0, None, None, 3.0),
        (3.0, 2.0, None, 2.0),
        (3.0, 9.0, None, 3.0),
        (3.0, None, 1.5, 1.5),
        (3.0, 2.0, 2.5, 2.0),
        (3.0, 0.0, None, 0.0),
        (3.0, None, -1.0, 0.0),
    ],
)
async def test_the_earliest_limit_counts_exactly(
    acquire_timeout: float, timeout: float | None, deadline: float | None, expected: float
) -> None:
    """The pool's, the call's and the context's: the first ends the wait to the tick, and the error says how long."""
    notes = Notes()
    async with opened(max_size=1, acquire_timeout=acquire_timeout, observer=notes) as pool:
        handle = await pool.acquire()
        context = None if deadline is None else ResourceContext(deadline=deadline)
        with pytest.raises(AcquireTimeout) as caught:
            await pool.acquire(context, timeout=timeout)
        assert (now(), caught.value.waited_s) == (expected, expected)
        assert (caught.value.operation, caught.value.retryable) == ("acquire", True)
        assert isinstance(caught.value, TimeoutError)
        assert (pool.stats().timeouts, notes.of("rejected")) == (1, [("timeout", expected)])
        assert not pool.line.waiters
        await handle.release()


async def test_one_deadline_across_all_retries() -> None:
    """An acquire that finds one bad instance after another ends at its first deadline."""
    resource = MockResource(is_valid=Outcome.SLOW, slow=2.0)
    resource.says_valid = False
    async with opened(resource, max_size=5, validation_interval=0) as pool:
        assert await pool.scale_up(5) == 5
        with pytest.raises(AcquireTimeout) as caught:
            await pool.acquire(timeout=5.0)
        assert (now(), caught.value.waited_s) == (5.0, 5.0)


async def test_a_failed_create_is_the_cause_of_the_timeout() -> None:
    """The real error is not hidden behind a time-out; a failure before the wait is none of its causes."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR, Outcome.NEVER])
    async with opened(resource, max_size=2) as pool:
        handle = await pool.acquire()
        waiting = [asyncio.create_task(_handle(pool, 5.0)) for _ in range(2)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], CreateFailed)
        assert isinstance(results[1], AcquireTimeout)
        assert results[1].__cause__ is not None
        assert type(results[1].__cause__) is CreateFailed
        with pytest.raises(AcquireTimeout) as later:
            await pool.acquire(timeout=1.0)
        assert later.value.__cause__ is None
        await handle.release()


async def test_no_caller_reads_of_the_empty_shelf() -> None:
    """The errors of an acquire do not show how the quick way found nothing."""
    async with opened(max_size=1, max_waiting=1, acquire_timeout=1.0) as pool:
        handle = await pool.acquire()
        patient = asyncio.create_task(_hold(pool, 0.0))
        await turns(1)
        for expected in (PoolExhausted, AcquireTimeout):
            with pytest.raises(expected) as caught:
                await (_hold(pool, 0.0) if expected is PoolExhausted else patient)
            assert caught.value.__suppress_context__
        await handle.release()


async def test_a_token_ends_the_wait_at_once() -> None:
    """Cancelled before, while waiting in line, or while one is made: AcquireCancelled, and nothing is leaked."""
    async with opened(MockResource(create=[Outcome.OK, Outcome.SLOW]), max_size=2) as pool:
        handle = await pool.acquire()
        for delay in (None, 0.5):
            token = CancellationToken()
            context = ResourceContext(cancellation=token)
            if delay is None:
                token.cancel()
            else:
                asyncio.get_running_loop().call_later(delay, token.cancel)
            started = now()
            with pytest.raises(AcquireCancelled) as caught:
                await pool.acquire(context)
            assert now() == started + (delay or 0.0)
            assert not caught.value.retryable
        second = await pool.acquire()
        token = CancellationToken()
        asyncio.get_running_loop().call_later(1.0, token.cancel)
        with pytest.raises(AcquireCancelled):
            await pool.acquire(ResourceContext(cancellation=token))
        assert pool.stats().cancelled == 3
        await handle.release()
        await second.release()
        assert_no_leaks(pool)


async def test_the_timer_of_the_line_serves_later_ones_too() -> None:
    """Deadlines of many callers fall one after the other, each exactly."""
    ended: list[float] = []

    async def caller(delay: float) -> None:
        await asyncio.sleep(delay)
        with pytest.raises(AcquireTimeout):
            await pool.acquire()
        ended.append(now())

    async with opened(max_size=1, acquire_timeout=10.0) as pool:
        handle = await pool.acquire()
        served = asyncio.create_task(caller(2.0))
        others = [asyncio.create_task(caller(delay)) for delay in (0.0, 1.0, 5.0)]
        await asyncio.gather(served, *others)
        assert ended == [10.0, 11.0, 12.0, 15.0]
        await handle.release()


async def _handle(pool: MockPool, timeout: float) -> Any:
    return await pool.acquire(timeout=timeout)


async def _hold(pool: MockPool, seconds: float) -> None:
    async with pool.acquire() as value:
        with value.used():
            await asyncio.sleep(seconds)


async def test_a_crowd_that_gives_up_costs_nothing() -> None:
    """Ten thousand callers time out in one turn; the line is empty, and the instance is lent on."""
    async with opened(max_size=1, acquire_timeout=1.0) as pool:
        [handle] = await take(pool, 1)
        crowd = [asyncio.create_task(_hold(pool, 0.0)) for _ in range(10_000)]
        results = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(result) for result in results} == {AcquireTimeout}
        assert not pool.line.waiters
        await handle.release()
        await _hold(pool, 0.0)
