"""The line: order of arrival, its length, and every limit of a wait."""

import asyncio
import random
from typing import Any

import pytest

from nebula_resource.errors import AcquireTimeout, PoolExhausted
from nebula_resource.pool.waiters import Line, time_out
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, timers_of_pools, turns


async def test_whoever_comes_first_is_served_first() -> None:
    """A hundred callers over two instances are served in the order they came."""
    served: list[int] = []

    async def caller(number: int) -> None:
        async with pool.acquire():
            served.append(number)
            await asyncio.sleep(0.1)

    async with opened(max_size=2) as pool:
        await asyncio.gather(*(caller(number) for number in range(100)))
        assert served == list(range(100))


async def test_nobody_overtakes_the_line() -> None:
    """A caller who comes when one has just been given back stands behind those who wait."""
    async with opened(max_size=1) as pool:
        first = await pool.acquire()
        order: list[str] = []
        waits = asyncio.create_task(_note(pool, order, "waited"))
        await turns(1)
        await first.release()
        late = asyncio.create_task(_note(pool, order, "came late"))
        await asyncio.gather(waits, late)
        assert order == ["waited", "came late"]


async def test_what_comes_back_goes_to_whoever_came_first_even_if_one_is_made_for_them() -> None:
    """A caller for whom a slow creation runs gets the instance that is given back meanwhile."""
    async with opened(MockResource(create=[Outcome.OK, Outcome.NEVER]), max_size=3) as pool:
        handle = await pool.acquire()
        served_at: list[float] = []

        async def caller() -> None:
            async with pool.acquire():
                served_at.append(now())

        waiting = asyncio.create_task(caller())
        await asyncio.sleep(2)
        assert (pool.stats().creating, pool.stats().waiting) == (1, 0)
        await handle.release()
        await waiting
        assert served_at == [2.0]
        assert_sound(pool)


async def test_max_waiting_bounds_the_line() -> None:
    """One more than allowed is refused at once, with the numbers; those who wait are not touched."""
    notes = Notes()
    async with opened(max_size=1, max_waiting=2, observer=notes) as pool:
        handle = await pool.acquire()
        waiting = [asyncio.create_task(_hold(pool, 1.0)) for _ in range(2)]
        await turns(1)
        with pytest.raises(PoolExhausted) as caught:
            await pool.acquire()
        assert (caught.value.max_size, caught.value.waiting, caught.value.retryable) == (1, 2, True)
        assert now() == 0.0
        waiting[0].cancel()
        third = asyncio.create_task(
            _hold(pool, 1.0)
        )  # the cancelled one does not count, from this very turn on
        await turns(2)
        await handle.release()
        await asyncio.gather(*waiting, third, return_exceptions=True)
        assert (pool.stats().exhausted, notes.of("rejected")) == (1, [("exhausted", 0.0)])


async def test_one_who_left_what_was_made_for_it_is_not_counted() -> None:
    """Neither as waiting nor as one for whom something is done: the line behind is as long as it is."""
    async with opened(MockResource(create=Outcome.SLOW), max_size=1, max_waiting=1) as pool:
        gone = asyncio.create_task(_hold(pool, 0.0))
        await turns()
        gone.cancel()
        await asyncio.wait((gone,))
        assert not pool.line.attended
        waiting = asyncio.create_task(_hold(pool, 0.0))
        await turns()
        assert pool.stats().waiting == 1
        with pytest.raises(PoolExhausted):
            await pool.acquire()
        await waiting


async def test_a_line_of_length_zero_never_waits() -> None:
    """max_waiting=0 is a pool without a line."""
    async with opened(max_size=1, max_waiting=0) as pool:
        handle = await pool.acquire()
        with pytest.raises(PoolExhausted):
            await pool.acquire(timeout=5.0)
        await handle.release()


