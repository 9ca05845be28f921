"""Creates that behave badly, and hooks around those that do not."""

import asyncio
import time
from typing import Any

import pytest

from nebula_resource.errors import (
    CreateFailed,
    HookCancelled,
    InternalError,
)
from nebula_resource.model.backoff import Backoff
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome
from tests.unit.pool.support import Hooked, MockPool, Notes, opened, turns

EXACT = Backoff(base=1.0, factor=2.0, max=8.0, jitter=0.0)


async def test_a_create_must_make_something() -> None:
    """None is a failed create that says what is wrong."""
    resource = MockResource()
    resource.create = _makes_nothing  # type: ignore[method-assign]  # a bad resource, on purpose
    async with opened(resource) as pool:
        with pytest.raises(CreateFailed) as caught:
            await pool.acquire()
        assert isinstance(caught.value.cause, InternalError)
        assert "None" in str(caught.value.cause)


async def test_a_create_must_make_something_new() -> None:
    """So is an instance that the pool has already, which is not cleaned up for its twin."""
    twin = MockInstance(99)
    resource = MockResource(create=lambda: twin)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=0))
    await pool.open()
    handle = await pool.acquire()
    with pytest.raises(CreateFailed) as caught:
        await pool.acquire()
    assert "already" in str(caught.value.cause)
    await handle.release()
    assert resource.calls["cleanup"] == 0
    await pool.close()
    pool.check()


async def _makes_nothing(config: Any, context: ResourceContext) -> Any:
    return None


class Rude(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("error", [Rude("x"), asyncio.CancelledError("by itself")])
async def test_a_create_that_raises_what_it_should_not_is_a_failed_create(error: BaseException) -> None:
    """A BaseException, or a CancelledError that nobody asked for, neither kills the pool nor its caller."""
    async with opened(MockResource(create=[error, Outcome.OK])) as pool:
        with pytest.raises(CreateFailed) as caught:
            await pool.acquire()
        assert caught.value.cause is error
        await (await pool.acquire()).release()


def test_an_exit_of_the_process_passes() -> None:
    """SystemExit ends the program as it would anywhere; the books are right all the same."""
    resource = MockResource(create=[Outcome.OK, SystemExit(3)])
    pool: MockPool = Pool(resource, None)

    async def main() -> None:
        await pool.open()
        await pool.acquire(timeout=1.0)
        await pool.acquire(timeout=1.0)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert pool.stats().creating == 0
    pool.check()


async def test_a_create_that_blocks_the_loop_is_reported() -> None:
    """The time is measured by the wall clock and told with the step."""
    notes = Notes()
    async with opened(MockResource(create=lambda: time.sleep(0.12)), observer=notes) as pool:
        await (await pool.acquire()).release()
        [(step, seconds)] = notes.of("loop_blocked")
        assert step == "create"
        assert seconds >= 0.12


async def test_hooks_stand_around_every_creation_and_cleanup() -> None:
    """After is told what before returned and how it went."""
    hooked = Hooked()
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    async with opened(resource, observer=hooked) as pool:
        handle = await pool.acquire()
        with pytest.raises(CreateFailed):
            await pool.acquire()
        await handle.release()
        pool.recycle_all()
        await turns()
    [went_well, failed] = hooked.of("after_create")
    assert went_well == ("token", None)
    assert isinstance(failed[1], MockError)
    assert hooked.of("after_cleanup") == [("token", CleanupReason.EVICTED, None)]


async def test_a_hook_may_refuse_a_creation() -> None:
    """Its caller is told so; the server was not asked, so neither circuit nor failures count it."""
    refusal = HookCancelled("audit", "not today")
    hooked = Hooked(refusal)
    async with opened(observer=hooked, circuit_threshold=1) as pool:
        for _ in range(2):
            with pytest.raises(HookCancelled):
                await pool.acquire()
        assert await pool.scale_up(1) == 0
        assert (pool.stats().create_failures, pool.stats().size) == (0, 0)
        hooked.before = None
        await (await pool.acquire()).release()


async def test_no_hook_keeps_an_instance_from_its_cleanup() -> None:
    """A before-hook that raises is reported, and the instance is cleaned up all the same."""
    hooked = Hooked()
    async with opened(observer=hooked) as pool:
        await (await pool.acquire()).release()
        hooked.before = MockError("hook")
    assert hooked.before in hooked.of("failed")
    assert not hooked.of("after_cleanup")


async def test_hooks_end_when_a_close_stops_a_creation() -> None:
    """A creation that is cancelled by a close tells its after-hook; nothing is left."""
    hooked = Hooked()
    async with opened(MockResource(create=Outcome.NEVER), observer=hooked) as pool:
        asking = asyncio.create_task(_handle(pool))
        await turns()
        await pool.close()
        with pytest.raises(Exception, match="closed"):
            await asking
    [(token, error)] = hooked.of("after_create")
    assert token == "token"
    assert isinstance(error, asyncio.CancelledError)
    assert_no_leaks(pool)


async def _handle(pool: MockPool) -> Any:
    return await pool.acquire()
