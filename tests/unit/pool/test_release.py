"""Release: what becomes of an instance that comes back, and that a release always ends."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from nebula_resource.errors import AcquireTimeout, ConfigurationError
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, turns


class Boom(Exception):
    """What a body raises."""


@pytest.mark.parametrize("sync", [True, False])
async def test_recycle_stands_between_two_uses(sync: bool) -> None:
    """Every return is recycled, by a plain function or a coroutine, before the instance is lent again."""
    resource = MockResource(recycle=Outcome.OK, sync_recycle=sync, turns=0 if sync else 1)
    async with opened(resource, max_size=1) as pool:
        await asyncio.gather(*(_use(pool) for _ in range(10)))
        assert (resource.calls["recycle"], resource.calls["create"]) == (10, 1)


async def test_the_releaser_waits_for_a_slow_recycle_and_it_counts_as_in_use() -> None:
    """in_use includes recycling; a caller in line gets the instance when it is clean."""
    async with opened(MockResource(recycle=Outcome.SLOW), max_size=1) as pool:
        handle = await pool.acquire()
        releasing = asyncio.create_task(handle.release())
        waits = asyncio.create_task(_use(pool))
        await asyncio.sleep(0.5)
        assert (pool.stats().in_use, pool.stats().idle) == (1, 0)
        await releasing
        assert now() == 1.0
        await waits
        assert now() == 2.0


async def test_a_cancelled_releaser_leaves_at_once_and_the_release_goes_on() -> None:
    """The cancellation is not put off; the instance comes back clean."""
    async with opened(MockResource(recycle=Outcome.SLOW), max_size=1) as pool:
        handle = await pool.acquire()
        releasing = asyncio.create_task(handle.release())
        await asyncio.sleep(0.5)
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        assert (now(), pool.stats().in_use) == (0.5, 1)
        await asyncio.sleep(0.6)
        assert pool.stats().idle == 1
        assert_no_leaks(pool)


@pytest.mark.parametrize(
    ("outcome", "sync", "error"),
    [
        (Outcome.ERROR, False, MockError),
        (Outcome.ERROR, True, MockError),
        (Boom("x"), True, Boom),
        (Outcome.NEVER, False, AcquireTimeout),
        (asyncio.CancelledError(), False, asyncio.CancelledError),
        (lambda: 1 / 0, True, ZeroDivisionError),
    ],
)
async def test_an_instance_that_cannot_be_recycled_is_retired(
    outcome: Any, sync: bool, error: type[BaseException]
) -> None:
    """The failure is reported, not raised into the release; the next caller gets a new one."""
    notes = Notes()
    resource = MockResource(recycle=[outcome, Outcome.OK], sync_recycle=sync)
    async with opened(resource, max_size=1, observer=notes, recycle_timeout=2.0) as pool:
        await _use(pool)
        assert now() == (2.0 if outcome is Outcome.NEVER else 0.0)
        assert await _number(pool) == 2
        assert pool.stats().destroyed == {"recycle_failed": 1}
        [told] = notes.of("failed")
        assert type(told) is error


async def test_a_sync_recycle_that_ends_the_process_ends_it() -> None:
    """SystemExit is not the pool's to judge; the instance does not stay behind."""
    async with opened(MockResource(recycle=SystemExit(3), sync_recycle=True)) as pool:
        handle = await pool.acquire()
        with pytest.raises(SystemExit):
            await handle.release()
        await turns()
        assert pool.stats().size == 0


async def test_the_recycle_circuit_retires_instead() -> None:
    """After circuit_threshold failures nobody waits for recycles any more; in half-open one is tried."""
    notes = Notes()
    resource = MockResource(recycle=Outcome.ERROR)
    settings: dict[str, Any] = {"circuit_threshold": 2, "circuit_open_for": 10.0, "max_lifetime": None}
    async with opened(resource, max_size=1, observer=notes, **settings) as pool:
        for _ in range(5):
            await _use(pool)
        await turns()
        assert resource.calls["recycle"] == 2
        assert pool.stats().destroyed == {"recycle_failed": 5}
        assert notes.of("circuit_opened") == [("recycle", 10.0)]
        await asyncio.sleep(10)
        await _use(pool)
        assert resource.calls["recycle"] == 3
        resource.script("recycle", Outcome.OK)
        await asyncio.sleep(10)
        await _use(pool)
        assert notes.of("circuit_closed") == ["recycle"]
        assert pool.stats().idle == 1


async def test_a_recycled_one_counts_as_checked() -> None:
    """It has just proved that it works: no validation before its next use."""
    resource = MockResource(recycle=Outcome.SLOW, is_valid=Outcome.OK, slow=4.0)
    settings: dict[str, Any] = {
        "validation_interval": 3.0,
        "recycle_timeout": 10.0,
        "maintenance_interval": None,
    }
    async with opened(resource, max_size=1, **settings) as pool:
        await _use(pool)
        await _use(pool)
        assert resource.calls["is_valid"] == 0


@pytest.mark.parametrize("recycles", [True, False])
@pytest.mark.parametrize("on_error", ["recycle", "retire"])
@pytest.mark.parametrize("quick", [True, False])
async def test_on_error_decides_after_a_body_that_raised(recycles: bool, on_error: str, quick: bool) -> None:
    """RECYCLE lets recycle prove it clean; without a recycle, or with RETIRE, it goes. The error passes unchanged."""
    resource = MockResource(recycle=Outcome.OK if recycles else None)
    async with opened(resource, on_error=on_error) as pool:
        for error in (Boom("x"), asyncio.CancelledError()):
            with pytest.raises(type(error)) as caught:
                async with pool.acquire(timeout=None if quick else 1.0):
                    raise error
            assert caught.value is error
        await turns()
        kept = recycles and on_error == "recycle"
        assert pool.stats().destroyed == ({} if kept else {"body_failed": 2})


