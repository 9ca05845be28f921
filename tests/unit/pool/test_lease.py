"""Leases: what callers get, and how the resource learns the outcome."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from nebula_resource._aio import CancellationToken
from nebula_resource.errors import AcquireCancelled, AcquireTimeout, Unavailable
from nebula_resource.model.context import ResourceContext
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockError, MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, turns


class Boom(Exception):
    """What a body raises."""


def leased(entry: Any = Outcome.OK, exit: Any = Outcome.OK, **more: Any) -> MockResource:
    """A resource whose callers get a lease."""
    return MockResource(lease_entry=entry, lease_exit=exit, **more)


async def test_callers_get_the_lease() -> None:
    """value is what the lease yields, instance the pooled one; the lease alone sees the caller's context."""
    resource = leased()
    async with opened(resource) as pool:
        mine = ResourceContext(metadata={"of": "the caller"})
        async with pool.acquire(mine) as lease:
            assert lease.context is mine
        assert not lease.is_open
        handle = await pool.acquire()
        assert handle.value.instance is handle.instance
        assert handle.value.context == ResourceContext()
        await handle.release()
        assert resource.contexts == [ResourceContext()]


async def test_the_lease_learns_the_outcome() -> None:
    """None when the body ended well; else the very error, a cancellation too."""
    resource = leased(recycle=Outcome.OK)
    async with opened(resource, max_size=1) as pool:
        errors: list[BaseException | None] = [None, Boom("x"), asyncio.CancelledError(), GeneratorExit()]
        for error in errors:
            handle = await pool.acquire()
            await handle.release(error)
            await turns()
        assert resource.outcomes == errors
        assert pool.stats().created == 1


async def test_a_lease_that_did_not_end_of_itself_costs_the_instance() -> None:
    """Nobody knows what state it is in, so no recycle is asked to prove it clean; after an error one is."""
    for outcome, reasons in ((Outcome.NEVER, {"tainted": 1}), (Outcome.ERROR, {})):
        async with opened(leased(exit=[outcome, Outcome.OK], recycle=Outcome.OK), lease_timeout=2.0) as pool:
            with pytest.raises((MockError, AcquireTimeout)):
                async with pool.acquire():
                    pass
            await turns()
            assert pool.stats().destroyed == reasons


async def test_a_wait_that_ended_in_a_lease_is_counted_once() -> None:
    """When the lease is entered, and not when the instance was had."""
    async with opened(leased(), max_size=1) as pool:
        async with pool.acquire():
            waiting = asyncio.create_task(_use(pool))
            await asyncio.sleep(2)
        await waiting
        assert (pool.stats().wait.count, pool.stats().wait.total_s) == (2, 2.0)


async def test_a_lease_that_a_close_took_the_instance_from_is_held_no_more() -> None:
    """While the instance is cleaned up the use counts as ended."""
    resource = leased()
    resource.script("cleanup", Outcome.SLOW)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=0))
    await pool.open()
    handle = await pool.acquire()
    assert (pool.stats().acquisitions, pool.stats().releases) == (1, 0)
    closing = asyncio.create_task(pool.close(0.0))
    await asyncio.sleep(0.5)
    assert (pool.stats().retiring, pool.stats().acquisitions, pool.stats().releases) == (1, 1, 1)
    await closing
    await handle.release()
    assert_sound(pool)


async def test_a_commit_that_fails_behind_a_closed_body_is_told() -> None:
    """A coroutine that is closed in its block cannot wait for it, and nobody else hears of it."""
    notes = Notes()
    async with opened(leased(exit=[Outcome.ERROR, Outcome.OK]), observer=notes) as pool:

        async def stream() -> AsyncGenerator[Any, None]:
            async with pool.acquire() as lease:
                yield lease

        generator = stream()
        await anext(generator)
        await generator.aclose()
        await turns()
        assert [type(error) for error in notes.of("failed")] == [MockError]
        assert_no_leaks(pool)