async def test_fail_fast_makes_but_does_not_wait() -> None:
    """With room one is made; without, the caller is refused at once."""
    async with opened(MockResource(create=Outcome.SLOW), max_size=1, backpressure="fail_fast") as pool:
        handle = await pool.acquire()
        assert now() == 1.0
        with pytest.raises(PoolExhausted):
            await pool.acquire()
        assert now() == 1.0
        await handle.release()


async def test_a_cancelled_caller_leaves_the_line() -> None:
    """The one behind is served; the cancellation is not swallowed."""
    async with opened(max_size=1) as pool:
        handle = await pool.acquire()
        gone = asyncio.create_task(_hold(pool, 0.0))
        stays = asyncio.create_task(_hold(pool, 0.0))
        await turns(1)
        gone.cancel()
        await turns(2)
        assert gone.cancelled()
        assert pool.stats().waiting == 1
        await handle.release()
        await stays
        assert pool.stats().cancelled == 1


async def test_those_who_have_just_left_are_not_counted() -> None:
    """In the turn of their cancellation already: the first in line is the first who still waits."""
    async with opened(max_size=1) as pool:
        handle = await pool.acquire()
        gone = asyncio.create_task(_hold(pool, 0.0))
        await asyncio.sleep(1)
        stays = asyncio.create_task(_hold(pool, 0.0))
        await asyncio.sleep(1)
        gone.cancel()
        assert (pool.stats().waiting, pool.stats().oldest_wait_s) == (1, 1.0)
        await handle.release()
        await stays
        assert gone.cancelled()


async def test_a_caller_cancelled_in_the_turn_it_was_served_passes_it_on() -> None:
    """The instance goes to the next in line, uncounted."""
    async with opened(max_size=1) as pool:
        handle = await pool.acquire()
        unlucky = asyncio.create_task(_hold(pool, 0.0))
        lucky = asyncio.create_task(_hold(pool, 0.0))
        await turns(1)
        await handle.release()
        unlucky.cancel()
        await asyncio.gather(unlucky, lucky, return_exceptions=True)
        assert unlucky.cancelled()
        assert pool.stats().acquisitions == 2
        assert_no_leaks(pool)


async def test_fail_line_tells_everybody_who_waits() -> None:
    """Those in line and those for whom one is being made; each gets an error of their own."""
    async with opened(MockResource(create=[Outcome.OK, Outcome.SLOW]), max_size=2) as pool:
        handle = await pool.acquire()
        waiting = [asyncio.create_task(_hold(pool, 0.0)) for _ in range(3)]
        await turns(2)
        assert pool.fail_line(lambda: PoolExhausted(9, 9)) == 3
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, PoolExhausted) for result in results)
        assert len(set(map(id, results))) == 3
        await handle.release()


async def test_those_who_left_leave_nothing_in_line() -> None:
    """Behind one that waits long, short waits come and go; the line forgets them."""
    loop = asyncio.get_running_loop()
    line = Line(1000.0)
    line.settle_in(loop)
    stays: asyncio.Future[Any] = loop.create_future()
    line.join(stays, loop.time())
    for _ in range(1000):
        brief: asyncio.Future[Any] = loop.create_future()
        line.join(brief, loop.time())
        brief.set_result(None)
        line.leave(brief)
    assert [waiter for waiter, _ in line] == [stays]
    line.close()
    line.close()


async def test_waits_are_counted_in_the_statistics() -> None:
    """Waiting, the oldest wait, the histogram of waits: hits count as no wait."""
    async with opened(max_size=1) as pool:
        async with pool.acquire():
            waiting = asyncio.create_task(_hold(pool, 0.0))
            await asyncio.sleep(2)
            assert (pool.stats().waiting, pool.stats().oldest_wait_s) == (1, 2.0)
        await waiting
        stats = pool.stats()
        assert (stats.waiting, stats.oldest_wait_s) == (0, None)
        assert stats.wait.count == stats.acquisitions == 2
        assert stats.wait.total_s == 2.0


