"""The capacity port: a budget is asked before each create, told when an instance is gone, and may take one."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import ConfigurationError, CreateFailed
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, now, opened, turns


class Budget:
    """So many places, in one pool; it writes down what it is asked."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self.wanted: list[int] = []

    def take(self) -> bool:
        if self.taken >= self.places:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        self.taken -= 1
        assert self.taken >= 0, "more given back than taken"

    def want(self, waiting: int) -> None:
        self.wanted.append(waiting)


async def test_every_place_is_given_back() -> None:
    """After failures, cancellations, taints, a forced close: taken equals what exists, and in the end nothing."""
    budget = Budget(3)
    resource = MockResource(
        create=[Outcome.OK, Outcome.ERROR, Outcome.SLOW, Outcome.OK], cleanup=Outcome.SLOW
    )
    async with opened(resource, capacity=budget) as pool:
        held = await pool.acquire()
        with pytest.raises(CreateFailed):
            await pool.acquire()
        gone = asyncio.create_task(_use(pool))
        await turns()
        gone.cancel()
        await asyncio.sleep(2)
        assert budget.taken == pool.stats().size == 2
        held.taint("x")
        await held.release()
        assert budget.taken == pool.stats().size == 2  # the server has not let go of it
        await asyncio.sleep(1.1)
        assert budget.taken == pool.stats().size == 1
        await pool.acquire()
    assert budget.taken == 0


@pytest.mark.parametrize("sharing", ["exclusive", "shared"])
async def test_without_a_place_callers_wait_until_one_is_granted(sharing: str) -> None:
    """The budget hears how many wait, and withdraws; grant starts what may be started. To wait for it is sound."""
    budget = Budget(0)
    async with opened(capacity=budget, sharing=sharing) as pool:
        waiting = [asyncio.create_task(_use(pool)) for _ in range(2)]
        await turns()
        assert_sound(pool)
        assert (pool.stats().waiting, budget.wanted[-1]) == (2, 2)
        budget.places = 1
        pool.grant()
        await asyncio.gather(*waiting)
        assert budget.wanted[-1] == 0
        assert pool.stats().created == 1


async def test_a_caller_who_leaves_wants_no_more() -> None:
    """Cancelled or timed out, it is withdrawn."""
    budget = Budget(0)
    async with opened(capacity=budget) as pool:
        gone = asyncio.create_task(_use(pool))
        late = asyncio.create_task(_use(pool, timeout=1.0))
        await turns()
        gone.cancel()
        await asyncio.wait((gone, late))
        assert (budget.wanted[-1], now()) == (0, 1.0)


async def test_a_hit_asks_nobody() -> None:
    """Only creations cost places."""
    budget = Budget(1)
    async with opened(capacity=budget, min_size=1) as pool:
        before = len(budget.wanted)
        for _ in range(10):
            await _use(pool)
        assert (len(budget.wanted), budget.taken) == (before, 1)


async def test_a_grant_fills_to_min_size() -> None:
    """What is kept was held back by the budget and is made when it grants."""
    budget = Budget(1)
    async with opened(capacity=budget, min_size=3) as pool:
        assert pool.stats().idle == 1
        budget.places = 3
        pool.grant()
        await turns()
        assert pool.stats().idle == 3


async def test_an_idle_one_may_be_taken_for_others() -> None:
    """spare retires the one that lies idle longest, STOLEN; False when none is idle."""
    budget = Budget(2)
    async with opened(capacity=budget, strategy="lifo") as pool:
        assert await pool.scale_up(2) == 2
        assert pool.spare()
        budget.places = 1
        await turns()
        assert [entry.birth for entry in pool.ledger.entries] == [2]
        assert (pool.stats().destroyed, budget.taken) == ({"stolen": 1}, 1)
        async with pool.acquire():
            assert not pool.spare()
        assert_no_leaks(pool)


async def test_an_instance_under_a_budget_cannot_be_detached() -> None:
    """Its place could never be given back."""
    async with opened(capacity=Budget(1)) as pool:
        handle = await pool.acquire()
        with pytest.raises(ConfigurationError):
            handle.detach()
        await handle.release()


async def _use(pool: MockPool, **limits: Any) -> None:
    async with pool.acquire(**limits):
        pass