@pytest.mark.parametrize("exit", [Outcome.ERROR, Outcome.NEVER])
async def test_a_failed_exit_reaches_the_caller(exit: Outcome) -> None:
    """A commit that fails or hangs is the caller's to hear; the time limit is lease_timeout."""
    async with opened(leased(exit=[exit, Outcome.OK]), lease_timeout=2.0) as pool:
        with pytest.raises(MockError if exit is Outcome.ERROR else AcquireTimeout) as caught:
            async with pool.acquire():
                pass
        if isinstance(caught.value, AcquireTimeout):
            assert (caught.value.operation, now()) == ("lease exit", 2.0)
        await turns()
        assert pool.stats().idle == 0  # there is no recycle that could prove it clean


async def test_a_failed_exit_after_a_failed_body_keeps_the_body_s_error() -> None:
    """The body's error is the context of the exit's."""
    async with opened(leased(exit=Outcome.ERROR)) as pool:
        with pytest.raises(MockError) as caught:
            async with pool.acquire():
                raise Boom("x")
        assert isinstance(caught.value.__context__, Boom)


async def test_a_cancellation_is_never_turned_into_another_error() -> None:
    """When the exit fails after a cancelled body, the cancellation passes, with a note; the failure is reported."""
    notes = Notes()
    async with opened(leased(exit=Outcome.ERROR), observer=notes) as pool:
        task = asyncio.create_task(_use(pool, 60.0))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        assert [type(error) for error in notes.of("failed")] == [MockError]
        assert caught.value.__notes__ == ["its lease ended with MockError"]


async def test_a_swallowing_lease_swallows_nothing() -> None:
    """What the body raised is raised, whatever the lease's exit returns."""

    class Swallows(MockResource):
        def lease(self, instance: Any, context: ResourceContext) -> Any:
            class Manager:
                async def __aenter__(self) -> Any:
                    return instance

                async def __aexit__(self, *error: object) -> bool:
                    return True

            return Manager()

    async with opened(Swallows()) as pool:
        with pytest.raises(Boom):
            async with pool.acquire():
                raise Boom("x")


@pytest.mark.parametrize("entry", [Outcome.ERROR, Outcome.NEVER, TimeoutError("mine")])
async def test_a_failed_entry_gives_the_instance_back(entry: Any) -> None:
    """The caller hears why; the instance goes the way of a failed body."""
    resource = leased(entry=[entry, Outcome.OK], recycle=Outcome.OK)
    async with opened(resource, max_size=1, lease_timeout=2.0) as pool:
        with pytest.raises((MockError, TimeoutError)) as caught:
            await pool.acquire()
        if entry is Outcome.NEVER:
            assert isinstance(caught.value, AcquireTimeout)
            assert (caught.value.operation, now(), pool.stats().timeouts) == ("lease entry", 2.0, 1)
        await turns()
        await _use(pool)
        assert resource.calls["recycle"] == 2
        assert_no_leaks(pool)


@pytest.mark.parametrize("is_idle", [False, True])
async def test_an_entry_that_a_close_overtakes_lends_nothing(is_idle: bool) -> None:
    """The instance was taken back by force while the lease began: its caller hears "closed", the lease its outcome."""
    resource = leased(entry=[Outcome.OK, Outcome.SLOW] if is_idle else Outcome.SLOW)
    async with opened(resource, cleanup_timeout=5.0) as pool:
        if is_idle:
            await _use(pool)
            assert pool.ledger.acquisitions == pool.stats().acquisitions == 1
        asking = asyncio.create_task(pool.acquire().__aenter__())
        await turns()
        report = await pool.close(0.0)
        assert (report.drained, report.forced) == (False, 1)
        with pytest.raises(Unavailable, match="closed"):
            await asking
        await turns()
        assert [type(outcome) for outcome in resource.outcomes] == [type(None)] * is_idle + [Unavailable]
        assert pool.stats().acquisitions == int(is_idle)
        assert_no_leaks(pool)


