"""Borrowing: a probe's instance, reserved or fresh, that counts like any other."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import CreateFailed
from nebula_resource.model.health import Postponed
from nebula_resource.testing.asserts import assert_no_leaks
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, opened, turns


async def test_an_idle_one_is_reserved() -> None:
    """It is being checked meanwhile, is no use, and goes back afterwards."""
    async with opened(min_size=1, max_size=1) as pool:
        async with pool.borrow() as borrowed:
            assert borrowed.instance.number == 1
            assert (pool.stats().checking, pool.stats().idle) == (1, 0)
            waiting = asyncio.create_task(_use(pool))
            await turns()
        await waiting
        assert pool.stats().acquisitions == 1
        assert_no_leaks(pool)


async def test_a_good_probe_is_a_check() -> None:
    """What a probe has just found well is not asked again before it is lent; what was not probed is."""
    resource = MockResource(is_valid=Outcome.OK)
    settings: dict[str, Any] = {
        "validation_interval": 10.0,
        "maintenance_interval": None,
        "idle_timeout": None,
    }
    async with opened(resource, min_size=1, **settings) as pool:
        await asyncio.sleep(12)
        async with pool.borrow():
            pass
        await asyncio.sleep(4)  # a tick has looked
        await _use(pool)
        assert resource.calls["is_valid"] == 0
        await asyncio.sleep(16)
        await _use(pool)
        assert resource.calls["is_valid"] == 1


async def test_a_fresh_one_is_made_and_kept() -> None:
    """With fresh, or with nothing idle; it counts in max_size."""
    async with opened(max_size=2) as pool:
        async with pool.borrow() as first, pool.borrow(fresh=True) as second:
            assert (first.instance.number, second.instance.number) == (1, 2)
            with pytest.raises(Postponed):
                await pool.borrow().__aenter__()
        assert pool.stats().idle == 2
        assert pool.stats().acquisitions == 0


async def test_a_pool_full_of_idle_ones_gives_one_of_them() -> None:
    """No room for a fresh one: an idle one is looked at, so that a recovery is not postponed for ever."""
    async with opened(min_size=1, max_size=1) as pool:
        async with pool.borrow(fresh=True) as borrowed:
            assert borrowed.instance.number == 1
            with pytest.raises(Postponed):
                await pool.borrow(fresh=True).__aenter__()
        assert_no_leaks(pool)


@pytest.mark.parametrize("how", ["bad", "raises"])
async def test_one_that_fails_its_probe_goes(how: str) -> None:
    """Said so, or raised: what a torn check leaves behind is unknown. Those in line are served."""
    async with opened(min_size=1, max_size=1) as pool:
        waiting = None
        try:
            async with pool.borrow() as borrowed:
                waiting = asyncio.create_task(_use(pool))
                await turns()
                if how == "raises":
                    raise ZeroDivisionError
                borrowed.is_good = False
        except ZeroDivisionError:
            pass
        await asyncio.wait_for(waiting, 5.0) if waiting else None
        assert pool.stats().destroyed == {"health_check_failed": 1}


async def test_a_failed_creation_is_raised() -> None:
    """The probe learns why."""
    async with opened(MockResource(create=Outcome.ERROR)) as pool:
        with pytest.raises(CreateFailed):
            await pool.borrow().__aenter__()


async def test_a_cancelled_probe_loses_nothing() -> None:
    """While its instance is made, in the turn it is there, and while it looks."""
    for delay in (0.5, 1.0, 1.5):
        async with opened(MockResource(create=Outcome.SLOW), max_size=1) as pool:
            probing = asyncio.create_task(_probe(pool))
            asyncio.get_running_loop().call_later(delay, probing.cancel)
            await asyncio.wait((probing,))
            assert probing.cancelled()
            await asyncio.sleep(1)
            assert_no_leaks(pool)
            assert pool.stats().idle == (0 if delay == 1.5 else 1)


async def test_a_drain_ends_the_wait_for_a_fresh_one() -> None:
    """What is made for a probe of a pool that drains goes at once, and the probe is told."""
    async with opened(MockResource(create=Outcome.SLOW)) as pool:
        probing = asyncio.create_task(_probe(pool))
        await turns()
        await pool.drain()
        with pytest.raises(Postponed):
            await probing
        await turns()
        assert pool.stats().size == 0


async def test_a_close_takes_it_back() -> None:
    """The probe ends later and finds the books closed."""
    async with opened(min_size=1) as pool:
        async with pool.borrow():
            await pool.close(0.0)
        assert pool.stats().size == 0


async def test_a_shared_one_in_use_is_probed_where_it_is() -> None:
    """Its holders keep it; a bad one is replaced for those who come."""
    async with opened(sharing="shared") as pool:
        handle = await pool.acquire()
        async with pool.borrow() as borrowed:
            assert borrowed.instance is handle.value
            assert pool.stats().in_use == 1
        async with pool.acquire() as value:
            assert value is handle.value
        async with pool.borrow() as borrowed:
            borrowed.is_good = False
        async with pool.acquire() as value:
            assert value is not handle.value
        await handle.release()
        await turns()
        assert pool.stats().destroyed == {"health_check_failed": 1}


async def _use(pool: MockPool) -> None:
    async with pool.acquire():
        pass


async def _probe(pool: MockPool) -> None:
    async with pool.borrow():
        await asyncio.sleep(10)