async def test_an_outcome_may_be_reported_by_hand() -> None:
    """release(error) counts like a body that raised it."""
    async with opened() as pool:
        handle = await pool.acquire()
        await handle.release(Boom("x"))
        await turns()
        assert pool.stats().destroyed == {"body_failed": 1}


async def test_faults_are_told_and_others_are_not() -> None:
    """is_fault decides which of the body's errors speak against the server; one that raises is reported."""
    notes = Notes()
    resource = MockResource()
    resource.fault = lambda error: isinstance(error, Boom)
    async with opened(resource, observer=notes) as pool:
        boom = Boom("x")
        for error in (boom, ValueError("x"), None):
            await (await pool.acquire()).release(error)
        assert notes.of("body_failed") == [boom]
        resource.fault = lambda error: 1 / 0  # type: ignore[assignment, return-value]  # a bad resource
        await (await pool.acquire()).release(boom)
        assert [type(error) for error in notes.of("failed")] == [ZeroDivisionError]


async def test_a_broken_one_is_retired() -> None:
    """is_broken is asked on every return; one that raises counts as yes."""
    notes = Notes()
    resource = MockResource(looks_broken=True)
    async with opened(resource, observer=notes) as pool:
        await _use(pool)
        async with pool.acquire() as value:
            value.broken = True
        assert pool.stats().retiring == 1
        resource.is_broken = _cannot_say  # type: ignore[method-assign]  # a bad resource
        await _use(pool)
        await turns()
        assert pool.stats().destroyed == {"broken": 2}
        assert [type(error) for error in notes.of("failed")] == [ZeroDivisionError]


def _cannot_say(instance: MockInstance) -> bool:
    return bool(1 / 0)


async def test_a_tainted_one_is_retired() -> None:
    """taint says that it must not be lent again; the reason is logged."""
    async with opened(MockResource(recycle=Outcome.OK)) as pool:
        handle = await pool.acquire()
        handle.taint("protocol out of step")
        await handle.release()
        await turns()
        assert pool.stats().destroyed == {"tainted": 1}


async def test_a_detached_one_is_its_holder_s() -> None:
    """It leaves the pool without a cleanup, its place is free at once, and the handle holds nothing any more."""
    resource = MockResource()
    async with opened(resource, max_size=1) as pool:
        handle = await pool.acquire()
        waits = asyncio.create_task(_number(pool))
        await turns(1)
        instance = handle.detach()
        assert handle.is_released
        assert await waits == 2
        assert (instance.is_open, resource.calls["cleanup"]) == (True, 0)
        assert pool.stats().destroyed == {"detached": 1}


async def test_some_cannot_be_detached() -> None:
    """With a lease, or shared: the pool must be able to count on their return."""
    shared: dict[str, Any] = {"sharing": "shared"}
    for resource, settings in ((MockResource(lease_entry=Outcome.OK), {}), (MockResource(), shared)):
        async with opened(resource, **settings) as pool:
            async with await pool.acquire() as _:
                pass
            handle = await pool.acquire()
            with pytest.raises(ConfigurationError, match="detached"):
                handle.detach()
            await handle.release()


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.NEVER, asyncio.CancelledError(), Outcome.SLOW])
async def test_a_cleanup_that_fails_or_hangs_gives_its_place_back(outcome: Any) -> None:
    """It is reported with its time limit, and the next in line gets the vacancy."""
    notes = Notes()
    resource = MockResource(cleanup=outcome)
    async with opened(resource, max_size=1, observer=notes, cleanup_timeout=2.0) as pool:
        handle = await pool.acquire()
        waits = asyncio.create_task(_number(pool))
        await turns(1)
        handle.taint("x")
        await handle.release()
        assert pool.stats().retiring == 1
        assert_sound(pool)
        assert await waits == 2
        assert now() == {Outcome.NEVER: 2.0, Outcome.SLOW: 1.0}.get(outcome, 0.0)
        resource.script("cleanup", Outcome.OK)
        [(reason, error, took)] = notes.of("cleaned_up")
        assert (reason, took) == (CleanupReason.TAINTED, now())
        if outcome is Outcome.SLOW:
            assert error is None
        else:
            [told] = notes.of("failed")
            assert told.cause is error
            assert (told.code, told.resource_id) == ("cleanup_failed", "mock")


async def test_a_body_that_is_closed_gives_back_without_waiting() -> None:
    """A generator that is closed in its block may not wait: the recycle goes on without it."""
    async with opened(MockResource(recycle=Outcome.SLOW), max_size=1) as pool:

        async def stream() -> AsyncGenerator[Any, None]:
            async with pool.acquire() as value:
                yield value

        generator = stream()
        await anext(generator)
        await generator.aclose()
        assert (now(), pool.stats().in_use) == (0.0, 1)
        await asyncio.sleep(1.1)
        assert_no_leaks(pool)


async def test_who_cancels_a_body_gets_its_cancellation() -> None:
    """A task that is cancelled inside the block ends cancelled, its instance given back."""
    async with opened(MockResource(recycle=Outcome.SLOW), max_size=1) as pool:
        task = asyncio.create_task(_use(pool, 60.0))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        assert now() == 2.0  # the recycle it waits for
        assert_no_leaks(pool)


async def _use(pool: MockPool, seconds: float = 0.0) -> None:
    async with pool.acquire() as value:
        with value.used():
            if seconds:
                await asyncio.sleep(seconds)


async def _number(pool: MockPool) -> int:
    async with pool.acquire() as value:
        return int(value.number)
