"""Validation: which instances are looked at before they are lent, and what keeps idle ones alive."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import AcquireTimeout, ValidationFailed
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, turns

QUIET: dict[str, Any] = {"maintenance_interval": None, "idle_timeout": None, "max_lifetime": None}


def valid(outcome: Any = Outcome.OK, **more: Any) -> MockResource:
    """A resource that can be asked."""
    return MockResource(is_valid=outcome, **more)


async def test_a_recently_used_one_is_lent_unchecked() -> None:
    """Within validation_interval nobody asks."""
    resource = valid()
    async with opened(resource, min_size=1, validation_interval=10.0, **QUIET) as pool:
        for _ in range(20):
            await _use(pool)
            await asyncio.sleep(4)
        assert resource.calls["is_valid"] == 0


async def test_one_that_idled_too_long_is_checked_first() -> None:
    """After the interval the next caller waits for one check; the one after does not."""
    resource = valid(Outcome.SLOW)
    async with opened(resource, min_size=1, validation_interval=10.0, **QUIET) as pool:
        await asyncio.sleep(15)
        await _use(pool)
        assert (now(), resource.calls["is_valid"]) == (16.0, 1)
        await _use(pool)
        assert now() == 16.0


@pytest.mark.parametrize("phase", [0.1 * step for step in range(1, 60, 7)])
@pytest.mark.parametrize("strategy", ["fifo", "lifo"])
async def test_nothing_is_lent_unchecked_later_than_one_and_a_half_intervals(
    phase: float, strategy: str
) -> None:
    """Whatever the last use's place between two ticks, and whichever way the caller takes."""
    resource = valid()
    async with opened(resource, min_size=2, strategy=strategy, validation_interval=3.0, **QUIET) as pool:
        await asyncio.sleep(phase)
        await _use(pool)
        await _use(pool)
        await asyncio.sleep(4.5 - 1e-6)
        before = resource.calls["is_valid"]
        await asyncio.sleep(2e-6)
        await _use(pool)
        assert resource.calls["is_valid"] > before


async def test_never_earlier_than_the_interval() -> None:
    """A check costs time: one used less than the interval ago is not due."""
    resource = valid()
    async with opened(resource, min_size=1, validation_interval=3.0, **QUIET) as pool:
        for _ in range(30):
            await asyncio.sleep(2.9)
            await _use(pool)
        assert resource.calls["is_valid"] == 0


async def test_an_interval_of_zero_checks_always() -> None:
    """Every lending of an idle instance is preceded by a check; a fresh one was just made."""
    resource = valid()
    async with opened(resource, validation_interval=0) as pool:
        for _ in range(5):
            await _use(pool)
        assert resource.calls["is_valid"] == 4


async def test_without_an_interval_nobody_asks() -> None:
    """None switches validation off, in upkeep too."""
    resource = valid()
    async with opened(resource, min_size=1, validation_interval=None, maintenance_interval=1.0) as pool:
        await asyncio.sleep(500)
        await _use(pool)
        assert resource.calls["is_valid"] == 0


async def test_a_resource_that_cannot_be_asked_is_never_due() -> None:
    """Left at its default the answer is always yes, so a hit stays a hit even with an interval of zero."""
    async with opened(min_size=1, validation_interval=0) as pool:
        await asyncio.sleep(100)
        assert pool.shelf.hot
        assert pool.try_acquire() is not None


def test_a_keepalive_that_could_ask_nothing_is_refused() -> None:
    """It probes by ``is_valid``; where that is left at its default it would silently do nothing."""
    with pytest.raises(ValidationFailed, match="keepalive_interval: must be None") as caught:
        Pool(MockResource(), None, PoolConfig(keepalive_interval=10.0))
    [violation] = caught.value.violations
    assert (violation.field, violation.actual, caught.value.resource_id) == (
        "keepalive_interval",
        "10.0",
        "mock",
    )
    Pool(valid(), None, PoolConfig(keepalive_interval=10.0))


@pytest.mark.parametrize("answer", [True, False])
async def test_plain_functions_are_steps_too(answer: bool) -> None:
    """An ``is_valid`` that needs no await is asked like any other, not taken for a failed one for ever."""
    resource = MockResource()
    ended: list[MockInstance] = []
    resource.is_valid = lambda instance: answer  # type: ignore[method-assign,assignment,return-value]  # plain, on purpose
    resource.cleanup = ended.append  # type: ignore[method-assign,assignment]  # the same
    notes = Notes()
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=1, validation_interval=0), observer=notes)
    await pool.open()
    assert await _number(pool) == (1 if answer else 2)
    assert notes.of("validation_failed") == ([] if answer else [None])
    await pool.close()
    assert ended == resource.made
    assert pool.stats().destroyed_total == len(ended)
    assert not notes.of("failed")


