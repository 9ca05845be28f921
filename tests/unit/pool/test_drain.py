"""Suspend, resume and drain: who waits, who is refused, and when it is over."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import InvalidStateTransition, PoolExhausted, Unavailable
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, take, turns


async def test_a_suspended_pool_lets_callers_wait() -> None:
    """Nothing is lent, not even what is idle or comes back; resume serves the line in order."""
    notes = Notes()
    async with opened(min_size=1, max_size=2, observer=notes) as pool:
        held = await pool.acquire()
        pool.suspend()
        order: list[int] = []
        waiting = [asyncio.create_task(_note(pool, order, number)) for number in range(3)]
        await turns()
        await held.release()
        await asyncio.sleep(5)
        assert (pool.stats().waiting, pool.stats().idle, order) == (3, 1, [])
        assert_sound(pool)
        pool.suspend()
        pool.resume()
        pool.resume()
        await asyncio.gather(*waiting)
        assert order == [0, 1, 2]
        assert [note[0] for note in notes.notes if note[0] in {"suspended", "resumed"}] == [
            "suspended",
            "resumed",
        ]


async def test_a_suspended_pool_may_refuse() -> None:
    """With fail, those in line and those who come are told, retryable; without it again, they wait."""
    async with opened(max_size=1) as pool:
        held = await pool.acquire()
        waiting = asyncio.create_task(_use(pool))
        await turns()
        pool.suspend(fail=True)
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable) as caught:
            await _use(pool)
        assert (caught.value.why, caught.value.retryable) == ("suspended", True)
        with pytest.raises(Unavailable):
            pool.try_acquire()
        pool.suspend(fail=False)
        patient = asyncio.create_task(_use(pool))
        await turns()
        await held.release()
        pool.resume()
        await patient


async def test_waiting_for_a_suspended_pool_has_its_limits() -> None:
    """FAIL_FAST and max_waiting hold for a suspended pool, too."""
    async with opened(min_size=1, backpressure="fail_fast") as pool:
        pool.suspend()
        with pytest.raises(PoolExhausted):
            await _use(pool)


async def test_what_lies_idle_at_resumption_goes_to_whoever_came_first() -> None:
    """Even to one for whom another is being made since before the suspension."""
    async with opened(MockResource(create=[Outcome.OK, Outcome.SLOW]), max_size=2) as pool:
        held = await pool.acquire()
        served: list[float] = []

        async def caller() -> None:
            async with pool.acquire():
                served.append(now())

        early = asyncio.create_task(caller())
        await turns()
        pool.suspend()
        await held.release()
        pool.resume()
        await early
        assert served == [0.0]
        await asyncio.sleep(2)
        assert pool.stats().idle == 2


@pytest.mark.parametrize("step", ["create", "is_valid"])
async def test_what_is_made_or_checked_meanwhile_waits_as_its_caller_does(step: str) -> None:
    """A suspended pool lends nothing, whatever it began to do for a caller before; at resumption the first gets it."""
    scripts: dict[str, Any] = {step: Outcome.SLOW}
    async with opened(MockResource(**scripts), min_size=int(step == "is_valid"), max_size=1) as pool:
        await asyncio.sleep(40)  # due for a check
        served: list[tuple[str, float]] = []

        async def caller(name: str) -> None:
            async with pool.acquire():
                served.append((name, now() - began))

        began = now()
        callers = [asyncio.create_task(caller(name)) for name in ("first", "second")]
        await turns()
        pool.suspend()
        await asyncio.sleep(2)
        assert served == []
        assert (pool.stats().idle, pool.stats().waiting) == (1, 2)
        assert_sound(pool)
        pool.resume()
        await asyncio.gather(*callers)
        assert served == [("first", 2.0), ("second", 2.0)]


async def test_what_is_being_opened_cannot_be_resumed() -> None:
    """Only its opening opens it: resumed in the middle of that, it would serve although it was given up for failed."""
    resource = MockResource(create=Outcome.SLOW)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=1))
    with pytest.raises(Unavailable, match="not open"):
        pool.resume()
    opening = asyncio.create_task(pool.open())
    await turns()
    with pytest.raises(Unavailable, match="not open"):
        pool.resume()
    await opening
    assert pool.stats().state == "open"
    await pool.close()
    assert_sound(pool)
    assert not resource.alive


async def test_nobody_waits_at_resumption() -> None:
    """A caller who left in the same turn is passed over; what was picked for it stays idle."""
    async with opened(min_size=1) as pool:
        pool.suspend()
        gone = asyncio.create_task(_use(pool))
        await turns()
        gone.cancel()
        pool.resume()
        await asyncio.wait((gone,))
        assert pool.stats().idle == 1


async def test_draining_refuses_and_waits_for_what_is_out() -> None:
    """Idle ones go at once, those in line are told, and it ends the moment the last handle is back."""
    notes = Notes()
    async with opened(min_size=2, max_size=2, observer=notes) as pool:
        first, second = await take(pool, 2)
        await first.release()
        blocked = asyncio.create_task(pool.drain())
        asyncio.get_running_loop().call_later(3, lambda: asyncio.ensure_future(second.release()))
        await turns()
        with pytest.raises(Unavailable) as caught:
            await pool.acquire()
        assert (caught.value.why, caught.value.retryable) == ("draining", True)
        assert await blocked
        assert now() == 3.0
        assert await pool.drain()
        assert notes.of("drained") == notes.of("draining") == [None]
        await turns()
        assert (pool.stats().state, pool.stats().size) == ("drained", 0)


async def test_a_drain_that_takes_too_long_goes_on_by_itself() -> None:
    """False after the timeout; the state becomes drained when the last is back."""
    async with opened(min_size=1) as pool:
        held = await pool.acquire()
        assert not await pool.drain(2.0)
        assert (now(), pool.stats().state) == (2.0, "draining")
        again = asyncio.create_task(pool.drain(5.0))
        await turns()
        await held.release()
        assert await again
        assert pool.stats().state == "drained"


async def test_those_for_whom_one_is_made_are_told_of_a_drain_at_once() -> None:
    """A hung creation delays neither them nor the drain; what comes of it is not kept."""
    resource = MockResource(create=Outcome.SLOW)
    async with opened(resource) as pool:
        asking = asyncio.create_task(_use(pool))
        await turns()
        assert await pool.drain()
        with pytest.raises(Unavailable):
            await asking
        assert now() == 0.0
        await asyncio.sleep(2)
        assert pool.stats().destroyed == {"drained": 1}


async def test_a_drained_pool_may_resume() -> None:
    """It fills again and serves; a drain that was still waiting ends with False."""
    async with opened(min_size=1) as pool:
        await pool.drain()
        pool.resume()
        await turns()
        assert pool.stats().idle == 1
        held = await pool.acquire()
        draining = asyncio.create_task(pool.drain())
        await turns()
        pool.resume()
        assert not await draining
        await held.release()
        assert pool.stats().idle == 1


async def test_checks_are_waited_for() -> None:
    """One that is being checked is out; it goes when its check has ended."""
    resource = MockResource(is_valid=Outcome.SLOW)
    async with opened(resource, min_size=1, validation_interval=0) as pool:
        asking = asyncio.create_task(_use(pool))
        await turns()
        assert await pool.drain()
        assert now() == 1.0
        with pytest.raises(Unavailable):
            await asking


async def test_states_follow_their_table() -> None:
    """What is not in the table is refused with both names."""
    async with opened() as pool:
        assert pool.can_drain
        await pool.drain()
        assert pool.can_drain
        with pytest.raises(InvalidStateTransition) as caught:
            pool.suspend()
        assert "DRAINED to SUSPENDED" in str(caught.value)
        await pool.close()
        assert not pool.can_drain
        with pytest.raises(InvalidStateTransition):
            pool.resume()
        with pytest.raises(InvalidStateTransition):
            await pool.drain()


async def _use(pool: MockPool, hold: float = 0.0) -> None:
    async with pool.acquire():
        if hold:
            await asyncio.sleep(hold)


async def _note(pool: MockPool, order: list[int], number: int) -> None:
    async with pool.acquire():
        order.append(number)
        await asyncio.sleep(0.1)
