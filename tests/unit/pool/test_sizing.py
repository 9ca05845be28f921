"""Sizing: bounds that move under load, and instances that are chosen to go."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import Unavailable, ValidationFailed
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockInstance, MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, take, turns


async def test_growing_serves_those_in_line() -> None:
    """The new room is passed on at once."""
    async with opened(max_size=1) as pool:
        [handle] = await take(pool, 1)
        waiting = [asyncio.create_task(_use(pool)) for _ in range(2)]
        await turns()
        pool.resize(max_size=3)
        await asyncio.gather(*waiting)
        assert pool.stats().max == 3
        await handle.release()


async def test_growing_min_size_fills() -> None:
    """What is missing is made in the background."""
    async with opened(max_size=5) as pool:
        pool.resize(min_size=3)
        await turns()
        assert pool.stats().idle == 3


async def test_shrinking_retires_idle_ones_now() -> None:
    """Those that lie there longest first."""
    notes = Notes()
    async with opened(min_size=4, max_size=4, observer=notes) as pool:
        pool.resize(min_size=1, max_size=2)
        await turns()
        assert [entry.birth for entry in pool.ledger.entries] == [3, 4]
        assert notes.of("resized") == [(1, 2, 4, 4)]


async def test_shrinking_retires_busy_ones_on_return_and_no_more_than_needed() -> None:
    """While a slow cleanup still counts, those that come back are not all thrown away."""
    resource = MockResource(cleanup=Outcome.SLOW)
    async with opened(resource, max_size=5) as pool:
        handles = await take(pool, 5)
        pool.resize(max_size=3)
        assert_sound(pool)  # more than the bound, and explained
        for handle in handles:
            await handle.release()
            assert_sound(pool)
        stats = pool.stats()
        assert (stats.idle, stats.retiring, stats.size) == (3, 2, 5)
        await asyncio.sleep(1.1)
        assert pool.stats().size == 3


@pytest.mark.parametrize("sync", [True, False])
async def test_one_that_is_recycled_while_the_pool_shrinks_goes(sync: bool) -> None:
    """The bound is looked at again when the recycle has ended."""
    resource = MockResource(recycle=Outcome.OK if sync else Outcome.SLOW, sync_recycle=sync)
    async with opened(resource, max_size=2) as pool:
        first, second = await take(pool, 2)
        releasing = asyncio.create_task(first.release())
        await turns(1)
        pool.resize(max_size=1)
        await releasing
        await turns()
        assert pool.stats().size == 1
        await second.release()
        assert pool.stats().idle == 1


async def test_shrink_and_grow_lose_nothing() -> None:
    """Down and up again under load: the bound holds and full capacity is there."""
    async with opened(max_size=6, min_size=2) as pool:
        workers = [asyncio.create_task(_work(pool, 30)) for _ in range(12)]
        for size in (2, 6, 3, 1 + 1, 6, 4, 6):
            await asyncio.sleep(0.35)
            pool.resize(max_size=size)
            assert_sound(pool)
        await asyncio.gather(*workers)
        handles = await take(pool, 6)
        for handle in handles:
            await handle.release()
        await turns()
        assert_no_leaks(pool)


@pytest.mark.parametrize(
    ("bounds", "fields"),
    [
        ({"max_size": 0}, {"max_size"}),
        ({"min_size": -1}, {"min_size"}),
        ({"min_size": 5, "max_size": 4}, {"min_size"}),
        ({"min_size": 11}, {"min_size"}),
        ({"max_size": "4", "min_size": 0.5}, {"max_size", "min_size"}),
    ],
)
async def test_wrong_bounds_change_nothing(bounds: dict[str, Any], fields: set[str]) -> None:
    """All violations at once, by the rules of the configuration."""
    async with opened() as pool:
        with pytest.raises(ValidationFailed) as caught:
            pool.resize(**bounds)
        assert {each.field for each in caught.value.violations} == fields
        assert (pool.stats().min, pool.stats().max) == (0, 10)


async def test_a_shared_pool_keeps_room_for_the_replaced_one() -> None:
    """Its own rules hold for a resize as well."""
    async with opened(sharing="shared") as pool:
        with pytest.raises(ValidationFailed):
            pool.resize(max_size=1)


async def test_scale_up_makes_ahead_of_need() -> None:
    """As many as asked and as there is room for; how many were made is told."""
    async with opened(MockResource(create=Outcome.SLOW), max_size=4, warm_concurrency=2) as pool:
        assert await pool.scale_up(3) == 3
        assert now() == 2.0
        assert await pool.scale_up(5) == 1
        assert await pool.scale_up(1) == 0


async def test_scale_up_ends_at_the_first_failure() -> None:
    """An ill server is not asked again and again."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    async with opened(resource, max_size=10, warm_concurrency=1) as pool:
        assert await pool.scale_up(5) == 1
        assert resource.calls["create"] == 2


async def test_scale_up_waits_for_what_it_began() -> None:
    """With several at once, those beside the failed one are waited for and counted."""
    resource = MockResource(create=[Outcome.ERROR, Outcome.SLOW])
    async with opened(resource, max_size=10, warm_concurrency=3) as pool:
        assert await pool.scale_up(3) == 2
        assert now() == 1.0