async def test_a_caller_s_own_limit_changes_nothing_about_what_is_counted() -> None:
    """A wait that has a timer of its own is a wait, and the timer goes with it."""
    async with opened(max_size=1) as pool:
        async with pool.acquire():
            waiting = asyncio.create_task(_timed(pool, 10.0))
            await asyncio.sleep(2)
        await waiting
        assert (pool.stats().wait.count, pool.stats().wait.total_s) == (2, 2.0)
        assert [timer.when() for timer in timers_of_pools() if timer.when() == 10.0] == []


async def _timed(pool: MockPool, timeout: float) -> None:
    async with pool.acquire(timeout=timeout):
        pass


async def _note(pool: MockPool, order: list[str], word: str) -> None:
    async with pool.acquire():
        order.append(word)


async def _hold(pool: MockPool, seconds: float) -> None:
    async with pool.acquire() as value:
        with value.used():
            await asyncio.sleep(seconds)


@pytest.mark.parametrize("timing", ["sampled", "always"])
async def test_whoever_is_cancelled_in_line_is_counted_and_forgotten(timing: Any) -> None:
    """Each kind of quick acquisition leaves the line; those behind move up."""
    async with opened(max_size=1, use_timing=timing) as pool:
        handle = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire().__aenter__()) for _ in range(3)]
        await turns(2)
        waiting[1].cancel()
        await turns(2)
        assert waiting[1].cancelled()
        assert (pool.stats().cancelled, pool.stats().waiting) == (1, 2)
        await handle.release()
        await turns(2)
        assert [task.done() for task in waiting] == [True, True, False]
        waiting[2].cancel()


@pytest.mark.parametrize("seed", range(20))
async def test_a_line_is_a_queue_whoever_leaves_it(seed: int) -> None:
    """Joining, leaving anywhere and being served, in any order: against a plain list."""
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    line = Line(1000.0)
    line.settle_in(loop)
    expected: list[asyncio.Future[Any]] = []
    for _ in range(400):
        what = dice.random()
        if what < 0.45:
            waiter: asyncio.Future[Any] = loop.create_future()
            if not line.join_others(waiter, loop.time()):
                assert not expected, "somebody stands at the front, and nobody behind them"
                line.join(waiter, loop.time())
            expected.append(waiter)
        elif expected and what < 0.7:
            gone = expected.pop(dice.randrange(len(expected)))
            if dice.random() < 0.5:
                gone.cancel()
            else:
                time_out(gone)
            line.leave(gone)
        elif what < 0.9:
            assert line.next() is (expected.pop(0) if expected else None)
        first = line.first()
        assert (first[0] if first else None) is (expected[0] if expected else None)
        assert [waiter for waiter, _ in line if not waiter.done()] == expected
        assert len(line) == len(expected)
        assert bool(line.waiters) >= bool(expected)
        assert len(list(line)) <= 2 * len(expected) + 1, "gaps are closed in time"
    line.close()


@pytest.mark.parametrize("timing", ["sampled", "always"])
async def test_each_kind_of_quick_wait_ends_in_time(timing: Any) -> None:
    """By the pool's own limit, as an `AcquireTimeout` that names no inner matter of the pool."""
    async with opened(max_size=1, use_timing=timing, acquire_timeout=3.0) as pool:
        handle = await pool.acquire()
        with pytest.raises(AcquireTimeout) as caught:
            await pool.acquire().__aenter__()
        assert (now(), caught.value.waited_s, caught.value.__suppress_context__) == (3.0, 3.0, True)
        await handle.release()


async def test_one_who_has_just_timed_out_hides_nobody_behind() -> None:
    """Its own task has not run yet; whoever stands behind is the first who waits."""
    loop = asyncio.get_running_loop()
    line = Line(1000.0)
    line.settle_in(loop)
    timed_out: asyncio.Future[Any] = loop.create_future()
    behind: asyncio.Future[Any] = loop.create_future()
    line.join(timed_out, 0.0)
    line.join(behind, 1.0)
    time_out(timed_out)
    assert not line.join_others(loop.create_future(), 2.0), (
        "nobody waits at the front, as far as that can see"
    )
    assert line.first() == (behind, 1.0)
    line.close()