@pytest.mark.parametrize("outcome", ["no", Outcome.ERROR, Outcome.NEVER, asyncio.CancelledError()])
async def test_a_useless_one_is_retired_and_the_caller_looks_again(outcome: Any) -> None:
    """No, an error, no answer in time, a cancellation of its own: all count as no, and cost one instance."""
    notes = Notes()
    resource = valid(Outcome.OK if outcome == "no" else [outcome, Outcome.OK])
    resource.says_valid = outcome != "no"
    settings: dict[str, Any] = {"validation_interval": 0, "validate_timeout": 2.0}
    async with opened(resource, observer=notes, **settings) as pool:
        await _use(pool)
        handle = await pool.acquire()
        assert (handle.value.number, resource.made[0].is_open) == (2, False)
        assert notes.of("retired") == [CleanupReason.HEALTH_CHECK_FAILED]
        [told] = notes.of("validation_failed")
        if outcome is Outcome.NEVER:
            assert now() == 2.0
            assert isinstance(told, AcquireTimeout)
            assert told.operation == "validate"
        else:
            assert type(told) is {"no": type(None), Outcome.ERROR: MockError}.get(
                outcome, asyncio.CancelledError
            )
        await handle.release()


async def test_a_caller_who_leaves_during_a_check_leaves_the_instance() -> None:
    """The check ends without it, and the instance goes to the next, or on the shelf."""
    resource = valid(Outcome.SLOW)
    async with opened(resource, max_size=1, validation_interval=0) as pool:
        await _use(pool)
        gone = asyncio.create_task(_use(pool))
        await turns(1)
        assert pool.stats().checking == 1
        waits = asyncio.create_task(_use(pool))
        await asyncio.sleep(0.5)
        gone.cancel()
        await waits
        assert (now(), resource.calls["is_valid"]) == (1.0, 1)
        alone = asyncio.create_task(_use(pool))
        await turns(1)
        alone.cancel()
        await asyncio.sleep(2)
        assert_no_leaks(pool)


async def test_one_doomed_during_its_check_is_not_lent() -> None:
    """An operator's word during the check wins; the caller gets another one."""
    resource = valid(Outcome.SLOW)
    async with opened(resource, validation_interval=0) as pool:
        await _use(pool)
        waits = asyncio.create_task(_number(pool))
        await turns(1)
        assert pool.recycle_all() == 1
        assert await waits == 2


async def test_upkeep_checks_what_is_due() -> None:
    """The sweep checks idle ones before a caller has to; the bad ones go and are replaced."""
    resource = valid()
    settings: dict[str, Any] = {"min_size": 2, "validation_interval": 10.0, "maintenance_interval": 20.0}
    async with opened(resource, **settings) as pool:
        await asyncio.sleep(21)
        assert resource.calls["is_valid"] == 2
        resource.says_valid = False
        await asyncio.sleep(20)
        assert (pool.stats().created, pool.stats().idle) == (4, 2)
        assert pool.stats().destroyed == {"health_check_failed": 2}


async def test_a_slow_check_of_upkeep_holds_nobody_up() -> None:
    """A caller who comes during the check of the only instance gets a fresh one."""
    resource = valid(Outcome.NEVER)
    settings: dict[str, Any] = {
        "validation_interval": 10.0,
        "maintenance_interval": 20.0,
        "validate_timeout": 5.0,
    }
    async with opened(resource, max_size=2, **settings) as pool:
        await _use(pool)
        await asyncio.sleep(21)
        assert pool.stats().checking == 1
        assert await _number(pool) == 2
        assert now() == 21.0


async def test_keepalive_probes_idle_ones() -> None:
    """No idle instance stays untouched longer than 1.5 × keepalive_interval; used ones are not probed."""
    resource = valid()
    settings: dict[str, Any] = {"validation_interval": None, "keepalive_interval": 10.0, **QUIET}
    async with opened(resource, min_size=2, max_size=2, **settings) as pool:
        await asyncio.sleep(101)
        assert 2 * 6 <= resource.calls["is_valid"] <= 2 * 10
        before = resource.calls["is_valid"]
        held = [await pool.acquire() for _ in range(2)]
        await asyncio.sleep(100)
        assert resource.calls["is_valid"] == before
        for handle in held:
            await handle.release()
        assert_sound(pool)


async def test_keepalive_rests_while_suspended() -> None:
    """A suspended pool leaves its instances alone, whatever the reason of the suspension is."""
    resource = valid()
    async with opened(
        resource, min_size=1, validation_interval=None, keepalive_interval=10.0, **QUIET
    ) as pool:
        pool.suspend()
        await asyncio.sleep(100)
        assert resource.calls["is_valid"] == 0


async def test_a_long_use_is_a_recent_use() -> None:
    """One held for much longer than the interval is lent unchecked when it comes back, and due an interval later."""
    resource = valid()
    async with opened(resource, min_size=1, validation_interval=10.0, **QUIET) as pool:
        async with pool.acquire():
            await asyncio.sleep(503)
        await asyncio.sleep(9)
        await _use(pool)
        assert resource.calls["is_valid"] == 0
        await asyncio.sleep(15)
        await _use(pool)
        assert resource.calls["is_valid"] == 1


async def test_a_check_does_not_make_an_instance_look_used() -> None:
    """An idle one expires by its last use, however often it was checked."""
    resource = valid()
    settings: dict[str, Any] = {"validation_interval": 5.0, "idle_timeout": 30.0, "maintenance_interval": 5.0}
    async with opened(resource, **settings) as pool:
        await _use(pool)
        await asyncio.sleep(40)
        assert pool.stats().destroyed == {"idle_timeout": 1}


async def _use(pool: MockPool) -> None:
    async with pool.acquire() as value:
        with value.used():
            pass


async def _number(pool: MockPool) -> int:
    async with pool.acquire() as value:
        return int(value.number)