async def test_scale_up_of_a_shut_pool_is_refused() -> None:
    """Draining or closed: nothing is made."""
    async with opened() as pool:
        await pool.drain()
        with pytest.raises(Unavailable):
            await pool.scale_up(1)


async def test_scale_down_stops_at_min_size() -> None:
    """Only idle ones go, and never below what is kept."""
    async with opened(min_size=2, max_size=6) as pool:
        await pool.scale_up(3)
        held = await pool.acquire()
        assert pool.scale_down(10) == 3
        assert pool.scale_down(1) == 0
        await turns()
        assert pool.stats().size == 2
        await held.release()


async def test_retain_keeps_those_that_please() -> None:
    """Idle ones alone; those in use are not asked."""
    async with opened(min_size=4) as pool:
        held = await pool.acquire()
        assert pool.retain(lambda instance: instance.number % 2 == 0) == 1
        await turns()
        assert {entry.birth for entry in pool.ledger.entries} == {1, 2, 4, 5}
        await held.release()


async def test_a_predicate_that_raises_changes_nothing() -> None:
    """All are asked before any goes."""

    def fussy(instance: MockInstance) -> bool:
        return bool(1 / (instance.number - 3))

    async with opened(min_size=4) as pool:
        for choose in (pool.retain, pool.retire_where):
            with pytest.raises(ZeroDivisionError):
                choose(fussy)
        assert pool.stats().idle == 4


async def test_retire_where_takes_idle_ones_now_and_busy_ones_on_return() -> None:
    """With the reason given; the first reason stands."""
    async with opened(min_size=3, max_size=3) as pool:
        held = await pool.acquire()
        revoked = CleanupReason.CREDENTIAL_REVOKED
        assert pool.retire_where(lambda instance: instance.number < 3, revoked) == 2
        assert pool.retire_where(lambda instance: instance.number < 2) == 1
        await turns()
        assert (pool.stats().in_use, pool.stats().destroyed) == (1, {"credential_revoked": 1})
        assert held.value.is_open
        await held.release()
        await turns()
        assert pool.stats().destroyed == {"credential_revoked": 2}


async def test_a_predicate_that_fails_costs_an_instance_and_nothing_else() -> None:
    """Of one being made nobody could say whether it is meant: it goes, that is told, and its caller gets the next."""
    notes = Notes()
    bug = ValueError("a bug of the predicate")

    def fails(instance: MockInstance) -> bool:
        raise bug

    async with opened(MockResource(create=Outcome.SLOW), observer=notes) as pool:
        asking = asyncio.create_task(_number(pool))
        await turns()
        assert pool.retire_where(fails) == 0
        assert await asking == 2
        assert notes.of("failed") == [bug]
        assert pool.stats().destroyed == {"evicted": 1}
        with pytest.raises(ValueError, match="predicate"):
            pool.retire_where(fails)  # of what is there, its caller hears, and nothing goes
        assert pool.stats().idle == 1


async def test_retire_where_asks_those_being_made_as_well() -> None:
    """An instance made with a revoked credential is not lent: its caller gets the next one."""
    async with opened(MockResource(create=Outcome.SLOW), max_size=2) as pool:
        asking = asyncio.create_task(_number(pool))
        probing = asyncio.create_task(_probe(pool))
        await turns()
        assert pool.recycle_all() == 0
        assert await asking == 3
        with pytest.raises(Exception, match="retired as soon"):
            await probing
        assert pool.stats().destroyed == {"evicted": 2}
        assert pool.recycle_all() == 1  # the judgement is over
        await asyncio.sleep(1.5)
        assert await _number(pool) == 4
        assert pool.stats().generation == 2


async def test_retire_where_serves_those_in_line_again() -> None:
    """Idle ones of a suspended pool go; nobody is forgotten when it resumes."""
    async with opened(min_size=1, max_size=1) as pool:
        pool.suspend()
        waits = asyncio.create_task(_number(pool))
        await turns()
        assert pool.recycle_all() == 1
        await turns()
        pool.resume()
        assert await waits == 2


async def test_recycle_all_replaces_everything() -> None:
    """Idle now, busy on return, checked when the check ends; min_size is there again."""
    resource = MockResource(is_valid=Outcome.SLOW)
    async with opened(resource, min_size=3, validation_interval=10.0, maintenance_interval=None) as pool:
        held = await pool.acquire()
        await asyncio.sleep(20)
        checked = asyncio.create_task(_number(pool))
        await turns()
        assert pool.recycle_all() == 3
        assert await checked > 3
        await held.release()
        await asyncio.sleep(1.5)  # the check ends, for nobody
        assert {entry.birth for entry in pool.ledger.entries} == {4, 5, 6}


async def _use(pool: MockPool) -> None:
    async with pool.acquire():
        pass


async def _number(pool: MockPool) -> int:
    async with pool.acquire() as value:
        return int(value.number)


async def _probe(pool: MockPool) -> None:
    async with pool.borrow(fresh=True):
        pass


async def _work(pool: MockPool, times: int) -> None:
    for _ in range(times):
        async with pool.acquire() as value:
            with value.used():
                await asyncio.sleep(0.03)
