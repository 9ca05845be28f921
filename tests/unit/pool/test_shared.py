"""Shared pools: one resident instance for everybody, replaced without two being lent as one."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import CircuitOpen, CreateFailed, PoolExhausted
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, turns
from tests.unit.pool.test_capacity import Budget


async def test_all_get_the_same_instance() -> None:
    """Many handles, one instance; in_use is 1, each use counts."""
    resource = MockResource(recycle=Outcome.OK)
    async with opened(resource, sharing="shared") as pool:
        handles = [await pool.acquire() for _ in range(20)]
        assert len({handle.value for handle in handles}) == 1
        stats = pool.stats()
        assert (stats.in_use, stats.size, stats.acquisitions, stats.releases) == (1, 1, 20, 0)
        for handle in handles:
            await handle.release()
        assert (pool.stats().idle, pool.stats().releases) == (1, 20)
        assert resource.calls["recycle"] == 0


async def test_the_first_callers_share_one_creation() -> None:
    """Single flight: all who come while it is made get it."""
    resource = MockResource(create=Outcome.SLOW)
    async with opened(resource, sharing="shared") as pool:
        holding = [asyncio.create_task(_use(pool)) for _ in range(10)]
        await turns()
        assert (pool.stats().creating, pool.stats().waiting) == (1, 10)
        assert_sound(pool)
        await asyncio.gather(*holding)
        assert (resource.calls["create"], now()) == (1, 1.0)


async def test_a_failed_creation_is_everybody_s() -> None:
    """All who waited for it are told, each with an error of their own; the next caller tries again."""
    resource = MockResource(create=[Outcome.ERROR, Outcome.OK], turns=1)
    async with opened(resource, sharing="shared") as pool:
        results = await asyncio.gather(*(_use(pool) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [CreateFailed] * 3
        assert len(set(map(id, results))) == 3
        await _use(pool)


async def test_it_fails_fast_only_where_waiting_is_for_others() -> None:
    """With FAIL_FAST those who come while it is made get it; with an open circuit they are refused."""
    resource = MockResource(create=[Outcome.SLOW, Outcome.ERROR])
    async with opened(resource, sharing="shared", backpressure="fail_fast", circuit_threshold=1) as pool:
        await asyncio.gather(*(_use(pool) for _ in range(3)))
        pool.recycle_all()
        await turns()
        with pytest.raises(CreateFailed):
            await _use(pool)
        with pytest.raises(CircuitOpen):
            await _use(pool)


async def test_no_room_for_a_replacement_means_waiting() -> None:
    """Two doomed ones still held: the next caller waits, or is refused, until a holder leaves."""
    async with opened(sharing="shared", max_size=2, backpressure="fail_fast") as pool:
        first = await pool.acquire()
        first.taint("x")
        second = await pool.acquire()
        second.taint("x")
        assert first.value is not second.value
        with pytest.raises(PoolExhausted):
            await pool.acquire()
        await first.release()
        await turns()
        third = await pool.acquire()
        assert third.value.number == 3
        await second.release()
        await third.release()


async def test_a_doomed_one_counts_until_its_last_holder_leaves() -> None:
    """New callers get the new one at once; nobody who holds the old one notices."""
    async with opened(sharing="shared", max_size=2) as pool:
        old = [await pool.acquire() for _ in range(3)]
        pool.recycle_all()
        new = await pool.acquire()
        assert (new.value.number, pool.stats().size) == (2, 2)
        for handle in old:
            assert handle.value.is_open
            await handle.release()
        await turns()
        assert (pool.stats().size, pool.stats().destroyed) == (1, {"evicted": 1})
        await new.release()


async def test_a_broken_one_is_replaced() -> None:
    """is_broken is asked when a handle comes back; the others keep theirs to the end."""
    async with opened(MockResource(looks_broken=True), sharing="shared") as pool:
        first, second = await pool.acquire(), await pool.acquire()
        first.value.broken = True
        await first.release()
        assert second.value.is_open
        async with pool.acquire() as value:
            assert value.number == 2
        await second.release()
        await turns()
        assert pool.stats().destroyed == {"broken": 1}


async def test_bodies_that_raise_change_nothing() -> None:
    """There is no on_error for what others use as well."""
    async with opened(sharing="shared", on_error="retire") as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.acquire():
                raise ZeroDivisionError
        assert pool.stats().idle == 1


@pytest.mark.parametrize("held", [True, False])
async def test_an_expired_one_is_replaced(held: bool) -> None:
    """Idle it goes when somebody asks, or in upkeep; in use when its last holder has left."""
    async with opened(sharing="shared", max_lifetime=100.0, maintenance_interval=None) as pool:
        handle = await pool.acquire()
        if not held:
            await handle.release()
        await asyncio.sleep(101)
        async with pool.acquire() as value:
            assert value.number == 2
        if held:
            await handle.release()
        await turns()
        assert pool.stats().destroyed == {"expired": 1}


@pytest.mark.parametrize("ticks", [True, False])
async def test_an_old_one_serves_on_while_nothing_can_take_its_place(ticks: bool) -> None:
    """A second one past its time beside one that somebody holds for hours: no room for a third, and nobody starves."""
    settings: dict[str, Any] = {"maintenance_interval": 10.0 if ticks else None, "acquire_timeout": 1.0}
    async with opened(sharing="shared", max_size=2, max_lifetime=100.0, **settings) as pool:
        held = await pool.acquire()
        await asyncio.sleep(101)
        second = await pool.acquire()
        await asyncio.sleep(101)
        async with pool.acquire() as value:
            assert value.number == second.value.number == 2
        await held.release()
        await turns()
        async with pool.acquire() as value:
            assert value.number == 3
        await second.release()
        await turns()
        assert pool.stats().destroyed == {"expired": 2}
        assert_no_leaks(pool)


@pytest.mark.parametrize("ticks", [True, False])
async def test_an_old_one_serves_on_while_the_budget_has_no_place_for_another(ticks: bool) -> None:
    """There is room in the pool and none in the budget: until there is, callers get the one past its time."""
    budget = Budget(1)
    settings: dict[str, Any] = {"maintenance_interval": 10.0 if ticks else None, "acquire_timeout": 1.0}
    async with opened(capacity=budget, sharing="shared", max_lifetime=100.0, **settings) as pool:
        held = await pool.acquire()
        await asyncio.sleep(151)
        async with pool.acquire() as value:
            assert value.number == held.value.number == 1
        ready = pool.try_acquire()
        assert ready is not None
        await ready.release()
        budget.places = 2
        async with pool.acquire() as value:
            assert value.number == 2
        await held.release()
        await turns()
        assert (pool.stats().destroyed, budget.taken) == ({"expired": 1}, 1)


async def test_an_old_one_that_served_on_goes_with_its_last_holder() -> None:
    """Nobody came since there was a place for another: it is not lent again all the same."""
    async with opened(capacity=Budget(1), sharing="shared", max_lifetime=100.0) as pool:
        held = await pool.acquire()
        await asyncio.sleep(151)
        await held.release()
        await turns()
        assert (pool.stats().destroyed, pool.stats().size) == ({"expired": 1}, 0)
        async with pool.acquire() as value:
            assert value.number == 2


@pytest.mark.parametrize("leave", ["taint", "replace", "check"])
async def test_a_replacement_that_the_budget_refuses_waits_for_the_place_of_the_old_one(leave: str) -> None:
    """What must not be lent any more is not: callers wait until its last holder has left, and then get a new one."""
    budget = Budget(1)
    resource = MockResource(is_valid=Outcome.OK)
    settings: dict[str, Any] = {"validation_interval": 10.0, "maintenance_interval": 10.0}
    async with opened(resource, capacity=budget, sharing="shared", **settings) as pool:
        held = await pool.acquire()
        if leave == "taint":
            held.taint("x")
        elif leave == "replace":
            pool.recycle_all()
        else:
            resource.says_valid = False
            await asyncio.sleep(25)
            resource.says_valid = True
        waiting = [asyncio.create_task(_use(pool)) for _ in range(3)]
        await turns()
        assert_sound(pool)
        assert (pool.stats().waiting, budget.taken) == (3, 1)
        await held.release()
        await asyncio.gather(*waiting)
        assert (pool.stats().created, budget.taken) == (2, 1)


async def test_an_expired_one_is_dismissed_between_two_ticks() -> None:
    """The desk reads the clock itself."""
    settings: dict[str, Any] = {
        "validation_interval": None,
        "idle_timeout": None,
        "maintenance_interval": None,
    }
    async with opened(sharing="shared", max_lifetime=100.0, min_size=1, **settings) as pool:
        [first] = pool.ledger.entries
        assert first.expires_at is not None
        await asyncio.sleep(first.expires_at)  # each lives up to 5 % less; the tick comes at 100
        async with pool.acquire() as value:
            assert value.number == 2


async def test_an_idle_one_that_is_not_due_is_lent_unasked() -> None:
    """Also on the long way, which every caller of a shared instance takes."""
    resource = MockResource(is_valid=Outcome.OK)
    async with opened(resource, sharing="shared", min_size=1, validation_interval=10.0) as pool:
        await _use(pool)
        await _use(pool)
        assert resource.calls["is_valid"] == 0


async def test_an_idle_one_that_is_due_is_checked_for_all() -> None:
    """One check, all callers wait for it; when it fails one is made for all."""
    resource = MockResource(is_valid=Outcome.SLOW)
    settings: dict[str, Any] = {"validation_interval": 10.0, "maintenance_interval": None}
    async with opened(resource, sharing="shared", **settings) as pool:
        await _use(pool)
        await asyncio.sleep(20)
        assert pool.try_acquire() is None
        await asyncio.gather(*(_use(pool) for _ in range(5)))
        assert (resource.calls["is_valid"], now()) == (1, 21.0)
        resource.says_valid = False
        await asyncio.sleep(20)
        resource.script("cleanup", Outcome.SLOW)
        await asyncio.gather(*(_use(pool) for _ in range(5)))
        assert (resource.calls["create"], now()) == (2, 42.0)  # nobody waited for the cleanup


async def test_one_in_use_is_checked_where_it_is() -> None:
    """Upkeep looks at a resident that is never idle; a useless one is replaced, its holders stay."""
    notes = Notes()
    resource = MockResource(is_valid=Outcome.SLOW)
    settings: dict[str, Any] = {"validation_interval": 10.0, "maintenance_interval": 10.0}
    async with opened(resource, sharing="shared", observer=notes, **settings) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(35)
        assert resource.calls["is_valid"] == 2
        assert pool.stats().in_use == 1
        resource.says_valid = False
        await asyncio.sleep(20)
        assert notes.of("validation_failed") == [None]
        assert handle.value.is_open
        async with pool.acquire() as value:
            assert value.number == 2
        await handle.release()
        await turns()
        assert pool.stats().destroyed == {"health_check_failed": 1}


async def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    """The instance is gone by the time its check in place says no."""
    resource = MockResource(is_valid=Outcome.SLOW, slow=3.0)
    settings: dict[str, Any] = {"validation_interval": 10.0, "maintenance_interval": 10.0}
    async with opened(resource, sharing="shared", **settings) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(11)
        resource.says_valid = False
        handle.taint("x")
        await handle.release()
        await asyncio.sleep(5)
        assert pool.stats().destroyed == {"tainted": 1}


async def test_try_acquire_shares() -> None:
    """A handle on the resident, idle or in use; None while there is none."""
    async with opened(sharing="shared") as pool:
        assert pool.try_acquire() is None
        await _use(pool)
        first = pool.try_acquire()
        second = pool.try_acquire()
        assert first is not None
        assert second is not None
        assert first.value is second.value
        await first.release()
        await second.release()
        await turns()
        assert_no_leaks(pool)


async def test_suspension_holds_all_and_resumption_serves_all() -> None:
    """Everybody in line gets the resident at once."""
    async with opened(sharing="shared", min_size=1) as pool:
        pool.suspend()
        waiting = [asyncio.create_task(_use(pool)) for _ in range(5)]
        await turns()
        assert pool.stats().waiting == 5
        pool.resume()
        await asyncio.gather(*waiting)
        assert pool.stats().created == 1


async def test_a_cancelled_caller_is_no_holder() -> None:
    """Served and cancelled in one turn: the holder that never was does not count."""
    async with opened(MockResource(create=Outcome.SLOW), sharing="shared") as pool:
        task = asyncio.create_task(_use(pool))
        other = asyncio.create_task(_use(pool, 5.0))
        asyncio.get_running_loop().call_at(1.0, task.cancel)
        await asyncio.wait((task, other))
        assert (pool.stats().idle, pool.stats().acquisitions) == (1, 2 - task.cancelled())


async def test_a_second_one_is_not_kept() -> None:
    """A scale-up makes none beside the resident; one that was made for a probe goes afterwards."""
    async with opened(sharing="shared") as pool:
        assert await pool.scale_up(3) == 1
        assert await pool.scale_up(1) == 0
        async with pool.borrow(fresh=True) as borrowed:
            assert borrowed.instance.number == 2
        await turns()
        assert (pool.stats().size, pool.stats().destroyed) == (1, {"evicted": 1})


async def test_the_oldest_hold_is_that_of_the_oldest_holder() -> None:
    """Every use has its own beginning."""
    async with opened(sharing="shared", use_timing="always") as pool:
        early = await pool.acquire()
        await asyncio.sleep(5)
        late = await pool.acquire()
        await asyncio.sleep(2)
        assert pool.stats().oldest_hold_s == 7.0
        await early.release()
        assert pool.stats().oldest_hold_s == 2.0
        await late.release()
        assert pool.stats().use.total_s == 9.0


async def _use(pool: MockPool, seconds: float = 0.0) -> None:
    async with pool.acquire():
        if seconds:
            await asyncio.sleep(seconds)