async def test_an_entry_is_bound_by_the_acquire_s_deadline_too() -> None:
    """One absolute deadline: what was waited in line is not granted again."""
    resource = leased(entry=[Outcome.OK, Outcome.NEVER])
    async with opened(resource, max_size=1) as pool:
        handle = await pool.acquire()
        asking = asyncio.create_task(_use(pool, 0.0, timeout=5.0))
        await asyncio.sleep(3)
        await handle.release()
        with pytest.raises(AcquireTimeout) as caught:
            await asking
        assert (now(), caught.value.waited_s) == (5.0, 5.0)


async def test_a_token_ends_the_entry() -> None:
    """AcquireCancelled at once; the instance is given back."""
    async with opened(leased(entry=Outcome.SLOW), max_size=1) as pool:
        token = CancellationToken()
        asyncio.get_running_loop().call_later(0.5, token.cancel)
        with pytest.raises(AcquireCancelled):
            await pool.acquire(ResourceContext(cancellation=token))
        assert (now(), pool.stats().cancelled) == (0.5, 1)
        await turns()
        assert_no_leaks(pool)


async def test_a_cancelled_entry_gives_the_instance_back() -> None:
    """The cancellation passes into the lease's entry and on to the caller."""
    async with opened(leased(entry=Outcome.SLOW), max_size=1) as pool:
        task = asyncio.create_task(_use(pool, 0.0))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        await turns()
        assert_no_leaks(pool)


async def test_an_exit_survives_its_caller_s_cancellation() -> None:
    """Cancelled while it commits, the caller leaves at once; the commit goes on, and the instance comes back."""
    resource = leased(exit=Outcome.SLOW)
    async with opened(resource, max_size=1) as pool:
        task = asyncio.create_task(_use(pool, 0.0))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait((task,))
        assert (now(), task.cancelled()) == (0.5, True)
        assert pool.stats().in_use == 1
        await asyncio.sleep(1)
        assert resource.outcomes == [None]
        assert pool.stats().idle == 1


async def test_a_failure_nobody_waits_for_is_reported() -> None:
    """The exit fails after its caller left: told to the observer, not lost."""
    notes = Notes()
    async with opened(leased(exit=lambda: _later(0.5)), observer=notes) as pool:
        task = asyncio.create_task(_use(pool, 0.0))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(1)
        assert [type(error) for error in notes.of("failed")] == [MockError]


async def test_an_exit_sees_the_caller_s_context_variables() -> None:
    """It runs in a task of the pool, with a copy of the context of whoever releases."""
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []
    async with opened(leased(exit=lambda: seen.append(tenant.get()))) as pool:
        async with pool.acquire():
            tenant.set("acme")
        assert seen == ["acme"]


async def test_a_lease_that_ends_by_itself_is_recycled_with_its_outcome() -> None:
    """A failed exit counts like a failed body: recycle must prove the instance clean."""
    resource = leased(exit=[Outcome.ERROR, Outcome.OK], recycle=Outcome.OK)
    async with opened(resource, max_size=1) as pool:
        with pytest.raises(MockError):
            await _use(pool, 0.0)
        await _use(pool, 0.0)
        assert (resource.calls["recycle"], pool.stats().created) == (2, 1)
        assert_sound(pool)


@pytest.mark.parametrize("error", [None, Boom("x")])
async def test_a_lease_under_a_forced_close_still_learns_its_outcome(error: Boom | None) -> None:
    """Its instance is gone, so a commit cannot go well: the caller hears of that, not of nothing."""
    resource: MockResource = leased(exit=lambda: _raise_if(not resource.alive))
    async with opened(resource) as pool:
        handle = await pool.acquire()
        report = await pool.close(1.0)
        assert (report.drained, report.forced) == (False, 1)
        with pytest.raises(MockError):
            await handle.release(error)
        assert resource.outcomes == [error]


async def _later(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise MockError("late")


def _raise_if(condition: bool) -> None:
    if condition:
        raise MockError("commit")


async def _use(pool: MockPool, seconds: float = 0.0, *, timeout: float | None = None) -> None:
    async with pool.acquire(timeout=timeout) as lease:
        with lease.instance.used():
            if seconds:
                await asyncio.sleep(seconds)
